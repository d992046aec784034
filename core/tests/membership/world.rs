//! Clients of one coordination tree, stepped by hand: a test decides when a call is carried out, and
//! whether its reply arrives.

use bytes::Bytes;
use std::collections::VecDeque;
use steadfast_core::coordination::election::Election;
use steadfast_core::coordination::registry::{Registry, Update};
use steadfast_core::coordination::tree::{Limits, Tree, WatchBook};
use steadfast_core::coordination::{
    CallId, CallIds, Context, Create, CreateMode, Delete, Error, Event, Operation, Paths, Request, SessionId,
    SessionState, Set,
};
use steadfast_core::discovery::Discovery;
use steadfast_core::group::{GroupState, LiveNode, PrimaryId};
use steadfast_core::id::{Address, Generation, Incarnation, Member, NodeName};
use steadfast_core::link::{Frame, LinkId};
use steadfast_core::node::{Input, Node, Outbox, Output};
use steadfast_core::rng::Rng;
use steadfast_core::time::Instant;
use steadfast_core::trace::Trace;
use steadfast_core::wire;

/// The session of whoever else uses the tree.
pub const OTHERS: SessionId = 1_000;

pub fn paths() -> Paths {
    Paths::new("/steadfast/test".to_string())
}

/// What is put on a tree.
pub trait Subject {
    fn coordination(&mut self, now: Instant, event: Event);
    fn timeout(&mut self, now: Instant);
    fn deadline(&self) -> Option<Instant>;
    fn pop(&mut self) -> Option<Output<()>>;
}

/// A component with what its node would lend it.
pub struct Part<C> {
    pub component: C,
    pub rounds: u64,
    rng: Rng,
    calls: CallIds,
    out: Outbox<()>,
}

impl<C> Part<C> {
    pub fn new(component: C) -> Self {
        let mut out = Outbox::default();
        out.coordinate(Request::OpenSession);
        Self { component, rounds: 0, rng: Rng::new(7), calls: CallIds::default(), out }
    }

    pub fn with<T>(&mut self, now: Instant, act: impl FnOnce(&mut C, &mut Context<'_, ()>) -> T) -> T {
        let Self { component, rng, calls, out, .. } = self;
        act(component, &mut Context { now, rng, calls, out })
    }

    fn reopen(&mut self, event: &Event) {
        if *event == Event::Session(SessionState::Expired) {
            self.out.coordinate(Request::OpenSession);
        }
    }
}

impl Subject for Part<Registry> {
    fn coordination(&mut self, now: Instant, event: Event) {
        self.reopen(&event);
        let before = self.component.round();
        let update = self.with(now, |registry, cx| registry.handle_event(&event, cx));
        if self.component.round() != before {
            assert_eq!(update, Update::Changed, "a completed round is told");
            self.rounds += 1;
        }
    }

    fn timeout(&mut self, now: Instant) {
        self.with(now, Registry::handle_timeout);
    }

    fn deadline(&self) -> Option<Instant> {
        self.component.deadline()
    }

    fn pop(&mut self) -> Option<Output<()>> {
        self.out.pop()
    }
}

impl Subject for Part<Election> {
    fn coordination(&mut self, now: Instant, event: Event) {
        self.reopen(&event);
        self.with(now, |election, cx| election.handle_event(&event, cx));
    }

    fn timeout(&mut self, now: Instant) {
        self.with(now, Election::handle_timeout);
    }

    fn deadline(&self) -> Option<Instant> {
        self.component.deadline()
    }

    fn pop(&mut self) -> Option<Output<()>> {
        self.out.pop()
    }
}

impl Subject for Discovery {
    fn coordination(&mut self, now: Instant, event: Event) {
        self.handle_input(now, Input::Coordination(event));
    }

    fn timeout(&mut self, now: Instant) {
        self.handle_input(now, Input::Timeout);
    }

    fn deadline(&self) -> Option<Instant> {
        self.poll_timeout()
    }

    fn pop(&mut self) -> Option<Output<()>> {
        Some(match self.poll_output()? {
            Output::Transmit { link, frame } => Output::Transmit { link, frame },
            Output::Link(command) => Output::Link(command),
            Output::Coordinate(request) => Output::Coordinate(request),
            Output::Store(request) => Output::Store(request),
            Output::Event(_) => Output::Event(()),
            Output::Trace(trace) => Output::Trace(trace),
        })
    }
}

/// A subject and its connection to the tree.
pub struct Client<S> {
    pub subject: S,
    /// Calls that were not carried out yet.
    pub calls: VecDeque<(CallId, Operation)>,
    pub traces: Vec<Trace>,
    pub frames: Vec<(LinkId, Frame)>,
    /// Events for the application.
    pub events: usize,
    pub session: Option<SessionId>,
    wants_session: bool,
    connected: bool,
    book: WatchBook,
    since: i64,
    /// Calls whose outcome the client does not know, and which may still be carried out.
    late: Vec<(SessionId, Operation)>,
}

pub struct World<S> {
    pub now: Instant,
    pub tree: Tree,
    pub clients: Vec<Client<S>>,
    sessions: SessionId,
    rng: Rng,
}

impl<S: Subject> World<S> {
    pub fn new(subjects: impl IntoIterator<Item = S>) -> Self {
        let mut tree = Tree::new(Limits::default());
        assert!(tree.open_session(OTHERS));
        let client = |subject| Client {
            subject,
            calls: VecDeque::new(),
            traces: Vec::new(),
            frames: Vec::new(),
            events: 0,
            session: None,
            wants_session: false,
            connected: false,
            book: WatchBook::default(),
            since: 0,
            late: Vec::new(),
        };
        let clients = subjects.into_iter().map(client).collect();
        Self { now: Instant::default(), tree, clients, sessions: 0, rng: Rng::new(1) }
    }

