//! The data of nodes in the coordination tree.

use super::fields::{at_most, decode_history, decode_id, decode_member, encode_id, ensure, number, text};
use crate::group::{GroupState, LiveNode, PrimaryId};
use crate::id::{Address, Incarnation, Member, Nonce};
use crate::trace::Rejection;
use alloc::collections::BTreeSet;
use alloc::string::ToString;
use alloc::vec::Vec;
use bytes::Bytes;
use prost::Message as _;
use steadfast_proto as proto;
use steadfast_proto::limits::MAX_NODE_DATA_LEN;

/// Encodes the data of a group's state node.
pub fn encode_group_state(state: &GroupState) -> Bytes {
    group_state(state).encode_to_vec().into()
}

pub(super) fn group_state(state: &GroupState) -> proto::GroupState {
    let member = |member: &Member| proto::MemberId {
        node: member.node.to_string(),
        generation: encode_id(member.generation.0),
    };
    proto::GroupState {
        group_id: encode_id(state.history.group_id.0),
        lineage: state.history.lineage,
        epoch: state.epoch,
        config: state.config,
        primary: state.primary.as_ref().map(|primary| proto::PrimaryId {
            node: primary.member.node.to_string(),
            generation: encode_id(primary.member.generation.0),
            incarnation: encode_id(primary.incarnation.0),
        }),
        in_sync: state.in_sync.iter().map(member).collect(),
        min_in_sync: state.min_in_sync,
        nonce: encode_id(state.nonce.0),
        lost_epoch: state.lost_epoch,
    }
}

/// Decodes and checks the data of a group's state node.
///
/// # Errors
/// With the first check that fails.
pub fn decode_group_state(data: &[u8]) -> Result<GroupState, Rejection> {
    at_most(data.len(), MAX_NODE_DATA_LEN)?;
    check_group_state(proto::GroupState::decode(data).map_err(|_| Rejection::Malformed)?)
}

pub(super) fn check_group_state(state: proto::GroupState) -> Result<GroupState, Rejection> {
    let primary =
        state.primary.map(|primary| decode_primary(&primary.node, primary.generation, primary.incarnation));
    let decode = |member: proto::MemberId| decode_member(&member.node, member.generation);
    let in_sync = state.in_sync.into_iter().map(decode).collect::<Result<Vec<Member>, _>>()?;
    // Acknowledgements are counted by member: a member named twice would count twice (R8, R9).
    ensure(in_sync.iter().collect::<BTreeSet<_>>().len() == in_sync.len())?;
    Ok(GroupState {
        history: decode_history(state.group_id, state.lineage)?,
        epoch: number(state.epoch)?,
        config: number(state.config)?,
        primary: primary.transpose()?,
        in_sync,
        min_in_sync: state.min_in_sync,
        nonce: Nonce(decode_id(state.nonce)?),
        lost_epoch: number(state.lost_epoch)?,
    })
}

fn decode_primary(
    node: &str,
    generation: Option<proto::Uuid>,
    incarnation: Option<proto::Uuid>,
) -> Result<PrimaryId, Rejection> {
    Ok(PrimaryId {
        member: decode_member(node, generation)?,
        incarnation: Incarnation(decode_id(incarnation)?),
    })
}

/// Encodes the data of a broker's live node.
pub fn encode_live_node(live: &LiveNode) -> Bytes {
    let live = proto::LiveNode {
        node: live.id.member.node.to_string(),
        generation: encode_id(live.id.member.generation.0),
        incarnation: encode_id(live.id.incarnation.0),
        address: live.address.to_string(),
    };
    live.encode_to_vec().into()
}

/// Decodes and checks the data of a broker's live node.
///
/// # Errors
/// With the first check that fails.
pub fn decode_live_node(data: &[u8]) -> Result<LiveNode, Rejection> {
    at_most(data.len(), MAX_NODE_DATA_LEN)?;
    let live = proto::LiveNode::decode(data).map_err(|_| Rejection::Malformed)?;
    Ok(LiveNode {
        id: decode_primary(&live.node, live.generation, live.incarnation)?,
        address: text(Address::new(&live.address))?,
    })
}
