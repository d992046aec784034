//! Retention at one broker, and snapshots at both ends, with scripted peers.

use crate::world::{
    HISTORY, PUBLISHER, World, ack, open_session, open_stream, process, publish, replicate, sender,
};
use std::time::Duration;
use steadfast_core::broker::Config;
use steadfast_core::broker::retention::Retention;
use steadfast_core::broker::sessions::Session;
use steadfast_core::broker::topics::TopicHead;
use steadfast_core::filter::Topic;
use steadfast_core::id::{Nonce, Offset, PublisherId, Sequence};
use steadfast_core::limits::MAX_BATCH_LEN;
use steadfast_core::link::{LinkId, LinkStatus};
use steadfast_core::log::{Entry, EntryKind};
use steadfast_core::message::{
    Message, OpenStream, Publish, Refusal, ReplicateAck, SnapshotAck, SnapshotFold, SnapshotPart,
    SnapshotRecords, Start,
};
use steadfast_core::trace::{Limit, Rejection, Trace};

const B: LinkId = LinkId::accepted(1);
const CLIENT: LinkId = LinkId::accepted(2);
const READER: LinkId = LinkId::accepted(3);

pub fn keeping(retention: Retention) -> Config {
    Config { retention, ..Config::default() }
}

fn records(records: u64) -> Config {
    keeping(Retention { bytes: None, records: Some(records), age: None })
}

fn start(world: &World) -> Offset {
    world.broker.replica().log().start()
}

/// A primary that keeps so much, with a session and so many records.
fn primary(config: Config, published: Sequence) -> World {
    let mut world = World::primary(config);
    world.receive(CLIENT, &open_session(1));
    (1..=published).for_each(|sequence| world.receive(CLIENT, &publish(sequence)));
    world
}

fn trims(world: &World) -> Vec<(Offset, Offset)> {
    let trim = |trace: &Trace| match trace {
        Trace::Trimmed { from, to } => Some((*from, *to)),
        _ => None,
    };
    world.traces.iter().filter_map(trim).collect()
}

// The decision

/// R36: by number of records, in steps, by entries in the log.
#[test]
fn records_beyond_the_limit_are_trimmed_in_steps() {
    let world = primary(records(32), 100);
    let (log, trims) = (world.broker.replica().log(), trims(&world));
    assert!((30..=34).contains(&(log.end() - log.start())), "{} are kept", log.end() - log.start());
    assert!((10..40).contains(&trims.len()), "{trims:?}");
    let decided = log.iter_from(log.start()).filter_map(|entry| match entry.kind {
        EntryKind::Trim { to } => Some(to),
        _ => None,
    });
    assert_eq!(decided.max(), Some(log.start()), "the last decision is in the log");
    let session = world.broker.replica().sessions().base().get(PUBLISHER).copied();
    assert_eq!(session.map(|session| session.last_sequence), Some(100), "sessions survive");
    let head = world.broker.replica().topics().get(&Topic::new("t").unwrap()).copied();
    assert_eq!(head.map(|head| head.records), Some(100), "topic heads survive");
}

#[test]
fn memory_beyond_the_limit_is_trimmed() {
    let limit = 16 << 10;
    let world = primary(keeping(Retention { bytes: Some(limit), records: None, age: None }), 500);
    let bytes = world.broker.replica().log().bytes();
    assert!((limit * 3 / 4..=limit + 1_000).contains(&bytes), "{bytes} are kept");
}

/// R36: age trims also when nothing is published any more, and then falls silent.
#[test]
fn records_of_age_are_trimmed_without_further_records() {
    let age = Duration::from_secs(8);
    let mut world = primary(keeping(Retention { bytes: None, records: None, age: Some(age) }), 10);
    let end = world.broker.replica().log().end();
    world.run(7_900);
    assert_eq!(start(&world), 0);
    world.receive(CLIENT, &publish(11));
    world.run(1_100);
    assert_eq!(start(&world), end, "what is younger stays");
    world.run(20_000);
    let log = world.broker.replica().log();
    assert!(log.iter_from(log.start()).all(|entry| matches!(entry.kind, EntryKind::Trim { .. })));
    assert_eq!(trims(&world).len(), 2, "a log of nothing but trims is left alone");
}

