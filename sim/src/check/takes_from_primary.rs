//! TakesFromPrimary (R5): a backup takes entries only from the primary that the tree has named to it, and of no higher
//! epoch than the tree has named.

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
        let Fact::Took { process, from, newest, known } = fact else { return Ok(()) };
        if let Some(newest) = newest.filter(|newest| *newest > known.epoch) {
            let known = known.epoch;
            return Err(format!("{process:?} takes entries of epoch {newest} and knows of {known}"));
        }
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
    use steadfast_core::id::Epoch;

    /// In epoch 2 the primary is a.
    fn takes(newest: Option<Epoch>, name: &str) -> Story<TakesFromPrimary> {
        let (known, from) = (state(2, 3, Some("a"), &["a", "b"]), member(name).node);
        let mut story = Story::new(TakesFromPrimary);
        story.tell(&Fact::Took { process: &process("b"), from: &from, newest, known: &known });
        story
    }

    #[test]
    fn what_the_primary_sends_is_taken() {
        takes(None, "a").accepted();
        takes(Some(2), "a").accepted();
    }

    #[test]
    fn what_another_one_sends_is_not() {
        takes(Some(2), "c").rejected("takes what c has sent");
    }

    #[test]
    fn what_a_later_epoch_brings_is_not_taken_before_the_tree_has_named_it() {
        takes(Some(3), "a").rejected("takes entries of epoch 3 and knows of 2");
    }
}
