//! Discovery: tells clients who is primary.
//!
//! Every replica keeps its own view of the group ([`Registry`]) and answers look-ups from it, also
//! while the coordination service is out of reach: then with the last view and its age. Clients that
//! ask to are told every later change on the same link.
//!
//! One replica leads ([`Election`]) and does the one thing that needs a leader: it creates the group
//! when the first broker has registered (R26). All later changes are the brokers' own.

mod status;

use crate::coordination::election::Election;
use crate::coordination::registry::{GroupView, Live, Registry, Update};
use crate::coordination::{
    self, CallIds, Context, Create, CreateMode, Delete, Error, MultiError, MultiOperation, Operation, Paths,
    Reply, Request, SessionState,
};
use crate::group::GroupState;
use crate::id::{Endpoint, Epoch, Group, GroupId, Nonce};
use crate::limits::Timing;
use crate::link::{Frame, LinkId, LinkStatus};
use crate::message::{History, Lookup, Message, Route};
use crate::node::{Input, Node, Outbox, Output};
use crate::rng::{Backoff, Rng};
use crate::stats::Stats;
use crate::time::{Duration, Instant, earliest, is_due};
use crate::trace::{Rejection, Trace};
use crate::wire;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;

/// Most links that are told of changes. A further one gets its answer, and has to ask again.
pub const MAX_WATCHERS: usize = 65_536;
/// Most look-ups that wait for a fresh read. A further one is answered at once, as not fresh.
pub const MAX_WAITING: usize = 65_536;

/// The one group of a cluster.
const GROUP: Group = 0;
const GROUPS: u32 = 1;

/// What a replica is started with.
#[derive(Clone, Debug)]
pub struct Boot {
    /// Seeds its random numbers.
    pub seed: u64,
    /// Random, new with every process: its name in the election.
    pub replica: u128,
    /// Where the cluster lies in the coordination tree, for example `/steadfast/demo`.
    pub root: String,
    /// Settings.
    pub config: Config,
}

/// Settings of a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Timings.
    pub timing: Timing,
    /// For a group that this replica creates: commits need this many in-sync members.
    pub min_in_sync: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self { timing: Timing::default(), min_in_sync: 1 }
    }
}

/// What the application asks of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Leave. [`Event::Stopped`] follows.
    Shutdown,
}

/// What a replica tells the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It has left and does nothing any more.
    Stopped,
}

/// A discovery replica.
#[derive(Clone, Debug)]
pub struct Discovery {
    replica: u128,
    config: Config,
    paths: Paths,
    rng: Rng,
    calls: CallIds,
    out: Outbox<Event>,
    registry: Registry,
    election: Election,
    creation: Creation,
    /// What clients are told, as of the latest view.
    known: Known,
    /// When the coordination service was last heard; `None`: it is connected.
    heard: Option<Instant>,
    watchers: BTreeSet<LinkId>,
    /// Look-ups for a fresh answer, with the round that will give it. At most one a link: the latest.
    waiting: BTreeMap<LinkId, u64>,
    stopped: bool,
}

/// A replica's state in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Whether it leads discovery.
    pub leads: bool,
    /// Whether the group exists.
    pub group: bool,
    /// Whether the group has a primary that is live.
    pub primary: bool,
    /// The group's epoch.
    pub epoch: Epoch,
    /// Members in sync.
    pub in_sync: usize,
    /// Brokers that are live.
    pub live: usize,
    /// Clients that are told of changes.
    pub watchers: usize,
    /// Look-ups that wait for a fresh read.
    pub waiting: usize,
    /// How long the coordination service has been out of reach; zero while it is connected.
    pub age: Duration,
}

/// The creation of the group.
#[derive(Clone, Debug)]
struct Creation {
    in_flight: Option<(coordination::CallId, GroupState)>,
    backoff: Backoff,
    retry_at: Option<Instant>,
}

/// The part of a [`Route`] whose changes are told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Known {
    history: Option<History>,
    epoch: Epoch,
    config: u64,
    primary: Option<Endpoint>,
}

impl Known {
    fn of(view: &GroupView) -> Self {
        let Some((state, _)) = &view.state else { return Self::default() };
        let primary = state.primary.as_ref();
        let live = view.live.values().find(|live| Some(&live.node.id) == primary);
        Self {
            history: Some(state.history),
            epoch: state.epoch,
            config: state.config,
            primary: live.map(|live| Endpoint {
                node: live.node.id.member.node.clone(),
                incarnation: live.node.id.incarnation,
                address: live.node.address.clone(),
            }),
        }
    }
}

macro_rules! context {
    ($node:ident, $now:expr) => {
        &mut Context { now: $now, rng: &mut $node.rng, calls: &mut $node.calls, out: &mut $node.out }
    };
}

