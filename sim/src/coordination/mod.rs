//! The simulated coordination ensemble: the in-memory tree of the core, and between it and every
//! process a client that behaves like the real one. Requests and replies travel on pipes that can be
//! cut; a request in flight when its connection breaks is lost, applied, or applied later; a session
//! expires within [T, T + tick] of its last sign of life; the client notices silence after 0.4 T,
//! holds calls back while it is disconnected, and gives its session up after 1.4 T.

mod client;
mod server;

use crate::network::ProcessId;
use crate::pipe::Pipe;
use crate::random::{Draws, Purpose, Span};
use client::Client;
use server::Server;
use std::collections::BTreeMap;
use std::time::Duration;
use steadfast_core::coordination::tree::WatchBook;
use steadfast_core::coordination::{
    CallId, Error, Event, Operation, Reply, Request, SessionId, WatchKind, Zxid,
};

/// How the ensemble behaves.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// The session timeout T.
    pub session_timeout: Duration,
    /// A session expires up to this long after its timeout.
    pub tick: Duration,
    /// Time that a request or a reply takes.
    pub latency: Span,
    /// Time between a client's attempts to connect.
    pub reconnect: Span,
    /// How far the follower is behind the leader.
    pub follower_lag: Span,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            session_timeout: Duration::from_secs(2),
            tick: Duration::from_millis(100),
            latency: Span::new(Duration::from_micros(200), Duration::from_millis(1)),
            reconnect: Span::new(Duration::from_millis(10), Duration::from_millis(200)),
            follower_lag: Span::new(Duration::ZERO, Duration::from_millis(20)),
        }
    }
}

impl Config {
    const fn timeout(&self) -> u64 {
        self.session_timeout.as_nanos() as u64
    }

    /// Silence after which a client takes its connection for broken.
    const fn silence(&self) -> u64 {
        self.timeout() * 2 / 5
    }

    /// Silence after which a client gives its session up by itself.
    const fn give_up(&self) -> u64 {
        self.timeout() * 7 / 5
    }
}

/// Number of a connection between a client and the ensemble.
type ConnectionId = u64;

/// Something that the ensemble wants to happen at a later time.
#[derive(Clone, Copy, Debug)]
pub enum Happening {
    /// The next packet towards the ensemble arrives.
    Up(ConnectionId),
    /// The next packet towards the client arrives.
    Down(ConnectionId),
    /// Requests of a broken connection that were stuck on the way go on.
    Unstick(ConnectionId),
    /// A client tries to connect.
    Connect(ProcessId, u64),
    /// A client has heard nothing for too long.
    Silence(ProcessId, u64),
    /// A client gives its session up.
    GiveUp(ProcessId, u64),
    /// The follower applies what is due.
    CatchUp,
    /// A session has shown no sign of life for too long.
    Expire(SessionId, u64),
}

/// What follows from a call: things to happen later, and events that are due now.
#[derive(Debug, Default)]
pub struct Effects {
    /// With the time at which they happen.
    pub later: Vec<(u64, Happening)>,
    /// With their receiver.
    pub events: Vec<(ProcessId, Event)>,
}

/// Towards the ensemble.
#[derive(Debug)]
enum Up {
    Open,
    /// With the last transaction seen and the watches left.
    Reattach(SessionId, Zxid, WatchBook),
    Call(CallId, Operation),
    Close,
}

/// Towards the client.
#[derive(Debug)]
enum Down {
    /// `None`: the session has expired.
    Opened(Option<SessionId>),
    /// With the last transaction that the server had seen.
    Reply(CallId, Result<Reply, Error>, Zxid),
    Watch(String, WatchKind),
    /// The ensemble has closed the connection.
    Closed,
}

#[derive(Debug)]
struct Connection {
    process: ProcessId,
    session: Option<SessionId>,
    up: Pipe<Up>,
    down: Pipe<Down>,
    /// The client has dropped it: only what is under way to the ensemble still matters.
    dropped: bool,
    /// What is under way to the ensemble waits for [`Happening::Unstick`].
    stuck: bool,
}

