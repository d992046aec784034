//! CreditKept (R30): a broker sends on a stream while credit is left, and oversteps it by one batch at most.

use super::{Check, Fact, Kind, Ledger};
use std::collections::BTreeMap;

/// The property.
#[derive(Clone, Debug, Default)]
pub struct CreditKept {
    /// By connection and stream: body bytes that may be sent, and that were.
    streams: BTreeMap<(u64, u64), (u64, u64)>,
}

impl Check for CreditKept {
    fn name(&self) -> &'static str {
        "CreditKept"
    }

    fn hears(&self) -> &'static [Kind] {
        &[Kind::Granted, Kind::Sent]
    }

    fn check(&mut self, _: &Ledger, fact: &Fact<'_>) -> Result<(), String> {
        match *fact {
            Fact::Granted { stream, limit } => {
                let (granted, _) = self.streams.entry(stream).or_default();
                *granted = limit.max(*granted);
            }
            Fact::Sent { stream, bytes, last, .. } => {
                let (granted, sent) = self.streams.entry(stream).or_default();
                *sent += bytes;
                if *sent - last >= *granted {
                    return Err(format!(
                        "{sent} bytes were sent on {stream:?}, the last {last} of them beyond {granted}"
                    ));
                }
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

    fn sent(sizes: &[(u64, u64)]) -> Story<CreditKept> {
        let mut story = Story::new(CreditKept::default());
        story.tell(&Fact::Granted { stream: (1, 1), limit: 100 });
        for &(bytes, last) in sizes {
            story.tell(&Fact::Sent { stream: (1, 1), bytes, last, entries: &[] });
        }
        story
    }

    #[test]
    fn the_last_batch_may_overstep() {
        sent(&[(60, 60), (90, 80)]).accepted();
    }

    #[test]
    fn a_grant_is_absolute() {
        let mut story = sent(&[(100, 100)]);
        story.tell(&Fact::Granted { stream: (1, 1), limit: 101 });
        story.tell(&Fact::Sent { stream: (1, 1), bytes: 5, last: 5, entries: &[] }).accepted();
    }

    #[test]
    fn a_batch_without_credit_is_rejected() {
        sent(&[(100, 100), (1, 1)]).rejected("beyond 100");
        sent(&[(150, 50)]).rejected("beyond 100");
    }
}
