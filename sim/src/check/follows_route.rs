//! FollowsRoute (R26): a client that learns of a primary of a later reign leaves the one that it has, which may not
//! know yet that its own is over.

use super::{Check, Fact, Kind, Ledger};

/// The property.
#[derive(Clone, Debug)]
pub struct FollowsRoute;

impl Check for FollowsRoute {
    fn name(&self) -> &'static str {
        "FollowsRoute"
    }

    fn hears(&self) -> &'static [Kind] {
        &[Kind::StaysWith]
    }

    fn check(&mut self, _: &Ledger, fact: &Fact<'_>) -> Result<(), String> {
        match *fact {
            Fact::StaysWith { client, with, named } if named > with => Err(format!(
                "client {client} stays with the primary of epoch {with}, and was told of that of epoch {named}"
            )),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::*;

    fn named(named: u64) -> Story<FollowsRoute> {
        let mut story = Story::new(FollowsRoute);
        story.tell(&Fact::StaysWith { client: 1, with: 4, named });
        story
    }

    #[test]
    fn who_is_told_of_an_earlier_reign_may_stay() {
        named(3).accepted();
        named(4).accepted();
    }

    #[test]
    fn who_is_told_of_a_later_one_may_not() {
        named(5).rejected("stays with the primary of epoch 4");
    }
}
