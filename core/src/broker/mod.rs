//! A broker: one replica of a group's log, backup or primary.
//!
//! The node holds the control flow; what it knows is in components: [`replica`] (log, sessions,
//! commit), [`backup`] and [`primary`] (what each role knows of the others), [`configuration`] (the
//! one change of the group's state that may be under way), [`candidacy`] (when to try for the lead).

pub mod backup;
pub mod candidacy;
mod catching_up;
pub mod configuration;
pub mod delivery;
pub mod durability;
pub mod expiry;
pub mod figures;
pub mod followers;
mod following;
mod handover;
pub mod head;
mod leading;
pub mod oversize;
pub mod primary;
pub mod probes;
mod publishing;
pub mod replica;
pub mod retention;
mod roles;
pub mod sessions;
pub mod snapshot;
mod status;
mod streaming;
pub mod throttle;
pub mod topics;

use crate::compression::Codecs;
use crate::coordination::registry::{Registry, Update, group_changed};
use crate::coordination::{self, CallIds, Context, Paths, Request, SessionState};
use crate::group::{LiveNode, PrimaryId};
use crate::id::{Address, BrokerIdentity, Endpoint, Epoch, Generation, Group, Incarnation, Member, NodeName};
use crate::limits::{RETRY_SOON, SESSION_EXPIRY, Timing};
use crate::link::{Dialler, Frame, LinkId, LinkStatus};
use crate::message::{Message, Refusal};
use crate::node::{Input, Node, Outbox, Output};
use crate::rng::{Backoff, Rng};
use crate::stats::Stats;
use crate::storage;
use crate::time::{Duration, Instant, earliest};
use crate::trace::{Halt, Rejection, Trace};
use crate::wire;
use alloc::boxed::Box;
use alloc::string::String;
use backup::Backup;
use candidacy::Candidacy;
use configuration::{Configuration, Resolution};
use handover::Shutdown;
use primary::Primary;
use replica::Replica;
use retention::{Ages, Retention};
use serde::{Deserialize, Serialize};

/// What a group does when no member that was in sync can exist any more (R24, R27).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnTotalLoss {
    /// Waits for an operator: nothing is published until then.
    Wait,
    /// Begins anew in a new lineage; publishers and subscribers are told.
    #[default]
    Reset,
}

/// How a broker behaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Failure detection and recovery.
    pub timing: Timing,
    /// How much is kept.
    pub retention: Retention,
    /// Memory for the log, in bytes. A full log refuses batches: keep it well above what is retained,
    /// by [`Config::uncommitted_bytes`] at least.
    pub log_bytes: u64,
    /// Memory of entries that may wait for in-sync members, in bytes. Beyond it batches are refused.
    pub uncommitted_bytes: u64,
    /// What to do when all data is lost.
    pub on_total_loss: OnTotalLoss,
    /// A publisher's session of which the primary has heard nothing for this long is forgotten (R29).
    pub session_expiry: Duration,
    /// How publishers may compress: what every reader of the group can read.
    pub compression: Codecs,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            timing: Timing::default(),
            retention: Retention::default(),
            log_bytes: 1 << 30,
            uncommitted_bytes: 32 << 20,
            on_total_loss: OnTotalLoss::default(),
            session_expiry: SESSION_EXPIRY,
            compression: Codecs::default(),
        }
    }
}

/// Everything a broker starts from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Boot {
    /// Seeds the node's random numbers.
    pub seed: u64,
    /// The broker's name, kept over restarts.
    pub node: NodeName,
    /// What its storage holds: new with every process while the log is in memory (R22).
    pub generation: Generation,
    /// New with every process.
    pub incarnation: Incarnation,
    /// Where others reach it.
    pub address: Address,
    /// Which group it belongs to.
    pub group: Group,
    /// Where the cluster stands in the coordination tree.
    pub root: String,
    /// How it behaves.
    pub config: Config,
}

/// What an operator asks of a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Leave the group, with a handover if it is primary (R34), and stop.
    Shutdown,
}

/// What a broker tells its process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It has left and does nothing more.
    Stopped,
    /// It has found a contradiction that no broker may resolve by itself, and does nothing more.
    Halted(Halt),
}

