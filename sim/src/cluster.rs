//! A cluster in a world: brokers, discovery replicas, publishers and subscribers, with every checker
//! watching, and a way to end a run.

mod config;
mod ending;
mod joining;
mod liveness;
mod sometimes;

use crate::actor::{Actor, Command, Event};
use crate::check::duty::Due;
use crate::check::{Checks, Fact, Terms, Violation};
use crate::coverage::Coverage;
use crate::diagram::Diagram;
use crate::fault::Fault;
use crate::fingerprint::Fingerprint;
use crate::network::ProcessId;
use crate::observer::{Observer, Published, Received};
use crate::outbox::Disk;
use crate::random::{Draws, Purpose};
use crate::reader::Reader;
use crate::render::Renderer;
use crate::world::{Cause, Step, World};
pub use config::Config;
use ending::Ending;
pub use joining::{MOST_BROKERS, MOST_DISCOVERIES, MOST_PUBLISHERS, MOST_SUBSCRIBERS};
use liveness::CALM;
pub use liveness::Core;
pub use sometimes::SITUATIONS;
use sometimes::Sometimes;
use std::cell::{Ref, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;
use steadfast_core::broker::{self, Broker};
use steadfast_core::coordination::Paths;
use steadfast_core::discovery;
use steadfast_core::filter::{Filter, Topic};
use steadfast_core::group::GroupState;
use steadfast_core::id::{Offset, PublisherId};
use steadfast_core::limits::Timing;
use steadfast_core::message::History;
use steadfast_core::node::Output;
use steadfast_core::trace::Trace;
use steadfast_core::{publisher, subscriber, wire};

/// Where every simulated cluster stands in the tree.
const ROOT: &str = "/sim";
/// Most that all nodes are given in a second. No plan of ours comes near it.
const MAX_PACE: u64 = 50_000;

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
    diagram: Option<Diagram>,
    brokers: Vec<ProcessId>,
    /// Processes that bear the name of a broker's node, which has one of its own.
    second_processes: Vec<ProcessId>,
    discoveries: Vec<ProcessId>,
    publishers: Vec<ProcessId>,
    /// When each publisher is asked for the last record of which that is known.
    published_until: BTreeMap<ProcessId, u64>,
    disks: BTreeMap<ProcessId, Rc<RefCell<Disk>>>,
    /// Processes that have not begun yet: each will with a copy of this publisher's outbox, on this disk.
    copies: BTreeMap<ProcessId, (ProcessId, Rc<RefCell<Disk>>)>,
    subscribers: BTreeMap<ProcessId, Reader>,
    /// Processes that were asked to leave, and how long after their end they start again; `None`: when
    /// everything is put right.
    leaving: BTreeMap<ProcessId, Option<Duration>>,
    ending: Ending,
    /// Who asks brokers to leave by a frame, if anybody does.
    operator: Option<ProcessId>,
    calm: Duration,
    timing: Timing,
    sometimes: Sometimes,
    /// How far the group was when it was healed last.
    committed_before: Option<(History, Offset)>,
    /// Frames that nodes have sent.
    frames: u64,
    /// A second of the run, and how much all nodes were given in it.
    pace: (u64, u64),
    /// What nodes have traced since it was last taken, if somebody wants to know.
    traces: Option<Vec<(ProcessId, Trace)>>,
}

fn failure(world: &World<Actor>, violation: Violation) -> Failure {
    Failure { at: world.now(), step: world.steps(), violation }
}

