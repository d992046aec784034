//! What a group keeps (R36): when the primary appends the decision to drop the oldest entries. The
//! decision is a committed entry, so every replica drops the same; time and size here only say when it
//! is made.

use super::Broker;
use super::replica::Replica;
use crate::id::Offset;
use crate::log::{ENTRY_OVERHEAD, Entry, EntryKind};
use crate::time::{Duration, Instant};
use alloc::collections::VecDeque;
use alloc::vec;
use serde::{Deserialize, Serialize};

/// How much is kept. Entries beyond any of the limits are dropped, the oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retention {
    /// Memory of the log, in bytes: bodies and a fixed share per entry.
    pub bytes: Option<u64>,
    /// Records, control entries counted as one each. A batch that lies partly within is kept whole.
    pub records: Option<u64>,
    /// Time since a broker appended it.
    pub age: Option<Duration>,
}

impl Default for Retention {
    fn default() -> Self {
        Self { bytes: Some(512 << 20), records: None, age: None }
    }
}

/// Where a limit is exceeded, this share of it is dropped besides, and at least what the decision takes
/// itself: not every batch shall lead to a decision.
const STEP: u64 = 16;

/// Batches that were appended within one step of time.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Bucket {
    since: Instant,
    /// When the last of them was appended.
    until: Instant,
    /// The offset after the last of them.
    end: Offset,
}

/// When what was appended, coarsely: at most sixteen marks within the age limit.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Ages(VecDeque<Bucket>);

impl Ages {
    /// Notes that batches from `from` to `end` were appended. What was there before has gone.
    pub fn appended(&mut self, now: Instant, age: Duration, (from, end): (Offset, Offset)) {
        while let Some(cut) = self.0.pop_back_if(|last| last.end > from) {
            if self.0.back().map_or(0, |before| before.end) < from {
                self.0.push_back(Bucket { end: from, ..cut });
            }
        }
        match self.0.back_mut() {
            Some(last) if now.since(last.since) < age / STEP as u32 || sabotage!(BatchesStayYoung) => {
                (last.until, last.end) = (now, end);
            }
            _ => self.0.push_back(Bucket { since: now, until: now, end }),
        }
    }

    /// Everything below was dropped.
    pub fn trimmed(&mut self, start: Offset) {
        while self.0.pop_front_if(|bucket| bucket.end <= start).is_some() {}
    }

    /// Everything below was appended longer ago than `age`.
    fn expired(&self, now: Instant, age: Duration) -> Offset {
        let expired = self.0.iter().take_while(|bucket| bucket.until + age <= now);
        expired.last().map_or(0, |bucket| bucket.end)
    }
}

impl Retention {
    /// Where the log should start, if something is to be dropped.
    fn due(&self, now: Instant, replica: &Replica, ages: &Ages) -> Option<Offset> {
        let (log, commit) = (replica.log(), replica.commit());
        let mut to = log.start();
        if let Some(limit) = self.bytes.filter(|limit| log.bytes() > *limit) {
            let mut kept = log.bytes();
            let surplus = |entry: &&Entry| {
                let more = kept > limit.saturating_sub((limit / STEP).max(ENTRY_OVERHEAD));
                kept -= entry.weight();
                more
            };
            let dropped = log.iter_from(to).take_while(surplus).last();
            to = dropped.map_or(to, Entry::end);
        }
        if let Some(limit) = self.records.filter(|limit| log.end() - log.start() > *limit) {
            let step = sabotage!(TrimsTooMuch => limit / 2; limit / STEP);
            to = to.max(log.end() - limit.saturating_sub(step.max(1)));
        }
        if let Some(age) = self.age {
            to = to.max(ages.expired(now, age));
        }
        // Mostly nothing is due, and the oldest entries need not be touched.
        if to == log.start() {
            return None;
        }
        let to = log.boundary(sabotage!(TrimsBeyondCommit => to; to.min(commit)));
        // A trim that drops nothing but trims would call for the next one.
        let worth_it = |entry: &Entry| !matches!(entry.kind, EntryKind::Trim { .. });
        log.iter_from(log.start()).take_while(|entry| entry.end() <= to).any(worth_it).then_some(to)
    }
}

impl Broker {
    /// Notes when batches came. Every broker does: it may have to decide one day.
    pub(super) fn note_age(&mut self, now: Instant, from: Offset) {
        if let Some(age) = self.config.retention.age {
            let end = self.replica.log().end();
            self.ages.trimmed(self.replica.log().start());
            self.ages.appended(now, age, (from, end));
        }
    }

    /// R36: where a limit is exceeded, the decision to drop entries is appended: one at a time.
    pub(super) fn retain(&mut self, now: Instant) {
        self.ages.trimmed(self.replica.log().start());
        let super::Role::Primary(primary) = &self.role else { return };
        let undecided = primary.trim.is_some_and(|offset| offset >= self.replica.commit());
        let leaves = self.shutdown.is_some() && !sabotage!(TrimsWhileLeaving);
        if undecided || !primary.serving || leaves || sabotage!(NeverTrims) {
            return;
        }
        if let Some(to) = self.config.retention.due(now, &self.replica, &self.ages) {
            let offset = self.replica.log().end();
            self.append(now, vec![EntryKind::Trim { to }]);
            if let super::Role::Primary(primary) = &mut self.role {
                primary.trim = Some(offset);
            }
            self.advance_commit(now);
        }
    }
}