/// What the broker is to its group.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Role {
    Backup(Box<Backup>),
    Primary(Box<Primary>),
    Stopped,
}

/// The node's shared parts, as components need them.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Io {
    rng: Rng,
    calls: CallIds,
    /// What is not handed out yet, and counts: no part of what a broker does next.
    #[serde(skip)]
    out: Outbox<Event>,
}

impl Io {
    const fn context(&mut self, now: Instant) -> Context<'_, Event> {
        Context { now, rng: &mut self.rng, calls: &mut self.calls, out: &mut self.out }
    }
}

/// A broker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Broker {
    group: Group,
    me: PrimaryId,
    address: Address,
    config: Config,
    io: Io,
    dialler: Dialler,
    registry: Registry,
    configuration: Configuration,
    candidacy: Candidacy,
    replica: Replica,
    ages: Ages,
    role: Role,
    /// Highest epoch that this process led and gave up.
    resigned: Epoch,
    /// The tree seems to have gone back: the read round that will tell (R25).
    doubt: Option<u64>,
    /// It was asked to leave.
    shutdown: Option<Shutdown>,
    last_input: Instant,
    /// When the coordination service was lost; `None` while connected, from the first round of reads on.
    alone_since: Option<Instant>,
}

impl Broker {
    /// A broker that knows nothing yet.
    pub fn new(now: Instant, boot: Boot) -> Self {
        let Boot { seed, node, generation, incarnation, address, group, root, config } = boot;
        let member = Member { node, generation: Generation(sabotage!(GenerationKept => 1; generation.0)) };
        let me = PrimaryId { member, incarnation };
        let paths = Paths::new(root);
        let timing = &config.timing;
        let backoff = Backoff::new(timing.backoff, timing.backoff_cap);
        let live = LiveNode { id: me.clone(), address: address.clone() };
        let mut io = Io { rng: Rng::new(seed), calls: CallIds::default(), out: Outbox::default() };
        io.out.coordinate(Request::OpenSession);
        Self {
            group,
            configuration: Configuration::new(paths.state(group), backoff.clone()),
            candidacy: Candidacy::new(backoff, timing.suspicion * 10, timing.lag + timing.suspicion),
            registry: Registry::new(paths, group, Some(live), timing),
            role: Role::Backup(Box::new(Backup::new(now, (0, None), timing))),
            me,
            address,
            config,
            io,
            dialler: Dialler::default(),
            replica: Replica::default(),
            ages: Ages::default(),
            resigned: 0,
            doubt: None,
            shutdown: None,
            last_input: now,
            alone_since: Some(now),
        }
    }

    /// Its copy of the group's data.
    pub const fn replica(&self) -> &Replica {
        &self.replica
    }

    /// For whoever writes its state down.
    pub(crate) const fn replica_mut(&mut self) -> &mut Replica {
        &mut self.replica
    }

    /// What it has counted.
    pub const fn stats(&self) -> &Stats {
        self.io.out.stats()
    }

    /// The same, for whoever takes the samples.
    pub const fn stats_mut(&mut self) -> &mut Stats {
        self.io.out.count()
    }

    /// Its process.
    pub const fn id(&self) -> &PrimaryId {
        &self.me
    }

    /// Whether the tree seems to have gone back (R25): a primary commits nothing until it knows better.
    pub const fn is_in_doubt(&self) -> bool {
        self.doubt.is_some()
    }

    /// The epoch in which it acts as primary.
    pub const fn leads(&self) -> Option<Epoch> {
        match &self.role {
            Role::Primary(primary) => Some(primary.epoch()),
            Role::Backup(_) | Role::Stopped => None,
        }
    }

    /// What it knows of the group.
    pub const fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Where it listens.
    pub const fn address(&self) -> &Address {
        &self.address
    }

    fn identity(&self) -> BrokerIdentity {
        BrokerIdentity {
            member: self.me.member.clone(),
            incarnation: self.me.incarnation,
            czxid: self.registry.registered().unwrap_or(0),
        }
    }

    fn send(&mut self, link: LinkId, message: &Message) {
        self.io.out.transmit(link, wire::encode(message));
    }

    fn refuse(&mut self, link: LinkId, reason: Refusal) {
        self.send(link, &Message::Refusal { stream: 0, reason });
    }

