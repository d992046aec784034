//! StreamWanted (R30): a broker sends on a stream what one of its filters wants, and nothing once it has read that the
//! stream is closed, or was told that its connection is over.

use super::{Check, Fact, Kind, Ledger};
use std::collections::{BTreeMap, BTreeSet};
use steadfast_core::filter::Filter;
use steadfast_core::log::EntryKind;

/// A stream's connection, and its number on it.
type Stream = (u64, u64);

/// The property.
#[derive(Clone, Debug, Default)]
pub struct StreamWanted {
    wanted: BTreeMap<Stream, Vec<Filter>>,
    closed: BTreeSet<Stream>,
}

impl Check for StreamWanted {
    fn name(&self) -> &'static str {
        "StreamWanted"
    }

    fn hears(&self) -> &'static [Kind] {
        &[Kind::Closed, Kind::Sent, Kind::Wanted]
    }

    fn check(&mut self, _: &Ledger, fact: &Fact<'_>) -> Result<(), String> {
        match *fact {
            Fact::Wanted { stream, filters } => drop(self.wanted.insert(stream, filters.to_vec())),
            Fact::Closed { stream } => {
                self.wanted.remove(&stream);
                self.closed.insert(stream);
            }
            Fact::Sent { stream, entries, .. } => {
                if self.closed.contains(&stream) {
                    return Err(format!("batches are sent on {stream:?}, which is over"));
                }
                let Some(filters) = self.wanted.get(&stream) else { return Ok(()) };
                for entry in entries {
                    if let EntryKind::Batch(batch) = &entry.kind
                        && !filters.iter().any(|filter| filter.matches(&batch.header.topic))
                    {
                        let topic = &batch.header.topic;
                        return Err(format!(
                            "a batch on {topic} is sent on {stream:?}, which wants {filters:?}"
                        ));
                    }
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
    use steadfast_core::log::Entry;

    /// A stream that wants `t` and `u.>`.
    fn story() -> Story<StreamWanted> {
        let filters = ["t", "u.>"].map(|filter| Filter::new(filter).expect("a filter"));
        let mut story = Story::new(StreamWanted::default());
        story.tell(&Fact::Wanted { stream: (1, 1), filters: &filters });
        story
    }

    fn sent(story: &mut Story<StreamWanted>, stream: Stream, topics: &[&str]) {
        let entries: Vec<_> = topics
            .iter()
            .map(|topic| {
                let (epoch, kind) = batch_on(topic, 1, 1, 1, 1);
                Entry { offset: 0, epoch, kind }
            })
            .collect();
        story.tell(&Fact::Sent { stream, bytes: 1, last: 1, entries: &entries });
    }

    #[test]
    fn what_some_filter_wants_is_accepted() {
        let mut story = story();
        sent(&mut story, (1, 1), &["t", "u.v"]);
        story.accepted();
    }

    #[test]
    fn what_no_filter_wants_is_rejected() {
        let mut story = story();
        sent(&mut story, (1, 1), &["t", "v"]);
        story.rejected("a batch on v is sent");
    }

    #[test]
    fn nothing_is_sent_on_a_stream_that_is_over() {
        let mut story = story();
        story.tell(&Fact::Closed { stream: (1, 1) });
        sent(&mut story, (1, 2), &["t"]);
        story.accepted();
        sent(&mut story, (1, 1), &["t"]);
        story.rejected("which is over");
    }
}