/// The ensemble and every process's client.
#[derive(Debug)]
pub struct Ensemble {
    config: Config,
    draws: Draws,
    server: Server,
    clients: BTreeMap<ProcessId, Client>,
    connections: BTreeMap<ConnectionId, Connection>,
    connected: u64,
    drawn: u64,
}

impl Ensemble {
    /// An ensemble with an empty tree.
    pub fn new(config: Config, draws: Draws) -> Self {
        Self {
            config,
            draws,
            server: Server::new(config.follower_lag, draws),
            clients: BTreeMap::new(),
            connections: BTreeMap::new(),
            connected: 0,
            drawn: 0,
        }
    }

    /// From now on every change of this node is kept for [`Ensemble::take_changes`].
    pub fn record_changes(&mut self, path: &str) {
        self.server.recorded = path.to_owned();
    }

    /// The data that the recorded node was given since the last call; `None`: it was deleted.
    pub fn take_changes(&mut self) -> Vec<Option<bytes::Bytes>> {
        std::mem::take(&mut self.server.changes)
    }

    fn draw(&mut self, purpose: Purpose, process: ProcessId, span: Span) -> u64 {
        self.drawn += 1;
        self.draws.within(purpose, process.entity(), self.drawn, span)
    }

    /// Something that was to happen later happens.
    pub fn happen(&mut self, now: u64, happening: Happening) -> Effects {
        let mut effects = Effects::default();
        match happening {
            Happening::Up(id) => self.arrive_up(now, id, &mut effects),
            Happening::Down(id) => self.arrive_down(now, id, &mut effects),
            Happening::Unstick(id) => self.unstick(now, id, &mut effects),
            Happening::Connect(process, attempt) => self.connect(now, process, attempt, &mut effects),
            Happening::Silence(process, quiet) => self.silence(now, process, quiet, &mut effects),
            Happening::GiveUp(process, quiet) => self.give_up(now, process, quiet, &mut effects),
            Happening::Expire(session, version) => {
                if self.server.is_overdue(session, version) {
                    self.expire(now, session, &mut effects);
                }
            }
            Happening::CatchUp => {
                self.server.catch_up(now);
                self.spread(now, &mut effects);
            }
        }
        effects
    }

