//! Reads of the group's head that are linearizable: the answer covers everything that anyone had been
//! told is acknowledged when the read began (R19).
//!
//! A primary cannot know by itself that it still is one. It reads the tree with a sync that begins
//! after the request: named there in its own epoch, it was the only one that could acknowledge up to
//! that moment, so its commit offset covers whatever was. This holds for any in-sync set. Reads that
//! wait share one round, and rounds are paced: the coordination service sees at most one in
//! [`HEAD_READ_PACE`], however many ask.

use super::{Broker, Role};
use crate::limits::{HEAD_READ_DEADLINE, HEAD_READ_PACE, MAX_HEAD_READS};
use crate::link::LinkId;
use crate::message::{Head, Message, Refusal};
use crate::time::Instant;
use crate::trace::{Limit, Trace};
use alloc::collections::VecDeque;

/// A read that waits for its proof.
#[derive(Clone, Copy, Debug)]
struct HeadRead {
    link: LinkId,
    token: u64,
    /// The round of the registry that proves it; `None` before one was asked for.
    round: Option<u64>,
    /// When it is given up.
    until: Instant,
}

/// The reads that wait, in the order in which they came.
#[derive(Clone, Debug, Default)]
pub struct HeadReads {
    waiting: VecDeque<HeadRead>,
    /// When the next round may be asked for.
    round_at: Instant,
}

impl HeadReads {
    /// When a round is due, or the oldest read is given up.
    pub fn deadline(&self) -> Option<Instant> {
        let oldest = self.waiting.front()?.until;
        let unasked = self.waiting.back().is_some_and(|read| read.round.is_none());
        Some(if unasked { oldest.min(self.round_at) } else { oldest })
    }

    /// Forgets what a link has asked.
    pub fn drop_link(&mut self, link: LinkId) {
        self.waiting.retain(|read| read.link != link);
    }

    /// Ends all reads and returns their links and tokens.
    pub fn drain(&mut self) -> impl Iterator<Item = (LinkId, u64)> {
        core::mem::take(&mut self.waiting).into_iter().map(|read| (read.link, read.token))
    }

    /// Whether a round is due; if so, every read that has none waits for this one.
    fn ask(&mut self, now: Instant, round: impl FnOnce() -> u64) {
        if self.round_at > now || self.waiting.back().is_none_or(|read| read.round.is_some()) {
            return;
        }
        self.round_at = now + HEAD_READ_PACE;
        let round = Some(round() - u64::from(sabotage!(HeadProofTooOld)));
        for read in self.waiting.iter_mut().rev().take_while(|read| read.round.is_none()) {
            read.round = round;
        }
    }

    fn pop_proved(&mut self, completed: u64) -> Option<HeadRead> {
        let proved = |round: u64| round <= completed || sabotage!(HeadsWithoutProof);
        self.waiting.pop_front_if(|read| read.round.is_some_and(proved))
    }

    fn pop_overdue(&mut self, now: Instant) -> Option<HeadRead> {
        self.waiting.pop_front_if(|read| read.until <= now)
    }
}

impl Broker {
    /// Takes a read of the head in, or says why not.
    pub(super) fn handle_read_head(&mut self, now: Instant, link: LinkId, token: u64) {
        if let Err(reason) = self.admit_read(now, link, token) {
            self.send(link, &Message::Refusal { stream: token, reason });
        }
    }

    fn admit_read(&mut self, now: Instant, link: LinkId, token: u64) -> Result<(), Refusal> {
        let retry_after = self.config.timing.heartbeat;
        let leaving = self.gives_up();
        let not_primary = self.not_primary();
        let Role::Primary(primary) = &mut self.role else { return Err(not_primary) };
        if primary.silent || leaving {
            return Err(Refusal::NotPrimary { primary: None, epoch: 0 });
        }
        // R4: the commit offset means nothing before the epoch's first record is committed.
        if !primary.serving {
            return Err(Refusal::Electing { retry_after });
        }
        if primary.head_reads.waiting.len() >= MAX_HEAD_READS {
            self.io.out.trace(Trace::Busy { limit: Limit::HeadReads });
            return Err(Refusal::Electing { retry_after });
        }
        let until = now + HEAD_READ_DEADLINE;
        primary.head_reads.waiting.push_back(HeadRead { link, token, round: None, until });
        Ok(())
    }

    /// Asks for the round that is due, answers what a round has proved, and gives up what has waited
    /// for too long.
    pub(super) fn advance_head_reads(&mut self, now: Instant) {
        let Role::Primary(primary) = &mut self.role else { return };
        let registry = &mut self.registry;
        let io = &mut self.io;
        primary.head_reads.ask(now, || registry.refresh(&mut io.context(now)));
        let epoch = primary.epoch();
        // R25: while the tree seems to have gone back, it proves nothing.
        let proved = self.doubt.is_none()
            && registry.view().state.as_ref().is_some_and(|(state, _)| {
                state.is_led_by(&self.me) && state.epoch == epoch && state.history == self.replica.history()
            });
        let completed = if proved { registry.round() } else { 0 };
        let position = self.replica.position(self.replica.commit());
        let history = self.replica.history();
        // R19: the commit offset is read after the proof has come.
        while let Some(HeadRead { link, token, .. }) = primary.head_reads.pop_proved(completed) {
            let head = Head { token, history, epoch, position };
            io.out.transmit(link, crate::wire::encode(&Message::Head(head)));
        }
        let retry_after = self.config.timing.heartbeat;
        while let Some(HeadRead { link, token, .. }) = primary.head_reads.pop_overdue(now) {
            // R20: a primary that is cut off does not answer.
            if !primary.silent {
                let refusal = Message::Refusal { stream: token, reason: Refusal::Electing { retry_after } };
                io.out.transmit(link, crate::wire::encode(&refusal));
            }
        }
    }
}