/// R36: what is not committed is never dropped, and the decision counts when it is committed itself.
#[test]
fn nothing_is_trimmed_before_the_decision_is_committed() {
    let mut world = World::primary(records(16));
    world.receive(CLIENT, &open_session(1));
    world.register("b", 2);
    world.hello(B, "b", 2);
    world.ack(B, "b", 2);
    assert_eq!(world.in_sync(), ["a", "b"]);
    (1..=40).for_each(|sequence| world.receive(CLIENT, &publish(sequence)));
    assert_eq!(start(&world), 0, "b has not acknowledged");
    let committed = world.broker.replica().commit();
    world.ack(B, "b", 2);
    assert!(start(&world) <= committed, "b has not acknowledged a later decision");
    world.ack(B, "b", 2);
    assert!(start(&world) > 20);
}

#[test]
fn a_backup_trims_when_it_learns_that_the_decision_is_committed() {
    let (mut world, link) = World::backup(true);
    let starts: Vec<_> = (0..5).map(|offset| entry(offset, EntryKind::EpochStart)).collect();
    let decision = entry(5, EntryKind::Trim { to: 3 });
    world.receive(link, &replicate(1, (0, 0), 5, [starts, vec![decision]].concat()));
    assert_eq!(start(&world), 0);
    world.receive(link, &replicate(1, (6, 1), 6, vec![]));
    assert_eq!((start(&world), trims(&world)), (3, vec![(0, 3)]));
}

// Subscribers

/// R36: a stream that grants no credit is told of the whole range once, and goes on with what is kept.
#[test]
fn a_stream_that_was_overtaken_is_told_once() {
    let mut world = primary(records(32), 10);
    let Message::OpenStream(request) = open_stream(Start::Earliest) else { unreachable!() };
    world.receive(READER, &Message::OpenStream(OpenStream { credit: 0, ..request }));
    world.sent.clear();
    (11..=200).for_each(|sequence| world.receive(CLIENT, &publish(sequence)));
    world.run(1_000);
    assert!(world.sent_to(READER).all(|message| match message {
        Message::Deliver(deliver) => deliver.entries.is_empty() && deliver.upto.offset == 0,
        _ => false,
    }));
    world.sent.clear();
    world.receive(READER, &Message::Credit { stream: 1, limit: 1 << 20 });
    world.run(1_000);
    let mut sent = world.sent_to(READER);
    let Some(Message::StreamOpened(opened)) = sent.next() else { panic!("it is told where it goes on") };
    assert_eq!(opened.start.offset, start(&world));
    let mut next = opened.start.offset;
    for message in sent {
        let Message::Deliver(deliver) = message else { panic!("{message:?} after it was told") };
        assert_eq!(deliver.from, next);
        next = deliver.upto.offset;
    }
    assert_eq!(next, world.broker.replica().commit());
}

// Snapshots, as the primary

pub fn snapshot_ack(snapshot: u64, parts: u64) -> Message {
    let part = SnapshotPart { sender: sender("b", 2), history: HISTORY, epoch: 1, snapshot, part: parts };
    Message::SnapshotAck(SnapshotAck(part))
}

/// The parts of a snapshot that were sent, and whether any ordinary entries were.
pub fn parts(world: &World) -> (Vec<SnapshotRecords>, Vec<SnapshotFold>, bool) {
    let (mut records, mut folds, mut entries) = (Vec::new(), Vec::new(), false);
    for message in world.sent_to(B) {
        match message {
            Message::SnapshotRecords(part) if !part.entries.is_empty() => records.push((**part).clone()),
            Message::SnapshotFold(part) => folds.push((**part).clone()),
            Message::Replicate(replicate) => entries = entries || !replicate.entries.is_empty(),
            _ => {}
        }
    }
    (records, folds, entries)
}

