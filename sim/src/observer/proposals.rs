//! What brokers want the group's state to be, and what each has seen when it asks for it.

mod handing_over;

use super::takes;
use crate::actor::Event;
use crate::check::proposal::{Evidence, Proposal};
use crate::check::{Checks, Fact, Violation};
use crate::fault::Fault;
use crate::network::ProcessId;
use crate::world::{Cause, Step};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use steadfast_core::broker::Broker;
use steadfast_core::coordination::registry::Live;
use steadfast_core::coordination::{self, CallId, MultiOperation, Operation, Reply, Request, SessionState};
use steadfast_core::group::GroupState;
use steadfast_core::id::{Address, Epoch, Member, NodeName, Nonce, Offset};
use steadfast_core::limits::LEARNER_DEADLINE;
use steadfast_core::link::{LinkCommand, LinkId, LinkStatus};
use steadfast_core::message::Message;
use steadfast_core::node::Output;
use steadfast_core::trace::{Outcome, Suspicion, Trace};
use steadfast_core::wire;

/// Who has moved so lately has moved, whatever the lag threshold.
const MOVED: Duration = Duration::from_millis(300);

/// A time by the clock of a process, in nanoseconds of the world's. Whoever's clock has jumped ahead takes what was before
/// that for earlier than it was: it may lie before the world began.
pub(super) type Moment = i64;

/// How long ago that was.
pub(super) fn ago(at: u64, moment: Moment) -> Duration {
    Duration::from_nanos(at.checked_add_signed(-moment).unwrap_or_default())
}

/// What has to be remembered of brokers for that.
#[derive(Debug)]
pub(super) struct Proposals {
    brokers: BTreeMap<ProcessId, Mind>,
    /// Whom a primary has begun to hand over to, in which epoch.
    handovers: BTreeMap<NodeName, Epoch>,
    /// A process that was not running for longer than this has noticed it.
    nap: u64,
}

/// What one process has seen. Times are the world's, in nanoseconds.
#[derive(Debug, Default)]
pub(super) struct Mind {
    paused: Option<u64>,
    /// When it was asked to leave.
    pub(super) leaving: Option<u64>,
    /// Since when it has been running without a break that it notices.
    running: Moment,
    /// Since when it has been running without any break: it may have noticed a shorter one too.
    awake: u64,
    /// When it became what it is: primary in its epoch, or backup of its primary.
    pub(super) role: Moment,
    /// When a backup last took something from its primary.
    heard: Moment,
    /// The same, and nothing else counts for it.
    followed: Option<u64>,
    /// When each follower last moved, when it was last heard, and when it has asked to follow last.
    pub(super) progressed: BTreeMap<Member, Moment>,
    pub(super) seen: BTreeMap<Member, Moment>,
    attached: BTreeMap<Member, Moment>,
    matched: BTreeMap<Member, Offset>,
    /// Who is attached, on which link.
    links: BTreeMap<LinkId, Member>,
    /// Connections under way, and how many were refused in a row.
    dials: BTreeMap<LinkId, Address>,
    refused: BTreeMap<Address, u32>,
    /// The first record of its epoch.
    start: Offset,
    /// Since when every in-sync node is another storage, by its view.
    lost: Option<Moment>,
    /// Syncs under way, each with when it began and whether it is a barrier; and when the latest that is complete
    /// began.
    pub(super) syncs: BTreeMap<CallId, (u64, bool)>,
    synced: Option<u64>,
    rounds: Rounds,
    /// Since when it has a reason to stand for the lead.
    reason: Option<u64>,
    /// The same by its own clock, which may have jumped.
    waits: Option<Moment>,
    /// How often it has led since it last learnt of a commit, and up to where that was.
    pub(super) barren: u32,
    commit: Offset,
    /// Since when it has begun to hand over.
    handover: Option<u64>,
    /// When that failed last.
    gave_up: Option<u64>,
    /// Since when it has known, in a session, that its primary has no live node.
    forsaken: Option<u64>,
    /// Every write so far, and the one whose fate is open.
    written: BTreeSet<Nonce>,
    pub(super) open: Option<Nonce>,
    /// To whom it hands over, and who has failed to take over.
    target: Option<Member>,
    failed: BTreeSet<Member>,
}