    /// Takes what the client's subject has put out.
    pub fn collect(&mut self, i: usize) {
        let client = &mut self.clients[i];
        while let Some(output) = client.subject.pop() {
            match output {
                Output::Coordinate(Request::OpenSession) => client.wants_session = true,
                Output::Coordinate(Request::Call { call, operation }) => {
                    assert!(client.connected, "a call while disconnected: {operation:?}");
                    client.calls.push_back((call, operation));
                }
                Output::Coordinate(Request::CloseSession) => {
                    let session = client.session.take().expect("a session to close");
                    client.connected = false;
                    self.tree.close_session(session, &mut self.rng);
                }
                Output::Trace(trace) => client.traces.push(trace),
                Output::Transmit { link, frame } => client.frames.push((link, frame)),
                Output::Event(()) => client.events += 1,
                other => panic!("unexpected: {other:?}"),
            }
        }
    }

    pub fn feed(&mut self, i: usize, event: Event) {
        self.clients[i].subject.coordination(self.now, event);
        self.collect(i);
    }

    /// Hands out the events of the watches that have fired.
    pub fn deliver_watches(&mut self) {
        while let Some(fired) = self.tree.next_fired() {
            let is_owner = |c: &Client<S>| c.session == Some(fired.session) && c.connected;
            if let Some(i) = self.clients.iter().position(is_owner) {
                self.clients[i].book.strike(&fired.path, fired.kind);
                self.feed(i, Event::Watch { path: fired.path, kind: fired.kind });
            }
        }
    }

    /// Begins the session that the client has asked for.
    pub fn open(&mut self, i: usize) {
        self.collect(i);
        let client = &mut self.clients[i];
        assert!(std::mem::take(&mut client.wants_session), "a session was asked for");
        self.sessions += 1;
        assert!(self.tree.open_session(self.sessions));
        client.session = Some(self.sessions);
        client.connected = true;
        client.book = WatchBook::default();
        self.feed(i, Event::Session(SessionState::Connected(self.sessions)));
    }

    /// Carries out the client's oldest call.
    pub fn step(&mut self, i: usize) -> Operation {
        let (call, operation) = self.clients[i].calls.pop_front().expect("a call");
        let session = self.clients[i].session.expect("a session");
        let result = self.tree.apply(session, &operation);
        if let Ok(reply) = &result {
            self.clients[i].book.note(&operation, reply);
        }
        self.deliver_watches();
        self.feed(i, Event::Reply { call, result });
        operation
    }

    /// Loses the outcome of the client's oldest call, which was carried out or not.
    pub fn lose(&mut self, i: usize, carried_out: bool) -> Operation {
        let (call, operation) = self.clients[i].calls.pop_front().expect("a call");
        let session = self.clients[i].session.expect("a session");
        self.clients[i].late.push((session, operation.clone()));
        if carried_out {
            self.carry_out_late(i);
        }
        self.feed(i, Event::Reply { call, result: Err(Error::Unknown) });
        operation
    }

    /// Carries out the latest of the calls whose outcome is lost.
    fn carry_out_late(&mut self, i: usize) {
        if let Some((session, operation)) = self.clients[i].late.pop() {
            // Nobody hears how it ended.
            let _ = self.tree.apply(session, &operation);
            self.deliver_watches();
        }
    }

    /// Carries out calls until one is next that `stop` wants to see.
    pub fn run_until(&mut self, i: usize, stop: impl Fn(&Operation) -> bool) {
        while !stop(&self.clients[i].calls.front().expect("a call").1) {
            self.step(i);
        }
    }

    /// Carries out all calls of all clients. Deadlines stay where they are.
    pub fn run(&mut self) {
        self.deliver_watches();
        for steps in 0.. {
            assert!(steps < 1_000, "no end to the calls");
            (0..self.clients.len()).for_each(|i| self.collect(i));
            let Some(i) = self.clients.iter().position(|c| c.connected && !c.calls.is_empty()) else {
                break;
            };
            self.step(i);
        }
    }

    /// Opens the sessions that are asked for and goes on until nothing is left to do.
    pub fn settle(&mut self) {
        for rounds in 0.. {
            assert!(rounds < 100, "no rest");
            for i in 0..self.clients.len() {
                self.collect(i);
                if self.clients[i].wants_session {
                    self.open(i);
                }
            }
            self.run();
            let deadlines = self.clients.iter().filter_map(|client| client.subject.deadline());
            let Some(next) = deadlines.min() else { break };
            self.now = self.now.max(next);
            (0..self.clients.len()).for_each(|i| self.time_out(i));
        }
    }

