//! RemovalGrounds (R12, R32): a primary drops a member only whose live node is gone or has a successor, whose
//! address has refused it twice, or that has not moved for the lag threshold. The last is no reason for a primary
//! that leaves: that may be its own fault.

use super::proposal::Proposal;
use super::{Check, Fact, Kind, Ledger};
use std::time::Duration;
use steadfast_core::id::Member;

/// Refused connections that prove a death.
const PROOF: u32 = 2;

/// The property.
#[derive(Clone, Debug)]
pub struct RemovalGrounds {
    lag: Duration,
}

impl RemovalGrounds {
    /// A member is dropped that has not moved for at least so long.
    pub const fn after(lag: Duration) -> Self {
        Self { lag }
    }

    fn has_grounds(&self, proposal: &Proposal<'_>, member: &Member) -> bool {
        let evidence = &proposal.evidence;
        // Its node's other storage takes its place (R35).
        let replaced = proposal.taken_in().is_some_and(|taken| taken.node == member.node);
        replaced
            || (evidence.quiet >= self.lag && !evidence.leaving)
            || evidence.refusals >= PROOF
            || !proposal.is_live(member)
            || proposal.is_replaced(member)
    }
}

impl Check for RemovalGrounds {
    fn name(&self) -> &'static str {
        "RemovalGrounds"
    }

    fn hears(&self) -> &'static [Kind] {
        &[Kind::Proposed]
    }

    fn check(&mut self, _: &Ledger, fact: &Fact<'_>) -> Result<(), String> {
        let Fact::Proposed(proposal) = fact else { return Ok(()) };
        let Some(member) = proposal.dropped().filter(|_| !proposal.again) else { return Ok(()) };
        match self.has_grounds(proposal, member) {
            true => Ok(()),
            false => Err(format!(
                "{:?} wants to drop {member:?}, which is well: {:?}",
                proposal.process, proposal.evidence
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::proposal::Evidence;
    use crate::check::proposal::testing::{Draft, wants};
    use crate::check::testing::*;
    use steadfast_core::id::Generation;

    fn removal() -> Draft {
        wants("a", state(1, 4, Some("a"), &["a", "b"]), state(1, 5, Some("a"), &["a"]))
    }

    fn told(draft: Draft) -> Story<RemovalGrounds> {
        draft.told(RemovalGrounds::after(Duration::from_secs(2)))
    }

    fn seen(evidence: Evidence) -> Draft {
        Draft { evidence, ..removal() }
    }

    #[test]
    fn each_reason_is_enough() {
        told(removal().without("b")).accepted();
        told(removal().with_another("b")).accepted();
        told(seen(Evidence { quiet: Duration::from_secs(2), ..Evidence::default() })).accepted();
        told(seen(Evidence { refusals: 2, ..Evidence::default() })).accepted();
    }

    #[test]
    fn another_storage_of_its_node_is_a_reason() {
        let mut wanted = state(1, 5, Some("a"), &["a", "b"]);
        wanted.in_sync[1].generation = Generation(2);
        told(Draft { wanted, ..removal() }).accepted();
    }

    #[test]
    fn silence_is_no_reason_for_who_leaves() {
        let silent = Evidence { quiet: Duration::from_secs(9), leaving: true, ..Evidence::default() };
        told(seen(silent)).rejected("which is well");
        told(Draft { evidence: silent, ..removal().without("b") }).accepted();
    }

    #[test]
    fn a_member_that_is_well_stays() {
        told(removal()).rejected("which is well");
        told(seen(Evidence { quiet: Duration::from_secs(1), refusals: 1, ..Evidence::default() }))
            .rejected("which is well");
    }
}
