//! One message of every kind, with fixed content.

use bytes::Bytes;
use std::time::Duration;
use steadfast_core::broker::sessions::Session;
use steadfast_core::broker::topics::TopicHead;
use steadfast_core::compression::Codecs;
use steadfast_core::coordination::{
    Create, CreateMode, Delete, Error, MultiError, MultiOperation, Operation, Reply, Set, Stat, WatchKind,
};
use steadfast_core::filter::{Filter, Topic};
use steadfast_core::group::{GroupState, LiveNode, PrimaryId};
use steadfast_core::id::{
    Address, BrokerIdentity, Endpoint, Generation, GroupId, Incarnation, Member, NodeName, Nonce, PublisherId,
};
use steadfast_core::log::{Batch, Codec, Entry, EntryKind, EpochEnd};
use steadfast_core::message::{
    Deliver, Head, Hello, History, LogSummary, Lookup, Message, OpenSession, OpenStream, Position, Publish,
    PublishAck, Refusal, Replicate, ReplicateAck, ReplicateNack, Route, SessionCredentials, SessionOpened,
    SnapshotAck, SnapshotFold, SnapshotPart, SnapshotRecords, Start, StreamOpened,
};
use steadfast_core::wire::records::RecordsBuilder;

pub const HISTORY: History =
    History { group_id: GroupId(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff), lineage: 2 };
pub const PUBLISHER: PublisherId = PublisherId(0x0101_0202_0303_0404_0505_0606_0707_0808);
const NONCE: Nonce = Nonce(0xfeed_0000_0000_0000_0000_0000_0000_beef);

fn member(node: &str) -> Member {
    Member { node: NodeName::new(node).unwrap(), generation: Generation(0xa1 << 64 | 0xb2) }
}

pub fn sender(node: &str) -> BrokerIdentity {
    BrokerIdentity { member: member(node), incarnation: Incarnation(u128::MAX), czxid: 77 }
}

fn endpoint() -> Endpoint {
    Endpoint {
        node: NodeName::new("broker-1").unwrap(),
        incarnation: Incarnation(7),
        address: Address::new("tcp://127.0.0.1:7401").unwrap(),
    }
}

/// A batch with the sequence numbers from `first` on.
pub fn batch(topic: &str, first: u64, payloads: &[&str]) -> Batch {
    let mut records = RecordsBuilder::default();
    for payload in payloads {
        records.push(payload.as_bytes());
    }
    records.seal(Topic::new(topic).unwrap(), PUBLISHER, 3, first)
}

fn summary() -> LogSummary {
    let epochs = vec![EpochEnd { epoch: 1, end: 40 }, EpochEnd { epoch: 4, end: 300 }];
    LogSummary { start: 10, end: 300, epochs }
}

fn entries() -> Vec<Entry> {
    let opened = EntryKind::SessionOpen { publisher: PUBLISHER, incarnation: 3, nonce: NONCE };
    let expired = EntryKind::SessionExpire { publisher: PUBLISHER, incarnation: 3 };
    let mut compressed = batch("weather.basel", 4, &["opaque"]);
    compressed.header.codec = Codec::Unknown(9);
    compressed.header.raw_length = 4_000;
    vec![
        Entry { offset: 300, epoch: 4, kind: EntryKind::EpochStart },
        Entry { offset: 301, epoch: 5, kind: opened },
        Entry { offset: 302, epoch: 5, kind: EntryKind::Batch(batch("a.b", 1, &["one", "", "three"])) },
        Entry { offset: 305, epoch: 5, kind: EntryKind::Batch(compressed) },
        Entry { offset: 306, epoch: 5, kind: expired },
    ]
}

fn stat() -> Stat {
    Stat {
        czxid: 100,
        mzxid: 101,
        pzxid: -1,
        version: 1,
        cversion: 2,
        ephemeral_owner: 0x1000_0000_0001,
        data_length: 4,
        children: 3,
    }
}

