//! What a subscriber says and hears on its stream.

use super::{Bookmark, Event, LossReason, Lost, Packed, Phase, Start, Subscriber};
use crate::compression::Decompressor;
use crate::id::{Endpoint, Epoch, Offset};
use crate::limits::MAX_FRAME_LEN;
use crate::log::{Codec, Entry, EntryKind};
use crate::message::{self, Deliver, History, Message, OpenStream, Position, Refusal, StreamOpened};
use crate::time::Duration;
use crate::trace::{Detachment, Rejection, Trace};

impl Subscriber {
    /// Asks for a stream at the own position, or where the configuration says.
    pub(super) fn open_stream(&mut self) {
        let history = self.at.map(|at| at.history()).or_else(|| self.connector.history());
        let Some(history) = history else { return };
        if self.history != Some(history) {
            self.history = Some(history);
            self.epoch = 0;
        }
        self.stream += 1;
        let start = match (self.at, self.start) {
            (Some(_), _) if sabotage!(ResumesAtTheEnd) => message::Start::Latest,
            (Some(at), _) => message::Start::At(at.position),
            (None, Start::Latest) if !sabotage!(LatestIsEarliest) => message::Start::Latest,
            (None, _) => message::Start::Earliest,
        };
        let (stream, filters, credit) = (self.stream, self.filters.clone(), self.credit.open());
        self.send(&Message::OpenStream(OpenStream { stream, history, filters, start, credit }));
        self.phase = Phase::Opening { until: self.shared.now + self.config.stream_timeout };
    }

    /// Tells the broker that a stream it may hold is not wanted any more.
    pub(super) fn close_stream(&mut self) {
        if matches!(self.phase, Phase::Opening { .. } | Phase::Open { .. }) {
            self.send(&Message::CloseStream { stream: self.stream });
        }
    }

    /// A stream that does not fit is opened again at the own position, after a while.
    fn reopen(&mut self) {
        self.close_stream();
        let until = self.shared.now + self.backoff.next(&mut self.shared.rng);
        self.phase = Phase::Waiting { until };
    }

    pub(super) fn grant_credit(&mut self) {
        if let Phase::Open { .. } = self.phase
            && let Some(limit) = self.credit.grant(self.shared.now)
        {
            self.send(&Message::Credit { stream: self.stream, limit });
        }
    }

    /// R30: says again how much may be sent, on a stream on which nothing comes.
    fn repeat_grant(&mut self) {
        if let Some(limit) = self.credit.grant_again(self.shared.now) {
            self.send(&Message::Credit { stream: self.stream, limit });
        }
    }

    pub(super) fn handle_message(&mut self, message: Message) {
        match message {
            Message::StreamOpened(opened) => self.handle_opened(&opened),
            Message::Deliver(deliver) => self.handle_deliver(deliver),
            Message::Head(head) => self.handle_head(&head),
            Message::Refusal { stream, reason } if self.head.is_asked(stream) => {
                self.handle_head_refusal(&reason);
            }
            Message::Refusal { stream, reason } if stream == self.stream || stream == 0 => {
                self.handle_refusal(reason);
            }
            // Of a stream that was closed.
            Message::Refusal { .. } => {}
            _ => self.reject(Rejection::Unexpected),
        }
    }

    pub(super) fn reject(&mut self, reason: Rejection) {
        if let Some(link) = self.connector.link() {
            self.shared.out.trace(Trace::Rejected { link, reason });
        }
    }

    fn handle_opened(&mut self, opened: &StreamOpened) {
        let StreamOpened { stream, history, epoch, start } = *opened;
        // A stream that is open and overtaken by retention begins anew further on (R36).
        let overtaken = matches!(self.phase, Phase::Open { expected, .. } if start.offset > expected);
        if stream != self.stream || !(overtaken || matches!(self.phase, Phase::Opening { .. })) {
            return;
        }
        if Some(history) != self.history || epoch < self.epoch {
            // A primary of an earlier reign that does not know it yet.
            self.reject(Rejection::WrongHistory);
            return self.give_up_primary(Detachment::Refused);
        }
        self.epoch = epoch;
        self.connector.confirm();
        self.phase = Phase::Open { expected: start.offset, heard_at: self.shared.now };
        let at = self.start_at(history, start);
        self.announce(epoch, at);
        self.grant_credit();
        self.look_ahead();
        self.ask_head();
    }

    /// A start above the own position means that records between were not kept; one below, that the
    /// broker sends more than was asked for.
    fn start_at(&mut self, history: History, start: Position) -> Bookmark {
        let opened = Bookmark { group: self.group, group_id: history.group_id, position: start };
        let at = match self.at {
            None => opened,
            Some(at) if start.offset <= at.position.offset => at,
            Some(at) => {
                let (from, to) = (at.position.offset, start.offset);
                if !sabotage!(LossUnreported) {
                    self.shared.out.event(Event::Lost { from, to, reason: LossReason::Retention });
                }
                opened
            }
        };
        self.at = Some(at);
        at
    }

    fn announce(&mut self, epoch: Epoch, at: Bookmark) {
        if let (Some(link), Some((endpoint, _))) = (self.connector.link(), self.connector.primary()) {
            let endpoint = endpoint.clone();
            self.shared.out.trace(Trace::StreamOpened { link, from: at.position.offset });
            if !core::mem::replace(&mut self.connected, true) {
                self.shared.out.event(Event::Connected { endpoint, epoch, at });
            }
        }
    }

