//! A group as this process sees it: the group's state and the live nodes of its brokers.
//!
//! The view is kept by rounds of reads. A round begins with a sync, so that what a follower shows is
//! hardly ever old; where a rule needs to be sure, with a barrier ([`Operation::barrier`]), and is then
//! called linearizable. The view takes what a round shows. What is lower than before it takes from a
//! linearizable round only (R25: a restored tree must be noticed, a server that is behind must not be
//! believed). A persistent recursive watch on the group starts the rounds; at most one is in flight,
//! and whatever happens meanwhile is covered by the next.
//!
//! A broker's live node is named after its process, so a successor never finds it taken. It is put
//! in place by what a round shows: absent, it is made; owned by an earlier session of this process,
//! it is replaced in one step, for it is about to go with that session.
//!
//! The node that holds the registry opens the sessions ([`Request::OpenSession`] at the start and
//! after each [`SessionState::Expired`]) and passes on every [`Event`].
//!
//! [`Request::OpenSession`]: super::Request::OpenSession

use super::{
    CallId, Context, Create, CreateMode, Delete, Error, Event, MultiError, MultiOperation, Operation, Paths,
    Reply, SessionId, SessionState, Stat, Zxid,
};
use crate::group::{GroupState, LiveNode};
use crate::id::Group;
use crate::limits::{MAX_CHILDREN, Timing};
use crate::rng::Backoff;
use crate::time::{Instant, is_due};
use crate::trace::{Rejection, Trace};
use crate::wire;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Most live nodes that are being read at a time.
const READ_WINDOW: usize = 64;

/// What is known of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupView {
    /// The group's state and the version of its node; `None` while the group does not exist.
    /// Cheap to clone.
    pub state: Option<(Arc<GroupState>, i32)>,
    /// The live nodes by their names. At most [`MAX_CHILDREN`]: the first ones by name, and this
    /// process's own.
    pub live: BTreeMap<String, Live>,
}

/// A live node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Live {
    /// What the broker says of itself.
    pub node: LiveNode,
    /// The transaction that created it: orders the processes of one node (R32).
    pub czxid: Zxid,
    /// The session that it goes with.
    pub owner: SessionId,
}

/// What an event has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Update {
    /// Nothing that shows.
    None,
    /// The view or the session has changed, or a round was completed.
    Changed,
}

/// Cached view of one group, kept current; optionally registers this process's live node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Registry {
    paths: Paths,
    group: Group,
    registration: Option<Registration>,
    view: GroupView,
    /// The latest session that was connected and is not known to be over.
    session: Option<SessionId>,
    connected: bool,
    preparation: Preparation,
    /// Names in the view that have to be read again, because an event named them or may have been lost.
    stale: BTreeSet<String>,
    reading: Option<Round>,
    wanted: bool,
    /// The latest round that has to be linearizable: so are all that begin before it is complete.
    linearizable: u64,
    started: u64,
    completed: u64,
    backoff: Backoff,
    retry_at: Option<Instant>,
}

/// This process's live node.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Registration {
    name: String,
    path: String,
    node: LiveNode,
    /// Whether it is to be in place, or was taken away.
    wanted: bool,
    in_flight: Option<CallId>,
    /// The latest one announced in the trace.
    traced: Option<Zxid>,
}

/// Parent nodes and the watch, once per session.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Preparation {
    Needed,
    InFlight(BTreeSet<CallId>),
    Done,
}

/// A round of reads in flight.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Round {
    waiting: BTreeMap<CallId, Read>,
    /// Live nodes still to be read.
    unread: Vec<String>,
    seen: GroupView,
    linearizable: bool,
    /// A write of our own was adopted since the round began: it may show an older state.
    overtaken: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Read {
    /// The sync or the barrier.
    Order,
    State,
    Children,
    Live(String),
}

