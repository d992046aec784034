//! LossGrounds (R24, R27): a group's data is given up only by its last holder that leaves, with everything in
//! its log committed and nobody copying it; or where every in-sync node was known for the lag threshold to be another storage. In
//! either case nobody else that holds it is live.

use super::proposal::Proposal;
use super::{Check, Fact, Kind, Ledger};
use std::time::Duration;

/// The property.
#[derive(Clone, Debug)]
pub struct LossGrounds {
    lag: Duration,
}

impl LossGrounds {
    /// A loss was known for at least so long.
    pub const fn after(lag: Duration) -> Self {
        Self { lag }
    }

    fn judge(&self, proposal: &Proposal<'_>) -> Result<(), String> {
        let (known, me) = (proposal.known.0, &proposal.process.member);
        let (commit, end) = proposal.evidence.log;
        let holds = known.in_sync.contains(me);
        let frozen = known.in_sync.len() < known.min_in_sync as usize;
        match known.in_sync.iter().find(|member| *member != me && proposal.is_live(member)) {
            Some(holder) => Err(format!("and {holder:?} is live")),
            None if holds && proposal.evidence.learner => Err("and somebody is copying it".to_owned()),
            None if holds && commit < end && !frozen => Err(format!("and has committed {commit} of {end}")),
            None if !holds && proposal.evidence.lost_for < self.lag => {
                Err(format!("which was lost for {:?}", proposal.evidence.lost_for))
            }
            None => Ok(()),
        }
    }
}

impl Check for LossGrounds {
    fn name(&self) -> &'static str {
        "LossGrounds"
    }

    fn hears(&self) -> &'static [Kind] {
        &[Kind::Proposed]
    }

    fn check(&mut self, _: &Ledger, fact: &Fact<'_>) -> Result<(), String> {
        let Fact::Proposed(proposal) = fact else { return Ok(()) };
        if proposal.again || !proposal.gives_up() {
            return Ok(());
        }
        let process = proposal.process;
        self.judge(proposal).map_err(|how| format!("{process:?} wants to give the data up, {how}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::proposal::Evidence;
    use crate::check::proposal::testing::{Draft, wants};
    use crate::check::testing::*;
    use steadfast_core::id::Nonce;

    fn loss(by: &str, evidence: Evidence) -> Draft {
        let known = state(1, 4, Some("a"), &["a", "b"]);
        let wanted = known.give_up(Nonce(7));
        Draft { evidence, ..wants(by, known, wanted) }
    }

    fn told(draft: Draft) -> Story<LossGrounds> {
        draft.told(LossGrounds::after(Duration::from_secs(2)))
    }

    fn settled() -> Evidence {
        Evidence { log: (9, 9), ..Evidence::default() }
    }

    #[test]
    fn the_last_holder_may_give_up_what_is_settled() {
        told(loss("a", settled()).without("b")).accepted();
    }

    #[test]
    fn what_others_hold_or_is_not_settled_stays() {
        told(loss("a", settled())).rejected("is live");
        told(loss("a", Evidence { log: (8, 9), ..settled() }).without("b")).rejected("committed 8 of 9");
    }

    #[test]
    fn what_somebody_is_copying_stays() {
        told(loss("a", Evidence { learner: true, ..settled() }).without("b")).rejected("is copying it");
    }

    #[test]
    fn what_has_been_lost_for_long_may_be_reset() {
        let lost = Evidence { lost_for: Duration::from_secs(2), ..Evidence::default() };
        told(loss("c", lost).without("a").without("b")).accepted();
        told(loss("c", lost).without("a")).rejected("is live");
    }

    #[test]
    fn what_was_lost_just_now_is_not() {
        told(loss("c", Evidence::default()).without("a").without("b")).rejected("was lost for");
    }
}
