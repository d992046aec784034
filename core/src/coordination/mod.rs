//! Coordination, operation for operation as ZooKeeper offers it: what nodes ask ([`Request`]), what
//! comes back ([`Event`]), and what is built on it: [`registry`] (who is alive, what is the group's
//! state) and [`election`]. [`tree`] is an in-memory ZooKeeper, [`service`] serves it to other
//! processes, [`client`] is the other end.

pub mod client;
pub mod election;
pub mod registry;
pub mod service;
pub mod tree;

use crate::node::Outbox;
use crate::rng::Rng;
use crate::time::Instant;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use core::fmt;
use serde::{Deserialize, Serialize};

/// Number of a call; chosen by the caller, never used twice by one node.
pub type CallId = u64;
/// Transaction id: orders all changes of a tree.
pub type Zxid = i64;
/// Number of a session.
pub type SessionId = u64;

/// What a node asks of its coordination port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// Begin a new session. Given at the start and after each [`SessionState::Expired`].
    OpenSession,
    /// End the session: its ephemeral nodes go at once. Nothing more is answered.
    CloseSession,
    /// Carry out an operation. Calls made while disconnected wait for the connection.
    Call {
        /// Comes back in the reply.
        call: CallId,
        /// What to do.
        operation: Operation,
    },
}

/// One operation. Paths are absolute.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Make a node; its parent must exist.
    Create(Create),
    /// Read data and stat.
    Get {
        /// Which node.
        path: String,
        /// Leave a one-shot watch.
        watch: bool,
    },
    /// Read the stat, if the node exists.
    Exists {
        /// Which node.
        path: String,
        /// Leave a one-shot watch, also on a node that does not exist.
        watch: bool,
    },
    /// List the children's names.
    Children {
        /// Which node.
        path: String,
        /// Leave a one-shot watch.
        watch: bool,
    },
    /// Replace the data.
    Set(Set),
    /// Remove a node without children.
    Delete(Delete),
    /// On a follower, what follows reads nothing older than what the leader had applied at this moment.
    /// The leader answers its own sessions at once, also while it has not applied everything that was
    /// confirmed to others: see [`Operation::barrier`].
    Sync {
        /// Any path.
        path: String,
    },
    /// All or nothing.
    Multi(Vec<MultiOperation>),
    /// Leave a persistent watch. Events while disconnected are lost: read again after reconnecting.
    Watch {
        /// Which node; it need not exist.
        path: String,
        /// Also everything below. A recursive watch sends no [`WatchKind::ChildrenChanged`].
        recursive: bool,
    },
}

impl Operation {
    /// A transaction that changes nothing. It has its place among all others: what its session reads
    /// after it shows every write that was confirmed to anyone before it was sent. That holds whatever it
    /// is answered, also [`MultiError::NoNode`]; only an unknown outcome says nothing. It costs what a
    /// write costs.
    pub fn barrier(path: String) -> Self {
        Self::Multi([MultiOperation::Check(Delete { path, version: None })].into())
    }
}

/// Makes a node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Create {
    /// Where. A sequential node gets ten digits appended.
    pub path: String,
    /// Its data.
    pub data: Bytes,
    /// What kind.
    pub mode: CreateMode,
}

/// Kinds of node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CreateMode {
    /// Stays.
    Persistent,
    /// Goes with its session.
    Ephemeral,
    /// Stays; gets a sequence number.
    PersistentSequential,
    /// Goes with its session; gets a sequence number.
    EphemeralSequential,
}

/// Replaces a node's data.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Set {
    /// Which node.
    pub path: String,
    /// The new data.
    pub data: Bytes,
    /// Only if the node has this version.
    pub version: Option<i32>,
}

/// Removes a node, or (in a multi) checks its version.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Delete {
    /// Which node.
    pub path: String,
    /// Only if the node has this version.
    pub version: Option<i32>,
}

/// One operation of a multi.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum MultiOperation {
    /// Make a node.
    Create(Create),
    /// Replace data.
    Set(Set),
    /// Remove a node.
    Delete(Delete),
    /// Go on only if the node exists and, where given, has this version.
    Check(Delete),
}

/// What the coordination service says.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Event {
    /// The session's state has changed.
    Session(SessionState),
    /// The outcome of a call. Calls of an expired session are answered with [`Error::SessionExpired`]
    /// or [`Error::Unknown`], in any order with the session event.
    Reply {
        /// Which call.
        call: CallId,
        /// How it ended.
        result: Result<Reply, Error>,
    },
    /// Something watched has changed. It says where to look, not what is there now. It comes ahead of
    /// every reply that shows the change, perhaps ahead of older replies too, and may come once for each
    /// watch that has seen the change.
    Watch {
        /// Which node.
        path: String,
        /// What happened.
        kind: WatchKind,
    },
}

/// State of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SessionState {
    /// Connected, for the first time or again.
    Connected(SessionId),
    /// Not connected. The session may live or be over; nothing is known until it connects again.
    Suspended,
    /// Over. Its ephemeral nodes are gone or about to go.
    Expired,
}

