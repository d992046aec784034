//! The wire codec: [`Message`] to [`Frame`] and back, and the data of nodes in the coordination tree.
//!
//! Decoding checks everything that needs no state: version, limits, presence, order, lengths and
//! checksums. The bodies of batches are moved, never copied. Two parties look at them:
//!
//! - A broker takes no bad batch into its log (R28): a [`Message::Publish`], [`Message::Replicate`]
//!   or [`Message::SnapshotRecords`] with a body that does not match its header is rejected.
//! - A subscriber loses only the bad batch (R31): a [`Message::Deliver`] decodes whatever its bodies
//!   hold, and [`records::Records::decode`] says of each one whether it can be used. Were the frame
//!   dropped, the stream would have a hole, be opened again at the same place, and never get past it.
//!
//! Numbers that others are added to are at most [`MAX_NUMBER`](steadfast_proto::limits::MAX_NUMBER),
//! so a decoded message can be reckoned with freely.

mod coordination;
mod entries;
mod fields;
mod operating;
mod publishing;
pub mod records;
mod replication;
mod routing;
mod snapshots;
mod status;
mod streaming;
mod tree_data;

use crate::link::Frame;
use crate::message::{Lookup, Message};
use crate::trace::Rejection;
use alloc::boxed::Box;
use alloc::vec::Vec;
use bytes::Bytes;
use entries::Bodies;
use fields::{
    at_most, decode_credentials, decode_millis, encode_id, encode_millis_u32, number, required, stream,
};
use prost::Message as _;
use steadfast_proto as proto;
use steadfast_proto::WIRE_VERSION;
use steadfast_proto::envelope::Message as Wire;
use steadfast_proto::limits::{MAX_BATCH_LEN, MAX_ENVELOPE_LEN, MAX_FRAME_ENTRIES, MAX_FRAME_LEN};

pub use tree_data::{decode_group_state, decode_live_node, encode_group_state, encode_live_node};

/// Encodes a message. Bodies are not copied.
///
/// Limits are the caller's matter, as only the caller can say what to send instead: a frame beyond
/// one is rejected by the peer. The detail of a refusal is the exception: it is cut.
pub fn encode(message: &Message) -> Frame {
    let mut parts = alloc::vec![Bytes::new()];
    let envelope =
        proto::Envelope { version: WIRE_VERSION, message: Some(encode_message(message, &mut parts)) };
    parts[0] = envelope.encode_to_vec().into();
    Frame { parts }
}

