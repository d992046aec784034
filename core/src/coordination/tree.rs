//! An in-memory ZooKeeper: sessions, nodes with their stats, multi and watches, as one deterministic
//! value without time. Timers, connections and what clients do about them are its users' business.
//!
//! A replicated ensemble is several trees that are given the same sessions and writes in the same
//! order, each at its own pace; a session's reads and watches go to the tree that it is connected to.
//! (A write that leaves no watch may be applied anywhere; one that fails changes nothing.)
//!
//! Where this tree differs from a ZooKeeper server 3.8: there are no access lists, quotas, containers
//! or times to live and no `/zookeeper`; children are listed in order; a transaction that fails takes
//! no transaction number; and what lies beyond a limit is answered with [`Error::Invalid`].

mod path;
mod watches;
mod write;

pub use path::check;
pub use watches::WatchBook;

use crate::coordination::{Error, Operation, Reply, SessionId, Stat, WatchKind, Zxid};
use crate::limits::{MAX_CHILDREN, MAX_ENVELOPE_LEN};
use crate::rng::Rng;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use bytes::Bytes;
use path::split;
use watches::{Mode, Subject, Tables};
use write::Change;

/// Most bytes in the names of one node's children, counting a few for each one's frame: a reply that
/// lists them fits in an envelope.
const MAX_LISTING_LEN: usize = MAX_ENVELOPE_LEN / 4 * 3;
/// Bytes counted for each child on top of its name.
const LISTING_OVERHEAD: usize = 4;

/// How large a tree may become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most nodes, the root included. Beyond: creates are [`Error::Invalid`].
    pub nodes: usize,
    /// Most bytes of data in all nodes. Beyond: creates and sets are [`Error::Invalid`].
    pub data: usize,
    /// Most sessions. Beyond: [`Tree::open_session`] says no.
    pub sessions: usize,
    /// Most watches of one session, where a persistent one counts twice. Beyond: operations that would
    /// leave one are [`Error::Invalid`].
    pub watches: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { nodes: 65_536, data: 64 << 20, sessions: 1_024, watches: 4_096 }
    }
}

/// A watch has fired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fired {
    /// Whose watch.
    pub session: SessionId,
    /// Which node has changed.
    pub path: String,
    /// How.
    pub kind: WatchKind,
}

#[derive(Clone, Debug, Default)]
struct Znode {
    data: Bytes,
    czxid: Zxid,
    mzxid: Zxid,
    pzxid: Zxid,
    version: i32,
    /// Children created so far, whether or not they still exist: the next sequence number.
    creates: i32,
    owner: SessionId,
    children: BTreeSet<String>,
    /// Bytes in the children's names, with their overhead.
    listing: usize,
}

impl Znode {
    fn stat(&self) -> Stat {
        let children = u32::try_from(self.children.len()).expect("bounded by MAX_CHILDREN");
        Stat {
            czxid: self.czxid,
            mzxid: self.mzxid,
            pzxid: self.pzxid,
            version: self.version,
            // Every create and every delete counts; the deletes are the creates that are not there.
            cversion: self.creates.wrapping_mul(2).wrapping_sub(children.cast_signed()),
            ephemeral_owner: self.owner,
            data_length: u32::try_from(self.data.len()).expect("bounded by MAX_NODE_DATA_LEN"),
            children,
        }
    }

    fn has_room_for(&self, name: &str) -> bool {
        self.children.len() < MAX_CHILDREN && self.listing + name.len() + LISTING_OVERHEAD <= MAX_LISTING_LEN
    }
}

/// The tree. Cloning gives an independent one.
#[derive(Clone, Debug)]
pub struct Tree {
    limits: Limits,
    nodes: BTreeMap<String, Znode>,
    /// The ephemeral nodes of each session.
    sessions: BTreeMap<SessionId, BTreeSet<String>>,
    watches: Tables,
    zxid: Zxid,
    /// Bytes of data in all nodes.
    data_len: usize,
    fired: VecDeque<Fired>,
}

