//! What of the log is durable: requests to the storage and their completions.

use crate::id::Offset;
use crate::log::Entry;
use crate::node::Outbox;
use crate::storage::{Operation, Request, Ticket};
use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// Requests under way, and the durable end of the log.
#[derive(Clone, Debug, Default)]
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

    /// Asks for entries to be stored; the log then ends at `end`.
    pub fn append<E>(&mut self, entries: Vec<Entry>, end: Offset, out: &mut Outbox<E>) {
        self.request(Operation::Append(entries), end, out);
    }

    /// Asks for the log to be cut. What is cut is durable no longer, whatever completes later.
    pub fn truncate<E>(&mut self, to: Offset, out: &mut Outbox<E>) {
        self.cut(to);
        self.request(Operation::Truncate(to), to, out);
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
}
