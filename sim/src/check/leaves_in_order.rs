//! LeavesInOrder (R12, R34): a broker that was asked to leave does not end while the tree names it as primary,
//! nor while it knows itself as a member that could be dropped, unless it has waited for that as long as it is to
//! wait.

use super::{Check, Fact, Kind, Ledger};
use std::collections::BTreeSet;
use std::time::Duration;
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
        let Fact::Left { process, after, known } = *fact else { return Ok(()) };
        if self.jumped.contains(&process.incarnation) {
            return Ok(());
        }
        let Some(state) = ledger.states().last() else { return Ok(()) };
        let leads = state.primary.as_ref() == Some(process) && after < nearly(SHUTDOWN_DEADLINE);
        // Whether anybody could drop it is for it to judge by what it knows.
        let counts = known.is_some_and(|known| {
            let spare = known.in_sync.len() > known.min_in_sync.max(1) as usize;
            spare && known.in_sync.contains(&process.member) && after < nearly(self.goodbye)
        });
        match (leads, counts) {
            (true, _) => Err(format!("{process:?} leaves after {after:?} and is primary")),
            (_, true) => Err(format!("{process:?} leaves after {after:?} and is in sync")),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::*;

    fn leaves(name: &str, primary: &str, in_sync: &[&str], after: u64) -> Story<LeavesInOrder> {
        let mut story = Story::new(LeavesInOrder::after(Duration::from_secs(1)));
        story.state(1, Some(primary), in_sync);
        let (after, known) = (Duration::from_millis(after), state(1, 0, Some(primary), in_sync));
        story.tell(&Fact::Left { process: &process(name), after, known: Some(&known) });
        story
    }

    #[test]
    fn who_is_not_needed_any_more_may_go() {
        leaves("b", "a", &["a"], 10).accepted();
        leaves("b", "a", &["b"], 10).accepted();
    }

    #[test]
    fn who_has_waited_for_long_may_go() {
        leaves("b", "a", &["a", "b"], 1_000).accepted();
        leaves("a", "a", &["a"], 5_000).accepted();
    }

    #[test]
    fn after_a_jump_of_the_clock_nothing_is_known() {
        let mut story = Story::new(LeavesInOrder::after(Duration::from_secs(1)));
        story.state(1, Some("a"), &["a"]).tell(&Fact::ClockJumped(&process("a")));
        story.tell(&Fact::Left { process: &process("a"), after: Duration::ZERO, known: None }).accepted();
    }

    #[test]
    fn a_primary_that_just_goes_is_rejected() {
        leaves("a", "a", &["a"], 1_000).rejected("is primary");
    }

    #[test]
    fn a_member_that_just_goes_is_rejected() {
        leaves("b", "a", &["a", "b"], 500).rejected("is in sync");
    }
}
