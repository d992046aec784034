//! Liveness: what must come about when the faults have ended. All of it stands on this page: who is put
//! right, what is required of those, within which time, and what excuses them.
//!
//! Uniform faults that go on and on hide a system that is stuck until somebody restarts it, and so does an
//! end at which everything is put right. Therefore some runs heal a *core* that must suffice, and leave
//! everybody else as they are: dead, paused, slow or cut off, for ever.

use super::{Cluster, Config, Failure, failure};
use crate::check::{Fact, Violation};
use crate::fault::cures;
use crate::network::ProcessId;
use crate::random::Purpose;
use crate::reader::Reader;
use std::collections::BTreeSet;
use std::time::Duration;
use steadfast_core::broker::{Broker, OnTotalLoss};
use steadfast_core::group::GroupState;
use steadfast_core::id::{Epoch, Offset};
use steadfast_core::limits::{LEARNER_DEADLINE, SHUTDOWN_DEADLINE, Timing};
use steadfast_core::log::EntryKind;
use steadfast_core::message::History;

/// For so long nothing may happen in the end.
const WATCHED: Duration = Duration::from_secs(5);

/// The last record of a publisher that nobody puts right is committed within this time, however slow its way is.
const LAST_RECORDS: Duration = Duration::from_secs(300);

/// After healing, what the faults have set off is over within the session timeout and this time: sessions
/// that were about to expire, silence that was about to be noticed.
pub(super) const CALM: Duration = Duration::from_secs(1);

/// Within this time somebody leads.
const LED: Duration = Duration::from_secs(5);

/// Each of so many brokers that are not put right may depose two successors before it leaves the lead to others, who
/// then drop it (R2), and be deposed by them as often: what that takes beyond the time for a primary.
fn deposals(timing: &Timing, outsiders: u32) -> Duration {
    (timing.suspicion * 4 * outsiders + timing.lag + CALM).saturating_sub(LED)
}

/// Those who are put right, with all ways among them and the coordination service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Core(BTreeSet<ProcessId>);

/// Something that must come about.
struct Demand {
    rule: &'static str,
    what: &'static str,
    /// After [`CALM`] and the session timeout.
    within: Duration,
    holds: fn(&Cluster, &Core) -> bool,
}

/// In the order in which they come about. What waits at publishers may take its time; that anything at all
/// is committed may not. L5 is what holds from then on (see [`Cluster::recover`]), L8 holds at any time
/// (`check/silenced.rs`).
const DEMANDS: [Demand; 6] = [
    demand("L1", "a primary whose epoch has a committed beginning", LED.as_secs(), Cluster::is_led),
    demand("L3", "commits that go on", 5, Cluster::commits),
    demand("L2", "the fate of every record of a publisher", 30, Cluster::has_settled_records),
    demand("L4", "every broker in sync", 30, Cluster::is_in_sync),
    demand("L6", "every subscriber at the end of the log", 30, Cluster::is_delivered),
    demand("L7", "every change of the group's state decided", 30, Cluster::is_unchanging),
];

/// R27a: who leaves and alone holds the data serves nobody while it waits for those who copy it, also from
/// outside of a core, where they may never be taken in; then it has its time to leave.
const LAST_HOLDER: Duration = LEARNER_DEADLINE.saturating_add(SHUTDOWN_DEADLINE);

const fn demand(
    rule: &'static str,
    what: &'static str,
    seconds: u64,
    holds: fn(&Cluster, &Core) -> bool,
) -> Demand {
    Demand { rule, what, within: Duration::from_secs(seconds), holds }
}

impl Core {
    /// Everybody who has begun; second processes of a node are nobody.
    pub fn everybody(cluster: &Cluster) -> Self {
        let servers = cluster.discoveries.iter().chain(&cluster.brokers);
        let clients = cluster.publishers.iter().chain(cluster.subscribers.keys());
        let begun = |process: &ProcessId| !cluster.copies.contains_key(process);
        Self(servers.chain(clients).copied().filter(begun).collect())
    }

