//! What the nodes say to each other: checked types. [`crate::wire`] turns them into frames and back;
//! a message that exists has passed every check that needs no state.

use crate::broker::sessions::Session;
use crate::broker::topics::TopicHead;
use crate::compression::Codecs;
use crate::coordination::{CallId, Error, Operation, Reply, SessionId, WatchKind};
use crate::filter::{Filter, Topic};
use crate::id::{
    BrokerIdentity, Endpoint, Epoch, Group, GroupId, Lineage, NodeName, Nonce, Offset, PublisherId, Sequence,
};
use crate::log::{Batch, Entry, EpochEnd};
use crate::status::{BrokerStatus, DiscoveryStatus};
use crate::time::Duration;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Which history a message is about: the group's log and its lineage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct History {
    /// The group's identity.
    pub group_id: GroupId,
    /// The generation of its data.
    pub lineage: Lineage,
}

/// Everything that crosses a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Backup to primary: send me the log.
    Hello(Hello),
    /// Primary to backup: entries, or a heartbeat.
    Replicate(Replicate),
    /// Backup to primary: verified and durable up to here.
    ReplicateAck(ReplicateAck),
    /// Backup to a primary it does not follow, or whose entries do not fit.
    ReplicateNack(ReplicateNack),
    /// Primary to backup: become primary in my place (R34).
    TakeOver(TakeOver),
    /// Primary to backup: entries of a snapshot.
    SnapshotRecords(Box<SnapshotRecords>),
    /// Primary to backup: what a snapshot's entries do not say.
    SnapshotFold(Box<SnapshotFold>),
    /// Backup to primary: so much of a snapshot has come.
    SnapshotAck(SnapshotAck),
    /// Publisher to primary: begin or resume a session.
    OpenSession(OpenSession),
    /// Primary to publisher: the session is committed.
    SessionOpened(SessionOpened),
    /// Publisher to primary: batches.
    Publish(Publish),
    /// Primary to publisher: committed up to here.
    PublishAck(PublishAck),
    /// Subscriber to primary: send me what matches.
    OpenStream(OpenStream),
    /// Primary to subscriber: the stream starts here.
    StreamOpened(StreamOpened),
    /// Primary to subscriber: entries, or a heartbeat.
    Deliver(Deliver),
    /// Subscriber to primary: you may send up to here.
    Credit {
        /// Which stream.
        stream: u64,
        /// Body bytes in all since the stream was opened.
        limit: u64,
    },
    /// Subscriber to primary: no more.
    CloseStream {
        /// Which stream.
        stream: u64,
    },
    /// Client to primary: how far is the group, now or later (R19)?
    ReadHead {
        /// Comes back; not 0, and no stream of this link.
        token: u64,
    },
    /// Primary to client: this far.
    Head(Head),
    /// Client to discovery: who is primary?
    Lookup(Lookup),
    /// Discovery to client: as far as this replica knows.
    Route(Route),
    /// Client to coordination service: begin or re-attach a session.
    CoordinationOpen {
        /// `None`: a new one.
        session: Option<SessionCredentials>,
        /// How long the session outlives its last sign of life.
        timeout: Duration,
    },
    /// Coordination service to client. `None`: the session has expired or was closed, or there is no
    /// room for a new one.
    CoordinationOpened {
        /// The session and the timeout that holds.
        session: Option<(SessionCredentials, Duration)>,
    },
    /// Client to coordination service: an operation.
    CoordinationCall {
        /// Which call.
        call: CallId,
        /// What to do.
        operation: Operation,
    },
    /// Coordination service to client: its outcome.
    CoordinationReply {
        /// Which call.
        call: CallId,
        /// How it ended.
        result: Result<Reply, Error>,
    },
    /// Coordination service to client: a watch has fired.
    CoordinationWatch {
        /// Which node.
        path: String,
        /// What happened.
        kind: WatchKind,
    },
    /// Client to coordination service: end the session.
    CoordinationClose,
    /// Are you there?
    Ping {
        /// Comes back.
        token: u64,
    },
    /// Yes.
    Pong {
        /// From the ping.
        token: u64,
    },
    /// A request was not carried out.
    Refusal {
        /// The stream that was asked for, or the token of a [`Message::ReadHead`]; 0 where neither was.
        stream: u64,
        /// Why.
        reason: Refusal,
    },
    /// Operator to broker: leave and stop.
    Drain,
    /// Broker to operator: once when it begins to leave, and once when it leaves.
    Drained(Departure),
    /// Anyone to a broker or a discovery replica: how do you stand?
    StatusRequest {
        /// Comes back.
        token: u64,
    },
    /// The answer of a broker.
    BrokerStatus(Box<BrokerStatus>),
    /// The answer of a discovery replica.
    DiscoveryStatus(Box<DiscoveryStatus>),
}

