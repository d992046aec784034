//! NoFlapping: a member that was dropped is not taken in, dropped and taken in again while it
//! acknowledges nothing. (Once may happen: an acknowledgement can be under way when a member is dropped.)

use super::{Check, Fact, Kind, Ledger};
use std::collections::BTreeMap;
use steadfast_core::id::Member;

/// Times that a member may be taken in on the strength of nothing new.
const TOLERATED: u32 = 1;

/// The property.
#[derive(Clone, Debug, Default)]
pub struct NoFlapping {
    /// How often each member was taken in since it last acknowledged anything.
    taken_in: BTreeMap<Member, u32>,
}

impl Check for NoFlapping {
    fn name(&self) -> &'static str {
        "NoFlapping"
    }

    fn hears(&self) -> &'static [Kind] {
        &[Kind::State, Kind::Verified]
    }

    fn check(&mut self, ledger: &Ledger, fact: &Fact<'_>) -> Result<(), String> {
        match fact {
            Fact::Verified { member, .. } => {
                self.taken_in.remove(*member);
            }
            Fact::State(state) => {
                let Some(before) = ledger.states().iter().rev().nth(1) else { return Ok(()) };
                let expanded = before.primary == state.primary && before.epoch == state.epoch;
                let new = state.in_sync.iter().find(|member| !before.in_sync.contains(member));
                let Some(member) = new.filter(|_| expanded) else { return Ok(()) };
                let times = self.taken_in.entry(member.clone()).or_default();
                *times += 1;
                if *times > TOLERATED {
                    return Err(format!("{member:?} was taken in again and has acknowledged nothing"));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::*;

    fn dropped_and_taken_in(story: &mut Story<NoFlapping>) {
        story.state(1, Some("a"), &["a", "b"]).state(1, Some("a"), &["a"]);
    }

    #[test]
    fn coming_back_after_an_acknowledgement_is_accepted() {
        let mut story = Story::new(NoFlapping::default());
        story.state(1, Some("a"), &["a"]);
        for _ in 0..5 {
            let (member, history) = (&member("b"), HISTORY);
            story.tell(&Fact::Verified { member, history, epoch: 1, matched: 0 });
            dropped_and_taken_in(&mut story);
        }
        story.accepted();
    }

    #[test]
    fn coming_back_again_and_again_on_nothing_is_rejected() {
        let mut story = Story::new(NoFlapping::default());
        story.state(1, Some("a"), &["a"]);
        dropped_and_taken_in(&mut story);
        story.accepted();
        dropped_and_taken_in(&mut story);
        story.rejected("acknowledged nothing");
    }
}
