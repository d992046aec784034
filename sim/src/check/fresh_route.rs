//! FreshRoute (R19, R26): an answer of discovery that calls itself fresh rests on a linearizable round that began
//! when it had been asked for, or later.

use super::{Check, Fact, Kind, Ledger};

/// The property.
#[derive(Clone, Copy, Debug)]
pub struct FreshRoute;

impl Check for FreshRoute {
    fn name(&self) -> &'static str {
        "FreshRoute"
    }

    fn hears(&self) -> &'static [Kind] {
        &[Kind::AnsweredFresh]
    }

    fn check(&mut self, _: &Ledger, fact: &Fact<'_>) -> Result<(), String> {
        let Fact::AnsweredFresh { replica, asked, read } = fact else { return Ok(()) };
        let Some(asked) = asked else {
            return Err(format!("p{replica} gives a fresh answer that nobody waits for"));
        };
        if *read >= Some(*asked) {
            return Ok(());
        }
        Err(format!("p{replica} answers what was asked at {asked} ns by what it has read at {read:?} ns"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::*;

    fn answered(asked: Option<u64>, read: Option<u64>) -> Story<FreshRoute> {
        let mut story = Story::new(FreshRoute);
        story.tell(&Fact::AnsweredFresh { replica: 1, asked, read });
        story
    }

    #[test]
    fn what_was_read_since_is_fresh() {
        answered(Some(7), Some(7)).accepted();
    }

    #[test]
    fn what_was_read_before_the_question_is_not() {
        answered(Some(7), Some(6)).rejected("what it has read at");
        answered(Some(7), None).rejected("what it has read at");
    }

    #[test]
    fn nobody_is_told_who_has_not_asked() {
        answered(None, Some(7)).rejected("nobody waits");
    }
}
