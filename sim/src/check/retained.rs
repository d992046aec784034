//! Retained (R36): when all is calm, no in-sync member keeps more than it is to keep: neither more bytes or
//! records, nor batches of long ago. And nobody decides to drop what may still be taken back, or more than a limit calls
//! for.

use super::ledger::Replica;
use super::{Check, Fact, Kind, Ledger};
use std::time::Duration;
use steadfast_core::broker::retention::Retention;
use steadfast_core::id::Offset;
use steadfast_core::log::{ENTRY_OVERHEAD, Entry, EntryKind};

/// Everything is older when all has been calm.
const CALM: Duration = Duration::from_secs(3);
/// Beyond a limit a log is cut down to a part of it below.
const STEP: u64 = 16;
/// Decisions to drop and the like do not call for another one.
const CONTROL: u64 = 4;

/// The property.
#[derive(Clone, Debug)]
pub struct Retained {
    retention: Retention,
    /// Whether somebody has published all the time.
    busy: bool,
}

impl Retained {
    /// So much is kept.
    pub const fn of(retention: Retention) -> Self {
        Self { retention, busy: false }
    }

    /// Whether a limit calls for so much to be dropped. What is old is not known here.
    fn calls_for(&self, replica: &Replica, to: Offset) -> bool {
        let below = |limit: u64, least| limit.saturating_sub((limit / STEP).max(least));
        // The last that is dropped was one too many.
        let last = replica.log.get(to.saturating_sub(1)).map_or(0, Entry::weight);
        let kept: u64 = replica.log.from(to).iter().map(|held| held.entry.weight()).sum();
        let records = replica.log.end() - to;
        self.retention.age.is_some()
            || self.retention.records.is_some_and(|most| records >= below(most, 1))
            || self.retention.bytes.is_some_and(|most| kept + last > below(most, ENTRY_OVERHEAD))
    }

    fn judge(&self, replica: &Replica) -> Result<(), String> {
        let kept = replica.log.from(replica.start);
        let bytes: u64 = kept.iter().map(|held| held.entry.weight()).sum();
        // A batch that lies partly within the limit is kept whole, and what stands before it for its sake.
        let batch = kept.iter().find(|held| matches!(held.entry.kind, EntryKind::Batch(_)));
        let records = batch.map_or(0, |first| replica.log.end() - first.entry.end());
        let slack = CONTROL * ENTRY_OVERHEAD;
        match () {
            () if self.retention.bytes.is_some_and(|most| bytes > most + slack) => {
                Err(format!("{bytes} bytes"))
            }
            () if self.retention.records.is_some_and(|most| records > most + CONTROL) => {
                Err(format!("{records} records"))
            }
            () if batch.is_some() && !self.busy && self.retention.age.is_some_and(|most| most < CALM) => {
                Err("batches of long ago".to_owned())
            }
            () => Ok(()),
        }
    }
}

impl Check for Retained {
    fn name(&self) -> &'static str {
        "Retained"
    }

    fn hears(&self) -> &'static [Kind] {
        &[Kind::Decided, Kind::GoesOn, Kind::Settled]
    }

    fn check(&mut self, ledger: &Ledger, fact: &Fact<'_>) -> Result<(), String> {
        if let Fact::Decided { process, to, commit } = fact
            && to > commit
        {
            return Err(format!("{process:?} is to drop what lies below {to}, its commit is {commit}"));
        }
        if let Fact::Decided { process, to, .. } = fact
            && let Some(replica) = ledger.replica(&process.member)
            && !self.calls_for(replica, *to)
        {
            let retention = &self.retention;
            return Err(format!("{process:?} is to drop what lies below {to}, and is to keep {retention:?}"));
        }
        self.busy |= matches!(fact, Fact::GoesOn);
        let (Fact::Settled, Some(state)) = (fact, ledger.states().last()) else { return Ok(()) };
        for member in &state.in_sync {
            let Some(replica) = ledger.replica(member) else { continue };
            self.judge(replica)
                .map_err(|what| format!("{member:?} keeps {what}, and is to keep {:?}", self.retention))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::*;

    #[test]
    fn a_decision_reaches_as_far_as_what_is_committed() {
        let mut story = Story::new(Retained::of(Retention::default()));
        let process = &process("a");
        story.tell(&Fact::Decided { process, to: 3, commit: 3 }).accepted();
        story.tell(&Fact::Decided { process, to: 4, commit: 3 }).rejected("below 4, its commit is 3");
    }

    /// Of six batches of eight records those below are to go.
    fn decided(retention: Retention, to: Offset) -> Story<Retained> {
        let mut story = Story::new(Retained::of(retention));
        let batches = (0..6).map(|number| batch(1, 8 * number + 1, 8));
        let drafts: Vec<_> = [start(1)].into_iter().chain(batches).collect();
        let commit = story.append("a", &drafts).entries("a").last().map_or(0, Entry::end);
        story.tell(&Fact::Decided { process: &process("a"), to, commit });
        story
    }

    #[test]
    fn a_decision_drops_what_a_limit_calls_for() {
        decided(keeps(Some(32), None, None), 17).accepted();
        decided(keeps(Some(33), None, None), 17).accepted();
        decided(keeps(None, Some(3 * 400), None), 25).accepted();
        decided(keeps(Some(32), Some(1), None), 41).accepted();
        decided(keeps(Some(48), None, Some(Duration::from_secs(1))), 41).accepted();
    }

    #[test]
    fn a_decision_that_drops_more_is_rejected() {
        decided(keeps(Some(32), None, None), 25).rejected("is to keep");
        decided(keeps(Some(64), Some(1 << 20), None), 9).rejected("is to keep");
    }

    fn settled(retention: Retention, trims: &[u64]) -> Story<Retained> {
        let mut story = Story::new(Retained::of(retention));
        let batches = (0..6).map(|number| batch(1, 8 * number + 1, 8));
        let drafts: Vec<_> = [start(1)].into_iter().chain(batches).collect();
        story.append("a", &drafts).state(1, Some("a"), &["a"]);
        for &to in trims {
            story.tell(&Fact::Trimmed { member: &member("a"), to });
        }
        story.tell(&Fact::Settled);
        story
    }

    fn keeps(records: Option<u64>, bytes: Option<u64>, age: Option<Duration>) -> Retention {
        Retention { bytes, records, age }
    }

    #[test]
    fn what_is_within_the_limits_is_accepted() {
        settled(keeps(Some(48), Some(1 << 20), Some(Duration::from_secs(60))), &[]).accepted();
        settled(keeps(Some(1), None, None), &[41]).accepted();
        settled(keeps(None, None, Some(Duration::from_secs(1))), &[49]).accepted();
    }

    #[test]
    fn what_was_published_just_now_is_young() {
        let mut story = Story::new(Retained::of(keeps(None, None, Some(Duration::from_secs(1)))));
        story.append("a", &[start(1), batch(1, 1, 8)]).state(1, Some("a"), &["a"]);
        story.tell(&Fact::GoesOn).tell(&Fact::Settled).accepted();
    }

    #[test]
    fn what_is_beyond_one_is_rejected() {
        settled(keeps(Some(8), None, None), &[]).rejected("40 records");
        settled(keeps(None, Some(1), None), &[]).rejected("bytes");
        settled(keeps(None, None, Some(Duration::from_secs(1))), &[41]).rejected("of long ago");
    }
}