/// R16: records from the log's start to the commit offset, then the fold there, then ordinary replication.
#[test]
fn a_follower_below_the_start_gets_a_snapshot_and_then_the_log() {
    let mut world = primary(records(32), 100);
    world.register("b", 2);
    world.hello(B, "b", 2);
    world.receive(B, &snapshot_ack(1, 1));
    let (records, folds, entries) = parts(&world);
    let (log_start, cut) = (start(&world), world.broker.replica().commit());
    assert!(!entries, "ordinary entries wait");
    assert_eq!((records[0].from, records[0].part.part), (log_start, 0));
    let sent: Vec<_> = records.iter().flat_map(|part| &part.entries).cloned().collect();
    assert_eq!(sent, world.broker.replica().log().iter_from(0).cloned().collect::<Vec<_>>());
    let [fold] = &folds[..] else { panic!("{} parts of the fold", folds.len()) };
    assert_eq!((fold.cut, fold.log_start, fold.last), (cut, log_start, true));
    assert_eq!(fold.sessions[0].1.last_sequence, 100);

    world.receive(CLIENT, &publish(101));
    assert!(!parts(&world).2, "the snapshot is on its way");
    world.receive(B, &snapshot_ack(1, records.len() as u64 + 1));
    let Some(Message::Replicate(next)) = world.sent_to(B).next_back() else { panic!("the log goes on") };
    assert!(next.previous_offset == cut && !next.entries.is_empty());
    world.ack(B, "b", 2);
    assert_eq!(world.in_sync(), ["a", "b"]);
}

/// R16: heartbeats go on during a snapshot, and an acknowledgement that is early or of another snapshot
/// does not complete it.
#[test]
fn a_snapshot_is_complete_when_all_of_it_is_acknowledged() {
    let mut world = primary(records(32), 100);
    world.register("b", 2);
    world.hello(B, "b", 2);
    for wrong in [snapshot_ack(1, 1), snapshot_ack(2, 9), snapshot_ack(1, 0)] {
        world.receive(B, &wrong);
        world.receive(CLIENT, &publish(101));
        assert!(!parts(&world).2, "{wrong:?}");
    }
    world.sent.clear();
    world.run(200);
    let beat =
        |message: &Message| matches!(message, Message::SnapshotRecords(part) if part.entries.is_empty());
    assert!(world.sent_to(B).filter(|message| beat(message)).count() > 1);
}

/// R16: a follower that is overtaken while it copies the log is switched to a snapshot, and one that is
/// overtaken during a snapshot skips what is gone.
#[test]
fn a_follower_that_falls_behind_the_start_on_its_way_gets_a_snapshot() {
    let mut world = World::primary(keeping(Retention { bytes: Some(24 << 20), records: None, age: None }));
    world.receive(CLIENT, &open_session(1));
    world.register("b", 2);
    world.hello(B, "b", 2);
    (1..=40).for_each(|sequence| world.receive(CLIENT, &large(sequence)));
    world.receive(B, &snapshot_ack(1, 1));
    let (before, ..) = parts(&world);
    assert!(before.first().is_some_and(|part| part.from > 0), "it was overtaken with a full window");
    (41..=80).for_each(|sequence| world.receive(CLIENT, &large(sequence)));
    assert_eq!(parts(&world).0.len(), before.len(), "its window is full again");
    world.receive(B, &snapshot_ack(1, before.len() as u64));
    let after = parts(&world).0.swap_remove(before.len());
    let sent = before.last().and_then(|part| part.entries.last()).map_or(0, Entry::end);
    assert!(after.from == start(&world) && after.from > sent);
}

/// A record of a megabyte, almost.
fn large(sequence: Sequence) -> Message {
    let mut records = steadfast_core::wire::records::RecordsBuilder::default();
    records.push(&vec![7; 1_000_000]);
    let batch = records.seal(Topic::new("t").unwrap(), PUBLISHER, 1, sequence);
    Message::Publish(Publish { history: HISTORY, batches: vec![batch] })
}

// Snapshots, as the backup