impl Discovery {
    /// A replica that asks for its first coordination session.
    pub fn new(now: Instant, boot: Boot) -> Self {
        let Boot { seed, replica, root, config } = boot;
        let paths = Paths::new(root);
        let mut out = Outbox::default();
        out.coordinate(Request::OpenSession);
        Self {
            replica,
            registry: Registry::new(paths.clone(), GROUP, None, &config.timing),
            election: Election::new(paths.clone(), replica, &config.timing),
            creation: Creation {
                in_flight: None,
                backoff: Backoff::new(config.timing.backoff, config.timing.backoff_cap),
                retry_at: None,
            },
            config,
            paths,
            rng: Rng::new(seed),
            calls: CallIds::default(),
            out,
            known: Known::default(),
            heard: Some(now),
            watchers: BTreeSet::new(),
            waiting: BTreeMap::new(),
            stopped: false,
        }
    }

    /// What it has counted.
    pub const fn stats(&self) -> &Stats {
        self.out.stats()
    }

    /// What it knows of the group.
    pub const fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Its state in numbers, at `now`.
    pub fn figures(&self, now: Instant) -> Figures {
        let view = self.registry.view();
        let state = view.state.as_ref().map(|(state, _)| state);
        Figures {
            leads: self.election.fence().is_some(),
            group: state.is_some(),
            primary: self.known.primary.is_some(),
            epoch: self.known.epoch,
            in_sync: state.map_or(0, |state| state.in_sync.len()),
            live: view.live.len(),
            watchers: self.watchers.len(),
            waiting: self.waiting.len(),
            age: self.heard.map_or(Duration::ZERO, |heard| now - heard),
        }
    }

    fn on_received(&mut self, now: Instant, link: LinkId, frame: Frame) {
        match wire::decode(frame) {
            Ok(Message::Lookup(lookup)) => self.on_lookup(now, link, lookup),
            Ok(Message::Ping { token }) => self.send(link, &Message::Pong { token }),
            Ok(Message::StatusRequest { token }) => {
                let status = Box::new(self.status(now, token));
                self.send(link, &Message::DiscoveryStatus(status));
            }
            Ok(_) => self.out.trace(Trace::Rejected { link, reason: Rejection::Unexpected }),
            Err(reason) => self.out.trace(Trace::Rejected { link, reason }),
        }
    }

    fn on_lookup(&mut self, now: Instant, link: LinkId, lookup: Lookup) {
        self.out.count().lookups += 1;
        if lookup.group != GROUP {
            let route = self.route(now, lookup.group, Known::default(), false);
            return self.send(link, &Message::Route(route));
        }
        if lookup.watch && self.watchers.len() < MAX_WATCHERS {
            self.watchers.insert(link);
        }
        if lookup.fresh && self.registry.session().is_some() && self.waiting.len() < MAX_WAITING {
            let ticket = sabotage!(StaleIsFresh => self.registry.round();
                self.registry.refresh_linearizable(context!(self, now)));
            self.waiting.insert(link, ticket);
        } else {
            self.answer(now, link, false);
        }
    }

    fn on_link(&mut self, link: LinkId, status: LinkStatus) {
        match status {
            LinkStatus::Up => {}
            LinkStatus::Lost | LinkStatus::Refused => {
                self.watchers.remove(&link);
                self.waiting.remove(&link);
            }
        }
    }

    fn on_coordination(&mut self, now: Instant, event: &coordination::Event) {
        if let coordination::Event::Session(state) = event {
            self.on_session(now, *state);
        }
        let update = self.registry.handle_event(event, context!(self, now));
        self.election.handle_event(event, context!(self, now));
        if let coordination::Event::Reply { call, result } = event
            && let Some((_, state)) = self.creation.in_flight.take_if(|(id, _)| id == call)
        {
            self.on_created(now, state, result);
        }
        let known = Known::of(self.registry.view());
        let news = known != self.known;
        self.known = known;
        if update == Update::Changed {
            self.answer_waiting(now);
        }
        if news && !sabotage!(WatchersNotTold) {
            self.tell_watchers(now);
        }
        self.create_group(now);
    }

    fn on_session(&mut self, now: Instant, state: SessionState) {
        self.out.trace(Trace::Session(state));
        // What became of a creation in flight is seen in the tree.
        self.creation.in_flight = None;
        match state {
            SessionState::Connected(_) => self.heard = None,
            SessionState::Suspended => self.heard = self.heard.or(Some(now)),
            SessionState::Expired => {
                self.heard = self.heard.or(Some(now));
                self.out.coordinate(Request::OpenSession);
            }
        }
    }

    /// Answers the look-ups whose round is complete; all of them when no round can be expected.
    fn answer_waiting(&mut self, now: Instant) {
        let connected = self.registry.session().is_some();
        let round = self.registry.round();
        for (link, ticket) in core::mem::take(&mut self.waiting) {
            let fresh = round >= ticket;
            if fresh || !connected {
                self.answer(now, link, fresh);
            } else {
                self.waiting.insert(link, ticket);
            }
        }
    }

