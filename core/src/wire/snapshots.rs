//! Snapshots for backups that are too far behind.

use super::entries::{Bodies, BodyCheck, decode_entries, encode_entries};
use super::fields::{
    at_most, decode_history, decode_id, decode_sender, encode_id, encode_sender, ensure, number, positive,
    text,
};
use super::replication::ensure_contiguous;
use crate::broker::sessions::Session;
use crate::broker::topics::TopicHead;
use crate::filter::Topic;
use crate::id::{Nonce, Offset, PublisherId};
use crate::limits::{MAX_FOLD_SESSIONS, MAX_FOLD_TOPICS};
use crate::message::{SnapshotAck, SnapshotFold, SnapshotPart, SnapshotRecords};
use crate::trace::Rejection;
use alloc::string::ToString;
use alloc::vec::Vec;
use steadfast_proto as proto;

/// Builds a message from the fields that all of them share and its own.
macro_rules! encode {
    ($kind:ident, $part:expr, $number:ident, { $($field:ident: $value:expr),* }) => {
        proto::$kind {
            sender: encode_sender(&$part.sender),
            group_id: encode_id($part.history.group_id.0),
            lineage: $part.history.lineage,
            epoch: $part.epoch,
            snapshot: $part.snapshot,
            $number: $part.part,
            $($field: $value),*
        }
    };
}

macro_rules! decode_part {
    ($message:expr, $number:ident) => {
        SnapshotPart {
            sender: decode_sender($message.sender)?,
            history: decode_history($message.group_id, $message.lineage)?,
            epoch: positive($message.epoch)?,
            snapshot: positive($message.snapshot)?,
            part: number($message.$number)?,
        }
    };
}

pub(super) fn encode_records(
    records: &SnapshotRecords,
    parts: &mut Vec<bytes::Bytes>,
) -> proto::SnapshotRecords {
    encode!(SnapshotRecords, records.part, part, {
        from: records.from,
        previous_epoch: records.previous_epoch,
        entries: encode_entries(&records.entries, parts),
        log_bytes: records.log_bytes
    })
}

/// The entries continue `from` without a hole, in epochs from `previous_epoch` to the primary's own.
pub(super) fn decode_records(
    records: proto::SnapshotRecords,
    bodies: &mut Bodies,
) -> Result<SnapshotRecords, Rejection> {
    let part = decode_part!(records, part);
    let (from, previous_epoch) = (number(records.from)?, records.previous_epoch);
    ensure(previous_epoch <= part.epoch && (from == 0) == (previous_epoch == 0))?;
    let entries = decode_entries(records.entries, (previous_epoch, part.epoch), bodies, BodyCheck::Now)?;
    ensure_contiguous(from, &entries)?;
    let log_bytes = number(records.log_bytes)?;
    Ok(SnapshotRecords { part, from, previous_epoch, entries, log_bytes })
}

pub(super) fn encode_fold(fold: &SnapshotFold) -> proto::SnapshotFold {
    let session = |(publisher, session): &(PublisherId, Session)| proto::SessionRow {
        publisher: encode_id(publisher.0),
        incarnation: session.incarnation,
        nonce: encode_id(session.nonce.0),
        last_sequence: session.last_sequence,
    };
    let topic = |(topic, head): &(Topic, TopicHead)| proto::TopicRow {
        topic: topic.to_string(),
        end: head.end,
        records: head.records,
    };
    encode!(SnapshotFold, fold.part, part, {
        cut: fold.cut,
        log_start: fold.log_start,
        sessions: fold.sessions.iter().map(session).collect(),
        topics: fold.topics.iter().map(topic).collect(),
        last: fold.last
    })
}

/// Rows ascend within the part; a head lies within the fold.
pub(super) fn decode_fold(fold: proto::SnapshotFold) -> Result<SnapshotFold, Rejection> {
    let part = decode_part!(fold, part);
    let cut = positive(fold.cut)?;
    ensure(fold.log_start < cut)?;
    at_most(fold.sessions.len(), MAX_FOLD_SESSIONS)?;
    at_most(fold.topics.len(), MAX_FOLD_TOPICS)?;
    let sessions = fold.sessions.into_iter().map(decode_session).collect::<Result<Vec<_>, _>>()?;
    let topics = fold.topics.iter().map(|row| decode_topic(row, cut)).collect::<Result<Vec<_>, _>>()?;
    ensure(sessions.is_sorted_by(|one, next| one.0 < next.0))?;
    ensure(topics.is_sorted_by(|one, next| one.0 < next.0))?;
    Ok(SnapshotFold { part, cut, log_start: fold.log_start, sessions, topics, last: fold.last })
}

fn decode_session(row: proto::SessionRow) -> Result<(PublisherId, Session), Rejection> {
    let session = Session {
        incarnation: positive(row.incarnation)?,
        nonce: Nonce(decode_id(row.nonce)?),
        last_sequence: number(row.last_sequence)?,
    };
    Ok((PublisherId(decode_id(row.publisher)?), session))
}

fn decode_topic(row: &proto::TopicRow, cut: Offset) -> Result<(Topic, TopicHead), Rejection> {
    let head = TopicHead { end: positive(row.end)?, records: positive(row.records)? };
    ensure(head.end <= cut && head.records <= head.end)?;
    Ok((text(Topic::new(&row.topic))?, head))
}

pub(super) fn encode_ack(SnapshotAck(part): &SnapshotAck) -> proto::SnapshotAck {
    encode!(SnapshotAck, part, parts, {})
}

pub(super) fn decode_ack(ack: proto::SnapshotAck) -> Result<SnapshotAck, Rejection> {
    Ok(SnapshotAck(decode_part!(ack, parts)))
}
