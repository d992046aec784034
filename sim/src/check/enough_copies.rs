//! EnoughCopies: nothing is committed before the tree has named as many in-sync members as the group asks
//! for. (That the set does not fall below that number again is ConfigIntent's to say, that every
//! member holds what is committed CandidateComplete's.)

use super::{Check, Fact, Kind, Ledger};
use std::collections::BTreeSet;
use steadfast_core::message::History;

/// The property.
#[derive(Clone, Debug, Default)]
pub struct EnoughCopies {
    /// Histories in which the tree has named enough members.
    reached: BTreeSet<History>,
}

impl Check for EnoughCopies {
    fn name(&self) -> &'static str {
        "EnoughCopies"
    }

    fn hears(&self) -> &'static [Kind] {
        &[Kind::Committed, Kind::State]
    }

    fn check(&mut self, ledger: &Ledger, fact: &Fact<'_>) -> Result<(), String> {
        match fact {
            Fact::State(state) => {
                if state.in_sync.len() >= state.min_in_sync as usize {
                    self.reached.insert(state.history);
                }
                Ok(())
            }
            Fact::Committed { process, history, commit } => {
                if *commit == 0 || self.reached.contains(history) {
                    return Ok(());
                }
                let in_sync = ledger.states().last().map(|state| &state.in_sync);
                Err(format!("{process:?} commits {commit} of {history:?} with {in_sync:?} in sync"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::*;
    use steadfast_core::group::GroupState;

    fn story(in_sync: &[&str]) -> Story<EnoughCopies> {
        let mut story = Story::new(EnoughCopies::default());
        story.append("a", &[start(1)]).append("b", &[start(1)]);
        story.tell(&Fact::State(&GroupState { min_in_sync: 2, ..state(1, 1, Some("a"), in_sync) }));
        story
    }

    #[test]
    fn a_commit_with_enough_members_is_accepted() {
        story(&["a", "b"]).commit("a", 1).accepted();
    }

    #[test]
    fn a_commit_with_too_few_members_is_rejected() {
        story(&["a"]).commit("a", 0).commit("a", 1).rejected("commits 1");
    }

    #[test]
    fn a_commit_in_a_new_history_with_too_few_members_is_rejected() {
        let mut story = story(&["a", "b"]);
        let history = History { lineage: 2, ..HISTORY };
        story.judge(&Fact::Committed { process: &process("a"), history, commit: 1 });
        story.rejected("commits 1");
    }
}
