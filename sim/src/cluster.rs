//! A cluster in a world: brokers, discovery replicas, publishers and subscribers, with every checker
//! watching, and a way to end a run.

use crate::actor::{Actor, Command, Event};
use crate::check::{Checks, Fact, Violation};
use crate::fault::Fault;
use crate::fingerprint::Fingerprint;
use crate::network::ProcessId;
use crate::observer::{Coverage, Observer, Published, Received};
use crate::outbox::Disk;
use crate::random::{Draws, Purpose};
use crate::render::Renderer;
use crate::world::{self, Life, Step, World};
use std::cell::{Ref, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;
use steadfast_core::broker::retention::Retention;
use steadfast_core::broker::{self, Broker, OnTotalLoss};
use steadfast_core::coordination::Paths;
use steadfast_core::discovery::{self, Discovery};
use steadfast_core::filter::{Filter, Topic};
use steadfast_core::group::GroupState;
use steadfast_core::id::{Address, Generation, Incarnation, NodeName, Nonce, PublisherId};
use steadfast_core::limits::{SESSION_EXPIRY, Timing};
use steadfast_core::log::EntryKind;
use steadfast_core::message::{self, History};
use steadfast_core::node::Output;
use steadfast_core::publisher::{self, Publisher};
use steadfast_core::subscriber::{self, Subscriber};

/// Where every simulated cluster stands in the tree.
const ROOT: &str = "/sim";

/// After healing, what the faults have set off is over within this time: sessions that were about to
/// expire, silence that was about to be noticed.
const CALM: Duration = Duration::from_secs(3);

/// What a cluster consists of.
#[derive(Clone, Debug)]
pub struct Config {
    /// Everything around the nodes.
    pub world: world::Config,
    /// Number of brokers.
    pub brokers: u32,
    /// The brokers start one after the other, in these intervals: the first becomes primary if the
    /// others are late enough.
    pub stagger: Duration,
    /// Number of discovery replicas.
    pub discoveries: u32,
    /// Number of publishers.
    pub publishers: u32,
    /// The filter of each subscriber. Each begins at the earliest record.
    pub subscribers: Vec<&'static str>,
    /// Timings of all nodes.
    pub timing: Timing,
    /// Commits need this many in-sync members.
    pub min_in_sync: u32,
    /// What a group does when its data is gone.
    pub on_total_loss: OnTotalLoss,
    /// When the session of a publisher that is not heard of is forgotten.
    pub session_expiry: Duration,
    /// Whether publishers have an outbox.
    pub outboxes: bool,
    /// How much the brokers keep.
    pub retention: Retention,
    /// Payloads are at least so long, in bytes.
    pub payload: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            world: world::Config::default(),
            brokers: 3,
            stagger: Duration::ZERO,
            discoveries: 2,
            publishers: 1,
            subscribers: vec![">"],
            timing: Timing::default(),
            min_in_sync: 1,
            on_total_loss: OnTotalLoss::Reset,
            session_expiry: SESSION_EXPIRY,
            outboxes: false,
            retention: Retention::default(),
            payload: 0,
        }
    }
}

/// Why a run failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Virtual time, in nanoseconds.
    pub at: u64,
    /// The step after which it was seen.
    pub step: u64,
    /// What is wrong.
    pub violation: Violation,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step {} at {} ms: {}", self.step, self.at / 1_000_000, self.violation)
    }
}

/// A cluster and its run.
pub struct Cluster {
    world: World<Actor>,
    checks: Checks,
    observer: Observer,
    renderer: Option<Renderer>,
    brokers: Vec<ProcessId>,
    discoveries: Vec<ProcessId>,
    publishers: Vec<ProcessId>,
    disks: BTreeMap<ProcessId, Rc<RefCell<Disk>>>,
    subscribers: Vec<(ProcessId, Filter)>,
    /// Processes that were asked to leave, and how long after their end they start again.
    leaving: BTreeMap<ProcessId, Duration>,
}

fn address(name: &str) -> Address {
    Address::new(&format!("sim://{name}")).expect("a valid address")
}

