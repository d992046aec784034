//! What a survey shows, as people and programs read it. The keys are an interface.

use serde::Serialize;
use steadfast_core::group::GroupState;
use steadfast_core::id::{Address, Member};
use steadfast_core::status::{
    Answer, BrokerAt, BrokerStatus, DiscoveryStatus, GroupStatus, Missing, PrimaryStatus, RoleStatus,
    Standing, Survey,
};

/// Everything.
#[derive(Debug, Serialize)]
pub struct Report {
    pub healthy: bool,
    pub missing: Vec<String>,
    pub discovery: Vec<Replica>,
    pub groups: Vec<Group>,
}

/// A discovery replica.
#[derive(Debug, Serialize)]
pub struct Replica {
    pub address: String,
    pub answers: bool,
    pub error: Option<String>,
    pub replica: Option<String>,
    pub standing: Option<&'static str>,
    pub epoch: Option<i64>,
    pub connected: Option<bool>,
    pub age_ms: Option<u64>,
}

/// A group, by the newest view of discovery and the answer of its primary.
#[derive(Debug, Serialize)]
pub struct Group {
    pub group: u32,
    pub group_id: Option<String>,
    pub lineage: Option<u64>,
    pub epoch: Option<u64>,
    pub config: Option<u64>,
    pub primary: Option<String>,
    pub in_sync: Vec<String>,
    pub min_in_sync: Option<u32>,
    pub lost_epoch: Option<u64>,
    pub commit: Option<u64>,
    pub log_end: Option<u64>,
    pub sessions: Option<u64>,
    pub streams: Option<u64>,
    pub unlisted: u32,
    pub brokers: Vec<Broker>,
}

/// A broker's process.
#[derive(Debug, Default, Serialize)]
pub struct Broker {
    pub name: String,
    pub address: Option<String>,
    pub process: Option<String>,
    pub answers: bool,
    pub error: Option<String>,
    pub in_sync: bool,
    pub role: Option<&'static str>,
    pub serving: Option<bool>,
    pub silent: Option<bool>,
    pub leaving: Option<bool>,
    pub connected: Option<bool>,
    pub epoch: Option<u64>,
    pub lineage: Option<u64>,
    pub log_start: Option<u64>,
    pub log_end: Option<u64>,
    pub commit: Option<u64>,
    pub log_bytes: Option<u64>,
    pub log_limit: Option<u64>,
    /// How far the primary knows it to be, and how many records that is behind.
    #[serde(rename = "match")]
    pub matched: Option<u64>,
    pub lag: Option<u64>,
}

/// An address as people write it.
pub fn plain(address: &Address) -> String {
    address.as_str().trim_start_matches("tcp://").to_owned()
}

impl Report {
    /// Judged with at least this many brokers in sync.
    pub fn new(survey: &Survey, brokers: usize) -> Self {
        let missing = survey.missing(brokers);
        Self {
            healthy: missing.is_empty(),
            missing: missing.iter().map(Missing::to_string).collect(),
            discovery: survey.discovery.iter().map(|(address, answer)| replica(address, answer)).collect(),
            groups: survey.groups().into_values().map(|status| group(survey, status)).collect(),
        }
    }
}

fn replica(address: &Address, answer: &Answer<DiscoveryStatus>) -> Replica {
    let known = answer.as_ref().ok();
    let standing = known.map(|status| status.standing);
    Replica {
        address: plain(address),
        answers: known.is_some(),
        error: answer.as_ref().err().map(ToString::to_string),
        replica: known.map(|status| format!("{:032x}", status.replica)),
        standing: standing.map(|standing| match standing {
            Standing::Undecided => "undecided",
            Standing::Follows => "follows",
            Standing::Leads(_) => "leads",
        }),
        epoch: standing.and_then(|standing| match standing {
            Standing::Leads(epoch) => Some(epoch),
            Standing::Undecided | Standing::Follows => None,
        }),
        connected: known.map(|status| status.connected),
        age_ms: known.map(|status| u64::try_from(status.age.as_millis()).unwrap_or(u64::MAX)),
    }
}

