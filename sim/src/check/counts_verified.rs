//! CountsVerified: what a primary counts for a member is what that member has verified in this epoch and
//! said so, never more, and never what it said in another epoch.

use super::{Check, Fact, Kind, Ledger};
use std::collections::BTreeMap;
use steadfast_core::id::{Epoch, Member, Offset};

/// The property.
#[derive(Clone, Debug, Default)]
pub struct CountsVerified {
    /// What each member has acknowledged in each epoch at the most.
    verified: BTreeMap<(Member, Epoch), Offset>,
}

impl Check for CountsVerified {
    fn name(&self) -> &'static str {
        "CountsVerified"
    }

    fn hears(&self) -> &'static [Kind] {
        &[Kind::Matched, Kind::Verified]
    }

    fn check(&mut self, _: &Ledger, fact: &Fact<'_>) -> Result<(), String> {
        match *fact {
            Fact::Verified { member, epoch, matched, .. } => {
                let verified = self.verified.entry((member.clone(), epoch)).or_default();
                *verified = matched.max(*verified);
                Ok(())
            }
            Fact::Matched { process, epoch, member, matched } => {
                match self.verified.get(&(member.clone(), epoch)) {
                    Some(verified) if *verified >= matched => Ok(()),
                    verified => Err(format!(
                        "{process:?} counts {matched} for {member:?}, which has verified {verified:?} in epoch {epoch}"
                    )),
                }
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::*;

    fn story(verified: &[(Epoch, Offset)]) -> Story<CountsVerified> {
        let mut story = Story::new(CountsVerified::default());
        for &(epoch, matched) in verified {
            story.tell(&Fact::Verified { member: &member("b"), history: HISTORY, epoch, matched });
        }
        story
    }

    fn counts(story: &mut Story<CountsVerified>, epoch: Epoch, matched: Offset) {
        story.tell(&Fact::Matched { process: &process("a"), epoch, member: &member("b"), matched });
    }

    #[test]
    fn what_was_verified_in_the_epoch_may_be_counted_also_later() {
        let mut story = story(&[(2, 5), (2, 7)]);
        counts(&mut story, 2, 5);
        counts(&mut story, 2, 7);
        story.accepted();
    }

    #[test]
    fn what_was_verified_in_another_epoch_may_not() {
        let mut story = story(&[(1, 9), (2, 5)]);
        counts(&mut story, 2, 9);
        story.rejected("counts 9");
    }

    #[test]
    fn what_was_never_acknowledged_may_not() {
        let mut story = story(&[]);
        counts(&mut story, 2, 0);
        story.rejected("has verified None");
    }
}
