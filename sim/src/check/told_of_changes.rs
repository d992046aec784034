//! ToldOfChanges (section 4): a replica of discovery that learns of another epoch, or of where the primary is, tells
//! everybody who waits for that.

use super::{Check, Fact, Kind, Ledger};

/// The property.
#[derive(Clone, Debug)]
pub struct ToldOfChanges;

impl Check for ToldOfChanges {
    fn name(&self) -> &'static str {
        "ToldOfChanges"
    }

    fn hears(&self) -> &'static [Kind] {
        &[Kind::Learned]
    }

    fn check(&mut self, _: &Ledger, fact: &Fact<'_>) -> Result<(), String> {
        let Fact::Learned { replica, watchers, told } = *fact else { return Ok(()) };
        match told >= watchers {
            true => Ok(()),
            false => Err(format!("replica {replica} knows better and tells {told} of {watchers}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::*;

    fn learned(watchers: usize, told: usize) -> Story<ToldOfChanges> {
        let mut story = Story::new(ToldOfChanges);
        story.tell(&Fact::Learned { replica: 1, watchers, told });
        story
    }

    #[test]
    fn everybody_is_told() {
        learned(2, 2).accepted();
        learned(2, 3).accepted();
        learned(0, 0).accepted();
    }

    #[test]
    fn nobody_is_left_out() {
        learned(2, 1).rejected("tells 1 of 2");
    }
}