impl Cluster {
    /// A cluster whose processes are all about to start.
    ///
    /// # Panics
    /// When a filter is not valid.
    pub fn new(config: &Config, seed: u64) -> Self {
        let mut cluster = Self {
            world: World::new(config.world, Draws::new(seed)),
            checks: Checks::default(),
            observer: Observer::with_payloads_of(config.payload),
            renderer: None,
            brokers: Vec::new(),
            discoveries: Vec::new(),
            publishers: Vec::new(),
            disks: BTreeMap::new(),
            subscribers: Vec::new(),
            leaving: BTreeMap::new(),
        };
        cluster.world.record_changes(&Paths::new(ROOT.to_owned()).state(0));
        (0..config.discoveries).for_each(|number| cluster.add_discovery(config, number + 1));
        (0..config.brokers).for_each(|number| cluster.add_broker(config, number + 1));
        (0..config.publishers).for_each(|number| cluster.add_publisher(config, number + 1));
        for (number, filter) in (1..).zip(&config.subscribers) {
            cluster.add_subscriber(config, number, Filter::new(filter).expect("a valid filter"));
        }
        for process in cluster.world.processes() {
            let place = cluster.brokers.iter().position(|&broker| broker == process).unwrap_or(0) as u64;
            let at = place * config.stagger.as_nanos() as u64;
            cluster.world.schedule(at, Fault::Restart(process));
        }
        cluster
    }

    fn add_discovery(&mut self, config: &Config, number: u32) {
        let name = format!("d{number}");
        let (timing, min_in_sync) = (config.timing.clone(), config.min_in_sync);
        let starter = move |life: &Life| {
            let config = discovery::Config { timing: timing.clone(), min_in_sync };
            let (seed, replica) = (life.seed(), life.identity(0));
            let boot = discovery::Boot { seed, replica, root: ROOT.to_owned(), config };
            Actor::Discovery(Box::new(Discovery::new(life.now, boot)))
        };
        self.discoveries.push(self.world.add(&name, Some(address(&name)), Box::new(starter)));
    }

    fn add_broker(&mut self, config: &Config, number: u32) {
        let name = format!("b{number}");
        let node = NodeName::new(&name).expect("a valid name");
        let listens = address(&name);
        let (timing, on_total_loss, retention) =
            (config.timing.clone(), config.on_total_loss, config.retention);
        let session_expiry = config.session_expiry;
        let starter = move |life: &Life| {
            let config = broker::Config {
                timing: timing.clone(),
                on_total_loss,
                session_expiry,
                retention,
                ..broker::Config::default()
            };
            let boot = broker::Boot {
                seed: life.seed(),
                node: node.clone(),
                generation: Generation(life.identity(0)),
                incarnation: Incarnation(life.identity(1)),
                address: listens.clone(),
                group: 0,
                root: ROOT.to_owned(),
                config,
            };
            Actor::Broker(Box::new(Broker::new(life.now, boot)))
        };
        self.brokers.push(self.world.add(&name, Some(address(&name)), Box::new(starter)));
    }

    fn discovery_addresses(config: &Config) -> Vec<Address> {
        (1..=config.discoveries).map(|number| address(&format!("d{number}"))).collect()
    }

    fn add_publisher(&mut self, config: &Config, number: u32) {
        let discovery = Self::discovery_addresses(config);
        let timing = config.timing.clone();
        let id = PublisherId(u128::from(number) << 96);
        let disk = config.outboxes.then(|| Rc::new(RefCell::new(Disk::default())));
        let reads = disk.clone();
        let starter = move |life: &Life| {
            let boot = publisher::Boot {
                seed: life.seed(),
                publisher: id,
                nonce: Nonce(life.identity(0)),
                discovery: discovery.clone(),
                group: 0,
                config: publisher::Config { timing: timing.clone(), ..publisher::Config::default() },
                outbox: reads.as_ref().map(|disk| disk.borrow_mut().read()),
            };
            Actor::Publisher(Box::new(Publisher::new(life.now, boot)))
        };
        let process = self.world.add(&format!("p{number}"), None, Box::new(starter));
        self.observer.add_publisher(process, id);
        self.disks.extend(disk.map(|disk| (process, disk)));
        self.publishers.push(process);
    }