/// What the checkers have to know. Clocks may be a little wrong.
fn terms(config: &Config) -> Terms {
    let timing = &config.timing;
    let isolation = config.world.coordination.session_timeout + timing.step_down;
    Terms {
        // A primary that is cut off notices it when its session may be over, and falls silent when the
        // step-down time is over too.
        silence: isolation.mul_f64(1.2) + CALM,
        // What is heard of all the time is noted now and then.
        session: config.session_expiry.mul_f64(0.8).saturating_sub(Duration::from_millis(150)),
        session_term: config.session_expiry.mul_f64(1.2),
        suspicion: timing.suspicion.mul_f64(0.85),
        lag: timing.lag.mul_f64(0.85),
        step_down: timing.step_down.mul_f64(0.85),
        lately: timing.heartbeat.mul_f64(2.5),
        turn: timing.heartbeat.mul_f64(1.7),
        handover: (timing.suspicion * 2).mul_f64(1.2) + CALM,
        rest: timing.suspicion.mul_f64(0.85),
        goodbye: timing.suspicion * 4,
        held_up: timing.suspicion.mul_f64(1.2) + CALM,
        due: Due::by(timing),
        retention: config.retention,
        memory: (config.log_bytes, config.uncommitted_bytes),
        queue: (config.publisher.queue_records, config.publisher.queue_bytes),
        unread: config.credit_bytes,
    }
}

impl Cluster {
    /// A cluster whose processes are all about to start.
    ///
    /// # Panics
    /// When a filter is not valid.
    pub fn new(config: &Config, seed: u64) -> Self {
        let mut cluster = Self {
            world: World::new(config.world, Draws::new(seed)),
            checks: Checks::under(&terms(config)),
            observer: Observer::new(
                config.payload,
                config.timing.suspicion.mul_f64(1.25),
                config.timing.client_suspicion.mul_f64(1.25),
            ),
            renderer: None,
            diagram: None,
            brokers: Vec::new(),
            second_processes: Vec::new(),
            discoveries: Vec::new(),
            publishers: Vec::new(),
            published_until: BTreeMap::new(),
            disks: BTreeMap::new(),
            copies: BTreeMap::new(),
            subscribers: BTreeMap::new(),
            leaving: BTreeMap::new(),
            ending: Ending::default(),
            operator: None,
            calm: config.world.coordination.session_timeout + CALM,
            timing: config.timing.clone(),
            sometimes: Sometimes::default(),
            committed_before: None,
            frames: 0,
            pace: (0, 0),
            traces: None,
        };
        cluster.world.record_changes(&Paths::new(ROOT.to_owned()).state(0));
        (0..config.discoveries).for_each(|number| cluster.add_discovery(config, number + 1));
        (0..config.brokers).for_each(|number| cluster.add_broker(config, number + 1));
        for (process, place) in
            cluster.discoveries.iter().map(|process| (process, 0)).chain(cluster.brokers.iter().zip(0..))
        {
            let at = place * config.stagger.as_nanos() as u64;
            cluster.world.schedule(at, Fault::Restart(*process));
        }
        for number in 1..=config.publishers {
            cluster.add_publisher(config, number, config.outboxes);
        }
        for (number, filter) in (1..).zip(&config.subscribers) {
            let filters = vec![Filter::new(filter).expect("a valid filter")];
            cluster.add_subscriber(config, number, Reader::of(filters), Duration::ZERO);
        }
        cluster
    }

    /// From now on keeps the history as text.
    pub fn render(&mut self, renderer: Renderer) {
        self.renderer = Some(renderer);
    }

    /// The history as text since the last call.
    pub fn take_lines(&mut self) -> Vec<String> {
        self.renderer.as_mut().map(Renderer::take_lines).unwrap_or_default()
    }

    /// From now on keeps the history as a diagram.
    pub fn depict(&mut self) {
        self.diagram.get_or_insert_default();
    }

    /// The diagram since [`Cluster::depict`].
    pub fn take_diagram(&mut self) -> Option<Diagram> {
        self.diagram.take()
    }

    /// The brokers.
    pub fn brokers(&self) -> &[ProcessId] {
        &self.brokers
    }

