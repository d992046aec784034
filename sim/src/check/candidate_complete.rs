//! CandidateComplete: every in-sync member whose storage exists holds every record that was ever
//! committed and not trimmed, durably, and is without others only as a committed decision says.

use super::{Check, Fact, Kind, Ledger};

/// The property.
#[derive(Clone, Debug)]
pub struct CandidateComplete;

impl Check for CandidateComplete {
    fn name(&self) -> &'static str {
        "CandidateComplete"
    }

    fn hears(&self) -> &'static [Kind] {
        &[Kind::Committed, Kind::Installed, Kind::State, Kind::Trimmed, Kind::Truncated, Kind::Wiped]
    }

    fn check(&mut self, ledger: &Ledger, fact: &Fact<'_>) -> Result<(), String> {
        let relevant = matches!(
            fact,
            Fact::State(_)
                | Fact::Committed { .. }
                | Fact::Truncated { .. }
                | Fact::Trimmed { .. }
                | Fact::Installed { .. }
                | Fact::Wiped(_)
        );
        let Some(state) = ledger.states().last().filter(|_| relevant) else { return Ok(()) };
        let committed = &ledger.committed(state.history).log;
        let end = committed.end();
        if end == 0 {
            return Ok(());
        }
        for member in &state.in_sync {
            let Some(replica) = ledger.replica(member) else { continue };
            let holds = replica.history == state.history && replica.durable >= end;
            if !holds || replica.log.chain_at(end) != committed.chain_at(end) {
                return Err(format!(
                    "{member:?} is in sync in epoch {} config {} and lacks committed records: {end} are \
                     committed, it holds {} of {:?}, {} durable",
                    state.epoch,
                    state.config,
                    replica.log.end(),
                    replica.history,
                    replica.durable
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::*;

    fn two_members() -> Story<CandidateComplete> {
        let mut story = Story::new(CandidateComplete);
        let entries = [start(1), batch(1, 1, 2)];
        story.append("a", &entries).append("b", &entries);
        story.state(1, Some("a"), &["a", "b"]);
        story
    }

    #[test]
    fn members_that_hold_what_is_committed_are_accepted() {
        two_members().commit("a", 3).append("a", &[batch(1, 3, 1)]).accepted();
    }

    #[test]
    fn a_member_whose_storage_is_gone_is_no_candidate() {
        two_members().lose("b").commit("a", 3).accepted();
    }

    #[test]
    fn a_commit_that_a_member_lacks_is_rejected() {
        two_members().append("a", &[batch(1, 3, 1)]).commit("a", 4).rejected("4 are committed, it holds 3");
    }

    #[test]
    fn a_commit_that_a_member_holds_but_not_durably_is_rejected() {
        let mut story = two_members();
        story.append("a", &[batch(1, 3, 1)]).append_volatile("b", &[batch(1, 3, 1)]);
        story.commit("a", 4).rejected("3 durable");
    }

    #[test]
    fn cutting_a_committed_record_is_rejected() {
        two_members().commit("a", 3).truncate("b", 1).rejected("it holds 1");
    }

    #[test]
    fn taking_in_a_member_that_lacks_committed_records_is_rejected() {
        let mut story = two_members();
        story.commit("a", 3).append("c", &[start(1)]).state(1, Some("a"), &["a", "b", "c"]);
        story.rejected("it holds 1");
    }

    #[test]
    fn other_records_in_place_of_the_committed_ones_are_rejected() {
        let mut story = two_members();
        story.append("c", &[start(1), batch(1, 9, 2)]).commit("a", 3).state(1, Some("a"), &["a", "c"]);
        story.rejected("lacks committed records");
    }
}