impl Registry {
    /// A registry that knows nothing yet. With a `registration` it keeps that live node in place.
    pub fn new(paths: Paths, group: Group, registration: Option<LiveNode>, timing: &Timing) -> Self {
        let registration = registration.map(|node| {
            let name = live_name(&node);
            let path = format!("{}/{name}", paths.live(group));
            Registration { name, path, node, wanted: true, in_flight: None, traced: None }
        });
        Self {
            paths,
            group,
            registration,
            view: GroupView::default(),
            session: None,
            connected: false,
            preparation: Preparation::Needed,
            stale: BTreeSet::new(),
            reading: None,
            wanted: true,
            linearizable: 0,
            started: 0,
            completed: 0,
            backoff: Backoff::new(timing.backoff, timing.backoff_cap),
            retry_at: None,
        }
    }

    /// The view as of the latest round or adoption.
    pub const fn view(&self) -> &GroupView {
        &self.view
    }

    /// The session, while connected.
    pub fn session(&self) -> Option<SessionId> {
        self.session.filter(|_| self.connected)
    }

    /// Creation transaction of the own live node, if the latest round showed it as owned by the
    /// current session (R2). Kept while suspended: the session may well live.
    pub fn registered(&self) -> Option<Zxid> {
        let own = self.registration.as_ref().filter(|own| own.wanted)?;
        let live = self.view.live.get(&own.name)?;
        (Some(live.owner) == self.session || sabotage!(AdoptsEphemerals)).then_some(live.czxid)
    }

    /// Number of the latest completed round.
    pub const fn round(&self) -> u64 {
        self.completed
    }

    /// Asks for a round that begins now or later and returns its number: what it shows is in the view
    /// once [`Registry::round`] has come that far.
    pub fn refresh<E>(&mut self, cx: &mut Context<'_, E>) -> u64 {
        self.wanted = true;
        // Every attempt counts, so the number holds also when a round fails and is tried again.
        let under_way = sabotage!(RoundsUnderWayCount) && self.reading.is_some();
        let ticket = self.started + u64::from(!under_way);
        self.advance(cx);
        ticket
    }

    /// As [`Registry::refresh`], and the round shows everything that was confirmed to anyone before this
    /// call. It costs the coordination service a write.
    pub fn refresh_linearizable<E>(&mut self, cx: &mut Context<'_, E>) -> u64 {
        self.linearizable = self.started + 1;
        self.refresh(cx)
    }

    /// A conditional write of our own has succeeded and made this state with this version: the view
    /// follows without a read. Ignored if the view has already gone on.
    pub fn adopt(&mut self, state: GroupState, version: i32) {
        let order = |state: &GroupState| (state.history.lineage, state.config);
        if let Some((known, _)) = &self.view.state {
            let other_group = known.history.group_id != state.history.group_id;
            if other_group || order(known) > order(&state) {
                return;
            }
        }
        self.view.state = Some((Arc::new(state), version));
        if let Some(round) = &mut self.reading {
            round.overtaken = true;
        }
    }

    /// Takes the own live node away: others see at once that this process leaves (R12). The session goes
    /// on, and takes the node with it should this call be lost.
    pub fn withdraw<E>(&mut self, cx: &mut Context<'_, E>) {
        if let Some(own) = self.registration.as_mut().filter(|own| own.wanted) {
            own.wanted = false;
            cx.call(Operation::Delete(Delete { path: own.path.clone(), version: None }));
        }
    }

    /// Puts the own live node back in place, if it was taken away (R34).
    pub fn register<E>(&mut self, cx: &mut Context<'_, E>) {
        if let Some(own) = self.registration.as_mut().filter(|own| !own.wanted) {
            own.wanted = true;
            // It shows as in place until a round begins that sees it gone.
            self.view.live.remove(&own.name);
            self.refresh(cx);
        }
    }

