//! Messages between clients and discovery, and refusals.

use super::fields::{
    bounded, decode_endpoint, decode_history, decode_id, decode_millis, encode_endpoint, encode_id,
    encode_millis, encode_millis_u32, ensure, number, positive, required,
};
use crate::id::{Epoch, PublisherId};
use crate::message::{Refusal, Route};
use crate::time::Duration;
use crate::trace::Rejection;
use alloc::string::String;
use steadfast_proto as proto;
use steadfast_proto::limits::MAX_DETAIL_LEN;

pub(super) fn encode_route(route: &Route) -> proto::Route {
    proto::Route {
        group: route.group,
        groups: route.groups,
        group_id: route.history.and_then(|history| encode_id(history.group_id.0)),
        lineage: route.history.map_or(0, |history| history.lineage),
        epoch: route.epoch,
        config: route.config,
        primary: route.primary.as_ref().map(encode_endpoint),
        retry_after_ms: encode_millis_u32(route.retry_after),
        age_ms: encode_millis(route.age),
        fresh: route.fresh,
    }
}

pub(super) fn decode_route(route: &proto::Route) -> Result<Route, Rejection> {
    let history = match route.group_id {
        None => None,
        some => Some(decode_history(some, route.lineage)?),
    };
    Ok(Route {
        group: route.group,
        groups: route.groups,
        history,
        epoch: number(route.epoch)?,
        config: number(route.config)?,
        primary: route.primary.as_ref().map(decode_endpoint).transpose()?,
        retry_after: decode_millis(route.retry_after_ms),
        age: Duration::from_millis(route.age_ms),
        fresh: route.fresh,
    })
}

pub(super) fn encode_refusal(stream: u64, refusal: &Refusal) -> proto::Refusal {
    use proto::refusal::Reason;
    let reason = match refusal {
        Refusal::NotPrimary { primary, epoch } => Reason::NotPrimary(proto::NotPrimary {
            primary: primary.as_ref().map(encode_endpoint),
            epoch: *epoch,
        }),
        Refusal::Electing { retry_after } => {
            Reason::Electing(proto::Electing { retry_after_ms: encode_millis_u32(*retry_after) })
        }
        Refusal::UnknownSession { publisher } => {
            Reason::UnknownSession(proto::UnknownSession { publisher: encode_id(publisher.0) })
        }
        Refusal::Fenced { publisher, incarnation } => {
            Reason::Fenced(proto::Fenced { publisher: encode_id(publisher.0), incarnation: *incarnation })
        }
        Refusal::Gap { publisher, expect } => {
            Reason::Gap(proto::Gap { publisher: encode_id(publisher.0), expect: *expect })
        }
        Refusal::Busy { publisher, expect, retry_after } => Reason::Busy(proto::Busy {
            publisher: encode_id(publisher.0),
            expect: *expect,
            retry_after_ms: encode_millis_u32(*retry_after),
        }),
        Refusal::LineageChanged { history } => Reason::LineageChanged(proto::LineageChanged {
            group_id: encode_id(history.group_id.0),
            lineage: history.lineage,
        }),
        Refusal::Diverged { common } => Reason::Diverged(proto::Diverged { common: *common }),
        Refusal::Invalid { detail } => Reason::Invalid(proto::Invalid { detail: cut(detail) }),
    };
    proto::Refusal { reason: Some(reason), stream }
}

/// As much of the text as a refusal carries.
fn cut(detail: &str) -> String {
    detail[..detail.floor_char_boundary(MAX_DETAIL_LEN)].into()
}

pub(super) fn decode_refusal(reason: Option<proto::refusal::Reason>) -> Result<Refusal, Rejection> {
    use proto::refusal::Reason;
    let publisher = |id| decode_id(id).map(PublisherId);
    Ok(match required(reason)? {
        Reason::NotPrimary(hint) => decode_not_primary(hint.primary.as_ref(), hint.epoch)?,
        Reason::Electing(electing) => {
            Refusal::Electing { retry_after: decode_millis(electing.retry_after_ms) }
        }
        Reason::UnknownSession(unknown) => {
            Refusal::UnknownSession { publisher: publisher(unknown.publisher)? }
        }
        Reason::Fenced(fenced) => Refusal::Fenced {
            publisher: publisher(fenced.publisher)?,
            incarnation: positive(fenced.incarnation)?,
        },
        Reason::Gap(gap) => {
            Refusal::Gap { publisher: publisher(gap.publisher)?, expect: positive(gap.expect)? }
        }
        Reason::Busy(busy) => Refusal::Busy {
            publisher: publisher(busy.publisher)?,
            expect: number(busy.expect)?,
            retry_after: decode_millis(busy.retry_after_ms),
        },
        Reason::LineageChanged(changed) => {
            Refusal::LineageChanged { history: decode_history(changed.group_id, changed.lineage)? }
        }
        Reason::Diverged(diverged) => Refusal::Diverged { common: number(diverged.common)? },
        Reason::Invalid(invalid) => decode_invalid(invalid.detail)?,
    })
}

fn decode_not_primary(primary: Option<&proto::Endpoint>, epoch: Epoch) -> Result<Refusal, Rejection> {
    Ok(Refusal::NotPrimary { primary: primary.map(decode_endpoint).transpose()?, epoch: number(epoch)? })
}

/// The detail goes to a log: it is one line, and nothing in it steers a terminal.
fn decode_invalid(detail: String) -> Result<Refusal, Rejection> {
    let detail = bounded(detail, MAX_DETAIL_LEN)?;
    ensure(!detail.contains(char::is_control))?;
    Ok(Refusal::Invalid { detail })
}