impl Tree {
    /// Nothing but the root, and no session.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            nodes: BTreeMap::from([("/".to_string(), Znode::default())]),
            sessions: BTreeMap::new(),
            watches: Tables::default(),
            zxid: 0,
            data_len: 0,
            fired: VecDeque::new(),
        }
    }

    /// Begins a session with this number, which must not be 0. Says no when it is in use or there are
    /// too many.
    pub fn open_session(&mut self, session: SessionId) -> bool {
        assert_ne!(session, 0, "0 stands for no session");
        if self.sessions.len() >= self.limits.sessions || self.sessions.contains_key(&session) {
            return false;
        }
        self.zxid += 1;
        self.sessions.insert(session, BTreeSet::new());
        true
    }

    /// Ends a session, whether it was closed or has expired: its ephemeral nodes go in one transaction,
    /// so that all are gone before the first event can be read. The events come in an order drawn from
    /// `rng`, as a server promises none. Nothing happens when there is no such session.
    pub fn close_session(&mut self, session: SessionId, rng: &mut Rng) {
        let Some(ephemerals) = self.sessions.get(&session) else { return };
        let mut doomed: Vec<String> = ephemerals.iter().cloned().collect();
        shuffle(&mut doomed, rng);
        self.watches.remove_session(session);
        self.fired.retain(|fired| fired.session != session);
        self.zxid += 1;
        for path in &doomed {
            self.remove(path);
            self.parent_mut(path).pzxid = self.zxid;
        }
        self.sessions.remove(&session);
        for path in doomed {
            self.fire(Change::Deleted(path));
        }
    }

    /// Forgets all watches of a session and the events that it has not read: its connection is gone.
    pub fn detach(&mut self, session: SessionId) {
        self.watches.remove_session(session);
        self.fired.retain(|fired| fired.session != session);
    }

    /// Gives a session that has reconnected its watches again. What has changed after transaction
    /// `since`, the last that the client has seen, fires its one-shot watches at once; only the
    /// difference shows, so a node that was created and deleted in between is missed. What persistent
    /// watches would have seen is lost.
    pub fn rewatch(&mut self, session: SessionId, since: Zxid, book: &WatchBook) {
        if !self.sessions.contains_key(&session) {
            return;
        }
        let place = |path: &String| self.nodes.get(path).map(|node| (node.mzxid, node.pzxid));
        let data = book.data.iter().map(|path| match place(path) {
            None => (Subject::Data, path, Some(WatchKind::Deleted)),
            Some((mzxid, _)) => (Subject::Data, path, (mzxid > since).then_some(WatchKind::DataChanged)),
        });
        let exists = book
            .exists
            .iter()
            .map(|path| (Subject::Data, path, place(path).is_some().then_some(WatchKind::Created)));
        let children = book.children.iter().map(|path| match place(path) {
            None => (Subject::Children, path, Some(WatchKind::Deleted)),
            Some((_, pzxid)) => {
                (Subject::Children, path, (pzxid > since).then_some(WatchKind::ChildrenChanged))
            }
        });
        for (subject, path, kind) in data.chain(exists).chain(children) {
            match kind {
                Some(kind) => self.fired.push_back(Fired { session, path: path.clone(), kind }),
                None => self.watches.add(session, subject, path, Mode::Once),
            }
        }
        for (path, recursive) in &book.persistent {
            self.add_persistent(session, path, *recursive);
        }
    }

    /// Carries out one operation. Read [`Tree::next_fired`] before the reply is passed on: a session
    /// sees an event before any reply that shows the state behind it.
    ///
    /// # Errors
    /// As a ZooKeeper server would answer, and [`Error::Invalid`] at a limit. An operation that fails
    /// has changed nothing and left no watch. Never [`Error::Unknown`].
    pub fn apply(&mut self, session: SessionId, operation: &Operation) -> Result<Reply, Error> {
        if !self.sessions.contains_key(&session) {
            return Err(Error::SessionExpired);
        }
        check(operation)?;
        match operation {
            Operation::Create(create) => self.transact(session, |tree, transaction| {
                let (path, stat) = tree.create(transaction, create)?;
                Ok(Reply::Created { path, stat: Some(stat) })
            }),
            Operation::Set(set) => {
                self.transact(session, |tree, transaction| tree.set(transaction, set).map(Reply::Set))
            }
            Operation::Delete(delete) => self.transact(session, |tree, transaction| {
                tree.delete(transaction, delete).map(|()| Reply::Done)
            }),
            Operation::Multi(operations) => {
                self.transact(session, |tree, transaction| tree.multi(transaction, operations))
            }
            Operation::Sync { .. } => Ok(Reply::Done),
            Operation::Get { path, watch } => {
                let node = self.nodes.get(path).ok_or(Error::NoNode)?;
                let reply = Reply::Data { data: node.data.clone(), stat: node.stat() };
                self.leave_one_shot(session, *watch, Subject::Data, path)?;
                Ok(reply)
            }
            Operation::Exists { path, watch } => {
                self.leave_one_shot(session, *watch, Subject::Data, path)?;
                Ok(Reply::Stat(self.nodes.get(path).map(Znode::stat)))
            }
            Operation::Children { path, watch } => {
                let node = self.nodes.get(path).ok_or(Error::NoNode)?;
                let reply = Reply::Children(node.children.iter().cloned().collect());
                self.leave_one_shot(session, *watch, Subject::Children, path)?;
                Ok(reply)
            }
            Operation::Watch { path, recursive } => {
                self.has_room_for_watches(session, 2)?;
                self.add_persistent(session, path, *recursive);
                Ok(Reply::Done)
            }
        }
    }

    /// The oldest event that was not read yet. Each operation adds at most one event for each session,
    /// node changed and watch; who applies operations without reading lets the events pile up.
    pub fn next_fired(&mut self) -> Option<Fired> {
        self.fired.pop_front()
    }

    /// The last transaction.
    pub const fn zxid(&self) -> Zxid {
        self.zxid
    }

    /// A node's data and stat, for whoever looks from outside any session.
    pub fn node(&self, path: &str) -> Option<(Bytes, Stat)> {
        self.nodes.get(path).map(|node| (node.data.clone(), node.stat()))
    }

    /// The paths of all nodes, in order.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.nodes.keys().map(String::as_str)
    }

    fn leave_one_shot(
        &mut self,
        session: SessionId,
        wanted: bool,
        subject: Subject,
        path: &str,
    ) -> Result<(), Error> {
        if wanted {
            self.has_room_for_watches(session, 1)?;
            self.watches.add(session, subject, path, Mode::Once);
        }
        Ok(())
    }

    fn has_room_for_watches(&self, session: SessionId, more: usize) -> Result<(), Error> {
        if self.watches.count(session) + more <= self.limits.watches { Ok(()) } else { Err(Error::Invalid) }
    }

    fn add_persistent(&mut self, session: SessionId, path: &str, recursive: bool) {
        let mode = if recursive { Mode::Recursive } else { Mode::Persistent };
        self.watches.add(session, Subject::Data, path, mode);
        self.watches.add(session, Subject::Children, path, mode);
    }

    /// Tells the watchers of a change, in the order of a ZooKeeper server.
    fn fire(&mut self, change: Change) {
        let parent = split(change.path()).0.to_string();
        match change {
            Change::Created(path) => {
                self.tell(Subject::Data, &path, WatchKind::Created, &BTreeSet::new());
                self.tell(Subject::Children, &parent, WatchKind::ChildrenChanged, &BTreeSet::new());
            }
            Change::Set(path) => {
                self.tell(Subject::Data, &path, WatchKind::DataChanged, &BTreeSet::new());
            }
            Change::Deleted(path) => {
                let told = self.tell(Subject::Data, &path, WatchKind::Deleted, &BTreeSet::new());
                self.tell(Subject::Children, &path, WatchKind::Deleted, &told);
                self.tell(Subject::Children, &parent, WatchKind::ChildrenChanged, &BTreeSet::new());
            }
        }
    }

    /// Fires watches, but tells no session that was told `already`. Returns who watched.
    fn tell(
        &mut self,
        subject: Subject,
        path: &str,
        kind: WatchKind,
        already: &BTreeSet<SessionId>,
    ) -> BTreeSet<SessionId> {
        let watchers = self.watches.trigger(subject, path, kind);
        for &session in watchers.difference(already) {
            self.fired.push_back(Fired { session, path: path.to_string(), kind });
        }
        watchers
    }
}

/// Fisher and Yates.
fn shuffle(paths: &mut [String], rng: &mut Rng) {
    for last in (1..paths.len()).rev() {
        let other = usize::try_from(rng.below(last as u64 + 1)).expect("not above last, a usize");
        paths.swap(last, other);
    }
}