pub fn replicate() -> Message {
    Message::Replicate(Replicate {
        sender: sender("broker-1"),
        history: HISTORY,
        epoch: 5,
        previous_offset: 300,
        previous_epoch: 4,
        commit: 299,
        entries: entries(),
    })
}

pub fn publish() -> Message {
    let batches = vec![batch("a.b", 1, &["one", "two"]), batch("c", 3, &["three"])];
    Message::Publish(Publish { history: HISTORY, batches })
}

pub fn deliver() -> Message {
    Message::Deliver(Deliver {
        stream: 1,
        history: HISTORY,
        epoch: 5,
        from: 303,
        upto: Position { lineage: 2, epoch: 5, offset: 310 },
        entries: entries().drain(2..4).collect(),
    })
}

pub fn hello() -> Message {
    Message::Hello(Hello { sender: sender("broker-2"), history: HISTORY, epoch: 5, log: summary() })
}

pub fn open_stream() -> Message {
    let position = Position { lineage: 2, epoch: 4, offset: 300 };
    Message::OpenStream(OpenStream {
        stream: 1,
        history: HISTORY,
        filters: vec![Filter::new("weather.*.now").unwrap(), Filter::new("a.>").unwrap()],
        start: Start::At(position),
        credit: 1 << 20,
    })
}

pub fn call(operation: Operation) -> Message {
    Message::CoordinationCall { call: 9, operation }
}

pub fn reply(result: Result<Reply, Error>) -> Message {
    Message::CoordinationReply { call: 9, result }
}

pub fn refusal(reason: Refusal) -> Message {
    Message::Refusal { stream: 1, reason }
}

pub fn create(mode: CreateMode) -> Create {
    Create { path: "/steadfast/demo/g".into(), data: Bytes::from_static(b"data"), mode }
}

pub fn set() -> Set {
    Set { path: "/a".into(), data: Bytes::from_static(b"new"), version: Some(0) }
}

pub fn delete(version: Option<i32>) -> Delete {
    Delete { path: "/a".into(), version }
}

/// Every kind of message, named after its golden file.
pub fn messages() -> Vec<(&'static str, Message)> {
    let mut all = brokers();
    all.extend(publishers());
    all.extend(subscribers());
    all.extend(discovery());
    all.extend(refusals());
    all.extend(coordination_sessions());
    all.extend(coordination_calls());
    all.extend(coordination_replies());
    all.extend(crate::operating::messages());
    all.extend(crate::status::samples());
    all
}

fn snapshot_part(node: &str, part: u64) -> SnapshotPart {
    SnapshotPart { sender: sender(node), history: HISTORY, epoch: 5, snapshot: 2, part }
}

pub fn snapshot_records() -> Message {
    let mut entries = entries().split_off(1);
    entries.push(Entry { offset: 307, epoch: 5, kind: EntryKind::Trim { to: 301 } });
    let part = snapshot_part("broker-1", 0);
    Message::SnapshotRecords(Box::new(SnapshotRecords {
        part,
        from: 301,
        previous_epoch: 4,
        entries,
        log_bytes: 1 << 29,
    }))
}

pub fn snapshot_fold() -> Message {
    let session = |incarnation, last_sequence| Session { incarnation, nonce: NONCE, last_sequence };
    let head = |topic, end, records| (Topic::new(topic).unwrap(), TopicHead { end, records });
    Message::SnapshotFold(Box::new(SnapshotFold {
        part: snapshot_part("broker-1", 1),
        cut: 307,
        log_start: 302,
        sessions: vec![(PublisherId(1), session(1, 0)), (PUBLISHER, session(3, 4))],
        topics: vec![head("a.b", 305, 3), head("weather.basel", 306, 300)],
        last: true,
    }))
}