    /// Second processes of brokers' nodes.
    pub fn second_processes(&self) -> &[ProcessId] {
        &self.second_processes
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
        self.subscribers.keys().copied()
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

    /// Somebody writes another state of the group over that in the tree, whose version rises. The checkers are not told.
    pub fn overwrite(&mut self, state: &GroupState) {
        let path = Paths::new(ROOT.to_owned()).state(0);
        self.world.overwrite(&path, wire::encode_group_state(state));
    }

    /// Somebody restores the tree with another state of the group: its version begins anew. The checkers are not told.
    pub fn restore(&mut self, state: &GroupState) {
        let path = Paths::new(ROOT.to_owned()).state(0);
        self.world.restore(&path, wire::encode_group_state(state));
    }

    /// Everything that the checkers know.
    pub const fn checks(&self) -> &Checks {
        &self.checks
    }

    /// What became of a publisher's records.
    pub fn published(&self, publisher: ProcessId) -> &Published {
        self.observer.published(publisher)
    }

    /// The identity of a publisher's present life.
    pub fn identity(&self, publisher: ProcessId) -> PublisherId {
        self.observer.identity(publisher)
    }

    /// The disk with a publisher's outbox.
    ///
    /// # Panics
    /// When it has none.
    pub fn disk(&self, publisher: ProcessId) -> Ref<'_, Disk> {
        self.disks[&publisher].borrow()
    }

    /// Every publisher that has an outbox, and its disk.
    pub(crate) fn outboxes(&self) -> impl Iterator<Item = (ProcessId, Ref<'_, Disk>)> {
        self.disks.iter().map(|(publisher, disk)| (*publisher, disk.borrow()))
    }

    /// What a subscriber has delivered.
    pub fn received(&self, subscriber: ProcessId) -> &Received {
        self.observer.received(subscriber)
    }

    /// How often what a run should come to has happened.
    pub const fn coverage(&self) -> &Coverage {
        self.observer.coverage()
    }

    /// From now on keeps what nodes trace for [`Cluster::take_traces`].
    pub fn keep_traces(&mut self) {
        self.traces.get_or_insert_default();
    }

    /// What nodes have traced since the last call.
    pub fn take_traces(&mut self) -> Vec<(ProcessId, Trace)> {
        self.traces.as_mut().map(std::mem::take).unwrap_or_default()
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
        self.primary_of(self.state()?)
    }

    /// The process that a state names as primary, if it runs.
    fn primary_of(&self, state: &GroupState) -> Option<ProcessId> {
        let primary = state.primary.as_ref()?;
        let is_it = |process: &ProcessId| self.broker(*process).is_some_and(|broker| broker.id() == primary);
        self.brokers.iter().copied().find(is_it)
    }

    /// The broker that a process runs.
    pub fn broker(&self, process: ProcessId) -> Option<&Broker> {
        self.world.node(process)?.broker()
    }

