//! SupersetQuorum: the members that the true primary's commits wait for include, at every moment, all
//! that the tree holds to be in sync: whatever is under way, no commit lacks a possible successor.

use super::{Check, Fact, Kind, Ledger};
use std::collections::{BTreeMap, BTreeSet};
use steadfast_core::group::PrimaryId;
use steadfast_core::id::{Epoch, Incarnation, Member};

/// The property.
#[derive(Clone, Debug, Default)]
pub struct SupersetQuorum {
    /// Whom each acting primary counts, by its process.
    counted: BTreeMap<(Member, Incarnation), (Epoch, BTreeSet<Member>)>,
}

fn key(process: &PrimaryId) -> (Member, Incarnation) {
    (process.member.clone(), process.incarnation)
}

impl SupersetQuorum {
    fn compare(&self, ledger: &Ledger) -> Result<(), String> {
        let Some(state) = ledger.states().last() else { return Ok(()) };
        let Some(primary) = &state.primary else { return Ok(()) };
        let Some((epoch, counted)) = self.counted.get(&key(primary)) else { return Ok(()) };
        match state.in_sync.iter().find(|member| !counted.contains(member)) {
            Some(member) if *epoch == state.epoch => Err(format!(
                "{member:?} is in sync in configuration {}, and the primary does not count it: {counted:?}",
                state.config
            )),
            _ => Ok(()),
        }
    }
}

impl Check for SupersetQuorum {
    fn name(&self) -> &'static str {
        "SupersetQuorum"
    }

    fn hears(&self) -> &'static [Kind] {
        &[Kind::Counts, Kind::State, Kind::StorageLost]
    }

    fn check(&mut self, ledger: &Ledger, fact: &Fact<'_>) -> Result<(), String> {
        match *fact {
            Fact::Counts { process, epoch, members } => {
                self.counted.insert(key(process), (epoch, members.iter().cloned().collect()));
            }
            Fact::StorageLost(lost) => self.counted.retain(|(member, _), _| member != lost),
            Fact::State(_) => {}
            _ => return Ok(()),
        }
        self.compare(ledger)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::*;

    fn story(counted: &[&str]) -> Story<SupersetQuorum> {
        let mut story = Story::new(SupersetQuorum::default());
        story.state(1, Some("a"), &["a", "b"]);
        counts(&mut story, 1, counted);
        story
    }

    fn counts(story: &mut Story<SupersetQuorum>, epoch: Epoch, names: &[&str]) {
        let members: Vec<_> = names.iter().map(|name| member(name)).collect();
        story.tell(&Fact::Counts { process: &process("a"), epoch, members: &members });
    }

    #[test]
    fn counting_at_least_the_set_is_accepted() {
        story(&["a", "b"]).accepted();
        story(&["a", "b", "c"]).state(1, Some("a"), &["a", "b", "c"]).accepted();
        story(&["a", "b"]).state(1, Some("a"), &["a"]).accepted();
    }

    #[test]
    fn a_member_that_is_not_counted_is_rejected() {
        story(&["a"]).rejected("is in sync");
    }

    #[test]
    fn a_member_that_was_taken_in_before_it_counts_is_rejected() {
        story(&["a", "b"]).state(1, Some("a"), &["a", "b", "c"]).rejected("configuration 1");
    }

    #[test]
    fn a_member_that_is_forgotten_too_early_is_rejected() {
        let mut story = story(&["a", "b"]);
        counts(&mut story, 1, &["a"]);
        story.rejected("is in sync");
    }

    #[test]
    fn who_is_deposed_or_dead_may_count_whom_it_likes() {
        let mut deposed = story(&["a", "b"]);
        deposed.state(2, Some("b"), &["b", "c"]);
        counts(&mut deposed, 1, &["a"]);
        deposed.accepted();
        let mut earlier = story(&["a", "b"]);
        earlier.state(3, Some("a"), &["a", "c"]).accepted();
        story(&["a", "b"]).lose("a").state(1, Some("a"), &["a", "c"]).accepted();
    }
}
