//! Messages between subscribers and brokers.

use super::entries::{Bodies, BodyCheck, decode_entries, encode_entries};
use super::fields::{at_most, decode_history, encode_id, ensure, number, positive, required, stream, text};
use crate::filter::Filter;
use crate::log::{Entry, EntryKind};
use crate::message::{Deliver, Head, OpenStream, Position, Start, StreamOpened};
use crate::trace::Rejection;
use alloc::string::ToString;
use alloc::vec::Vec;
use bytes::Bytes;
use steadfast_proto as proto;
use steadfast_proto::limits::MAX_FILTERS;

const fn encode_position(position: &Position) -> proto::Position {
    proto::Position { lineage: position.lineage, epoch: position.epoch, offset: position.offset }
}

fn decode_position(position: &proto::Position) -> Result<Position, Rejection> {
    Ok(Position {
        lineage: number(position.lineage)?,
        epoch: number(position.epoch)?,
        offset: number(position.offset)?,
    })
}

/// A position that a primary states: it lies in the primary's own lineage and epochs.
fn decode_own_position(
    position: Option<proto::Position>,
    lineage: u64,
    epoch: u64,
) -> Result<Position, Rejection> {
    let position = decode_position(&required(position)?)?;
    ensure(position.lineage == lineage && position.epoch <= epoch)?;
    Ok(position)
}

pub(super) fn encode_open_stream(open: &OpenStream) -> proto::OpenStream {
    use proto::open_stream::Start as Wire;
    proto::OpenStream {
        stream: open.stream,
        group_id: encode_id(open.history.group_id.0),
        lineage: open.history.lineage,
        filters: open.filters.iter().map(ToString::to_string).collect(),
        start: Some(match &open.start {
            Start::Earliest => Wire::Earliest(proto::Earliest {}),
            Start::Latest => Wire::Latest(proto::Latest {}),
            Start::At(position) => Wire::Position(encode_position(position)),
        }),
        credit: open.credit,
    }
}

pub(super) fn decode_open_stream(open: &proto::OpenStream) -> Result<OpenStream, Rejection> {
    use proto::open_stream::Start as Wire;
    ensure(!open.filters.is_empty())?;
    at_most(open.filters.len(), MAX_FILTERS)?;
    Ok(OpenStream {
        stream: stream(open.stream)?,
        history: decode_history(open.group_id, open.lineage)?,
        filters: open.filters.iter().map(|filter| text(Filter::new(filter))).collect::<Result<_, _>>()?,
        start: match required(open.start.as_ref())? {
            Wire::Earliest(proto::Earliest {}) => Start::Earliest,
            Wire::Latest(proto::Latest {}) => Start::Latest,
            Wire::Position(position) => Start::At(decode_position(position)?),
        },
        credit: number(open.credit)?,
    })
}

pub(super) fn encode_stream_opened(opened: &StreamOpened) -> proto::StreamOpened {
    proto::StreamOpened {
        stream: opened.stream,
        group_id: encode_id(opened.history.group_id.0),
        lineage: opened.history.lineage,
        epoch: opened.epoch,
        start: Some(encode_position(&opened.start)),
    }
}

pub(super) fn decode_stream_opened(opened: proto::StreamOpened) -> Result<StreamOpened, Rejection> {
    let epoch = positive(opened.epoch)?;
    Ok(StreamOpened {
        stream: stream(opened.stream)?,
        history: decode_history(opened.group_id, opened.lineage)?,
        epoch,
        start: decode_own_position(opened.start, opened.lineage, epoch)?,
    })
}

pub(super) fn encode_head(head: &Head) -> proto::Head {
    proto::Head {
        token: head.token,
        group_id: encode_id(head.history.group_id.0),
        lineage: head.history.lineage,
        epoch: head.epoch,
        position: Some(encode_position(&head.position)),
    }
}

pub(super) fn decode_head(head: proto::Head) -> Result<Head, Rejection> {
    let epoch = positive(head.epoch)?;
    Ok(Head {
        token: stream(head.token)?,
        history: decode_history(head.group_id, head.lineage)?,
        epoch,
        position: decode_own_position(head.position, head.lineage, epoch)?,
    })
}

pub(super) fn encode_deliver(deliver: &Deliver, parts: &mut Vec<Bytes>) -> proto::Deliver {
    proto::Deliver {
        stream: deliver.stream,
        group_id: encode_id(deliver.history.group_id.0),
        lineage: deliver.history.lineage,
        epoch: deliver.epoch,
        from: deliver.from,
        upto: Some(encode_position(&deliver.upto)),
        entries: encode_entries(&deliver.entries, parts),
    }
}

/// The entries are batches between `from` and `upto` (R30: the first may begin before `from`).
/// Their bodies are not looked at: see [`BodyCheck::Later`].
pub(super) fn decode_deliver(deliver: proto::Deliver, bodies: &mut Bodies) -> Result<Deliver, Rejection> {
    let epoch = positive(deliver.epoch)?;
    let upto = decode_own_position(deliver.upto, deliver.lineage, epoch)?;
    ensure(deliver.from <= upto.offset)?;
    let entries = decode_entries(deliver.entries, (0, epoch), bodies, BodyCheck::Later)?;
    let belongs = |entry: &Entry| {
        matches!(entry.kind, EntryKind::Batch(_)) && entry.end() > deliver.from && entry.end() <= upto.offset
    };
    ensure(entries.iter().all(belongs))?;
    Ok(Deliver {
        stream: stream(deliver.stream)?,
        history: decode_history(deliver.group_id, deliver.lineage)?,
        epoch,
        from: deliver.from,
        upto,
        entries,
    })
}