/// The rounds in which a process reads the tree.
#[derive(Debug, Default)]
struct Rounds {
    /// When the latest one began whose sync or barrier is complete, and whether that is a barrier.
    proved: Option<(u64, bool)>,
    /// How many are complete, and when the latest of them and the latest linearizable one began.
    complete: u64,
    latest: Option<u64>,
    linearizable: Option<u64>,
    /// When its session was last connected.
    connected: u64,
    /// The version of the state that it knows, and when its own latest change was known to hold.
    version: Option<i32>,
    adopted: u64,
}

/// Whoever leaves puts its live node back within this time, in nanoseconds: it has to read the tree, and to write.
const RETURN: u64 = 1_500_000_000;

impl Proposals {
    /// A process that was not running for longer than `nap` has noticed it.
    pub(super) const fn new(nap: Duration) -> Self {
        Self { brokers: BTreeMap::new(), handovers: BTreeMap::new(), nap: nap.as_nanos() as u64 }
    }

    /// What a process has seen.
    pub(super) fn mind(&self, process: ProcessId) -> Option<&Mind> {
        self.brokers.get(&process)
    }

    /// A fault may have put a process to sleep.
    pub(super) fn strike(&mut self, step: &Step<Event>) {
        let nap = self.nap;
        let Some(mind) = self.brokers.get_mut(&step.process) else { return };
        match step.cause {
            Cause::Fault(Fault::Pause(_)) => mind.paused = Some(step.at),
            Cause::Fault(Fault::Resume(_)) => {
                mind.awake = step.at;
                if mind.paused.take().is_some_and(|paused| step.at > paused + nap) {
                    mind.running = step.at as Moment;
                }
            }
            Cause::Fault(Fault::ClockJump(_, by)) => {
                mind.jump(step.at as Moment, by.as_nanos() as Moment, nap)
            }
            _ => {}
        }
    }

    /// A broker was asked to leave, for the first time or again.
    pub(super) fn ordered(&mut self, step: &Step<Event>) {
        if let Some(mind) = self.brokers.get_mut(&step.process) {
            mind.leaving.get_or_insert(step.at);
        }
    }

    /// Whether a broker that was asked to leave has, since then, read the tree, and followed its primary.
    pub(super) fn since_the_order(&self, process: ProcessId) -> (bool, bool) {
        let mind = self.brokers.get(&process);
        mind.and_then(|mind| Some((mind, mind.leaving?))).map_or((false, false), |(mind, asked)| {
            (mind.synced >= Some(asked), mind.followed >= Some(asked))
        })
    }

    /// When a primary that the tree has replaced was last in touch with everybody whom it counts.
    pub(super) fn in_touch(&self, broker: &Broker, step: &Step<Event>, newest: Epoch) -> u64 {
        let mind = self.brokers.get(&step.process);
        let deposed = broker.leads().is_some_and(|epoch| epoch < newest);
        let Some(mind) = mind.filter(|_| deposed) else { return 0 };
        let heard = |member: &Member| mind.seen.get(member).copied().unwrap_or(0).max(mind.role);
        unheard(broker, step.at, heard).map_or(0, |ago| step.at.saturating_sub(ago.as_nanos() as u64))
    }

    /// Whether a broker that was asked to leave has known for long that its primary is gone, and has not put its
    /// own live node back (R34).
    pub(super) fn is_forsaken(&self, broker: &Broker, process: ProcessId, at: u64) -> bool {
        let since = self.brokers.get(&process).and_then(|mind| {
            Some(mind.forsaken?.max(mind.leaving?).max(mind.awake).max(mind.running.max(0) as u64))
        });
        let stands = live(broker).any(|live| live.node.id == *broker.id());
        since.is_some_and(|since| since + RETURN < at) && !stands
    }

    /// A broker answers a read of the head that was asked for at this time.
    pub(super) fn answered(
        &self,
        broker: &Broker,
        process: ProcessId,
        asked: u64,
        checks: &mut Checks,
    ) -> Result<(), Violation> {
        let read = self.brokers.get(&process).and_then(|mind| mind.rounds.linearizable);
        checks.observe(&Fact::AnsweredHead { process: broker.id(), asked, read })
    }