fn brokers() -> Vec<(&'static str, Message)> {
    let ack = ReplicateAck { sender: sender("broker-2"), history: HISTORY, epoch: 5, matched: 306 };
    let nack = ReplicateNack { sender: sender("broker-2"), history: HISTORY, floor: 6, log: summary() };
    vec![
        ("hello", hello()),
        ("replicate", replicate()),
        ("replicate_ack", Message::ReplicateAck(ack)),
        ("replicate_nack", Message::ReplicateNack(nack)),
        ("snapshot_records", snapshot_records()),
        ("snapshot_fold", snapshot_fold()),
        ("snapshot_ack", Message::SnapshotAck(SnapshotAck(snapshot_part("broker-2", 2)))),
        ("ping", Message::Ping { token: 0 }),
        ("pong", Message::Pong { token: u64::MAX }),
    ]
}

fn publishers() -> Vec<(&'static str, Message)> {
    let open = OpenSession { history: HISTORY, publisher: PUBLISHER, nonce: NONCE, incarnation: 0 };
    let opened = SessionOpened {
        history: HISTORY,
        epoch: 5,
        publisher: PUBLISHER,
        incarnation: 3,
        last_sequence: 0,
        codecs: Codecs::default(),
    };
    let compressing = SessionOpened { codecs: Codecs::ALL, ..opened.clone() };
    let ack =
        PublishAck { history: HISTORY, epoch: 5, publisher: PUBLISHER, incarnation: 3, last_sequence: 1_000 };
    vec![
        ("open_session", Message::OpenSession(open)),
        ("session_opened", Message::SessionOpened(opened)),
        ("session_opened_codecs", Message::SessionOpened(compressing)),
        ("publish", publish()),
        ("publish_ack", Message::PublishAck(ack)),
    ]
}

fn subscribers() -> Vec<(&'static str, Message)> {
    let start = Position { lineage: 2, epoch: 4, offset: 300 };
    let from = |start| {
        let filters = vec![Filter::new(">").unwrap()];
        Message::OpenStream(OpenStream { stream: 2, history: HISTORY, filters, start, credit: 0 })
    };
    vec![
        ("open_stream", open_stream()),
        ("open_stream_earliest", from(Start::Earliest)),
        ("open_stream_latest", from(Start::Latest)),
        (
            "stream_opened",
            Message::StreamOpened(StreamOpened { stream: 1, history: HISTORY, epoch: 5, start }),
        ),
        ("deliver", deliver()),
        ("credit", Message::Credit { stream: 1, limit: 4 << 20 }),
        ("close_stream", Message::CloseStream { stream: 1 }),
        ("read_head", Message::ReadHead { token: 1 << 63 }),
        ("head", Message::Head(Head { token: 1 << 63, history: HISTORY, epoch: 5, position: start })),
    ]
}

fn discovery() -> Vec<(&'static str, Message)> {
    let known = Route {
        group: 0,
        groups: 1,
        history: Some(HISTORY),
        epoch: 5,
        config: 12,
        primary: Some(endpoint()),
        retry_after: Duration::ZERO,
        age: Duration::from_millis(12),
        fresh: true,
    };
    let retry_after = Duration::from_millis(250);
    let absent = Route {
        history: None,
        epoch: 0,
        config: 0,
        primary: None,
        retry_after,
        fresh: false,
        ..known.clone()
    };
    vec![
        ("lookup", Message::Lookup(Lookup { group: 0, watch: true, fresh: false })),
        ("route", Message::Route(known)),
        ("route_absent", Message::Route(absent)),
    ]
}

fn refusals() -> Vec<(&'static str, Message)> {
    let retry_after = Duration::from_millis(20);
    let publisher = PUBLISHER;
    let not_primary = Refusal::NotPrimary { primary: Some(endpoint()), epoch: 6 };
    vec![
        ("refusal_not_primary", refusal(not_primary)),
        ("refusal_electing", refusal(Refusal::Electing { retry_after })),
        ("refusal_unknown_session", refusal(Refusal::UnknownSession { publisher })),
        ("refusal_fenced", refusal(Refusal::Fenced { publisher, incarnation: 4 })),
        ("refusal_gap", refusal(Refusal::Gap { publisher, expect: 17 })),
        ("refusal_busy", refusal(Refusal::Busy { publisher, expect: 18, retry_after })),
        ("refusal_lineage_changed", refusal(Refusal::LineageChanged { history: HISTORY })),
        ("refusal_diverged", refusal(Refusal::Diverged { common: 299 })),
        ("refusal_invalid", refusal(Refusal::Invalid { detail: "no filter".into() })),
    ]
}