fn entry(offset: Offset, kind: EntryKind) -> Entry {
    Entry { offset, epoch: 1, kind }
}

fn batch(offset: Offset, sequence: Sequence) -> Entry {
    let Message::Publish(mut publish) = publish(sequence) else { unreachable!() };
    entry(offset, EntryKind::Batch(publish.batches.remove(0)))
}

pub fn part(snapshot: u64, part: u64) -> SnapshotPart {
    SnapshotPart { sender: sender("b", 2), history: HISTORY, epoch: 1, snapshot, part }
}

pub fn some_records(number: u64, from: Offset, entries: Vec<Entry>) -> Message {
    records_of(0, part(1, number), from, entries)
}

/// Records of a primary whose log takes so much memory.
pub fn records_of(log_bytes: u64, part: SnapshotPart, from: Offset, entries: Vec<Entry>) -> Message {
    let records = SnapshotRecords { part, from, previous_epoch: 1, entries, log_bytes };
    Message::SnapshotRecords(Box::new(records))
}

pub fn the_fold(number: u64) -> SnapshotFold {
    let session = Session { incarnation: 1, nonce: Nonce(1), last_sequence: 9 };
    let old = Session { incarnation: 4, nonce: Nonce(4), last_sequence: 44 };
    SnapshotFold {
        part: part(1, number),
        cut: 24,
        log_start: 21,
        sessions: vec![(PublisherId(1), old), (PUBLISHER, session)],
        topics: vec![
            (Topic::new("old").unwrap(), TopicHead { end: 3, records: 2 }),
            (Topic::new("t").unwrap(), TopicHead { end: 23, records: 9 }),
        ],
        last: true,
    }
}

fn fold(change: fn(&mut SnapshotFold)) -> Message {
    let mut fold = the_fold(1);
    change(&mut fold);
    Message::SnapshotFold(Box::new(fold))
}

/// Entries 20 to 23, of which the snapshot keeps those from 21 on.
pub fn kept() -> Vec<Entry> {
    vec![batch(20, 7), batch(21, 8), batch(22, 9), entry(23, EntryKind::Trim { to: 21 })]
}

fn acknowledged(world: &World, link: LinkId) -> Option<&ReplicateAck> {
    world.sent_to(link).rev().find_map(|message| match message {
        Message::ReplicateAck(ack) => Some(ack),
        _ => None,
    })
}

/// R16: nothing counts before the last part; then everything does, and the backup acknowledges what
/// follows, as if it had copied the log.
#[test]
fn a_snapshot_is_installed_at_once_and_the_backup_acknowledges_what_follows() {
    let (mut world, link) = World::backup(false);
    world.receive(link, &some_records(0, 20, kept()));
    assert_eq!(world.broker.replica().log().end(), 0, "nothing is installed yet");
    assert!(world.sent_to(link).any(|message| *message == backup_ack(1)));
    world.receive(link, &fold(|_| ()));
    let replica = world.broker.replica();
    assert_eq!((replica.log().start(), replica.log().end(), replica.commit()), (21, 24, 24));
    assert_eq!(replica.log().epoch_before(21), Some(1));
    assert_eq!(replica.sessions().base(), replica.sessions().overlay());
    assert_eq!(replica.sessions().base().get(PublisherId(1)).map(|session| session.last_sequence), Some(44));
    assert_eq!(
        replica.topics().iter().map(|(topic, head)| (topic.clone(), *head)).collect::<Vec<_>>(),
        the_fold(1).topics
    );
    assert_eq!(acknowledged(&world, link).map(|ack| ack.matched), Some(24));

    world.receive(link, &replicate(1, (24, 1), 24, vec![batch(24, 10)]));
    assert_eq!(acknowledged(&world, link).map(|ack| ack.matched), Some(25));
    world.receive(link, &replicate(1, (25, 1), 25, vec![entry(25, EntryKind::Trim { to: 23 })]));
    world.receive(link, &replicate(1, (26, 1), 26, vec![]));
    assert_eq!((start(&world), world.broker.replica().commit()), (23, 26));
}

