//! What was encoded decodes to itself.

use crate::strategies;
use proptest::prelude::*;
use std::time::Duration;
use steadfast_core::log::EntryKind;
use steadfast_core::message::{Message, Refusal};
use steadfast_core::wire;
use steadfast_proto::limits::MAX_DETAIL_LEN;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn messages_survive(message in strategies::message()) {
        let decoded = wire::decode(wire::encode(&message));
        prop_assert_eq!(decoded, Ok(message));
    }

    #[test]
    fn group_states_survive(state in strategies::group_state()) {
        let decoded = wire::decode_group_state(&wire::encode_group_state(&state));
        prop_assert_eq!(decoded, Ok(state));
    }

    #[test]
    fn live_nodes_survive(live in strategies::live_node()) {
        let decoded = wire::decode_live_node(&wire::encode_live_node(&live));
        prop_assert_eq!(decoded, Ok(live));
    }
}

#[test]
fn bodies_are_moved_and_not_copied() {
    let (publish, replicate) = (crate::samples::publish(), crate::samples::replicate());
    for message in [publish, replicate, crate::samples::snapshot_records(), crate::samples::deliver()] {
        let before = bodies(&message);
        let decoded = wire::decode(wire::encode(&message)).unwrap();
        assert!(!before.is_empty());
        assert_eq!(bodies(&decoded), before);
    }
}

/// Where the bodies lie.
fn bodies(message: &Message) -> Vec<*const u8> {
    let of_entries = |entries: &[steadfast_core::log::Entry]| {
        let body = |entry: &steadfast_core::log::Entry| match &entry.kind {
            EntryKind::Batch(batch) => Some(batch.body.as_ptr()),
            EntryKind::EpochStart
            | EntryKind::SessionOpen { .. }
            | EntryKind::SessionExpire { .. }
            | EntryKind::Trim { .. } => None,
        };
        entries.iter().filter_map(body).collect()
    };
    match message {
        Message::Publish(publish) => publish.batches.iter().map(|batch| batch.body.as_ptr()).collect(),
        Message::Replicate(replicate) => of_entries(&replicate.entries),
        Message::SnapshotRecords(records) => of_entries(&records.entries),
        Message::Deliver(deliver) => of_entries(&deliver.entries),
        other => panic!("{other:?} has no bodies"),
    }
}

#[test]
fn waits_are_rounded_up_to_milliseconds_and_saturate() {
    let cases = [
        (Duration::ZERO, Duration::ZERO),
        (Duration::from_nanos(1), Duration::from_millis(1)),
        (Duration::from_micros(1_500), Duration::from_millis(2)),
        (Duration::MAX, Duration::from_millis(u64::from(u32::MAX))),
    ];
    for (retry_after, expected) in cases {
        let sent = Message::Refusal { stream: 0, reason: Refusal::Electing { retry_after } };
        let reason = Refusal::Electing { retry_after: expected };
        assert_eq!(wire::decode(wire::encode(&sent)), Ok(Message::Refusal { stream: 0, reason }));
    }
}

#[test]
fn a_long_detail_is_cut_between_characters() {
    let detail = "é".repeat(MAX_DETAIL_LEN);
    let sent = Message::Refusal { stream: 0, reason: Refusal::Invalid { detail } };
    let reason = Refusal::Invalid { detail: "é".repeat(MAX_DETAIL_LEN / 2) };
    assert_eq!(wire::decode(wire::encode(&sent)), Ok(Message::Refusal { stream: 0, reason }));
}
