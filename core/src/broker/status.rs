//! How a broker stands, for whoever asks.

use super::primary::Primary;
use super::{Broker, Role};
use crate::link::LinkId;
use crate::message::Message;
use crate::status::{self, BrokerStatus, FollowerStatus, LogStatus, PrimaryStatus, RoleStatus};
use crate::time::Instant;
use alloc::boxed::Box;

impl Broker {
    /// A primary that is silent (R20) answers too: this serves operators, who look for exactly that.
    pub(super) fn handle_status_request(&mut self, now: Instant, link: LinkId, token: u64) {
        let status = Box::new(self.status(now, token));
        self.send(link, &Message::BrokerStatus(status));
    }

    /// How it stands.
    pub fn status(&self, now: Instant, token: u64) -> BrokerStatus {
        let replica = &self.replica;
        BrokerStatus {
            token,
            sender: self.identity(),
            address: self.address.clone(),
            group: self.group,
            connected: self.registry.session().is_some(),
            leaving: self.shutdown.is_some(),
            state: self.registry.view().state.as_ref().map(|(state, _)| (**state).clone()),
            log: LogStatus {
                history: replica.history(),
                start: replica.log().start(),
                end: replica.log().end(),
                commit: replica.commit(),
                bytes: replica.log().bytes(),
                limit: self.config.log_bytes,
            },
            sessions: replica.sessions().base().len() as u64,
            role: match &self.role {
                Role::Primary(primary) => RoleStatus::Primary(primary_status(now, primary)),
                Role::Backup(backup) => RoleStatus::Backup {
                    epoch: backup.epoch(),
                    primary: backup.primary().map(|primary| primary.member.node.clone()),
                    verified: backup.verified(),
                },
                // Never asked: it takes no input any more.
                Role::Stopped => RoleStatus::Backup { epoch: 0, primary: None, verified: 0 },
            },
        }
    }
}

fn primary_status(now: Instant, primary: &Primary) -> PrimaryStatus {
    let followers = primary.followers.iter().map(|(_, follower)| FollowerStatus {
        identity: follower.identity().clone(),
        attached: follower.is_attached(),
        matched: follower.matched(),
        heard: now - follower.heard(),
    });
    let (followers, omitted) = status::cut(followers);
    PrimaryStatus {
        epoch: primary.epoch(),
        serving: primary.serving,
        silent: primary.silent,
        streams: primary.delivery.streams() as u64,
        followers,
        omitted,
    }
}
