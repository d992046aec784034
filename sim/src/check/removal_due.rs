//! RemovalDue (R12): a member that commits wait for in vain does not stay. A primary that may drop it asks for that at
//! once when its live node is gone or has a successor, and when it has not moved for the lag threshold, however often
//! it is heard. A process that is proved dead by its refusals may be taken for one that does not move.

use super::duty::Duty;
use super::{Check, Fact, Kind, Ledger};
use std::time::Duration;

/// The property.
#[derive(Clone, Debug)]
pub struct RemovalDue {
    lag: Duration,
}

impl RemovalDue {
    /// A member that does not move stays for so long at the most.
    pub const fn within(lag: Duration) -> Self {
        Self { lag }
    }
}

impl Check for RemovalDue {
    fn name(&self) -> &'static str {
        "RemovalDue"
    }

    fn hears(&self) -> &'static [Kind] {
        &[Kind::Owes]
    }

    fn check(&mut self, _: &Ledger, fact: &Fact<'_>) -> Result<(), String> {
        let Fact::Owes(process, Duty::Drop { member, gone, quiet }) = fact else { return Ok(()) };
        match () {
            () if *gone => Err(format!("{process:?} knows that {member:?} is gone and does not drop it")),
            () if *quiet > self.lag => {
                Err(format!("{process:?} does not drop {member:?}, which has not moved for {quiet:?}"))
            }
            () => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::*;

    fn keeps(gone: bool, seconds: u64) -> Story<RemovalDue> {
        let mut story = Story::new(RemovalDue::within(Duration::from_secs(3)));
        let (member, quiet) = (&member("b"), Duration::from_secs(seconds));
        story.tell(&Fact::Owes(&process("a"), Duty::Drop { member, gone, quiet }));
        story
    }

    #[test]
    fn a_member_may_stand_still_for_a_while() {
        keeps(false, 3).accepted();
    }

    #[test]
    fn one_that_stays_for_longer_is_rejected() {
        keeps(false, 4).rejected("has not moved for 4s");
    }

    #[test]
    fn one_that_stays_though_it_is_gone_is_rejected() {
        keeps(true, 0).rejected("is gone");
    }
}
