//! What brokers have not done so far, though they were awake and able to. Each of them looks at everything that may be
//! due whenever it is given anything: what is due after that is overdue.

use super::proposals::{Mind, Moment};
use crate::actor::Event;
use crate::check::duty::Duty;
use crate::check::{Checks, Fact, Violation};
use crate::fault::Fault;
use crate::network::ProcessId;
use crate::world::{Cause, Step};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use steadfast_core::broker::Broker;
use steadfast_core::group::{GroupState, PrimaryId};
use steadfast_core::id::{Member, Offset};
use steadfast_core::log::{Entry, EntryKind};
use steadfast_core::node::Output;
use steadfast_core::storage::{Operation, Request};
use steadfast_core::trace::Trace;

/// So often streams are looked at; in nanoseconds.
const PACE: u64 = 50_000_000;

/// What has to be remembered of brokers for that.
#[derive(Debug)]
pub(super) struct Overdue {
    watches: BTreeMap<ProcessId, Watch>,
    /// Who was given nothing for so long may take that for a sleep.
    gap: u64,
}

/// What one process has done. Times are the world's, in nanoseconds.
#[derive(Debug, Default)]
struct Watch {
    /// When it was given something last, and since when without a gap.
    last: u64,
    awake: u64,
    /// How far it counts each member, and when that one last moved, or said that it has everything.
    moved: BTreeMap<Member, (Option<Offset>, u64)>,
    /// Since when it could stand for the lead, and over which version of the state.
    bereft: Option<(u64, i32)>,
    /// How many rounds of reading the tree are complete; when the latest but one and the latest were.
    round: u64,
    rounds: (u64, u64),
    /// When it was last reading the tree, and whether it is.
    reading: u64,
    reads: bool,
    /// How often it has led.
    reigns: u32,
    /// The first record of its epoch is committed.
    serves: bool,
    /// Where its last decision to drop something stands in its log.
    trim: Option<Offset>,
    /// Where batches end in its log, and when they were appended.
    batches: VecDeque<(Offset, u64)>,
    /// Since when it holds publishers back.
    holds_back: Option<u64>,
    /// It has fallen silent.
    silent: bool,
    /// When its streams were looked at last, and since when one is behind that has credit.
    looked: u64,
    behind: Option<u64>,
    /// When it last was the only one in sync, and primary; and when it had heard anybody else last by then.
    alone: Option<(u64, u64)>,
    /// When it left the group, and had nothing more to do but to say so.
    left: Option<u64>,
}

/// Whether a member of the set is gone, as a broker knows: no live node, or that of a later process.
fn is_gone(broker: &Broker, member: &Member) -> bool {
    let live = &broker.registry().view().live;
    let Some(own) = live.values().find(|live| live.node.id.member == *member) else { return true };
    live.values().any(|other| {
        other.czxid > own.czxid
            && other.node.id.incarnation != own.node.id.incarnation
            && other.node.id.member.node == member.node
    })
}

const fn between(from: u64, to: u64) -> Duration {
    Duration::from_nanos(to.saturating_sub(from))
}

fn is_batch(entry: &Entry) -> bool {
    matches!(entry.kind, EntryKind::Batch(_))
}

impl Overdue {
    /// A process that was not running for longer than `nap` has noticed it, and may have noticed less.
    pub(super) const fn new(nap: Duration) -> Self {
        Self { watches: BTreeMap::new(), gap: nap.as_nanos() as u64 / 3 * 2 }
    }

    /// Shows to the checkers what a broker has not done with this step. The rest of what it has seen is in `mind`.
    pub(super) fn observe(
        &mut self,
        broker: &Broker,
        step: &Step<Event>,
        mind: &Mind,
        checks: &mut Checks,
    ) -> Result<(), Violation> {
        let watch = self.watches.entry(step.process).or_default();
        match step.cause {
            Cause::Started => *watch = Watch { last: step.at, awake: step.at, ..Watch::default() },
            Cause::Fault(Fault::Resume(_) | Fault::ClockJump(..)) => watch.awake = step.at,
            _ => {}
        }
        if matches!(step.cause, Cause::Fault(_)) {
            return Ok(());
        }
        if step.at > watch.last + self.gap {
            watch.awake = step.at;
        }
        watch.last = step.at;
        step.outputs.iter().for_each(|output| watch.note(broker, step.at, output));
        watch.read(broker, step.at, mind);
        if matches!(step.cause, Cause::Received(..)) {
            watch.hears(broker, step.at, mind);
        }
        if mind.leaving.is_some() {
            watch.note_alone(broker, step.at, mind);
        }
        if matches!(step.cause, Cause::Timeout | Cause::Coordination(_)) {
            watch.stands(broker, step.at, mind, checks)?;
        }
        if step.cause == Cause::Timeout {
            watch.drops(broker, step.at, mind, checks)?;
            watch.trims(broker, step.at, mind, checks)?;
            watch.delivers(broker, step.at, checks)?;
            watch.releases(broker, step.at, mind, checks)?;
            watch.departs(broker, step.at, mind, checks)?;
        }
        Ok(())
    }
}

