//! Whatever bytes come in: no panic, and nothing over a limit gets through.

use crate::{samples, strategies};
use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use steadfast_core::coordination::{Operation, Reply};
use steadfast_core::link::Frame;
use steadfast_core::log::{Entry, EntryKind, Log};
use steadfast_core::message::{LogSummary, Message};
use steadfast_core::wire;
use steadfast_core::wire::records::{Records, checksum};
use steadfast_proto::limits::*;

/// What a decoded message promises, stated anew.
fn assert_sound(message: &Message) {
    match message {
        Message::Hello(hello) => assert_summary(&hello.log),
        Message::ReplicateNack(nack) => assert_summary(&nack.log),
        Message::Replicate(replicate) => {
            let epochs = replicate.entries.iter().map(|entry| entry.epoch);
            let epochs = [replicate.previous_epoch].into_iter().chain(epochs).chain([replicate.epoch]);
            assert!(epochs.is_sorted());
            let mut end = replicate.previous_offset;
            for entry in &replicate.entries {
                assert_eq!(entry.offset, end);
                end = assert_entry(entry);
            }
            append(&replicate.entries);
            replicate.entries.iter().for_each(assert_body);
        }
        Message::Publish(publish) => {
            let batches = &publish.batches;
            assert!((1..=MAX_FRAME_ENTRIES).contains(&batches.len()));
            let follow = |pair: &[steadfast_core::log::Batch]| {
                pair[0].header.last_sequence() + 1 == pair[1].header.first_sequence
            };
            assert!(batches.windows(2).all(follow));
            assert!(batches.iter().all(|batch| batch.header.checksum == checksum(&batch.body)));
        }
        Message::Deliver(deliver) => {
            assert!(deliver.from <= deliver.upto.offset);
            assert!(deliver.entries.iter().all(|entry| assert_entry(entry) <= deliver.upto.offset));
            deliver.entries.iter().for_each(take_records);
        }
        Message::SnapshotRecords(records) => {
            let mut end = records.from;
            for entry in &records.entries {
                assert_eq!(entry.offset, end);
                end = assert_entry(entry);
            }
            records.entries.iter().for_each(assert_body);
        }
        Message::SnapshotFold(fold) => {
            assert!(fold.log_start < fold.cut);
            assert!(fold.sessions.is_sorted_by(|one, next| one.0 < next.0));
            assert!(fold.topics.iter().all(|(_, head)| head.end <= fold.cut && head.records > 0));
        }
        Message::OpenStream(open) => {
            assert!(open.stream != 0 && (1..=MAX_FILTERS).contains(&open.filters.len()));
        }
        Message::CoordinationCall { operation: Operation::Multi(operations), .. } => {
            assert!(operations.len() <= MAX_MULTI_OPS);
        }
        Message::CoordinationReply { result: Ok(Reply::Multi(replies)), .. } => {
            assert!(replies.len() <= MAX_MULTI_OPS);
        }
        _ => {}
    }
}

fn assert_summary(log: &LogSummary) {
    assert!(log.start <= log.end && log.end <= MAX_NUMBER);
    assert!(log.epochs.len() <= MAX_EPOCH_TABLE);
    assert!(log.epochs.is_sorted_by(|a, b| a.epoch < b.epoch && a.end < b.end));
    assert!(log.epochs.last().is_none_or(|last| last.end <= log.end));
}

/// The end of an entry that keeps to the limits.
fn assert_entry(entry: &Entry) -> u64 {
    assert!(entry.epoch > 0 && entry.epoch <= MAX_NUMBER && entry.end() <= MAX_NUMBER);
    if let EntryKind::Batch(batch) = &entry.kind {
        let header = &batch.header;
        assert!((1..=MAX_BATCH_RECORDS).contains(&header.count));
        assert!(header.first_sequence > 0 && header.last_sequence() <= MAX_NUMBER);
        assert!(batch.body.len() <= MAX_BATCH_LEN);
    }
    entry.end()
}

fn assert_body(entry: &Entry) {
    if let EntryKind::Batch(batch) = &entry.kind {
        assert_eq!(batch.header.checksum, checksum(&batch.body));
        assert!(batch.header.raw_length as usize <= MAX_BATCH_RAW_LEN);
    }
}

/// A log takes the entries without complaint.
fn append(entries: &[Entry]) {
    let mut log = Log::default();
    for entry in entries {
        log.append(Entry { offset: log.end(), ..entry.clone() });
    }
}