    fn add_subscriber(&mut self, config: &Config, number: u32, filter: Filter) {
        let discovery = Self::discovery_addresses(config);
        let timing = config.timing.clone();
        let filters = vec![filter.clone()];
        let starter = move |life: &Life| {
            let boot = subscriber::Boot {
                seed: life.seed(),
                discovery: discovery.clone(),
                group: 0,
                filters: filters.clone(),
                start: subscriber::Start::Earliest,
                config: subscriber::Config { timing: timing.clone(), ..subscriber::Config::default() },
            };
            Actor::Subscriber(Box::new(Subscriber::new(life.now, boot)))
        };
        let process = self.world.add(&format!("s{number}"), None, Box::new(starter));
        let (filters, start) = (std::slice::from_ref(&filter), message::Start::Earliest);
        self.observer.add_subscriber(process);
        self.checks
            .observe(&Fact::Subscribed { subscriber: process.0, filters, start })
            .expect("a subscriber begins");
        self.subscribers.push((process, filter));
    }

    /// From now on keeps the history as text.
    pub fn render(&mut self, renderer: Renderer) {
        self.renderer = Some(renderer);
    }

    /// The history as text since the last call.
    pub fn take_lines(&mut self) -> Vec<String> {
        self.renderer.as_mut().map(Renderer::take_lines).unwrap_or_default()
    }

    /// The brokers.
    pub fn brokers(&self) -> &[ProcessId] {
        &self.brokers
    }

    /// The discovery replicas.
    pub fn discoveries(&self) -> &[ProcessId] {
        &self.discoveries
    }

    /// The publishers.
    pub fn publishers(&self) -> &[ProcessId] {
        &self.publishers
    }

    /// The subscribers.
    pub fn subscribers(&self) -> impl Iterator<Item = ProcessId> {
        self.subscribers.iter().map(|(process, _)| *process)
    }

    /// A process by its name.
    pub fn find(&self, name: &str) -> Option<ProcessId> {
        self.world.processes().find(|&process| self.world.name(process) == name)
    }

    /// The world.
    pub const fn world(&self) -> &World<Actor> {
        &self.world
    }

    /// The world, to schedule faults and to change the network.
    pub const fn world_mut(&mut self) -> &mut World<Actor> {
        &mut self.world
    }

    /// Everything that the checkers know.
    pub const fn checks(&self) -> &Checks {
        &self.checks
    }

    /// What became of a publisher's records.
    pub fn published(&self, publisher: ProcessId) -> &Published {
        self.observer.published(publisher)
    }

