//! LogMatching: the same offset and epoch on two replicas of a lineage mean the same prefix.

use super::{Check, Fact, Kind, Ledger};
use std::collections::BTreeMap;
use steadfast_core::id::{Epoch, Offset};
use steadfast_core::message::History;

/// The property.
#[derive(Clone, Debug, Default)]
pub struct LogMatching {
    prefixes: BTreeMap<(History, Offset, Epoch), u64>,
}

impl Check for LogMatching {
    fn name(&self) -> &'static str {
        "LogMatching"
    }

    fn hears(&self) -> &'static [Kind] {
        &[Kind::Appended]
    }

    fn check(&mut self, ledger: &Ledger, fact: &Fact<'_>) -> Result<(), String> {
        let Fact::Appended { member, history, entry } = fact else { return Ok(()) };
        let log = ledger.replica(member).map(|replica| replica.log.entries());
        let Some(last) = log.and_then(<[_]>::last) else { return Ok(()) };
        let prefix = *self.prefixes.entry((*history, entry.offset, entry.epoch)).or_insert(last.chain);
        if prefix == last.chain {
            return Ok(());
        }
        Err(format!(
            "{member:?} appended another prefix that ends with epoch {} at {}",
            entry.epoch, entry.offset
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::*;

    #[test]
    fn equal_prefixes_and_other_epochs_are_accepted() {
        let mut story = Story::new(LogMatching::default());
        story.append("a", &[start(1), batch(1, 1, 2), batch(1, 3, 1)]);
        story.append("b", &[start(1), batch(1, 1, 2), start(2), batch(2, 3, 1)]);
        story.truncate("a", 3).append("a", &[start(2), batch(2, 3, 1)]).accepted();
    }

    #[test]
    fn another_record_of_the_same_epoch_is_rejected() {
        let mut story = Story::new(LogMatching::default());
        story.append("a", &[start(1), batch(1, 1, 2)]).append("b", &[start(1), batch(1, 2, 2)]);
        story.rejected("epoch 1 at 1");
    }

    #[test]
    fn the_same_record_on_another_prefix_is_rejected() {
        let mut story = Story::new(LogMatching::default());
        story.append("a", &[start(1), start(2), batch(3, 1, 2)]);
        story.append("b", &[start(1), start(1), batch(3, 1, 2)]).rejected("epoch 3 at 2");
    }
}
