//! How nodes stand, for whoever asks.

use super::fields::{
    at_most, decode_history, decode_id, decode_sender, encode_id, encode_millis, encode_sender, ensure,
    number, positive, required, text,
};
use super::tree_data::{check_group_state, group_state};
use crate::group::GroupState;
use crate::id::{Address, NodeName};
use crate::limits::{MAX_NODE_DATA_LEN, MAX_STATUS_BROKERS, MAX_STATUS_GROUPS};
use crate::status::{
    BrokerAt, BrokerStatus, DiscoveryStatus, FollowerStatus, GroupStatus, LogStatus, PrimaryStatus,
    RoleStatus, Standing,
};
use crate::time::Duration;
use crate::trace::Rejection;
use alloc::string::ToString;
use alloc::vec::Vec;
use prost::Message as _;
use steadfast_proto as proto;
use steadfast_proto::broker_status::Role;

pub(super) fn encode_broker(status: &BrokerStatus) -> proto::BrokerStatus {
    proto::BrokerStatus {
        token: status.token,
        sender: encode_sender(&status.sender),
        address: status.address.to_string(),
        group: status.group,
        connected: status.connected,
        leaving: status.leaving,
        state: status.state.as_ref().map(group_state),
        group_id: encode_id(status.log.history.group_id.0),
        lineage: status.log.history.lineage,
        log_start: status.log.start,
        log_end: status.log.end,
        commit: status.log.commit,
        log_bytes: status.log.bytes,
        log_limit: status.log.limit,
        sessions: status.sessions,
        role: Some(encode_role(&status.role)),
    }
}

pub(super) fn decode_broker(status: proto::BrokerStatus) -> Result<BrokerStatus, Rejection> {
    let log = LogStatus {
        history: decode_history(status.group_id, status.lineage)?,
        start: number(status.log_start)?,
        end: number(status.log_end)?,
        commit: number(status.commit)?,
        bytes: status.log_bytes,
        limit: status.log_limit,
    };
    ensure(log.start <= log.end && log.commit <= log.end)?;
    Ok(BrokerStatus {
        token: status.token,
        sender: decode_sender(status.sender)?,
        address: text(Address::new(&status.address))?,
        group: status.group,
        connected: status.connected,
        leaving: status.leaving,
        state: decode_state(status.state)?,
        log,
        sessions: status.sessions,
        role: decode_role(required(status.role)?)?,
    })
}

fn encode_role(role: &RoleStatus) -> Role {
    match role {
        RoleStatus::Backup { epoch, primary, verified } => Role::Backup(proto::BackupStatus {
            epoch: *epoch,
            primary: primary.as_ref().map(NodeName::to_string).unwrap_or_default(),
            verified: *verified,
        }),
        RoleStatus::Primary(primary) => Role::Primary(proto::PrimaryStatus {
            epoch: primary.epoch,
            serving: primary.serving,
            silent: primary.silent,
            streams: primary.streams,
            followers: primary.followers.iter().map(encode_follower).collect(),
            omitted: primary.omitted,
        }),
    }
}

fn decode_role(role: Role) -> Result<RoleStatus, Rejection> {
    Ok(match role {
        Role::Backup(backup) => {
            let primary = match backup.primary.as_str() {
                "" => None,
                name => Some(text(NodeName::new(name))?),
            };
            RoleStatus::Backup { epoch: number(backup.epoch)?, primary, verified: number(backup.verified)? }
        }
        Role::Primary(primary) => {
            at_most(primary.followers.len(), MAX_STATUS_BROKERS)?;
            RoleStatus::Primary(PrimaryStatus {
                epoch: positive(primary.epoch)?,
                serving: primary.serving,
                silent: primary.silent,
                streams: primary.streams,
                followers: primary.followers.into_iter().map(decode_follower).collect::<Result<_, _>>()?,
                omitted: primary.omitted,
            })
        }
    })
}

fn encode_follower(follower: &FollowerStatus) -> proto::FollowerStatus {
    proto::FollowerStatus {
        follower: encode_sender(&follower.identity),
        attached: follower.attached,
        r#match: follower.matched,
        heard_ms: encode_millis(follower.heard),
    }
}

fn decode_follower(follower: proto::FollowerStatus) -> Result<FollowerStatus, Rejection> {
    Ok(FollowerStatus {
        identity: decode_sender(follower.follower)?,
        attached: follower.attached,
        matched: follower.r#match.map(number).transpose()?,
        heard: Duration::from_millis(follower.heard_ms),
    })
}

pub(super) fn encode_discovery(status: &DiscoveryStatus) -> proto::DiscoveryStatus {
    let (standing, leads_epoch) = match status.standing {
        Standing::Undecided => (proto::DiscoveryStanding::Undecided, 0),
        Standing::Follows => (proto::DiscoveryStanding::Follows, 0),
        Standing::Leads(epoch) => (proto::DiscoveryStanding::Leads, epoch),
    };
    proto::DiscoveryStatus {
        token: status.token,
        replica: encode_id(status.replica),
        standing: standing as i32,
        leads_epoch,
        connected: status.connected,
        age_ms: encode_millis(status.age),
        groups: status.groups.iter().map(encode_group).collect(),
    }
}

pub(super) fn decode_discovery(status: proto::DiscoveryStatus) -> Result<DiscoveryStatus, Rejection> {
    at_most(status.groups.len(), MAX_STATUS_GROUPS)?;
    let standing = match proto::DiscoveryStanding::try_from(status.standing) {
        Ok(proto::DiscoveryStanding::Undecided) => Standing::Undecided,
        Ok(proto::DiscoveryStanding::Follows) => Standing::Follows,
        Ok(proto::DiscoveryStanding::Leads) => Standing::Leads(status.leads_epoch),
        Err(_) => return Err(Rejection::Malformed),
    };
    Ok(DiscoveryStatus {
        token: status.token,
        replica: decode_id(status.replica)?,
        standing,
        connected: status.connected,
        age: Duration::from_millis(status.age_ms),
        groups: status.groups.into_iter().map(decode_group).collect::<Result<_, _>>()?,
    })
}

fn encode_group(group: &GroupStatus) -> proto::GroupStatus {
    let broker = |at: &BrokerAt| proto::BrokerAt {
        broker: encode_sender(&at.identity),
        address: at.address.to_string(),
    };
    proto::GroupStatus {
        group: group.group,
        state: group.state.as_ref().map(group_state),
        brokers: group.brokers.iter().map(broker).collect(),
        omitted: group.omitted,
    }
}

fn decode_group(group: proto::GroupStatus) -> Result<GroupStatus, Rejection> {
    at_most(group.brokers.len(), MAX_STATUS_BROKERS)?;
    let broker = |at: proto::BrokerAt| {
        Ok(BrokerAt { identity: decode_sender(at.broker)?, address: text(Address::new(&at.address))? })
    };
    Ok(GroupStatus {
        group: group.group,
        state: decode_state(group.state)?,
        brokers: group.brokers.into_iter().map(broker).collect::<Result<Vec<_>, _>>()?,
        omitted: group.omitted,
    })
}

/// As large as a node of the tree at the most: that is where it was read.
fn decode_state(state: Option<proto::GroupState>) -> Result<Option<GroupState>, Rejection> {
    let Some(state) = state else { return Ok(None) };
    at_most(state.encoded_len(), MAX_NODE_DATA_LEN)?;
    check_group_state(state).map(Some)
}
