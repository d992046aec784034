//! The ensemble's side: what is agreed on, a leader and a follower that may be behind it, and the
//! sessions attached to either. Reads of a session can be stale on both. A write of its own brings its
//! server up to date; a sync does so on the follower alone, for the leader does not wait for itself.

use super::replica::{Replica, Write};
use super::{Config, ConnectionId};
use crate::random::{Draws, Purpose};
use bytes::Bytes;
use std::collections::BTreeMap;
use steadfast_core::coordination::tree::{Fired, Limits, Tree, WatchBook};
use steadfast_core::coordination::{Error, Operation, Reply, SessionId, Zxid};
use steadfast_core::rng::Rng;

#[derive(Debug)]
struct Session {
    connection: ConnectionId,
    on_follower: bool,
    /// Whether its client's pings arrive.
    living: bool,
    /// Number of the latest change of `living`.
    version: u64,
}

/// Whether a server does it without its leader.
pub(super) const fn is_read(operation: &Operation) -> bool {
    matches!(
        operation,
        Operation::Get { .. }
            | Operation::Exists { .. }
            | Operation::Children { .. }
            | Operation::Watch { .. }
    )
}

/// The servers.
#[derive(Debug)]
pub(super) struct Server {
    /// What is agreed on, as writes meet it.
    agreed: Tree,
    leader: Replica,
    follower: Replica,
    config: Config,
    draws: Draws,
    rng: Rng,
    written: u64,
    sessions: BTreeMap<SessionId, Session>,
    opened: SessionId,
    /// Whether the follower hears nothing of the leader.
    pub(super) follower_cut: bool,
    /// Sessions that are over, and the connections on which an isolated follower still serves them.
    orphans: BTreeMap<SessionId, ConnectionId>,
    /// The node whose changes are kept.
    pub(super) recorded: String,
    /// Its data after each change; `None` where it was deleted.
    pub(super) changes: Vec<Option<Bytes>>,
    changed_by: Option<Zxid>,
}

impl Server {
    pub(super) fn new(config: Config, draws: Draws) -> Self {
        Self {
            agreed: Tree::new(Limits::default()),
            leader: Replica::new(),
            follower: Replica::new(),
            config,
            draws,
            rng: Rng::new(draws.draw(Purpose::Expiry, u64::MAX, 0)),
            written: 0,
            sessions: BTreeMap::new(),
            opened: 0,
            follower_cut: false,
            orphans: BTreeMap::new(),
            recorded: String::new(),
            changes: Vec::new(),
            changed_by: None,
        }
    }

    /// When a server applies the next write.
    pub(super) fn due(&self) -> Option<u64> {
        let follower = self.follower.due().filter(|_| !self.follower_cut);
        self.leader.due().into_iter().chain(follower).min()
    }

    /// Begins a session on this connection.
    pub(super) fn open(&mut self, now: u64, connection: ConnectionId) -> SessionId {
        self.opened += 1;
        let session = self.opened;
        assert!(self.agreed.open_session(session), "few sessions");
        self.write(now, Write::Open(session));
        let on_follower = self.places(connection);
        self.bring_up_to_date(on_follower);
        self.sessions.insert(session, Session { connection, on_follower, living: true, version: 0 });
        session
    }

    /// A client comes back on another connection, with the watches that it had and the last
    /// transaction that it has seen.
    pub(super) fn reattach(
        &mut self,
        session: SessionId,
        to: ConnectionId,
        seen: Zxid,
        book: &WatchBook,
    ) -> bool {
        let on_follower = self.places(to);
        let Some(held) = self.sessions.get_mut(&session) else { return false };
        (held.connection, held.on_follower) = (to, on_follower);
        (held.living, held.version) = (true, held.version + 1);
        self.leader.detach(session);
        self.follower.detach(session);
        if self.replica(on_follower).is_behind(session, seen) {
            self.bring_up_to_date(on_follower);
        }
        self.replica(on_follower).rewatch(session, seen, book);
        true
    }

    /// Whether the session lives and is attached to this connection.
    pub(super) fn is_held(&self, session: SessionId, by: ConnectionId) -> bool {
        self.holder(session) == Some(by)
    }

    /// The connection that a session is attached to.
    pub(super) fn holder(&self, session: SessionId) -> Option<ConnectionId> {
        let orphan = || self.orphans.get(&session).copied();
        self.sessions.get(&session).map(|held| held.connection).or_else(orphan)
    }

    /// Carries out an operation of a session that lives.
    pub(super) fn execute(
        &mut self,
        now: u64,
        session: SessionId,
        operation: &Operation,
    ) -> Result<Reply, Error> {
        let on_follower = self.sessions.get(&session).is_none_or(|held| held.on_follower);
        if is_read(operation) {
            return self.replica(on_follower).read(session, operation);
        }
        let result = self.agreed.apply(session, operation);
        if result.is_ok() {
            self.write(now, Write::Apply(session, operation.clone()));
            self.record();
        }
        // Also a transaction that fails has its place among the others.
        if on_follower || !matches!(operation, Operation::Sync { .. }) {
            self.bring_up_to_date(on_follower);
        }
        result
    }

