//! What a broker holds of its group, whatever its role: the log, the sessions folded from it, how
//! far it is durable, how far it is committed, and the lowest epoch it still listens to.

use super::durability::Durability;
use super::sessions::Sessions;
use crate::id::{Epoch, Offset};
use crate::limits::COPY_BODY_BELOW;
use crate::log::{Entry, EntryKind, Log};
use crate::message::{History, Position};
use crate::node::Outbox;
use crate::storage::Ticket;
use crate::trace::Trace;
use alloc::vec::Vec;
use bytes::Bytes;

/// One copy of a group's data.
#[derive(Clone, Debug, Default)]
pub struct Replica {
    history: History,
    log: Log,
    sessions: Sessions,
    durability: Durability,
    commit: Offset,
    floor: Epoch,
    uncommitted_bytes: u64,
}

impl Replica {
    /// Which history the log belongs to; all zero before the group's state was read.
    pub const fn history(&self) -> History {
        self.history
    }

    /// The log.
    pub const fn log(&self) -> &Log {
        &self.log
    }

    /// The sessions.
    pub const fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// Everything below is committed, as far as this broker knows.
    pub const fn commit(&self) -> Offset {
        self.commit
    }

    /// Everything below is durable here.
    pub const fn durable_end(&self) -> Offset {
        self.durability.end()
    }

    /// Lowest epoch that this broker still accepts entries from (R5).
    pub const fn floor(&self) -> Epoch {
        self.floor
    }

    /// Memory of entries that are not committed, in bytes.
    pub const fn uncommitted_bytes(&self) -> u64 {
        self.uncommitted_bytes
    }

    /// The place in the log at `offset`.
    ///
    /// # Panics
    /// When the offset lies beyond the log's end.
    pub fn position(&self, offset: Offset) -> Position {
        let epoch = self.log.epoch_before(offset).expect("positions lie within the log");
        Position { lineage: self.history.lineage, epoch, offset }
    }

    /// R5: from now on nothing of a lower epoch is accepted.
    pub fn raise_floor(&mut self, epoch: Epoch) {
        self.floor = self.floor.max(epoch);
    }

    /// Appends entries that continue the log, up to the first that does not continue its session
    /// (R28). Returns whether all were taken.
    pub fn append<E>(&mut self, mut entries: Vec<Entry>, out: &mut Outbox<E>) -> bool {
        let mut taken = 0;
        for entry in &mut entries {
            if !self.sessions.overlay().admits(entry) {
                break;
            }
            unpin(entry);
            self.sessions.appended(entry);
            self.uncommitted_bytes += entry.weight();
            self.log.append(entry.clone());
            taken += 1;
        }
        let all = taken == entries.len();
        entries.truncate(taken);
        self.durability.append(entries, self.log.end(), out);
        all
    }

    /// Drops a conflicting suffix (R6) and rebuilds what was folded from it.
    ///
    /// # Panics
    /// When it would drop a committed record.
    pub fn truncate<E>(&mut self, to: Offset, out: &mut Outbox<E>) {
        assert!(to >= self.commit, "R6: a committed record is never dropped");
        let from = self.log.end();
        self.log.truncate(to);
        self.sessions.truncated(&self.log, self.commit);
        self.uncommitted_bytes = self.log.iter_from(self.commit).map(|entry| entry.weight()).sum();
        self.durability.truncate(to, out);
        out.trace(Trace::Truncated { to, from });
    }

    /// Begins anew with another history: log and both session folds go together (R27, R28).
    pub fn wipe<E>(&mut self, history: History, out: &mut Outbox<E>) {
        self.history = history;
        self.log = Log::default();
        self.sessions = Sessions::default();
        self.commit = 0;
        self.floor = 0;
        self.uncommitted_bytes = 0;
        self.durability.wipe(out);
        out.trace(Trace::Wiped { lineage: history.lineage });
    }

    /// The storage has completed a request.
    pub fn stored(&mut self, ticket: Ticket) {
        self.durability.done(ticket);
    }

    /// Everything below `to` is committed. Never goes back; `to` is the boundary of an entry.
    pub fn advance_commit(&mut self, to: Offset) {
        for entry in self.log.iter_from(self.commit).take_while(|entry| entry.end() <= to) {
            self.sessions.committed(entry);
            self.uncommitted_bytes -= entry.weight();
            self.commit = entry.end();
        }
    }
}

/// R36: a small body is copied, because it would pin the whole receive buffer that it came in.
fn unpin(entry: &mut Entry) {
    if let EntryKind::Batch(batch) = &mut entry.kind
        && batch.body.len() < COPY_BODY_BELOW
    {
        batch.body = Bytes::copy_from_slice(&batch.body);
    }
}