/// Proves that a client owns a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionCredentials {
    /// The session; never 0.
    pub id: SessionId,
    /// Its password.
    pub password: Nonce,
}

/// What a backup's log looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Who asks.
    pub sender: BrokerIdentity,
    /// Which history it holds.
    pub history: History,
    /// Highest epoch it knows.
    pub epoch: Epoch,
    /// Its log.
    pub log: LogSummary,
}

/// Extent and epochs of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogSummary {
    /// First offset held.
    pub start: Offset,
    /// Next offset.
    pub end: Offset,
    /// Ends of its epochs, ascending in both numbers.
    pub epochs: Vec<EpochEnd>,
}

/// Log entries for a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replicate {
    /// The primary.
    pub sender: BrokerIdentity,
    /// Which history.
    pub history: History,
    /// The primary's epoch.
    pub epoch: Epoch,
    /// The entries start here; they are contiguous.
    pub previous_offset: Offset,
    /// Epoch of the record before; 0 at the log's start.
    pub previous_epoch: Epoch,
    /// The primary's commit offset.
    pub commit: Offset,
    /// The entries.
    pub entries: Vec<Entry>,
}

/// A backup's acknowledgement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicateAck {
    /// The backup.
    pub sender: BrokerIdentity,
    /// Which history.
    pub history: History,
    /// The epoch in which the prefix was verified.
    pub epoch: Epoch,
    /// End of the verified, durable prefix.
    pub matched: Offset,
}

/// A backup's refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicateNack {
    /// The backup.
    pub sender: BrokerIdentity,
    /// Which history.
    pub history: History,
    /// Lowest epoch that it accepts.
    pub floor: Epoch,
    /// Its log.
    pub log: LogSummary,
}

/// A primary leaves and asks a backup to become primary at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakeOver {
    /// The primary.
    pub sender: BrokerIdentity,
    /// Which history.
    pub history: History,
    /// The epoch that is to end.
    pub epoch: Epoch,
}

/// How a broker that was asked to leave does so.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Departure {
    /// It has begun.
    Begun,
    /// It was primary, and another broker is primary now (R34).
    HandedOver {
        /// Which one.
        successor: NodeName,
    },
    /// It was not primary, and nothing waits for it.
    Left,
    /// It was the last one in sync, and the group's data is given up (R27a).
    GaveUp,
    /// Its time was over before any of these.
    TimedOut,
}

/// A part of a snapshot, as both kinds of parts and their acknowledgement name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotPart {
    /// Who speaks.
    pub sender: BrokerIdentity,
    /// Which history.
    pub history: History,
    /// The primary's epoch.
    pub epoch: Epoch,
    /// Which snapshot; from 1, ascending within an epoch.
    pub snapshot: u64,
    /// Which part, from 0; of an acknowledgement, how many have come.
    pub part: u64,
}

/// Committed entries for a backup that is too far behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotRecords {
    /// Where it belongs.
    pub part: SnapshotPart,
    /// The entries start here. What earlier parts held counts no more if they ended below.
    pub from: Offset,
    /// Epoch of the record before.
    pub previous_epoch: Epoch,
    /// The entries; none: a heartbeat, which is no part.
    pub entries: Vec<Entry>,
    /// Memory that the primary's log takes now, in bytes.
    pub log_bytes: u64,
}

/// What was folded from the committed log, or some of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotFold {
    /// Where it belongs.
    pub part: SnapshotPart,
    /// The fold's commit offset.
    pub cut: Offset,
    /// Start of the log there.
    pub log_start: Offset,
    /// Publishers' sessions, ascending.
    pub sessions: Vec<(PublisherId, Session)>,
    /// Topics, ascending.
    pub topics: Vec<(Topic, TopicHead)>,
    /// Nothing follows.
    pub last: bool,
}

/// A backup's acknowledgement of parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotAck(pub SnapshotPart);

/// Begins or resumes a publisher's session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenSession {
    /// The history the publisher believes in.
    pub history: History,
    /// Who.
    pub publisher: PublisherId,
    /// The same in every attempt to open this session.
    pub nonce: Nonce,
    /// 0: open; else: resume this incarnation.
    pub incarnation: u64,
}

/// The session is committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionOpened {
    /// Which history.
    pub history: History,
    /// The primary's epoch.
    pub epoch: Epoch,
    /// Whose session.
    pub publisher: PublisherId,
    /// Its incarnation, from 1.
    pub incarnation: u64,
    /// Last committed sequence number; 0 when there is none.
    pub last_sequence: Sequence,
    /// How the publisher may compress.
    pub codecs: Codecs,
}