    fn reject(&mut self, link: LinkId, reason: Rejection) {
        self.io.out.trace(Trace::Rejected { link, reason });
    }

    /// The primary by the latest view, unless it is this process.
    fn primary_hint(&self) -> Option<Endpoint> {
        let view = self.registry.view();
        let primary = view.state.as_ref()?.0.primary.as_ref().filter(|primary| **primary != self.me)?;
        let live = view.live.values().find(|live| live.node.id == *primary)?;
        Some(Endpoint {
            node: primary.member.node.clone(),
            incarnation: primary.incarnation,
            address: live.node.address.clone(),
        })
    }

    fn not_primary(&self) -> Refusal {
        // Whoever comes because the tree names this broker already comes a moment too early.
        if self.leads().is_none() && self.configuration.is_promoting() {
            return Refusal::Electing { retry_after: RETRY_SOON };
        }
        let epoch = self.registry.view().state.as_ref().map_or(0, |(state, _)| state.epoch);
        Refusal::NotPrimary { primary: self.primary_hint(), epoch }
    }

    fn received(&mut self, now: Instant, link: LinkId, frame: Frame) {
        match wire::decode(frame) {
            Ok(message) => self.handle_message(now, link, message),
            Err(_) if sabotage!(DamageUnsaid) => {}
            Err(reason) => self.reject(link, reason),
        }
    }

    fn handle_message(&mut self, now: Instant, link: LinkId, message: Message) {
        match message {
            Message::Hello(hello) => self.handle_hello(now, link, hello),
            Message::Replicate(replicate) => self.handle_replicate(now, link, replicate),
            Message::ReplicateAck(ack) => self.handle_ack(now, link, &ack),
            Message::ReplicateNack(nack) => self.handle_nack(now, link, &nack),
            Message::TakeOver(take_over) => self.handle_take_over(now, link, take_over),
            Message::SnapshotRecords(records) => self.handle_snapshot_records(now, link, *records),
            Message::SnapshotFold(fold) => self.handle_snapshot_fold(now, link, *fold),
            Message::SnapshotAck(ack) => self.handle_snapshot_ack(now, link, &ack),
            Message::OpenSession(request) => self.handle_open_session(now, link, &request),
            Message::Publish(publish) => self.handle_publish(now, link, publish),
            Message::OpenStream(request) => self.handle_open_stream(now, link, request),
            Message::Credit { stream, limit } => self.handle_credit(now, link, stream, limit),
            Message::CloseStream { stream } => self.handle_close_stream(link, stream),
            Message::Ping { token } => self.handle_ping(now, link, token),
            Message::ReadHead { token } => self.handle_read_head(now, link, token),
            Message::Refusal { reason, .. } => self.handle_refusal(now, link, &reason),
            Message::Drain => self.handle_drain(now, link),
            Message::Pong { .. } => {}
            Message::StatusRequest { token } => self.handle_status_request(now, link, token),
            _ => self.reject(link, Rejection::Unexpected),
        }
    }

    fn handle_link(&mut self, now: Instant, link: LinkId, status: LinkStatus) {
        match &mut self.role {
            Role::Backup(backup) => {
                if let Some(link) = backup.handle_link(now, (link, status), &mut self.io.rng) {
                    self.say_hello(link);
                }
            }
            Role::Primary(primary) => primary.handle_link(now, (link, status), &mut self.io.out),
            Role::Stopped => {}
        }
    }

    fn handle_coordination(&mut self, now: Instant, event: &coordination::Event) {
        if let coordination::Event::Session(state) = event {
            self.handle_session(now, *state);
        }
        let round = self.registry.round();
        let mut cx = self.io.context(now);
        let update = self.registry.handle_event(event, &mut cx);
        if self.registry.round() > round {
            self.alone_since = None;
        }
        if let coordination::Event::Reply { call, result } = event
            && let Some(resolution) = self.configuration.handle_reply(*call, result, &mut cx)
        {
            self.handle_resolution(now, resolution);
        }
        if update == Update::Changed {
            let mut cx = self.io.context(now);
            if let Some(resolution) = self.configuration.handle_view(self.registry.view(), &mut cx) {
                self.handle_resolution(now, resolution);
            }
            self.follow_view(now);
        }
    }

