//! AdmissionGrounds (R13, R35): a primary takes a member in that is live, was heard lately, and has verified
//! more than the epoch's first record and everything that is committed.

use super::proposal::Proposal;
use super::{Check, Fact, Kind, Ledger};
use std::time::Duration;
use steadfast_core::id::Member;

/// The property.
#[derive(Clone, Debug)]
pub struct AdmissionGrounds {
    patience: Duration,
}

impl AdmissionGrounds {
    /// A member was heard lately that was heard so long ago.
    pub const fn within(patience: Duration) -> Self {
        Self { patience }
    }

    fn judge(&self, proposal: &Proposal<'_>, member: &Member) -> Result<(), &'static str> {
        let evidence = &proposal.evidence;
        match () {
            () if evidence.matched <= Some(evidence.start) => {
                Err("has not verified the epoch's first record")
            }
            () if evidence.matched < Some(evidence.log.0) => Err("has not verified all that is committed"),
            () if !proposal.is_live(member) => Err("is not live"),
            () if evidence.heard > self.patience => Err("was not heard lately"),
            () => Ok(()),
        }
    }
}

impl Check for AdmissionGrounds {
    fn name(&self) -> &'static str {
        "AdmissionGrounds"
    }

    fn hears(&self) -> &'static [Kind] {
        &[Kind::Proposed]
    }

    fn check(&mut self, _: &Ledger, fact: &Fact<'_>) -> Result<(), String> {
        let Fact::Proposed(proposal) = fact else { return Ok(()) };
        let Some(member) = proposal.taken_in().filter(|_| !proposal.again) else { return Ok(()) };
        let (process, evidence) = (proposal.process, &proposal.evidence);
        self.judge(proposal, member)
            .map_err(|why| format!("{process:?} wants to take in {member:?}, which {why}: {evidence:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::proposal::Evidence;
    use crate::check::proposal::testing::{Draft, wants};
    use crate::check::testing::*;

    fn admission(evidence: Evidence) -> Draft {
        let expand = wants("a", state(1, 4, Some("a"), &["a"]), state(1, 5, Some("a"), &["a", "b"]));
        Draft { evidence, ..expand }
    }

    fn ready() -> Evidence {
        Evidence { matched: Some(9), start: 4, log: (9, 12), ..Evidence::default() }
    }

    fn told(draft: Draft) -> Story<AdmissionGrounds> {
        draft.told(AdmissionGrounds::within(Duration::from_millis(100)))
    }

    #[test]
    fn a_member_that_is_ready_is_taken_in() {
        told(admission(ready())).accepted();
    }

    #[test]
    fn one_that_is_behind_is_not() {
        told(admission(Evidence { matched: Some(8), ..ready() })).rejected("all that is committed");
        told(admission(Evidence { matched: None, ..ready() })).rejected("first record");
        told(admission(Evidence { matched: Some(4), log: (3, 5), ..ready() })).rejected("first record");
    }

    #[test]
    fn one_that_is_not_there_is_not() {
        told(admission(ready()).without("b")).rejected("is not live");
        let silent = Evidence { heard: Duration::from_millis(101), ..ready() };
        told(admission(silent)).rejected("not heard lately");
    }
}
