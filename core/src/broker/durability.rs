//! What of the log is durable: requests to the storage and their completions.

use super::snapshot::Snapshot;
use crate::id::Offset;
use crate::log::Entry;
use crate::node::Outbox;
use crate::storage::{Fold, Operation, Request, Ticket};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Requests under way, and the durable end of the log.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Durability {
    last_ticket: Ticket,
    pending: VecDeque<(Ticket, Offset)>,
    end: Offset,
}

impl Durability {
    /// Everything below is as durable as the storage promises.
    pub const fn end(&self) -> Offset {
        self.end
    }

    /// Requests under way, each with what is durable once it is complete.
    pub fn pending(&self) -> impl Iterator<Item = (Ticket, Offset)> {
        self.pending.iter().copied()
    }

    /// Asks for entries to be stored; the log then ends at `end`.
    pub fn append<E>(&mut self, entries: Vec<Entry>, end: Offset, out: &mut Outbox<E>) {
        self.request(Operation::Append(entries), end, out);
    }

    /// Asks for the log to be cut. What is cut is durable no longer, whatever completes later.
    pub fn truncate<E>(&mut self, to: Offset, out: &mut Outbox<E>) {
        self.cut(to);
        self.request(Operation::Truncate(to), to, out);
    }

    /// Asks for the log's front to be dropped. What is durable above it stays so.
    pub fn trim<E>(&mut self, to: Offset, out: &mut Outbox<E>) {
        self.request(Operation::Trim(to), self.requested_end(), out);
    }

    /// Asks for entries of a snapshot to be kept beside the log.
    pub fn stage<E>(&mut self, anew: bool, entries: Vec<Entry>, out: &mut Outbox<E>) {
        self.request(Operation::Stage { anew, entries }, self.requested_end(), out);
    }

    /// Asks for a snapshot, whose entries are staged, to take the log's place. Until that is done
    /// nothing is durable.
    pub fn install<E>(&mut self, snapshot: &Snapshot, out: &mut Outbox<E>) {
        self.cut(0);
        let (start, end) = (snapshot.log.start(), snapshot.log.end());
        let (sessions, topics) = (snapshot.sessions.clone(), snapshot.topics.clone());
        self.request(Operation::Install(Box::new(Fold { start, end, sessions, topics })), end, out);
    }

    /// Asks for everything to be dropped.
    pub fn wipe<E>(&mut self, out: &mut Outbox<E>) {
        self.cut(0);
        self.request(Operation::Wipe, 0, out);
    }

    /// The storage has completed this request and all before it.
    pub fn done(&mut self, ticket: Ticket) {
        while let Some((_, end)) = self.pending.pop_front_if(|(pending, _)| *pending <= ticket) {
            self.end = end;
        }
    }

    /// The durable end once everything under way is done.
    fn requested_end(&self) -> Offset {
        self.pending.back().map_or(self.end, |(_, end)| *end)
    }

    fn cut(&mut self, to: Offset) {
        self.end = self.end.min(to);
        for (_, end) in &mut self.pending {
            *end = (*end).min(to);
        }
    }

    fn request<E>(&mut self, operation: Operation, end: Offset, out: &mut Outbox<E>) {
        self.last_ticket += 1;
        self.pending.push_back((self.last_ticket, end));
        out.store(Request { ticket: self.last_ticket, operation });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_completion_does_not_revive_what_was_cut() {
        let (mut durability, mut out) = (Durability::default(), Outbox::<()>::default());
        durability.append(Vec::new(), 10, &mut out);
        durability.append(Vec::new(), 20, &mut out);
        durability.done(1);
        durability.truncate(5, &mut out);
        durability.append(Vec::new(), 7, &mut out);
        let ends = [2, 3, 4].map(|ticket| {
            durability.done(ticket);
            durability.end()
        });
        assert_eq!(ends, [5, 5, 7]);
    }

    #[test]
    fn a_trim_moves_the_durable_end_neither_way() {
        let (mut durability, mut out) = (Durability::default(), Outbox::<()>::default());
        durability.append(Vec::new(), 10, &mut out);
        durability.done(1);
        durability.append(Vec::new(), 20, &mut out);
        durability.trim(8, &mut out);
        assert_eq!(durability.end(), 10);
        durability.done(3);
        assert_eq!(durability.end(), 20);
        durability.trim(9, &mut out);
        durability.done(4);
        assert_eq!(durability.end(), 20);
    }
}