    /// When [`Registry::handle_timeout`] is due.
    pub const fn deadline(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Tries again what failed. A no-op before the deadline.
    pub fn handle_timeout<E>(&mut self, cx: &mut Context<'_, E>) {
        if is_due(self.retry_at, cx.now) {
            self.retry_at = None;
            self.advance(cx);
        }
    }

    /// Takes what the coordination service says. Replies to others' calls are ignored.
    pub fn handle_event<E>(&mut self, event: &Event, cx: &mut Context<'_, E>) -> Update {
        match event {
            Event::Session(state) => {
                self.on_session(*state, cx);
                Update::Changed
            }
            Event::Watch { path, .. } => {
                self.on_watch(path, cx);
                Update::None
            }
            Event::Reply { call, result } => self.on_reply(*call, result, cx),
        }
    }

    fn on_session<E>(&mut self, state: SessionState, cx: &mut Context<'_, E>) {
        // Whatever was in flight is given up: a round after reconnecting shows what became of it.
        self.reading = None;
        self.retry_at = None;
        self.wanted = true;
        if let Some(own) = &mut self.registration {
            own.in_flight = None;
        }
        match state {
            SessionState::Connected(session) => {
                // Watches survive a reconnect of the same session, their events in between do not.
                let prepared = matches!(self.preparation, Preparation::Done);
                let another = self.session != Some(session) && !sabotage!(WatchNotRenewed);
                if another || !prepared {
                    self.preparation = Preparation::Needed;
                }
                self.session = Some(session);
                self.connected = true;
                self.stale = self.view.live.keys().cloned().collect();
                self.wanted = !sabotage!(ReconnectsUnread);
                self.advance(cx);
            }
            SessionState::Suspended => self.connected = false,
            SessionState::Expired => {
                self.connected = false;
                self.session = None;
            }
        }
    }

    fn on_watch<E>(&mut self, path: &str, cx: &mut Context<'_, E>) {
        let group = self.paths.group(self.group);
        let Some(below) = path.strip_prefix(&group) else { return };
        if !(below.is_empty() || below.starts_with('/')) {
            return;
        }
        if let Some(name) = below.strip_prefix("/live/") {
            // The same name may now be another node: deleted and made again between two rounds.
            let read = self.reading.as_ref().is_some_and(|round| round.involves(name));
            if read || self.view.live.contains_key(name) {
                self.stale.insert(name.to_string());
            }
        }
        self.wanted = !sabotage!(EventsIgnored);
        self.advance(cx);
    }

    fn on_reply<E>(
        &mut self,
        call: CallId,
        result: &Result<Reply, Error>,
        cx: &mut Context<'_, E>,
    ) -> Update {
        if let Preparation::InFlight(calls) = &mut self.preparation
            && calls.remove(&call)
        {
            self.on_prepared(result, cx);
        } else if let Some(own) = &mut self.registration
            && own.in_flight == Some(call)
        {
            own.in_flight = None;
            self.on_registered(result, cx);
        } else if let Some(read) = self.reading.as_mut().and_then(|round| round.waiting.remove(&call)) {
            return self.on_read(read, result, cx);
        }
        Update::None
    }

    fn on_prepared<E>(&mut self, result: &Result<Reply, Error>, cx: &mut Context<'_, E>) {
        match (result, &self.preparation) {
            (Ok(_) | Err(Error::NodeExists), Preparation::InFlight(calls)) if calls.is_empty() => {
                self.preparation = Preparation::Done;
                self.advance(cx);
            }
            (Ok(_) | Err(Error::NodeExists), _) => {}
            (Err(_), _) => {
                self.preparation = Preparation::Needed;
                self.retry(cx);
            }
        }
    }

    fn on_registered<E>(&mut self, result: &Result<Reply, Error>, cx: &mut Context<'_, E>) {
        self.wanted = true;
        match result {
            Ok(_) => self.advance(cx),
            Err(error) => {
                if *error == Error::NoNode {
                    self.preparation = Preparation::Needed;
                }
                // Whether the node is there, and whose it is, is for the next round to show.
                self.retry(cx);
            }
        }
    }

    fn on_read<E>(&mut self, read: Read, result: &Result<Reply, Error>, cx: &mut Context<'_, E>) -> Update {
        if matches!(read, Read::Live(_)) {
            self.read_next(cx);
        }
        match (read, result) {
            (Read::Order, Ok(_) | Err(Error::Multi { error: MultiError::NoNode, .. }))
            | (Read::State | Read::Children | Read::Live(_), Err(Error::NoNode)) => {}
            (Read::State, Ok(Reply::Data { data, stat })) => self.on_state(data, stat, cx),
            (Read::Children, Ok(Reply::Children(names))) => self.on_children(names, cx),
            (Read::Live(name), Ok(Reply::Data { data, stat })) => {
                self.on_live(name, data, stat, cx);
            }
            _ => {
                self.reading = None;
                self.wanted = true;
                self.stale = self.view.live.keys().cloned().collect();
                self.retry(cx);
            }
        }
        match self.reading.take_if(|round| round.waiting.is_empty()) {
            Some(round) => {
                self.complete(round, cx);
                Update::Changed
            }
            None => Update::None,
        }
    }

    fn on_state<E>(&mut self, data: &Bytes, stat: &Stat, cx: &mut Context<'_, E>) {
        let Some(round) = &mut self.reading else { return };
        match wire::decode_group_state(data) {
            Ok(state) => round.seen.state = Some((state.into(), stat.version)),
            Err(reason) => {
                cx.out.trace(Trace::BadNode { path: self.paths.state(self.group), reason });
            }
        }
    }

    fn on_children<E>(&mut self, names: &[String], cx: &mut Context<'_, E>) {
        let Some(round) = &mut self.reading else { return };
        let own = self.registration.as_ref().map(|own| own.name.as_str());
        let sorted: BTreeSet<&str> = names.iter().map(String::as_str).collect();
        // The own node is always among those kept: as absent it would be registered for ever.
        let kept = own.filter(|name| sorted.contains(name));
        let others = sorted.iter().copied().filter(|name| Some(*name) != own);
        let room = MAX_CHILDREN - usize::from(kept.is_some());
        for name in kept.into_iter().chain(others.take(room)) {
            let known = self.view.live.get(name).filter(|_| !self.stale.contains(name));
            if let Some(live) = known {
                round.seen.live.insert(name.to_string(), live.clone());
                continue;
            }
            round.unread.push(name.to_string());
        }
        // Not when the replies come: an event in between makes a name stale again.
        self.stale.clear();
        for _ in 0..READ_WINDOW {
            self.read_next(cx);
        }
    }

    fn read_next<E>(&mut self, cx: &mut Context<'_, E>) {
        let Some(round) = &mut self.reading else { return };
        let Some(name) = round.unread.pop() else { return };
        let path = format!("{}/{name}", self.paths.live(self.group));
        let call = cx.call(Operation::Get { path, watch: false });
        round.waiting.insert(call, Read::Live(name));
    }

    fn on_live<E>(&mut self, name: String, data: &Bytes, stat: &Stat, cx: &mut Context<'_, E>) {
        let Some(round) = &mut self.reading else { return };
        let decoded = wire::decode_live_node(data);
        match decoded.and_then(|node| check_name(&name, node)) {
            Ok(node) => {
                let live = Live { node, czxid: stat.czxid, owner: stat.ephemeral_owner };
                round.seen.live.insert(name, live);
            }
            Err(reason) => {
                let path = format!("{}/{name}", self.paths.live(self.group));
                cx.out.trace(Trace::BadNode { path, reason });
            }
        }
    }

    fn complete<E>(&mut self, round: Round, cx: &mut Context<'_, E>) {
        self.completed = self.started;
        let mut seen = round.seen;
        let version = |view: &GroupView| view.state.as_ref().map(|(_, version)| *version);
        let goes_back = version(&seen) < version(&self.view);
        let unproved = round.overtaken || !round.linearizable;
        if goes_back && unproved && !sabotage!(StaleRoundsBelieved) {
            seen.state = self.view.state.take();
            self.wanted = true;
            if !round.overtaken {
                self.linearizable = self.started + 1;
            }
        } else if seen.state != self.view.state
            && let Some((state, _)) = &seen.state
        {
            cx.out.trace(group_changed(state));
        }
        self.view = seen;
        self.settle_registration(cx);
        self.advance(cx);
    }

    /// Brings the own live node to where it should be, by what the latest round showed.
    fn settle_registration<E>(&mut self, cx: &mut Context<'_, E>) {
        let registered = self.registered();
        let Some(own) = self.registration.as_mut().filter(|own| own.wanted) else {
            self.backoff.reset();
            return;
        };
        if let Some(czxid) = registered {
            self.backoff.reset();
            if own.traced.replace(czxid) != registered {
                cx.out.trace(Trace::Registered { czxid });
            }
        } else if own.in_flight.is_none() {
            let create = Create {
                path: own.path.clone(),
                data: wire::encode_live_node(&own.node),
                mode: CreateMode::Ephemeral,
            };
            let operation = if self.view.live.contains_key(&own.name) {
                // An earlier session of this process owns it and takes it away when it expires.
                let delete = Delete { path: own.path.clone(), version: None };
                Operation::Multi([MultiOperation::Delete(delete), MultiOperation::Create(create)].into())
            } else {
                Operation::Create(create)
            };
            own.in_flight = Some(cx.call(operation));
        }
    }

    /// Takes the next step, unless one is under way or has to wait.
    fn advance<E>(&mut self, cx: &mut Context<'_, E>) {
        if !self.connected || self.retry_at.is_some() {
            return;
        }
        match self.preparation {
            Preparation::Needed => self.prepare(cx),
            Preparation::InFlight(_) => {}
            Preparation::Done if self.wanted && self.reading.is_none() => self.read(cx),
            Preparation::Done => {}
        }
    }

    /// Parents first, then the watch, all in one go: a session's calls are carried out in order.
    fn prepare<E>(&mut self, cx: &mut Context<'_, E>) {
        let live = self.paths.live(self.group);
        let mut calls: BTreeSet<_> = create_all(&live, cx).into_iter().collect();
        let path = self.paths.group(self.group);
        calls.insert(cx.call(Operation::Watch { path, recursive: true }));
        self.preparation = Preparation::InFlight(calls);
    }

    fn read<E>(&mut self, cx: &mut Context<'_, E>) {
        self.wanted = false;
        self.started += 1;
        let state = self.paths.state(self.group);
        let live = self.paths.live(self.group);
        let linearizable = self.completed < self.linearizable;
        let mut round = Round { linearizable, ..Round::default() };
        // R2: what is read after a sync is not a lagging follower's. R19, R25, R27: a sync is not enough.
        let order = match linearizable && !sabotage!(BarriersAreSyncs) {
            true => Operation::barrier(state.clone()),
            false => Operation::Sync { path: state.clone() },
        };
        let mut reads = [
            (order, Read::Order),
            (Operation::Get { path: state, watch: false }, Read::State),
            (Operation::Children { path: live, watch: false }, Read::Children),
        ];
        if sabotage!(ReadsUnsynced) {
            reads.rotate_left(1);
        }
        for (operation, read) in reads {
            round.waiting.insert(cx.call(operation), read);
        }
        self.reading = Some(round);
    }

    fn retry<E>(&mut self, cx: &mut Context<'_, E>) {
        if self.connected && self.retry_at.is_none() {
            self.retry_at = Some(cx.now + self.backoff.next(cx.rng));
        }
    }
}

impl Round {
    fn involves(&self, name: &str) -> bool {
        let waited_for = |read: &Read| matches!(read, Read::Live(other) if other == name);
        self.seen.live.contains_key(name)
            || self.waiting.values().any(waited_for)
            || self.unread.iter().any(|other| other == name)
    }
}

/// Asks for a node at `path` and at everything above it. [`Error::NodeExists`] is a success.
pub(super) fn create_all<E>(path: &str, cx: &mut Context<'_, E>) -> Vec<CallId> {
    let ends = path.match_indices('/').map(|(at, _)| at).skip(1).chain([path.len()]);
    ends.map(|end| {
        cx.call(Operation::Create(Create {
            path: path[..end].to_string(),
            data: Bytes::new(),
            mode: CreateMode::Persistent,
        }))
    })
    .collect()
}

fn live_name(node: &LiveNode) -> String {
    format!("{}-{}", node.id.member.node, node.id.incarnation)
}

fn check_name(name: &str, node: LiveNode) -> Result<LiveNode, Rejection> {
    if live_name(&node) == name { Ok(node) } else { Err(Rejection::Malformed) }
}

/// The trace of a state that has not been seen before.
pub fn group_changed(state: &GroupState) -> Trace {
    Trace::GroupChanged {
        history: state.history,
        epoch: state.epoch,
        config: state.config,
        primary: state.primary.as_ref().map(|primary| primary.member.node.clone()),
        in_sync: state.in_sync.iter().map(|member| member.node.clone()).collect(),
    }
}