/// Records are taken out, or the batch is refused: no panic.
fn take_records(entry: &Entry) {
    if let EntryKind::Batch(batch) = &entry.kind
        && let Ok(records) = Records::decode(&batch.header, batch.body.clone())
    {
        assert_eq!(records.count(), batch.header.count as usize);
    }
}

/// A frame either is refused or means something sound that can be said again.
fn take(frame: Frame) {
    if let Ok(message) = wire::decode(frame) {
        assert_sound(&message);
        assert_eq!(wire::decode(wire::encode(&message)), Ok(message));
    }
}

/// Overwrites bytes.
fn damaged(part: &Bytes, damage: &[(f64, u8)]) -> Bytes {
    let mut bytes = part.to_vec();
    for &(at, to) in damage {
        let index = (at * bytes.len() as f64) as usize;
        if let Some(byte) = bytes.get_mut(index) {
            *byte = to;
        }
    }
    bytes.into()
}

/// A valid envelope's version, so that random bytes get past the first check.
fn versioned(bytes: Vec<u8>) -> Bytes {
    [0x08, 1].into_iter().chain(bytes).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn arbitrary_bytes(parts in vec(vec(any::<u8>(), 0..300).prop_map(Bytes::from), 0..5)) {
        take(Frame { parts });
    }

    #[test]
    fn arbitrary_messages(bytes in vec(any::<u8>(), 0..300), bodies in vec(vec(any::<u8>(), 0..50), 0..3)) {
        let bodies = bodies.into_iter().map(Bytes::from);
        take(Frame { parts: [versioned(bytes)].into_iter().chain(bodies).collect() });
    }

    #[test]
    fn damaged_messages(
        message in strategies::message(),
        damage in strategies::damage(),
        part: prop::sample::Index,
    ) {
        let mut parts = wire::encode(&message).parts;
        // The envelope holds what is checked, so it is hit as often as all bodies together.
        let part = part.index(2 * parts.len()).saturating_sub(parts.len());
        parts[part] = damaged(&parts[part], &damage);
        take(Frame { parts });
    }

    #[test]
    fn shuffled_parts(message in strategies::message(), from: prop::sample::Index, to: prop::sample::Index) {
        let mut parts = wire::encode(&message).parts;
        let (from, to) = (from.index(parts.len()), to.index(parts.len()));
        parts.swap(from, to);
        take(Frame { parts: parts.clone() });
        parts.push(parts[from].clone());
        take(Frame { parts });
    }

    #[test]
    fn damaged_tree_data(
        state in strategies::group_state(),
        live in strategies::live_node(),
        damage in strategies::damage(),
    ) {
        if let Ok(state) = wire::decode_group_state(&damaged(&wire::encode_group_state(&state), &damage)) {
            prop_assert_eq!(wire::decode_group_state(&wire::encode_group_state(&state)), Ok(state));
        }
        if let Ok(live) = wire::decode_live_node(&damaged(&wire::encode_live_node(&live), &damage)) {
            prop_assert_eq!(wire::decode_live_node(&wire::encode_live_node(&live)), Ok(live));
        }
    }
}

#[test]
fn every_prefix_and_every_single_byte_of_every_sample() {
    for (_, message) in samples::messages() {
        let parts = wire::encode(&message).parts;
        for at in 0..parts[0].len() {
            let mut truncated = parts.clone();
            truncated[0].truncate(at);
            take(Frame { parts: truncated });
            for to in [0x00, 0x01, 0x7f, 0x80, 0xff, parts[0][at] ^ 0x08] {
                let mut changed = parts[0].to_vec();
                changed[at] = to;
                let bodies = parts[1..].iter().cloned();
                take(Frame { parts: [changed.into()].into_iter().chain(bodies).collect() });
            }
        }
    }
}

#[test]
fn a_changed_body_never_gets_into_a_broker() {
    for message in [samples::publish(), samples::replicate()] {
        let parts = wire::encode(&message).parts;
        for part in 1..parts.len() {
            for at in 0..parts[part].len() {
                let mut changed = parts.clone();
                let mut body = changed[part].to_vec();
                body[at] ^= 0x20;
                changed[part] = body.into();
                let refused = wire::decode(Frame { parts: changed });
                assert_eq!(refused, Err(steadfast_core::trace::Rejection::Checksum));
            }
        }
    }
}