fn backup_ack(parts: u64) -> Message {
    let part = SnapshotPart { sender: a_sender(), history: HISTORY, epoch: 1, snapshot: 1, part: parts };
    Message::SnapshotAck(SnapshotAck(part))
}

fn a_sender() -> steadfast_core::id::BrokerIdentity {
    let (world, _) = World::backup(false);
    let hello = world.sent.iter().find_map(|(_, message)| match message {
        Message::Hello(hello) => Some(hello.sender.clone()),
        _ => None,
    });
    hello.expect("a backup says hello")
}

/// R36: parts that begin above what has come replace it.
#[test]
fn what_was_trimmed_meanwhile_is_skipped() {
    let (mut world, link) = World::backup(false);
    world.receive(link, &some_records(0, 4, vec![entry(4, EntryKind::EpochStart)]));
    world.receive(link, &some_records(1, 20, kept()));
    let message = Message::SnapshotFold(Box::new(the_fold(2)));
    world.receive(link, &message);
    assert_eq!((start(&world), world.broker.replica().commit()), (21, 24));
}

/// What does not fit is dropped, nothing of it is installed, and the backup dials again.
#[test]
fn a_snapshot_that_contradicts_itself_is_dropped() {
    let broken: [(&str, Message); 11] = [
        ("another cut", fold(|fold| fold.cut = 25)),
        ("a cut below the records", fold(|fold| fold.cut = 23)),
        ("a start below the records", fold(|fold| fold.log_start = 19)),
        ("a session that lags", fold(|fold| fold.sessions[1].1.last_sequence = 8)),
        ("another incarnation", fold(|fold| fold.sessions[1].1.incarnation = 2)),
        ("a session that is missing", fold(|fold| fold.sessions.truncate(1))),
        ("a topic that is missing", fold(|fold| fold.topics.truncate(1))),
        ("a head that lags", fold(|fold| fold.topics[1].1.end = 22)),
        ("two heads at one place", fold(|fold| fold.topics[0].1.end = 23)),
        ("records below", some_records(1, 20, kept())),
        ("a hole", some_records(1, 22, vec![batch(22, 10)])),
    ];
    for (name, message) in broken {
        let (mut world, link) = World::backup(false);
        world.receive(link, &some_records(0, 20, kept()));
        world.receive(link, &message);
        assert_eq!(world.broker.replica().log().end(), 0, "{name}");
        let rejected = Trace::Rejected { link, reason: Rejection::Unexpected };
        assert!(world.traces.contains(&rejected), "{name}");
        world.run(1_000);
        assert!(world.dials.len() > 1, "{name}: it dials again");
    }
}

/// A part that is not the next one: the primary is asked to begin anew.
#[test]
fn a_part_out_of_turn_is_refused() {
    let cases = [some_records(2, 24, vec![batch(24, 10)]), Message::SnapshotFold(Box::new(the_fold(2)))];
    for message in cases {
        let (mut world, link) = World::backup(false);
        world.receive(link, &some_records(0, 20, kept()));
        world.receive(link, &message);
        world.receive(link, &fold(|_| ()));
        assert_eq!(world.broker.replica().log().end(), 0);
        assert!(matches!(world.sent_to(link).next_back(), Some(Message::ReplicateNack(_))));
    }
}

/// R16: an in-sync member holds what is committed: nothing may take its log's place.
#[test]
fn a_member_in_sync_takes_no_snapshot() {
    let (mut world, link) = World::backup(true);
    world.receive(link, &some_records(0, 20, kept()));
    world.receive(link, &fold(|_| ()));
    assert_eq!(world.broker.replica().log().end(), 0);
    assert!(matches!(world.sent_to(link).next_back(), Some(Message::ReplicateNack(_))));
}

