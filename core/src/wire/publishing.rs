//! Messages between publishers and brokers.

use super::entries::{Bodies, BodyCheck, decode_batch, decode_codec, encode_batch, encode_codec};
use super::fields::{at_most, decode_history, decode_id, encode_id, ensure, number, positive};
use crate::id::{Nonce, PublisherId};
use crate::log::Batch;
use crate::message::{OpenSession, Publish, PublishAck, SessionOpened};
use crate::trace::Rejection;
use alloc::vec::Vec;
use bytes::Bytes;
use steadfast_proto as proto;
use steadfast_proto::limits::MAX_FRAME_ENTRIES;

pub(super) fn encode_open_session(open: &OpenSession) -> proto::OpenSession {
    proto::OpenSession {
        group_id: encode_id(open.history.group_id.0),
        lineage: open.history.lineage,
        publisher: encode_id(open.publisher.0),
        nonce: encode_id(open.nonce.0),
        incarnation: open.incarnation,
    }
}

pub(super) fn decode_open_session(open: proto::OpenSession) -> Result<OpenSession, Rejection> {
    Ok(OpenSession {
        history: decode_history(open.group_id, open.lineage)?,
        publisher: PublisherId(decode_id(open.publisher)?),
        nonce: Nonce(decode_id(open.nonce)?),
        incarnation: number(open.incarnation)?,
    })
}

pub(super) fn encode_session_opened(opened: &SessionOpened) -> proto::SessionOpened {
    proto::SessionOpened {
        group_id: encode_id(opened.history.group_id.0),
        lineage: opened.history.lineage,
        epoch: opened.epoch,
        publisher: encode_id(opened.publisher.0),
        incarnation: opened.incarnation,
        last_sequence: opened.last_sequence,
        codecs: opened.codecs.iter().map(encode_codec).collect(),
    }
}

pub(super) fn decode_session_opened(opened: proto::SessionOpened) -> Result<SessionOpened, Rejection> {
    Ok(SessionOpened {
        history: decode_history(opened.group_id, opened.lineage)?,
        epoch: positive(opened.epoch)?,
        publisher: PublisherId(decode_id(opened.publisher)?),
        incarnation: positive(opened.incarnation)?,
        last_sequence: number(opened.last_sequence)?,
        // What a later version may write is none that this one would.
        codecs: opened.codecs.into_iter().map(decode_codec).collect(),
    })
}

pub(super) fn encode_publish(publish: &Publish, parts: &mut Vec<Bytes>) -> proto::Publish {
    parts.reserve(publish.batches.len());
    proto::Publish {
        group_id: encode_id(publish.history.group_id.0),
        lineage: publish.history.lineage,
        batches: publish.batches.iter().map(|batch| encode_batch(batch, parts)).collect(),
    }
}

/// All batches belong to one session and continue each other's sequence (R28).
pub(super) fn decode_publish(publish: &proto::Publish, bodies: &mut Bodies) -> Result<Publish, Rejection> {
    ensure(!publish.batches.is_empty())?;
    at_most(publish.batches.len(), MAX_FRAME_ENTRIES)?;
    let mut batches: Vec<Batch> = Vec::with_capacity(publish.batches.len());
    for header in &publish.batches {
        let batch = decode_batch(header, bodies, BodyCheck::Now)?;
        ensure(batches.last().is_none_or(|before| continues(before, &batch)))?;
        batches.push(batch);
    }
    Ok(Publish { history: decode_history(publish.group_id, publish.lineage)?, batches })
}

fn continues(before: &Batch, batch: &Batch) -> bool {
    let (before, header) = (&before.header, &batch.header);
    header.publisher == before.publisher
        && header.incarnation == before.incarnation
        && header.first_sequence == before.last_sequence() + 1
}

pub(super) fn encode_publish_ack(ack: &PublishAck) -> proto::PublishAck {
    proto::PublishAck {
        group_id: encode_id(ack.history.group_id.0),
        lineage: ack.history.lineage,
        epoch: ack.epoch,
        publisher: encode_id(ack.publisher.0),
        incarnation: ack.incarnation,
        last_sequence: ack.last_sequence,
    }
}

pub(super) fn decode_publish_ack(ack: proto::PublishAck) -> Result<PublishAck, Rejection> {
    Ok(PublishAck {
        history: decode_history(ack.group_id, ack.lineage)?,
        epoch: positive(ack.epoch)?,
        publisher: PublisherId(decode_id(ack.publisher)?),
        incarnation: positive(ack.incarnation)?,
        last_sequence: number(ack.last_sequence)?,
    })
}
