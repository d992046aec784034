//! AckedCommitted: what a broker tells a publisher is committed is committed, as far as the broker's own
//! log goes. (A plan's AckedDurable also looks into the records, which a recording does not have all.)

use crate::check::{Check, Fact, Kind, Ledger};

/// The property.
#[derive(Clone, Debug)]
pub(super) struct AckedCommitted;

impl Check for AckedCommitted {
    fn name(&self) -> &'static str {
        "AckedCommitted"
    }

    fn hears(&self) -> &'static [Kind] {
        &[Kind::AckSent]
    }

    fn check(&mut self, ledger: &Ledger, fact: &Fact<'_>) -> Result<(), String> {
        let Fact::AckSent { history, publisher, incarnation, last_sequence, .. } = fact else {
            return Ok(());
        };
        let committed = ledger.committed(*history).reached(*publisher, *incarnation);
        if committed >= *last_sequence {
            return Ok(());
        }
        Err(format!("{publisher:?} was told that {last_sequence} is committed, {committed} is"))
    }
}
