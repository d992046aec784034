//! The backup's part of replication.

use super::{Broker, Role};
use crate::id::{Epoch, Offset};
use crate::link::LinkId;
use crate::log::{Entry, EntryKind};
use crate::message::{Hello, History, Message, Refusal, Replicate, ReplicateAck, ReplicateNack};
use crate::time::Instant;
use crate::trace::{Halt, Rejection};

impl Broker {
    /// The link to the primary is up: ask for the log.
    pub(super) fn say_hello(&mut self, link: LinkId) {
        if let Role::Backup(backup) = &mut self.role {
            backup.staging = None;
        }
        if sabotage!(TruncatesToCommit) {
            let commit = self.replica.commit();
            self.replica.truncate(commit, &mut self.io.out);
        }
        let hello = Hello {
            sender: self.identity(),
            history: self.replica.history(),
            epoch: self.replica.floor(),
            log: self.replica.log().summary(),
        };
        self.send(link, &Message::Hello(hello));
    }

    /// R5: entries count only from the newest epoch known, and only where they fit.
    pub(super) fn handle_replicate(&mut self, now: Instant, link: LinkId, replicate: Replicate) {
        if !self.hear_primary(now, link, (replicate.history, replicate.epoch)) {
            return;
        }
        let before = self.replica.log().epoch_before(replicate.previous_offset);
        let unchecked = sabotage!(PreviousEpochUnchecked) && before.is_some();
        if before != Some(replicate.previous_epoch) && !unchecked {
            return self.send_nack(link);
        }
        self.take(now, link, replicate);
    }

    /// R5: whether a frame is of this history, of the newest epoch known, and from its primary, which
    /// then counts as heard.
    pub(super) fn hear_primary(&mut self, now: Instant, link: LinkId, of: (History, Epoch)) -> bool {
        let (history, epoch) = of;
        let read = self.replica.history() != History::default();
        if !read || history != self.replica.history() {
            self.handle_other_history(now, link, history);
        } else if epoch < self.replica.floor() && !sabotage!(LowerEpochsAccepted) {
            self.send_nack(link);
        } else if epoch > self.replica.floor() && !sabotage!(EntriesRaiseFloor) {
            // The tree names an epoch before its primary can be dialled: believe it, not a frame.
            self.resign(now);
        } else if let Role::Backup(backup) = &mut self.role {
            backup.hear(now, link);
            if sabotage!(FollowedIsCommitted) {
                self.candidacy.committed();
            }
            if !backup.suspects() {
                self.candidacy.withdraw();
            }
            return true;
        } else {
            // One epoch has one primary: this is no broker's frame.
            self.reject(link, Rejection::Unexpected);
        }
        false
    }

    /// Appends what is new of a frame that fits.
    fn take(&mut self, now: Instant, link: LinkId, replicate: Replicate) {
        let Replicate { epoch, previous_offset, previous_epoch, commit, mut entries, .. } = replicate;
        let bounds = (entries.first().map(|entry| entry.epoch), entries.last().map(|entry| entry.epoch));
        if bounds.0.is_some_and(|first| first < previous_epoch)
            || bounds.1.is_some_and(|last| last > epoch)
            || !entries.is_sorted_by_key(|entry| entry.epoch)
        {
            return self.reject(link, Rejection::Unexpected);
        }
        let end = entries.last().map_or(previous_offset, Entry::end);
        let known = entries.iter().take_while(|entry| self.has(entry)).count();
        entries.drain(..known);
        let stores = !entries.is_empty();
        let batches = entries.iter().any(|entry| matches!(entry.kind, EntryKind::Batch(_)));
        let from = entries.first().map_or(end, |entry| entry.offset);
        if !self.make_way(link, &entries) {
            return;
        }
        self.io.out.count().replicated_in(&entries);
        if stores && !self.replica.append(entries, &mut self.io.out) {
            return self.reject(link, Rejection::Unexpected);
        }
        if batches {
            self.note_age(now, from);
        }
        let Role::Backup(backup) = &mut self.role else { return };
        backup.verify(end);
        let verified = sabotage!(CommitsUnverified => self.replica.log().end(); backup.verified());
        let before = self.replica.commit();
        self.replica.advance_commit(commit.min(verified), &mut self.io.out);
        if self.replica.commit() > before {
            self.candidacy.committed();
        }
        if !stores {
            self.acknowledge();
        }
    }

    /// Whether the log holds this entry: the same offset and epoch mean the same entry (I4).
    fn has(&self, entry: &Entry) -> bool {
        self.replica.log().get(entry.offset).is_some_and(|mine| {
            let same_epoch = mine.epoch == entry.epoch || sabotage!(SameOffsetIsSameEntry);
            mine.offset == entry.offset && same_epoch && mine.end() == entry.end()
        })
    }

    /// R6: what conflicts with the primary's log goes, from the first conflicting entry on.
    fn make_way(&mut self, link: LinkId, entries: &[Entry]) -> bool {
        let Some(from) = entries.first().map(|entry| entry.offset) else { return true };
        let Some(mine) = self.replica.log().get(from) else { return true };
        if mine.offset != from {
            // Two logs that share a prefix share its boundaries: this is no broker's frame.
            self.reject(link, Rejection::Unexpected);
            return false;
        }
        if from < self.replica.commit() {
            self.halt(Halt::CommittedConflict);
            return false;
        }
        self.replica.truncate(from, &mut self.io.out);
        true
    }

    /// R7: says up to where the log is verified in this epoch and durable.
    pub(super) fn acknowledge(&mut self) {
        let Role::Backup(backup) = &self.role else { return };
        let Some(link) = backup.source() else { return };
        let verified = sabotage!(AcksLogEnd => self.replica.log().end(); backup.verified());
        let durable = sabotage!(AcksUndurable => self.replica.log().end(); self.replica.durable_end());
        let matched: Offset = verified.min(durable);
        let ack = ReplicateAck {
            sender: self.identity(),
            history: self.replica.history(),
            epoch: backup.epoch(),
            matched,
        };
        self.send(link, &Message::ReplicateAck(ack));
    }

    /// The sender's history is another's: whoever is behind has to read the tree.
    fn handle_other_history(&mut self, now: Instant, link: LinkId, theirs: History) {
        let mine = self.replica.history();
        self.reject(link, Rejection::WrongHistory);
        if theirs.group_id == mine.group_id && theirs.lineage < mine.lineage {
            self.send_nack(link);
        } else {
            self.registry.refresh(&mut self.io.context(now));
        }
    }

    pub(super) fn send_nack(&mut self, link: LinkId) {
        let nack = ReplicateNack {
            sender: self.identity(),
            history: self.replica.history(),
            floor: self.replica.floor(),
            log: self.replica.log().summary(),
        };
        self.send(link, &Message::ReplicateNack(nack));
    }

    /// The primary has refused this backup: read the tree and try again after a pause.
    pub(super) fn handle_refusal(&mut self, now: Instant, link: LinkId, reason: &Refusal) {
        match &mut self.role {
            Role::Backup(backup) if backup.link() == Some(link) => {
                backup.redial(now, &mut self.io.rng, &mut self.io.out);
                if !matches!(reason, Refusal::Electing { .. }) {
                    self.registry.refresh(&mut self.io.context(now));
                }
            }
            _ => self.reject(link, Rejection::Unexpected),
        }
    }
}
