//! Recordings: every input comes back as it was, and nothing that was damaged comes back at all.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use steadfast_core::broker::{Boot, Command, Config};
use steadfast_core::coordination::{Error, Event, MultiError, Reply, SessionState, Stat, WatchKind};
use steadfast_core::id::{Address, Generation, Incarnation, NodeName};
use steadfast_core::link::{Frame, LinkId, LinkStatus};
use steadfast_core::node::Input;
use steadfast_core::recording::{Decoder, Encoder, Flaw, Head, MAGIC, Record, begin};
use steadfast_core::storage;
use steadfast_core::time::Instant;

fn bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..300).prop_map(Bytes::from)
}

fn link() -> impl Strategy<Value = LinkId> {
    (any::<bool>(), 0..1_u64 << 63)
        .prop_map(|(accepted, n)| if accepted { LinkId::accepted(n) } else { LinkId::dialled(n) })
}

fn stat() -> impl Strategy<Value = Stat> {
    let zxids = any::<(i64, i64, i64)>();
    let rest = (any::<(i32, i32)>(), any::<(u64, u32, u32)>());
    (zxids, rest).prop_map(|((czxid, mzxid, pzxid), ((version, cversion), (owner, length, children)))| Stat {
        czxid,
        mzxid,
        pzxid,
        version,
        cversion,
        ephemeral_owner: owner,
        data_length: length,
        children,
    })
}

fn reply() -> impl Strategy<Value = Reply> {
    let one = prop_oneof![
        (".{0,40}", option::of(stat())).prop_map(|(path, stat)| Reply::Created { path, stat }),
        (bytes(), stat()).prop_map(|(data, stat)| Reply::Data { data, stat }),
        option::of(stat()).prop_map(Reply::Stat),
        vec(".{0,10}", 0..5).prop_map(Reply::Children),
        stat().prop_map(Reply::Set),
        Just(Reply::Done),
    ];
    prop_oneof![4 => one.clone(), 1 => vec(one, 0..4).prop_map(Reply::Multi)]
}

