//! How a replica stands, for whoever asks.

use super::{Discovery, GROUP};
use crate::coordination::registry::Live;
use crate::id::BrokerIdentity;
use crate::status::{self, BrokerAt, DiscoveryStatus, GroupStatus};
use crate::time::{Duration, Instant};
use alloc::vec::Vec;

impl Discovery {
    /// How it stands. With the address of every registered broker, so that discovery is enough to find
    /// and ask them all.
    pub fn status(&self, now: Instant, token: u64) -> DiscoveryStatus {
        DiscoveryStatus {
            token,
            replica: self.replica,
            standing: self.election.standing(),
            connected: self.registry.session().is_some(),
            age: self.age(now),
            groups: self.group_status().into_iter().collect::<Vec<_>>(),
        }
    }

    /// How old its view is: zero while the coordination service is connected.
    pub(super) fn age(&self, now: Instant) -> Duration {
        self.heard.map_or(Duration::ZERO, |heard| now - heard)
    }

    /// The one group, once it was read.
    fn group_status(&self) -> Option<GroupStatus> {
        (self.registry.round() > 0).then(|| {
            let view = self.registry.view();
            let state = view.state.as_ref().map(|(state, _)| (**state).clone());
            let (brokers, omitted) = status::cut(view.live.values().map(located));
            GroupStatus { group: GROUP, state, brokers, omitted }
        })
    }
}

fn located(live: &Live) -> BrokerAt {
    let identity = BrokerIdentity {
        member: live.node.id.member.clone(),
        incarnation: live.node.id.incarnation,
        czxid: live.czxid,
    };
    BrokerAt { identity, address: live.node.address.clone() }
}
