//! How processes treat each other: whom a backup takes from, whom a primary lets attach, how a broker leaves,
//! what is sent to a subscriber, and by what right a replica of discovery leads.

use crate::actor::{Actor, Event};
use crate::check::election::{Accession, Creation};
use crate::check::leaving::Leaving;
use crate::check::{Checks, Fact, Violation};
use crate::network::{ConnectionId, ProcessId};
use crate::world::{Cause, Step, World};
use std::collections::BTreeMap;
use std::time::Duration;
use steadfast_core::broker::{self, Broker};
use steadfast_core::coordination::registry::Live;
use steadfast_core::coordination::{
    self, CallId, Create, CreateMode, Delete, MultiOperation, Operation, Reply, Request, SessionId,
    SessionState,
};
use steadfast_core::discovery::Discovery;
use steadfast_core::id::{Epoch, Member};
use steadfast_core::link::LinkId;
use steadfast_core::log::{Entry, EntryKind};
use steadfast_core::message::Message;
use steadfast_core::node::Output;
use steadfast_core::storage;
use steadfast_core::time::Instant;
use steadfast_core::trace::Trace;
use steadfast_core::wire;

/// What has to be remembered for that.
#[derive(Debug, Default)]
pub(super) struct Conduct {
    /// When each broker was asked to leave, in nanoseconds of the world's time; `None`: it has left.
    asked: BTreeMap<ProcessId, Option<u64>>,
    /// What each broker's log took before the step, and what of it was not committed.
    held: BTreeMap<ProcessId, (u64, u64)>,
    candidates: BTreeMap<ProcessId, Candidate>,
    /// The epoch and the configuration that each replica of discovery knows.
    known: BTreeMap<ProcessId, (Epoch, bool)>,
}

/// A replica of discovery in the election.
#[derive(Debug, Default)]
struct Candidate {
    session: Option<SessionId>,
    /// How its nodes begin.
    prefix: Option<String>,
    calls: BTreeMap<CallId, Asked>,
    /// Who stands, as last read.
    names: Vec<String>,
    /// Whose each of its own nodes was when last looked at.
    owners: BTreeMap<String, SessionId>,
}

#[derive(Debug)]
enum Asked {
    Children,
    Exists(String),
}

impl Conduct {
    /// A broker was asked to leave, for the first time or again.
    pub(super) fn ordered(&mut self, step: &Step<Event>) {
        self.asked.entry(step.process).or_insert(Some(step.at));
    }

    /// Shows a broker's step to the checkers. `from` is the member whose frame it handles, and whether it
    /// takes what is in it.
    pub(super) fn broker(
        &mut self,
        broker: &Broker,
        step: &Step<Event>,
        from: Option<(&Member, bool)>,
        checks: &mut Checks,
    ) -> Result<(), Violation> {
        let process = broker.id();
        let held = (broker.replica().log().bytes(), broker.replica().uncommitted_bytes());
        let before = self.held.insert(step.process, held).unwrap_or_default();
        match step.cause {
            Cause::Started => drop(self.asked.remove(&step.process)),
            Cause::Received(..) if broker.leads().is_some() && step.outputs.iter().any(is_batch) => {
                checks.observe(&Fact::Accepted { process, held: before })?;
            }
            Cause::Received(..) => {
                let taken = from.filter(|(_, taken)| *taken && broker.leads().is_none());
                let known = broker.registry().view().state.as_ref();
                if let (Some((from, _)), Some((known, _))) = (taken, known) {
                    let newest = step.outputs.iter().filter_map(newest).max();
                    checks.observe(&Fact::Took { process, from: &from.node, newest, known })?;
                }
            }
            _ => {}
        }
        for output in &step.outputs {
            if let Output::Trace(trace) = output {
                traced(broker, trace, checks)?;
            }
        }
        Ok(())
    }

    /// Shows how a broker leaves; whether it has read the tree, and followed its primary, since it was asked to, and
    /// whether it has known for long that its primary is gone.
    pub(super) fn leaves(
        &mut self,
        broker: &Broker,
        step: &Step<Event>,
        (read, heard, forsaken): (bool, bool, bool),
        checks: &mut Checks,
    ) -> Result<(), Violation> {
        let process = broker.id();
        for output in &step.outputs {
            // Who has left stays for a moment to tell its clients.
            let leaves = matches!(
                output,
                Output::Trace(Trace::Leaves { .. }) | Output::Event(Event::Broker(broker::Event::Stopped))
            );
            if let Some(asked) = self.asked.get_mut(&step.process).filter(|_| leaves).and_then(Option::take) {
                let after = Duration::from_nanos(step.at - asked);
                let known = broker.registry().view().state.as_ref().map(|(state, _)| &**state);
                let (log, commit) = (broker.replica().log(), broker.replica().commit());
                let awaited = known.is_some_and(|known| log.epoch_before(commit) < Some(known.epoch));
                let outlived = known.is_some_and(|known| known.history != broker.replica().history());
                let read = read || outlived;
                let leaving = Leaving { process, after, known, read, heard, awaited, forsaken };
                checks.observe(&Fact::Left(&leaving))?;
            }
        }
        Ok(())
    }