    /// A core that can survive, drawn from the run's seed: a broker in sync that lives, mostly the primary,
    /// and as many as commits need; at least one of each other kind. Where nobody in sync lives, the group
    /// can begin anew only when each of them is back without its data (R27b).
    pub fn survivable(cluster: &Cluster) -> Self {
        let state = cluster.state();
        let named = |process: &ProcessId| {
            let node = cluster.world.name(*process);
            state.is_some_and(|state| state.in_sync.iter().any(|member| member.node.as_str() == node))
        };
        let brokers = cluster.in_drawn_order(cluster.brokers.iter().copied());
        let holders: Vec<_> = brokers.iter().copied().filter(|broker| cluster.holds(*broker)).collect();
        let primary = cluster.primary().filter(|primary| holders.contains(primary));
        let favoured = primary.filter(|_| cluster.draw(Purpose::Core, 0, 1, 4) > 0);
        let must: Vec<_> = match favoured.or_else(|| holders.first().copied()) {
            Some(holder) => vec![holder],
            None => brokers.iter().copied().filter(named).collect(),
        };
        let least = must.len().max(state.map_or(1, |state| state.min_in_sync as usize));
        let others = brokers.iter().copied().filter(|broker| !must.contains(broker));
        let brokers: Vec<_> = must.iter().copied().chain(others).collect();
        let mut core = cluster.some_of(brokers, least);
        let kinds = [
            cluster.discoveries.clone(),
            cluster.publishers.clone(),
            cluster.subscribers.keys().copied().collect(),
        ];
        for kind in kinds {
            core.extend(cluster.some_of(cluster.in_drawn_order(kind.into_iter()), 1));
        }
        Self(core)
    }

    /// Who is in it.
    pub fn iter(&self) -> impl Iterator<Item = ProcessId> {
        self.0.iter().copied()
    }

    /// Whether a process is in it.
    pub fn has(&self, process: ProcessId) -> bool {
        self.0.contains(&process)
    }
}

/// How the core is drawn.
impl Cluster {
    fn in_drawn_order(&self, processes: impl Iterator<Item = ProcessId>) -> Vec<ProcessId> {
        let mut order: Vec<_> = processes.collect();
        order.sort_by_key(|process| self.draw(Purpose::Core, process.entity(), 0, u64::MAX));
        order
    }

    /// The first of these: at least so many.
    fn some_of(&self, order: Vec<ProcessId>, least: usize) -> BTreeSet<ProcessId> {
        let more = order.len().saturating_sub(least) as u64 + 1;
        let entity = order.iter().map(|process| process.entity() + 1).min().unwrap_or(0);
        let count = least + self.draw(Purpose::Core, entity, 2, more) as usize;
        order.into_iter().take(count).collect()
    }
}

/// What is required.
impl Cluster {
    /// Whether everybody is right and has come to all that is demanded.
    pub fn is_settled(&self) -> bool {
        self.unmet(&Core::everybody(self)).is_none()
    }

    /// The first demand that is not met.
    fn unmet(&self, core: &Core) -> Option<&'static Demand> {
        DEMANDS.iter().find(|demand| !(demand.holds)(self, core))
    }

    /// L1.
    fn is_led(&self, core: &Core) -> bool {
        let _ = core;
        let serves = |primary| self.broker(primary).is_some_and(Broker::serves);
        self.primary().is_some_and(serves)
    }

    /// L3, or nothing was left to commit.
    fn commits(&self, core: &Core) -> bool {
        self.committed() != self.committed_before || self.has_settled_records(core)
    }

    fn committed(&self) -> Option<(History, Offset)> {
        let history = self.state()?.history;
        Some((history, self.checks.ledger().committed(history).log.end()))
    }

    /// L2. Who was told to close has.
    fn has_settled_records(&self, core: &Core) -> bool {
        let disks = self.disks.iter().filter(|(process, _)| core.has(**process));
        let is_settled = |p: ProcessId| self.published(p).is_settled() && !self.ending.is_closing(p);
        self.publishers.iter().filter(|process| core.has(**process)).all(|process| is_settled(*process))
            && disks.map(|(_, disk)| disk).all(|disk| disk.borrow().is_settled())
    }

    /// L4. Of those who are no more, nobody is taken for in sync where nobody is left out.
    fn is_in_sync(&self, core: &Core) -> bool {
        let Some(state) = self.state() else { return false };
        let mut brokers = self.brokers.iter().copied().filter(|process| core.has(*process));
        let everybody = self.brokers.iter().all(|process| core.has(*process));
        brokers.all(|process| self.holds(process))
            && (!everybody || state.in_sync.len() == self.brokers.len())
    }

    /// L6.
    fn is_delivered(&self, core: &Core) -> bool {
        let reads_the_head = |process| {
            let received = self.received(process);
            received.asks || received.ahead.is_some()
        };
        let mut subscribers = self.subscribers.iter().filter(|(process, _)| self.hears_on(core, **process));
        subscribers
            .all(|(process, reader)| self.has_everything(*process, reader) && !reads_the_head(*process))
    }

    /// Whether a subscriber is put right and its application still wants to hear.
    fn hears_on(&self, core: &Core, subscriber: ProcessId) -> bool {
        core.has(subscriber) && !self.ending.closes(subscriber)
    }

    /// L7.
    fn is_unchanging(&self, core: &Core) -> bool {
        let mut brokers = self.brokers.iter().filter(|process| core.has(**process));
        let leaving = self.leaving.keys().any(|process| core.has(*process));
        !leaving && brokers.all(|process| self.broker(*process).is_some_and(|broker| !broker.is_changing()))
    }

    fn has_everything(&self, subscriber: ProcessId, reader: &Reader) -> bool {
        let Some(state) = self.state() else { return false };
        let received = self.received(subscriber);
        let committed = self.checks.ledger().committed(state.history);
        let log = &committed.log;
        let from = match received.history {
            // It will begin with what is kept.
            none if none == History::default() => committed.log_start(),
            known if known == state.history => received.next,
            // It is still to be told that its log has ended.
            _ => return false,
        };
        !log.from(from).iter().any(
            |held| matches!(&held.entry.kind, EntryKind::Batch(batch) if reader.wants(&batch.header.topic)),
        )
    }

    /// Whether a broker lives and is in sync.
    fn holds(&self, process: ProcessId) -> bool {
        let in_sync = |state: &GroupState| {
            self.broker(process).is_some_and(|broker| state.in_sync.contains(&broker.id().member))
        };
        self.state().is_some_and(in_sync)
    }
}

