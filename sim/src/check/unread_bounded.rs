//! UnreadBounded (R30): what was delivered and waits for a subscriber's application is within its credit, on
//! whatever streams it came, but for the last batch. [`super::credit_kept`] judges the broker, this one who
//! grants the credit.

use super::{Check, ClientId, Fact, Kind, Ledger};
use std::collections::BTreeMap;

/// The property.
#[derive(Clone, Debug)]
pub struct UnreadBounded {
    /// So many body bytes may wait, and one batch.
    credit: u64,
    unread: BTreeMap<ClientId, u64>,
}

impl UnreadBounded {
    /// So many body bytes may wait, and one batch.
    pub const fn by(credit: u64) -> Self {
        Self { credit, unread: BTreeMap::new() }
    }
}

impl Check for UnreadBounded {
    fn name(&self) -> &'static str {
        "UnreadBounded"
    }

    fn hears(&self) -> &'static [Kind] {
        &[Kind::ClientStarted, Kind::Consumed, Kind::Unread]
    }

    fn check(&mut self, _: &Ledger, fact: &Fact<'_>) -> Result<(), String> {
        match *fact {
            Fact::Unread { subscriber, bytes } => {
                let unread = self.unread.entry(subscriber).or_default();
                if *unread >= self.credit {
                    return Err(format!(
                        "{unread} bytes wait for the application of subscriber {subscriber}, {bytes} more have come beyond its credit of {}",
                        self.credit
                    ));
                }
                *unread += bytes;
            }
            Fact::Consumed { subscriber, bytes } => {
                if let Some(unread) = self.unread.get_mut(&subscriber) {
                    *unread = unread.saturating_sub(bytes);
                }
            }
            Fact::ClientStarted { client } => drop(self.unread.remove(&client)),
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::*;

    fn given(sizes: &[u64]) -> Story<UnreadBounded> {
        let mut story = Story::new(UnreadBounded::by(100));
        for &bytes in sizes {
            story.tell(&Fact::Unread { subscriber: 1, bytes });
        }
        story
    }

    #[test]
    fn the_last_batch_may_overstep() {
        given(&[99, 500]).accepted();
    }

    #[test]
    fn a_batch_beyond_the_credit_is_rejected() {
        given(&[60, 40, 1]).rejected("100 bytes wait");
    }

    #[test]
    fn what_is_consumed_waits_no_more() {
        let mut story = given(&[60, 40]);
        story.tell(&Fact::Consumed { subscriber: 1, bytes: 1 });
        story.tell(&Fact::Unread { subscriber: 1, bytes: 500 }).accepted();
        story.tell(&Fact::Unread { subscriber: 1, bytes: 1 }).rejected("599 bytes wait");
    }

    #[test]
    fn each_process_begins_with_nothing() {
        let mut story = given(&[100]);
        story.tell(&Fact::Unread { subscriber: 2, bytes: 1 }).tell(&Fact::ClientStarted { client: 1 });
        story.tell(&Fact::Unread { subscriber: 1, bytes: 1 }).accepted();
    }
}
