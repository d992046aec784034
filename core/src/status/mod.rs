//! What a broker or a discovery replica says of itself to whoever asks: a picture of one moment, for
//! operators and their tools. No node decides anything by it.
//!
//! A request gets exactly one frame back, on the link that it came on, and the frame is bounded: lists
//! of brokers are cut at [`MAX_STATUS_BROKERS`], with the number of those left out. [`Survey`] puts many
//! answers together and judges them.

mod survey;

pub use survey::{Answer, Missing, Silence, Survey};

use crate::group::GroupState;
use crate::id::{Address, BrokerIdentity, Epoch, Group, NodeName, Offset};
use crate::limits::{MAX_ENVELOPE_LEN, MAX_NODE_DATA_LEN, MAX_STATUS_BROKERS};
use crate::message::History;
use crate::time::Duration;
use alloc::vec::Vec;

/// More than the encoding of one broker in a list takes, in bytes: a name, an address, two identities
/// and a few numbers.
const LISTED_BROKER_LEN: usize = 512;
const _: () = assert!(
    MAX_NODE_DATA_LEN + MAX_STATUS_BROKERS * LISTED_BROKER_LEN + 1_024 <= MAX_ENVELOPE_LEN,
    "a group's state and a full list fit in one frame"
);

/// How a broker stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerStatus {
    /// From the request.
    pub token: u64,
    /// Which process answers.
    pub sender: BrokerIdentity,
    /// Where it says that it listens.
    pub address: Address,
    /// Its group.
    pub group: Group,
    /// Whether the coordination service answers it.
    pub connected: bool,
    /// Whether it has been asked to leave.
    pub leaving: bool,
    /// The group's state as it last read it; `None` before the first time.
    pub state: Option<GroupState>,
    /// Its copy of the group's data.
    pub log: LogStatus,
    /// Publishers' sessions that are committed.
    pub sessions: u64,
    /// What it is to its group.
    pub role: RoleStatus,
}

/// A broker's copy of its group's data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogStatus {
    /// Which history; all zero before the group's state was read.
    pub history: History,
    /// First offset held.
    pub start: Offset,
    /// Next offset.
    pub end: Offset,
    /// Everything below is committed, as far as this broker knows.
    pub commit: Offset,
    /// Memory in use, in bytes.
    pub bytes: u64,
    /// Memory that may be used, in bytes.
    pub limit: u64,
}

/// What a broker is to its group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoleStatus {
    /// It follows, or waits for somebody to follow.
    Backup {
        /// The epoch that it follows.
        epoch: Epoch,
        /// Whom it follows.
        primary: Option<NodeName>,
        /// R7: end of what it has verified in that epoch.
        verified: Offset,
    },
    /// It leads.
    Primary(PrimaryStatus),
}

/// What a primary knows in its epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrimaryStatus {
    /// Its epoch.
    pub epoch: Epoch,
    /// Whether the epoch's first record is committed, so that clients are served (R4).
    pub serving: bool,
    /// Whether it is cut off and sends clients away (R20).
    pub silent: bool,
    /// Subscribers' streams.
    pub streams: u64,
    /// The brokers that have attached in this epoch.
    pub followers: Vec<FollowerStatus>,
    /// How many more there are.
    pub omitted: u32,
}

/// A broker that follows, as its primary sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FollowerStatus {
    /// Which process.
    pub identity: BrokerIdentity,
    /// Whether it is connected.
    pub attached: bool,
    /// End of what it has verified in this epoch; `None` before its first acknowledgement.
    pub matched: Option<Offset>,
    /// How long ago it was heard.
    pub heard: Duration,
}

/// How a discovery replica stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiscoveryStatus {
    /// From the request.
    pub token: u64,
    /// The replica's name in the election.
    pub replica: u128,
    /// Where it stands in the election.
    pub standing: Standing,
    /// Whether the coordination service answers it.
    pub connected: bool,
    /// How old its view is: zero while connected.
    pub age: Duration,
    /// The groups that it has read; empty before its first read.
    pub groups: Vec<GroupStatus>,
}

/// Where a discovery replica stands in the election of their leader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// Not known yet, or not known any more.
    #[default]
    Undecided,
    /// Another replica stands before it.
    Follows,
    /// It leads, in this epoch of discovery.
    Leads(i64),
}

/// A group as a discovery replica sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupStatus {
    /// Which group.
    pub group: Group,
    /// Its state; `None` while the group does not exist.
    pub state: Option<GroupState>,
    /// The brokers that are registered: every process that has a live node.
    pub brokers: Vec<BrokerAt>,
    /// How many more there are.
    pub omitted: u32,
}

/// A broker and where it listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerAt {
    /// Which process.
    pub identity: BrokerIdentity,
    /// Where it listens.
    pub address: Address,
}

/// As much of a list as an answer holds, and how many are left out.
pub(crate) fn cut<T>(items: impl ExactSizeIterator<Item = T>) -> (Vec<T>, u32) {
    let omitted = items.len().saturating_sub(MAX_STATUS_BROKERS);
    (items.take(MAX_STATUS_BROKERS).collect(), u32::try_from(omitted).unwrap_or(u32::MAX))
}