/// What an operation returned.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Reply {
    /// A create: the path, with its sequence number.
    Created {
        /// Where the node is.
        path: String,
        /// Its stat; absent where the server does not send it (inside a multi, ZOOKEEPER-4026).
        stat: Option<Stat>,
    },
    /// A get.
    Data {
        /// The data.
        data: Bytes,
        /// The stat.
        stat: Stat,
    },
    /// An exists: absent when there is no such node.
    Stat(Option<Stat>),
    /// The names of the children, in no order.
    Children(Vec<String>),
    /// A set.
    Set(Stat),
    /// A delete, sync, check or watch.
    Done,
    /// A multi: one reply each, in order.
    Multi(Vec<Reply>),
}

/// Why an operation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Error {
    /// There is no such node (or, for a create, no parent).
    NoNode,
    /// The node is there already.
    NodeExists,
    /// The version is another.
    BadVersion,
    /// The node has children.
    NotEmpty,
    /// An ephemeral node can have no children.
    NoChildrenForEphemerals,
    /// A bad path, or data over the limit.
    Invalid,
    /// The session is over. The operation was not carried out.
    SessionExpired,
    /// A multi failed at this operation with this error; nothing was done.
    Multi {
        /// Index of the operation.
        index: u32,
        /// Its error.
        error: MultiError,
    },
    /// The outcome is unknown: it was done, was not, or will be later (R14).
    Unknown,
}

/// Why one operation of a multi failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum MultiError {
    /// There is no such node.
    NoNode,
    /// The node is there already.
    NodeExists,
    /// The version is another.
    BadVersion,
    /// The node has children.
    NotEmpty,
    /// Anything else.
    Other,
}

/// What is known of a node besides its data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Stat {
    /// Transaction that created it.
    pub czxid: Zxid,
    /// Transaction that last changed its data.
    pub mzxid: Zxid,
    /// Transaction that last changed its children.
    pub pzxid: Zxid,
    /// Number of changes of its data. Starts at 0 again when it is deleted and created.
    pub version: i32,
    /// Number of changes of its children.
    pub cversion: i32,
    /// The session that owns it; 0 for a node that stays.
    pub ephemeral_owner: SessionId,
    /// Bytes of data.
    pub data_length: u32,
    /// Number of children.
    pub children: u32,
}

/// What a watch saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum WatchKind {
    /// The node was created.
    Created,
    /// The node was deleted.
    Deleted,
    /// Its data was set.
    DataChanged,
    /// A child was created or deleted.
    ChildrenChanged,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoNode => f.write_str("no such node"),
            Self::NodeExists => f.write_str("the node exists"),
            Self::BadVersion => f.write_str("the version is another"),
            Self::NotEmpty => f.write_str("the node has children"),
            Self::NoChildrenForEphemerals => f.write_str("an ephemeral node can have no children"),
            Self::Invalid => f.write_str("invalid path or data"),
            Self::SessionExpired => f.write_str("the session has expired"),
            Self::Multi { index, error } => write!(f, "operation {index} failed: {error:?}"),
            Self::Unknown => f.write_str("the outcome is unknown"),
        }
    }
}

impl core::error::Error for Error {}

/// Hands out numbers for calls.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct CallIds(CallId);

impl CallIds {
    /// A number that was not used before.
    pub const fn next_call(&mut self) -> CallId {
        self.0 += 1;
        self.0
    }
}

/// What a component of a node needs to act: the time, and the node's shared parts.
#[derive(Debug)]
pub struct Context<'a, E> {
    /// Time of the input being handled.
    pub now: Instant,
    /// The node's random numbers.
    pub rng: &'a mut Rng,
    /// The node's call numbers.
    pub calls: &'a mut CallIds,
    /// The node's outputs.
    pub out: &'a mut Outbox<E>,
}

impl<E> Context<'_, E> {
    /// Sends an operation and returns the call's number.
    pub fn call(&mut self, operation: Operation) -> CallId {
        let call = self.calls.next_call();
        self.out.coordinate(Request::Call { call, operation });
        call
    }
}

/// Where a cluster's nodes stand in the tree.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Paths {
    root: String,
}

impl Paths {
    /// Everything lies under `root` (for example `/steadfast/demo`; no slash at the end).
    pub const fn new(root: String) -> Self {
        Self { root }
    }

    /// The root itself.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// The parent of all groups.
    pub fn groups(&self) -> String {
        alloc::format!("{}/g", self.root)
    }

    /// The parent of one group's nodes.
    pub fn group(&self, group: crate::id::Group) -> String {
        alloc::format!("{}/g/{group}", self.root)
    }

    /// A group's state.
    pub fn state(&self, group: crate::id::Group) -> String {
        alloc::format!("{}/g/{group}/state", self.root)
    }

    /// The parent of a group's live nodes.
    pub fn live(&self, group: crate::id::Group) -> String {
        alloc::format!("{}/g/{group}/live", self.root)
    }

    /// The parent of everything that belongs to discovery.
    pub fn discovery(&self) -> String {
        alloc::format!("{}/disc", self.root)
    }

    /// The parent of the candidates for discovery's leadership.
    pub fn election(&self) -> String {
        alloc::format!("{}/disc/election", self.root)
    }

    /// The epoch of discovery's leadership.
    pub fn discovery_epoch(&self) -> String {
        alloc::format!("{}/disc/epoch", self.root)
    }
}
