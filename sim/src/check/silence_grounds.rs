//! SilenceGrounds (R20): a primary falls silent only when it has not heard for the step-down time of some
//! other in-sync member; one that is alone in its set never does. It speaks again when it has heard of them, or
//! has read the tree since its session was back: it may have been deposed long ago.

use super::{Check, Fact, Kind, Ledger};
use std::time::Duration;

/// The property.
#[derive(Clone, Debug)]
pub struct SilenceGrounds {
    step_down: Duration,
}

impl SilenceGrounds {
    /// A primary is isolated that has not heard of a member for at least so long.
    pub const fn after(step_down: Duration) -> Self {
        Self { step_down }
    }
}

impl Check for SilenceGrounds {
    fn name(&self) -> &'static str {
        "SilenceGrounds"
    }

    fn hears(&self) -> &'static [Kind] {
        &[Kind::FellSilent, Kind::InTouch]
    }

    fn check(&mut self, _: &Ledger, fact: &Fact<'_>) -> Result<(), String> {
        if let Fact::InTouch { process, unheard: Some(unheard), read: false } = *fact
            && unheard > self.step_down.mul_f64(1.3)
        {
            return Err(format!(
                "{process:?} speaks again; it has neither read the tree nor heard of anybody for {unheard:?}"
            ));
        }
        let Fact::FellSilent { process, unheard, .. } = *fact else { return Ok(()) };
        match unheard {
            Some(unheard) if unheard >= self.step_down => Ok(()),
            Some(unheard) => {
                Err(format!("{process:?} falls silent; it has heard of every member {unheard:?} ago"))
            }
            None => Err(format!("{process:?} falls silent and is alone in its set")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::*;

    fn silent(unheard: Option<u64>) -> Story<SilenceGrounds> {
        let mut story = Story::new(SilenceGrounds::after(Duration::from_millis(500)));
        let unheard = unheard.map(Duration::from_millis);
        story.tell(&Fact::FellSilent { process: &process("a"), epoch: 1, unheard });
        story
    }

    #[test]
    fn who_hears_nothing_falls_silent() {
        silent(Some(500)).accepted();
    }

    #[test]
    fn who_hears_of_everybody_does_not() {
        silent(Some(499)).rejected("falls silent");
    }

    #[test]
    fn who_has_heard_of_others_or_read_the_tree_speaks_again() {
        let again = |unheard: Option<u64>, read| {
            let mut story = silent(Some(500));
            let unheard = unheard.map(Duration::from_millis);
            story.tell(&Fact::InTouch { process: &process("a"), unheard, read });
            story
        };
        again(Some(400), false).accepted();
        again(Some(2_000), true).accepted();
        again(None, false).accepted();
        again(Some(700), false).rejected("speaks again");
    }

    #[test]
    fn who_is_alone_does_not() {
        silent(None).rejected("alone in its set");
    }
}
