//! OnePrimaryPerEpoch: epochs in the tree strictly increase with every change of primary, and a process
//! acts in an epoch only if it is the incarnation that won it, and not again once it has stepped down.

use super::{Check, Fact, Kind, Ledger};
use std::collections::{BTreeMap, BTreeSet};
use steadfast_core::group::PrimaryId;
use steadfast_core::id::Epoch;
use steadfast_core::message::History;

/// The property.
#[derive(Clone, Debug, Default)]
pub struct OnePrimaryPerEpoch {
    winners: BTreeMap<(History, Epoch), Option<PrimaryId>>,
    /// The epochs in which somebody has begun to act.
    acted: BTreeSet<(History, Epoch)>,
}

impl Check for OnePrimaryPerEpoch {
    fn name(&self) -> &'static str {
        "OnePrimaryPerEpoch"
    }

    fn hears(&self) -> &'static [Kind] {
        &[Kind::Acts, Kind::State]
    }

    fn check(&mut self, ledger: &Ledger, fact: &Fact<'_>) -> Result<(), String> {
        match fact {
            Fact::State(state) => {
                let before = ledger.states().iter().rev().nth(1);
                if before.is_some_and(|before| before.epoch > state.epoch) {
                    return Err(format!("the epoch went back to {}", state.epoch));
                }
                let key = (state.history, state.epoch);
                let winner = self.winners.entry(key).or_insert_with(|| state.primary.clone());
                if *winner == state.primary {
                    return Ok(());
                }
                Err(format!("epoch {} has two primaries: {winner:?} and {:?}", state.epoch, state.primary))
            }
            Fact::Acts { process, history, epoch } => {
                match self.winners.get(&(*history, *epoch)).and_then(Option::as_ref) {
                    Some(winner) if winner == *process && !self.acted.insert((*history, *epoch)) => {
                        Err(format!("{process:?} acts in epoch {epoch} again"))
                    }
                    Some(winner) if winner == *process => Ok(()),
                    winner => Err(format!("{process:?} acts in epoch {epoch}, which {winner:?} won")),
                }
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::*;
    use steadfast_core::id::Incarnation;

    fn acts(story: &mut Story<OnePrimaryPerEpoch>, process: &PrimaryId, epoch: Epoch) {
        story.tell(&Fact::Acts { process, history: HISTORY, epoch });
    }

    fn elected() -> Story<OnePrimaryPerEpoch> {
        let mut story = Story::new(OnePrimaryPerEpoch::default());
        story.state(0, None, &["a"]).state(1, Some("a"), &["a"]).state(1, Some("a"), &["a", "b"]);
        story
    }

    #[test]
    fn the_winner_acts_and_a_late_one_still_does() {
        let mut story = elected();
        story.state(2, Some("b"), &["b"]);
        acts(&mut story, &process("b"), 2);
        acts(&mut story, &process("a"), 1);
        story.accepted();
    }

    #[test]
    fn who_has_stepped_down_does_not_act_again() {
        let mut story = elected();
        acts(&mut story, &process("a"), 1);
        acts(&mut story, &process("a"), 1);
        story.rejected("in epoch 1 again");
    }

    #[test]
    fn a_second_primary_of_an_epoch_is_rejected() {
        elected().state(1, Some("b"), &["b"]).rejected("two primaries");
    }

    #[test]
    fn an_epoch_that_goes_back_is_rejected() {
        elected().state(2, Some("b"), &["b"]).state(1, Some("a"), &["a"]).rejected("went back to 1");
    }

    #[test]
    fn acting_without_having_won_is_rejected() {
        let mut story = elected();
        acts(&mut story, &process("b"), 2);
        story.rejected("acts in epoch 2, which None won");
    }

    #[test]
    fn a_later_incarnation_of_the_winner_is_rejected() {
        let mut story = elected();
        let restarted = PrimaryId { incarnation: Incarnation(2), ..process("a") };
        acts(&mut story, &restarted, 1);
        story.rejected("acts in epoch 1");
    }
}