/// What excuses a core that does not come to it.
impl Cluster {
    /// Why nothing can be required of a core that has not come to it, by the name of the excuse.
    pub fn excuse(&self, core: &Core, config: &Config) -> Option<&'static str> {
        if self.waits_for_its_operator(core, config) {
            Some("waits_for_its_operator")
        } else if self.is_in_sync_outside_only(core) {
            Some("is_in_sync_outside_only")
        } else if self.is_led_from_outside(core, config) {
            Some("is_led_from_outside")
        } else if self.is_held_from_outside(core) {
            Some("is_held_from_outside")
        } else {
            None
        }
    }

    /// R24: the data is gone for good, and the group is to wait then ([`OnTotalLoss::Wait`]); for ever.
    fn waits_for_its_operator(&self, core: &Core, config: &Config) -> bool {
        let waits = config.on_total_loss == OnTotalLoss::Wait;
        waits && self.state().is_some_and(|state| !state.in_sync.is_empty()) && !self.core_holds(core)
    }

    /// R2, R24: only who is in sync may be promoted, and a change that was under way when the faults ended
    /// has left nobody in sync who is put right. The others may still come back: for ever.
    fn is_in_sync_outside_only(&self, core: &Core) -> bool {
        self.state().is_some_and(|state| !state.in_sync.is_empty()) && !self.core_holds(core)
    }

    /// R2: a primary that its backups hear and that reaches the coordination service is suspected by nobody,
    /// though some client or some learner cannot reach it, or is so far away that it gives every connection up
    /// before the primary has answered; for ever.
    fn is_led_from_outside(&self, core: &Core, config: &Config) -> bool {
        let far = |from, to| self.world.lag(from, to) * 4 > config.timing.suspicion;
        let apart = |from, to| self.world.is_cut(from, to) || far(from, to);
        let hinders = |primary: ProcessId| {
            let cut_off = |other| apart(primary, other) || apart(other, primary);
            let lame = self.world.is_deaf(primary) || self.world.is_stalled(primary);
            !self.world.is_paused(primary) && (lame || core.iter().any(cut_off))
        };
        self.primary().is_some_and(|primary| !core.has(primary) && hinders(primary))
    }

    /// R20, R27: a primary alone in its set never falls silent. Where it is cut off from the tree, and a second process
    /// of its node has made its data count as lost, its clients stay with it for as long as they reach it and nobody
    /// who knows better; for ever.
    fn is_held_from_outside(&self, core: &Core) -> bool {
        let newest = self.state().map_or(0, |state| state.epoch);
        let reaches = |from, to| !self.world.is_cut(from, to) && !self.world.is_cut(to, from);
        let clients = || self.publishers.iter().chain(self.subscribers.keys()).copied();
        let holds = |process| {
            let deposed = |broker: &Broker| broker.leads().is_some_and(|epoch| epoch < newest);
            let alone = |broker: &&Broker| deposed(broker) && broker.counted().count() == 1;
            self.broker(process).filter(alone).is_some()
                && clients().any(|client| core.has(client) && reaches(process, client))
        };
        let outside = |process: &ProcessId| !core.has(*process) && !self.world.is_paused(*process);
        self.brokers.iter().copied().filter(outside).any(holds)
    }

    fn core_holds(&self, core: &Core) -> bool {
        self.brokers.iter().any(|broker| core.has(*broker) && self.holds(*broker))
    }
}