fn coordination_sessions() -> Vec<(&'static str, Message)> {
    let session = SessionCredentials { id: 5, password: NONCE };
    let timeout = Duration::from_secs(2);
    let watch = Message::CoordinationWatch { path: "/a".into(), kind: WatchKind::ChildrenChanged };
    vec![
        ("coordination_open_new", Message::CoordinationOpen { session: None, timeout }),
        ("coordination_open", Message::CoordinationOpen { session: Some(session), timeout }),
        ("coordination_opened", Message::CoordinationOpened { session: Some((session, timeout)) }),
        ("coordination_opened_expired", Message::CoordinationOpened { session: None }),
        ("coordination_watch", watch),
        ("coordination_close", Message::CoordinationClose),
    ]
}

fn coordination_calls() -> Vec<(&'static str, Message)> {
    let path = || String::from("/a");
    let multi = vec![
        MultiOperation::Check(delete(Some(4))),
        MultiOperation::Create(create(CreateMode::PersistentSequential)),
        MultiOperation::Set(set()),
        MultiOperation::Delete(delete(None)),
    ];
    vec![
        ("coordination_call_create", call(Operation::Create(create(CreateMode::EphemeralSequential)))),
        ("coordination_call_get", call(Operation::Get { path: path(), watch: true })),
        ("coordination_call_exists", call(Operation::Exists { path: path(), watch: false })),
        ("coordination_call_children", call(Operation::Children { path: path(), watch: true })),
        ("coordination_call_set", call(Operation::Set(set()))),
        ("coordination_call_delete", call(Operation::Delete(delete(Some(-1))))),
        ("coordination_call_sync", call(Operation::Sync { path: path() })),
        ("coordination_call_multi", call(Operation::Multi(multi))),
        ("coordination_call_watch", call(Operation::Watch { path: path(), recursive: true })),
    ]
}

fn coordination_replies() -> Vec<(&'static str, Message)> {
    let created = |stat| Reply::Created { path: "/a/n-0000000003".into(), stat };
    let names = vec!["broker-1".into(), "broker-2".into()];
    let failed = Error::Multi { index: 0, error: MultiError::BadVersion };
    vec![
        ("coordination_reply_created", reply(Ok(created(Some(stat()))))),
        (
            "coordination_reply_data",
            reply(Ok(Reply::Data { data: Bytes::from_static(b"data"), stat: stat() })),
        ),
        ("coordination_reply_stat", reply(Ok(Reply::Stat(Some(stat()))))),
        ("coordination_reply_stat_absent", reply(Ok(Reply::Stat(None)))),
        ("coordination_reply_children", reply(Ok(Reply::Children(names)))),
        ("coordination_reply_set", reply(Ok(Reply::Set(stat())))),
        ("coordination_reply_done", reply(Ok(Reply::Done))),
        ("coordination_reply_multi", reply(Ok(Reply::Multi(vec![Reply::Done, created(None)])))),
        ("coordination_reply_error", reply(Err(Error::NoNode))),
        ("coordination_reply_multi_error", reply(Err(failed))),
    ]
}

pub fn group_state() -> GroupState {
    let primary = PrimaryId { member: member("broker-1"), incarnation: Incarnation(7) };
    GroupState {
        history: HISTORY,
        epoch: 5,
        config: 12,
        primary: Some(primary),
        in_sync: vec![member("broker-1"), member("broker-2")],
        min_in_sync: 1,
        nonce: NONCE,
        lost_epoch: 3,
    }
}

pub fn live_node() -> LiveNode {
    let id = PrimaryId { member: member("broker-1"), incarnation: Incarnation(7) };
    LiveNode { id, address: Address::new("tcp://127.0.0.1:7401").unwrap() }
}
