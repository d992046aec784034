//! CommittedStable: a record that was seen committed at an offset of a lineage never changes.

use super::{Check, Fact, Kind, Ledger};

/// The property.
#[derive(Clone, Debug)]
pub struct CommittedStable;

impl Check for CommittedStable {
    fn name(&self) -> &'static str {
        "CommittedStable"
    }

    fn hears(&self) -> &'static [Kind] {
        &[Kind::Committed]
    }

    fn check(&mut self, ledger: &Ledger, fact: &Fact<'_>) -> Result<(), String> {
        let Fact::Committed { process, history, commit } = fact else { return Ok(()) };
        let mine = ledger.replica(&process.member).and_then(|replica| replica.log.chain_at(*commit));
        match ledger.committed(*history).log.chain_at(*commit) {
            ever if ever == mine => Ok(()),
            _ => Err(format!("{:?} commits other records below {commit} of {history:?}", process.member)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::*;

    #[test]
    fn agreeing_commits_are_accepted() {
        let mut story = Story::new(CommittedStable);
        story.append("a", &[start(1), batch(1, 1, 2)]).append("b", &[start(1), batch(1, 1, 2)]);
        story.commit("a", 3).commit("b", 1).commit("b", 3).accepted();
    }

    #[test]
    fn another_record_at_a_committed_offset_is_rejected() {
        let mut story = Story::new(CommittedStable);
        story.append("a", &[start(1), batch(1, 1, 2)]).append("b", &[start(1), batch(1, 2, 2)]);
        story.commit("a", 3).commit("b", 3).rejected("other records below 3");
    }

    #[test]
    fn another_epoch_at_a_committed_offset_is_rejected() {
        let mut story = Story::new(CommittedStable);
        story.append("a", &[start(1), start(2)]).append("b", &[start(1), start(3), start(3)]);
        story.commit("a", 2).commit("b", 3).rejected("other records below 3");
    }
}
