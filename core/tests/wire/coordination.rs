//! As [`crate::rejections`], for the coordination service's messages and the data of tree nodes.

use crate::rejections::{change, check, close, open, sample, zeros};
use crate::samples;
use prost::Message as _;
use steadfast_core::coordination::{Create, CreateMode, Error, MultiError, MultiOperation, Operation, Reply};
use steadfast_core::trace::Rejection::{Malformed, TooLarge};
use steadfast_core::wire;
use steadfast_proto as proto;
use steadfast_proto::envelope::Message as Wire;
use steadfast_proto::limits::{MAX_CHILDREN, MAX_MULTI_OPS, MAX_NODE_DATA_LEN, MAX_PATH_LEN};

fn long_path() -> String {
    "/".repeat(MAX_PATH_LEN + 1)
}

#[test]
fn calls() {
    let create = |change: fn(&mut Create)| {
        let mut create = samples::create(CreateMode::Persistent);
        change(&mut create);
        wire::encode(&samples::call(Operation::Create(create)))
    };
    let multi = Operation::Multi(vec![MultiOperation::Delete(samples::delete(None)); MAX_MULTI_OPS + 1]);
    check([
        (
            "no password",
            change!(sample("coordination_open"), CoordinationOpen, |m| m.password = None),
            Malformed,
        ),
        (
            "no operation",
            change!(sample("coordination_call_get"), CoordinationCall, |m| {
                m.operation = None;
            }),
            Malformed,
        ),
        ("a long path", wire::encode(&samples::call(Operation::Sync { path: long_path() })), TooLarge),
        ("much data", create(|create| create.data = zeros(MAX_NODE_DATA_LEN + 1)), TooLarge),
        (
            "an unknown mode",
            change!(sample("coordination_call_create"), CoordinationCall, |m| {
                m.operation = Some(proto::coordination_call::Operation::Create(proto::TreeCreate {
                    mode: 4,
                    ..Default::default()
                }));
            }),
            Malformed,
        ),
        ("a long multi", wire::encode(&samples::call(multi)), TooLarge),
        (
            "a multi of nothing known",
            change!(sample("coordination_call_multi"), CoordinationCall, |m| {
                m.operation = Some(proto::coordination_call::Operation::Multi(proto::TreeMulti {
                    operations: vec![proto::TreeMultiOp { operation: None }],
                }));
            }),
            Malformed,
        ),
    ]);
}

#[test]
fn replies_and_watches() {
    let names = |names: Vec<String>| wire::encode(&samples::reply(Ok(Reply::Children(names))));
    let done = || samples::reply(Ok(Reply::Done));
    let data = sample("coordination_reply_data");
    check([
        (
            "a long path to watch",
            change!(sample("coordination_watch"), CoordinationWatch, |m| {
                m.path = long_path();
            }),
            TooLarge,
        ),
        (
            "an empty result",
            change!(done(), CoordinationReply, |m| m.result = Some(proto::TreeResult::default())),
            Malformed,
        ),
        (
            "two results",
            change!(done(), CoordinationReply, |m| m.results.extend(m.result.clone())),
            Malformed,
        ),
        (
            "many results",
            change!(done(), CoordinationReply, |m| {
                m.results = vec![m.result.take().unwrap(); MAX_MULTI_OPS + 1];
            }),
            TooLarge,
        ),
        (
            "data without a stat",
            change!(data, CoordinationReply, |m| {
                let kind = proto::tree_result::Kind::Data(proto::TreeData::default());
                m.result = Some(proto::TreeResult { kind: Some(kind) });
            }),
            Malformed,
        ),
        ("many children", names(vec!["a".into(); MAX_CHILDREN + 1]), TooLarge),
        ("a long child", names(vec![long_path()]), TooLarge),
        (
            "an unknown event",
            change!(sample("coordination_watch"), CoordinationWatch, |m| m.event = 5),
            Malformed,
        ),
        ("no event", change!(sample("coordination_watch"), CoordinationWatch, |m| m.event = 0), Malformed),
    ]);
}

#[test]
fn an_unknown_error_leaves_the_outcome_unknown() {
    let unknown = |failed_index| {
        change!(sample("coordination_reply_error"), CoordinationReply, |m| {
            (m.error, m.failed_index) = (99, failed_index);
        })
    };
    let error = Error::Multi { index: 2, error: MultiError::Other };
    assert_eq!(wire::decode(unknown(None)), Ok(samples::reply(Err(Error::Unknown))));
    assert_eq!(wire::decode(unknown(Some(2))), Ok(samples::reply(Err(error))));
}

#[test]
fn tree_data() {
    let state = |change: fn(&mut proto::GroupState)| {
        let encoded = wire::encode_group_state(&samples::group_state());
        let mut state = proto::GroupState::decode(encoded).unwrap();
        change(&mut state);
        wire::decode_group_state(&state.encode_to_vec())
    };
    assert_eq!(state(|_| ()), Ok(samples::group_state()));
    assert_eq!(state(|state| state.group_id = None), Err(Malformed));
    assert_eq!(state(|state| state.nonce = None), Err(Malformed));
    assert_eq!(state(|state| state.epoch = u64::MAX), Err(TooLarge));
    assert_eq!(state(|state| state.config = u64::MAX), Err(TooLarge));
    assert_eq!(state(|state| state.lost_epoch = u64::MAX), Err(TooLarge));
    assert_eq!(state(|state| state.in_sync[0].generation = None), Err(Malformed));
    assert_eq!(state(|state| state.in_sync[0] = state.in_sync[1].clone()), Err(Malformed));
    assert_eq!(state(|state| state.primary.as_mut().unwrap().incarnation = None), Err(Malformed));
    assert_eq!(wire::decode_group_state(b""), Err(Malformed));
    assert_eq!(wire::decode_group_state(b"\xff"), Err(Malformed));
    assert_eq!(wire::decode_group_state(&zeros(MAX_NODE_DATA_LEN + 1)), Err(TooLarge));

    let live = |change: fn(&mut proto::LiveNode)| {
        let mut live = proto::LiveNode::decode(wire::encode_live_node(&samples::live_node())).unwrap();
        change(&mut live);
        wire::decode_live_node(&live.encode_to_vec())
    };
    assert_eq!(live(|_| ()), Ok(samples::live_node()));
    assert_eq!(live(|live| live.address.clear()), Err(Malformed));
    assert_eq!(live(|live| live.node = "a b".into()), Err(Malformed));
    assert_eq!(wire::decode_live_node(b"\xff"), Err(Malformed));
    assert_eq!(wire::decode_live_node(&zeros(MAX_NODE_DATA_LEN + 1)), Err(TooLarge));
}
