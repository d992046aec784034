//! The simulated coordination ensemble: the in-memory tree of the core, and between it and every
//! process a client that behaves like the real one. Requests and replies travel on pipes that can be
//! cut. There are two servers to be connected to: the leader, and a follower; either may be behind
//! what they have agreed on.
//!
//! What holds of a ZooKeeper ensemble and its client, and the test that shows it. Those of the tree
//! alone are in `core/tests/coordination_tree/main.rs`, the others in `sim/tests/coordination.rs` (c),
//! `sim/tests/ensemble.rs` (e) and `sim/tests/processes.rs` (p).
//!
//! 1. A sequence number counts the creates under its parent; what fails takes none:
//!    `statement_1_the_sequence_number_counts_creates_and_failures_take_none`.
//! 2. A session expires within [T, T + tick] of the moment at which the leader heard of it last
//!    (c `a_session_expires_a_timeout_and_at_most_a_tick_after_its_process_died`,
//!    e `silence_counts_from_its_beginning_whatever_comes_later`), which is a ping before the client
//!    fell silent (e `the_leader_heard_of_a_client_last_when_that_pinged_last`). A new leader grants a
//!    full T (e `a_new_leader_grants_a_full_timeout_again`); without a leader nothing expires
//!    (e `nothing_expires_while_all_servers_are_down`).
//! 3. On expiry the delete events come in any order, and all nodes are gone before the first:
//!    `statement_3_all_ephemerals_are_gone_before_the_first_event_and_events_come_in_any_order`.
//! 4. A client learns of its expiry when it connects again, after the others
//!    (c `a_short_pause_is_not_noticed_and_a_long_one_ends_the_session`), or by itself after 1.4 T
//!    (c `a_client_that_is_cut_off_is_suspended_and_then_gives_up`,
//!    e `a_client_gives_up_in_a_long_outage_and_is_served_after_it`). While its follower answers its
//!    pings it learns nothing (e `a_client_of_a_cut_off_follower_is_pinged_while_its_session_runs_out`).
//! 5. Within a session an event comes before any reply that shows the state behind it
//!    (e `within_a_session_an_event_comes_before_a_reply_that_shows_it`).
//! 6. A read may be stale, after a sync on a follower it is not
//!    (c `a_read_may_be_stale_and_after_a_sync_it_is_not`,
//!    e `a_cut_off_follower_shows_the_past_until_it_is_back`). The leader answers a sync of its own
//!    sessions without waiting for what it has not applied yet; after a transaction, also one that only
//!    checks, no read is stale (e `a_sync_on_the_leader_is_no_barrier_and_a_transaction_is_one`).
//! 7. A one-shot watch gives one event for the create and delete of a child:
//!    `statement_7_a_one_shot_watch_gives_one_event_for_create_and_delete_of_a_child`.
//! 8. What happens while a client is disconnected is lost to its persistent watches
//!    (c `what_a_watch_would_have_seen_while_disconnected_is_lost`); one-shot watches fire for what has
//!    changed in the end (e `one_shot_watches_outlive_a_disconnect_and_miss_what_is_undone_again`).
//! 9. A recursive watch sends no `ChildrenChanged`, a multi fires one event per operation: two tests of
//!    `statement_9`.
//! 10. A multi is all or nothing, names what failed, and sees its own operations:
//!     `statement_10_a_failing_multi_names_its_index_and_undoes_everything`.
//! 11. A request under way when its connection breaks is done, lost, or done later
//!     (c `a_request_under_way_when_the_connection_breaks_is_lost_or_done_or_done_late`,
//!     e `a_request_under_way_when_the_leader_dies_is_answered_or_lost_or_done_or_done_by_the_next`).
//! 12. After the session is attached again and has synced, nothing of the old connection lands
//!     (e `after_attaching_again_and_a_sync_nothing_of_the_old_connection_lands_any_more`).
//! 13. Delete and create reset the version: `statement_13_delete_and_create_resets_the_version`.
//! 14. The same data bumps the version, an ephemeral has no children:
//!     `statement_14_the_same_data_bumps_the_version_and_ephemerals_have_no_children`.
//! 15. The ephemeral of one's own former session is in the way until that expires
//!     (p `a_process_that_is_back_before_its_session_is_over_finds_its_own_ephemeral`).
//! 16. Calls made while disconnected wait (c `calls_made_while_disconnected_wait_for_the_connection`),
//!     silence is noticed after 0.4 T, and the session given up after 1.4 T (see 4).