/// R16: when the primary has heeded a refusal already, and its window is full of parts that were refused
/// too, the next heartbeat is refused as well: the primary would wait for ever.
#[test]
fn a_heartbeat_that_follows_refused_parts_is_refused() {
    let refusals = |world: &World, link| {
        world.sent_to(link).filter(|message| matches!(message, Message::ReplicateNack(_))).count()
    };
    let heartbeat = |parts| {
        let (part, entries) = (part(1, parts), Vec::new());
        let records = SnapshotRecords { part, from: 0, previous_epoch: 0, entries, log_bytes: 0 };
        Message::SnapshotRecords(Box::new(records))
    };
    let (mut world, link) = World::backup(false);
    world.receive(link, &heartbeat(0));
    world.receive(link, &some_records(0, 20, kept()));
    world.receive(link, &heartbeat(1));
    assert_eq!(refusals(&world, link), 0, "everything sent has come");
    world.receive(link, &heartbeat(3));
    assert_eq!(refusals(&world, link), 1, "two parts are missing");
    world.receive(link, &fold(|_| ()));
    assert_eq!(world.broker.replica().log().end(), 24, "the refusal gives nothing up");

    let (mut world, link) = World::backup(false);
    world.receive(link, &heartbeat(4));
    world.receive(link, &heartbeat(4));
    assert_eq!(refusals(&world, link), 2, "all four are missing, and remain so");
}

/// R6: a snapshot that ends below what is known to be committed is none of this group.
#[test]
fn a_snapshot_below_the_commit_offset_is_dropped() {
    let (mut world, link) = World::backup(false);
    let starts: Vec<_> = (0..30).map(|offset| entry(offset, EntryKind::EpochStart)).collect();
    world.receive(link, &replicate(1, (0, 0), 30, starts));
    world.receive(link, &some_records(0, 20, kept()));
    world.receive(link, &fold(|_| ()));
    assert_eq!((start(&world), world.broker.replica().commit()), (0, 30));
}

/// A snapshot is bounded like the log that it replaces.
#[test]
fn a_snapshot_that_exceeds_the_logs_memory_is_dropped() {
    let config = Config { log_bytes: 700, uncommitted_bytes: 0, ..Config::default() };
    let (mut world, link) = World::backup_with(false, config);
    let too_large = Trace::Rejected { link, reason: Rejection::TooLarge };
    // A batch may go beyond the limit, more may not.
    for number in 0..=MAX_BATCH_LEN as u64 / 1_000_000 {
        assert!(!world.traces.contains(&too_large), "part {number}");
        let Message::Publish(mut publish) = large(number + 1) else { unreachable!() };
        let batch = entry(20 + number, EntryKind::Batch(publish.batches.remove(0)));
        world.receive(link, &some_records(number, 20 + number, vec![batch]));
    }
    assert!(world.traces.contains(&too_large));
    assert_eq!(world.broker.replica().log().end(), 0);
}

/// A snapshot that breaks off leaves nothing behind: neither with another link nor in another epoch.
#[test]
fn a_snapshot_that_breaks_off_leaves_nothing() {
    let (mut world, link) = World::backup(false);
    world.receive(link, &some_records(0, 20, kept()));
    world.link(link, LinkStatus::Lost);
    world.run(600);
    let again = *world.dials.last().unwrap();
    assert_ne!(again, link);
    world.link(again, LinkStatus::Up);
    let Some(Message::Hello(hello)) = world.sent_to(again).next() else { panic!("it says hello") };
    assert_eq!((hello.log.start, hello.log.end), (0, 0));
    world.receive(again, &fold(|_| ()));
    assert_eq!(world.broker.replica().log().end(), 0, "the fold alone is no snapshot");

    world.receive(again, &some_records(0, 20, kept()));
    world.put_state(&world.state().promote(&process("b", 2), Nonce(3)));
    let mut late = the_fold(1);
    late.part.epoch = 2;
    world.receive(again, &Message::SnapshotFold(Box::new(late)));
    assert_eq!(world.broker.replica().log().end(), 0, "another epoch, another snapshot");
}

// Under load