    fn arrive_up(&mut self, now: u64, id: ConnectionId, effects: &mut Effects) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let process = connection.process;
        if connection.stuck || self.clients.get(&process).is_some_and(|client| client.cut_to) {
            connection.up.hold();
            return;
        }
        let Some(packet) = connection.up.take() else { return };
        match packet {
            // Nobody is there any more to whom the session could belong.
            Up::Open | Up::Reattach(..) if connection.dropped => {}
            Up::Open => {
                let session = self.server.open(now, id);
                self.opened(now, id, Some(session), effects);
            }
            Up::Reattach(session, seen, book) => {
                let lives = self.server.reattach(session, id, seen, &book);
                self.opened(now, id, lives.then_some(session), effects);
            }
            Up::Call(call, operation) => self.serve(now, id, call, &operation, effects),
            Up::Close => {
                if let Some(session) = connection.session.filter(|&session| self.server.is_held(session, id))
                {
                    self.expire(now, session, effects);
                }
            }
        }
        self.tidy(id);
    }

    fn opened(&mut self, now: u64, id: ConnectionId, session: Option<SessionId>, effects: &mut Effects) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.session = session;
        let process = connection.process;
        self.down(now, id, Down::Opened(session), effects);
        self.spread(now, effects);
        if session.is_some() {
            self.touch(now, process, effects);
        }
    }

    fn serve(
        &mut self,
        now: u64,
        id: ConnectionId,
        call: CallId,
        operation: &Operation,
        effects: &mut Effects,
    ) {
        let session = self.connections.get(&id).and_then(|connection| connection.session);
        // A session that was attached elsewhere, or has expired, is not served here any more.
        let Some(session) = session.filter(|&session| self.server.is_held(session, id)) else { return };
        let result = self.server.execute(now, session, operation);
        self.spread(now, effects);
        let seen = self.server.seen(session);
        self.down(now, id, Down::Reply(call, result, seen), effects);
    }

    /// Sends out the watches that have fired, and says when the follower has more to do.
    fn spread(&mut self, now: u64, effects: &mut Effects) {
        while let Some((id, fired)) = self.server.next_fired() {
            self.down(now, id, Down::Watch(fired.path, fired.kind), effects);
        }
        if let Some(due) = self.server.follower_due() {
            effects.later.push((due, Happening::CatchUp));
        }
    }

    fn expire(&mut self, now: u64, session: SessionId, effects: &mut Effects) {
        let holder = self.server.holder(session);
        self.server.close(now, session);
        self.spread(now, effects);
        if let Some(id) = holder {
            self.down(now, id, Down::Closed, effects);
        }
    }

    fn down(&mut self, now: u64, id: ConnectionId, packet: Down, effects: &mut Effects) {
        let Some(process) = self.connections.get(&id).map(|connection| connection.process) else { return };
        let latency = self.draw(Purpose::CoordinationLatency, process, self.config.latency);
        if let Some(connection) = self.connections.get_mut(&id).filter(|connection| !connection.dropped) {
            effects.later.push((connection.down.put(packet, now + latency), Happening::Down(id)));
        }
    }

    fn up(&mut self, now: u64, id: ConnectionId, packet: Up, effects: &mut Effects) {
        let Some(process) = self.connections.get(&id).map(|connection| connection.process) else { return };
        let latency = self.draw(Purpose::CoordinationLatency, process, self.config.latency);
        if let Some(connection) = self.connections.get_mut(&id) {
            effects.later.push((connection.up.put(packet, now + latency), Happening::Up(id)));
        }
    }

    /// Requests of a broken connection go on their way, to be served if nothing newer is attached.
    fn unstick(&mut self, now: u64, id: ConnectionId, effects: &mut Effects) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.stuck = false;
            effects.later.extend(connection.up.release(now).map(|at| (at, Happening::Up(id))));
        }
    }

    /// A client uses a connection no more; what is under way to the ensemble may still arrive.
    fn leave(&mut self, now: u64, id: ConnectionId, effects: &mut Effects) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.dropped = true;
        let process = connection.process;
        if let Some(session) = connection.session.filter(|&session| self.server.is_held(session, id)) {
            self.age(now, session, process, false, effects);
        }
        self.tidy(id);
    }

    fn tidy(&mut self, id: ConnectionId) {
        if self.connections.get(&id).is_some_and(|connection| connection.dropped && connection.up.is_empty())
        {
            self.connections.remove(&id);
        }
    }

    /// Brings the server's view of a session's life up to date: while its client runs and its pings
    /// arrive it lives; from the moment that they stop, its time runs.
    fn touch(&mut self, now: u64, process: ProcessId, effects: &mut Effects) {
        let Some(client) = self.clients.get(&process) else { return };
        let connection = client.connection.and_then(|id| self.connections.get(&id));
        let Some(session) = connection.and_then(|connection| connection.session) else { return };
        let pings = client.running && !client.cut_to;
        self.age(now, session, process, pings, effects);
    }

    fn age(&mut self, now: u64, session: SessionId, process: ProcessId, pings: bool, effects: &mut Effects) {
        let tick = Span::new(Duration::ZERO, self.config.tick);
        let late = self.draw(Purpose::Expiry, process, tick);
        if let Some(version) = self.server.touch(session, pings) {
            let at = now + self.config.timeout() + late;
            effects.later.push((at, Happening::Expire(session, version)));
        }
    }
}

/// What a process asks, and what happens to its client.
impl Ensemble {
    /// A process asks something of its client.
    pub fn request(&mut self, now: u64, process: ProcessId, request: Request) -> Effects {
        let mut effects = Effects::default();
        let client = self.clients.entry(process).or_default();
        match request {
            Request::OpenSession => {
                client.wanted = true;
                client.attempt += 1;
                effects.later.push((now, Happening::Connect(process, client.attempt)));
            }
            Request::Call { call, operation } => self.call(now, process, call, operation, &mut effects),
            Request::CloseSession => {
                client.wanted = false;
                client.session = None;
                client.book = WatchBook::default();
                client.attempt += 1;
                client.quiet += 1;
                client.waiting.clear();
                client.unanswered.clear();
                client.connected = false;
                if let Some(id) = client.connection.take() {
                    self.up(now, id, Up::Close, &mut effects);
                    self.leave(now, id, &mut effects);
                }
            }
        }
        effects
    }

