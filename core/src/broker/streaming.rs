//! Subscribers at the primary, and what any peer may ask.

use super::{Broker, Role};
use crate::id::Offset;
use crate::limits::RETRY_SOON;
use crate::link::LinkId;
use crate::message::{Message, OpenStream, Position, Refusal, Start, StreamOpened};
use crate::time::Instant;
use crate::trace::{Limit, Trace};

impl Broker {
    /// Opens a stream at the place asked for.
    pub(super) fn handle_open_stream(&mut self, now: Instant, link: LinkId, request: OpenStream) {
        let stream = request.stream;
        let from = match self.stream_start(now, &request) {
            Ok(from) => from,
            Err(reason) => return self.send(link, &Message::Refusal { stream, reason }),
        };
        let Role::Primary(primary) = &mut self.role else { return };
        let start = self.replica.position(from);
        let opened = StreamOpened { stream, history: self.replica.history(), epoch: primary.epoch(), start };
        self.io.out.trace(Trace::StreamOpened { link, from });
        primary.delivery.open(now, link, request, start);
        let from = (&self.replica, primary.epoch());
        self.io.out.transmit(link, crate::wire::encode(&Message::StreamOpened(opened)));
        primary.delivery.serve_one(now, (link, stream), from, &mut self.io.out);
    }

    /// Where the stream starts, or why it cannot.
    fn stream_start(&mut self, now: Instant, request: &OpenStream) -> Result<Offset, Refusal> {
        let retry_after = self.config.timing.heartbeat;
        let Role::Primary(primary) = &self.role else { return Err(self.not_primary()) };
        if primary.silent && !sabotage!(SilentOpensStreams) || self.gives_up() {
            return Err(Refusal::NotPrimary { primary: None, epoch: 0 });
        }
        let history = self.replica.history();
        if request.history != history {
            return Err(Refusal::LineageChanged { history });
        }
        // R4: the commit offset means nothing before the epoch's first record is committed.
        if !primary.serving && !sabotage!(StreamsBeforeEpochStart) {
            return Err(Refusal::Electing { retry_after: RETRY_SOON });
        }
        if !primary.delivery.has_room() {
            self.io.out.trace(Trace::Busy { limit: Limit::Streams });
            let publisher = crate::id::PublisherId::default();
            return Err(Refusal::Busy { publisher, expect: 0, retry_after });
        }
        let log = self.replica.log();
        match request.start {
            Start::Earliest if sabotage!(EarliestIsLatest) => Ok(self.replica.commit()),
            Start::Earliest => Ok(log.start()),
            Start::Latest => Ok(self.replica.commit()),
            Start::At(position) if position.lineage != history.lineage => {
                Err(Refusal::LineageChanged { history })
            }
            Start::At(position) if self.was_served_elsewhere(&position) => {
                self.registry.refresh(&mut self.io.context(now));
                Err(Refusal::Electing { retry_after })
            }
            Start::At(position) if position.offset < log.start() => Ok(log.start()),
            Start::At(position) => match log.epoch_before(position.offset) {
                Some(epoch) if epoch == position.epoch => Ok(position.offset),
                found => Err(Refusal::Diverged { common: found.map_or(log.end(), |_| log.start()) }),
            },
        }
    }

    /// R11: whether somebody was served in a higher epoch, or of more of this log than is committed here (R10), which
    /// only another primary can have done. Only the tree knows; this is no divergence.
    fn was_served_elsewhere(&self, position: &Position) -> bool {
        let uncommitted = position.offset > self.replica.commit() && !sabotage!(StreamsBeyondCommit);
        let known = || self.replica.log().epoch_before(position.offset) == Some(position.epoch);
        self.leads().is_some_and(|epoch| position.epoch > epoch) || uncommitted && known()
    }

    /// More may be sent on a stream.
    pub(super) fn handle_credit(&mut self, now: Instant, link: LinkId, stream: u64, limit: u64) {
        let Role::Primary(primary) = &mut self.role else { return };
        primary.delivery.grant(link, stream, limit);
        // R20: whoever has much to read would stay with a primary that is cut off.
        if primary.silent && !sabotage!(SilentServesGrants) {
            return primary.delivery.put_off(now);
        }
        let from = (&self.replica, primary.epoch());
        primary.delivery.serve_one(now, (link, stream), from, &mut self.io.out);
    }

    pub(super) fn handle_close_stream(&mut self, link: LinkId, stream: u64) {
        if let Role::Primary(primary) = &mut self.role {
            primary.delivery.close(link, stream);
        }
    }

    /// R20: a primary that is cut off does not answer.
    pub(super) fn handle_ping(&mut self, now: Instant, link: LinkId, token: u64) {
        if let Role::Primary(primary) = &mut self.role {
            primary.expiry.heard_on(now, link);
        }
        let silent = matches!(&self.role, Role::Primary(primary) if primary.silent);
        if !silent || sabotage!(SilentAnswersPings) {
            self.send(link, &Message::Pong { token });
        }
    }
}
