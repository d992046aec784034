//! What a decoded message promises.

use steadfast_core::coordination::{Operation, Reply};
use steadfast_core::limits::*;
use steadfast_core::log::{Entry, EntryKind, Log};
use steadfast_core::message::{LogSummary, Message};
use steadfast_core::wire::records::{Records, checksum};

/// What a decoded message promises, stated anew.
pub fn assert_sound(message: &Message) {
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
