//! ConfigIntent: the group's state in the tree is created once and changes only in the ways that the rules
//! allow. What they are is said here once more, independently of the code that makes the changes.

use super::{Check, Fact, Kind, Ledger};
use std::collections::BTreeSet;
use steadfast_core::group::GroupState;
use steadfast_core::id::{Epoch, Member};
use steadfast_core::message::History;

/// The property.
#[derive(Clone, Debug, Default)]
pub struct ConfigIntent;

/// Whether `after` is what one of the allowed changes makes of `before`.
pub(crate) fn is_allowed(before: &GroupState, after: &GroupState) -> bool {
    let numbered = after.config == before.config + 1
        && after.nonce != before.nonce
        && after.min_in_sync == before.min_in_sync;
    let members: BTreeSet<_> = after.in_sync.iter().collect();
    numbered && members.len() == after.in_sync.len() && (gives_up(before, after) || goes_on(before, after))
}

/// R24, R27: the data is given up, and what was its last epoch is noted.
fn gives_up(before: &GroupState, after: &GroupState) -> bool {
    let History { group_id, lineage } = before.history;
    after.history == History { group_id, lineage: lineage + 1 }
        && (after.epoch, after.lost_epoch) == (before.epoch + 1, before.epoch)
        && after.primary.is_none()
        && after.in_sync.is_empty()
}

/// The group goes on with its data, under another primary or with another member.
fn goes_on(before: &GroupState, after: &GroupState) -> bool {
    after.history == before.history
        && after.lost_epoch == before.lost_epoch
        && keeps_enough(before, after)
        && (promotes(before, after) || changes_a_member(before, after))
}

/// R2: a member becomes primary and takes the place of the one before, which stays only where too few would
/// be left without it (R35).
fn promotes(before: &GroupState, after: &GroupState) -> bool {
    let Some(candidate) = after.primary.as_ref().map(|primary| &primary.member) else { return false };
    let deposed = before.primary.as_ref().map(|primary| &primary.member);
    let with = |dropped: Option<&Member>| -> BTreeSet<_> {
        before.in_sync.iter().filter(|member| Some(*member) != dropped).chain([candidate]).cloned().collect()
    };
    let mut expected = with(deposed);
    if expected.len() < before.in_sync.len().min(before.min_in_sync as usize) {
        expected = with(None);
    }
    after.epoch == before.epoch + 1
        && (before.in_sync.is_empty() || before.in_sync.contains(candidate))
        && after.in_sync.iter().cloned().collect::<BTreeSet<_>>() == expected
}

/// R12, R13, R35: the primary drops a member, takes one in, or takes one in for another storage of its node.
fn changes_a_member(before: &GroupState, after: &GroupState) -> bool {
    let Some(leader) = &before.primary else { return false };
    let missing = |from: &GroupState, of: &GroupState| -> Vec<Member> {
        of.in_sync.iter().filter(|member| !from.in_sync.contains(member)).cloned().collect()
    };
    let (dropped, taken) = (missing(after, before), missing(before, after));
    let allowed = match (dropped.as_slice(), taken.as_slice()) {
        ([dropped], []) => *dropped != leader.member && before.in_sync.len() > least(before),
        ([], [_]) => true,
        ([dropped], [taken]) => dropped.node == taken.node && *dropped != leader.member,
        _ => false,
    };
    let reign = |state: &GroupState| -> (Epoch, _) { (state.epoch, state.primary.clone()) };
    allowed && reign(before) == reign(after)
}

const fn least(state: &GroupState) -> usize {
    if state.min_in_sync == 0 { 1 } else { state.min_in_sync as usize }
}

/// R35, whatever the changes make of it: a set that has reached the least number never falls below it,
/// a smaller one never becomes smaller still.
fn keeps_enough(before: &GroupState, after: &GroupState) -> bool {
    after.in_sync.len() >= before.in_sync.len().min(before.min_in_sync as usize)
}

/// R26: a group begins with the member that registered first, and nobody leads it.
fn begins(state: &GroupState) -> bool {
    state.in_sync.len() == 1
        && state.history.lineage == 1
        && (state.epoch, state.config, state.lost_epoch) == (0, 0, 0)
        && state.primary.is_none()
}

impl Check for ConfigIntent {
    fn name(&self) -> &'static str {
        "ConfigIntent"
    }

    fn hears(&self) -> &'static [Kind] {
        &[Kind::State, Kind::StateDeleted]
    }

    fn check(&mut self, ledger: &Ledger, fact: &Fact<'_>) -> Result<(), String> {
        let after = match fact {
            Fact::State(state) => *state,
            Fact::StateDeleted => return Err("the group's state was deleted".to_owned()),
            _ => return Ok(()),
        };
        let allowed = match ledger.states().iter().rev().nth(1) {
            Some(before) => is_allowed(before, after),
            None => begins(after),
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
    fn giving_up_without_a_new_lineage_is_rejected() {
        let lost = state(1, 1, Some("a"), &["a"]).give_up(Nonce(7));
        let same = GroupState { history: HISTORY, ..lost };
        elected().tell(&Fact::State(&GroupState { config: 2, ..same })).rejected("no rule");
    }

    #[test]
    fn keeping_the_primary_before_where_others_are_enough_is_rejected() {
        let mut story = elected();
        story.state(1, Some("a"), &["a", "b"]).state(2, Some("b"), &["a", "b"]).rejected("no rule");
    }

    #[test]
    fn a_member_that_is_named_twice_is_rejected() {
        elected().state(1, Some("a"), &["a", "a"]).rejected("no rule");
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