    /// Shows what a broker wants in this step to the checkers. `from` is the member whose frame it handles,
    /// and whether it takes what is in it.
    pub(super) fn observe(
        &mut self,
        broker: &Broker,
        step: &Step<Event>,
        (from, said): (Sender<'_>, &[(LinkId, Message)]),
        checks: &mut Checks,
    ) -> Result<(), Violation> {
        if step.cause == Cause::Started {
            let at = step.at as Moment;
            let mind = Mind { running: at, role: at, heard: at, ..Mind::default() };
            self.brokers.insert(step.process, mind);
        }
        let Some(mind) = self.brokers.get_mut(&step.process) else { return Ok(()) };
        if matches!(step.cause, Cause::Fault(Fault::ClockJump(..))) {
            mind.gave_up = None;
        }
        mind.hear(broker, step, from, said);
        let commit = std::mem::replace(&mut mind.commit, broker.replica().commit());
        if mind.commit > commit {
            mind.barren = 0;
        }
        mind.read(broker, step);
        mind.rounds.read(broker, step, checks)?;
        for output in &step.outputs {
            match output {
                Output::Trace(trace) => {
                    if let (Trace::HandoverBegan { target }, Some(epoch)) = (trace, broker.leads()) {
                        // Who is asked believes nobody of an earlier reign.
                        let latest = self.handovers.entry(target.clone()).or_default();
                        *latest = epoch.max(*latest);
                    }
                    mind.note(broker, step.at, trace);
                    mind.judged(broker, step.at, trace, checks)?;
                }
                Output::Link(LinkCommand::Dial { link, address }) => {
                    mind.dials.insert(*link, address.clone());
                }
                Output::Link(LinkCommand::Close { link }) => drop(mind.links.remove(link)),
                Output::Coordinate(Request::Call { call, operation }) if begins_a_round(operation) => {
                    mind.syncs.insert(*call, (step.at, matches!(operation, Operation::Multi(_))));
                }
                Output::Coordinate(Request::Call { operation: Operation::Set(set), .. }) => {
                    if let Ok(wanted) = wire::decode_group_state(&set.data) {
                        let asked = self.handovers.get(&broker.id().member.node).copied();
                        mind.propose(broker, step.at, (&wanted, set.version), asked, checks)?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// The member whose frame a broker handles, and whether it takes what is in it.
type Sender<'a> = Option<(&'a Member, bool)>;

/// Whether what came on this link was refused, or is of another epoch or process: it is no sign of a follower's life.
fn refuses(step: &Step<Event>, said: &[(LinkId, Message)], link: LinkId) -> bool {
    let rejected = |output: &Output<Event>| match output {
        Output::Trace(Trace::Rejected { link: from, .. }) => *from == link,
        Output::Trace(Trace::StaleProcess { .. }) => true,
        _ => false,
    };
    let refused =
        |(to, message): &(LinkId, Message)| *to == link && matches!(message, Message::Refusal { .. });
    step.outputs.iter().any(rejected) || said.iter().any(refused)
}

/// Whether a backup says what it has: something is missing before what it got.
fn lacks(said: &[(LinkId, Message)]) -> bool {
    said.iter().any(|(_, message)| matches!(message, Message::ReplicateNack(_)))
}

/// Whether a broker knows this member as primary.
fn is_primary(broker: &Broker, member: &Member) -> bool {
    let state = broker.registry().view().state.as_ref();
    state.and_then(|(state, _)| state.primary.as_ref()).is_some_and(|primary| primary.member == *member)
}

/// A sync, or a barrier.
fn begins_a_round(operation: &Operation) -> bool {
    match operation {
        Operation::Sync { .. } => true,
        _ => is_barrier(operation),
    }
}

/// A transaction that only checks.
pub(super) fn is_barrier(operation: &Operation) -> bool {
    matches!(operation, Operation::Multi(all) if matches!(all[..], [MultiOperation::Check(_)]))
}

/// Whether a sync or a barrier is complete; a barrier is, too, where there is no state yet.
pub(super) const fn proves(result: &Result<Reply, coordination::Error>) -> bool {
    matches!(result, Ok(_) | Err(coordination::Error::Multi { error: coordination::MultiError::NoNode, .. }))
}

fn live(broker: &Broker) -> impl Iterator<Item = &Live> {
    broker.registry().view().live.values()
}

/// How long ago the member was heard that was heard longest ago, of those that are in sync or may be.
fn unheard(broker: &Broker, at: u64, heard: impl Fn(&Member) -> Moment) -> Option<Duration> {
    let others = broker.counted().filter(|member| **member != broker.id().member);
    others.map(|member| ago(at, heard(member))).max()
}

impl Mind {
    /// The clock has jumped ahead. A long jump is noticed as a pause, a short one makes all waiting shorter.
    fn jump(&mut self, at: Moment, by: Moment, nap: u64) {
        let (noticed, earlier) = (by > nap as Moment, |moment: &mut Moment| *moment -= by);
        self.lost.iter_mut().for_each(earlier);
        self.awake = at as u64;
        // Whoever waits for its turn does so by the time that has passed.
        self.waits = self.waits.filter(|_| !noticed);
        if noticed {
            self.running = at;
            return;
        }
        self.progressed.values_mut().chain(self.seen.values_mut()).for_each(earlier);
        [&mut self.running, &mut self.role, &mut self.heard].into_iter().for_each(earlier);
        self.waits.iter_mut().for_each(earlier);
    }

    /// A frame, or a link.
    fn hear(&mut self, broker: &Broker, step: &Step<Event>, from: Sender<'_>, said: &[(LinkId, Message)]) {
        let at = step.at;
        match &step.cause {
            Cause::Link(link, status) => {
                if *status != LinkStatus::Up {
                    self.links.remove(link);
                }
                let dialled = self.dials.remove(link).filter(|_| *status == LinkStatus::Refused);
                if let Some(address) = dialled {
                    *self.refused.entry(address).or_default() += 1;
                }
            }
            Cause::Received(link, _) => {
                let Some((member, taken)) = from else {
                    if broker.leads().is_none() && takes(step, said) {
                        return self.followed(at);
                    }
                    // The last words of a process that has died since.
                    if let Some(member) = self.links.get(link).filter(|_| !refuses(step, said, *link)) {
                        self.seen.insert(member.clone(), at as Moment);
                    }
                    return;
                };
                if broker.leads().is_some() {
                    if refuses(step, said, *link) {
                        return;
                    }
                    // What a process has said before it died may come when the next one of its node is there.
                    let speaker = self.links.get(link).cloned().unwrap_or_else(|| {
                        // Whoever dials anew has left the link before, also where this end has not noticed.
                        self.links.retain(|_, other| other != member);
                        self.links.insert(*link, member.clone());
                        member.clone()
                    });
                    self.follow(broker, at, &speaker);
                } else if taken {
                    self.followed(at);
                } else if lacks(said) && is_primary(broker, member) {
                    self.followed = Some(at);
                }
            }
            _ => {}
        }
    }

    /// A backup has taken something from its primary, which may have died since it sent that.
    fn followed(&mut self, at: u64) {
        (self.heard, self.followed) = (at as Moment, Some(at));
        (self.reason, self.waits) = (None, None);
        self.refused.clear();
    }

    /// A primary has heard of a follower.
    fn follow(&mut self, broker: &Broker, at: u64, member: &Member) {
        self.seen.insert(member.clone(), at as Moment);
        if let Some(door) = live(broker).find(|live| live.node.id.member == *member) {
            self.refused.remove(&door.node.address);
        }
        let Some((_, matched)) = broker.matched().find(|(other, _)| *other == member) else { return };
        let before = self.matched.insert(member.clone(), matched);
        if before.is_none_or(|before| before < matched) {
            self.progressed.insert(member.clone(), at as Moment);
        }
    }

    /// What the coordination service says.
    fn read(&mut self, broker: &Broker, step: &Step<Event>) {
        let Cause::Coordination(event) = &step.cause else { return };
        if let coordination::Event::Reply { call, result } = event
            && let Some((began, barrier)) = self.syncs.remove(call)
            && proves(result)
        {
            self.synced = self.synced.max(Some(began));
            self.rounds.proved = Some((began, barrier));
        }
        let Some((state, _)) = &broker.registry().view().state else { return };
        let primary = state.primary.as_ref().filter(|primary| *primary != broker.id());
        let gone = primary.is_some_and(|primary| !live(broker).any(|live| live.node.id == *primary));
        match gone && state.in_sync.contains(&broker.id().member) && broker.registry().session().is_some() {
            true => drop(self.forsaken.get_or_insert(step.at)),
            false => self.forsaken = None,
        }
        let nodes = |member: &Member| live(broker).any(|live| live.node.id.member.node == member.node);
        let holds = |member: &Member| live(broker).any(|live| live.node.id.member == *member);
        let lost = state.in_sync.iter().all(|member| nodes(member) && !holds(member));
        match lost && !state.in_sync.is_empty() {
            true => drop(self.lost.get_or_insert(step.at as Moment)),
            false => self.lost = None,
        }
    }

    fn note(&mut self, broker: &Broker, at: u64, trace: &Trace) {
        match trace {
            Trace::BecamePrimary { start, .. } => {
                (self.role, self.start) = (at as Moment, *start);
                self.barren += 1;
                self.progressed.clear();
                self.matched.clear();
                self.refused.clear();
            }
            Trace::BecameBackup { .. } | Trace::SteppedDown { .. } => {
                let now = at as Moment;
                (self.role, self.heard, self.reason, self.waits) = (now, now, Some(at), Some(now));
                self.refused.clear();
            }
            // It was asked and heard at the same time.
            Trace::Suspected { cause: Suspicion::Leaving, .. } => {}
            Trace::Suspected { .. } if broker.leads().is_none() => {
                self.reason.get_or_insert(at);
                self.waits.get_or_insert(at as Moment);
            }
            Trace::FollowerAttached { member, .. } => {
                self.progressed.entry(member.clone()).or_insert(at as Moment);
                // It may have hung up since it sent its request: nobody is known as the sender any more.
                self.seen.insert(member.clone(), at as Moment);
                self.attached.insert(member.clone(), at as Moment);
            }
            Trace::Resolved { outcome, .. } if *outcome != Outcome::Unknown => self.open = None,
            _ => {}
        }
    }

    /// Falls silent, speaks again, hands over.
    fn judged(
        &mut self,
        broker: &Broker,
        at: u64,
        trace: &Trace,
        checks: &mut Checks,
    ) -> Result<(), Violation> {
        let process = broker.id();
        match (trace, broker.leads()) {
            (Trace::FellSilent, Some(epoch)) => {
                let seen = |member: &Member| self.seen.get(member).copied().unwrap_or(self.role);
                let heard = |member: &Member| seen(member).max(self.role).max(self.running);
                let unheard = unheard(broker, at, heard);
                checks.observe(&Fact::FellSilent { process, epoch, unheard })
            }
            (Trace::SpokeAgain, Some(_)) => {
                // A frame may be the last words of the process before the sender's present one.
                let seen = |member: &Member| {
                    self.seen.iter().filter(|(other, _)| other.node == member.node).map(|(_, at)| *at).max()
                };
                let heard = |member: &Member| {
                    seen(member)
                        .unwrap_or(self.role)
                        .max(self.role)
                        .max(self.running)
                        .max(self.awake as Moment)
                };
                let unheard = unheard(broker, at, heard);
                let read = self.rounds.latest >= Some(self.rounds.connected);
                checks.observe(&Fact::InTouch { process, unheard, read })
            }
            (Trace::HandoverBegan { target }, _) => self.begins(broker, at, target, checks),
            (Trace::HandoverFailed { target }, _) => {
                self.fails(broker, at, target);
                self.ends(broker, at, checks)
            }
            (Trace::SteppedDown { .. } | Trace::BecameBackup { .. } | Trace::Leaves { .. }, _) => {
                self.ends(broker, at, checks)
            }
            _ => Ok(()),
        }
    }

    /// Whether somebody is attached who is not in sync and has just moved, and may be waited for.
    fn learner(&self, at: u64, known: &GroupState) -> bool {
        let lately =
            |member: &&Member| self.progressed.get(*member).is_some_and(|moved| ago(at, *moved) < MOVED);
        let waits = self.leaving.is_none_or(|asked| at < asked + LEARNER_DEADLINE.as_nanos() as u64 / 2);
        waits && self.links.values().filter(lately).any(|member| !known.in_sync.contains(member))
    }

    fn propose(
        &mut self,
        broker: &Broker,
        at: u64,
        (wanted, version): (&GroupState, Option<i32>),
        asked: Option<Epoch>,
        checks: &mut Checks,
    ) -> Result<(), Violation> {
        let again = !self.written.insert(wanted.nonce);
        let busy = self.open.is_some_and(|open| open != wanted.nonce);
        self.open = Some(wanted.nonce);
        let view = broker.registry().view();
        let Some((known, read)) = &view.state else { return Ok(()) };
        let me = broker.id();
        let session = broker.registry().session();
        let live: Vec<_> = live(broker).map(|live| (live.node.id.clone(), live.czxid)).collect();
        let own = view.live.values().find(|live| live.node.id == *me);
        let mut proposal = Proposal {
            process: me,
            wanted,
            version,
            again,
            busy,
            known: (known, *read),
            live: &live,
            registered: own.is_some_and(|own| Some(own.owner) == session),
            evidence: Evidence::default(),
        };
        proposal.evidence = self.evidence(broker, at, &proposal, asked == Some(known.epoch));
        checks.observe(&Fact::Proposed(&proposal))
    }

    fn evidence(&self, broker: &Broker, at: u64, proposal: &Proposal<'_>, asked: bool) -> Evidence {
        let known = proposal.known.0;
        let since = |moment: Moment| ago(at, moment.max(self.running));
        let primary = known.primary.as_ref().map(|primary| &primary.member);
        let subject = proposal.taken_in().or(proposal.dropped()).or(primary);
        let door = subject.and_then(|subject| live(broker).find(|live| live.node.id.member == *subject));
        let last = |times: &BTreeMap<Member, Moment>| {
            subject.and_then(|subject| times.get(subject)).copied().unwrap_or(self.role).max(self.role)
        };
        // A frame may be the last words of the process before the sender's present one.
        let node = subject.map(|subject| &subject.node);
        let of_node = self.seen.iter().filter(|(member, _)| Some(&member.node) == node).map(|(_, at)| *at);
        let replica = broker.replica();
        Evidence {
            quiet: match broker.leads() {
                Some(_) => since(last(&self.progressed)),
                None => since(self.heard),
            },
            refusals: door.and_then(|door| self.refused.get(&door.node.address)).copied().unwrap_or(0),
            leaving: self.leaving.is_some(),
            barren: self.barren,
            waited: self.waits.map(|waits| ago(at, waits)),
            learner: self.learner(at, known),
            asked,
            read: self.reason.is_none_or(|reason| self.synced >= Some(reason)),
            // Who sleeps knows of a loss no less.
            lost_for: self.lost.map_or(Duration::ZERO, |lost| ago(at, lost)),
            matched: subject.and_then(|subject| {
                let mut followers = broker.matched();
                followers.find(|(member, _)| *member == subject).map(|(_, matched)| matched)
            }),
            heard: since(of_node.max().unwrap_or(0).max(self.role).max(self.awake as Moment)),
            start: self.start,
            log: (replica.commit(), replica.log().end()),
        }
    }
}

impl Rounds {
    /// What a process knows of the tree, and by which round.
    fn read(&mut self, broker: &Broker, step: &Step<Event>, checks: &mut Checks) -> Result<(), Violation> {
        let Cause::Coordination(event) = &step.cause else { return Ok(()) };
        if matches!(event, coordination::Event::Session(SessionState::Connected(_))) {
            self.connected = step.at;
        }
        let registry = broker.registry();
        if registry.round() > self.complete {
            self.complete = registry.round();
            self.latest = self.proved.map(|(began, _)| began);
            self.linearizable =
                self.proved.filter(|(_, barrier)| *barrier).map(|(began, _)| began).or(self.linearizable);
        }
        let now = registry.view().state.as_ref().map(|(_, version)| *version);
        let before = std::mem::replace(&mut self.version, now);
        if matches!(event, coordination::Event::Reply { result: Ok(Reply::Set(_)), .. }) && before < now {
            self.adopted = step.at;
        }
        let Some(before) = before.filter(|before| now < Some(*before)) else { return Ok(()) };
        let proved = self.proved.is_some_and(|(began, barrier)| barrier && began >= self.adopted);
        let versions = (before, now.unwrap_or(-1));
        checks.observe(&Fact::TookBack { process: broker.id(), versions, proved })
    }
}
