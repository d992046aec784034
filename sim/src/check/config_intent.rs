//! ConfigIntent: the group's state in the tree is created once and changes only in the ways that
//! [`steadfast_core::group`] builds.

use super::{Check, Fact, Ledger};
use steadfast_core::group::GroupState;

/// The property.
#[derive(Clone, Debug, Default)]
pub struct ConfigIntent;

/// Whether `after` is what one of the allowed changes makes of `before`.
pub(crate) fn is_allowed(before: &GroupState, after: &GroupState) -> bool {
    let nonce = after.nonce;
    let dropped = before.in_sync.iter().find(|member| !after.in_sync.contains(member));
    let taken_in = after.in_sync.iter().find(|member| !before.in_sync.contains(member));
    let leader = before.primary.as_ref().map(|primary| &primary.member);
    let promotes = after.primary.as_ref().is_some_and(|candidate| {
        before.may_lead(&candidate.member) && *after == before.promote(candidate, nonce)
    });
    let shrinks = leader.is_some()
        && before.may_shrink()
        && dropped.is_some_and(|member| Some(member) != leader && *after == before.shrink(member, nonce));
    let expands = leader.is_some() && taken_in.is_some_and(|member| *after == before.expand(member, nonce));
    let replaces = leader.is_some()
        && taken_in.is_some_and(|member| before.replace(member, nonce).as_ref() == Some(after));
    // Also a reset (R27b) gives up the data.
    let gives_up = *after == before.give_up(nonce);
    gives_up || (keeps_enough(before, after) && (promotes || shrinks || expands || replaces))
}

/// R35, whatever the changes make of it: a set that has reached the least number never falls below it,
/// a smaller one never becomes smaller still, and the number is fixed.
fn keeps_enough(before: &GroupState, after: &GroupState) -> bool {
    let least = before.in_sync.len().min(before.min_in_sync as usize);
    after.in_sync.len() >= least && after.min_in_sync == before.min_in_sync
}

impl Check for ConfigIntent {
    fn name(&self) -> &'static str {
        "ConfigIntent"
    }

    fn check(&mut self, ledger: &Ledger, fact: &Fact<'_>) -> Result<(), String> {
        let after = match fact {
            Fact::State(state) => *state,
            Fact::StateDeleted => return Err("the group's state was deleted".to_owned()),
            _ => return Ok(()),
        };
        let allowed = match ledger.states().iter().rev().nth(1) {
            Some(before) => is_allowed(before, after),
            None => match after.in_sync.as_slice() {
                [first] => {
                    let (id, size) = (after.history.group_id, after.min_in_sync);
                    *after == GroupState::bootstrap(id, first.clone(), size, after.nonce)
                }
                _ => false,
            },
        };
        if allowed { Ok(()) } else { Err(format!("no rule leads to {after:?}")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::*;
    use steadfast_core::id::{Epoch, Generation, Member, Nonce};

    fn elected() -> Story<ConfigIntent> {
        let mut story = Story::new(ConfigIntent);
        story.state(0, None, &["a"]).state(1, Some("a"), &["a"]);
        story
    }

    #[test]
    fn the_life_of_a_group_is_accepted() {
        let mut story = elected();
        story.state(1, Some("a"), &["a", "b"]).state(1, Some("a"), &["a", "b", "c"]);
        story.state(2, Some("b"), &["b", "c"]).state(2, Some("b"), &["b"]).state(3, Some("b"), &["b"]);
        let lost = state(3, 6, Some("b"), &["b"]).give_up(Nonce(7));
        story.tell(&Fact::State(&lost));
        story.tell(&Fact::State(&lost.promote(&process("c"), Nonce(8)))).accepted();
    }

    #[test]
    fn a_group_that_begins_with_a_primary_is_rejected() {
        Story::new(ConfigIntent).state(1, Some("a"), &["a"]).rejected("no rule");
    }

    #[test]
    fn promoting_a_member_that_is_not_in_sync_is_rejected() {
        elected().state(2, Some("b"), &["b"]).rejected("no rule");
    }

    #[test]
    fn changing_the_primary_within_an_epoch_is_rejected() {
        elected().state(1, Some("a"), &["a", "b"]).state(1, Some("b"), &["b"]).rejected("no rule");
    }

    #[test]
    fn dropping_the_primary_is_rejected() {
        elected().state(1, Some("a"), &["a", "b"]).state(1, Some("a"), &["b"]).rejected("no rule");
    }

    #[test]
    fn two_changes_in_one_are_rejected() {
        elected().state(1, Some("a"), &["a", "b", "c"]).rejected("no rule");
    }

    #[test]
    fn writing_without_a_new_number_is_rejected() {
        let mut story = elected();
        story.tell(&Fact::State(&state(1, 1, Some("a"), &["a", "b"]))).rejected("no rule");
    }

    #[test]
    fn deletion_is_rejected() {
        elected().tell(&Fact::StateDeleted).rejected("deleted");
    }

    /// The group's states where commits need two members.
    fn of_two(states: &[(Epoch, &str, &[&str])]) -> Story<ConfigIntent> {
        let mut story = Story::new(ConfigIntent);
        let all = [(0, None, &["a"][..]), (1, Some("a"), &["a"]), (1, Some("a"), &["a", "b"])].into_iter();
        let more = states.iter().map(|(epoch, primary, in_sync)| (*epoch, Some(*primary), *in_sync));
        for (config, (epoch, primary, in_sync)) in (0..).zip(all.chain(more)) {
            story
                .tell(&Fact::State(&GroupState { min_in_sync: 2, ..state(epoch, config, primary, in_sync) }));
        }
        story
    }

    #[test]
    fn a_group_of_two_that_keeps_two_is_accepted() {
        of_two(&[(2, "b", &["a", "b"]), (2, "b", &["a", "b", "c"]), (2, "b", &["b", "c"])]).accepted();
    }

    #[test]
    fn a_promotion_that_leaves_too_few_is_rejected() {
        of_two(&[(2, "b", &["b"])]).rejected("no rule");
    }

    #[test]
    fn a_shrink_that_leaves_too_few_is_rejected() {
        of_two(&[(1, "a", &["a"])]).rejected("no rule");
    }

    #[test]
    fn keeping_the_primary_before_without_need_is_rejected() {
        of_two(&[(1, "a", &["a", "b", "c"]), (2, "b", &["a", "b", "c"])]).rejected("no rule");
    }

    #[test]
    fn changing_the_least_number_is_rejected() {
        let mut story = of_two(&[]);
        story.tell(&Fact::State(&state(1, 3, Some("a"), &["a", "b", "c"]))).rejected("no rule");
    }

    /// `b` and then another node's or another storage's member in its place.
    fn replaced(by: Member) -> Story<ConfigIntent> {
        let mut story = of_two(&[]);
        let before = state(1, 3, Some("a"), &["a"]);
        let in_sync = vec![member("a"), by];
        story.tell(&Fact::State(&GroupState { min_in_sync: 2, in_sync, ..before }));
        story
    }

    #[test]
    fn another_storage_in_its_nodes_place_is_accepted() {
        replaced(Member { generation: Generation(2), ..member("b") }).accepted();
    }

    #[test]
    fn another_node_in_a_members_place_is_rejected() {
        replaced(member("c")).rejected("no rule");
    }
}