/// The state as a broker knows it, with its version.
fn known(broker: &Broker) -> Option<(&GroupState, i32)> {
    broker.registry().view().state.as_ref().map(|(state, version)| (&**state, *version))
}

impl Watch {
    fn note(&mut self, broker: &Broker, at: u64, output: &Output<Event>) {
        match output {
            Output::Store(Request { operation, .. }) => self.stored(broker, at, operation),
            Output::Trace(Trace::BecamePrimary { .. }) => {
                (self.serves, self.trim, self.holds_back) = (false, None, None);
                (self.silent, self.behind) = (false, None);
                self.reigns += 1;
                self.moved.clear();
                self.bereft = None;
            }
            Output::Trace(Trace::SteppedDown { .. } | Trace::BecameBackup { .. }) => {
                (self.holds_back, self.bereft) = (None, None);
            }
            Output::Trace(Trace::EpochCommitted { .. }) => self.serves = true,
            Output::Trace(Trace::FellSilent) => self.silent = true,
            Output::Trace(Trace::SpokeAgain) => self.silent = false,
            Output::Trace(Trace::Throttled { member }) => self.holds_back = member.as_ref().map(|_| at),
            Output::Trace(Trace::Leaves { .. }) => self.left = Some(at),
            Output::Trace(Trace::Resolved { .. }) => self.bereft = None,
            _ => {}
        }
    }

    /// What becomes of its log.
    fn stored(&mut self, broker: &Broker, at: u64, operation: &Operation) {
        match operation {
            Operation::Append(entries) => {
                self.batches
                    .extend(entries.iter().rfind(|entry| is_batch(entry)).map(|last| (last.end(), at)));
                let trim = entries.iter().rfind(|entry| matches!(entry.kind, EntryKind::Trim { .. }));
                self.trim = trim.map(|trim| trim.offset).or(self.trim);
            }
            Operation::Truncate(to) => while self.batches.pop_back_if(|(end, _)| *end > *to).is_some() {},
            Operation::Wipe => self.batches.clear(),
            Operation::Install(fold) => {
                self.batches.clear();
                let log = broker.replica().log();
                let folded = log.iter_from(fold.start).take_while(|entry| entry.end() <= fold.end);
                let last = folded.filter(|entry| is_batch(entry)).last();
                self.batches.extend(last.map(|last| (last.end(), at)));
            }
            _ => {}
        }
    }

    /// When it reads the tree.
    fn read(&mut self, broker: &Broker, at: u64, mind: &Mind) {
        let round = broker.registry().round();
        if std::mem::replace(&mut self.round, round) != round {
            self.rounds = (self.rounds.1, at);
            (self.reading, self.reads) = (at, false);
        }
        // A round begins with the tree's word that it is no older than now.
        self.reads = (self.reads || !mind.syncs.is_empty()) && broker.registry().session().is_some();
        if self.reads {
            self.reading = at;
        }
    }

    /// R2: an in-sync member whose primary has no live node stands for the lead.
    fn stands(
        &mut self,
        broker: &Broker,
        at: u64,
        mind: &Mind,
        checks: &mut Checks,
    ) -> Result<(), Violation> {
        let me = broker.id();
        let registry = broker.registry();
        let able = broker.leads().is_none()
            && registry.session().and(registry.registered()).is_some()
            && (mind.open, mind.leaving) == (None, None)
            && !broker.is_in_doubt();
        let bereft = |(state, _): &(&GroupState, i32)| {
            let primary = state.primary.as_ref().filter(|primary| *primary != me);
            let live = |id: &PrimaryId| registry.view().live.values().any(|live| live.node.id == *id);
            state.in_sync.contains(&me.member) && primary.is_some_and(|primary| !live(primary))
        };
        let Some((state, version)) = known(broker).filter(|_| able).filter(bereft) else {
            self.bereft = None;
            return Ok(());
        };
        let (since, _) = self.bereft.filter(|(_, of)| *of == version).unwrap_or((at, version));
        self.bereft = Some((since, version));
        let since = since.max(self.awake);
        let duty = Duty::Stand {
            time: between(since, at),
            candidates: state.in_sync.len() as u32,
            led: self.reigns > 1,
            read: between(since, self.rounds.0),
            idle: between(self.reading.max(since), at),
        };
        checks.observe(&Fact::Owes(me, duty))
    }

    /// Whoever has everything need not move.
    fn hears(&mut self, broker: &Broker, at: u64, mind: &Mind) {
        let end = broker.replica().log().end();
        let heard = |member: &Member| mind.seen.get(member) == Some(&(at as Moment));
        for (member, matched) in broker.matched().filter(|(member, matched)| *matched == end && heard(member))
        {
            if let Some(moved) = self.moved.get_mut(member) {
                *moved = (Some(matched), at);
            }
        }
    }

