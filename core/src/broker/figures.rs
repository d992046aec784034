//! A broker's state in numbers, for metrics.

use super::{Broker, Role};
use crate::id::{Epoch, Lineage, NodeName, Offset};
use crate::time::{Duration, Instant};
use alloc::vec::Vec;

/// A broker's state in numbers. What only a primary knows is zero or empty on a backup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Whether it acts as primary.
    pub leads: bool,
    /// Whether its epoch's first record is committed, so that it serves clients.
    pub serving: bool,
    /// The group's epoch, as read.
    pub epoch: Epoch,
    /// The lineage of its log.
    pub lineage: Lineage,
    /// First offset held.
    pub log_start: Offset,
    /// Next offset.
    pub log_end: Offset,
    /// Everything below is committed, as far as it knows.
    pub commit: Offset,
    /// Memory of the log, in bytes.
    pub log_bytes: u64,
    /// How much the log may take, in bytes.
    pub log_limit: u64,
    /// Memory of what is not committed, in bytes.
    pub uncommitted_bytes: u64,
    /// Publishers' sessions.
    pub sessions: usize,
    /// Publishers that are attached.
    pub publishers: usize,
    /// Subscribers' streams.
    pub streams: usize,
    /// Streams that are behind and have no credit left.
    pub slow_streams: usize,
    /// How many records the last stream is behind the commit offset.
    pub stream_lag: u64,
    /// Members in sync, by the group's state as read.
    pub in_sync: usize,
    /// Members that a commit needs.
    pub min_in_sync: u32,
    /// Brokers of the group that are live.
    pub live: usize,
    /// Who follows.
    pub followers: Vec<FollowerFigures>,
}

/// What a primary knows of one follower.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FollowerFigures {
    /// Its node.
    pub node: NodeName,
    /// Whether it is connected.
    pub attached: bool,
    /// Whether it is in sync.
    pub in_sync: bool,
    /// Records that it has not verified.
    pub lag_records: u64,
    /// Their bytes, by the mean weight of a record in the log: counting them would take too long.
    pub lag_bytes: u64,
    /// Body bytes under way to it.
    pub in_flight_bytes: u64,
    /// Since it was last heard.
    pub silence: Duration,
}

impl Broker {
    /// Whether it is a backup that suspects its primary.
    pub fn suspects(&self) -> bool {
        matches!(&self.role, Role::Backup(backup) if backup.suspects())
    }

    /// Whether it is a primary whose epoch has a committed beginning (R4).
    pub const fn serves(&self) -> bool {
        matches!(&self.role, Role::Primary(primary) if primary.serving)
    }

    /// Whether the fate of a change of the group's state that it wants is open (R14).
    pub const fn is_changing(&self) -> bool {
        self.configuration.is_busy()
    }

    /// Its state in numbers, at `now`.
    pub fn figures(&self, now: Instant) -> Figures {
        let view = self.registry.view();
        let state = view.state.as_ref().map(|(state, _)| state);
        let log = self.replica.log();
        let mut figures = Figures {
            leads: self.leads().is_some(),
            epoch: state.map_or(0, |state| state.epoch),
            lineage: self.replica.history().lineage,
            log_start: log.start(),
            log_end: log.end(),
            commit: self.replica.commit(),
            log_bytes: log.bytes(),
            log_limit: self.config.log_bytes,
            uncommitted_bytes: self.replica.uncommitted_bytes(),
            sessions: self.replica.sessions().base().len(),
            in_sync: state.map_or(0, |state| state.in_sync.len()),
            min_in_sync: state.map_or(0, |state| state.min_in_sync),
            live: view.live.len(),
            ..Figures::default()
        };
        if let Role::Primary(primary) = &self.role {
            let (slow_streams, stream_lag) = primary.delivery.slow(figures.commit);
            figures.serving = primary.serving;
            figures.publishers = primary.publishers.len();
            figures.streams = primary.delivery.streams();
            figures.slow_streams = slow_streams;
            figures.stream_lag = stream_lag;
            figures.followers = self.follower_figures(now);
        }
        figures
    }

    fn follower_figures(&self, now: Instant) -> Vec<FollowerFigures> {
        let Role::Primary(primary) = &self.role else { return Vec::new() };
        let log = self.replica.log();
        let state = self.registry.view().state.as_ref().map(|(state, _)| state);
        let held = (log.end() - log.start()).max(1);
        let figures = primary.followers.iter().map(|(member, follower)| {
            let lag = log.end().saturating_sub(follower.matched().unwrap_or(log.start()));
            FollowerFigures {
                node: member.node.clone(),
                attached: follower.is_attached(),
                in_sync: state.is_some_and(|state| state.in_sync.contains(member)),
                lag_records: lag,
                lag_bytes: u64::try_from(u128::from(log.bytes()) * u128::from(lag) / u128::from(held))
                    .unwrap_or(u64::MAX),
                in_flight_bytes: follower.in_flight_bytes(),
                silence: now - follower.heard(),
            }
        });
        figures.collect()
    }
}
