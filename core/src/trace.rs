//! Trace records: one for every state transition of the control plane. Adapters log them, the
//! simulator's checkers and coverage read them. The data plane has counters instead.

use crate::coordination::SessionState;
use crate::group::Change;
use crate::id::{Endpoint, Epoch, Incarnation, Lineage, Member, NodeName, Offset, PublisherId};
use crate::link::LinkId;
use crate::log::Codec;
use crate::message::{Departure, History};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use serde::{Deserialize, Serialize};

/// One state transition.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Trace {
    /// A frame was dropped.
    Rejected {
        /// Where it came from.
        link: LinkId,
        /// Why.
        reason: Rejection,
    },
    /// The coordination session has changed.
    Session(SessionState),
    /// Data of a node of the coordination tree makes no sense: the node counts as absent.
    BadNode {
        /// Which node.
        path: String,
        /// What is wrong with it.
        reason: Rejection,
    },
    /// The broker's live node is registered in the current session.
    Registered {
        /// Its creation transaction.
        czxid: i64,
    },
    /// The group's state, as read, has changed.
    GroupChanged {
        /// Which log.
        history: History,
        /// The epoch.
        epoch: Epoch,
        /// The configuration number.
        config: u64,
        /// Who is primary.
        primary: Option<NodeName>,
        /// Who is in sync.
        in_sync: Vec<NodeName>,
    },
    /// A backup suspects its primary, or a primary one of its members.
    Suspected {
        /// Whom.
        node: NodeName,
        /// Why.
        cause: Suspicion,
    },
    /// A member should be dropped and stays, for too few would be left (R35): commits wait for it, or for
    /// another broker to take its place.
    Kept {
        /// Who.
        node: NodeName,
        /// Why it should be dropped.
        cause: Suspicion,
    },
    /// A change of the group's state was sent.
    Proposed {
        /// Which change.
        change: Change,
        /// The epoch it would make or keep.
        epoch: Epoch,
        /// The configuration number it would make.
        config: u64,
    },
    /// The fate of the proposed change is known, or known to be unknown.
    Resolved {
        /// Which change.
        change: Change,
        /// Its fate.
        outcome: Outcome,
    },
    /// The broker acts as primary.
    BecamePrimary {
        /// In this epoch.
        epoch: Epoch,
        /// Which begins at this offset.
        start: Offset,
    },
    /// The primary's first record is committed: it serves clients.
    EpochCommitted {
        /// Which epoch.
        epoch: Epoch,
        /// The commit offset.
        commit: Offset,
    },
    /// The broker follows a primary, or waits for one.
    BecameBackup {
        /// The epoch.
        epoch: Epoch,
        /// Of whom, if known.
        primary: Option<NodeName>,
    },
    /// A primary that leaves has stopped taking batches and hands over (R34).
    HandoverBegan {
        /// To whom.
        target: NodeName,
    },
    /// The handover has failed: the primary takes batches again.
    HandoverFailed {
        /// Who has not taken over.
        target: NodeName,
    },
    /// A request to take over was ignored: it is not for this epoch, or not for this broker.
    TakeOverIgnored {
        /// Who asked.
        node: NodeName,
        /// The epoch that was to end.
        epoch: Epoch,
    },
    /// The broker leaves, and stops soon.
    Leaves {
        /// How.
        departure: Departure,
    },
    /// The broker no longer acts as primary.
    SteppedDown {
        /// The epoch that it led.
        epoch: Epoch,
    },
    /// The primary is cut off and says nothing more to anyone (R20).
    FellSilent,
    /// The primary is heard again.
    SpokeAgain,
    /// A backup has attached to the primary.
    FollowerAttached {
        /// Who.
        member: Member,
        /// Where its log parts from the primary's.
        common: Offset,
    },
    /// The log was cut: the suffix conflicts with the primary's log (R6).
    Truncated {
        /// The end now.
        to: Offset,
        /// The end before.
        from: Offset,
    },
    /// The log's front was dropped: a committed entry had said so (R36).
    Trimmed {
        /// The start before.
        from: Offset,
        /// The start now.
        to: Offset,
    },
    /// A follower is too far behind for the log: it is sent a snapshot (R16).
    SnapshotBegun {
        /// Who.
        member: Member,
    },
    /// The primary's log takes more memory than this backup has for it (R16): it stays out until either
    /// changes. Said once for each primary.
    SnapshotRefused {
        /// What the primary's log takes, in bytes.
        bytes: u64,
        /// What this broker has for it, in bytes.
        limit: u64,
    },
    /// A snapshot has taken the log's place.
    Installed {
        /// The log's start.
        start: Offset,
        /// Its end, and the commit offset.
        end: Offset,
    },
    /// The log was dropped: the group began anew.
    Wiped {
        /// The lineage now.
        lineage: Lineage,
    },
    /// The broker has stopped for good: the tree contradicts its log (R25).
    Halted {
        /// Why.
        reason: Halt,
    },
    /// A primary, or the coordination service, refused work at a limit.
    Busy {
        /// Which limit.
        limit: Limit,
    },
    /// Publishers are held back for a follower that could not catch up otherwise, or are no more (R17).
    Throttled {
        /// For whom.
        member: Option<Member>,
    },
    /// A publisher's session was opened or resumed.
    SessionOpened {
        /// Whose.
        publisher: PublisherId,
        /// Its incarnation.
        incarnation: u64,
    },
    /// A publisher should compress and sends as it is: its primary does not allow the codec (R37).
    Uncompressed {
        /// Which.
        codec: Codec,
    },
    /// A primary proposes to forget a publisher's session: nothing was heard of it for long (R29).
    SessionExpired {
        /// Whose.
        publisher: PublisherId,
        /// Its incarnation.
        incarnation: u64,
    },
    /// A subscriber's stream was opened.
    StreamOpened {
        /// On which link.
        link: LinkId,
        /// From which offset.
        from: Offset,
    },
    /// A discovery replica leads.
    DiscoveryLeads {
        /// In which epoch of discovery.
        epoch: i64,
    },
    /// A discovery replica no longer leads.
    DiscoveryFollows,
    /// The leading discovery replica has created a group.
    GroupCreated {
        /// With this log.
        history: History,
    },
    /// A client has a new route.
    Routed {
        /// The lineage.
        lineage: Lineage,
        /// The epoch.
        epoch: Epoch,
        /// Where to.
        primary: Option<Endpoint>,
    },
    /// A client's link to the primary is up.
    Attached {
        /// Which link.
        link: LinkId,
    },
    /// A client has lost the primary or has given it up.
    Detached {
        /// Which link.
        link: LinkId,
        /// Why.
        cause: Detachment,
    },
    /// An older or another process of a node was heard and ignored (R32).
    StaleProcess {
        /// Which node.
        node: NodeName,
        /// Which process.
        incarnation: Incarnation,
    },
}

