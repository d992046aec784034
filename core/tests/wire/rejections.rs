//! Every check of the decoder refuses what it should: a sample, one change, the reason.

use crate::samples;
use bytes::Bytes;
use prost::Message as _;
use steadfast_core::link::Frame;
use steadfast_core::message::{Message, Refusal};
use steadfast_core::trace::Rejection::{self, Checksum, Malformed, TooLarge, Version};
use steadfast_core::wire;
use steadfast_core::wire::records::{Records, Undecodable};
use steadfast_proto::envelope::Message as Wire;
use steadfast_proto::limits::*;
use steadfast_proto::{self as proto, Envelope};

pub fn open(message: &Message) -> (Envelope, Vec<Bytes>) {
    let mut parts = wire::encode(message).parts;
    let envelope = Envelope::decode(parts.remove(0)).unwrap();
    (envelope, parts)
}

pub fn close(envelope: &Envelope, bodies: Vec<Bytes>) -> Frame {
    Frame { parts: [Bytes::from(envelope.encode_to_vec())].into_iter().chain(bodies).collect() }
}

/// A sample of one kind with one change to it.
macro_rules! change {
    ($sample:expr, $kind:ident, |$message:ident, $bodies:ident| $change:expr) => {{
        let (mut envelope, mut bodies) = open(&$sample);
        match envelope.message.as_mut() {
            Some(Wire::$kind($message)) => {
                let $bodies = &mut bodies;
                let _ = $change;
            }
            other => panic!("not the sample: {other:?}"),
        }
        close(&envelope, bodies)
    }};
    ($sample:expr, $kind:ident, |$message:ident| $change:expr) => {
        change!($sample, $kind, |$message, _bodies| $change)
    };
}

pub(crate) use change;