    /// A process has started: its client knows nothing. Cuts outlive it.
    pub fn start(&mut self, process: ProcessId) {
        let before = self.clients.remove(&process).unwrap_or_default();
        self.clients.insert(process, Client { running: true, ..before.without_session() });
    }

    /// A process has died.
    pub fn stop(&mut self, now: u64, process: ProcessId) -> Effects {
        let mut effects = Effects::default();
        if let Some(client) = self.clients.get_mut(&process) {
            client.running = false;
            self.touch(now, process, &mut effects);
            self.break_connection(now, process, &mut effects);
            self.start(process);
            self.clients.entry(process).or_default().running = false;
        }
        effects
    }

    /// A process is paused: it sends no pings and reads nothing.
    pub fn pause(&mut self, now: u64, process: ProcessId) -> Effects {
        let mut effects = Effects::default();
        if let Some(client) = self.clients.get_mut(&process) {
            client.running = false;
            client.paused_at = now;
            self.touch(now, process, &mut effects);
        }
        effects
    }

    /// A paused process runs again. A client that was away for too long notices by itself.
    pub fn resume(&mut self, now: u64, process: ProcessId) -> Effects {
        let mut effects = Effects::default();
        let Some(client) = self.clients.get_mut(&process) else { return effects };
        client.running = true;
        if now - client.paused_at >= self.config.silence() {
            effects.later.push((now, Happening::Silence(process, client.quiet)));
        } else if client.cut_to || client.cut_from {
            effects.later.push((now + self.config.silence(), Happening::Silence(process, client.quiet)));
        }
        if client.postponed {
            client.postponed = false;
            effects.later.push((now, Happening::Connect(process, client.attempt)));
        }
        self.release(now, process, &mut effects);
        self.touch(now, process, &mut effects);
        effects
    }

    /// Nothing from the process arrives any more.
    pub fn cut_to(&mut self, now: u64, process: ProcessId) -> Effects {
        self.clients.entry(process).or_default().cut_to = true;
        self.cut(now, process)
    }

    /// Nothing arrives at the process any more.
    pub fn cut_from(&mut self, now: u64, process: ProcessId) -> Effects {
        self.clients.entry(process).or_default().cut_from = true;
        self.cut(now, process)
    }

    fn cut(&mut self, now: u64, process: ProcessId) -> Effects {
        let mut effects = Effects::default();
        self.touch(now, process, &mut effects);
        if let Some(client) = self.clients.get_mut(&process).filter(|client| client.connected) {
            client.quiet += 1;
            let at = now + self.config.silence();
            effects.later.push((at, Happening::Silence(process, client.quiet)));
        }
        effects
    }

    /// Whether a way between the process and the ensemble is cut.
    pub fn is_cut(&self, process: ProcessId) -> bool {
        self.clients.get(&process).is_some_and(|client| client.cut_to || client.cut_from)
    }

    /// Both ways are open again, and what was held back arrives.
    pub fn heal(&mut self, now: u64, process: ProcessId) -> Effects {
        let mut effects = Effects::default();
        let client = self.clients.entry(process).or_default();
        (client.cut_to, client.cut_from) = (false, false);
        if client.connected {
            client.quiet += 1;
        }
        self.release(now, process, &mut effects);
        self.touch(now, process, &mut effects);
        effects
    }

    /// The connection breaks, and the client knows it at once.
    pub fn drop_connection(&mut self, now: u64, process: ProcessId) -> Effects {
        let mut effects = Effects::default();
        if self.clients.get(&process).is_some_and(|client| client.running && client.connection.is_some()) {
            self.disconnect(now, process, &mut effects);
        }
        effects
    }

    fn release(&mut self, now: u64, process: ProcessId, effects: &mut Effects) {
        for (&id, connection) in self.connections.iter_mut().filter(|(_, other)| other.process == process) {
            if !connection.stuck {
                effects.later.extend(connection.up.release(now).map(|at| (at, Happening::Up(id))));
            }
            effects.later.extend(connection.down.release(now).map(|at| (at, Happening::Down(id))));
        }
    }
}
