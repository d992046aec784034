//! NoPrematureVisibility: nothing is shown to a subscriber or acknowledged to a publisher at or above
//! the commit offset of an epoch whose first record is committed; and no publisher is told of a session that may
//! never have been.

use super::{Check, Fact, Kind, Ledger};
use std::collections::BTreeMap;
use steadfast_core::group::PrimaryId;
use steadfast_core::id::{Epoch, Generation, Incarnation, NodeName, Offset};
use steadfast_core::message::History;

/// The property.
#[derive(Clone, Debug, Default)]
pub struct NoPrematureVisibility {
    commits: BTreeMap<(NodeName, Generation, Incarnation), (History, Offset)>,
}

impl NoPrematureVisibility {
    fn shown(
        &self,
        ledger: &Ledger,
        process: &PrimaryId,
        history: History,
        epoch: Epoch,
        upto: Offset,
    ) -> Result<(), String> {
        if !ledger.committed(history).epochs.contains(&epoch) {
            return Err(format!("{process:?} serves in epoch {epoch}, whose first record is not committed"));
        }
        match self.commits.get(&key(process)) {
            Some(&(of, commit)) if of == history && upto <= commit => Ok(()),
            commit => Err(format!("{process:?} showed {upto} of {history:?}, its commit is {commit:?}")),
        }
    }
}

fn key(process: &PrimaryId) -> (NodeName, Generation, Incarnation) {
    (process.member.node.clone(), process.member.generation, process.incarnation)
}

impl Check for NoPrematureVisibility {
    fn name(&self) -> &'static str {
        "NoPrematureVisibility"
    }

    fn hears(&self) -> &'static [Kind] {
        &[Kind::AckSent, Kind::Committed, Kind::Fenced, Kind::Shown]
    }

    fn check(&mut self, ledger: &Ledger, fact: &Fact<'_>) -> Result<(), String> {
        match *fact {
            Fact::Committed { process, history, commit } => {
                self.commits.insert(key(process), (history, commit));
                Ok(())
            }
            Fact::Shown { process, history, epoch, upto } => {
                self.shown(ledger, process, history, epoch, upto)
            }
            // A session's number is its place in the log.
            Fact::Fenced { process, history, publisher, incarnation } => {
                match self.commits.get(&key(process)) {
                    Some(&(of, commit)) if of == history && incarnation < commit => Ok(()),
                    commit => Err(format!(
                        "{process:?} tells {publisher:?} of its session {incarnation} of {history:?}, its commit is {commit:?}"
                    )),
                }
            }
            Fact::AckSent { process, history, epoch, .. } => self.shown(ledger, process, history, epoch, 0),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::*;

    fn primary() -> Story<NoPrematureVisibility> {
        let mut story = Story::new(NoPrematureVisibility::default());
        story.append("a", &[start(1), batch(1, 1, 2), batch(1, 3, 1)]).commit("a", 3);
        story
    }

    fn shown(story: &mut Story<NoPrematureVisibility>, epoch: Epoch, upto: Offset) {
        story.tell(&Fact::Shown { process: &process("a"), history: HISTORY, epoch, upto });
    }

    #[test]
    fn what_is_committed_may_be_shown() {
        let mut story = primary();
        shown(&mut story, 1, 3);
        shown(&mut story, 1, 1);
        story.accepted();
    }

    #[test]
    fn what_is_not_committed_is_rejected() {
        let mut story = primary();
        shown(&mut story, 1, 4);
        story.rejected("showed 4");
    }

    #[test]
    fn what_another_broker_has_committed_is_rejected() {
        let mut story = primary();
        story.append("b", &[start(1), batch(1, 1, 2), batch(1, 3, 1)]).commit("b", 4);
        shown(&mut story, 1, 4);
        story.rejected("showed 4");
    }

    #[test]
    fn serving_before_the_epoch_is_committed_is_rejected() {
        let mut story = primary();
        story.append("a", &[start(2)]);
        shown(&mut story, 2, 3);
        story.rejected("serves in epoch 2");
    }

    fn fenced(incarnation: u64) -> Story<NoPrematureVisibility> {
        let mut story = primary();
        let (process, publisher) = (&process("a"), PUBLISHER);
        story.tell(&Fact::Fenced { process, history: HISTORY, publisher, incarnation });
        story
    }

    #[test]
    fn a_session_that_is_committed_fences_those_before() {
        fenced(2).accepted();
    }

    #[test]
    fn a_session_that_is_not_committed_fences_nobody() {
        fenced(3).rejected("of its session 3");
    }

    #[test]
    fn acknowledging_before_the_epoch_is_committed_is_rejected() {
        let mut story = primary();
        let (process, publisher) = (&process("a"), PUBLISHER);
        story.tell(&Fact::AckSent {
            process,
            history: HISTORY,
            epoch: 2,
            publisher,
            incarnation: 1,
            last_sequence: 1,
        });
        story.rejected("serves in epoch 2");
    }
}