    fn handle_deliver(&mut self, deliver: Deliver) {
        let Phase::Open { expected, .. } = self.phase else { return };
        if deliver.stream != self.stream {
            return;
        }
        let fits = Some(deliver.history) == self.history && deliver.epoch >= self.epoch;
        if !fits || deliver.from != expected && !sabotage!(MissingFramesUnnoticed) {
            let reason = if fits { Rejection::Unexpected } else { Rejection::WrongHistory };
            self.reject(reason);
            return self.reopen();
        }
        self.epoch = deliver.epoch;
        self.backoff.reset();
        if deliver.entries.is_empty() {
            self.repeat_grant();
        }
        for entry in deliver.entries {
            self.handle_entry(entry);
        }
        self.advance(deliver.upto);
        self.phase = Phase::Open { expected: deliver.upto.offset, heard_at: self.shared.now };
        if self.credit.is_overrun(MAX_FRAME_LEN as u64) {
            // Memory here is bounded by credit; a broker that ignores it is left.
            self.reject(Rejection::TooLarge);
            return self.give_up_primary(Detachment::Refused);
        }
        self.grant_credit();
    }

    /// R30: the position never goes back, though a frame may begin below it.
    fn advance(&mut self, to: Position) {
        if let Some(at) = &mut self.at
            && to.offset >= at.position.offset
            && !sabotage!(PositionsStick)
        {
            at.position = to;
            self.look_ahead();
        }
    }

    fn handle_entry(&mut self, entry: Entry) {
        let (offset, epoch, end) = (entry.offset, entry.epoch, entry.end());
        let EntryKind::Batch(batch) = entry.kind else { return };
        let bytes = batch.body.len() as u64;
        let at = self.at.expect("an open stream has a position");
        let position = at.position.offset;
        let wanted = self.filters.iter().any(|filter| filter.matches(&batch.header.topic));
        let part = sabotage!(RestOfBatchSkipped) && position > offset;
        if end <= position || part || !wanted {
            return self.credit.dropped(bytes);
        }
        // R30: a position inside a batch gets the whole batch.
        let skip = sabotage!(WholeBatchesAgain => 0; position.saturating_sub(offset));
        let next = Bookmark { position: Position { epoch, offset: end, ..at.position }, ..at };
        let is_compressed = batch.header.codec != Codec::None;
        let packed = Packed { epoch, offset, skip, batch, next };
        self.at = Some(next);
        let unpacked = match packed.check() {
            Ok(()) if is_compressed => {
                self.credit.delivered(bytes);
                return self.shared.out.event(Event::Packed(packed));
            }
            Ok(()) => packed.unpack(&mut Decompressor::default()),
            Err(lost) => Err(lost),
        };
        match unpacked {
            Ok(delivery) => {
                self.credit.delivered(bytes);
                self.shared.out.event(Event::Delivered(delivery));
            }
            Err(Lost { from, to, reason, bytes }) => {
                // R31: what cannot be decoded is reported, and the stream goes on.
                self.credit.dropped(bytes);
                self.shared.out.event(Event::Lost { from, to, reason });
            }
        }
    }

    fn handle_refusal(&mut self, reason: Refusal) {
        match reason {
            Refusal::NotPrimary { primary, epoch } => self.handle_not_primary(primary, epoch),
            Refusal::Electing { retry_after } | Refusal::Busy { retry_after, .. } => {
                self.put_off(retry_after)
            }
            Refusal::LineageChanged { history } => self.handle_lineage_changed(history),
            Refusal::Diverged { common } => self.handle_diverged(common),
            Refusal::Invalid { .. } => self.give_up_primary(Detachment::Refused),
            _ => self.reject(Rejection::Unexpected),
        }
    }

    fn handle_not_primary(&mut self, hint: Option<Endpoint>, epoch: Epoch) {
        self.connector.not_primary(hint, epoch, &mut self.shared.cx());
        self.detached(Detachment::Refused);
    }

    fn put_off(&mut self, retry_after: Duration) {
        let until = self.shared.put_off(retry_after, &self.config.timing);
        self.phase = Phase::Waiting { until };
    }

    /// Nothing of the new history is missed: the stream starts at its beginning. Without a position
    /// there is nothing to be missed, and the configured start holds.
    fn handle_lineage_changed(&mut self, to: History) {
        let Some(own) = self.history else { return self.reject(Rejection::Unexpected) };
        if !self.connector.believes(own, to, &mut self.shared.cx()) {
            self.reject(Rejection::WrongHistory);
            return self.give_up_primary(Detachment::Refused);
        }
        if let Some(from) = self.at {
            if !sabotage!(LineageUnreported) {
                self.shared.out.event(Event::LineageChanged { from, to });
            }
            self.at = Some(Bookmark::beginning(self.group, to));
        }
        self.head.history_changed();
        self.open_stream();
    }

    /// The position is not in this history. The record before `common` is taken to be of the own
    /// epoch: if that does not hold either, the stream starts at the beginning.
    fn handle_diverged(&mut self, common: Offset) {
        let Some(from) = self.at.filter(|at| at.position.offset > 0) else {
            self.reject(Rejection::Unexpected);
            return self.give_up_primary(Detachment::Refused);
        };
        let common = if common < from.position.offset { common } else { 0 };
        let epoch = if common == 0 { 0 } else { from.position.epoch };
        let position = Position { epoch, offset: common, ..from.position };
        self.at = Some(Bookmark { position, ..from });
        self.shared.out.event(Event::Diverged { from, common });
        self.reopen();
    }
}
