//! PromotionGrounds (R2, R32, R34): only a registered in-sync member stands for the lead, where nobody leads
//! or with a reason to suspect the primary, and after a read that began since. Candidates take turns in the order
//! of the in-sync set; whom the primary has asked has none to wait for. Whose last two reigns
//! came to no commit leaves others the time to drop it.

use super::proposal::Proposal;
use super::{Check, Fact, Kind, Ledger};
use std::time::Duration;

/// Refused connections that prove a death.
const PROOF: u32 = 2;
/// Reigns in a row in which nothing was committed, after which a broker leaves others the time to drop it.
const BARREN: u32 = 2;

/// The property.
#[derive(Clone, Debug)]
pub struct PromotionGrounds {
    suspicion: Duration,
    turn: Duration,
    lag: Duration,
}

impl PromotionGrounds {
    /// A primary is suspected that was silent for at least so long, each candidate waits for so long at least for
    /// those before it, and others drop whom they do not hear after so long.
    pub const fn after(suspicion: Duration, turn: Duration, lag: Duration) -> Self {
        Self { suspicion, turn, lag }
    }

    /// How long the candidate waits at least.
    fn waits(&self, proposal: &Proposal<'_>) -> Duration {
        let known = proposal.known.0;
        let deposed = known.primary.as_ref().map(|primary| &primary.member);
        let others = known.in_sync.iter().filter(|member| Some(*member) != deposed);
        let before = others.take_while(|member| **member != proposal.process.member).count();
        let asked = proposal.evidence.asked || deposed == Some(&proposal.process.member);
        let turn = if asked { Duration::ZERO } else { self.turn * u32::try_from(before).unwrap_or(u32::MAX) };
        let barren = proposal.evidence.barren >= BARREN;
        if barren { turn.max(self.lag + self.suspicion) } else { turn }
    }

    fn judge(&self, proposal: &Proposal<'_>) -> Result<(), &'static str> {
        let (known, evidence) = (proposal.known.0, &proposal.evidence);
        let suspects = match known.primary.as_ref().filter(|primary| *primary != proposal.process) {
            None => true,
            Some(primary) => {
                evidence.quiet >= self.suspicion
                    || evidence.refusals >= PROOF
                    || evidence.asked
                    || !proposal.is_live(&primary.member)
                    || proposal.is_replaced(&primary.member)
            }
        };
        match () {
            () if proposal.wanted.primary.as_ref() != Some(proposal.process) => Err("somebody else"),
            () if !known.in_sync.is_empty() && !known.in_sync.contains(&proposal.process.member) => {
                Err("itself, and it is not in sync")
            }
            () if !proposal.registered => Err("itself, and its session has no live node"),
            () if !suspects => Err("itself, and has nothing against the primary"),
            () if evidence.waited.is_some_and(|waited| waited < self.waits(proposal)) => {
                Err("itself, and it is not its turn")
            }
            () if !evidence.read => Err("itself, and has not read the tree since it had a reason"),
            () => Ok(()),
        }
    }
}

impl Check for PromotionGrounds {
    fn name(&self) -> &'static str {
        "PromotionGrounds"
    }

    fn hears(&self) -> &'static [Kind] {
        &[Kind::Proposed]
    }

    fn check(&mut self, _: &Ledger, fact: &Fact<'_>) -> Result<(), String> {
        let Fact::Proposed(proposal) = fact else { return Ok(()) };
        if proposal.again || !proposal.promotes() {
            return Ok(());
        }
        let (process, evidence) = (proposal.process, &proposal.evidence);
        self.judge(proposal).map_err(|whom| format!("{process:?} wants to promote {whom}: {evidence:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::proposal::Evidence;
    use crate::check::proposal::testing::{Draft, wants};
    use crate::check::testing::*;

    fn promotion() -> Draft {
        wants("b", state(1, 4, Some("a"), &["a", "b"]), state(2, 5, Some("b"), &["b"]))
    }

    fn told(draft: Draft) -> Story<PromotionGrounds> {
        let (suspicion, turn) = (Duration::from_millis(200), Duration::from_millis(100));
        draft.told(PromotionGrounds::after(suspicion, turn, Duration::from_secs(1)))
    }

    fn seen(evidence: Evidence) -> Draft {
        Draft { evidence: Evidence { read: true, ..evidence }, ..promotion() }
    }

    #[test]
    fn each_reason_is_enough() {
        told(seen(Evidence { quiet: Duration::from_millis(200), ..Evidence::default() })).accepted();
        told(seen(Evidence { refusals: 2, ..Evidence::default() })).accepted();
        told(seen(Evidence { asked: true, ..Evidence::default() })).accepted();
        told(promotion().without("a")).accepted();
        told(promotion().with_another("a")).accepted();
    }

    #[test]
    fn where_nobody_leads_no_reason_is_needed() {
        told(Draft { known: state(0, 0, None, &["b"]), ..promotion() }).accepted();
        told(Draft { known: state(1, 4, Some("b"), &["a", "b"]), ..promotion() }).accepted();
    }

    #[test]
    fn a_primary_that_is_well_is_left_alone() {
        told(promotion()).rejected("nothing against the primary");
        told(seen(Evidence { refusals: 1, ..Evidence::default() })).rejected("nothing against");
        let short = Evidence { quiet: Duration::from_millis(150), ..Evidence::default() };
        told(seen(short)).rejected("nothing against");
    }

    #[test]
    fn who_is_not_in_sync_stays_where_it_is() {
        told(Draft { process: process("c"), wanted: state(2, 5, Some("c"), &["c"]), ..promotion() })
            .rejected("not in sync");
    }

    #[test]
    fn who_is_not_registered_stays_where_it_is() {
        told(Draft { registered: false, ..promotion().without("a") }).rejected("no live node");
    }

    #[test]
    fn who_has_not_read_the_tree_waits() {
        let unread = Evidence { asked: true, ..Evidence::default() };
        told(Draft { evidence: unread, ..promotion() }).rejected("not read the tree");
    }

    #[test]
    fn candidates_take_turns() {
        let known = state(1, 4, Some("a"), &["c", "a", "b"]);
        let after = |waited: Option<u64>, asked| {
            let waited = waited.map(Duration::from_millis);
            let evidence = Evidence { waited, asked, read: true, ..Evidence::default() };
            told(Draft { known: known.clone(), evidence, ..promotion() }.without("a"))
        };
        after(Some(100), false).accepted();
        after(None, false).accepted();
        after(Some(20), true).accepted();
        after(Some(99), false).rejected("not its turn");
    }

    #[test]
    fn whose_reigns_commit_nothing_leaves_it_to_others() {
        let again = |barren, waited| {
            let waited = Some(Duration::from_millis(waited));
            told(seen(Evidence { barren, waited, refusals: 2, ..Evidence::default() }))
        };
        again(1, 0).accepted();
        again(2, 1_200).accepted();
        again(2, 1_199).rejected("not its turn");
    }

    #[test]
    fn nobody_promotes_another_one() {
        told(Draft { process: process("c"), ..promotion() }).rejected("somebody else");
    }
}
