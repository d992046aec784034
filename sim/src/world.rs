//! A deterministic world: processes that run nodes, on virtual time, with everything that can happen
//! to them. It is generic over the node: it knows nothing of brokers or publishers.

use crate::coordination::{self, Ensemble};
use crate::fault::Fault;
use crate::fingerprint::Fingerprint;
use crate::network::{self, Arrival, Host, Network, ProcessId};
use crate::queue::Queue;
use crate::random::{Draws, Purpose, Span};
use bytes::Bytes;
use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;
use steadfast_core::coordination as coord;
use steadfast_core::id::Address;
use steadfast_core::link::{LinkCommand, LinkId, LinkStatus};
use steadfast_core::node::{Input, Node, Output};
use steadfast_core::storage::{self, Ticket};
use steadfast_core::time::Instant;

/// Clocks differ by up to this much: a node that compares readings of two processes is soon wrong.
const CLOCK_SPREAD: Span = Span::new(Duration::ZERO, Duration::from_secs(1_000));
/// A node that wants to be woken at the present moment this often in a row is stuck.
const STUCK_AFTER: u32 = 1_000;

/// How a world behaves.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// The network.
    pub network: network::Config,
    /// The coordination ensemble.
    pub coordination: coordination::Config,
    /// Time that a storage request takes.
    pub storage: Span,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            network: network::Config::default(),
            coordination: coordination::Config::default(),
            storage: Span::ZERO,
        }
    }
}

/// What a process is given when it starts.
#[derive(Clone, Copy, Debug)]
pub struct Life {
    /// Which process.
    pub process: ProcessId,
    /// Its how manieth life, from 1.
    pub number: u32,
    /// Its clock.
    pub now: Instant,
    /// The run's draws.
    pub draws: Draws,
}

impl Life {
    /// A seed that is this life's own.
    pub fn seed(&self) -> u64 {
        self.draws.draw(Purpose::Boot, self.process.entity(), u64::from(self.number))
    }

    /// An identity that is this life's own; `which` tells several of them apart.
    pub fn identity(&self, which: u64) -> u128 {
        let entity = self.process.entity() << 8 | which;
        self.draws.draw_u128(Purpose::Identity, entity, u64::from(self.number))
    }
}

/// Makes the node of each of a process's lives.
pub type Starter<N> = Box<dyn FnMut(&Life) -> N>;

struct Process<N: Node> {
    name: String,
    starter: Starter<N>,
    node: Option<N>,
    life: u32,
    paused: bool,
    /// Inputs that wait to be handled, in order.
    inbox: VecDeque<Input<N::Command>>,
    clock_offset: u64,
    /// When the earliest timer scheduled for this life fires.
    timer: Option<u64>,
    stored_until: u64,
    stored: u64,
    /// Timeouts in a row at the same moment.
    timeouts: (u64, u32),
}

enum Happening<C> {
    Network(network::Happening),
    Coordination(coordination::Happening),
    Stored { process: ProcessId, life: u32, ticket: Ticket },
    Timer { process: ProcessId, life: u32 },
    Command { process: ProcessId, command: C },
    Fault(Fault),
}

/// Why a step was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The process has started.
    Started,
    /// A fault has struck it.
    Fault(Fault),
    /// Its application asked something of it.
    Command,
    /// A frame has come, from this process where it is still known.
    Received(LinkId, Option<ProcessId>),
    /// A link has changed.
    Link(LinkId, LinkStatus),
    /// The coordination service has said something.
    Coordination(coord::Event),
    /// A storage request, and every one before it, is complete.
    Stored(Ticket),
    /// The storage does nothing any more.
    StorageFailed,
    /// A deadline has come.
    Timeout,
}

/// One input handled by one node, or one fault.
#[derive(Debug)]
pub struct Step<E> {
    /// Virtual time, in nanoseconds.
    pub at: u64,
    /// To whom it happened.
    pub process: ProcessId,
    /// Why.
    pub cause: Cause,
    /// What the node wanted done; it is under way.
    pub outputs: Vec<Output<E>>,
}

/// Everything there is.
pub struct World<N: Node> {
    queue: Queue<Happening<N::Command>>,
    /// A process stands here once for every input in its inbox that may be handled now.
    ready: VecDeque<ProcessId>,
    processes: Vec<Process<N>>,
    network: Network,
    ensemble: Ensemble,
    storage: Span,
    draws: Draws,
    fingerprint: Fingerprint,
    steps: u64,
}