/// R17: a follower that copies more slowly than publishers write gets there all the same.
#[test]
fn a_follower_slower_than_the_load_catches_up() {
    let mut world = World::primary(keeping(Retention { bytes: Some(16 << 20), records: None, age: None }));
    world.receive(CLIENT, &open_session(1));
    world.register("b", 2);
    let mut sequence = 1;
    let mut held_back = 0;
    (0..24).for_each(|_| assert!(offer(&mut world, &mut sequence)));
    world.hello(B, "b", 2);
    let mut peer = Peer::default();
    for _ in 0..4_000 {
        // Each step publishers offer two megabytes, and the follower takes one frame.
        (0..2).for_each(|_| held_back += u32::from(!offer(&mut world, &mut sequence)));
        peer.take_one(&mut world);
        world.run(10);
        if world.in_sync().len() == 2 {
            break;
        }
    }
    assert_eq!(world.in_sync(), ["a", "b"], "{held_back} batches were put off");
    assert!(world.traces.contains(&Trace::Busy { limit: Limit::Learner }));
    let throttled = |trace: &Trace| matches!(trace, Trace::Throttled { .. });
    assert!(matches!(
        world.traces.iter().rfind(|trace| throttled(trace)),
        Some(Trace::Throttled { member: None })
    ));
}

/// R17: a follower that does not move is not waited for.
#[test]
fn a_sick_follower_holds_nobody_up() {
    let mut world = World::primary(keeping(Retention { bytes: Some(16 << 20), records: None, age: None }));
    world.receive(CLIENT, &open_session(1));
    world.register("b", 2);
    let mut sequence = 1;
    (0..24).for_each(|_| assert!(offer(&mut world, &mut sequence)));
    world.hello(B, "b", 2);
    for _ in 0..500 {
        assert!(offer(&mut world, &mut sequence), "refused at {sequence}");
        world.run(10);
    }
}

/// Publishes the next record. Returns whether it was taken.
pub fn offer(world: &mut World, sequence: &mut Sequence) -> bool {
    let before = world.broker.replica().log().end();
    world.receive(CLIENT, &large(*sequence));
    let taken = world.broker.replica().log().end() > before;
    *sequence += u64::from(taken);
    assert!(taken || matches!(world.refusal(CLIENT), Refusal::Busy { expect, .. } if expect == sequence));
    world.sent.retain(|(link, _)| *link == B);
    taken
}

/// A follower that handles one frame at a time.
#[derive(Default)]
struct Peer {
    parts: u64,
    end: Offset,
}

impl Peer {
    fn take_one(&mut self, world: &mut World) {
        if world.sent.is_empty() {
            return;
        }
        match world.sent.remove(0).1 {
            Message::SnapshotRecords(part) if !part.entries.is_empty() => {
                self.parts = part.part.part + 1;
                world.receive(B, &snapshot_ack(part.part.snapshot, self.parts));
            }
            Message::SnapshotFold(part) => {
                self.parts = part.part.part + 1;
                world.receive(B, &snapshot_ack(part.part.snapshot, self.parts));
                self.end = part.cut;
                world.receive(B, &ack(sender("b", 2), 1, self.end));
            }
            Message::Replicate(replicate) => {
                self.end = replicate.entries.last().map_or(self.end, Entry::end);
                world.receive(B, &ack(sender("b", 2), 1, self.end));
            }
            _ => {}
        }
    }
}

/// R36: what the group has dropped while a snapshot is on its way takes no memory: under load more comes
/// by than a log may take.
#[test]
fn a_transfer_under_load_with_trims_fits() {
    let config = Config { log_bytes: 1_400, uncommitted_bytes: 0, ..Config::default() };
    let (mut world, link) = World::backup_with(false, config);
    world.receive(link, &some_records(0, 20, kept()));
    for number in 0..20 {
        let (trim, next) = (24 + number * 2, 25 + number * 2);
        let decision = entry(trim, EntryKind::Trim { to: trim });
        world.receive(link, &some_records(1 + number * 2, trim, vec![decision]));
        world.receive(link, &some_records(2 + number * 2, next, vec![batch(next, 10 + number)]));
    }
    let refused = world.traces.iter().filter(|trace| matches!(trace, Trace::Rejected { .. })).count();
    assert_eq!(refused, 0);
}