    fn record(&mut self) {
        let node = self.agreed.node(&self.recorded);
        let changed_by = node.as_ref().map(|(_, stat)| stat.mzxid);
        if changed_by != self.changed_by {
            self.changed_by = changed_by;
            self.changes.push(node.map(|(data, _)| data));
        }
    }

    /// Ends a session.
    pub(super) fn close(&mut self, now: u64, session: SessionId) {
        if let Some(held) = self.sessions.remove(&session) {
            if held.on_follower && self.follower_cut {
                self.orphans.insert(session, held.connection);
            }
            // Nobody watches here: the order of events means nothing.
            self.agreed.close_session(session, &mut Rng::new(session));
            self.write(now, Write::Close(session));
        }
    }

    /// Lets the servers apply what is due: the follower only if it hears of it.
    pub(super) fn catch_up(&mut self, now: u64) {
        self.leader.catch_up(now, &mut self.rng);
        if !self.follower_cut {
            self.follower.catch_up(now, &mut self.rng);
        }
    }

    /// A server has applied everything before it answers.
    fn bring_up_to_date(&mut self, follower: bool) {
        if !follower {
            self.leader.catch_up(u64::MAX, &mut self.rng);
        } else if !self.follower_cut {
            self.follower.catch_up(u64::MAX, &mut self.rng);
        }
    }

    const fn replica(&mut self, follower: bool) -> &mut Replica {
        if follower { &mut self.follower } else { &mut self.leader }
    }

    /// The next watch that has fired, with the connection that its session is attached to.
    pub(super) fn next_fired(&mut self) -> Option<(ConnectionId, Fired)> {
        while let Some(fired) = self.leader.next_fired().or_else(|| self.follower.next_fired()) {
            if let Some(connection) = self.holder(fired.session) {
                return Some((connection, fired));
            }
        }
        None
    }

    /// A session's sign of life, or the end of them. Returns the number to expire it by.
    pub(super) fn touch(&mut self, session: SessionId, living: bool) -> Option<u64> {
        let held = self.sessions.get_mut(&session).filter(|held| held.living != living)?;
        held.version += 1;
        held.living = living;
        (!living).then_some(held.version)
    }

    /// A session whose client is taken for silent has sent a request. Returns the number to expire it
    /// by.
    pub(super) fn hear(&mut self, session: SessionId) -> Option<u64> {
        let isolated = self.is_isolated_session(session);
        let held = self.sessions.get_mut(&session).filter(|held| !held.living && !isolated)?;
        held.version += 1;
        Some(held.version)
    }

    /// A new leader has heard of nobody yet. Returns the numbers to expire all sessions by.
    pub(super) fn renew(&mut self) -> Vec<(SessionId, u64)> {
        let renewed = self.sessions.iter_mut().map(|(&session, held)| {
            held.version += 1;
            held.living = false;
            (session, held.version)
        });
        renewed.collect()
    }

    /// The sessions attached to the follower.
    pub(super) fn on_follower(&self) -> Vec<SessionId> {
        self.sessions.iter().filter(|(_, held)| held.on_follower).map(|(&session, _)| session).collect()
    }

    /// The connections of sessions attached to the follower, those that are over included.
    pub(super) fn follower_connections(&self) -> Vec<ConnectionId> {
        let living = self.sessions.values().filter(|held| held.on_follower).map(|held| held.connection);
        living.chain(self.orphans.values().copied()).collect()
    }

    /// An isolated follower knows now which sessions are over. Returns their connections.
    pub(super) fn forget_orphans(&mut self) -> Vec<ConnectionId> {
        std::mem::take(&mut self.orphans).into_values().collect()
    }

    /// Whether a session is served by a follower that hears nothing of the leader.
    pub(super) fn is_isolated_session(&self, session: SessionId) -> bool {
        self.follower_cut && self.sessions.get(&session).is_none_or(|held| held.on_follower)
    }

    /// Whether a connection leads to a follower that hears nothing of the leader.
    pub(super) fn is_isolated(&self, connection: ConnectionId) -> bool {
        self.follower_cut && self.follower_connections().contains(&connection)
    }

    /// Whether the session has shown no sign of life since.
    pub(super) fn is_overdue(&self, session: SessionId, version: u64) -> bool {
        self.sessions.get(&session).is_some_and(|held| held.version == version && !held.living)
    }

    /// The last transaction of the server that a session is attached to.
    pub(super) fn seen(&self, session: SessionId) -> Zxid {
        match self.sessions.get(&session) {
            Some(held) if !held.on_follower => self.leader.zxid(),
            _ => self.follower.zxid(),
        }
    }

    /// Whether a connection leads to the follower.
    fn places(&self, connection: ConnectionId) -> bool {
        !self.follower_cut && self.draws.below(Purpose::Placement, 0, connection, 2) == 1
    }

    fn write(&mut self, now: u64, write: Write) {
        self.written += 1;
        let (purpose, written) = (Purpose::Placement, self.written);
        let lag = self.draws.within(purpose, 1, written, self.config.follower_lag);
        self.follower.learn(now + lag, write.clone());
        let late = self.config.leader_late;
        let is_late = self.draws.below(purpose, 2, written, 1_000) < u64::from(late.permille);
        let late = if is_late { self.draws.within(purpose, 3, written, late.extra) } else { 0 };
        self.leader.learn(now + late, write);
        self.leader.catch_up(now, &mut self.rng);
    }
}
