//! NoPhantom: whatever is committed was published: by this publisher, on this topic, as it is.

use super::{Check, Fact, Kind, Ledger};
use bytes::Bytes;
use std::collections::BTreeMap;
use steadfast_core::filter::Topic;
use steadfast_core::id::{Offset, PublisherId};
use steadfast_core::log::EntryKind;
use steadfast_core::message::History;
use steadfast_core::wire::records::Records;

/// The property.
#[derive(Clone, Debug, Default)]
pub struct NoPhantom {
    published: BTreeMap<(PublisherId, Bytes), Topic>,
    /// Up to where each history was looked at.
    read: BTreeMap<History, Offset>,
}

impl NoPhantom {
    fn read(&mut self, ledger: &Ledger, history: History) -> Result<(), String> {
        let log = &ledger.committed(history).log;
        let read = self.read.insert(history, log.end()).unwrap_or(0);
        for held in log.from(read) {
            let EntryKind::Batch(batch) = &held.entry.kind else { continue };
            let header = &batch.header;
            let records = Records::decode(header, batch.body.clone()).map_err(|error| {
                format!("the committed batch at {} cannot be read: {error}", held.entry.offset)
            })?;
            for (offset, payload) in (held.entry.offset..).zip(records) {
                let published = self.published.get(&(header.publisher, payload.clone()));
                if published != Some(&header.topic) {
                    return Err(format!(
                        "{payload:?} of {:?} on {} is committed at {offset}; it published that on {published:?}",
                        header.publisher, header.topic
                    ));
                }
            }
        }
        Ok(())
    }
}

impl Check for NoPhantom {
    fn name(&self) -> &'static str {
        "NoPhantom"
    }

    fn hears(&self) -> &'static [Kind] {
        &[Kind::Committed, Kind::Published]
    }

    fn check(&mut self, ledger: &Ledger, fact: &Fact<'_>) -> Result<(), String> {
        match *fact {
            Fact::Published { publisher, topic, payload } => {
                self.published.insert((publisher, payload.clone()), topic.clone());
                Ok(())
            }
            Fact::Committed { history, .. } => self.read(ledger, history),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::*;

    fn story(topic: &str, sequences: std::ops::RangeInclusive<u64>) -> Story<NoPhantom> {
        let mut story = Story::new(NoPhantom::default());
        let topic = Topic::new(topic).expect("a topic");
        for sequence in sequences {
            story.tell(&Fact::Published { publisher: PUBLISHER, topic: &topic, payload: &payload(sequence) });
        }
        story.append("a", &[start(1), session(1, 1), batch(1, 1, 2)]);
        story
    }

    #[test]
    fn what_was_published_is_accepted() {
        story("t", 1..=2).commit("a", 4).accepted();
    }

    #[test]
    fn what_nobody_published_is_rejected_once_it_is_committed() {
        let mut story = story("t", 1..=1);
        story.commit("a", 2).accepted();
        story.commit("a", 4).rejected("committed at 3");
    }

    #[test]
    fn what_was_published_on_another_topic_is_rejected() {
        story("u", 1..=2).commit("a", 4).rejected("committed at 2");
    }
}