    /// R12: a primary has members dropped that are gone or do not move.
    fn drops(&mut self, broker: &Broker, at: u64, mind: &Mind, checks: &mut Checks) -> Result<(), Violation> {
        let (Some(_), Some((state, _))) = (broker.leads(), known(broker)) else { return Ok(()) };
        // Who comes back has done so lately, whatever it did outside.
        self.moved.retain(|member, _| state.in_sync.contains(member));
        let spare = state.in_sync.len() > state.min_in_sync.max(1) as usize;
        let able =
            spare && broker.registry().session().is_some() && mind.open.is_none() && !broker.is_in_doubt();
        let me = broker.id();
        for member in state.in_sync.iter().filter(|member| **member != me.member) {
            let matched = broker.matched().find(|(other, _)| *other == member).map(|(_, matched)| matched);
            let progressed = mind.progressed.get(member).copied().unwrap_or(mind.role).max(mind.role);
            let moved = match self.moved.get_mut(member) {
                Some(moved) => moved,
                None => self.moved.entry(member.clone()).or_insert((matched, at)),
            };
            if moved.0 != matched {
                *moved = (matched, at);
            }
            let since = moved.1.max(progressed.max(0) as u64).max(self.awake);
            let (gone, quiet) = (is_gone(broker, member), between(since, at));
            // R12: the silence of others may be its own fault.
            if able && (gone || mind.leaving.is_none()) {
                checks.observe(&Fact::Owes(me, Duty::Drop { member, gone, quiet }))?;
            }
        }
        Ok(())
    }

    /// R36: a primary decides what is dropped of its log.
    fn trims(&mut self, broker: &Broker, at: u64, mind: &Mind, checks: &mut Checks) -> Result<(), Violation> {
        let (start, commit) = (broker.replica().log().start(), broker.replica().commit());
        while self.batches.pop_front_if(|(end, _)| *end <= start).is_some() {}
        let decides = broker.leads().is_some()
            && self.serves
            && mind.leaving.is_none()
            && self.trim.is_none_or(|trim| trim < commit);
        match self.batches.front().filter(|(end, _)| decides && *end <= commit) {
            Some((_, appended)) => {
                checks.observe(&Fact::Owes(broker.id(), Duty::Trim { age: between(*appended, at) }))
            }
            None => Ok(()),
        }
    }

    /// R30: a primary sends what is committed on every stream that has credit.
    fn delivers(&mut self, broker: &Broker, at: u64, checks: &mut Checks) -> Result<(), Violation> {
        if broker.leads().is_none() || !self.serves || self.silent {
            self.behind = None;
            return Ok(());
        }
        if at < self.looked + PACE {
            return Ok(());
        }
        self.looked = at;
        if !broker.owes_streams() {
            self.behind = None;
            return Ok(());
        }
        let since = (*self.behind.get_or_insert(at)).max(self.awake);
        checks.observe(&Fact::Owes(broker.id(), Duty::Deliver { behind: between(since, at) }))
    }

    /// R17: a primary holds publishers back only for a follower that moves.
    fn releases(&self, broker: &Broker, at: u64, mind: &Mind, checks: &mut Checks) -> Result<(), Violation> {
        let (Some(since), Some((state, _))) = (self.holds_back, known(broker)) else { return Ok(()) };
        let heard = self.heard_outside(state, mind).max(since);
        let duty = Duty::Release { time: between(since, at), unheard: between(heard, at) };
        checks.observe(&Fact::Owes(broker.id(), duty))
    }

    /// When it last heard of anybody who is not in sync, or may take its own sleep for their silence.
    fn heard_outside(&self, state: &GroupState, mind: &Mind) -> u64 {
        let others = mind.seen.iter().filter(|(member, _)| !state.in_sync.contains(member));
        others.map(|(_, heard)| (*heard).max(0) as u64).max().unwrap_or(0).max(self.awake)
    }

    /// Notes whether it is the only one left, perhaps until it has taken somebody in.
    fn note_alone(&mut self, broker: &Broker, at: u64, mind: &Mind) {
        let Some((state, _)) = known(broker).filter(|_| broker.leads().is_some()) else { return };
        if state.in_sync == [broker.id().member.clone()] {
            self.alone = Some((at, self.heard_outside(state, mind)));
        }
    }

    /// R27, R34: a broker that was asked to leave ends.
    fn departs(
        &mut self,
        broker: &Broker,
        at: u64,
        mind: &Mind,
        checks: &mut Checks,
    ) -> Result<(), Violation> {
        if let Some(left) = self.left {
            let time = between(left.max(self.awake), at);
            return checks.observe(&Fact::Owes(broker.id(), Duty::End { time }));
        }
        let Some(asked) = mind.leaving else { return Ok(()) };
        let duty = Duty::Leave {
            asked: between(asked, at),
            alone: self.alone.map(|(alone, heard)| (between(alone, at), between(heard, at))),
        };
        checks.observe(&Fact::Owes(broker.id(), duty))
    }
}
