//! BelievesForward (R25): a broker takes an earlier state of the group for true only when a linearizable round shows
//! it that began after its own latest change was known to hold. Whom a primary counts, it would otherwise take back on
//! the word of a server that is late.

use super::{Check, Fact, Kind, Ledger};

/// The property.
#[derive(Clone, Copy, Debug)]
pub struct BelievesForward;

impl Check for BelievesForward {
    fn name(&self) -> &'static str {
        "BelievesForward"
    }

    fn hears(&self) -> &'static [Kind] {
        &[Kind::TookBack]
    }

    fn check(&mut self, _: &Ledger, fact: &Fact<'_>) -> Result<(), String> {
        match *fact {
            Fact::TookBack { process, versions: (from, to), proved: false } => {
                Err(format!("{process:?} takes the state back from version {from} to {to}, unproved"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::*;

    fn takes_back(proved: bool) -> Story<BelievesForward> {
        let mut story = Story::new(BelievesForward);
        story.tell(&Fact::TookBack { process: &process("a"), versions: (7, 6), proved });
        story
    }

    #[test]
    fn what_a_linearizable_round_shows_is_believed() {
        takes_back(true).accepted();
    }

    #[test]
    fn what_a_late_server_shows_is_not() {
        takes_back(false).rejected("from version 7 to 6");
    }
}
