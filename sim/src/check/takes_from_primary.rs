//! TakesFromPrimary (R5): a backup takes entries only from the primary that the tree has named to it.

use super::{Check, Fact, Kind, Ledger};

/// The property.
#[derive(Clone, Debug)]
pub struct TakesFromPrimary;

impl Check for TakesFromPrimary {
    fn name(&self) -> &'static str {
        "TakesFromPrimary"
    }

    fn hears(&self) -> &'static [Kind] {
        &[Kind::Took]
    }

    fn check(&mut self, _: &Ledger, fact: &Fact<'_>) -> Result<(), String> {
        let Fact::Took { process, from, known } = fact else { return Ok(()) };
        // A frame of a process's life before may come late: names are compared.
        let primary = known.primary.as_ref().map(|primary| &primary.member.node);
        match primary == Some(*from) {
            true => Ok(()),
            false => Err(format!(
                "{process:?} takes what {from} has sent; in epoch {} {primary:?} is primary",
                known.epoch
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::*;

    fn takes_from(name: &str) -> Story<TakesFromPrimary> {
        let (known, from) = (state(2, 3, Some("a"), &["a", "b"]), member(name).node);
        let mut story = Story::new(TakesFromPrimary);
        story.tell(&Fact::Took { process: &process("b"), from: &from, known: &known });
        story
    }

    #[test]
    fn what_the_primary_sends_is_taken() {
        takes_from("a").accepted();
    }

    #[test]
    fn what_another_one_sends_is_not() {
        takes_from("c").rejected("takes what c has sent");
    }
}