    fn handle_session(&mut self, now: Instant, state: SessionState) {
        self.io.out.trace(Trace::Session(state));
        match state {
            // R20: it may have been deposed long ago. The first round tells.
            SessionState::Connected(_) if sabotage!(SpeaksUnread) => self.alone_since = None,
            SessionState::Connected(_) => {}
            SessionState::Suspended => {
                self.alone_since.get_or_insert(now);
            }
            SessionState::Expired => {
                self.alone_since.get_or_insert(now);
                self.io.out.coordinate(Request::OpenSession);
            }
        }
    }

    fn handle_resolution(&mut self, now: Instant, resolution: Resolution) {
        match resolution {
            Resolution::Applied(state, version) => {
                if self.registry.view().state.as_ref().is_none_or(|(known, _)| **known != state) {
                    self.io.out.trace(group_changed(&state));
                }
                self.registry.adopt(state, version);
                self.follow_view(now);
            }
            Resolution::Superseded => self.candidacy.withdraw(),
            Resolution::Conflict => {
                self.registry.refresh(&mut self.io.context(now));
            }
        }
    }

    fn handle_storage(&mut self, now: Instant, event: storage::Event) {
        // What is not durable is not acknowledged, here or by a backup: the group goes on without.
        let storage::Event::Done(ticket) = event else { return };
        self.replica.stored(ticket);
        match self.role {
            Role::Backup(_) => self.acknowledge(),
            Role::Primary(_) => self.advance_commit(now),
            Role::Stopped => {}
        }
    }

    /// A process that was paused knows nothing of the others' silence: everyone gets a fresh term.
    fn notice_pause(&mut self, now: Instant) {
        if now.since(self.last_input) > self.config.timing.suspicion && !sabotage!(SleepUnnoticed) {
            match &mut self.role {
                Role::Backup(backup) => backup.forgive(now),
                Role::Primary(primary) => primary.forgive(now),
                Role::Stopped => {}
            }
            if let Some(shutdown) = &mut self.shutdown {
                shutdown.forgive(now);
            }
        }
        self.last_input = now;
    }

    /// Whatever time and the latest input have made possible.
    fn advance(&mut self, now: Instant) {
        self.registry.handle_timeout(&mut self.io.context(now));
        self.configuration.handle_timeout(&mut self.io.context(now));
        match self.role {
            Role::Backup(_) => self.advance_backup(now),
            Role::Primary(_) => self.advance_primary(now),
            Role::Stopped => {}
        }
        self.advance_shutdown(now);
    }

    fn stop(&mut self, event: Event) {
        self.leave_role();
        self.role = Role::Stopped;
        self.io.out.coordinate(Request::CloseSession);
        self.io.out.event(event);
    }
}

impl Node for Broker {
    type Command = Command;
    type Event = Event;

    fn handle_input(&mut self, now: Instant, input: Input<Command>) {
        if matches!(self.role, Role::Stopped) {
            return;
        }
        self.notice_pause(now);
        match input {
            Input::Command(Command::Shutdown) => self.begin_shutdown(now),
            Input::Received { link, frame } => {
                self.io.out.count().frame_received(frame.len());
                self.received(now, link, frame);
            }
            Input::Link { link, status } => self.handle_link(now, link, status),
            Input::Coordination(event) => {
                self.io.out.count().told(&event);
                self.handle_coordination(now, &event);
            }
            Input::Storage(event) => self.handle_storage(now, event),
            Input::Timeout => {}
        }
        self.advance(now);
    }

    fn poll_output(&mut self) -> Option<Output<Event>> {
        self.io.out.pop()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let timing = &self.config.timing;
        let role = match &self.role {
            Role::Backup(_) if self.is_parting() => None,
            Role::Backup(backup) => earliest(backup.deadline(timing), self.candidacy.deadline()),
            Role::Primary(primary) => Some(primary.deadline()),
            Role::Stopped => return None,
        };
        let shared = earliest(self.registry.deadline(), self.configuration.deadline());
        // A regular tick: a longer gap between two inputs means that the process was not running.
        let tick = Some(self.last_input + timing.heartbeat);
        let shutdown = self.shutdown.as_ref().map(Shutdown::deadline);
        earliest(earliest(role, shared), earliest(shutdown, tick))
    }
}
