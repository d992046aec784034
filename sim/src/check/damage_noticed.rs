//! DamageNoticed (G8): whoever gets a frame that was damaged on its way says so, and goes on.

use super::{Check, Fact, Kind, Ledger};

/// The property.
#[derive(Clone, Debug)]
pub struct DamageNoticed;

impl Check for DamageNoticed {
    fn name(&self) -> &'static str {
        "DamageNoticed"
    }

    fn hears(&self) -> &'static [Kind] {
        &[Kind::Damaged]
    }

    fn check(&mut self, _: &Ledger, fact: &Fact<'_>) -> Result<(), String> {
        match *fact {
            Fact::Damaged { receiver, said: false } => {
                Err(format!("process {receiver} got a damaged frame, and says nothing of it"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::*;

    #[test]
    fn what_is_damaged_is_said_to_be() {
        Story::new(DamageNoticed).tell(&Fact::Damaged { receiver: 1, said: true }).accepted();
        Story::new(DamageNoticed)
            .tell(&Fact::Damaged { receiver: 1, said: false })
            .rejected("says nothing of it");
    }
}