fn group(survey: &Survey, status: &GroupStatus) -> Group {
    let state = status.state.as_ref();
    let leader = leader(survey, status);
    let names =
        |state: &GroupState| state.in_sync.iter().map(|member| member.node.to_string()).collect::<Vec<_>>();
    let primary = state.and_then(|state| state.primary.as_ref());
    Group {
        group: status.group,
        group_id: state.map(|state| state.history.group_id.to_string()),
        lineage: state.map(|state| state.history.lineage),
        epoch: state.map(|state| state.epoch),
        config: state.map(|state| state.config),
        primary: primary.map(|primary| primary.member.node.to_string()),
        in_sync: state.map(names).unwrap_or_default(),
        min_in_sync: state.map(|state| state.min_in_sync),
        lost_epoch: state.map(|state| state.lost_epoch),
        commit: leader.map(|(leader, _)| leader.log.commit),
        log_end: leader.map(|(leader, _)| leader.log.end),
        sessions: leader.map(|(leader, _)| leader.sessions),
        streams: leader.map(|(_, role)| role.streams),
        unlisted: status.omitted,
        brokers: brokers(survey, status, leader),
    }
}

/// The answer of the process that the group's state names as primary, if it says so itself.
fn leader<'a>(survey: &'a Survey, status: &GroupStatus) -> Option<(&'a BrokerStatus, &'a PrimaryStatus)> {
    let primary = status.state.as_ref()?.primary.as_ref()?;
    let is_primary = |at: &&BrokerAt| {
        at.identity.member == primary.member && at.identity.incarnation == primary.incarnation
    };
    let at = status.brokers.iter().find(is_primary)?;
    let answer = survey.broker(&at.identity)?.as_ref().ok()?;
    match &answer.role {
        RoleStatus::Primary(role) => Some((answer, role)),
        RoleStatus::Backup { .. } => None,
    }
}

/// Everybody who is registered, and whoever counts as in sync without being registered.
fn brokers(
    survey: &Survey,
    status: &GroupStatus,
    leader: Option<(&BrokerStatus, &PrimaryStatus)>,
) -> Vec<Broker> {
    let in_sync: &[Member] = status.state.as_ref().map_or(&[], |state| &state.in_sync);
    let registered = status.brokers.iter().map(|at| {
        let mut broker = match survey.broker(&at.identity) {
            Some(Ok(answer)) => answered(answer),
            Some(Err(silence)) => Broker { error: Some(silence.to_string()), ..Broker::default() },
            None => Broker { error: Some("not asked".into()), ..Broker::default() },
        };
        if !status.is_current(at) {
            broker.error.get_or_insert_default().push_str(", and a later process has its name");
        }
        (broker.matched, broker.lag) = progress(at, leader);
        let in_sync = in_sync.contains(&at.identity.member);
        let process = Some(at.identity.incarnation.to_string());
        let name = at.identity.member.node.to_string();
        Broker { name, address: Some(plain(&at.address)), process, in_sync, ..broker }
    });
    let gone = in_sync.iter().filter(|member| status.brokers.iter().all(|at| at.identity.member != **member));
    let gone = gone.map(|member| Broker {
        name: member.node.to_string(),
        error: Some("not registered: its process is gone".into()),
        in_sync: true,
        ..Broker::default()
    });
    let mut all: Vec<_> = registered.chain(gone).collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

/// How far its primary knows a broker to be, and how far behind that is.
fn progress(at: &BrokerAt, leader: Option<(&BrokerStatus, &PrimaryStatus)>) -> (Option<u64>, Option<u64>) {
    let Some((leader, role)) = leader else { return (None, None) };
    let matched = if leader.sender.incarnation == at.identity.incarnation {
        Some(leader.log.end)
    } else {
        let same = |incarnation| incarnation == at.identity.incarnation;
        let follower = role.followers.iter().find(|follower| same(follower.identity.incarnation));
        follower.and_then(|follower| follower.matched)
    };
    (matched, matched.map(|matched| leader.log.end.saturating_sub(matched)))
}

fn answered(status: &BrokerStatus) -> Broker {
    let (role, epoch, serving, silent) = match &status.role {
        RoleStatus::Primary(role) => ("primary", role.epoch, Some(role.serving), Some(role.silent)),
        RoleStatus::Backup { epoch, .. } => ("backup", *epoch, None, None),
    };
    Broker {
        answers: true,
        role: Some(role),
        serving,
        silent,
        leaving: Some(status.leaving),
        connected: Some(status.connected),
        epoch: Some(epoch),
        lineage: Some(status.log.history.lineage),
        log_start: Some(status.log.start),
        log_end: Some(status.log.end),
        commit: Some(status.log.commit),
        log_bytes: Some(status.log.bytes),
        log_limit: Some(status.log.limit),
        ..Broker::default()
    }
}
