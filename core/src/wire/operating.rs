//! Messages that move the primary's role on purpose, and those of operators.

use super::fields::{decode_history, decode_sender, encode_id, encode_sender, ensure, positive, text};
use crate::id::NodeName;
use crate::message::{Departure, TakeOver};
use crate::trace::Rejection;
use alloc::string::{String, ToString};
use steadfast_proto as proto;

pub(super) fn encode_take_over(take_over: &TakeOver) -> proto::TakeOver {
    proto::TakeOver {
        sender: encode_sender(&take_over.sender),
        group_id: encode_id(take_over.history.group_id.0),
        lineage: take_over.history.lineage,
        epoch: take_over.epoch,
    }
}

pub(super) fn decode_take_over(take_over: proto::TakeOver) -> Result<TakeOver, Rejection> {
    Ok(TakeOver {
        sender: decode_sender(take_over.sender)?,
        history: decode_history(take_over.group_id, take_over.lineage)?,
        epoch: positive(take_over.epoch)?,
    })
}

pub(super) fn encode_drained(departure: &Departure) -> proto::Drained {
    let (departure, successor) = match departure {
        Departure::Begun => (proto::Departure::Begun, String::new()),
        Departure::HandedOver { successor } => (proto::Departure::HandedOver, successor.to_string()),
        Departure::Left => (proto::Departure::Left, String::new()),
        Departure::GaveUp => (proto::Departure::GaveUp, String::new()),
        Departure::TimedOut => (proto::Departure::TimedOut, String::new()),
    };
    proto::Drained { departure: departure.into(), successor }
}

pub(super) fn decode_drained(drained: &proto::Drained) -> Result<Departure, Rejection> {
    let departure = proto::Departure::try_from(drained.departure).map_err(|_| Rejection::Malformed)?;
    if departure == proto::Departure::HandedOver {
        return Ok(Departure::HandedOver { successor: text(NodeName::new(&drained.successor))? });
    }
    ensure(drained.successor.is_empty())?;
    match departure {
        proto::Departure::Begun => Ok(Departure::Begun),
        proto::Departure::Left => Ok(Departure::Left),
        proto::Departure::GaveUp => Ok(Departure::GaveUp),
        proto::Departure::TimedOut => Ok(Departure::TimedOut),
        proto::Departure::Unspecified | proto::Departure::HandedOver => Err(Rejection::Malformed),
    }
}
