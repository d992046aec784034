//! Topic heads: how far each topic of the group reaches. A fold of the committed log that survives
//! trims, like the sessions.

use crate::filter::Topic;
use crate::id::Offset;
use crate::limits::MAX_TOPICS;
use crate::log::{Entry, EntryKind};
use alloc::collections::BTreeMap;
use serde::{Deserialize, Serialize};

/// What is known of one topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicHead {
    /// Offset after its last record.
    pub end: Offset,
    /// Number of its records since it was last entered in the table.
    pub records: u64,
}

/// The heads of the topics that were written to last, at most [`MAX_TOPICS`]. Where there are more, the
/// topic that was written to longest ago is forgotten: the same one on every replica.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topics {
    heads: BTreeMap<Topic, TopicHead>,
    /// By end: a batch has one topic, so no two topics end at the same offset.
    by_end: BTreeMap<Offset, Topic>,
}

impl Topics {
    /// The topic's head.
    pub fn get(&self, topic: &Topic) -> Option<&TopicHead> {
        self.heads.get(topic)
    }

    /// All heads, by topic.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&Topic, &TopicHead)> {
        self.heads.iter()
    }

    /// Number of topics known.
    pub fn len(&self) -> usize {
        self.heads.len()
    }

    /// Whether no topic is known.
    pub fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }

    /// Folds one more committed entry in.
    pub fn committed(&mut self, entry: &Entry) {
        let EntryKind::Batch(batch) = &entry.kind else { return };
        let topic = &batch.header.topic;
        let before = self.heads.get(topic).map_or(0, |head| head.records);
        self.insert(topic.clone(), TopicHead { end: entry.end(), records: before + entry.count() });
        if self.heads.len() > MAX_TOPICS
            && let Some((_, oldest)) = self.by_end.pop_first()
        {
            self.heads.remove(&oldest);
        }
    }

    /// Whether some topic ends there.
    pub(super) fn ends_at(&self, offset: Offset) -> bool {
        self.by_end.contains_key(&offset)
    }

    /// Enters a head as it is.
    pub(super) fn insert(&mut self, topic: Topic, head: TopicHead) {
        if let Some(before) = self.heads.insert(topic.clone(), head) {
            self.by_end.remove(&before.end);
        }
        self.by_end.insert(head.end, topic);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::PublisherId;
    use crate::wire::records::RecordsBuilder;
    use alloc::format;

    fn batch(topic: &str, offset: Offset, count: u64) -> Entry {
        let mut records = RecordsBuilder::default();
        (0..count).for_each(|_| records.push(b"x"));
        let batch = records.seal(Topic::new(topic).unwrap(), PublisherId(1), 1, 1);
        Entry { offset, epoch: 1, kind: EntryKind::Batch(batch) }
    }

    fn head(topics: &Topics, topic: &str) -> Option<TopicHead> {
        topics.get(&Topic::new(topic).unwrap()).copied()
    }

    #[test]
    fn a_head_says_where_a_topic_ends_and_how_much_it_had() {
        let mut topics = Topics::default();
        for entry in [batch("a", 0, 2), batch("b", 2, 1), batch("a", 3, 1)] {
            topics.committed(&entry);
        }
        topics.committed(&Entry { offset: 4, epoch: 1, kind: EntryKind::EpochStart });
        assert_eq!(head(&topics, "a"), Some(TopicHead { end: 4, records: 3 }));
        assert_eq!(head(&topics, "b"), Some(TopicHead { end: 3, records: 1 }));
        assert_eq!(head(&topics, "c"), None);
    }

    #[test]
    fn a_full_table_forgets_the_topic_that_was_quiet_for_longest() {
        let mut topics = Topics::default();
        let topic = |number: usize| format!("t{number}");
        for number in 0..MAX_TOPICS {
            topics.committed(&batch(&topic(number), number as Offset, 1));
        }
        topics.committed(&batch("t0", MAX_TOPICS as Offset, 1));
        topics.committed(&batch("new", MAX_TOPICS as Offset + 1, 1));
        assert_eq!(topics.len(), MAX_TOPICS);
        assert_eq!(head(&topics, "t1"), None);
        assert_eq!(head(&topics, "t0").map(|head| head.records), Some(2));
        assert_eq!(topics.by_end.len(), topics.heads.len());
    }
}
