//! ReleaseDue (R17): publishers are held back for a follower that is on its way for a minute at the most, and only as
//! long as one is heard. No plan takes a minute: that bound rests on this checker's histories.

use super::duty::{Duty, at_most};
use super::{Check, Fact, Kind, Ledger};
use std::time::Duration;

/// Publishers are held back for so long at the most.
const TERM: Duration = at_most(Duration::from_secs(60));

/// The property.
#[derive(Clone, Debug)]
pub struct ReleaseDue {
    learner: Duration,
}

impl ReleaseDue {
    /// A follower that does not move is not waited for after this time.
    pub const fn within(learner: Duration) -> Self {
        Self { learner }
    }
}

impl Check for ReleaseDue {
    fn name(&self) -> &'static str {
        "ReleaseDue"
    }

    fn hears(&self) -> &'static [Kind] {
        &[Kind::Owes]
    }

    fn check(&mut self, _: &Ledger, fact: &Fact<'_>) -> Result<(), String> {
        let Fact::Owes(process, Duty::Release { time, unheard }) = fact else { return Ok(()) };
        match () {
            () if *time > TERM => Err(format!("{process:?} holds publishers back for {time:?}")),
            () if *unheard > self.learner => Err(format!(
                "{process:?} holds publishers back for nobody: of whoever is not in sync it has heard nothing for {unheard:?}"
            )),
            () => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::*;

    fn holds_back(time: u64, unheard: u64) -> Story<ReleaseDue> {
        let mut story = Story::new(ReleaseDue::within(Duration::from_secs(1)));
        let (time, unheard) = (Duration::from_secs(time), Duration::from_secs(unheard));
        story.tell(&Fact::Owes(&process("a"), Duty::Release { time, unheard }));
        story
    }

    #[test]
    fn publishers_may_be_held_back_for_a_minute() {
        holds_back(72, 1).accepted();
    }

    #[test]
    fn holding_them_back_for_longer_is_rejected() {
        holds_back(73, 0).rejected("holds publishers back for 73s");
    }

    #[test]
    fn holding_them_back_for_nobody_is_rejected() {
        holds_back(2, 2).rejected("for nobody");
    }
}