mod client;
mod outage;
mod replica;
mod server;
mod standing;

use crate::network::{ProcessId, Tail};
use crate::pipe::Pipe;
use crate::random::{Draws, Purpose, Span};
use client::Client;
use outage::Outage;
use server::Server;
pub use standing::Standing;
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
    /// How often the leader applies late what is agreed on, and how late.
    pub leader_late: Tail,
    /// A client pings in these intervals: when it falls silent, the leader last heard of it up to so
    /// long before.
    pub ping: Duration,
    /// How long there is no leader when one has died.
    pub election: Span,
    /// How late a client notices that its server has gone.
    pub notice: Span,
    /// A follower serves its clients for so long without its leader.
    pub sync_limit: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            session_timeout: Duration::from_secs(2),
            tick: Duration::from_millis(100),
            latency: Span::new(Duration::from_micros(200), Duration::from_millis(1)),
            reconnect: Span::new(Duration::from_millis(10), Duration::from_millis(200)),
            follower_lag: Span::new(Duration::ZERO, Duration::from_millis(20)),
            leader_late: Tail::NONE,
            ping: Duration::ZERO,
            election: Span::new(Duration::from_millis(400), Duration::from_millis(1_400)),
            notice: Span::new(Duration::from_millis(10), Duration::from_millis(110)),
            sync_limit: Duration::from_millis(1_500),
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
    /// The servers apply what is due.
    CatchUp,
    /// A session has shown no sign of life for too long.
    Expire(SessionId, u64),
    /// An election is over.
    Elected(u64),
    /// A client notices that its server has gone.
    Abandoned(ConnectionId),
    /// The follower has been without its leader for too long.
    Isolated(u64),
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
    /// Its server has gone.
    gone: bool,
}

/// The ensemble and every process's client.
#[derive(Debug)]
pub struct Ensemble {
    config: Config,
    draws: Draws,
    server: Server,
    clients: BTreeMap<ProcessId, Client>,
    connections: BTreeMap<ConnectionId, Connection>,
    /// How often each process's client has connected.
    connected: BTreeMap<ProcessId, u64>,
    /// Draws made, by whom they concern and what they are for.
    drawn: BTreeMap<(ProcessId, u8), u64>,
    outage: Outage,
    elections: u64,
    /// Times that the follower was cut off.
    isolations: u64,
    /// When a server is to catch up next.
    catch_up_at: Option<u64>,
}

