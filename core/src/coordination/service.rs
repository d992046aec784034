//! Serves a [`Tree`] to other processes: the embedded stand-in for a ZooKeeper ensemble. It lives in
//! memory; when its process ends, all sessions and nodes are gone.
//!
//! A link becomes a session's with [`Message::CoordinationOpen`], and is the session's until it is
//! lost, the session ends, or the session is opened again on another link, which closes this one.
//! `CoordinationOpened` without a session says that the session asked for is over; that there is no
//! room for a new one; or, after a `CoordinationClose`, that this has been done.
//!
//! A session that was not heard for its timeout expires at the next tick, and its link is closed: the
//! client learns of it when it opens the session again. What comes on a link without a session is not
//! answered, pings included, so that nobody mistakes the link for a live session.
//!
//! Watches: while a session has no link, the events of its persistent watches are lost; the watches
//! themselves hold again once it has one. One-shot watches end with the link. The client remembers
//! them and fires them all when it has reconnected.

use crate::coordination::tree::{Limits, Tree, WatchBook};
use crate::coordination::{CallId, Error, Operation, SessionId};
use crate::id::Nonce;
use crate::link::{Frame, LinkCommand, LinkId, LinkStatus};
use crate::message::{Message, SessionCredentials};
use crate::node::{Input, Node, Outbox, Output};
use crate::rng::Rng;
use crate::time::{Duration, Instant};
use crate::trace::{Limit, Rejection, Trace};
use crate::wire;
use alloc::collections::{BTreeMap, BTreeSet};

/// How the service treats its sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Sessions expire on multiples of this; above zero. A session dies between one timeout and one
    /// timeout and a tick after it was last heard.
    pub tick: Duration,
    /// No session has a shorter timeout.
    pub min_timeout: Duration,
    /// No session has a longer timeout.
    pub max_timeout: Duration,
    /// How large the tree may become. A new session beyond `limits.sessions` is refused.
    pub limits: Limits,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            tick: Duration::from_millis(100),
            min_timeout: Duration::from_millis(200),
            max_timeout: Duration::from_secs(60),
            limits: Limits::default(),
        }
    }
}

/// Everything that the service starts from.
#[derive(Clone, Debug)]
pub struct Boot {
    /// Of its random numbers.
    pub seed: u64,
    /// How it treats its sessions.
    pub config: Config,
}

/// The service takes no commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {}

/// The service has nothing to tell its application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {}

#[derive(Debug)]
struct Session {
    password: Nonce,
    timeout: Duration,
    /// A multiple of the tick.
    expires: Instant,
    link: Option<LinkId>,
    /// The persistent watches, for the next link.
    watches: WatchBook,
}

/// The node that serves the tree.
#[derive(Debug)]
pub struct Service {
    config: Config,
    rng: Rng,
    tree: Tree,
    sessions: BTreeMap<SessionId, Session>,
    /// Whose links these are: at most one per session.
    links: BTreeMap<LinkId, SessionId>,
    expiries: BTreeSet<(Instant, SessionId)>,
    out: Outbox<Event>,
}

impl Service {
    /// An empty tree, served.
    pub fn new(_now: Instant, boot: Boot) -> Self {
        let Boot { seed, config } = boot;
        assert!(!config.tick.is_zero() && config.min_timeout <= config.max_timeout, "{config:?}");
        Self {
            tree: Tree::new(config.limits.clone()),
            config,
            rng: Rng::new(seed),
            sessions: BTreeMap::new(),
            links: BTreeMap::new(),
            expiries: BTreeSet::new(),
            out: Outbox::default(),
        }
    }

    /// The tree, for whoever looks from outside.
    pub const fn tree(&self) -> &Tree {
        &self.tree
    }

    fn handle_message(&mut self, now: Instant, link: LinkId, message: Message) {
        match (self.links.get(&link).copied(), message) {
            (None, Message::CoordinationOpen { session: None, timeout }) => {
                self.open(now, link, timeout);
            }
            (None, Message::CoordinationOpen { session: Some(credentials), timeout }) => {
                self.attach(now, link, credentials, timeout);
            }
            (Some(session), Message::CoordinationCall { call, operation }) => {
                self.touch(now, session);
                self.carry_out(link, session, call, &operation);
            }
            (Some(session), Message::Ping { token }) => {
                self.touch(now, session);
                self.send(link, &Message::Pong { token });
            }
            (Some(session), Message::CoordinationClose) => {
                self.end(session);
                self.send(link, &Message::CoordinationOpened { session: None });
            }
            (session, _) => {
                // It is of no use, but it is a sign of life.
                if let Some(session) = session {
                    self.touch(now, session);
                }
                self.reject(link, Rejection::Unexpected);
            }
        }
    }

    fn open(&mut self, now: Instant, link: LinkId, timeout: Duration) {
        let id = self.new_id();
        if !self.tree.open_session(id) {
            self.out.trace(Trace::Busy { limit: Limit::Sessions });
            self.send(link, &Message::CoordinationOpened { session: None });
            return;
        }
        let session = Session {
            password: Nonce(self.rng.next_u128()),
            timeout: self.clamp(timeout),
            expires: now,
            link: None,
            watches: WatchBook::default(),
        };
        self.sessions.insert(id, session);
        self.take(now, link, id);
    }

