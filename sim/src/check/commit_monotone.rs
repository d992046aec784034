//! AppliedCommitMonotone: a process's commit offset never goes back within a history, and the
//! histories that it holds never do.

use super::{Check, Fact, Kind, Ledger};
use std::collections::BTreeMap;
use steadfast_core::id::{Incarnation, Offset};
use steadfast_core::message::History;

/// The property.
#[derive(Clone, Debug, Default)]
pub struct CommitMonotone {
    commits: BTreeMap<Incarnation, (History, Offset)>,
}

impl Check for CommitMonotone {
    fn name(&self) -> &'static str {
        "AppliedCommitMonotone"
    }

    fn hears(&self) -> &'static [Kind] {
        &[Kind::Committed]
    }

    fn check(&mut self, _: &Ledger, fact: &Fact<'_>) -> Result<(), String> {
        let Fact::Committed { process, history, commit } = fact else { return Ok(()) };
        let now = (*history, *commit);
        let before = self.commits.insert(process.incarnation, now).unwrap_or_default();
        let back = before.0.group_id == history.group_id && now < before;
        if back { Err(format!("{process:?} went back from {before:?} to {now:?}")) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::*;

    fn committed(story: &mut Story<CommitMonotone>, lineage: u64, commit: Offset) {
        let history = History { lineage, ..HISTORY };
        story.judge(&Fact::Committed { process: &process("a"), history, commit });
    }

    #[test]
    fn growth_and_a_new_lineage_are_accepted() {
        let mut story = Story::new(CommitMonotone::default());
        for (lineage, commit) in [(1, 0), (1, 3), (1, 3), (2, 0), (2, 1)] {
            committed(&mut story, lineage, commit);
        }
        story.accepted();
    }

    #[test]
    fn a_commit_that_goes_back_is_rejected() {
        let mut story = Story::new(CommitMonotone::default());
        committed(&mut story, 1, 3);
        committed(&mut story, 1, 2);
        story.rejected("went back");
    }

    #[test]
    fn a_lineage_that_goes_back_is_rejected() {
        let mut story = Story::new(CommitMonotone::default());
        committed(&mut story, 2, 3);
        committed(&mut story, 1, 4);
        story.rejected("went back");
    }
}