    /// Whether a replica of discovery tells those who wait for it when it knows better.
    fn news(
        &mut self,
        replica: &Discovery,
        step: &Step<Event>,
        checks: &mut Checks,
    ) -> Result<(), Violation> {
        let figures = replica.figures(Instant::default());
        let known = (figures.epoch, figures.primary);
        let before = self.known.insert(step.process, known).filter(|_| step.cause != Cause::Started);
        if before.is_none_or(|before| before == known) {
            return Ok(());
        }
        let told = step.outputs.iter().filter(|output| matches!(output, Output::Transmit { .. })).count();
        checks.observe(&Fact::Learned { replica: step.process.0, watchers: figures.watchers, told })
    }

    /// Shows what a replica of discovery does in the election, and whom it tells what.
    pub(super) fn discovery(
        &mut self,
        replica: &Discovery,
        step: &Step<Event>,
        checks: &mut Checks,
    ) -> Result<(), Violation> {
        self.news(replica, step, checks)?;
        let candidate = self.candidates.entry(step.process).or_default();
        match &step.cause {
            Cause::Started => *candidate = Candidate::default(),
            Cause::Coordination(coordination::Event::Session(state)) => {
                candidate.session = match state {
                    SessionState::Connected(session) => Some(*session),
                    SessionState::Suspended | SessionState::Expired => None,
                };
            }
            Cause::Coordination(coordination::Event::Reply { call, result: Ok(reply) }) => {
                candidate.told(*call, reply);
            }
            _ => {}
        }
        if candidate.session.is_none() && replica.figures(Instant::default()).leads {
            checks.observe(&Fact::LeadsAlone { replica: step.process.0 })?;
        }
        for output in &step.outputs {
            match output {
                Output::Coordinate(Request::Call { operation: Operation::Set(set), .. })
                    if set.path.ends_with("/disc/epoch") =>
                {
                    let guarded = set.version.is_some();
                    checks.observe(&Fact::CountsReigns { replica: step.process.0, guarded })?;
                }
                // A barrier is a transaction, too, and creates nothing.
                Output::Coordinate(Request::Call { operation: Operation::Multi(operations), .. })
                    if operations.iter().any(|operation| matches!(operation, MultiOperation::Create(_))) =>
                {
                    let guarded = matches!(operations.first(), Some(MultiOperation::Check(Delete { path, version }))
                        if path.ends_with("/disc/epoch") && version.is_some());
                    let present = operations.iter().any(|operation| {
                        matches!(operation, MultiOperation::Check(Delete { path, .. }) if path.contains("/live/"))
                    });
                    let first = operations.iter().all(|operation| is_for_the_first(replica, operation));
                    checks.observe(&Fact::CreatesGroup(Creation {
                        replica: step.process.0,
                        guarded,
                        present,
                        first,
                    }))?;
                }
                Output::Coordinate(Request::Call { call, operation }) => candidate.asks(*call, operation),
                Output::Trace(Trace::DiscoveryLeads { .. }) => {
                    let own = candidate.own();
                    checks.observe(&Fact::LeadsDiscovery(Accession {
                        replica: step.process.0,
                        own,
                        before: own.map_or(0, |own| candidate.standing_before(own)),
                        owner: own.and_then(|own| candidate.owners.get(own).copied()),
                        session: candidate.session,
                    }))?;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Whether a group that is created begins with the broker that registered first, as far as the replica knows.
fn is_for_the_first(replica: &Discovery, operation: &MultiOperation) -> bool {
    let MultiOperation::Create(create) = operation else { return true };
    let Ok(state) = wire::decode_group_state(&create.data) else { return false };
    let first = replica.registry().view().live.values().min_by_key(|live| live.czxid);
    first.is_some_and(|first| state.in_sync == [first.node.id.member.clone()])
}

/// What is appended.
fn appended(output: &Output<Event>) -> &[Entry] {
    match output {
        Output::Store(storage::Request { operation: storage::Operation::Append(entries), .. }) => entries,
        _ => &[],
    }
}

/// The epoch of the last entry that is appended.
fn newest(output: &Output<Event>) -> Option<Epoch> {
    appended(output).last().map(|entry| entry.epoch)
}

fn is_batch(output: &Output<Event>) -> bool {
    matches!(appended(output).first().map(|entry| &entry.kind), Some(EntryKind::Batch(_)))
}

fn traced(broker: &Broker, trace: &Trace, checks: &mut Checks) -> Result<(), Violation> {
    let process = broker.id();
    match trace {
        Trace::FollowerAttached { member, .. } => {
            let live = broker.registry().view().live.values();
            let live: Vec<_> = live.map(|Live { node, czxid, .. }| (node.id.clone(), *czxid)).collect();
            checks.observe(&Fact::Attached { process, member, live: &live })
        }
        Trace::Truncated { .. } | Trace::Installed { .. } | Trace::Wiped { .. } => {
            let replica = broker.replica();
            let is = replica.log().iter_from(replica.commit()).map(|entry| entry.weight()).sum();
            checks.observe(&Fact::Weighed { process, uncommitted: replica.uncommitted_bytes(), is })
        }
        Trace::HandoverFailed { .. } | Trace::SteppedDown { .. } | Trace::BecameBackup { .. } => {
            checks.observe(&Fact::HandoverEnded(process))
        }
        _ => Ok(()),
    }
}

/// What a broker's frames say to a subscriber, and to whoever is to take over.
pub(super) fn said(
    connection: impl Fn(LinkId) -> Option<ConnectionId>,
    broker: &Broker,
    said: &[(LinkId, Message)],
    checks: &mut Checks,
) -> Result<(), Violation> {
    for (link, message) in said {
        match (message, connection(*link)) {
            (Message::TakeOver(_), _) => {
                let log = (broker.replica().commit(), broker.replica().log().end());
                checks.observe(&Fact::AskedToTakeOver { process: broker.id(), log })?;
            }
            (Message::Deliver(deliver), Some(connection)) if !deliver.entries.is_empty() => {
                let bytes = deliver.entries.iter().map(|entry| entry.body_len() as u64);
                let last = bytes.clone().next_back().unwrap_or(0);
                let stream = (connection, deliver.stream);
                let entries = &deliver.entries;
                checks.observe(&Fact::Sent { stream, bytes: bytes.sum(), last, entries })?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// What a subscriber's frame allows its broker to send.
pub(super) fn granted(
    world: &World<Actor>,
    process: ProcessId,
    (link, message): (LinkId, &Message),
    checks: &mut Checks,
) -> Result<(), Violation> {
    let (stream, limit) = match message {
        Message::OpenStream(open) => (open.stream, open.credit),
        Message::Credit { stream, limit } => (*stream, *limit),
        _ => return Ok(()),
    };
    match connection(world, process, link) {
        Some(connection) => checks.observe(&Fact::Granted { stream: (connection, stream), limit }),
        None => Ok(()),
    }
}

pub(super) fn connection(world: &World<Actor>, process: ProcessId, link: LinkId) -> Option<ConnectionId> {
    world.connection(process, link).map(|(connection, _)| connection)
}

impl Candidate {
    fn asks(&mut self, call: CallId, operation: &Operation) {
        match operation {
            Operation::Create(Create { path, mode: CreateMode::EphemeralSequential, .. }) => {
                self.prefix = path.rsplit('/').next().map(str::to_owned);
            }
            Operation::Children { path, .. } if path.ends_with("/election") => {
                self.calls.insert(call, Asked::Children);
            }
            Operation::Exists { path, .. } => {
                let name = path.rsplit('/').next().unwrap_or_default();
                self.calls.insert(call, Asked::Exists(name.to_owned()));
            }
            _ => {}
        }
    }

    fn told(&mut self, call: CallId, reply: &Reply) {
        match (self.calls.remove(&call), reply) {
            (Some(Asked::Children), Reply::Children(names)) => self.names.clone_from(names),
            (Some(Asked::Exists(name)), Reply::Stat(stat)) => {
                self.owners.extend(stat.as_ref().map(|stat| (name, stat.ephemeral_owner)));
            }
            _ => {}
        }
    }

    /// The first of its own nodes.
    fn own(&self) -> Option<&str> {
        let prefix = self.prefix.as_deref()?;
        let own = self.names.iter().filter(|name| name.starts_with(prefix));
        own.min_by_key(|name| sequence(name)).map(String::as_str)
    }

    fn standing_before(&self, own: &str) -> usize {
        self.names.iter().filter(|name| sequence(name) < sequence(own)).count()
    }
}

/// A sequential node's number.
fn sequence(name: &str) -> Option<i32> {
    name.rsplit_once("-n_")?.1.parse().ok()
}
