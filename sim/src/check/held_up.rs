//! HeldUp (R13): a primary commits what everybody has verified whom it counts. For a follower on its way into the set
//! it may wait, but not for longer than it takes to suspect somebody.

use super::{Check, Fact, Kind, Ledger};
use std::time::Duration;

/// The property.
#[derive(Clone, Debug)]
pub struct HeldUp {
    patience: Duration,
}

impl HeldUp {
    /// A primary waits for so long at the most.
    pub const fn for_at_most(patience: Duration) -> Self {
        Self { patience }
    }
}

impl Check for HeldUp {
    fn name(&self) -> &'static str {
        "HeldUp"
    }

    fn hears(&self) -> &'static [Kind] {
        &[Kind::Behind]
    }

    fn check(&mut self, _: &Ledger, fact: &Fact<'_>) -> Result<(), String> {
        match *fact {
            Fact::Behind { process, time } if time > self.patience => Err(format!(
                "{process:?} has not committed for {time:?} what everybody has verified whom it counts"
            )),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::*;

    fn behind_for(seconds: u64) -> Story<HeldUp> {
        let mut story = Story::new(HeldUp::for_at_most(Duration::from_secs(2)));
        story.tell(&Fact::Behind { process: &process("a"), time: Duration::from_secs(seconds) });
        story
    }

    #[test]
    fn a_primary_may_wait_for_a_while() {
        behind_for(2).accepted();
    }

    #[test]
    fn who_waits_for_longer_is_rejected() {
        behind_for(3).rejected("has not committed for 3s");
    }
}
