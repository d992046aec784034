//! FloorMonotone: a member never acknowledges in a lower epoch than before, across crashes, and never
//! more than it holds durably.

use super::{Check, Fact, Kind, Ledger};
use std::collections::BTreeMap;
use steadfast_core::id::{Epoch, Member};
use steadfast_core::message::History;

/// The property.
#[derive(Clone, Debug, Default)]
pub struct FloorMonotone {
    floors: BTreeMap<(Member, History), Epoch>,
}

impl Check for FloorMonotone {
    fn name(&self) -> &'static str {
        "FloorMonotone"
    }

    fn hears(&self) -> &'static [Kind] {
        &[Kind::Verified]
    }

    fn check(&mut self, ledger: &Ledger, fact: &Fact<'_>) -> Result<(), String> {
        let Fact::Verified { member, history, epoch, matched } = fact else { return Ok(()) };
        let floor = self.floors.entry(((*member).clone(), *history)).or_default();
        if epoch < floor {
            return Err(format!("{member:?} acknowledged in epoch {epoch} after {floor}"));
        }
        *floor = *epoch;
        let durable = ledger.replica(member).map_or(0, |replica| replica.durable);
        if *matched > durable {
            return Err(format!("{member:?} acknowledged {matched}, {durable} is durable"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::*;
    use steadfast_core::id::Offset;

    fn verified(story: &mut Story<FloorMonotone>, epoch: Epoch, matched: Offset) {
        story.tell(&Fact::Verified { member: &member("b"), history: HISTORY, epoch, matched });
    }

    #[test]
    fn later_epochs_and_shorter_prefixes_are_accepted() {
        let mut story = Story::new(FloorMonotone::default());
        story.append("b", &[start(1), batch(1, 1, 2)]);
        for (epoch, matched) in [(1, 3), (1, 1), (3, 1)] {
            verified(&mut story, epoch, matched);
        }
        story.accepted();
    }

    #[test]
    fn an_earlier_epoch_is_rejected() {
        let mut story = Story::new(FloorMonotone::default());
        verified(&mut story, 2, 0);
        verified(&mut story, 1, 0);
        story.rejected("in epoch 1 after 2");
    }

    #[test]
    fn acknowledging_what_is_not_durable_is_rejected() {
        let mut story = Story::new(FloorMonotone::default());
        story.append("b", &[start(1)]).append_volatile("b", &[batch(1, 1, 2)]);
        verified(&mut story, 1, 3);
        story.rejected("acknowledged 3, 1 is durable");
    }
}
