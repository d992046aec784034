//! CommitsCounted (R9): a primary's commit offset moves to what everybody has verified whom it counts, and no
//! further, whatever change of the in-sync set is under way. [`super::superset_quorum`] judges whom it counts,
//! [`super::counts_verified`] what for.

use super::{Check, Fact, Kind, Ledger};
use std::collections::BTreeMap;
use steadfast_core::group::PrimaryId;
use steadfast_core::id::{Epoch, Incarnation, Member, Offset};

/// What a primary counts.
#[derive(Clone, Debug, Default)]
struct Counted {
    epoch: Epoch,
    members: Vec<Member>,
    matched: BTreeMap<Member, Offset>,
}

/// The property.
#[derive(Clone, Debug, Default)]
pub struct CommitsCounted {
    primaries: BTreeMap<Incarnation, Counted>,
}

impl CommitsCounted {
    fn of(&mut self, process: &PrimaryId, epoch: Epoch) -> &mut Counted {
        let counted = self.primaries.entry(process.incarnation).or_default();
        if counted.epoch != epoch {
            *counted = Counted { epoch, ..Counted::default() };
        }
        counted
    }
}

impl Check for CommitsCounted {
    fn name(&self) -> &'static str {
        "CommitsCounted"
    }

    fn hears(&self) -> &'static [Kind] {
        &[Kind::Advanced, Kind::Counts, Kind::Matched]
    }

    fn check(&mut self, _: &Ledger, fact: &Fact<'_>) -> Result<(), String> {
        match *fact {
            Fact::Counts { process, epoch, members } => {
                self.of(process, epoch).members = members.to_vec();
            }
            Fact::Matched { process, epoch, member, matched } => {
                self.of(process, epoch).matched.insert(member.clone(), matched);
            }
            Fact::Advanced { process, epoch, commit } => {
                let counted = self.of(process, epoch);
                let matched = |member: &&Member| counted.matched.get(*member).copied().unwrap_or(0);
                let mut others = counted.members.iter().filter(|member| **member != process.member);
                if let Some(member) = others.find(|member| matched(member) < commit) {
                    let matched = matched(&member);
                    return Err(format!(
                        "{process:?} commits {commit} and counts {member:?}, which has verified {matched}"
                    ));
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

    fn story(members: &[&str], matched: &[(&str, Offset)]) -> Story<CommitsCounted> {
        let mut story = Story::new(CommitsCounted::default());
        let members: Vec<_> = members.iter().map(|name| member(name)).collect();
        let process = &process("a");
        for &(name, matched) in matched {
            story.tell(&Fact::Matched { process, epoch: 1, member: &member(name), matched });
        }
        story.tell(&Fact::Counts { process, epoch: 1, members: &members });
        story
    }

    fn commits(story: &mut Story<CommitsCounted>, epoch: Epoch, commit: Offset) {
        story.tell(&Fact::Advanced { process: &process("a"), epoch, commit });
    }

    #[test]
    fn what_everybody_has_verified_is_committed() {
        let mut story = story(&["a", "b", "c"], &[("b", 7), ("c", 5)]);
        commits(&mut story, 1, 5);
        story.accepted();
    }

    #[test]
    fn what_one_of_them_has_not_is_rejected() {
        let mut story = story(&["a", "b", "c"], &[("b", 7), ("c", 5)]);
        commits(&mut story, 1, 6);
        story.rejected("which has verified 5");
    }

    #[test]
    fn who_was_never_heard_of_has_verified_nothing() {
        let mut story = story(&["a", "b"], &[]);
        commits(&mut story, 1, 1);
        story.rejected("which has verified 0");
    }

    #[test]
    fn who_does_not_count_is_not_waited_for() {
        let mut story = story(&["a"], &[("b", 1)]);
        commits(&mut story, 1, 5);
        story.accepted();
    }

    #[test]
    fn what_was_verified_in_another_epoch_counts_no_more() {
        let mut story = story(&["a", "b"], &[("b", 7)]);
        let members = [member("a"), member("b")];
        story.tell(&Fact::Counts { process: &process("a"), epoch: 3, members: &members });
        commits(&mut story, 3, 7);
        story.rejected("which has verified 0");
    }
}
