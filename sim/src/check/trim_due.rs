//! TrimDue (R36): no batch outlives its age, also where others are published all the time. A primary that serves, and
//! whose last decision to drop is committed, decides it when a batch has become too old.

use super::duty::{Duty, at_most};
use super::{Check, Fact, Kind, Ledger};
use std::time::Duration;

/// Batches are as old as the youngest that was appended within such a part of the age.
const STEP: u32 = 16;

/// The property.
#[derive(Clone, Debug)]
pub struct TrimDue {
    /// Batches may be so old, if that is limited.
    age: Option<Duration>,
}

impl TrimDue {
    /// What is older is not kept.
    pub const fn after(age: Option<Duration>) -> Self {
        Self { age }
    }
}

impl Check for TrimDue {
    fn name(&self) -> &'static str {
        "TrimDue"
    }

    fn hears(&self) -> &'static [Kind] {
        &[Kind::Owes]
    }

    fn check(&mut self, _: &Ledger, fact: &Fact<'_>) -> Result<(), String> {
        let (Fact::Owes(process, Duty::Trim { age }), Some(most)) = (fact, self.age) else { return Ok(()) };
        match *age > at_most(most + most / STEP) {
            false => Ok(()),
            true => Err(format!("{process:?} keeps a batch of {age:?} ago, and is to keep none of {most:?}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::*;

    fn keeps(most: Option<u64>, age: u64) -> Story<TrimDue> {
        let mut story = Story::new(TrimDue::after(most.map(Duration::from_millis)));
        let age = Duration::from_millis(age);
        story.tell(&Fact::Owes(&process("a"), Duty::Trim { age }));
        story
    }

    #[test]
    fn a_batch_is_kept_until_it_is_old() {
        keeps(Some(1_600), 2_040).accepted();
    }

    #[test]
    fn one_that_is_kept_for_longer_is_rejected() {
        keeps(Some(1_600), 2_041).rejected("keeps a batch of 2.041s ago");
    }

    #[test]
    fn where_age_does_not_count_everything_is_kept() {
        keeps(None, 1_000_000).accepted();
    }
}
