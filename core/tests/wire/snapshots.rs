//! Every check of a snapshot's decoder refuses what it should.

use crate::rejections::{change, check, close, open, sample};
use crate::samples::{snapshot_fold, snapshot_records};
use steadfast_core::limits::{MAX_FOLD_SESSIONS, MAX_FOLD_TOPICS};
use steadfast_core::trace::Rejection::{Checksum, Malformed, TooLarge};
use steadfast_proto as proto;
use steadfast_proto::envelope::Message as Wire;
use steadfast_proto::limits::MAX_NUMBER;

#[test]
fn records() {
    let records = snapshot_records;
    let trim = |entry: &mut proto::Entry| match entry.kind.as_mut() {
        Some(proto::entry::Kind::Trim(trim)) => trim.to = entry.offset + 1,
        other => panic!("not a decision to trim: {other:?}"),
    };
    let checksum = |entry: &mut proto::Entry| match entry.kind.as_mut() {
        Some(proto::entry::Kind::Batch(header)) => header.checksum ^= 1,
        other => panic!("not a batch: {other:?}"),
    };
    check([
        ("no sender", change!(records(), SnapshotRecords, |m| m.sender = None), Malformed),
        ("no group", change!(records(), SnapshotRecords, |m| m.group_id = None), Malformed),
        ("epoch 0", change!(records(), SnapshotRecords, |m| m.epoch = 0), Malformed),
        ("no number", change!(records(), SnapshotRecords, |m| m.snapshot = 0), Malformed),
        ("a high part", change!(records(), SnapshotRecords, |m| m.part = MAX_NUMBER + 1), TooLarge),
        ("a large log", change!(records(), SnapshotRecords, |m| m.log_bytes = MAX_NUMBER + 1), TooLarge),
        ("a high start", change!(records(), SnapshotRecords, |m| m.from = u64::MAX), TooLarge),
        ("a hole before", change!(records(), SnapshotRecords, |m| m.from -= 1), Malformed),
        ("a hole inside", change!(records(), SnapshotRecords, |m| m.entries[2].offset += 1), Malformed),
        ("no epoch before", change!(records(), SnapshotRecords, |m| m.previous_epoch = 0), Malformed),
        ("above the primary's", change!(records(), SnapshotRecords, |m| m.previous_epoch = 6), Malformed),
        ("a damaged body", change!(records(), SnapshotRecords, |m| checksum(&mut m.entries[1])), Checksum),
        ("a trim above itself", change!(records(), SnapshotRecords, |m| trim(&mut m.entries[4])), Malformed),
    ]);
}

#[test]
fn folds() {
    let fold = snapshot_fold;
    check([
        ("nothing committed", change!(fold(), SnapshotFold, |m| m.cut = 0), Malformed),
        ("a high cut", change!(fold(), SnapshotFold, |m| m.cut = u64::MAX), TooLarge),
        ("nothing kept", change!(fold(), SnapshotFold, |m| m.log_start = m.cut), Malformed),
        ("sessions out of order", change!(fold(), SnapshotFold, |m| m.sessions.reverse()), Malformed),
        ("topics out of order", change!(fold(), SnapshotFold, |m| m.topics.reverse()), Malformed),
        ("no incarnation", change!(fold(), SnapshotFold, |m| m.sessions[0].incarnation = 0), Malformed),
        ("no nonce", change!(fold(), SnapshotFold, |m| m.sessions[0].nonce = None), Malformed),
        (
            "a high number",
            change!(fold(), SnapshotFold, |m| m.sessions[0].last_sequence = u64::MAX),
            TooLarge,
        ),
        ("a bad topic", change!(fold(), SnapshotFold, |m| m.topics[0].topic = "a.*".into()), Malformed),
        ("a head above the cut", change!(fold(), SnapshotFold, |m| m.topics[0].end = 308), Malformed),
        ("a topic without records", change!(fold(), SnapshotFold, |m| m.topics[0].records = 0), Malformed),
        (
            "more records than offsets",
            change!(fold(), SnapshotFold, |m| m.topics[0].records = 306),
            Malformed,
        ),
        (
            "many sessions",
            change!(fold(), SnapshotFold, |m| {
                m.sessions = vec![proto::SessionRow::default(); MAX_FOLD_SESSIONS + 1];
            }),
            TooLarge,
        ),
        (
            "many topics",
            change!(fold(), SnapshotFold, |m| {
                m.topics = vec![proto::TopicRow::default(); MAX_FOLD_TOPICS + 1];
            }),
            TooLarge,
        ),
        ("no snapshot acked", change!(sample("snapshot_ack"), SnapshotAck, |m| m.snapshot = 0), Malformed),
        ("many parts acked", change!(sample("snapshot_ack"), SnapshotAck, |m| m.parts = u64::MAX), TooLarge),
    ]);
}