    /// A publisher is asked to publish records, one after the other, from now on in these intervals; where others are
    /// still to come, after those.
    pub fn publish(&mut self, publisher: ProcessId, topic: &str, count: u64, interval: Duration) {
        let topic = Topic::new(topic).expect("a valid topic");
        let begin = self.published_until.get(&publisher).copied().unwrap_or(0).max(self.world.now());
        for number in 0..count {
            let at = begin + number * interval.as_nanos() as u64;
            self.published_until.insert(publisher, at);
            let (ticket, payload) = self.observer.publish(publisher);
            let fact = Fact::Published {
                client: publisher.0,
                publisher: self.observer.identity(publisher),
                topic: &topic,
                payload: &payload,
            };
            self.checks.observe(&fact).expect("what is published violates nothing");
            let asked = Fact::Asked { client: publisher.0, ticket, bytes: payload.len() };
            self.checks.observe(&asked).expect("what is asked for violates nothing");
            let command = publisher::Command::publish(ticket, topic.clone(), &payload);
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

    /// From now on a subscriber's application consumes what is delivered so late; `None`: not at all. What
    /// it owes it consumes then, too.
    pub fn pace(&mut self, subscriber: ProcessId, late: Option<Duration>) {
        let Some(reader) = self.subscribers.get_mut(&subscriber) else { return };
        if let Some((late, bytes)) = reader.pace(late) {
            self.consume(subscriber, late, bytes);
        }
    }

    fn consume(&mut self, subscriber: ProcessId, late: Duration, bytes: u64) {
        let consumed = Fact::Consumed { subscriber: subscriber.0, bytes };
        self.checks.observe(&consumed).expect("what is consumed violates nothing");
        let command = Command::Subscriber(subscriber::Command::Consumed { bytes });
        let at = self.world.now() + late.as_nanos() as u64;
        self.world.command_of_this_life(at, subscriber, command);
    }

    /// Applies a fault at once.
    ///
    /// # Errors
    /// When a property does not hold afterwards.
    pub fn strike(&mut self, fault: Fault) -> Result<(), Failure> {
        self.world.strike(fault).map_or(Ok(()), |step| self.look(&step))
    }

    /// One step. Says no when nothing is to come before this time.
    ///
    /// # Errors
    /// When a property does not hold afterwards.
    pub fn step(&mut self, until: u64) -> Result<bool, Failure> {
        let Some(step) = self.world.step(until) else { return Ok(false) };
        self.look(&step)?;
        self.keep_pace()?;
        Ok(true)
    }

    /// Nodes that give each other work without end would take a run nowhere.
    fn keep_pace(&mut self) -> Result<(), Failure> {
        let second = self.world.now() / 1_000_000_000;
        let (begun, inputs) = self.pace;
        self.pace = (second, if begun == second { inputs + 1 } else { 1 });
        if self.pace.1 > MAX_PACE {
            let detail = format!("{} inputs within a second, and no end", self.pace.1);
            return Err(self.failure(Violation { property: "Quiet", detail }));
        }
        Ok(())
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
        if let Some(diagram) = &mut self.diagram {
            diagram.step(&self.world, step);
        }
        if let Cause::Fault(Fault::Crash(process) | Fault::PowerLoss(process)) = step.cause {
            // Then its end was another one.
            self.leaving.remove(&process);
        }
        let mut consumed = Vec::new();
        if let Some(reader) = self.subscribers.get_mut(&step.process) {
            consumed = reader.see(step);
            let place =
                reader.tell(step, &mut self.checks).map_err(|violation| failure(&self.world, violation))?;
            if step.cause == Cause::Started {
                self.observer.begins(step.process, place);
            }
        }
        let sent = |output: &&Output<Event>| matches!(output, Output::Transmit { .. });
        self.frames += step.outputs.iter().filter(sent).count() as u64;
        if let Some(traces) = &mut self.traces {
            let traced = step.outputs.iter().filter_map(|output| match output {
                Output::Trace(trace) => Some((step.process, trace.clone())),
                _ => None,
            });
            traces.extend(traced);
        }
        if let Some(disk) = self.disks.get(&step.process) {
            let draws = self.world.draws();
            let seen = disk.borrow_mut().observe(step, draws, Event::publisher);
            seen.map_err(|violation| self.failure(violation))?;
        }
        let result = self.observer.observe(&mut self.world, step, &mut self.checks);
        result.map_err(|violation| self.failure(violation))?;
        for (late, bytes) in consumed {
            self.consume(step.process, late, bytes);
        }
        self.note_ending(step)?;
        self.note_situations(step);
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
        if let Some(pause) = self.leaving.remove(&process).flatten() {
            let at = self.world.now() + pause.as_nanos() as u64;
            self.world.schedule(at, Fault::Restart(process));
        }
        self.strike(Fault::Exit(process))
    }

    pub(crate) fn failure(&self, violation: Violation) -> Failure {
        failure(&self.world, violation)
    }

    /// A broker or a discovery replica is asked to leave, as its operator would. Its process ends when it
    /// has, and starts again so long after that; `None`: only a [`Fault::Restart`] starts it, or healing. A dead
    /// process is asked nothing.
    pub fn shut_down(&mut self, process: ProcessId, back_after: Option<Duration>) {
        if self.world.node(process).is_none() {
            return;
        }
        self.leaving.insert(process, back_after);
        let command = match self.brokers.contains(&process) {
            true => Command::Broker(broker::Command::Shutdown),
            false => Command::Discovery(discovery::Command::Shutdown),
        };
        let now = self.world.now();
        self.world.command(now, process, command);
    }

    /// A run's own random number: for faults and workloads.
    pub fn draw(&self, purpose: Purpose, entity: u64, counter: u64, bound: u64) -> u64 {
        self.world.draws().below(purpose, entity, counter, bound)
    }
}
