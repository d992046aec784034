//! ConditionalWrites (R1, R14): whoever changes the group's state goes on from what it has read, writes only
//! over that, and has one change under way at a time.

use super::proposal::Proposal;
use super::{Check, Fact, Kind, Ledger};

/// The property.
#[derive(Clone, Debug)]
pub struct ConditionalWrites;

fn judge(proposal: &Proposal<'_>) -> Result<(), &'static str> {
    let (known, version) = proposal.known;
    match proposal.version {
        None => Err("without a condition"),
        _ if proposal.again => Ok(()),
        _ if proposal.busy => Err("while the fate of another change is open"),
        Some(over) if over != version => Err("over another version than it has read"),
        _ if proposal.wanted.config != known.config + 1 => Err("that does not follow the one it has read"),
        _ => Ok(()),
    }
}

impl Check for ConditionalWrites {
    fn name(&self) -> &'static str {
        "ConditionalWrites"
    }

    fn hears(&self) -> &'static [Kind] {
        &[Kind::Proposed]
    }

    fn check(&mut self, _: &Ledger, fact: &Fact<'_>) -> Result<(), String> {
        let Fact::Proposed(proposal) = fact else { return Ok(()) };
        judge(proposal).map_err(|how| format!("{:?} writes a state {how}", proposal.process))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::proposal::testing::{Draft, wants};
    use crate::check::testing::*;

    fn shrink() -> Draft {
        wants("a", state(1, 4, Some("a"), &["a", "b"]), state(1, 5, Some("a"), &["a"]))
    }

    #[test]
    fn a_change_of_what_was_read_is_accepted_also_again() {
        shrink().told(ConditionalWrites).accepted();
        Draft { again: true, busy: true, ..shrink() }.told(ConditionalWrites).accepted();
    }

    #[test]
    fn a_write_without_a_condition_is_rejected() {
        Draft { version: None, ..shrink() }.told(ConditionalWrites).rejected("without a condition");
    }

    #[test]
    fn a_write_over_another_version_is_rejected() {
        Draft { version: Some(4), ..shrink() }.told(ConditionalWrites).rejected("over another version");
    }

    #[test]
    fn a_change_of_a_state_of_long_ago_is_rejected() {
        let late = Draft { wanted: state(1, 9, Some("a"), &["a"]), ..shrink() };
        late.told(ConditionalWrites).rejected("does not follow");
    }

    #[test]
    fn a_second_change_at_the_same_time_is_rejected() {
        Draft { busy: true, ..shrink() }.told(ConditionalWrites).rejected("another change is open");
    }
}
