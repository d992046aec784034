//! Checks of single fields, shared by all messages.

use crate::coordination::SessionId;
use crate::id::{
    Address, BrokerIdentity, Endpoint, Generation, GroupId, Incarnation, InvalidText, Member, NodeName, Nonce,
};
use crate::message::{History, SessionCredentials};
use crate::time::Duration;
use crate::trace::Rejection;
use alloc::string::{String, ToString};
use steadfast_proto as proto;
use steadfast_proto::limits::MAX_NUMBER;

/// A submessage that must be there.
pub(super) fn required<T>(field: Option<T>) -> Result<T, Rejection> {
    field.ok_or(Rejection::Malformed)
}

/// A relation between fields that must hold.
pub(super) fn ensure(holds: bool) -> Result<(), Rejection> {
    if holds { Ok(()) } else { Err(Rejection::Malformed) }
}

/// A length or a count that must not exceed its limit.
pub(super) fn at_most(length: usize, limit: usize) -> Result<(), Rejection> {
    if length <= limit { Ok(()) } else { Err(Rejection::TooLarge) }
}

/// A number that others may be added to.
pub(super) fn number(value: u64) -> Result<u64, Rejection> {
    if value <= MAX_NUMBER { Ok(value) } else { Err(Rejection::TooLarge) }
}

/// A number that counts from 1.
pub(super) fn positive(value: u64) -> Result<u64, Rejection> {
    ensure(value != 0)?;
    number(value)
}

/// The number of a stream, which is never 0.
pub(super) fn stream(value: u64) -> Result<u64, Rejection> {
    ensure(value != 0)?;
    Ok(value)
}

/// A name, topic, filter or address.
pub(super) fn text<T>(checked: Result<T, InvalidText>) -> Result<T, Rejection> {
    checked.map_err(|invalid| match invalid {
        InvalidText::TooLong(_) | InvalidText::TooManyTokens(_) => Rejection::TooLarge,
        InvalidText::Empty
        | InvalidText::BadCharacter(_)
        | InvalidText::EmptyToken
        | InvalidText::Wildcard => Rejection::Malformed,
    })
}

/// Text of any kind, up to a length.
pub(super) fn bounded(text: String, limit: usize) -> Result<String, Rejection> {
    at_most(text.len(), limit)?;
    Ok(text)
}

pub(super) const fn encode_id(id: u128) -> Option<proto::Uuid> {
    Some(proto::Uuid { high: (id >> 64) as u64, low: id as u64 })
}

pub(super) fn decode_id(id: Option<proto::Uuid>) -> Result<u128, Rejection> {
    let id = required(id)?;
    Ok(u128::from(id.high) << 64 | u128::from(id.low))
}

pub(super) fn decode_history(group_id: Option<proto::Uuid>, lineage: u64) -> Result<History, Rejection> {
    Ok(History { group_id: GroupId(decode_id(group_id)?), lineage: number(lineage)? })
}

/// In milliseconds, rounded up: a wait is never shortened to nothing.
pub(super) fn encode_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// As [`encode_millis`]; beyond 49 days it stays there.
pub(super) fn encode_millis_u32(duration: Duration) -> u32 {
    u32::try_from(encode_millis(duration)).unwrap_or(u32::MAX)
}

pub(super) fn decode_millis(millis: u32) -> Duration {
    Duration::from_millis(u64::from(millis))
}

pub(super) fn decode_member(node: &str, generation: Option<proto::Uuid>) -> Result<Member, Rejection> {
    Ok(Member { node: text(NodeName::new(node))?, generation: Generation(decode_id(generation)?) })
}

pub(super) fn encode_sender(sender: &BrokerIdentity) -> Option<proto::BrokerIdentity> {
    Some(proto::BrokerIdentity {
        node: sender.member.node.to_string(),
        generation: encode_id(sender.member.generation.0),
        incarnation: encode_id(sender.incarnation.0),
        czxid: sender.czxid,
    })
}

pub(super) fn decode_sender(sender: Option<proto::BrokerIdentity>) -> Result<BrokerIdentity, Rejection> {
    let sender = required(sender)?;
    ensure(sender.czxid >= 0)?;
    Ok(BrokerIdentity {
        member: decode_member(&sender.node, sender.generation)?,
        incarnation: Incarnation(decode_id(sender.incarnation)?),
        czxid: sender.czxid,
    })
}

pub(super) fn encode_endpoint(endpoint: &Endpoint) -> proto::Endpoint {
    proto::Endpoint {
        node: endpoint.node.to_string(),
        incarnation: encode_id(endpoint.incarnation.0),
        address: endpoint.address.to_string(),
    }
}

pub(super) fn decode_endpoint(endpoint: &proto::Endpoint) -> Result<Endpoint, Rejection> {
    Ok(Endpoint {
        node: text(NodeName::new(&endpoint.node))?,
        incarnation: Incarnation(decode_id(endpoint.incarnation)?),
        address: text(Address::new(&endpoint.address))?,
    })
}

/// Session 0 on the wire stands for none.
pub(super) fn decode_credentials(
    session: SessionId,
    password: Option<proto::Uuid>,
) -> Result<Option<SessionCredentials>, Rejection> {
    match session {
        0 => Ok(None),
        id => Ok(Some(SessionCredentials { id, password: Nonce(decode_id(password)?) })),
    }
}