fn encode_message(message: &Message, parts: &mut Vec<Bytes>) -> Wire {
    match message {
        Message::Hello(hello) => Wire::Hello(replication::encode_hello(hello)),
        Message::Replicate(replicate) => Wire::Replicate(replication::encode_replicate(replicate, parts)),
        Message::ReplicateAck(ack) => Wire::ReplicateAck(replication::encode_replicate_ack(ack)),
        Message::ReplicateNack(nack) => Wire::ReplicateNack(replication::encode_replicate_nack(nack)),
        Message::TakeOver(take_over) => Wire::TakeOver(operating::encode_take_over(take_over)),
        Message::SnapshotRecords(records) => Wire::SnapshotRecords(snapshots::encode_records(records, parts)),
        Message::SnapshotFold(fold) => Wire::SnapshotFold(snapshots::encode_fold(fold)),
        Message::SnapshotAck(ack) => Wire::SnapshotAck(snapshots::encode_ack(ack)),
        Message::OpenSession(open) => Wire::OpenSession(publishing::encode_open_session(open)),
        Message::SessionOpened(opened) => Wire::SessionOpened(publishing::encode_session_opened(opened)),
        Message::Publish(publish) => Wire::Publish(publishing::encode_publish(publish, parts)),
        Message::PublishAck(ack) => Wire::PublishAck(publishing::encode_publish_ack(ack)),
        Message::OpenStream(open) => Wire::OpenStream(streaming::encode_open_stream(open)),
        Message::StreamOpened(opened) => Wire::StreamOpened(streaming::encode_stream_opened(opened)),
        Message::Deliver(deliver) => Wire::Deliver(streaming::encode_deliver(deliver, parts)),
        Message::Credit { stream, limit } => Wire::Credit(proto::Credit { stream: *stream, limit: *limit }),
        Message::CloseStream { stream } => Wire::CloseStream(proto::CloseStream { stream: *stream }),
        Message::ReadHead { token } => Wire::ReadHead(proto::ReadHead { token: *token }),
        Message::Head(head) => Wire::Head(streaming::encode_head(head)),
        Message::Lookup(Lookup { group, watch, fresh }) => {
            Wire::Lookup(proto::Lookup { group: *group, watch: *watch, fresh: *fresh })
        }
        Message::Route(route) => Wire::Route(routing::encode_route(route)),
        Message::CoordinationOpen { session, timeout } => Wire::CoordinationOpen(proto::CoordinationOpen {
            session: session.map_or(0, |session| session.id),
            password: session.and_then(|session| encode_id(session.password.0)),
            timeout_ms: encode_millis_u32(*timeout),
        }),
        Message::CoordinationOpened { session } => Wire::CoordinationOpened(proto::CoordinationOpened {
            session: session.map_or(0, |(session, _)| session.id),
            password: session.and_then(|(session, _)| encode_id(session.password.0)),
            timeout_ms: session.map_or(0, |(_, timeout)| encode_millis_u32(timeout)),
        }),
        Message::CoordinationCall { call, operation } => Wire::CoordinationCall(proto::CoordinationCall {
            call: *call,
            operation: Some(coordination::encode_operation(operation)),
        }),
        Message::CoordinationReply { call, result } => {
            Wire::CoordinationReply(coordination::encode_reply(*call, result))
        }
        Message::CoordinationWatch { path, kind } => Wire::CoordinationWatch(proto::CoordinationWatch {
            path: path.clone(),
            event: coordination::encode_watch_kind(*kind) as i32,
        }),
        Message::CoordinationClose => Wire::CoordinationClose(proto::CoordinationClose {}),
        Message::Ping { token } => Wire::Ping(proto::Ping { token: *token }),
        Message::Pong { token } => Wire::Pong(proto::Pong { token: *token }),
        Message::Refusal { stream, reason } => Wire::Refusal(routing::encode_refusal(*stream, reason)),
        Message::Drain => Wire::Drain(proto::Drain {}),
        Message::Drained(departure) => Wire::Drained(operating::encode_drained(departure)),
        Message::StatusRequest { token } => Wire::StatusRequest(proto::StatusRequest { token: *token }),
        Message::BrokerStatus(status) => Wire::BrokerStatus(Box::new(status::encode_broker(status))),
        Message::DiscoveryStatus(status) => Wire::DiscoveryStatus(status::encode_discovery(status)),
    }
}

/// Decodes and checks a frame. Bodies are not copied.
///
/// # Errors
/// With the first check that fails.
pub fn decode(frame: Frame) -> Result<Message, Rejection> {
    check_lengths(&frame)?;
    let mut parts = frame.parts.into_iter();
    let envelope = decode_envelope(&required(parts.next())?)?;
    let mut bodies = Bodies::new(parts);
    let message = decode_message(required(envelope.message)?, &mut bodies)?;
    bodies.finish()?;
    Ok(message)
}

/// Limits come before anything else is looked at.
fn check_lengths(frame: &Frame) -> Result<(), Rejection> {
    let Some((envelope, bodies)) = frame.parts.split_first() else {
        return Err(Rejection::Malformed);
    };
    at_most(envelope.len(), MAX_ENVELOPE_LEN)?;
    at_most(bodies.len(), MAX_FRAME_ENTRIES)?;
    let mut sum = 0;
    for body in bodies {
        at_most(body.len(), MAX_BATCH_LEN)?;
        sum += body.len();
    }
    at_most(sum, MAX_FRAME_LEN)
}

fn decode_envelope(part: &[u8]) -> Result<proto::Envelope, Rejection> {
    let stated = stated_version(part);
    // From a slice: nothing in an envelope is worth a reference to it, and counting those would cost more.
    match proto::Envelope::decode(part) {
        Ok(envelope) if envelope.version == WIRE_VERSION => Ok(envelope),
        Ok(_) => Err(Rejection::Version),
        // What another version says need not make sense to this one.
        Err(_) if stated.is_some_and(|version| version != WIRE_VERSION) => Err(Rejection::Version),
        Err(_) => Err(Rejection::Malformed),
    }
}

/// The version, if it comes first, as every encoder writes it.
fn stated_version(envelope: &[u8]) -> Option<u32> {
    match envelope {
        // The tag of field 1, a number below 128.
        [0x08, version, ..] if *version < 0x80 => Some(u32::from(*version)),
        _ => None,
    }
}