impl<N: Node> World<N>
where
    N::Command: fmt::Debug,
    N::Event: fmt::Debug,
{
    /// A world without processes.
    pub fn new(config: Config, draws: Draws) -> Self {
        Self {
            queue: Queue::default(),
            ready: VecDeque::new(),
            processes: Vec::new(),
            network: Network::new(config.network, draws),
            ensemble: Ensemble::new(config.coordination, draws),
            storage: config.storage,
            draws,
            fingerprint: Fingerprint::default(),
            steps: 0,
        }
    }

    /// Adds a process; a [`Fault::Restart`] starts it.
    pub fn add(&mut self, name: &str, address: Option<Address>, starter: Starter<N>) -> ProcessId {
        let id = ProcessId(u32::try_from(self.processes.len()).expect("few processes"));
        let clock_offset = self.draws.within(Purpose::Clock, id.entity(), 0, CLOCK_SPREAD);
        self.processes.push(Process {
            name: name.to_owned(),
            starter,
            node: None,
            life: 0,
            paused: false,
            inbox: VecDeque::new(),
            clock_offset,
            timer: None,
            stored_until: 0,
            stored: 0,
            timeouts: (0, 0),
        });
        self.network.set_host(id, Host::Refusing);
        if let Some(address) = address {
            self.network.listen(id, address);
        }
        id
    }

    /// Virtual time in nanoseconds.
    pub const fn now(&self) -> u64 {
        self.queue.now()
    }

    /// Steps made.
    pub const fn steps(&self) -> u64 {
        self.steps
    }

    /// The hash of everything that has happened.
    pub const fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The run's draws.
    pub const fn draws(&self) -> Draws {
        self.draws
    }

    /// The node that a process runs; `None` while it is dead.
    pub fn node(&self, process: ProcessId) -> Option<&N> {
        self.processes[process.0 as usize].node.as_ref()
    }

    /// A process's name.
    pub fn name(&self, process: ProcessId) -> &str {
        &self.processes[process.0 as usize].name
    }

    /// All processes.
    pub fn processes(&self) -> impl Iterator<Item = ProcessId> + use<N> {
        (0..self.processes.len() as u32).map(ProcessId)
    }

    /// Whether the process is paused.
    pub fn is_paused(&self, process: ProcessId) -> bool {
        self.processes[process.0 as usize].paused
    }

    /// Who is at the other end of a link.
    pub fn peer(&self, process: ProcessId, link: LinkId) -> Option<ProcessId> {
        self.network.peer(process, link)
    }

    /// The network, to change its latencies.
    pub const fn network_mut(&mut self) -> &mut Network {
        &mut self.network
    }

    /// From now on every change of this node of the coordination tree is kept for
    /// [`World::take_changes`].
    pub fn record_changes(&mut self, path: &str) {
        self.ensemble.record_changes(path);
    }

    /// The data that the recorded node was given since the last call; `None`: it was deleted.
    pub fn take_changes(&mut self) -> Vec<Option<Bytes>> {
        self.ensemble.take_changes()
    }

    /// A fault will strike at this time.
    pub fn schedule(&mut self, at: u64, fault: Fault) {
        self.queue.push(at, Happening::Fault(fault));
    }

    /// The application will ask something of a process at this time.
    pub fn command(&mut self, at: u64, process: ProcessId, command: N::Command) {
        self.queue.push(at, Happening::Command { process, command });
    }

    /// Lets time pass to `at`, where nothing is due before.
    pub fn advance(&mut self, at: u64) {
        self.queue.advance(at);
    }

    /// Goes on until a node has handled an input or a fault has struck, or to this time. `None`: nothing
    /// more is to come until then.
    pub fn step(&mut self, until: u64) -> Option<Step<N::Event>> {
        loop {
            let step = match self.ready.pop_front() {
                Some(process) => self.handle_next(process),
                None if self.queue.next_at().is_some_and(|next| next <= until) => {
                    let happening = self.queue.pop()?;
                    self.happen(happening)
                }
                None => return None,
            };
            if let Some(step) = step {
                self.record(&step);
                return Some(step);
            }
        }
    }

    fn record(&mut self, step: &Step<N::Event>) {
        self.steps += 1;
        self.fingerprint.word(step.at);
        self.fingerprint.word(step.process.entity());
        self.fingerprint.debug(&step.cause);
        for output in &step.outputs {
            match output {
                Output::Transmit { frame, .. } => {
                    frame.parts.iter().for_each(|part| self.fingerprint.bytes(part));
                }
                Output::Store(request) => self.fingerprint.word(request.ticket),
                other => self.fingerprint.debug(other),
            }
        }
    }

    fn happen(&mut self, happening: Happening<N::Command>) -> Option<Step<N::Event>> {
        let now = self.queue.now();
        match happening {
            Happening::Network(happening) => {
                let effects = self.network.happen(now, happening);
                self.absorb(effects);
            }
            Happening::Coordination(happening) => {
                let effects = self.ensemble.happen(now, happening);
                self.absorb_coordination(effects);
            }
            Happening::Stored { process, life, ticket } => {
                if self.processes[process.0 as usize].life == life {
                    self.deliver(process, Input::Storage(storage::Event::Done(ticket)));
                }
            }
            Happening::Timer { process, life } => self.timer(process, life),
            Happening::Command { process, command } => self.deliver(process, Input::Command(command)),
            Happening::Fault(fault) => return self.strike(fault),
        }
        None
    }

    /// Applies a fault at once. Returns what came of it; `None` where it makes no sense.
    pub fn strike(&mut self, fault: Fault) -> Option<Step<N::Event>> {
        let now = self.queue.now();
        let process = match fault {
            Fault::Exit(process) => self.kill(process, Host::Refusing)?,
            Fault::Crash(process) => self.die(process, Host::Refusing)?,
            Fault::PowerLoss(process) => self.die(process, Host::Silent)?,
            Fault::Restart(process) => return self.start(process),
            Fault::Pause(process) => self.pause(process)?,
            Fault::Resume(process) => self.resume(process)?,
            Fault::Cut(from, to) => self.network.cut(from, to).then_some(from)?,
            Fault::Heal(from, to) => {
                if !self.network.is_cut(from, to) {
                    return None;
                }
                let effects = self.network.heal(now, from, to);
                self.absorb(effects);
                from
            }
            Fault::Reset(a, b) => {
                let effects = self.network.reset(now, a, b);
                self.absorb(effects);
                a
            }
            Fault::CutToCoordination(process) => self.coordinate(process, Ensemble::cut_to),
            Fault::CutFromCoordination(process) => self.coordinate(process, Ensemble::cut_from),
            Fault::HealCoordination(process) if !self.ensemble.is_cut(process) => return None,
            Fault::HealCoordination(process) => self.coordinate(process, Ensemble::heal),
            Fault::DropCoordination(process) => self.coordinate(process, Ensemble::drop_connection),
        };
        Some(Step { at: now, process, cause: Cause::Fault(fault), outputs: Vec::new() })
    }

    fn coordinate(
        &mut self,
        process: ProcessId,
        act: fn(&mut Ensemble, u64, ProcessId) -> coordination::Effects,
    ) -> ProcessId {
        let effects = act(&mut self.ensemble, self.queue.now(), process);
        self.absorb_coordination(effects);
        process
    }

    fn start(&mut self, id: ProcessId) -> Option<Step<N::Event>> {
        let now = self.queue.now();
        let draws = self.draws;
        let process = &mut self.processes[id.0 as usize];
        if process.node.is_some() {
            return None;
        }
        process.life += 1;
        let local = Instant::from_nanos(now + process.clock_offset);
        let life = Life { process: id, number: process.life, now: local, draws };
        process.node = Some((process.starter)(&life));
        self.network.set_host(id, Host::Up);
        self.ensemble.start(id);
        let outputs = self.collect(id);
        Some(Step { at: now, process: id, cause: Cause::Started, outputs })
    }

    fn die(&mut self, id: ProcessId, host: Host) -> Option<ProcessId> {
        self.network.lose_unsent(id);
        self.kill(id, host)
    }

    fn kill(&mut self, id: ProcessId, host: Host) -> Option<ProcessId> {
        let process = &mut self.processes[id.0 as usize];
        process.node.take()?;
        process.inbox.clear();
        process.paused = false;
        process.timer = None;
        process.stored_until = 0;
        // What was scheduled for this life finds another one.
        process.life += 1;
        let effects = self.network.kill(self.queue.now(), id, host);
        self.absorb(effects);
        Some(self.coordinate(id, Ensemble::stop))
    }

    fn pause(&mut self, id: ProcessId) -> Option<ProcessId> {
        let process = &mut self.processes[id.0 as usize];
        if process.node.is_none() || std::mem::replace(&mut process.paused, true) {
            return None;
        }
        Some(self.coordinate(id, Ensemble::pause))
    }

    fn resume(&mut self, id: ProcessId) -> Option<ProcessId> {
        let process = &mut self.processes[id.0 as usize];
        if !std::mem::replace(&mut process.paused, false) {
            return None;
        }
        self.ready.extend(std::iter::repeat_n(id, process.inbox.len()));
        process.timer = None;
        self.rearm(id);
        Some(self.coordinate(id, Ensemble::resume))
    }

    fn absorb(&mut self, effects: network::Effects) {
        for (at, happening) in effects.later {
            self.queue.push(at, Happening::Network(happening));
        }
        for (process, arrival) in effects.arrivals {
            let input = match arrival {
                Arrival::Frame(link, frame) => Input::Received { link, frame },
                Arrival::Status(link, status) => Input::Link { link, status },
            };
            self.deliver(process, input);
        }
    }

    fn absorb_coordination(&mut self, effects: coordination::Effects) {
        for (at, happening) in effects.later {
            self.queue.push(at, Happening::Coordination(happening));
        }
        for (process, event) in effects.events {
            self.deliver(process, Input::Coordination(event));
        }
    }

    fn deliver(&mut self, id: ProcessId, input: Input<N::Command>) {
        let process = &mut self.processes[id.0 as usize];
        if process.node.is_none() {
            return;
        }
        process.inbox.push_back(input);
        if !process.paused {
            self.ready.push_back(id);
        }
    }

    fn timer(&mut self, id: ProcessId, life: u32) {
        let now = self.queue.now();
        let process = &mut self.processes[id.0 as usize];
        if process.life != life || process.paused || process.timer.is_none_or(|at| at > now) {
            return;
        }
        process.timer = None;
        let deadline = process.node.as_ref().and_then(Node::poll_timeout);
        if deadline.is_some_and(|at| at.as_nanos() <= now + process.clock_offset) {
            self.deliver(id, Input::Timeout);
        } else {
            self.rearm(id);
        }
    }

    fn rearm(&mut self, id: ProcessId) {
        let now = self.queue.now();
        let process = &mut self.processes[id.0 as usize];
        let Some(deadline) = process.node.as_ref().and_then(Node::poll_timeout) else { return };
        let at = deadline.as_nanos().saturating_sub(process.clock_offset).max(now);
        if process.timer.is_none_or(|timer| at < timer) {
            process.timer = Some(at);
            self.queue.push(at, Happening::Timer { process: id, life: process.life });
        }
    }

    /// Hands a process the next input of its inbox.
    fn handle_next(&mut self, id: ProcessId) -> Option<Step<N::Event>> {
        let now = self.queue.now();
        let process = &mut self.processes[id.0 as usize];
        if process.paused {
            return None;
        }
        let input = process.inbox.pop_front()?;
        let cause = cause(&input, id, &self.network);
        if cause == Cause::Timeout {
            let (at, in_a_row) = process.timeouts;
            process.timeouts = (now, if at == now { in_a_row + 1 } else { 1 });
            assert!(in_a_row < STUCK_AFTER, "{} asks for one timeout after another", process.name);
        }
        let node = process.node.as_mut()?;
        node.handle_input(Instant::from_nanos(now + process.clock_offset), input);
        let outputs = self.collect(id);
        Some(Step { at: now, process: id, cause, outputs })
    }

    /// Takes a node's outputs and sets them under way.
    fn collect(&mut self, id: ProcessId) -> Vec<Output<N::Event>> {
        let mut outputs = Vec::new();
        while let Some(output) = self.processes[id.0 as usize].node.as_mut().and_then(Node::poll_output) {
            self.perform(id, &output);
            outputs.push(output);
        }
        self.rearm(id);
        outputs
    }

    fn perform(&mut self, id: ProcessId, output: &Output<N::Event>) {
        let now = self.queue.now();
        match output {
            Output::Transmit { link, frame } => {
                let effects = self.network.transmit(now, id, *link, frame.clone());
                self.absorb(effects);
            }
            Output::Link(LinkCommand::Dial { link, address }) => {
                let effects = self.network.dial(now, id, *link, address);
                self.absorb(effects);
            }
            Output::Link(LinkCommand::Close { link }) => {
                let effects = self.network.close(now, id, *link);
                self.absorb(effects);
                // Nothing comes after the node's own close.
                self.processes[id.0 as usize].inbox.retain(|input| !concerns(input, *link));
            }
            Output::Coordinate(request) => {
                let effects = self.ensemble.request(now, id, request.clone());
                self.absorb_coordination(effects);
            }
            Output::Store(request) => self.store(id, request.ticket),
            Output::Event(_) | Output::Trace(_) => {}
        }
    }

    fn store(&mut self, id: ProcessId, ticket: Ticket) {
        let process = &mut self.processes[id.0 as usize];
        process.stored += 1;
        let delay = self.draws.within(Purpose::Storage, id.entity(), process.stored, self.storage);
        process.stored_until = process.stored_until.max(self.queue.now() + delay);
        let life = process.life;
        self.queue.push(process.stored_until, Happening::Stored { process: id, life, ticket });
    }
}

fn concerns<C>(input: &Input<C>, of: LinkId) -> bool {
    matches!(input, Input::Received { link, .. } | Input::Link { link, .. } if *link == of)
}

fn cause<C>(input: &Input<C>, process: ProcessId, network: &Network) -> Cause {
    match input {
        Input::Command(_) => Cause::Command,
        Input::Received { link, .. } => Cause::Received(*link, network.peer(process, *link)),
        Input::Link { link, status } => Cause::Link(*link, *status),
        Input::Coordination(event) => Cause::Coordination(event.clone()),
        Input::Storage(storage::Event::Done(ticket)) => Cause::Stored(*ticket),
        Input::Storage(storage::Event::Failed) => Cause::StorageFailed,
        Input::Timeout => Cause::Timeout,
    }
}
