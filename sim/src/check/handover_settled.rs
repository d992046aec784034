//! HandoverSettled (R34): while a primary hands over it adds nothing to its log, also of its own accord, and it
//! asks a backup to take over only when everything in its log is committed. Publishers do not wait for it for long, and
//! have their turn before it is tried again. Nobody who has failed is asked again before one who has not.

use super::handover::Handover;
use super::{Check, Fact, Kind, Ledger};
use std::collections::BTreeSet;
use std::time::Duration;
use steadfast_core::id::Member;

/// The property.
#[derive(Clone, Debug)]
pub struct HandoverSettled {
    /// Who hands over.
    leaving: BTreeSet<Member>,
    /// For how long at the most.
    patience: Duration,
    /// What passes between two attempts at the least.
    rest: Duration,
}

impl HandoverSettled {
    /// A handover that does not come about is given up within this time, and tried again after that.
    pub const fn within(patience: Duration, rest: Duration) -> Self {
        Self { leaving: BTreeSet::new(), patience, rest }
    }

    fn began(&mut self, handover: &Handover<'_>) -> Result<(), String> {
        let Handover { process, rested, failed, untried } = *handover;
        self.leaving.insert(process.member.clone());
        match (rested, untried) {
            (Some(rested), _) if rested < self.rest => {
                Err(format!("{process:?} tries again after {rested:?}, and takes nothing in between"))
            }
            (_, Some(untried)) if failed => {
                Err(format!("{process:?} asks one that has failed again, and {untried:?} has not been asked"))
            }
            _ => Ok(()),
        }
    }
}

impl Check for HandoverSettled {
    fn name(&self) -> &'static str {
        "HandoverSettled"
    }

    fn hears(&self) -> &'static [Kind] {
        &[
            Kind::Appended,
            Kind::AskedToTakeOver,
            Kind::HandoverBegan,
            Kind::HandoverEnded,
            Kind::HandoverTook,
            Kind::StorageLost,
        ]
    }

    fn check(&mut self, _: &Ledger, fact: &Fact<'_>) -> Result<(), String> {
        match *fact {
            Fact::HandoverBegan(handover) => return self.began(handover),
            Fact::HandoverEnded(process) => {
                self.leaving.remove(&process.member);
            }
            Fact::HandoverTook { process, time } if time > self.patience => {
                return Err(format!("{process:?} has kept publishers waiting for a successor for {time:?}"));
            }
            Fact::StorageLost(member) => {
                self.leaving.remove(member);
            }
            Fact::Appended { member, entry, .. } if self.leaving.contains(member) => {
                return Err(format!("{member:?} hands over and adds {:?} at {}", entry.kind, entry.offset));
            }
            Fact::AskedToTakeOver { process, log: (commit, end) } if commit < end => {
                return Err(format!("{process:?} asks for a successor with {commit} of {end} committed"));
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::*;

    fn begins(
        story: &mut Story<HandoverSettled>,
        rested: Option<u64>,
        failed: bool,
        untried: Option<&Member>,
    ) {
        let (process, rested) = (&process("a"), rested.map(Duration::from_millis));
        story.tell(&Fact::HandoverBegan(&Handover { process, rested, failed, untried }));
    }

    fn leaving() -> Story<HandoverSettled> {
        let mut story =
            Story::new(HandoverSettled::within(Duration::from_secs(1), Duration::from_millis(100)));
        story.append("a", &[start(1), session(1, 1), batch(1, 1, 2)]);
        begins(&mut story, None, false, None);
        story
    }

    #[test]
    fn who_hands_over_asks_when_all_is_committed() {
        leaving().tell(&Fact::AskedToTakeOver { process: &process("a"), log: (4, 4) }).accepted();
    }

    #[test]
    fn who_has_given_it_up_takes_batches_again() {
        let mut story = leaving();
        story.tell(&Fact::HandoverEnded(&process("a"))).append("a", &[batch(1, 3, 1)]).accepted();
    }

    #[test]
    fn whatever_is_added_in_the_middle_of_it_is_rejected() {
        for added in [batch(1, 3, 1), session(1, 4), expire(1, 1), trim(1, 2)] {
            leaving().append("a", &[added]).rejected("hands over and adds");
        }
    }

    #[test]
    fn one_that_does_not_come_about_is_given_up() {
        let after = |time| {
            let time = Duration::from_millis(time);
            let mut story = leaving();
            story.tell(&Fact::HandoverTook { process: &process("a"), time });
            story
        };
        after(1_000).accepted();
        after(1_001).rejected("kept publishers waiting");
    }

    #[test]
    fn publishers_have_their_turn_before_the_next_attempt() {
        let again = |rested| {
            let mut story = leaving();
            story.tell(&Fact::HandoverEnded(&process("a")));
            begins(&mut story, Some(rested), false, None);
            story
        };
        again(100).accepted();
        again(99).rejected("tries again after 99ms");
    }

    #[test]
    fn whoever_has_not_failed_comes_first() {
        let (other, again) = (&member("c"), |failed, untried| {
            let mut story = leaving();
            begins(&mut story, Some(100), failed, untried);
            story
        });
        again(true, None).accepted();
        again(false, Some(other)).accepted();
        again(true, Some(other)).rejected("has not been asked");
    }

    #[test]
    fn asking_too_early_is_rejected() {
        leaving()
            .tell(&Fact::AskedToTakeOver { process: &process("a"), log: (3, 4) })
            .rejected("with 3 of 4 committed");
    }
}