fn decode_message(message: Wire, bodies: &mut Bodies) -> Result<Message, Rejection> {
    Ok(match message {
        Wire::Hello(hello) => Message::Hello(replication::decode_hello(hello)?),
        Wire::Replicate(replicate) => Message::Replicate(replication::decode_replicate(replicate, bodies)?),
        Wire::ReplicateAck(ack) => Message::ReplicateAck(replication::decode_replicate_ack(ack)?),
        Wire::ReplicateNack(nack) => Message::ReplicateNack(replication::decode_replicate_nack(nack)?),
        Wire::TakeOver(take_over) => Message::TakeOver(operating::decode_take_over(take_over)?),
        Wire::SnapshotRecords(records) => {
            Message::SnapshotRecords(Box::new(snapshots::decode_records(records, bodies)?))
        }
        Wire::SnapshotFold(fold) => Message::SnapshotFold(Box::new(snapshots::decode_fold(fold)?)),
        Wire::SnapshotAck(ack) => Message::SnapshotAck(snapshots::decode_ack(ack)?),
        Wire::OpenSession(open) => Message::OpenSession(publishing::decode_open_session(open)?),
        Wire::SessionOpened(opened) => Message::SessionOpened(publishing::decode_session_opened(opened)?),
        Wire::Publish(publish) => Message::Publish(publishing::decode_publish(&publish, bodies)?),
        Wire::PublishAck(ack) => Message::PublishAck(publishing::decode_publish_ack(ack)?),
        Wire::OpenStream(open) => Message::OpenStream(streaming::decode_open_stream(&open)?),
        Wire::StreamOpened(opened) => Message::StreamOpened(streaming::decode_stream_opened(opened)?),
        Wire::Deliver(deliver) => Message::Deliver(streaming::decode_deliver(deliver, bodies)?),
        Wire::Credit(credit) => {
            Message::Credit { stream: stream(credit.stream)?, limit: number(credit.limit)? }
        }
        Wire::CloseStream(close) => Message::CloseStream { stream: stream(close.stream)? },
        Wire::ReadHead(read) => Message::ReadHead { token: stream(read.token)? },
        Wire::Head(head) => Message::Head(streaming::decode_head(head)?),
        Wire::Lookup(proto::Lookup { group, watch, fresh }) => {
            Message::Lookup(Lookup { group, watch, fresh })
        }
        Wire::Route(route) => Message::Route(routing::decode_route(&route)?),
        Wire::CoordinationOpen(open) => Message::CoordinationOpen {
            session: decode_credentials(open.session, open.password)?,
            timeout: decode_millis(open.timeout_ms),
        },
        Wire::CoordinationOpened(opened) => Message::CoordinationOpened {
            session: decode_credentials(opened.session, opened.password)?
                .map(|session| (session, decode_millis(opened.timeout_ms))),
        },
        Wire::CoordinationCall(call) => Message::CoordinationCall {
            call: call.call,
            operation: coordination::decode_operation(call.operation)?,
        },
        Wire::CoordinationReply(reply) => {
            Message::CoordinationReply { call: reply.call, result: coordination::decode_reply(reply)? }
        }
        Wire::CoordinationWatch(watch) => Message::CoordinationWatch {
            path: coordination::decode_path(watch.path)?,
            kind: coordination::decode_watch_kind(watch.event)?,
        },
        Wire::CoordinationClose(proto::CoordinationClose {}) => Message::CoordinationClose,
        Wire::Ping(ping) => Message::Ping { token: ping.token },
        Wire::Pong(pong) => Message::Pong { token: pong.token },
        Wire::Refusal(refusal) => {
            Message::Refusal { stream: refusal.stream, reason: routing::decode_refusal(refusal.reason)? }
        }
        Wire::Drain(proto::Drain {}) => Message::Drain,
        Wire::Drained(drained) => Message::Drained(operating::decode_drained(&drained)?),
        Wire::StatusRequest(request) => Message::StatusRequest { token: request.token },
        Wire::BrokerStatus(status) => Message::BrokerStatus(Box::new(status::decode_broker(*status)?)),
        Wire::DiscoveryStatus(status) => {
            Message::DiscoveryStatus(Box::new(status::decode_discovery(status)?))
        }
    })
}