    /// The disk with a publisher's outbox.
    ///
    /// # Panics
    /// When it has none.
    pub fn disk(&self, publisher: ProcessId) -> Ref<'_, Disk> {
        self.disks[&publisher].borrow()
    }

    /// What a subscriber has delivered.
    pub fn received(&self, subscriber: ProcessId) -> &Received {
        self.observer.received(subscriber)
    }

    /// How often what a run should come to has happened.
    pub const fn coverage(&self) -> Coverage {
        self.observer.coverage()
    }

    /// Hash of the history so far.
    pub const fn fingerprint(&self) -> Fingerprint {
        self.world.fingerprint()
    }

    /// The group's state in the tree.
    pub fn state(&self) -> Option<&GroupState> {
        self.checks.ledger().states().last()
    }

    /// The process that the tree names as primary, if it lives.
    pub fn primary(&self) -> Option<ProcessId> {
        let primary = self.state()?.primary.as_ref()?;
        let is_it = |process: &ProcessId| self.broker(*process).is_some_and(|broker| broker.id() == primary);
        self.brokers.iter().copied().find(is_it)
    }

    /// The broker that a process runs.
    pub fn broker(&self, process: ProcessId) -> Option<&Broker> {
        self.world.node(process)?.broker()
    }

    /// A publisher is asked to publish records, one after the other, from now on in these intervals.
    pub fn publish(&mut self, publisher: ProcessId, topic: &str, count: u64, interval: Duration) {
        let topic = Topic::new(topic).expect("a valid topic");
        for number in 0..count {
            let at = self.world.now() + number * interval.as_nanos() as u64;
            let (ticket, payload) = self.observer.publish(publisher);
            let fact =
                Fact::Published { publisher: self.observer.id(publisher), topic: &topic, payload: &payload };
            self.checks.observe(&fact).expect("what is published violates nothing");
            let command = publisher::Command::Publish { ticket, topic: topic.clone(), payload };
            self.world.command(at, publisher, Command::Publisher(command));
        }
    }

    /// A subscriber is asked to read the group's head, so often, from now on in these intervals.
    pub fn read_heads(&mut self, subscriber: ProcessId, count: u64, interval: Duration) {
        for request in 1..=count {
            let at = self.world.now() + request * interval.as_nanos() as u64;
            let command = subscriber::Command::ReadHead { request };
            self.world.command(at, subscriber, Command::Subscriber(command));
        }
    }

    /// Applies a fault at once.
    ///
    /// # Errors
    /// When a property does not hold afterwards.
    pub fn strike(&mut self, fault: Fault) -> Result<(), Failure> {
        if let Fault::Crash(process) | Fault::PowerLoss(process) = fault {
            // Then its end was another one.
            self.leaving.remove(&process);
        }
        self.world.strike(fault).map_or(Ok(()), |step| self.look(&step))
    }

    /// One step. Says no when nothing is to come before this time.
    ///
    /// # Errors
    /// When a property does not hold afterwards.
    pub fn step(&mut self, until: u64) -> Result<bool, Failure> {
        let Some(step) = self.world.step(until) else { return Ok(false) };
        self.look(&step)?;
        Ok(true)
    }

    /// Goes on until something holds, for so long at most. Says whether it does.
    ///
    /// # Errors
    /// When a property does not hold on the way.
    pub fn run_until(&mut self, limit: Duration, holds: impl Fn(&Self) -> bool) -> Result<bool, Failure> {
        let end = self.world.now() + limit.as_nanos() as u64;
        while !holds(self) {
            if !self.step(end)? {
                self.world.advance(end);
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Lets time pass.
    ///
    /// # Errors
    /// When a property does not hold on the way.
    pub fn run_for(&mut self, time: Duration) -> Result<(), Failure> {
        self.run_until(time, |_| false).map(drop)
    }

    fn look(&mut self, step: &Step<Event>) -> Result<(), Failure> {
        if let Some(renderer) = &mut self.renderer {
            renderer.step(&self.world, step);
        }
        for output in &step.outputs {
            // The application consumes what it is given at once.
            if let Output::Event(Event::Subscriber(subscriber::Event::Delivered(delivery))) = output {
                let command = subscriber::Command::Consumed { bytes: delivery.bytes };
                self.world.command(step.at, step.process, Command::Subscriber(command));
            }
        }
        if let Some(disk) = self.disks.get(&step.process) {
            let draws = self.world.draws();
            let seen = disk.borrow_mut().observe(step, draws, Event::publisher);
            seen.map_err(|violation| self.failure(violation))?;
        }
        let result = self.observer.observe(&mut self.world, step, &mut self.checks);
        result.map_err(|violation| self.failure(violation))?;
        let stopped = |output: &Output<Event>| {
            let stopped = Event::Broker(broker::Event::Stopped);
            matches!(output, Output::Event(event)
                if *event == stopped || *event == Event::Discovery(discovery::Event::Stopped))
        };
        match step.outputs.iter().any(stopped) {
            true => self.exit(step.process),
            false => Ok(()),
        }
    }

    fn exit(&mut self, process: ProcessId) -> Result<(), Failure> {
        if let Some(pause) = self.leaving.remove(&process) {
            let at = self.world.now() + pause.as_nanos() as u64;
            self.world.schedule(at, Fault::Restart(process));
        }
        self.strike(Fault::Exit(process))
    }

    fn failure(&self, violation: Violation) -> Failure {
        Failure { at: self.world.now(), step: self.world.steps(), violation }
    }

    /// Whether every broker's process is in sync and nobody else is, and every client has been served.
    pub fn is_settled(&self) -> bool {
        let in_sync = |state: &GroupState| {
            let mut brokers = self.brokers.iter().map(|&process| self.broker(process));
            state.in_sync.len() == self.brokers.len()
                && brokers.all(|broker| broker.is_some_and(|b| state.in_sync.contains(&b.id().member)))
        };
        self.leaving.is_empty()
            && self.state().is_some_and(in_sync)
            && self.primary().is_some()
            && self.publishers.iter().all(|&process| self.published(process).is_settled())
            && self.disks.values().all(|disk| disk.borrow().is_settled())
            && self.subscribers.iter().all(|(process, filter)| self.has_everything(*process, filter))
            && self.subscribers().all(|process| !self.received(process).asks)
    }

    fn has_everything(&self, subscriber: ProcessId, filter: &Filter) -> bool {
        let Some(state) = self.state() else { return false };
        let received = self.received(subscriber);
        let committed = self.checks.ledger().committed(state.history);
        let log = &committed.log;
        let from = match received.history {
            // It will begin with what is kept.
            none if none == History::default() => committed.log_start(),
            known if known == state.history => received.next,
            _ => 0,
        };
        !log.from(from).iter().any(
            |held| matches!(&held.entry.kind, EntryKind::Batch(batch) if filter.matches(&batch.header.topic)),
        )
    }

    /// A broker or a discovery replica is asked to leave, as its operator would. Its process ends when it
    /// has, and starts again so long after that; `None`: only a [`Fault::Restart`] starts it. A dead
    /// process is asked nothing.
    pub fn shut_down(&mut self, process: ProcessId, back_after: Option<Duration>) {
        if self.world.node(process).is_none() {
            return;
        }
        if let Some(pause) = back_after {
            self.leaving.insert(process, pause);
        }
        let command = match self.brokers.contains(&process) {
            true => Command::Broker(broker::Command::Shutdown),
            false => Command::Discovery(discovery::Command::Shutdown),
        };
        let now = self.world.now();
        self.world.command(now, process, command);
    }

    /// Puts everything right that was wrong.
    ///
    /// # Errors
    /// When a property does not hold afterwards.
    pub fn heal(&mut self) -> Result<(), Failure> {
        let processes: Vec<_> = self.world.processes().collect();
        for &process in &processes {
            self.strike(Fault::Restart(process))?;
            self.strike(Fault::Resume(process))?;
            self.strike(Fault::HealCoordination(process))?;
            for &other in &processes {
                self.strike(Fault::Heal(process, other))?;
            }
        }
        Ok(())
    }

    /// Liveness: heals everything, and requires that within a little more than `limit` every record's fate is settled,
    /// every subscriber has everything that is committed and every broker is in sync; and that from
    /// then on nothing changes hands any more.
    ///
    /// # Errors
    /// When a property does not hold on the way, or it does not come to this in time.
    pub fn settle(&mut self, limit: Duration) -> Result<(), Failure> {
        self.heal()?;
        self.run_for(CALM)?;
        if !self.run_until(limit, Self::is_settled)? {
            let detail = self.stall();
            return Err(self.failure(Violation { property: "Liveness", detail }));
        }
        let before = self.state().map(|state| (state.epoch, state.config));
        self.run_for(Duration::from_secs(5))?;
        let after = self.state().map(|state| (state.epoch, state.config));
        if before != after {
            let detail = format!("nothing is wrong, and the group went from {before:?} to {after:?}");
            return Err(self.failure(Violation { property: "Flapping", detail }));
        }
        self.checks.observe(&Fact::Settled).map_err(|violation| self.failure(violation))
    }

    fn stall(&self) -> String {
        let publishers: Vec<_> = self.publishers.iter().map(|&process| self.published(process)).collect();
        let received: Vec<_> = self.subscribers().map(|process| self.received(process)).collect();
        format!("not settled: state {:?}, publishers {publishers:?}, subscribers {received:?}", self.state())
    }

    /// A run's own random number: for faults and workloads.
    pub fn draw(&self, purpose: Purpose, entity: u64, counter: u64, bound: u64) -> u64 {
        self.world.draws().below(purpose, entity, counter, bound)
    }
}