    /// Re-attaches a session, if it is there and the client's.
    fn attach(&mut self, now: Instant, link: LinkId, credentials: SessionCredentials, timeout: Duration) {
        let id = credentials.id;
        let timeout = self.clamp(timeout);
        match self.sessions.get_mut(&id).filter(|session| session.password == credentials.password) {
            None => self.send(link, &Message::CoordinationOpened { session: None }),
            Some(session) => {
                session.timeout = timeout;
                if let Some(old) = session.link {
                    self.drop_link(old);
                    self.out.link(LinkCommand::Close { link: old });
                }
                self.take(now, link, id);
            }
        }
    }

    /// Gives a session without a link this one.
    fn take(&mut self, now: Instant, link: LinkId, id: SessionId) {
        self.touch(now, id);
        let session = self.sessions.get_mut(&id).expect("callers have looked it up");
        session.link = Some(link);
        let credentials = SessionCredentials { id, password: session.password };
        let timeout = session.timeout;
        // The book holds persistent watches only, and those fire for nothing that is past.
        self.tree.rewatch(id, self.tree.zxid(), &session.watches);
        self.links.insert(link, id);
        self.send(link, &Message::CoordinationOpened { session: Some((credentials, timeout)) });
    }

    fn carry_out(&mut self, link: LinkId, id: SessionId, call: CallId, operation: &Operation) {
        let session = self.sessions.get_mut(&id).expect("its link says so");
        let watches = matches!(operation, Operation::Watch { .. });
        // The book outlives what a one-shot watch has ended in the tree, so it has a bound of its own.
        let result = if watches && session.watches.len() >= self.config.limits.watches {
            Err(Error::Invalid)
        } else {
            self.tree.apply(id, operation)
        };
        if let (true, Ok(reply)) = (watches, &result) {
            session.watches.note(operation, reply);
        }
        // Events leave before the reply that shows the state behind them.
        self.send_fired();
        self.send(link, &Message::CoordinationReply { call, result });
    }

    fn send_fired(&mut self) {
        while let Some(fired) = self.tree.next_fired() {
            if let Some(link) = self.sessions.get(&fired.session).and_then(|session| session.link) {
                self.send(link, &Message::CoordinationWatch { path: fired.path, kind: fired.kind });
            }
        }
    }

    /// The session was heard.
    fn touch(&mut self, now: Instant, id: SessionId) {
        let session = self.sessions.get_mut(&id).expect("callers have looked it up");
        let expires = next_tick(now + session.timeout, self.config.tick);
        self.expiries.remove(&(session.expires, id));
        session.expires = expires;
        self.expiries.insert((expires, id));
    }

    /// Ends a session: its ephemeral nodes go at once. Its link is free for another.
    fn end(&mut self, id: SessionId) {
        let session = self.sessions.remove(&id).expect("callers have looked it up");
        self.expiries.remove(&(session.expires, id));
        if let Some(link) = session.link {
            self.links.remove(&link);
        }
        self.tree.close_session(id, &mut self.rng);
        self.send_fired();
    }

    fn expire(&mut self, now: Instant) {
        while let Some(&(at, id)) = self.expiries.first()
            && at <= now
        {
            let link = self.sessions.get(&id).and_then(|session| session.link);
            self.end(id);
            if let Some(link) = link {
                self.out.link(LinkCommand::Close { link });
            }
        }
    }

    /// A link is gone, its session stays.
    fn drop_link(&mut self, link: LinkId) {
        let Some(id) = self.links.remove(&link) else { return };
        self.tree.detach(id);
        self.sessions.get_mut(&id).expect("a link's session is there").link = None;
    }

    fn new_id(&mut self) -> SessionId {
        loop {
            let id = self.rng.next_u64();
            if id != 0 && !self.sessions.contains_key(&id) {
                return id;
            }
        }
    }

    fn clamp(&self, timeout: Duration) -> Duration {
        timeout.clamp(self.config.min_timeout, self.config.max_timeout)
    }

    fn send(&mut self, link: LinkId, message: &Message) {
        self.out.transmit(link, wire::encode(message));
    }

    fn reject(&mut self, link: LinkId, reason: Rejection) {
        self.out.trace(Trace::Rejected { link, reason });
    }

    fn receive(&mut self, now: Instant, link: LinkId, frame: Frame) {
        match wire::decode(frame) {
            Ok(message) => self.handle_message(now, link, message),
            Err(reason) => self.reject(link, reason),
        }
    }
}

impl Node for Service {
    type Command = Command;
    type Event = Event;

    fn handle_input(&mut self, now: Instant, input: Input<Command>) {
        match input {
            Input::Received { link, frame } => self.receive(now, link, frame),
            Input::Link { link, status: LinkStatus::Lost | LinkStatus::Refused } => self.drop_link(link),
            Input::Timeout => self.expire(now),
            Input::Command(never) => match never {},
            // It dials nobody and asks nobody.
            Input::Link { status: LinkStatus::Up, .. } | Input::Coordination(_) | Input::Storage(_) => {}
        }
    }

    fn poll_output(&mut self) -> Option<Output<Event>> {
        self.out.pop()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.expiries.first().map(|&(at, _)| at)
    }
}

/// The first multiple of the tick that is not before.
fn next_tick(at: Instant, tick: Duration) -> Instant {
    let tick = u64::try_from(tick.as_nanos()).unwrap_or(u64::MAX);
    Instant::from_nanos(at.as_nanos().div_ceil(tick).saturating_mul(tick))
}
