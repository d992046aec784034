//! Many answers together: what the cluster looks like, and what it lacks.

use super::{BrokerAt, BrokerStatus, DiscoveryStatus, GroupStatus, RoleStatus, Standing};
use crate::group::{GroupState, PrimaryId};
use crate::id::{Address, BrokerIdentity, Group, NodeName};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// The peer's machine says that nobody listens.
    Refused,
    /// The connection could not be made, or was lost.
    Lost,
    /// Nothing came in time.
    Late,
    /// Something else answers there: no node, a node of another kind, or another process.
    Other,
}

impl fmt::Display for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "nobody listens there",
            Self::Lost => "the connection fails",
            Self::Late => "no answer in time",
            Self::Other => "something else answers there",
        })
    }
}

/// What came back, or why nothing did.
pub type Answer<T> = Result<T, Silence>;

/// The answers of discovery replicas, and of the brokers that they name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Of each replica that was asked.
    pub discovery: Vec<(Address, Answer<DiscoveryStatus>)>,
    /// Of each broker in [`Survey::brokers_to_ask`].
    pub brokers: Vec<(BrokerAt, Answer<BrokerStatus>)>,
}

/// What a cluster lacks to be healthy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// No discovery replica answers.
    Discovery,
    /// No discovery replica that answers is connected to the coordination service.
    Coordination,
    /// No discovery replica that answers leads or follows one that does.
    Leader,
    /// The group does not exist yet.
    Group(Group),
    /// The group has no primary.
    Primary(Group),
    /// A registered broker does not answer.
    Answer(NodeName, Silence),
    /// The primary does not serve clients.
    Serving(NodeName),
    /// A broker is not connected to the coordination service.
    Connection(NodeName),
    /// A registered broker is not in sync.
    InSync(NodeName),
    /// A process that is in sync is not registered.
    Registration(NodeName),
    /// Fewer brokers are in sync than were asked for.
    Brokers {
        /// How many are.
        in_sync: usize,
        /// How many there should be.
        wanted: usize,
    },
    /// So many brokers did not fit in an answer, so nothing is known of them.
    Unlisted(u32),
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Discovery => f.write_str("no discovery replica answers"),
            Self::Coordination => f.write_str("discovery does not reach the coordination service"),
            Self::Leader => f.write_str("discovery has no leader"),
            Self::Group(group) => write!(f, "group {group} does not exist: no broker has registered"),
            Self::Primary(group) => write!(f, "group {group} has no primary"),
            Self::Answer(node, silence) => write!(f, "{node} does not answer: {silence}"),
            Self::Serving(node) => write!(f, "the primary {node} does not serve clients"),
            Self::Connection(node) => write!(f, "{node} does not reach the coordination service"),
            Self::InSync(node) => write!(f, "{node} is not in sync"),
            Self::Registration(node) => write!(f, "{node} counts as in sync but its process is gone"),
            Self::Brokers { in_sync, wanted } => write!(f, "{in_sync} of {wanted} brokers are in sync"),
            Self::Unlisted(count) => write!(f, "{count} more brokers do not fit in the answer"),
        }
    }
}

impl Survey {
    /// The groups by the newest view: of a replica that is connected to the coordination service where
    /// there is one, and then of the highest lineage and configuration.
    pub fn groups(&self) -> BTreeMap<Group, &GroupStatus> {
        let mut newest = BTreeMap::new();
        for (_, answer) in &self.discovery {
            let Ok(status) = answer else { continue };
            for group in &status.groups {
                let state = group.state.as_ref();
                let age = (status.connected, state.map(|state| (state.history.lineage, state.config)));
                match newest.get(&group.group) {
                    Some((known, _)) if *known >= age => {}
                    _ => {
                        newest.insert(group.group, (age, group));
                    }
                }
            }
        }
        newest.into_iter().map(|(group, (_, status))| (group, status)).collect()
    }

    /// Every broker that the newest views name.
    pub fn brokers_to_ask(&self) -> Vec<BrokerAt> {
        self.groups().into_values().flat_map(|group| group.brokers.iter().cloned()).collect()
    }