pub fn check(cases: impl IntoIterator<Item = (&'static str, Frame, Rejection)>) {
    for (name, frame, reason) in cases {
        assert_eq!(wire::decode(frame), Err(reason), "{name}");
    }
}

fn frame(parts: Vec<Bytes>) -> Frame {
    Frame { parts }
}

pub fn zeros(length: usize) -> Bytes {
    vec![0; length].into()
}

fn header(entry: &mut proto::Entry) -> &mut proto::BatchHeader {
    match entry.kind.as_mut() {
        Some(proto::entry::Kind::Batch(header)) => header,
        other => panic!("not a batch: {other:?}"),
    }
}

pub fn sample(name: &str) -> Message {
    let found = samples::messages().into_iter().find(|(other, _)| *other == name);
    found.unwrap_or_else(|| panic!("no sample {name}")).1
}

#[test]
fn frames() {
    let publish = wire::encode(&samples::publish()).parts;
    let versioned = |version| {
        let (envelope, bodies) = open(&samples::publish());
        close(&Envelope { version, ..envelope }, bodies)
    };
    let with = |change: fn(&mut Vec<Bytes>)| {
        let mut parts = publish.clone();
        change(&mut parts);
        frame(parts)
    };
    check([
        ("no part", frame(vec![]), Malformed),
        ("an empty envelope", frame(vec![Bytes::new()]), Version),
        ("nonsense", frame(vec![Bytes::from_static(b"hello")]), Malformed),
        ("truncated", with(|parts| drop(parts[0].split_off(20))), Malformed),
        ("no message", frame(vec![Bytes::from_static(&[0x08, 1])]), Malformed),
        ("a later version", versioned(2), Version),
        ("a much later version", versioned(300), Version),
        ("a later version's nonsense", frame(vec![Bytes::from_static(&[0x08, 2, 0xff])]), Version),
        ("a body too few", with(|parts| drop(parts.pop())), Malformed),
        ("a body too many", with(|parts| parts.push(Bytes::new())), Malformed),
        ("a long envelope", with(|parts| parts[0] = zeros(MAX_ENVELOPE_LEN + 1)), TooLarge),
        ("a long body", with(|parts| parts[1] = zeros(MAX_BATCH_LEN + 1)), TooLarge),
        ("many bodies", with(|parts| parts.resize(MAX_FRAME_ENTRIES + 2, Bytes::new())), TooLarge),
        ("long bodies", with(|parts| parts.resize(12, zeros(MAX_FRAME_LEN / 9 + 1))), TooLarge),
        (
            "a long body that nobody looks at",
            change!(samples::deliver(), Deliver, |_m, bodies| {
                bodies[0] = zeros(MAX_BATCH_LEN + 1);
            }),
            TooLarge,
        ),
    ]);
}

#[test]
fn batches() {
    let publish = samples::publish;
    let long_topic = || "a".repeat(MAX_TOPIC_LEN + 1);
    check([
        ("no batch", change!(publish(), Publish, |m, b| (m.batches.clear(), b.clear())), Malformed),
        ("no group", change!(publish(), Publish, |m| m.group_id = None), Malformed),
        ("a high lineage", change!(publish(), Publish, |m| m.lineage = MAX_NUMBER + 1), TooLarge),
        ("a bad topic", change!(publish(), Publish, |m| m.batches[0].topic = "a..b".into()), Malformed),
        ("a filter", change!(publish(), Publish, |m| m.batches[0].topic = "a.*".into()), Malformed),
        ("a long topic", change!(publish(), Publish, |m| m.batches[0].topic = long_topic()), TooLarge),
        ("many words", change!(publish(), Publish, |m| m.batches[0].topic = "a.".repeat(40) + "a"), TooLarge),
        ("no publisher", change!(publish(), Publish, |m| m.batches[0].publisher = None), Malformed),
        (
            "a high sequence",
            change!(publish(), Publish, |m| m.batches[0].first_sequence = u64::MAX),
            TooLarge,
        ),
        ("a high last", change!(publish(), Publish, |m| m.batches[0].first_sequence = MAX_NUMBER), TooLarge),
        ("no record", change!(publish(), Publish, |m| m.batches[1].count = 0), Malformed),
        (
            "many records",
            change!(publish(), Publish, |m| m.batches[0].count = MAX_BATCH_RECORDS + 1),
            TooLarge,
        ),
        ("another length", change!(publish(), Publish, |m| m.batches[0].raw_length += 1), Malformed),
        ("much raw", change!(publish(), Publish, |m| m.batches[0].raw_length = (4 << 20) + 1), TooLarge),
        ("another checksum", change!(publish(), Publish, |m| m.batches[1].checksum ^= 1), Checksum),
        (
            "swapped bodies",
            change!(publish(), Publish, |m, b| {
                b.swap(0, 1);
                m.batches[0].raw_length = b[0].len() as u32;
            }),
            Checksum,
        ),
        ("a gap", change!(publish(), Publish, |m| m.batches[1].first_sequence += 1), Malformed),
        ("an overlap", change!(publish(), Publish, |m| m.batches[1].first_sequence -= 1), Malformed),
        ("two incarnations", change!(publish(), Publish, |m| m.batches[1].incarnation += 1), Malformed),
        (
            "two publishers",
            change!(publish(), Publish, |m| {
                m.batches[1].publisher = Some(proto::Uuid { high: 1, low: 1 });
            }),
            Malformed,
        ),
        (
            "many batches",
            change!(publish(), Publish, |m| {
                m.batches = vec![proto::BatchHeader::default(); MAX_FRAME_ENTRIES + 1];
            }),
            TooLarge,
        ),
        (
            "no incarnation",
            change!(publish(), Publish, |m| {
                m.batches.iter_mut().for_each(|batch| batch.incarnation = 0);
            }),
            Malformed,
        ),
        (
            "no sequence",
            change!(publish(), Publish, |m| {
                (m.batches[0].first_sequence, m.batches[1].first_sequence) = (0, 2);
            }),
            Malformed,
        ),
    ]);
}

fn session_open(entry: &proto::Entry) -> proto::SessionOpen {
    match entry.kind {
        Some(proto::entry::Kind::SessionOpen(opened)) => opened,
        ref other => panic!("not a session: {other:?}"),
    }
}

/// A Replicate without entries: nothing but its own fields to check.
fn heartbeat() -> Message {
    let Message::Replicate(mut replicate) = samples::replicate() else { panic!("not the sample") };
    replicate.entries.clear();
    let message = Message::Replicate(replicate);
    assert_eq!(wire::decode(wire::encode(&message)).as_ref(), Ok(&message));
    message
}

#[test]
fn replication() {
    let replicate = samples::replicate;
    check([
        ("no sender", change!(replicate(), Replicate, |m| m.sender = None), Malformed),
        ("a hole before", change!(replicate(), Replicate, |m| m.previous_offset -= 1), Malformed),
        ("a hole inside", change!(replicate(), Replicate, |m| m.entries[3].offset += 1), Malformed),
        ("an overlap", change!(replicate(), Replicate, |m| m.entries[3].offset -= 1), Malformed),
        ("epochs go back", change!(replicate(), Replicate, |m| m.entries[3].epoch = 4), Malformed),
        ("below the one before", change!(replicate(), Replicate, |m| m.previous_epoch = 5), Malformed),
        ("above the primary's", change!(replicate(), Replicate, |m| m.entries[3].epoch = 6), Malformed),
        ("a high epoch", change!(replicate(), Replicate, |m| m.epoch = MAX_NUMBER + 1), TooLarge),
        ("a high commit", change!(replicate(), Replicate, |m| m.commit = u64::MAX), TooLarge),
        ("a high offset", change!(replicate(), Replicate, |m| m.entries[0].offset = u64::MAX), TooLarge),
        ("a high end", change!(replicate(), Replicate, |m| m.entries[2].offset = MAX_NUMBER), TooLarge),
        ("an empty entry", change!(replicate(), Replicate, |m| m.entries[0].kind = None), Malformed),
        ("checksum", change!(replicate(), Replicate, |m| header(&mut m.entries[3]).checksum ^= 1), Checksum),
        (
            "many entries",
            change!(replicate(), Replicate, |m| {
                m.entries = vec![proto::Entry::default(); MAX_FRAME_ENTRIES + 1];
            }),
            TooLarge,
        ),
        ("no epoch acked", change!(sample("replicate_ack"), ReplicateAck, |m| m.epoch = 0), Malformed),
        ("a high match", change!(sample("replicate_ack"), ReplicateAck, |m| m.r#match = u64::MAX), TooLarge),
        ("a high floor", change!(sample("replicate_nack"), ReplicateNack, |m| m.floor = u64::MAX), TooLarge),
        (
            "a session without number",
            change!(replicate(), Replicate, |m| {
                let opened = proto::SessionOpen { incarnation: 0, ..session_open(&m.entries[1]) };
                m.entries[1].kind = Some(proto::entry::Kind::SessionOpen(opened));
            }),
            Malformed,
        ),
        (
            "a session without nonce",
            change!(replicate(), Replicate, |m| {
                let opened = proto::SessionOpen { nonce: None, ..session_open(&m.entries[1]) };
                m.entries[1].kind = Some(proto::entry::Kind::SessionOpen(opened));
            }),
            Malformed,
        ),
        (
            "an entry's epoch 0",
            change!(replicate(), Replicate, |m| {
                (m.previous_epoch, m.entries[0].epoch) = (0, 0);
            }),
            Malformed,
        ),
        ("the one before is above", change!(heartbeat(), Replicate, |m| m.previous_epoch = 6), Malformed),
        ("epoch 0", change!(heartbeat(), Replicate, |m| (m.epoch, m.previous_epoch) = (0, 0)), Malformed),
        ("a high offset before", change!(heartbeat(), Replicate, |m| m.previous_offset = u64::MAX), TooLarge),
    ]);
}

#[test]
fn log_summaries_and_senders() {
    let hello = samples::hello;
    check([
        ("a bad name", change!(hello(), Hello, |m| m.sender.as_mut().unwrap().node = "A".into()), Malformed),
        ("no name", change!(hello(), Hello, |m| m.sender.as_mut().unwrap().node.clear()), Malformed),
        (
            "a long name",
            change!(hello(), Hello, |m| {
                m.sender.as_mut().unwrap().node = "a".repeat(MAX_NODE_NAME_LEN + 1);
            }),
            TooLarge,
        ),
        (
            "no generation",
            change!(hello(), Hello, |m| m.sender.as_mut().unwrap().generation = None),
            Malformed,
        ),
        ("no process", change!(hello(), Hello, |m| m.sender.as_mut().unwrap().incarnation = None), Malformed),
        ("a czxid below 0", change!(hello(), Hello, |m| m.sender.as_mut().unwrap().czxid = -1), Malformed),
        ("an end before the start", change!(hello(), Hello, |m| m.log_start = 301), Malformed),
        ("a high end", change!(hello(), Hello, |m| m.end = MAX_NUMBER + 1), TooLarge),
        ("epoch 0", change!(hello(), Hello, |m| m.epochs[0].epoch = 0), Malformed),
        ("an empty epoch", change!(hello(), Hello, |m| m.epochs[0].end = 0), Malformed),
        ("an epoch twice", change!(hello(), Hello, |m| m.epochs[1].epoch = 1), Malformed),
        ("ends go back", change!(hello(), Hello, |m| m.epochs[1].end = 40), Malformed),
        ("an epoch beyond the end", change!(hello(), Hello, |m| m.epochs[1].end = 301), Malformed),
        ("a high epoch", change!(hello(), Hello, |m| m.epochs[1].epoch = MAX_NUMBER + 1), TooLarge),
        (
            "many epochs",
            change!(hello(), Hello, |m| {
                let ends = 1..=MAX_EPOCH_TABLE as u64 + 1;
                m.epochs = ends.map(|epoch| proto::EpochEnd { epoch, end: epoch }).collect();
                m.end = MAX_EPOCH_TABLE as u64 + 1;
            }),
            TooLarge,
        ),
        ("a high epoch known", change!(hello(), Hello, |m| m.epoch = u64::MAX), TooLarge),
    ]);
}

#[test]
fn streams() {
    let stream = samples::open_stream;
    let open_at = |change: fn(&mut proto::Position)| {
        change!(stream(), OpenStream, |m| match m.start.as_mut() {
            Some(proto::open_stream::Start::Position(at)) => change(at),
            other => panic!("not at a position: {other:?}"),
        })
    };
    check([
        ("stream 0", change!(stream(), OpenStream, |m| m.stream = 0), Malformed),
        ("no filter", change!(stream(), OpenStream, |m| m.filters.clear()), Malformed),
        ("a bad filter", change!(stream(), OpenStream, |m| m.filters[0] = ">.a".into()), Malformed),
        ("many filters", change!(stream(), OpenStream, |m| m.filters = vec!["a".into(); 65]), TooLarge),
        ("no start", change!(stream(), OpenStream, |m| m.start = None), Malformed),
        ("much credit", change!(stream(), OpenStream, |m| m.credit = u64::MAX), TooLarge),
        ("no position", change!(sample("stream_opened"), StreamOpened, |m| m.start = None), Malformed),
        ("another lineage", change!(sample("stream_opened"), StreamOpened, |m| m.lineage = 3), Malformed),
        ("no stream", change!(sample("credit"), Credit, |m| m.stream = 0), Malformed),
        ("a high limit", change!(sample("credit"), Credit, |m| m.limit = u64::MAX), TooLarge),
        ("no stream to close", change!(sample("close_stream"), CloseStream, |m| m.stream = 0), Malformed),
        (
            "opened in no epoch",
            change!(sample("stream_opened"), StreamOpened, |m| {
                (m.epoch, m.start.as_mut().unwrap().epoch) = (0, 0);
            }),
            Malformed,
        ),
        ("opened stream 0", change!(sample("stream_opened"), StreamOpened, |m| m.stream = 0), Malformed),
        ("read without a token", change!(sample("read_head"), ReadHead, |m| m.token = 0), Malformed),
        ("head without a token", change!(sample("head"), Head, |m| m.token = 0), Malformed),
        ("head without a place", change!(sample("head"), Head, |m| m.position = None), Malformed),
        ("head of another lineage", change!(sample("head"), Head, |m| m.lineage = 3), Malformed),
        ("head in no epoch", change!(sample("head"), Head, |m| m.epoch = 0), Malformed),
        ("a high lineage", open_at(|at| at.lineage = u64::MAX), TooLarge),
        ("a high epoch", open_at(|at| at.epoch = u64::MAX), TooLarge),
        ("a high offset", open_at(|at| at.offset = u64::MAX), TooLarge),
    ]);
}

#[test]
fn deliveries() {
    let deliver = samples::deliver;
    check([
        ("deliver to no stream", change!(deliver(), Deliver, |m| m.stream = 0), Malformed),
        ("no end", change!(deliver(), Deliver, |m| m.upto = None), Malformed),
        ("an end of another lineage", change!(deliver(), Deliver, |m| m.lineage = 3), Malformed),
        (
            "an end above the epoch",
            change!(deliver(), Deliver, |m| m.upto.as_mut().unwrap().epoch = 6),
            Malformed,
        ),
        (
            "an end before the entries'",
            change!(deliver(), Deliver, |m| {
                m.upto.as_mut().unwrap().offset = 305;
            }),
            Malformed,
        ),
        ("an entry before from", change!(deliver(), Deliver, |m| m.from = 305), Malformed),
        ("an overlap", change!(deliver(), Deliver, |m| m.entries[1].offset -= 1), Malformed),
        (
            "a control entry",
            change!(deliver(), Deliver, |m, bodies| {
                m.entries[1].kind = Some(proto::entry::Kind::EpochStart(proto::EpochStart {}));
                bodies.pop()
            }),
            Malformed,
        ),
        (
            "from beyond the end",
            change!(deliver(), Deliver, |m, bodies| {
                m.from = 311;
                m.entries.clear();
                bodies.clear();
            }),
            Malformed,
        ),
        (
            "delivered in no epoch",
            change!(deliver(), Deliver, |m, bodies| {
                (m.epoch, m.upto.as_mut().unwrap().epoch) = (0, 0);
                m.entries.clear();
                bodies.clear();
            }),
            Malformed,
        ),
    ]);
}

#[test]
fn a_bad_body_does_not_stop_a_stream() {
    // R31: the frame decodes, the batch does not.
    type Change = fn(&mut proto::BatchHeader);
    let changes: [(Change, Undecodable); 3] = [
        (|header| header.checksum ^= 1, Undecodable::Checksum),
        (|header| header.raw_length += 1, Undecodable::Malformed),
        (|header| header.raw_length = u32::MAX, Undecodable::TooLarge),
    ];
    for (change, reason) in changes {
        let frame = change!(samples::deliver(), Deliver, |m| change(header(&mut m.entries[0])));
        let Ok(Message::Deliver(mut deliver)) = wire::decode(frame) else { panic!("it decodes") };
        let steadfast_core::log::EntryKind::Batch(batch) = deliver.entries.remove(0).kind else {
            panic!("it is a batch")
        };
        assert_eq!(Records::decode(&batch.header, batch.body), Err(reason));
    }
}

#[test]
fn sessions_routes_and_refusals() {
    let long = "a".repeat(MAX_DETAIL_LEN + 1);
    let refused = |reason| wire::encode(&samples::refusal(reason));
    let invalid = || samples::refusal(Refusal::Invalid { detail: String::new() });
    let detail = |text: &str| {
        let reason = proto::refusal::Reason::Invalid(proto::Invalid { detail: text.into() });
        change!(invalid(), Refusal, |m| m.reason = Some(reason))
    };
    check([
        ("no nonce", change!(sample("open_session"), OpenSession, |m| m.nonce = None), Malformed),
        ("session 0", change!(sample("session_opened"), SessionOpened, |m| m.incarnation = 0), Malformed),
        ("in no epoch", change!(sample("session_opened"), SessionOpened, |m| m.epoch = 0), Malformed),
        ("ack of session 0", change!(sample("publish_ack"), PublishAck, |m| m.incarnation = 0), Malformed),
        ("a high ack", change!(sample("publish_ack"), PublishAck, |m| m.last_sequence = u64::MAX), TooLarge),
        (
            "a bad address",
            change!(sample("route"), Route, |m| {
                m.primary.as_mut().unwrap().address = "tcp://é".into();
            }),
            Malformed,
        ),
        (
            "a long address",
            change!(sample("route"), Route, |m| {
                m.primary.as_mut().unwrap().address = "a".repeat(MAX_ADDRESS_LEN + 1);
            }),
            TooLarge,
        ),
        ("a high config", change!(sample("route"), Route, |m| m.config = u64::MAX), TooLarge),
        ("no reason", change!(invalid(), Refusal, |m| m.reason = None), Malformed),
        ("a long detail", detail(&long), TooLarge),
        ("two lines", detail("a\nb"), Malformed),
        ("a terminal sequence", detail("\u{1b}[2J"), Malformed),
        (
            "fenced by nobody",
            refused(Refusal::Fenced { publisher: samples::PUBLISHER, incarnation: 0 }),
            Malformed,
        ),
        ("nothing expected", refused(Refusal::Gap { publisher: samples::PUBLISHER, expect: 0 }), Malformed),
        (
            "a high session",
            change!(sample("open_session"), OpenSession, |m| m.incarnation = u64::MAX),
            TooLarge,
        ),
        (
            "a high last",
            change!(sample("session_opened"), SessionOpened, |m| m.last_sequence = u64::MAX),
            TooLarge,
        ),
        ("ack in no epoch", change!(sample("publish_ack"), PublishAck, |m| m.epoch = 0), Malformed),
        ("a high epoch", change!(sample("route"), Route, |m| m.epoch = u64::MAX), TooLarge),
        ("a high epoch elsewhere", refused(Refusal::NotPrimary { primary: None, epoch: u64::MAX }), TooLarge),
        ("a high end", refused(Refusal::Diverged { common: u64::MAX }), TooLarge),
        (
            "a high sequence",
            refused(Refusal::Busy {
                publisher: samples::PUBLISHER,
                expect: u64::MAX,
                retry_after: std::time::Duration::ZERO,
            }),
            TooLarge,
        ),
    ]);
}
