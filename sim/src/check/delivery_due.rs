//! DeliveryDue (R30): what is committed, and what a stream has credit for, is sent at once, also where it is more than one
//! step allows. A primary that serves goes on by itself: it waits neither for another commit nor for another grant.

use super::duty::Duty;
use super::{Check, Fact, Kind, Ledger};
use std::time::Duration;

/// A primary that takes so long has other work besides.
const PATIENCE: Duration = Duration::from_millis(500);

/// The property.
#[derive(Clone, Debug, Default)]
pub struct DeliveryDue;

impl Check for DeliveryDue {
    fn name(&self) -> &'static str {
        "DeliveryDue"
    }

    fn hears(&self) -> &'static [Kind] {
        &[Kind::Owes]
    }

    fn check(&mut self, _: &Ledger, fact: &Fact<'_>) -> Result<(), String> {
        let Fact::Owes(process, Duty::Deliver { behind }) = fact else { return Ok(()) };
        match *behind > PATIENCE {
            false => Ok(()),
            true => Err(format!("for {behind:?} {process:?} has not sent a stream what it has credit for")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::*;

    fn waits(millis: u64) -> Story<DeliveryDue> {
        let mut story = Story::new(DeliveryDue);
        let behind = Duration::from_millis(millis);
        story.tell(&Fact::Owes(&process("a"), Duty::Deliver { behind }));
        story
    }

    #[test]
    fn a_stream_may_wait_for_a_moment() {
        waits(500).accepted();
    }

    #[test]
    fn one_that_waits_for_longer_is_rejected() {
        waits(501).rejected("for 501ms");
    }
}
