//! Log entries and batches: headers in the envelope, bodies in the frame's other parts.

use super::fields::{at_most, decode_id, encode_id, ensure, number, positive, required, text};
use super::records::{Undecodable, check_body};
use crate::filter::Topic;
use crate::id::{Epoch, Nonce, Offset, PublisherId};
use crate::log::{Batch, BatchHeader, Codec, Entry, EntryKind, EpochEnd};
use crate::message::LogSummary;
use crate::trace::Rejection;
use alloc::string::ToString;
use alloc::vec::{self, Vec};
use bytes::Bytes;
use steadfast_proto as proto;
use steadfast_proto::limits::{MAX_BATCH_RECORDS, MAX_EPOCH_TABLE, MAX_FRAME_ENTRIES};

/// When a batch's body is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyCheck {
    /// Before anything else is done with it: a broker takes no bad batch into its log (R28).
    Now,
    /// When the records are taken out: one bad batch does not stop a subscriber's stream (R31).
    Later,
}

/// The bodies of a frame, handed out in order, one for each batch.
#[derive(Debug)]
pub(super) struct Bodies(vec::IntoIter<Bytes>);

impl Bodies {
    pub(super) const fn new(parts: vec::IntoIter<Bytes>) -> Self {
        Self(parts)
    }

    fn next(&mut self) -> Result<Bytes, Rejection> {
        required(self.0.next())
    }

    /// Every body has found its batch.
    pub(super) fn finish(self) -> Result<(), Rejection> {
        ensure(self.0.len() == 0)
    }
}

pub(super) fn encode_batch(batch: &Batch, parts: &mut Vec<Bytes>) -> proto::BatchHeader {
    let header = &batch.header;
    parts.push(batch.body.clone());
    proto::BatchHeader {
        topic: header.topic.to_string(),
        publisher: encode_id(header.publisher.0),
        incarnation: header.incarnation,
        first_sequence: header.first_sequence,
        count: header.count,
        raw_length: header.raw_length,
        codec: encode_codec(header.codec),
        checksum: header.checksum,
    }
}

pub(super) const fn encode_codec(codec: Codec) -> i32 {
    match codec {
        Codec::None => proto::Codec::None as i32,
        Codec::Lz4 => proto::Codec::Lz4 as i32,
        Codec::Zstd => proto::Codec::Zstd as i32,
        Codec::Unknown(codec) => codec,
    }
}

pub(super) fn decode_codec(codec: i32) -> Codec {
    match proto::Codec::try_from(codec) {
        Ok(proto::Codec::None) => Codec::None,
        Ok(proto::Codec::Lz4) => Codec::Lz4,
        Ok(proto::Codec::Zstd) => Codec::Zstd,
        Err(_) => Codec::Unknown(codec),
    }
}

pub(super) fn decode_batch(
    header: &proto::BatchHeader,
    bodies: &mut Bodies,
    check: BodyCheck,
) -> Result<Batch, Rejection> {
    let body = bodies.next()?;
    let header = BatchHeader {
        topic: text(Topic::new(&header.topic))?,
        publisher: PublisherId(decode_id(header.publisher)?),
        incarnation: positive(header.incarnation)?,
        first_sequence: positive(header.first_sequence)?,
        count: decode_count(header.count)?,
        raw_length: header.raw_length,
        codec: decode_codec(header.codec),
        checksum: header.checksum,
    };
    number(header.last_sequence())?;
    if check == BodyCheck::Now {
        check_body(&header, &body).map_err(rejection)?;
    }
    Ok(Batch { header, body })
}

fn decode_count(count: u32) -> Result<u32, Rejection> {
    ensure(count != 0)?;
    if count <= MAX_BATCH_RECORDS { Ok(count) } else { Err(Rejection::TooLarge) }
}

const fn rejection(reason: Undecodable) -> Rejection {
    match reason {
        Undecodable::TooLarge => Rejection::TooLarge,
        Undecodable::Checksum => Rejection::Checksum,
        Undecodable::Codec(_) | Undecodable::Malformed => Rejection::Malformed,
    }
}

pub(super) fn encode_entries(entries: &[Entry], parts: &mut Vec<Bytes>) -> Vec<proto::Entry> {
    parts.reserve(entries.len());
    entries.iter().map(|entry| encode_entry(entry, parts)).collect()
}

