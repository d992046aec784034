//! R16: what a backup takes of a snapshot, at its limits.

use super::retention::{kept, part, records_of, some_records, the_fold};
use super::world::World;
use steadfast_core::broker::topics::TopicHead;
use steadfast_core::filter::Topic;
use steadfast_core::id::PublisherId;
use steadfast_core::limits::{MAX_FOLD_TOPICS, MAX_TOPICS};
use steadfast_core::log::EntryKind;
use steadfast_core::message::{Message, SnapshotFold};
use steadfast_core::trace::{Rejection, Trace};

/// How far the records of [`kept`] are moved: each topic has its own place below them.
const FAR: u64 = 20_000;

/// Sessions ascend from part to part, as they do within one.
#[test]
fn a_session_that_a_part_before_has_passed_is_rejected() {
    for (publisher, rejected) in [(1, true), (2, true), (3, false)] {
        let (mut world, link) = World::backup(false);
        world.receive(link, &some_records(0, 20, kept()));
        let SnapshotFold { sessions, topics, .. } = the_fold(1);
        let first = vec![(PublisherId(2), sessions[0].1)];
        let first = SnapshotFold { sessions: first, topics: Vec::new(), last: false, ..the_fold(1) };
        world.receive(link, &Message::SnapshotFold(Box::new(first)));
        let second = vec![(PublisherId(publisher), sessions[0].1), sessions[1]];
        let second = SnapshotFold { sessions: second, topics, ..the_fold(2) };
        world.receive(link, &Message::SnapshotFold(Box::new(second)));
        let unexpected = Trace::Rejected { link, reason: Rejection::Unexpected };
        assert_eq!(world.traces.contains(&unexpected), rejected, "publisher {publisher}");
        assert_eq!(
            world.broker.replica().log().end(),
            if rejected { 0 } else { 24 },
            "publisher {publisher}"
        );
    }
}

/// A fold in parts with so many heads.
fn fold_of(topics: usize) -> Vec<SnapshotFold> {
    let others = (1..topics as u64)
        .map(|n| (Topic::new(&format!("a{n:05}")).unwrap(), TopicHead { end: n, records: 1 }));
    let last = (Topic::new("t").unwrap(), TopicHead { end: FAR + 23, records: 9 });
    let heads: Vec<_> = others.chain([last]).collect();
    let chunks = heads.chunks(MAX_FOLD_TOPICS).zip(1..);
    let mut parts: Vec<_> = chunks
        .map(|(heads, number)| {
            let (cut, log_start) = (FAR + 24, FAR + 21);
            SnapshotFold {
                part: part(1, number),
                cut,
                log_start,
                sessions: vec![],
                topics: heads.to_vec(),
                last: false,
            }
        })
        .collect();
    parts[0].sessions = the_fold(1).sessions;
    parts.last_mut().unwrap().last = true;
    parts
}

/// As many heads as a primary knows are taken, and no more.
#[test]
fn a_snapshot_with_as_many_topics_as_there_may_be_is_taken() {
    for (topics, end, too_large) in [(MAX_TOPICS, FAR + 24, false), (MAX_TOPICS + 1, 0, true)] {
        let (mut world, link) = World::backup(false);
        let mut entries = kept();
        for entry in &mut entries {
            entry.offset += FAR;
            if let EntryKind::Trim { to } = &mut entry.kind {
                *to += FAR;
            }
        }
        world.receive(link, &records_of(0, part(1, 0), FAR + 20, entries));
        for fold in fold_of(topics) {
            world.receive(link, &Message::SnapshotFold(Box::new(fold)));
        }
        assert_eq!(world.broker.replica().log().end(), end, "{topics} topics");
        let rejected = Trace::Rejected { link, reason: Rejection::TooLarge };
        assert_eq!(world.traces.contains(&rejected), too_large, "{topics} topics");
    }
}
