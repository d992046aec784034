//! What a broker holds of its group, whatever its role: the log, the sessions folded from it, how
//! far it is durable, how far it is committed, and the lowest epoch it still listens to.

use super::durability::Durability;
use super::sessions::Sessions;
use super::snapshot::Snapshot;
use super::topics::Topics;
use crate::id::{Epoch, Offset};
use crate::log::{Entry, EntryKind, Log};
use crate::message::{History, Position};
use crate::node::Outbox;
use crate::storage::Ticket;
use crate::trace::Trace;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// One copy of a group's data.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Replica {
    history: History,
    log: Log,
    sessions: Sessions,
    topics: Topics,
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

    /// For whoever writes the broker's state down.
    pub(crate) const fn log_mut(&mut self) -> &mut Log {
        &mut self.log
    }

    /// The sessions.
    pub const fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// How far each topic reaches, in what is committed.
    pub const fn topics(&self) -> &Topics {
        &self.topics
    }

    /// Everything below is committed, as far as this broker knows.
    pub const fn commit(&self) -> Offset {
        self.commit
    }

    /// Everything below is durable here.
    pub const fn durable_end(&self) -> Offset {
        self.durability.end()
    }

    /// Storage requests under way, each with what is durable once it is complete.
    pub fn storing(&self) -> impl Iterator<Item = (Ticket, Offset)> {
        self.durability.pending()
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
    /// When the offset lies below the log's start or beyond its end.
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
            entry.unpin();
            self.sessions.appended(entry);
            self.uncommitted_bytes += entry.weight();
            self.log.append(entry.clone());
            if sabotage!(TrimsUncommitted)
                && let EntryKind::Trim { to } = &entry.kind
            {
                self.trim((*to).min(self.commit), out);
            }
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
        if !sabotage!(TruncationKeepsSessions) {
            self.sessions.truncated(&self.log, self.commit);
        }
        if !sabotage!(TruncationKeepsBytes) {
            self.uncommitted_bytes = self.log.iter_from(self.commit).map(|entry| entry.weight()).sum();
        }
        self.durability.truncate(to, out);
        out.trace(Trace::Truncated { to, from });
    }

    /// Begins anew with another history: log and both session folds go together (R27, R28).
    pub fn wipe<E>(&mut self, history: History, out: &mut Outbox<E>) {
        self.history = history;
        self.log = Log::default();
        if !sabotage!(WipeKeepsSessions) {
            self.sessions = Sessions::default();
        }
        self.topics = Topics::default();
        self.commit = 0;
        self.floor = 0;
        self.uncommitted_bytes = 0;
        self.durability.wipe(out);
        out.trace(Trace::Wiped { lineage: history.lineage });
    }

    /// Keeps entries of a snapshot aside; those kept aside before go if it begins `anew`.
    pub fn stage<E>(&mut self, anew: bool, entries: Vec<Entry>, out: &mut Outbox<E>) {
        self.durability.stage(anew, entries, out);
    }

    /// A snapshot takes the place of everything at once: log, both session folds, topic heads, and its
    /// end is the commit offset (R16).
    ///
    /// # Panics
    /// When a committed record would go with it.
    pub fn install<E>(&mut self, snapshot: Snapshot, out: &mut Outbox<E>) {
        let (start, end) = (snapshot.log.start(), snapshot.log.end());
        assert!(end >= self.commit, "R6: a committed record is never dropped");
        self.durability.install(&snapshot, out);
        self.log = snapshot.log;
        let sessions =
            if sabotage!(SnapshotWithoutSessions) { Default::default() } else { snapshot.sessions };
        self.sessions = Sessions::settled(sessions);
        self.topics = snapshot.topics;
        self.commit = end;
        if !sabotage!(InstallKeepsBytes) {
            self.uncommitted_bytes = 0;
        }
        out.trace(Trace::Installed { start, end });
    }

    /// The storage has completed a request.
    pub fn stored(&mut self, ticket: Ticket) {
        self.durability.done(ticket);
    }

    /// Everything below `to` is committed. Never goes back; `to` is the boundary of an entry. What a
    /// committed entry decides is done: the log's front may go (R36).
    pub fn advance_commit<E>(&mut self, to: Offset, out: &mut Outbox<E>) {
        let mut start = self.log.start();
        for entry in self.log.iter_from(self.commit).take_while(|entry| entry.end() <= to) {
            self.sessions.committed(entry);
            self.topics.committed(entry);
            self.uncommitted_bytes -= entry.weight();
            self.commit = entry.end();
            if let EntryKind::Trim { to } = &entry.kind {
                start = start.max(*to);
            }
        }
        if start > self.log.start() {
            self.trim(start, out);
        }
    }

    fn trim<E>(&mut self, to: Offset, out: &mut Outbox<E>) {
        let from = self.log.start();
        self.log.trim(to);
        let to = self.log.start();
        if to > from {
            self.durability.trim(to, out);
            out.trace(Trace::Trimmed { from, to });
        }
    }
}