impl Ensemble {
    /// An ensemble with an empty tree.
    pub fn new(config: Config, draws: Draws) -> Self {
        Self {
            config,
            draws,
            server: Server::new(config, draws),
            clients: BTreeMap::new(),
            connections: BTreeMap::new(),
            connected: BTreeMap::new(),
            drawn: BTreeMap::new(),
            outage: Outage::None,
            elections: 0,
            isolations: 0,
            catch_up_at: None,
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
        let drawn = self.drawn.entry((process, purpose as u8)).or_default();
        *drawn += 1;
        self.draws.within(purpose, process.entity(), *drawn, span)
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
                if self.outage == Outage::None && self.server.is_overdue(session, version) {
                    self.expire(now, session, &mut effects);
                }
            }
            Happening::Elected(number) => self.elected(now, number, &mut effects),
            Happening::Abandoned(id) => self.abandoned(now, id, &mut effects),
            Happening::Isolated(number) => self.isolated(now, number, &mut effects),
            Happening::CatchUp => {
                self.catch_up_at = None;
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
        let waits = match connection.up.first() {
            // What had reached a server may be carried out by the next leader.
            Some(Up::Call(..) | Up::Close) if self.outage != Outage::None => true,
            // An isolated follower does what it can do alone.
            Some(Up::Call(_, operation)) => self.server.is_isolated(id) && !server::is_read(operation),
            _ => false,
        };
        if waits {
            connection.up.hold();
            return;
        }
        let Some(packet) = connection.up.take() else { return };
        match packet {
            Up::Open | Up::Reattach(..) if self.outage != Outage::None => {}
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
        if let Some(version) = self.server.hear(session) {
            self.schedule_expiry(now, session, version, effects);
        }
        let result = self.server.execute(now, session, operation);
        self.spread(now, effects);
        let seen = self.server.seen(session);
        self.down(now, id, Down::Reply(call, result, seen), effects);
    }

    /// Sends out the watches that have fired, and says when a server has more to do.
    fn spread(&mut self, now: u64, effects: &mut Effects) {
        while let Some((id, fired)) = self.server.next_fired() {
            self.down(now, id, Down::Watch(fired.path, fired.kind), effects);
        }
        if let Some(due) = self.server.due().filter(|&due| self.catch_up_at.is_none_or(|at| due < at)) {
            self.catch_up_at = Some(due);
            effects.later.push((due, Happening::CatchUp));
        }
    }

    fn expire(&mut self, now: u64, session: SessionId, effects: &mut Effects) {
        let holder = self.server.holder(session);
        self.server.close(now, session);
        self.spread(now, effects);
        // An isolated follower knows nothing of it.
        if let Some(id) = holder.filter(|&id| !self.server.is_isolated(id)) {
            self.down(now, id, Down::Closed, effects);
        }
    }

    fn down(&mut self, now: u64, id: ConnectionId, packet: Down, effects: &mut Effects) {
        let Some(process) = self.connections.get(&id).map(|connection| connection.process) else { return };
        let latency = self.draw(Purpose::CoordinationLatency, process, self.config.latency);
        if let Some(connection) =
            self.connections.get_mut(&id).filter(|connection| !connection.dropped && !connection.gone)
        {
            effects.later.push((connection.down.put(packet, now + latency), Happening::Down(id)));
        }
    }

    fn up(&mut self, now: u64, id: ConnectionId, packet: Up, effects: &mut Effects) {
        let Some(process) = self.connections.get(&id).map(|connection| connection.process) else { return };
        let latency = self.draw(Purpose::CoordinationLatency, process, self.config.latency);
        if let Some(connection) = self.connections.get_mut(&id).filter(|connection| !connection.gone) {
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
        let pings = self.is_pinging(process) && !self.server.is_isolated_session(session);
        self.age(now, session, process, pings, effects);
    }

    /// Whether a process's pings arrive at the server that it is connected to.
    fn is_pinging(&self, process: ProcessId) -> bool {
        self.clients.get(&process).is_some_and(|client| client.running && !client.cut_to)
    }

    fn age(&mut self, now: u64, session: SessionId, process: ProcessId, pings: bool, effects: &mut Effects) {
        if let Some(version) = self.server.touch(session, pings) {
            let since = self.draw(Purpose::Expiry, process, Span::new(Duration::ZERO, self.config.ping));
            self.schedule_expiry(now.saturating_sub(since), session, version, effects);
        }
    }

    /// A session that the leader heard of last at `heard` expires unless it hears of it again.
    fn schedule_expiry(&mut self, heard: u64, session: SessionId, version: u64, effects: &mut Effects) {
        let tick = Span::new(Duration::ZERO, self.config.tick);
        let late = self.draws.within(Purpose::Expiry, session << 32, version, tick);
        let at = heard + self.config.timeout() + late;
        effects.later.push((at, Happening::Expire(session, version)));
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
        if std::mem::take(&mut client.abandoned) {
            self.disconnect(now, process, now, &mut effects);
        } else if now - client.paused_at >= self.config.silence() {
            effects.later.push((now, Happening::Silence(process, client.quiet)));
        } else if client.cut_to || client.cut_from {
            effects.later.push((now + self.config.silence(), Happening::Silence(process, client.quiet)));
        }
        let client = self.clients.entry(process).or_default();
        if std::mem::take(&mut client.postponed) {
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
            self.disconnect(now, process, now, &mut effects);
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
