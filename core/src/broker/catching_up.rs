//! Snapshots at both ends: a follower that is too far behind for the log gets one (R16).

use super::snapshot::Staging;
use super::{Broker, Role};
use crate::link::LinkId;
use crate::log::Entry;
use crate::message::{Message, SnapshotAck, SnapshotFold, SnapshotPart, SnapshotRecords};
use crate::time::Instant;
use crate::trace::Rejection;
use alloc::boxed::Box;

impl Broker {
    /// Entries of a snapshot: kept aside until all of it is there.
    pub(super) fn handle_snapshot_records(&mut self, now: Instant, link: LinkId, records: SnapshotRecords) {
        let SnapshotRecords { part, from, previous_epoch, mut entries, log_bytes } = records;
        if !self.hear_primary(now, link, (part.history, part.epoch)) {
            return;
        }
        if entries.is_empty() {
            return self.compare_parts(link, &part);
        }
        if !self.stages(now, link, &part) {
            return;
        }
        let limit = self.snapshot_limit();
        if log_bytes > limit {
            return self.refuse_snapshot(now, link, log_bytes);
        }
        entries.iter_mut().for_each(Entry::unpin);
        let Role::Backup(backup) = &mut self.role else { return };
        let Some(staging) = &mut backup.staging else { return };
        match staging.take_records((from, previous_epoch), &entries, limit) {
            Ok(anew) => {
                self.replica.stage(anew, entries, &mut self.io.out);
                self.acknowledge_part(link, part.snapshot);
            }
            Err(Rejection::TooLarge) => self.refuse_snapshot(now, link, log_bytes),
            Err(reason) => self.abandon_snapshot(now, link, reason),
        }
    }

    /// What a snapshot's entries do not say. With the last part, the snapshot takes the log's place.
    pub(super) fn handle_snapshot_fold(&mut self, now: Instant, link: LinkId, fold: SnapshotFold) {
        let part = fold.part.clone();
        if !self.hear_primary(now, link, (part.history, part.epoch)) || !self.stages(now, link, &part) {
            return;
        }
        let (cut, last) = (fold.cut, fold.last);
        let Role::Backup(backup) = &mut self.role else { return };
        let Some(staging) = &mut backup.staging else { return };
        // A committed record is never given up for a snapshot that ends below it (R6).
        let taken = match cut < self.replica.commit() {
            true => Err(Rejection::Unexpected),
            false => staging.take_fold(fold),
        };
        match taken {
            Err(reason) => self.abandon_snapshot(now, link, reason),
            Ok(()) => {
                self.acknowledge_part(link, part.snapshot);
                if last {
                    self.install_snapshot(now, link);
                }
            }
        }
    }

    fn install_snapshot(&mut self, now: Instant, link: LinkId) {
        let Role::Backup(backup) = &mut self.role else { return };
        match backup.staging.take().map(|staging| staging.complete()) {
            Some(Ok(snapshot)) => {
                let (from, end) = (snapshot.log.start(), snapshot.log.end());
                self.replica.install(snapshot, &mut self.io.out);
                // R7, R16: the snapshot is the primary's committed log, so the backup acknowledges
                // it, once it is durable, and all that follows.
                backup.verify(end);
                self.note_age(now, from);
            }
            Some(Err(reason)) => self.abandon_snapshot(now, link, reason),
            None => {}
        }
    }

    /// Whether this part comes next. A first part begins a snapshot, whatever there was of another.
    fn stages(&mut self, now: Instant, link: LinkId, part: &SnapshotPart) -> bool {
        let state = self.registry.view().state.as_ref();
        if state.is_some_and(|(state, _)| state.in_sync.contains(&self.me.member)) {
            // An in-sync member holds everything committed: the primary, or this view, is not of today.
            self.registry.refresh(&mut self.io.context(now));
            self.send_nack(link);
            return false;
        }
        let Role::Backup(backup) = &mut self.role else { return false };
        if backup.oversize.waits() {
            return false;
        }
        if part.part == 0 {
            backup.staging = Some(Box::new(Staging::new(part.snapshot)));
        }
        let staging = backup.staging.as_ref();
        let next =
            staging.is_some_and(|known| (known.snapshot(), known.parts()) == (part.snapshot, part.part));
        if !next {
            backup.staging = None;
            self.send_nack(link);
        }
        next
    }

    /// A heartbeat says how many parts were sent before it. The primary heeds one refusal per heartbeat,
    /// and when its window is full of refused parts, heartbeats are all that it sends: each is refused
    /// anew. One that comes after the snapshot is installed is refused too, and does no harm.
    fn compare_parts(&mut self, link: LinkId, part: &SnapshotPart) {
        let Role::Backup(backup) = &self.role else { return };
        let staged = backup.staging.as_ref().map(|staging| (staging.snapshot(), staging.parts()));
        // What is too large is not asked for at every heartbeat.
        let waits = part.part == 0 || backup.oversize.waits() || sabotage!(LostPartsUnnoticed);
        match waits || staged == Some((part.snapshot, part.part)) {
            true => self.acknowledge_part(link, part.snapshot),
            false => self.send_nack(link),
        }
    }

    /// The snapshot makes no sense: begin anew, after a pause.
    fn abandon_snapshot(&mut self, now: Instant, link: LinkId, reason: Rejection) {
        self.reject(link, reason);
        if let Role::Backup(backup) = &mut self.role {
            backup.staging = None;
            backup.redial(now, &mut self.io.rng, &mut self.io.out);
        }
    }

    /// Says how many parts have come; of a snapshot that is installed, how far the log goes instead.
    fn acknowledge_part(&mut self, link: LinkId, snapshot: u64) {
        let Role::Backup(backup) = &self.role else { return };
        let staging = backup.staging.as_ref().filter(|staging| staging.snapshot() == snapshot);
        let Some(part) = staging.map(|staging| staging.parts()) else { return self.acknowledge() };
        let (sender, history, epoch) = (self.identity(), self.replica.history(), backup.epoch());
        let part = SnapshotPart { sender, history, epoch, snapshot, part };
        self.send(link, &Message::SnapshotAck(SnapshotAck(part)));
    }

    /// R8: counts only on the link of a follower's current process, in this epoch.
    pub(super) fn handle_snapshot_ack(&mut self, now: Instant, link: LinkId, ack: &SnapshotAck) {
        let SnapshotAck(part) = ack;
        let Some(epoch) = self.leads() else { return };
        if part.history != self.replica.history() || part.epoch != epoch {
            return self.reject(link, Rejection::WrongHistory);
        }
        let identity = self.identity();
        let Role::Primary(primary) = &mut self.role else { return };
        primary.probes.heard(&part.sender.member, &mut self.io.out);
        let from = (&self.replica, &primary.sender(identity));
        primary.followers.acknowledge_part(now, (link, part), from, &mut self.io.out);
    }
}
