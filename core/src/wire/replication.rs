//! Messages between brokers.

use super::entries::{Bodies, BodyCheck, decode_entries, decode_summary, encode_entries, encode_epochs};
use super::fields::{decode_history, decode_sender, encode_id, encode_sender, ensure, number, positive};
use crate::id::Offset;
use crate::log::Entry;
use crate::message::{Hello, Replicate, ReplicateAck, ReplicateNack};
use crate::trace::Rejection;
use alloc::vec::Vec;
use bytes::Bytes;
use steadfast_proto as proto;

pub(super) fn encode_hello(hello: &Hello) -> proto::Hello {
    proto::Hello {
        sender: encode_sender(&hello.sender),
        group_id: encode_id(hello.history.group_id.0),
        lineage: hello.history.lineage,
        epoch: hello.epoch,
        log_start: hello.log.start,
        end: hello.log.end,
        epochs: encode_epochs(&hello.log),
    }
}

pub(super) fn decode_hello(hello: proto::Hello) -> Result<Hello, Rejection> {
    Ok(Hello {
        sender: decode_sender(hello.sender)?,
        history: decode_history(hello.group_id, hello.lineage)?,
        epoch: number(hello.epoch)?,
        log: decode_summary(hello.log_start, hello.end, &hello.epochs)?,
    })
}

pub(super) fn encode_replicate(replicate: &Replicate, parts: &mut Vec<Bytes>) -> proto::Replicate {
    proto::Replicate {
        sender: encode_sender(&replicate.sender),
        group_id: encode_id(replicate.history.group_id.0),
        lineage: replicate.history.lineage,
        epoch: replicate.epoch,
        previous_offset: replicate.previous_offset,
        previous_epoch: replicate.previous_epoch,
        commit: replicate.commit,
        entries: encode_entries(&replicate.entries, parts),
    }
}

/// The entries continue `previous_offset` without a hole, in epochs from `previous_epoch` to the
/// primary's own.
pub(super) fn decode_replicate(
    replicate: proto::Replicate,
    bodies: &mut Bodies,
) -> Result<Replicate, Rejection> {
    let epoch = positive(replicate.epoch)?;
    let previous_epoch = replicate.previous_epoch;
    ensure(previous_epoch <= epoch)?;
    let entries = decode_entries(replicate.entries, (previous_epoch, epoch), bodies, BodyCheck::Now)?;
    let previous_offset = number(replicate.previous_offset)?;
    ensure_contiguous(previous_offset, &entries)?;
    Ok(Replicate {
        sender: decode_sender(replicate.sender)?,
        history: decode_history(replicate.group_id, replicate.lineage)?,
        epoch,
        previous_offset,
        previous_epoch,
        commit: number(replicate.commit)?,
        entries,
    })
}

/// The entries continue `from` without a hole.
pub(super) fn ensure_contiguous(from: Offset, entries: &[Entry]) -> Result<(), Rejection> {
    let mut end = from;
    for entry in entries {
        ensure(entry.offset == end)?;
        end = entry.end();
    }
    Ok(())
}

pub(super) fn encode_replicate_ack(ack: &ReplicateAck) -> proto::ReplicateAck {
    proto::ReplicateAck {
        sender: encode_sender(&ack.sender),
        group_id: encode_id(ack.history.group_id.0),
        lineage: ack.history.lineage,
        epoch: ack.epoch,
        r#match: ack.matched,
    }
}

pub(super) fn decode_replicate_ack(ack: proto::ReplicateAck) -> Result<ReplicateAck, Rejection> {
    Ok(ReplicateAck {
        sender: decode_sender(ack.sender)?,
        history: decode_history(ack.group_id, ack.lineage)?,
        epoch: positive(ack.epoch)?,
        matched: number(ack.r#match)?,
    })
}

pub(super) fn encode_replicate_nack(nack: &ReplicateNack) -> proto::ReplicateNack {
    proto::ReplicateNack {
        sender: encode_sender(&nack.sender),
        group_id: encode_id(nack.history.group_id.0),
        lineage: nack.history.lineage,
        floor: nack.floor,
        log_start: nack.log.start,
        end: nack.log.end,
        epochs: encode_epochs(&nack.log),
    }
}

pub(super) fn decode_replicate_nack(nack: proto::ReplicateNack) -> Result<ReplicateNack, Rejection> {
    Ok(ReplicateNack {
        sender: decode_sender(nack.sender)?,
        history: decode_history(nack.group_id, nack.lineage)?,
        floor: number(nack.floor)?,
        log: decode_summary(nack.log_start, nack.end, &nack.epochs)?,
    })
}