    /// One random thing that can go right or wrong with a client's connection.
    pub fn stir(&mut self, i: usize, rng: &mut Rng) {
        self.collect(i);
        let client = &self.clients[i];
        if client.wants_session {
            self.open(i);
        } else if client.session.is_none() {
            self.feed(i, Event::Session(SessionState::Expired));
        } else if !client.connected {
            self.reconnect(i);
        } else {
            let has_calls = !client.calls.is_empty();
            match rng.below(40) {
                0 => self.suspend(i),
                1 => self.expire(i),
                2 => self.end_session(i),
                3 | 4 if has_calls => drop(self.lose(i, rng.below(2) == 0)),
                5 | 6 => self.carry_out_late(i),
                7 => {
                    // The client thinks its session over; the tree keeps its nodes for a while.
                    self.suspend(i);
                    self.feed(i, Event::Session(SessionState::Expired));
                }
                _ if has_calls => drop(self.step(i)),
                _ => self.time_out(i),
            }
        }
    }

    fn time_out(&mut self, i: usize) {
        if let Some(at) = self.clients[i].subject.deadline() {
            self.now = self.now.max(at);
            self.clients[i].subject.timeout(self.now);
            self.collect(i);
        }
    }

    /// Ends all faults: everybody is connected, and sessions that nobody uses are over.
    pub fn calm(&mut self) {
        for i in 0..self.clients.len() {
            self.collect(i);
            let client = &self.clients[i];
            if client.session.is_none() && !client.wants_session {
                self.feed(i, Event::Session(SessionState::Expired));
            } else if client.session.is_some() && !client.connected && !client.wants_session {
                self.reconnect(i);
            }
        }
        self.settle();
        for session in 1..=self.sessions {
            if self.clients.iter().all(|client| client.session != Some(session)) {
                self.tree.close_session(session, &mut self.rng);
            }
        }
        self.settle();
    }

    pub fn suspend(&mut self, i: usize) {
        let client = &mut self.clients[i];
        let session = client.session.expect("a session");
        client.connected = false;
        client.calls.clear();
        client.since = self.tree.zxid();
        self.tree.detach(session);
        self.feed(i, Event::Session(SessionState::Suspended));
    }

    pub fn reconnect(&mut self, i: usize) {
        let client = &mut self.clients[i];
        let session = client.session.expect("a session");
        client.connected = true;
        self.tree.rewatch(session, client.since, &client.book);
        self.feed(i, Event::Session(SessionState::Connected(session)));
        self.deliver_watches();
    }

    /// Ends the client's session in the tree; the client does not know.
    pub fn end_session(&mut self, i: usize) {
        let session = self.clients[i].session.take().expect("a session");
        self.clients[i].connected = false;
        self.clients[i].calls.clear();
        self.tree.close_session(session, &mut self.rng);
        self.deliver_watches();
    }

    pub fn expire(&mut self, i: usize) {
        self.end_session(i);
        self.feed(i, Event::Session(SessionState::Expired));
    }

    pub fn others(&mut self, operation: &Operation) {
        self.tree.apply(OTHERS, operation).expect("the others' operation");
        self.deliver_watches();
    }

    pub fn others_create(&mut self, path: &str, data: Bytes, mode: CreateMode) {
        self.others(&Operation::Create(Create { path: path.to_string(), data, mode }));
    }

    pub fn others_delete(&mut self, path: &str) {
        self.others(&Operation::Delete(Delete { path: path.to_string(), version: None }));
    }

    pub fn others_write_state(&mut self, state: &GroupState) {
        let path = paths().state(0);
        let data = wire::encode_group_state(state);
        if self.tree.node(&path).is_some() {
            self.others(&Operation::Set(Set { path, data, version: None }));
        } else {
            self.others_create(&path, data, CreateMode::Persistent);
        }
    }

    pub fn others_register(&mut self, node: &LiveNode) {
        let path = live_path(node);
        self.others_create(&path, wire::encode_live_node(node), CreateMode::Ephemeral);
    }
}

/// A broker's live node; `process` tells its processes apart.
pub fn live(node: &str, process: u128) -> LiveNode {
    LiveNode {
        id: PrimaryId {
            member: Member {
                node: NodeName::new(node).expect("a good name"),
                generation: Generation(process + 100),
            },
            incarnation: Incarnation(process),
        },
        address: Address::new(&format!("tcp://127.0.0.1:{process}")).expect("a good address"),
    }
}

pub fn live_name(node: &LiveNode) -> String {
    format!("{}-{}", node.id.member.node, node.id.incarnation)
}

pub fn live_path(node: &LiveNode) -> String {
    format!("{}/{}", paths().live(0), live_name(node))
}

pub fn bad_nodes(traces: &[Trace]) -> Vec<&str> {
    let mut paths = Vec::new();
    for trace in traces {
        if let Trace::BadNode { path, .. } = trace {
            paths.push(path.as_str());
        }
    }
    paths
}