    fn tell_watchers(&mut self, now: Instant) {
        let watchers = core::mem::take(&mut self.watchers);
        for link in &watchers {
            self.answer(now, *link, false);
        }
        self.watchers = watchers;
    }

    fn answer(&mut self, now: Instant, link: LinkId, fresh: bool) {
        let route = self.route(now, GROUP, self.known.clone(), fresh);
        self.send(link, &Message::Route(route));
    }

    fn route(&mut self, now: Instant, group: Group, known: Known, fresh: bool) -> Route {
        self.out.count().routes += 1;
        let Known { history, epoch, config, primary } = known;
        let Timing { backoff, backoff_cap, .. } = self.config.timing;
        let retry_after = match primary {
            Some(_) => Duration::ZERO,
            None => backoff + self.rng.jitter(backoff_cap),
        };
        let age = self.age(now);
        Route { group, groups: GROUPS, history, epoch, config, primary, retry_after, age, fresh }
    }

    fn send(&mut self, link: LinkId, message: &Message) {
        self.out.transmit(link, wire::encode(message));
    }

    /// R26: the leader creates a group that does not exist, for the broker that registered first.
    fn create_group(&mut self, now: Instant) {
        let view = self.registry.view();
        if view.state.is_some() || self.registry.round() == 0 {
            return;
        }
        if self.creation.in_flight.is_some() || self.creation.retry_at.is_some() {
            return;
        }
        let Some(fence) = self.election.fence() else { return };
        let order = |live: &Live| sabotage!(LastComesFirst => -live.czxid; live.czxid);
        let Some((name, first)) = view.live.iter().min_by_key(|(_, live)| order(live)) else { return };
        let live = alloc::format!("{}/{name}", self.paths.live(GROUP));
        let state = GroupState::bootstrap(
            GroupId(self.rng.next_u128()),
            first.node.id.member.clone(),
            self.config.min_in_sync,
            Nonce(self.rng.next_u128()),
        );
        let create = Create {
            path: self.paths.state(GROUP),
            data: wire::encode_group_state(&state),
            mode: CreateMode::Persistent,
        };
        // A group whose only member is gone could never begin: the broker must still be there.
        let present = Delete { path: live, version: None };
        let fence = Some(fence).filter(|_| !sabotage!(CreatesUnfenced));
        let present = Some(MultiOperation::Check(present)).filter(|_| !sabotage!(CreatesForTheAbsent));
        let operations = fence.into_iter().chain(present).chain([MultiOperation::Create(create)]).collect();
        let call = context!(self, now).call(Operation::Multi(operations));
        self.creation.in_flight = Some((call, state));
    }

    fn on_created(&mut self, now: Instant, state: GroupState, result: &Result<Reply, Error>) {
        match result {
            Ok(_) => {
                self.creation.backoff.reset();
                self.out.trace(Trace::GroupCreated { history: state.history });
                self.registry.adopt(state, 0);
            }
            Err(error) => {
                let fenced = Error::Multi { index: 0, error: MultiError::BadVersion };
                if *error == fenced {
                    self.election.fenced(context!(self, now));
                }
                self.creation.retry_at = Some(now + self.creation.backoff.next(&mut self.rng));
                self.registry.refresh(context!(self, now));
            }
        }
    }

    fn on_timeout(&mut self, now: Instant) {
        self.registry.handle_timeout(context!(self, now));
        self.election.handle_timeout(context!(self, now));
        if is_due(self.creation.retry_at, now) {
            self.creation.retry_at = None;
            self.create_group(now);
        }
    }

    fn shut_down(&mut self) {
        self.out.coordinate(Request::CloseSession);
        self.out.event(Event::Stopped);
        self.watchers.clear();
        self.waiting.clear();
        self.stopped = true;
    }
}

impl Node for Discovery {
    type Command = Command;
    type Event = Event;

    fn handle_input(&mut self, now: Instant, input: Input<Command>) {
        if self.stopped {
            return;
        }
        match input {
            Input::Command(Command::Shutdown) => self.shut_down(),
            Input::Received { link, frame } => {
                self.out.count().frame_received(frame.len());
                self.on_received(now, link, frame);
            }
            Input::Link { link, status } => self.on_link(link, status),
            Input::Coordination(event) => {
                self.out.count().told(&event);
                self.on_coordination(now, &event);
            }
            // A replica stores nothing, so no completion is its own.
            Input::Storage(_) => {}
            Input::Timeout => self.on_timeout(now),
        }
    }

    fn poll_output(&mut self) -> Option<Output<Event>> {
        self.out.pop()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        if self.stopped {
            return None;
        }
        let coordination = earliest(self.registry.deadline(), self.election.deadline());
        earliest(coordination, self.creation.retry_at)
    }
}
