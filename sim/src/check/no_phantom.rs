//! NoPhantom: whatever is committed was published: by this publisher, on this topic, as it is; and the
//! records of one publisher on one topic stand in a history in the order in which they were published, each
//! once. (Where two processes have one identity: those of each process.) Sequence numbers do not say that: who numbers
//! the same record twice, or a later one first, keeps
//! them contiguous.

use super::records::{RecordId, Table};
use super::{Check, ClientId, Fact, Kind, Ledger};
use crate::render::Payload;
use std::collections::BTreeMap;
use steadfast_core::filter::Topic;
use steadfast_core::id::{Offset, PublisherId};
use steadfast_core::log::EntryKind;
use steadfast_core::message::History;

/// The property.
#[derive(Clone, Debug, Default)]
pub struct NoPhantom {
    /// On which topic each record was published, and by which process. Their numbers are in the order of that.
    published: Table<Option<(Topic, ClientId)>>,
    /// Up to where each history was looked at.
    read: BTreeMap<History, Offset>,
    /// The last record of each process on each topic that is committed in each history.
    last: BTreeMap<(History, ClientId, PublisherId, Topic), RecordId>,
}

impl NoPhantom {
    fn read(&mut self, ledger: &Ledger, history: History) -> Result<(), String> {
        let log = &ledger.committed(history).log;
        let read = self.read.insert(history, log.end()).unwrap_or(0);
        for held in log.from(read) {
            let EntryKind::Batch(batch) = &held.entry.kind else { continue };
            let header = &batch.header;
            // All of a batch are mostly of one process.
            let (mut of, mut last) = (None, None);
            for (offset, record) in (held.entry.offset..).zip(held.records()?) {
                let payload = &ledger.record(*record).payload;
                let published = self.published.of(*record).and_then(Option::as_ref);
                let Some((_, client)) = published.filter(|(topic, ..)| *topic == header.topic) else {
                    return Err(format!(
                        "{:?} of {:?} on {} is committed at {offset}; it published that on {:?}",
                        Payload(payload),
                        header.publisher,
                        header.topic,
                        published.map(|(topic, ..)| topic)
                    ));
                };
                if of != Some(*client) {
                    let place = |client| (history, client, header.publisher, header.topic.clone());
                    if let Some((before, last)) = of.replace(*client).zip(last) {
                        self.last.insert(place(before), last);
                    }
                    last = self.last.remove(&place(*client));
                }
                if Some(*record) <= last {
                    return Err(format!(
                        "{:?} of {:?} on {} is committed at {offset}, behind itself or a later one",
                        Payload(payload),
                        header.publisher,
                        header.topic
                    ));
                }
                last = Some(*record);
            }
            if let Some((client, last)) = of.zip(last) {
                self.last.insert((history, client, header.publisher, header.topic.clone()), last);
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
            Fact::Published { client, topic, .. } => {
                for record in ledger.named() {
                    *self.published.of_mut(*record) = Some((topic.clone(), client));
                }
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
            let payload = &payload(sequence);
            story.tell(&Fact::Published { client: 1, publisher: PUBLISHER, topic: &topic, payload });
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

    /// Three records are published on `t`; the last two are then committed in this order.
    fn committed(later: &[u64]) -> Story<NoPhantom> {
        let mut story = story("t", 1..=4);
        story.append("a", &later.iter().map(|sequence| batch(1, *sequence, 1)).collect::<Vec<_>>());
        story.commit("a", 4 + later.len() as Offset);
        story
    }

    #[test]
    fn the_order_of_publishing_is_accepted_also_with_gaps() {
        committed(&[3, 4]).accepted();
        committed(&[4]).accepted();
    }

    #[test]
    fn a_record_behind_a_later_one_is_rejected() {
        committed(&[4, 3]).rejected("committed at 5, behind itself or a later one");
    }

    #[test]
    fn a_record_that_is_committed_twice_is_rejected() {
        committed(&[3, 3]).rejected("committed at 5, behind itself");
        committed(&[1]).rejected("committed at 4, behind itself");
    }

    #[test]
    fn each_history_has_its_own_order() {
        let mut story = committed(&[3]);
        let other = History { lineage: 2, ..HISTORY };
        for (entry, member) in story.entries("a").iter().zip(std::iter::repeat(&member("b"))) {
            story.tell(&Fact::Appended { member, history: other, entry });
        }
        story.tell(&Fact::Committed { process: &process("b"), history: other, commit: 5 }).accepted();
    }

    #[test]
    fn processes_of_one_identity_are_independent_and_each_has_its_order() {
        let two = |later: &[u64]| {
            let mut story = story("t", 1..=3);
            let topic = &Topic::new("t").expect("a topic");
            for sequence in [4, 5] {
                let payload = &payload(sequence);
                story.tell(&Fact::Published { client: 2, publisher: PUBLISHER, topic, payload });
            }
            story.append("a", &later.iter().map(|sequence| batch(1, *sequence, 1)).collect::<Vec<_>>());
            story.commit("a", 4 + later.len() as Offset);
            story
        };
        two(&[4, 3, 5]).accepted();
        two(&[5, 3, 4]).rejected("committed at 6, behind itself or a later one");
        two(&[4, 3, 3]).rejected("committed at 6, behind itself");
    }

    #[test]
    fn topics_are_independent() {
        let mut story = Story::new(NoPhantom::default());
        for (topic, sequence) in [("t", 1), ("u", 2)] {
            let topic = &Topic::new(topic).expect("a topic");
            let payload = &payload(sequence);
            story.tell(&Fact::Published { client: 1, publisher: PUBLISHER, topic, payload });
        }
        let log = [start(1), session(1, 1), batch_on("u", 1, 1, 2, 1), batch(1, 1, 1)];
        story.append("a", &log).commit("a", 4).accepted();
    }
}