impl Cluster {
    /// Puts right what is wrong with a core and the ways within it, and with the coordination service. Nothing that is
    /// still to come strikes or heals anybody any more.
    ///
    /// # Errors
    /// When a property does not hold afterwards.
    pub fn heal(&mut self, core: &Core) -> Result<(), Failure> {
        self.world.call_off();
        for subscriber in self.subscribers().filter(|process| core.has(*process)).collect::<Vec<_>>() {
            self.pace(subscriber, Some(Duration::ZERO));
        }
        for (process, back) in &mut self.leaving {
            *back = if core.has(*process) { back.or(Some(Duration::ZERO)) } else { None };
        }
        self.ending.put_right(|process| core.has(process));
        self.committed_before = self.committed();
        // What an operator has asked is not held up any longer.
        let processes: Vec<_> = core.iter().chain(self.operator).collect();
        cures(&processes).into_iter().try_for_each(|cure| self.strike(cure))
    }

    /// Heals everything, and requires that everybody comes to what is demanded, within a little more than
    /// `limit` at the most.
    ///
    /// # Errors
    /// When a property does not hold on the way, or it does not come to this in time.
    pub fn settle(&mut self, limit: Duration) -> Result<(), Failure> {
        let everybody = Core::everybody(self);
        self.heal(&everybody)?;
        self.recover(&everybody, limit)
    }

    /// What may take longer than the demands say.
    fn delays(&self, core: &Core) -> Duration {
        // R27b: data that nobody alive holds is given up after the lag threshold.
        let lost = !self.brokers.iter().any(|broker| self.holds(*broker));
        let lost = if lost { self.timing.lag } else { Duration::ZERO };
        // R2: whoever has led in vain may do so once more, and leaves the next reign to others then.
        let barren = core.iter().any(|process| self.observer.led_in_vain(process));
        let turn = if barren { (self.timing.lag + self.timing.suspicion) * 2 } else { Duration::ZERO };
        if *core == Core::everybody(self) {
            return lost + turn;
        }
        let outsiders = self.brokers.iter().filter(|broker| !core.has(**broker)).count().max(1);
        let deposals = deposals(&self.timing, u32::try_from(outsiders).unwrap_or(u32::MAX));
        let mut leaving = self.leaving.keys().copied().chain(self.ending.drained());
        let leaves = leaving.any(|process| core.has(process));
        lost + deposals + turn + if leaves { LAST_HOLDER } else { Duration::ZERO }
    }

    /// The same of a core that has been healed. If somebody of it leaves beside others who are not, the time that
    /// a last holder waits comes on top.
    ///
    /// # Errors
    /// As [`Cluster::settle`].
    pub fn recover(&mut self, core: &Core, limit: Duration) -> Result<(), Failure> {
        let more = self.delays(core);
        self.run_for(self.calm)?;
        if self.primary().is_some_and(|primary| !core.has(primary)) {
            // Its session may be one of those that take longest to end: it hears nothing, gives the session up after
            // seven fifths of the timeout, and is heard until then.
            self.run_for(self.calm * 7 / 5)?;
        }
        let begin = self.world.now();
        let left = |cluster: &Self, within: Duration| {
            let end = begin + (within.min(limit) + more).as_nanos() as u64;
            Duration::from_nanos(end.saturating_sub(cluster.world.now()))
        };
        for demand in &DEMANDS {
            let holds = self.run_until(left(self, demand.within), |cluster| (demand.holds)(cluster, core))?;
            if !holds {
                return Err(self.stalled(demand));
            }
        }
        // What has come about may go again while the next is waited for.
        self.meet_all(core, left(self, limit))?;
        // A publisher that is not put right goes on for as long as it has records.
        let late = self.world.now() + LAST_RECORDS.as_nanos() as u64;
        while !self.stay_calm(core)? {
            if self.world.now() > late {
                let detail = "nothing is asked for any more, and more and more is committed".to_owned();
                return Err(self.failure(Violation { property: "Quiet", detail }));
            }
            self.meet_all(core, limit)?;
        }
        for (&subscriber, _) in self.subscribers.iter().filter(|(process, _)| !core.has(**process)) {
            let gone = Fact::Unsubscribed { subscriber: subscriber.0 };
            self.checks.observe(&gone).map_err(|violation| failure(&self.world, violation))?;
        }
        let outside = |publisher: &ProcessId| !core.has(*publisher) && self.world.node(*publisher).is_some();
        if self.publishers.iter().any(outside) {
            let busy = self.checks.observe(&Fact::GoesOn);
            busy.map_err(|violation| failure(&self.world, violation))?;
        }
        self.checks.observe(&Fact::Settled).map_err(|violation| self.failure(violation))
    }