    /// What this process has answered.
    pub fn broker(&self, process: &BrokerIdentity) -> Option<&Answer<BrokerStatus>> {
        let same = |identity: &BrokerIdentity| {
            identity.member == process.member && identity.incarnation == process.incarnation
        };
        self.brokers.iter().find(|(at, _)| same(&at.identity)).map(|(_, answer)| answer)
    }

    /// What the cluster lacks: nothing when a discovery replica answers, discovery has a leader, each
    /// group's primary serves clients, and every registered broker answers and is in sync, `wanted` of
    /// them at least.
    pub fn missing(&self, wanted: usize) -> Vec<Missing> {
        let answers = || self.discovery.iter().filter_map(|(_, answer)| answer.as_ref().ok());
        if answers().next().is_none() {
            return [Missing::Discovery].into();
        }
        if !answers().any(|status| status.connected) {
            return [Missing::Coordination].into();
        }
        let mut missing = Vec::new();
        if !answers().any(|status| status.standing != Standing::Undecided) {
            missing.push(Missing::Leader);
        }
        let groups = self.groups();
        if groups.is_empty() {
            missing.push(Missing::Group(0));
        }
        for group in groups.into_values() {
            self.judge(group, wanted, &mut missing);
        }
        missing
    }

    fn judge(&self, group: &GroupStatus, wanted: usize, missing: &mut Vec<Missing>) {
        let Some(state) = &group.state else { return missing.push(Missing::Group(group.group)) };
        match &state.primary {
            None => missing.push(Missing::Primary(group.group)),
            Some(primary) if !self.serves(group, state, primary) => {
                missing.push(Missing::Serving(primary.member.node.clone()));
            }
            Some(_) => {}
        }
        let live = || group.brokers.iter().filter(|at| group.is_current(at)).map(|at| &at.identity);
        for identity in live() {
            let node = &identity.member.node;
            match self.broker(identity) {
                None => missing.push(Missing::Answer(node.clone(), Silence::Late)),
                Some(Err(silence)) => missing.push(Missing::Answer(node.clone(), *silence)),
                Some(Ok(status)) if !status.connected => missing.push(Missing::Connection(node.clone())),
                Some(Ok(_)) => {}
            }
            if !state.in_sync.contains(&identity.member) {
                missing.push(Missing::InSync(node.clone()));
            }
        }
        let gone = state.in_sync.iter().filter(|member| live().all(|identity| identity.member != **member));
        missing.extend(gone.map(|member| Missing::Registration(member.node.clone())));
        let in_sync = live().filter(|identity| state.in_sync.contains(&identity.member)).count();
        if in_sync < wanted {
            missing.push(Missing::Brokers { in_sync, wanted });
        }
        if group.omitted > 0 {
            missing.push(Missing::Unlisted(group.omitted));
        }
    }

    /// Whether the process that the group's state names says itself that it serves in that epoch.
    fn serves(&self, group: &GroupStatus, state: &GroupState, primary: &PrimaryId) -> bool {
        let named = |at: &&BrokerAt| {
            at.identity.member == primary.member && at.identity.incarnation == primary.incarnation
        };
        let answer = group.brokers.iter().find(named).and_then(|at| self.broker(&at.identity));
        let Some(Ok(status)) = answer else { return false };
        match &status.role {
            RoleStatus::Primary(role) => {
                role.epoch == state.epoch && role.serving && !role.silent && !status.leaving
            }
            RoleStatus::Backup { .. } => false,
        }
    }
}

impl GroupStatus {
    /// R32: whether this is the latest process of its node. An earlier one stays registered until its
    /// session ends.
    pub fn is_current(&self, broker: &BrokerAt) -> bool {
        let of = &broker.identity;
        let later = |at: &BrokerAt| at.identity.member.node == of.member.node && at.identity.czxid > of.czxid;
        !self.brokers.iter().any(later)
    }
}
