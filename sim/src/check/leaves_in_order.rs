//! LeavesInOrder (R12, R27, R34, R35): a broker that was asked to leave reads the tree first. It does not end while
//! the tree names it as primary, as it is or as it knows it; nor while it knows itself as a member that could be
//! dropped, or that the first record of the epoch waits for, unless it has waited as long as it is to wait. And a
//! member goes only when it has heard the primary since, which then holds what it takes away. One whose primary is
//! gone may hold what nobody else does: it puts its live node back.

use super::leaving::Leaving;
use super::{Check, Fact, Kind, Ledger};
use std::collections::BTreeSet;
use std::time::Duration;
use steadfast_core::group::GroupState;
use steadfast_core::id::Incarnation;
use steadfast_core::limits::SHUTDOWN_DEADLINE;

/// The property.
#[derive(Clone, Debug)]
pub struct LeavesInOrder {
    /// For how long a member waits to be dropped.
    goodbye: Duration,
    /// Processes whose clock has jumped: none of their times is known.
    jumped: BTreeSet<Incarnation>,
}

/// Clocks may be fast.
const fn nearly(time: Duration) -> Duration {
    Duration::from_nanos(time.as_nanos() as u64 / 100 * 85)
}

impl LeavesInOrder {
    /// A member waits for at least so long to be dropped.
    pub const fn after(goodbye: Duration) -> Self {
        Self { goodbye, jumped: BTreeSet::new() }
    }
}

impl Check for LeavesInOrder {
    fn name(&self) -> &'static str {
        "LeavesInOrder"
    }

    fn hears(&self) -> &'static [Kind] {
        &[Kind::ClockJumped, Kind::Left]
    }

    fn check(&mut self, ledger: &Ledger, fact: &Fact<'_>) -> Result<(), String> {
        if let Fact::ClockJumped(process) = fact {
            self.jumped.insert(process.incarnation);
        }
        let Fact::Left(leaving) = fact else { return Ok(()) };
        let Leaving { process, after, known, read, heard, awaited, forsaken } = **leaving;
        if forsaken && !self.jumped.contains(&process.incarnation) {
            return Err(format!(
                "{process:?} leaves after {after:?} and has not come back when its primary was gone"
            ));
        }
        // At its deadline it goes, whatever is.
        if self.jumped.contains(&process.incarnation) || after >= nearly(SHUTDOWN_DEADLINE) {
            return Ok(());
        }
        let Some(state) = ledger.states().last() else { return Ok(()) };
        let leads = |state: &GroupState| state.primary.as_ref() == Some(process);
        let reason = match known {
            _ if leads(state) => "is primary",
            _ if !read => "has not read the tree",
            Some(known) if leads(known) => "knows of no other primary",
            Some(known) if known.in_sync.contains(&process.member) => {
                let waited = after >= nearly(self.goodbye);
                let spare = known.in_sync.len() > known.min_in_sync.max(1) as usize;
                let frozen = known.in_sync.len() < known.min_in_sync as usize;
                match () {
                    // Whether anybody could drop it is for it to judge by what it knows.
                    () if spare && !waited => "is in sync",
                    () if !heard => "is in sync and has not heard the primary",
                    () if awaited && !frozen && !waited => "is needed for the first record of the epoch",
                    () => return Ok(()),
                }
            }
            _ => return Ok(()),
        };
        Err(format!("{process:?} leaves after {after:?} and {reason}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::*;

    /// How somebody leaves: so many milliseconds after the order, and what it has done since then.
    struct Parting<'a> {
        name: &'a str,
        known: GroupState,
        after: u64,
        read: bool,
        heard: bool,
        awaited: bool,
        forsaken: bool,
    }

    impl Parting<'_> {
        fn told(&self) -> Story<LeavesInOrder> {
            let mut story = Story::new(LeavesInOrder::after(Duration::from_secs(1)));
            story.state(1, Some("a"), &["a", "b"]);
            let (process, known) = (&process(self.name), Some(&self.known));
            let after = Duration::from_millis(self.after);
            let (read, heard, awaited, forsaken) = (self.read, self.heard, self.awaited, self.forsaken);
            let leaving = Leaving { process, after, known, read, heard, awaited, forsaken };
            story.tell(&Fact::Left(&leaving));
            story
        }
    }

    /// It has read the tree and heard the primary.
    fn parting<'a>(name: &'a str, in_sync: &[&str], after: u64) -> Parting<'a> {
        let known = state(1, 0, Some("a"), in_sync);
        Parting { name, known, after, read: true, heard: true, awaited: false, forsaken: false }
    }

    fn leaves(name: &str, in_sync: &[&str], after: u64) -> Story<LeavesInOrder> {
        parting(name, in_sync, after).told()
    }

    #[test]
    fn who_is_not_needed_any_more_may_go() {
        leaves("b", &["a"], 10).accepted();
        leaves("b", &["b"], 10).accepted();
    }

    #[test]
    fn who_has_waited_for_long_may_go() {
        leaves("b", &["a", "b"], 1_000).accepted();
        leaves("a", &["a"], 5_000).accepted();
    }

    #[test]
    fn after_a_jump_of_the_clock_nothing_is_known() {
        let mut story = Story::new(LeavesInOrder::after(Duration::from_secs(1)));
        story.state(1, Some("a"), &["a"]).tell(&Fact::ClockJumped(&process("a")));
        let (process, after) = (&process("a"), Duration::ZERO);
        let (read, heard, awaited, forsaken) = (false, false, false, true);
        let leaving = Leaving { process, after, known: None, read, heard, awaited, forsaken };
        story.tell(&Fact::Left(&leaving)).accepted();
    }

    #[test]
    fn a_primary_that_just_goes_is_rejected() {
        leaves("a", &["a"], 1_000).rejected("is primary");
    }

    #[test]
    fn a_member_that_just_goes_is_rejected() {
        leaves("b", &["a", "b"], 500).rejected("is in sync");
    }

    #[test]
    fn who_has_not_read_the_tree_is_rejected() {
        Parting { read: false, ..parting("b", &["a"], 10) }.told().rejected("not read the tree");
        Parting { read: false, ..parting("b", &["a"], 5_000) }.told().accepted();
    }

    #[test]
    fn who_knows_of_no_other_primary_is_rejected() {
        let known = state(1, 0, Some("c"), &["a", "b"]);
        Parting { known, ..parting("c", &[], 1_000) }.told().rejected("knows of no other primary");
    }

    #[test]
    fn a_member_that_has_not_heard_the_primary_is_rejected() {
        Parting { heard: false, ..parting("b", &["a", "b"], 1_000) }.told().rejected("not heard the primary");
        Parting { heard: false, ..parting("b", &["b"], 10) }.told().rejected("not heard the primary");
        Parting { heard: false, ..parting("b", &["a"], 10) }.told().accepted();
    }

    #[test]
    fn a_member_that_stays_away_when_its_primary_is_gone_is_rejected() {
        Parting { forsaken: true, ..parting("b", &["a", "b"], 5_000) }.told().rejected("has not come back");
    }

    #[test]
    fn a_member_that_the_epoch_waits_for_is_rejected() {
        let awaited = |after| Parting { awaited: true, ..parting("b", &["b"], after) };
        awaited(500).told().rejected("needed for the first record");
        awaited(1_000).told().accepted();
        let mut frozen = awaited(500);
        frozen.known.min_in_sync = 2;
        frozen.told().accepted();
    }
}