fn encode_entry(entry: &Entry, parts: &mut Vec<Bytes>) -> proto::Entry {
    use proto::entry::Kind;
    let kind = match &entry.kind {
        EntryKind::Batch(batch) => Kind::Batch(encode_batch(batch, parts)),
        EntryKind::EpochStart => Kind::EpochStart(proto::EpochStart {}),
        EntryKind::SessionOpen { publisher, incarnation, nonce } => Kind::SessionOpen(proto::SessionOpen {
            publisher: encode_id(publisher.0),
            incarnation: *incarnation,
            nonce: encode_id(nonce.0),
        }),
        EntryKind::SessionExpire { publisher, incarnation } => Kind::SessionExpire(proto::SessionExpire {
            publisher: encode_id(publisher.0),
            incarnation: *incarnation,
        }),
        EntryKind::Trim { to } => Kind::Trim(proto::Trim { to: *to }),
    };
    proto::Entry { offset: entry.offset, epoch: entry.epoch, kind: Some(kind) }
}

/// Entries in the order of a log: offsets do not overlap, epochs lie in `epochs` and never go back.
/// Holes are the caller's matter.
pub(super) fn decode_entries(
    entries: Vec<proto::Entry>,
    (lowest, highest): (Epoch, Epoch),
    bodies: &mut Bodies,
    check: BodyCheck,
) -> Result<Vec<Entry>, Rejection> {
    at_most(entries.len(), MAX_FRAME_ENTRIES)?;
    let (mut end, mut epoch) = (0, lowest);
    let mut decoded = Vec::with_capacity(entries.len());
    for entry in entries {
        let entry = decode_entry(entry, bodies, check)?;
        ensure(entry.offset >= end && entry.epoch >= epoch && entry.epoch <= highest)?;
        (end, epoch) = (entry.end(), entry.epoch);
        decoded.push(entry);
    }
    Ok(decoded)
}

fn decode_entry(entry: proto::Entry, bodies: &mut Bodies, check: BodyCheck) -> Result<Entry, Rejection> {
    use proto::entry::Kind;
    let kind = match required(entry.kind)? {
        Kind::Batch(header) => EntryKind::Batch(decode_batch(&header, bodies, check)?),
        Kind::EpochStart(proto::EpochStart {}) => EntryKind::EpochStart,
        Kind::SessionOpen(open) => EntryKind::SessionOpen {
            publisher: PublisherId(decode_id(open.publisher)?),
            incarnation: positive(open.incarnation)?,
            nonce: Nonce(decode_id(open.nonce)?),
        },
        Kind::SessionExpire(expire) => EntryKind::SessionExpire {
            publisher: PublisherId(decode_id(expire.publisher)?),
            incarnation: positive(expire.incarnation)?,
        },
        Kind::Trim(proto::Trim { to }) => {
            ensure(to <= entry.offset)?;
            EntryKind::Trim { to }
        }
    };
    let entry = Entry { offset: number(entry.offset)?, epoch: positive(entry.epoch)?, kind };
    number(entry.end())?;
    Ok(entry)
}

pub(super) fn encode_epochs(log: &LogSummary) -> Vec<proto::EpochEnd> {
    log.epochs.iter().map(|last| proto::EpochEnd { epoch: last.epoch, end: last.end }).collect()
}

pub(super) fn decode_summary(
    start: Offset,
    end: Offset,
    epochs: &[proto::EpochEnd],
) -> Result<LogSummary, Rejection> {
    at_most(epochs.len(), MAX_EPOCH_TABLE)?;
    ensure(start <= number(end)?)?;
    let ascending = |pair: &[proto::EpochEnd]| pair[0].epoch < pair[1].epoch && pair[0].end < pair[1].end;
    ensure(epochs.windows(2).all(ascending))?;
    if let (Some(first), Some(last)) = (epochs.first(), epochs.last()) {
        positive(first.epoch)?;
        number(last.epoch)?;
        ensure(first.end > 0 && last.end <= end)?;
    }
    let epochs = epochs.iter().map(|last| EpochEnd { epoch: last.epoch, end: last.end }).collect();
    Ok(LogSummary { start, end, epochs })
}