/// Why a frame was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rejection {
    /// Not a frame of this protocol, or truncated.
    Malformed,
    /// Of another version.
    Version,
    /// Over a limit.
    TooLarge,
    /// A body does not match its checksum.
    Checksum,
    /// A message that this node has no use for.
    Unexpected,
    /// Of another group, lineage or epoch.
    WrongHistory,
}

/// Why a process is suspected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Suspicion {
    /// Nothing was heard for too long.
    Silence,
    /// Its address refused a connection twice, with no frame between (R32).
    Refused,
    /// Its live node is gone.
    NotLive,
    /// A later process of the same node was heard (R32).
    Replaced,
    /// It leaves and has asked this backup to take over (R34).
    Leaving,
}

/// What became of a proposed change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// It holds.
    Applied,
    /// Another write came first.
    Superseded,
    /// It may have been applied, or may be later: everything it could mean is respected (R14).
    Unknown,
}

/// Why a broker halted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Halt {
    /// The tree's epoch or lineage is below the log's: an old tree was restored (R25).
    TreeWentBack,
    /// The tree holds another group under the same name (R26).
    OtherGroup,
    /// The primary's log contradicts what this broker knows to be committed (R6).
    CommittedConflict,
}

/// A limit of a primary or of the coordination service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Limit {
    /// The log is full.
    LogBytes,
    /// Too much waits for in-sync members.
    UncommittedBytes,
    /// A follower is catching up (R17).
    Learner,
    /// Too many sessions.
    Sessions,
    /// Too many streams.
    Streams,
    /// Too many reads of the head.
    HeadReads,
}

/// Why a client left a primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Detachment {
    /// The link was lost or refused.
    Lost,
    /// Nothing was heard for too long.
    Silence,
    /// There is a newer route.
    Rerouted,
    /// The broker refused.
    Refused,
}

/// As [`fmt::Debug`]: a trace line is for people and golden files alike.
impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
