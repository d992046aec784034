//! SuccessionDue (R2): a primary without a live node is replaced, whatever frames it still sends. Each in-sync member
//! that knows of it, and is registered in its session, reads the tree when its turn has come, and then stands for the
//! lead.

use super::duty::{Due, Duty};
use super::{Check, Fact, Kind, Ledger};
use std::time::Duration;

/// Whoever is to read the tree asks for that at once, or when a read has failed a moment ago. Then several calls are
/// under way one after the other.
const READ: Duration = Duration::from_secs(3);

/// The property.
#[derive(Clone, Debug)]
pub struct SuccessionDue {
    due: Due,
}

impl SuccessionDue {
    /// A candidate waits for its turn, and longer if it has failed before.
    pub const fn within(due: Due) -> Self {
        Self { due }
    }

    fn patience(&self, candidates: u32, led: bool) -> Duration {
        let again = if led { self.due.deposals.max(self.due.retry) } else { self.due.retry };
        self.due.turn * candidates + again
    }
}

impl Check for SuccessionDue {
    fn name(&self) -> &'static str {
        "SuccessionDue"
    }

    fn hears(&self) -> &'static [Kind] {
        &[Kind::Owes]
    }

    fn check(&mut self, _: &Ledger, fact: &Fact<'_>) -> Result<(), String> {
        let Fact::Owes(process, Duty::Stand { time, candidates, led, read, idle }) = *fact else {
            return Ok(());
        };
        let patience = self.patience(candidates, led);
        match () {
            () if read > patience => Err(format!(
                "{process:?} has had no live primary for {time:?}, has read so, and does not stand"
            )),
            () if time > patience + READ && idle > READ => {
                Err(format!("{process:?} has had no live primary for {time:?} and does not read the tree"))
            }
            () => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::*;
    use steadfast_core::limits::Timing;

    /// By default turns take 120 ms, another attempt 600 ms, and leaving it to others 6.6 s.
    fn waits(time: u64, (read, idle): (u64, u64), led: bool) -> Story<SuccessionDue> {
        let mut story = Story::new(SuccessionDue::within(Due::by(&Timing::default())));
        let ms = Duration::from_millis;
        let duty = Duty::Stand { time: ms(time), candidates: 2, led, read: ms(read), idle: ms(idle) };
        story.tell(&Fact::Owes(&process("b"), duty));
        story
    }

    #[test]
    fn a_candidate_has_its_turn() {
        waits(840, (840, 0), false).accepted();
    }

    #[test]
    fn one_that_has_read_the_tree_after_that_and_does_not_stand_is_rejected() {
        waits(841, (841, 0), false).rejected("has read so, and does not stand");
    }

    #[test]
    fn whom_nobody_followed_leaves_it_to_others_for_a_while() {
        waits(6_840, (6_840, 0), true).accepted();
        waits(6_841, (6_841, 0), true).rejected("does not stand");
    }

    #[test]
    fn a_read_may_take_as_long_as_the_service_wants() {
        waits(60_000, (0, 0), false).accepted();
    }

    #[test]
    fn one_that_does_not_read_is_rejected() {
        waits(3_840, (0, 3_840), false).accepted();
        waits(3_841, (0, 3_841), false).rejected("does not read the tree");
    }
}
