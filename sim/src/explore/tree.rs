//! As much of a coordination tree as brokers see: the group's state with its version, the live nodes,
//! and which sessions exist. Everything in it is small and canonical: two histories that differ in
//! nothing that a broker could notice leave equal trees.

use bytes::Bytes;
use steadfast_core::coordination::{
    Create, Error, MultiOperation, Operation, Paths, Reply, SessionId, Stat, Zxid,
};
use steadfast_core::group::LiveNode;
use steadfast_core::id::Epoch;
use steadfast_core::message::History;
use steadfast_core::wire;

/// Whatever version there is.
pub const ANY: i32 = -1;

/// Where the group stands.
pub const ROOT: &str = "/explore";

/// A broker's live node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Live {
    path: String,
    data: Bytes,
    /// Number of the registration: all that its order among transactions can tell.
    czxid: Zxid,
    owner: SessionId,
}

/// The tree.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tree {
    state: Bytes,
    version: i32,
    live: Vec<Live>,
    registrations: Zxid,
    sessions: Vec<SessionId>,
    /// The session opened last.
    opened: SessionId,
}

impl Tree {
    /// The group exists; nobody is registered.
    pub const fn new(state: Bytes) -> Self {
        Self { state, version: 0, live: Vec::new(), registrations: 0, sessions: Vec::new(), opened: 0 }
    }

    /// The path of the group's state.
    pub fn path() -> String {
        Paths::new(ROOT.to_owned()).state(0)
    }

    /// The group's state.
    pub const fn state(&self) -> &Bytes {
        &self.state
    }

    /// Number of writes of the group's state.
    pub const fn version(&self) -> i32 {
        self.version
    }

    /// Whether the session exists.
    pub fn has_session(&self, session: SessionId) -> bool {
        self.sessions.contains(&session)
    }

    /// Begins a session.
    pub fn open(&mut self) -> SessionId {
        self.opened += 1;
        self.sessions.push(self.opened);
        self.opened
    }

    /// Ends a session; its live node goes with it.
    pub fn close(&mut self, session: SessionId) {
        self.sessions.retain(|other| *other != session);
        self.live.retain(|live| live.owner != session);
    }

    /// The paths of the live nodes.
    pub fn live(&self) -> impl Iterator<Item = &str> {
        self.live.iter().map(|live| live.path.as_str())
    }

    /// What a client wants to know: which history, in which epoch, and the primary, if it is live.
    pub fn primary(&self) -> Option<(History, Epoch, Option<LiveNode>)> {
        let state = wire::decode_group_state(&self.state).ok()?;
        let mut live = self.live.iter().filter_map(|live| wire::decode_live_node(&live.data).ok());
        Some((state.history, state.epoch, live.find(|live| Some(&live.id) == state.primary.as_ref())))
    }

    /// A conditional write of the group's state.
    pub fn write(&mut self, session: SessionId, data: &Bytes, version: i32) -> Result<Reply, Error> {
        if !self.has_session(session) {
            return Err(Error::SessionExpired);
        }
        if version != ANY && self.version != version {
            return Err(Error::BadVersion);
        }
        self.state = data.clone();
        self.version += 1;
        Ok(Reply::Set(Stat { version: self.version, ..Stat::default() }))
    }

    /// Every other operation of a broker.
    pub fn run(&mut self, session: SessionId, operation: &Operation) -> Result<Reply, Error> {
        if !self.has_session(session) {
            return Err(Error::SessionExpired);
        }
        match operation {
            Operation::Create(create) => self.create(session, create),
            Operation::Get { path, .. } => self.get(path),
            Operation::Children { .. } => {
                let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
                Ok(Reply::Children(self.live().map(name).collect()))
            }
            Operation::Multi(operations) => {
                let replies = operations.iter().map(|operation| match operation {
                    MultiOperation::Create(create) => self.create(session, create),
                    MultiOperation::Delete(delete) => Ok(self.delete(&delete.path)),
                    other => unreachable!("brokers do not ask for {other:?}"),
                });
                Ok(Reply::Multi(replies.collect::<Result<_, _>>()?))
            }
            Operation::Delete(delete) => Ok(self.delete(&delete.path)),
            Operation::Sync { .. } | Operation::Watch { .. } => Ok(Reply::Done),
            other => unreachable!("brokers do not ask for {other:?}"),
        }
    }

    fn get(&self, path: &str) -> Result<Reply, Error> {
        if path == Self::path() {
            let stat = Stat { version: self.version, ..Stat::default() };
            return Ok(Reply::Data { data: self.state.clone(), stat });
        }
        let live = self.live.iter().find(|live| live.path == path).ok_or(Error::NoNode)?;
        let stat = Stat { czxid: live.czxid, ephemeral_owner: live.owner, ..Stat::default() };
        Ok(Reply::Data { data: live.data.clone(), stat })
    }

    fn delete(&mut self, path: &str) -> Reply {
        self.live.retain(|live| live.path != path);
        Reply::Done
    }

    fn create(&mut self, session: SessionId, create: &Create) -> Result<Reply, Error> {
        let parents = Paths::new(ROOT.to_owned()).live(0);
        // Everything above the live nodes is there.
        if parents.starts_with(&create.path) || self.live().any(|path| path == create.path) {
            return Err(Error::NodeExists);
        }
        self.registrations += 1;
        let (path, data) = (create.path.clone(), create.data.clone());
        self.live.push(Live { path, data, czxid: self.registrations, owner: session });
        self.live.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Reply::Created { path: create.path.clone(), stat: None })
    }
}