fn error() -> impl Strategy<Value = Error> {
    use MultiError::{BadVersion, NoNode, NodeExists, NotEmpty, Other};
    let inner = prop::sample::select(vec![NoNode, NodeExists, BadVersion, NotEmpty, Other]);
    prop_oneof![
        prop::sample::select(vec![
            Error::NoNode,
            Error::NodeExists,
            Error::BadVersion,
            Error::NotEmpty,
            Error::NoChildrenForEphemerals,
            Error::Invalid,
            Error::SessionExpired,
            Error::Unknown,
        ]),
        (any::<u32>(), inner).prop_map(|(index, error)| Error::Multi { index, error }),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let state = prop_oneof![
        any::<u64>().prop_map(SessionState::Connected),
        Just(SessionState::Suspended),
        Just(SessionState::Expired),
    ];
    let kind = prop::sample::select(vec![
        WatchKind::Created,
        WatchKind::Deleted,
        WatchKind::DataChanged,
        WatchKind::ChildrenChanged,
    ]);
    prop_oneof![
        state.prop_map(Event::Session),
        (any::<u64>(), prop_oneof![reply().prop_map(Ok), error().prop_map(Err)])
            .prop_map(|(call, result)| Event::Reply { call, result }),
        (".{0,40}", kind).prop_map(|(path, kind)| Event::Watch { path, kind }),
    ]
}

fn input() -> impl Strategy<Value = Input<Command>> {
    let status = prop::sample::select(vec![LinkStatus::Up, LinkStatus::Refused, LinkStatus::Lost]);
    prop_oneof![
        Just(Input::Command(Command::Shutdown)),
        (link(), vec(bytes(), 0..4))
            .prop_map(|(link, parts)| Input::Received { link, frame: Frame { parts } }),
        (link(), status).prop_map(|(link, status)| Input::Link { link, status }),
        event().prop_map(Input::Coordination),
        any::<u64>().prop_map(|ticket| Input::Storage(storage::Event::Done(ticket))),
        Just(Input::Storage(storage::Event::Failed)),
        Just(Input::Timeout),
    ]
}

fn record() -> impl Strategy<Value = Record> {
    (any::<u64>(), input()).prop_map(|(at, input)| Record::Input { at: Instant::from_nanos(at), input })
}

fn encoded(records: &[Record]) -> Vec<u8> {
    let mut encoder = Encoder::default();
    records.iter().for_each(|record| encoder.push(record));
    encoder.bytes().to_vec()
}

/// What can be read, and why no more.
fn read(bytes: &[u8]) -> (Vec<String>, Option<Flaw>) {
    let mut decoder = match Decoder::new(bytes) {
        Ok(decoder) => decoder,
        Err(damage) => return (Vec::new(), Some(damage.flaw)),
    };
    let mut records = Vec::new();
    loop {
        match decoder.next_record() {
            Ok(Some(record)) => records.push(format!("{record:?}")),
            Ok(None) => return (records, None),
            Err(damage) => return (records, Some(damage.flaw)),
        }
    }
}

proptest! {
    #[test]
    fn every_input_comes_back(records in vec(record(), 0..20)) {
        let texts: Vec<_> = records.iter().map(|record| format!("{record:?}")).collect();
        prop_assert_eq!(read(&encoded(&records)), (texts, None));
    }

    #[test]
    fn what_is_cut_is_read_up_to_there(records in vec(record(), 1..6), share in 0.0..1.0_f64) {
        let bytes = encoded(&records);
        let end = (bytes.len() as f64 * share) as usize;
        let (some, flaw) = read(&bytes[..end]);
        let all = records.iter().map(|record| format!("{record:?}"));
        prop_assert!(some.len() < records.len() && all.take(some.len()).eq(some));
        prop_assert!(matches!(flaw, None | Some(Flaw::Cut | Flaw::FirstLine)));
    }

    #[test]
    fn a_changed_byte_is_found(
        records in vec(record(), 1..6), place in any::<prop::sample::Index>(), by in 1..=255_u8,
    ) {
        let mut bytes = encoded(&records);
        let place = place.index(bytes.len());
        bytes[place] ^= by;
        let (some, flaw) = read(&bytes);
        let all = records.iter().map(|record| format!("{record:?}"));
        prop_assert!(all.take(some.len()).eq(some), "what stands before is as it was");
        prop_assert!(flaw.is_some() && flaw != Some(Flaw::Cut));
    }

    #[test]
    fn a_missing_record_is_found(records in vec(record(), 2..6), place in any::<prop::sample::Index>()) {
        let lengths: Vec<_> = records.iter().map(|one| encoded(std::slice::from_ref(one)).len()).collect();
        let place = place.index(records.len() - 1);
        let begin = MAGIC.len() + lengths[..place].iter().map(|length| length - MAGIC.len()).sum::<usize>();
        let mut bytes = encoded(&records);
        bytes.drain(begin..begin + lengths[place] - MAGIC.len());
        prop_assert_eq!(read(&bytes).1, Some(Flaw::Length));
    }

    #[test]
    fn anything_else_is_refused(bytes in vec(any::<u8>(), 0..200)) {
        prop_assert!(!matches!(Decoder::new(&bytes).map(drop), Ok(())));
        let behind = [MAGIC, &bytes].concat();
        prop_assert!(bytes.is_empty() || read(&behind).1.is_some());
    }
}

fn head(booted: bool) -> Record {
    let boot = Boot {
        seed: 1,
        node: NodeName::new("one").unwrap(),
        generation: Generation(1),
        incarnation: Incarnation(2),
        address: Address::new("tcp://127.0.0.1:1").unwrap(),
        group: 0,
        root: "/steadfast/main".to_owned(),
        config: Config::default(),
    };
    let now = Instant::from_nanos(5);
    Record::Head(Box::new(Head { version: "0".to_owned(), wall: 1, now, boot, booted }))
}

#[test]
fn a_recording_begins_with_a_head_and_whole() {
    let begins = |records: &[Record]| {
        let bytes = encoded(records);
        let beginning = Decoder::new(&bytes).and_then(|mut decoder| begin(&mut decoder));
        beginning.map(|it| (it.inputs, it.broker.address().to_string())).map_err(|damage| damage.flaw)
    };
    assert_eq!(begins(&[head(true)]), Ok((0, "tcp://127.0.0.1:1".to_owned())));
    assert_eq!(begins(&[]), Err(Flaw::Ends));
    assert_eq!(begins(&[Record::End]), Err(Flaw::Misplaced));
    assert_eq!(begins(&[head(false)]), Err(Flaw::Ends), "its state was never written");
    assert_eq!(begins(&[head(false), Record::Lost]), Err(Flaw::Misplaced));
    let flaw = |bytes: &[u8]| Decoder::new(bytes).map(drop).map_err(|damage| damage.flaw);
    assert_eq!(flaw(b"steadfast recording 9\n"), Err(Flaw::OtherVersion));
    assert_eq!(flaw(b"duration 2s\n"), Err(Flaw::NoRecording));
    assert_eq!(flaw(b"steadfast"), Err(Flaw::FirstLine));
    assert_eq!(flaw(b"steadfast recording 3\r\n"), Err(Flaw::Converted));
}