    /// Everything that is demanded holds at one moment, within this time.
    fn meet_all(&mut self, core: &Core, within: Duration) -> Result<(), Failure> {
        self.run_until(within, |cluster| cluster.unmet(core).is_none())?;
        self.unmet(core).map_or(Ok(()), |demand| Err(self.stalled(demand)))
    }

    /// L5: nothing changes hands any more, and nobody says more than that he lives. Returns whether that was to
    /// be expected: nothing was committed meanwhile.
    fn stay_calm(&mut self, core: &Core) -> Result<bool, Failure> {
        let everybody = *core == Core::everybody(self);
        // Somebody who is not put right may come and go.
        let place = |cluster: &Self| {
            cluster.state().map(|state| (state.epoch, if everybody { state.config } else { 0 }))
        };
        let (before, frames, committed) = (place(self), self.frames, self.committed());
        let led_by = self.primary();
        self.run_for(WATCHED)?;
        let after = place(self);
        if before != after && self.may_depose(core, led_by, before.map_or(0, |(epoch, _)| epoch)) {
            return Ok(false);
        }
        if before != after {
            let detail = format!("L5: nothing happens, and the group went from {before:?} to {after:?}");
            return Err(self.failure(Violation { property: "Flapping", detail }));
        }
        let a_second = (self.frames - frames) / WATCHED.as_secs();
        let is_still = everybody || committed == self.committed();
        if is_still && a_second > self.quiet() {
            let detail = format!("nothing happens, and {a_second} frames are sent a second");
            return Err(self.failure(Violation { property: "Quiet", detail }));
        }
        Ok(is_still)
    }

    /// Who is not put right may be deposed at any time, as what it says gets lost; and it may itself depose one of
    /// the core of whom it hears too little. Says whether the reign of this primary may have ended so.
    fn may_depose(&self, core: &Core, led_by: Option<ProcessId>, epoch: Epoch) -> bool {
        let outside = |process: &ProcessId| !core.has(*process);
        let unheard = |(deposed, new)| outside(&new) && self.world.is_damaged(deposed, new);
        let successor = self.checks.ledger().states().iter().find(|state| state.epoch > epoch);
        let successor = successor.and_then(|state| self.primary_of(state));
        led_by.as_ref().is_some_and(outside) || led_by.zip(successor).is_some_and(unheard)
    }

    /// Most frames a second when nothing happens: signs of life and their answers, between brokers and with
    /// clients. A deposed primary that is not put right gives them, too.
    fn quiet(&self) -> u64 {
        let leads =
            |process: &&ProcessId| self.broker(**process).is_some_and(|broker| broker.leads().is_some());
        let primaries = self.brokers.iter().filter(leads).count().max(1);
        let (brokers, clients) = (self.brokers.len(), self.publishers.len() + self.subscribers.len());
        let a_second = |count: usize, heartbeat: Duration| 2.0 * count as f64 / heartbeat.as_secs_f64();
        let Timing { heartbeat, client_heartbeat, .. } = self.timing;
        (a_second(primaries * brokers, heartbeat) + a_second(2 * clients, client_heartbeat)) as u64
    }

    fn stalled(&self, Demand { rule, what, .. }: &Demand) -> Failure {
        let publishers: Vec<_> = self.publishers.iter().map(|&process| self.published(process)).collect();
        let received: Vec<_> = self.subscribers().map(|process| self.received(process)).collect();
        let state = self.state();
        let detail = format!(
            "{rule}: not {what}; state {state:?}, publishers {publishers:?}, subscribers {received:?}"
        );
        self.failure(Violation { property: "Liveness", detail })
    }
}