/// Batches from a publisher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// The history of the session.
    pub history: History,
    /// At least one; in sequence order.
    pub batches: Vec<Batch>,
}

/// Cumulative acknowledgement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishAck {
    /// Which history.
    pub history: History,
    /// The primary's epoch.
    pub epoch: Epoch,
    /// Whose session.
    pub publisher: PublisherId,
    /// Its incarnation.
    pub incarnation: u64,
    /// Everything up to and including this one is committed.
    pub last_sequence: Sequence,
}

/// A place in a group's log: every matching committed record below `offset` has been handled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    /// The generation of the group's data.
    pub lineage: Lineage,
    /// Epoch of the record before `offset`; 0 at the log's start.
    pub epoch: Epoch,
    /// The place.
    pub offset: Offset,
}

/// Where a stream starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the oldest record kept.
    Earliest,
    /// With the next record committed.
    Latest,
    /// Here.
    At(Position),
}

/// Asks for a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenStream {
    /// Chosen by the subscriber, not 0; unique on its link.
    pub stream: u64,
    /// The history the subscriber believes in.
    pub history: History,
    /// At least one.
    pub filters: Vec<Filter>,
    /// Where to start.
    pub start: Start,
    /// Body bytes that may be sent in all.
    pub credit: u64,
}

/// A stream is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamOpened {
    /// Which stream.
    pub stream: u64,
    /// Which history.
    pub history: History,
    /// The primary's epoch.
    pub epoch: Epoch,
    /// Where it starts: at the position asked for, or above it where retention has overtaken it.
    pub start: Position,
}

/// Committed entries for a subscriber.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deliver {
    /// Which stream.
    pub stream: u64,
    /// Which history.
    pub history: History,
    /// The primary's epoch.
    pub epoch: Epoch,
    /// The `upto` of the frame before.
    pub from: Offset,
    /// Every matching record below is in this frame or an earlier one (R30).
    pub upto: Position,
    /// Batches only.
    pub entries: Vec<Entry>,
}

/// How far a group is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// From the request.
    pub token: u64,
    /// Which history.
    pub history: History,
    /// The primary's epoch.
    pub epoch: Epoch,
    /// Everything acknowledged before the request was made lies below.
    pub position: Position,
}

/// Asks a discovery replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// Which group.
    pub group: Group,
    /// Push later changes.
    pub watch: bool,
    /// Answer only from a read made with a sync after this request.
    pub fresh: bool,
}

/// What a discovery replica knows of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Which group.
    pub group: Group,
    /// How many groups the cluster has.
    pub groups: u32,
    /// `None` while the group does not exist.
    pub history: Option<History>,
    /// The group's epoch.
    pub epoch: Epoch,
    /// The group's configuration number.
    pub config: u64,
    /// `None` while there is no primary or its address is unknown.
    pub primary: Option<Endpoint>,
    /// When to ask again, if there is no primary.
    pub retry_after: Duration,
    /// How long ago the replica last heard from the coordination service.
    pub age: Duration,
    /// Answers a [`Lookup`] with `fresh`.
    pub fresh: bool,
}

/// Why a request was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Ask the primary.
    NotPrimary {
        /// Who it is, as far as the sender knows.
        primary: Option<Endpoint>,
        /// In which epoch.
        epoch: Epoch,
    },
    /// The primary's epoch is not committed yet (R4).
    Electing {
        /// When to try again.
        retry_after: Duration,
    },
    /// The session is not known (R29).
    UnknownSession {
        /// Whose.
        publisher: PublisherId,
    },
    /// A newer incarnation of the publisher exists.
    Fenced {
        /// Whose.
        publisher: PublisherId,
        /// The newest incarnation.
        incarnation: u64,
    },
    /// The batch does not continue the sequence.
    Gap {
        /// Whose.
        publisher: PublisherId,
        /// The sequence number that would.
        expect: Sequence,
    },
    /// A limit was reached.
    Busy {
        /// Whose request.
        publisher: PublisherId,
        /// Nothing from this sequence number on was taken.
        expect: Sequence,
        /// When to try again.
        retry_after: Duration,
    },
    /// The group's data is another generation's.
    LineageChanged {
        /// Which history holds now.
        history: History,
    },
    /// The position is not in this log's history.
    Diverged {
        /// End of the shared history.
        common: Offset,
    },
    /// The request makes no sense.
    Invalid {
        /// One line for a log.
        detail: String,
    },
}
