//! A deterministic world: processes that run nodes, on virtual time, with everything that can happen
//! to them. It is generic over the node: it knows nothing of brokers or publishers.

mod process;
mod strike;

use crate::clock::{Clock, MAX_DRIFT};
use crate::coordination::{self, Ensemble};
use crate::fault::Fault;
use crate::fingerprint::{Digest, Fingerprint};
use crate::network::{self, Arrival, Host, Network, ProcessId};
use crate::queue::Queue;
use crate::random::{Draws, Purpose, Span};
use bytes::Bytes;
use process::Process;
use std::collections::VecDeque;
use std::fmt;
use std::hash::Hash as _;
use std::time::Duration;
use steadfast_core::coordination as coord;
use steadfast_core::id::Address;
use steadfast_core::link::{LinkCommand, LinkId, LinkStatus};
use steadfast_core::node::{Input, Node, Output};
use steadfast_core::storage::{self, Ticket};
use steadfast_core::time::Instant;

/// Clocks differ by up to this much: a node that compares readings of two processes is soon wrong.
const CLOCK_SPREAD: Span = Span::new(Duration::ZERO, Duration::from_secs(1_000));

/// What an input in an inbox weighs besides its frame, in bytes.
const INPUT_WEIGHT: usize = 128;

/// How a world behaves.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// The network.
    pub network: network::Config,
    /// The coordination ensemble.
    pub coordination: coordination::Config,
    /// Time that a storage request takes.
    pub storage: Span,
    /// Every process's clock runs up to so many millionths too fast or too slow, within
    /// [`crate::clock::MAX_DRIFT`].
    pub drift: u32,
    /// A process is killed when what waits in its inbox and on its links exceeds so many bytes;
    /// `u64::MAX`: never.
    pub memory: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            network: network::Config::default(),
            coordination: coordination::Config::default(),
            storage: Span::ZERO,
            drift: 0,
            memory: u64::MAX,
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

enum Happening<C> {
    Network(network::Happening),
    Coordination(coordination::Happening),
    Stored {
        process: ProcessId,
        life: u32,
        ticket: Ticket,
    },
    Timer {
        process: ProcessId,
        life: u32,
    },
    /// A slow process is done with an input.
    Free(ProcessId, u32),
    /// Of the application of this life only, or of whichever there is.
    Command(ProcessId, Option<u32>, C),
    /// A fault, and after how many times that everything was called off it was scheduled.
    Fault(Fault, u32),
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
    /// A frame has come that was damaged on its way.
    Damaged(LinkId),
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

impl Digest for Cause {
    fn digest(&self, hash: &mut Fingerprint) {
        match self {
            Self::Command => hash.word(1),
            Self::Timeout => hash.word(2),
            Self::Received(link, from) => (3_u8, link, from).hash(hash),
            Self::Link(link, status) => (4_u8, link, *status as u8).hash(hash),
            Self::Stored(ticket) => (5_u8, ticket).hash(hash),
            Self::Coordination(event) => (6_u8, event).hash(hash),
            Self::Damaged(link) => (7_u8, link).hash(hash),
            rare => hash.debug(rare),
        }
    }
}

/// One input handled by one node, or one fault.
#[derive(Debug)]
pub struct Step<E> {
    /// Virtual time, in nanoseconds.
    pub at: u64,
    /// To whom it happened; the first process, where a fault strikes none in particular.
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
    config: Config,
    draws: Draws,
    fingerprint: Fingerprint,
    steps: u64,
    out_of_memory: u32,
    called_off: u32,
}

impl<N: Node> World<N>
where
    N::Command: fmt::Debug,
    N::Event: fmt::Debug + Digest,
{
    /// A world without processes.
    pub fn new(config: Config, draws: Draws) -> Self {
        Self {
            queue: Queue::default(),
            ready: VecDeque::new(),
            processes: Vec::new(),
            network: Network::new(config.network, draws),
            ensemble: Ensemble::new(config.coordination, draws),
            config,
            draws,
            fingerprint: Fingerprint::default(),
            steps: 0,
            out_of_memory: 0,
            called_off: 0,
        }
    }

    /// Adds a process; a [`Fault::Restart`] starts it.
    pub fn add(&mut self, name: &str, address: Option<Address>, starter: Starter<N>) -> ProcessId {
        let id = self.take_place(name, Some(starter));
        if let Some(address) = address {
            self.network.listen(id, address);
        }
        id
    }

    /// The next process to be added has this place, or a later one if it is taken: nobody has those
    /// before. The draws of a process are keyed by its place.
    pub fn skip_to(&mut self, place: u32) {
        while self.processes.len() < place as usize {
            self.take_place("nobody", None);
        }
    }

    fn take_place(&mut self, name: &str, starter: Option<Starter<N>>) -> ProcessId {
        let id = ProcessId(u32::try_from(self.processes.len()).expect("few processes"));
        let reading = self.draws.within(Purpose::Clock, id.entity(), 0, CLOCK_SPREAD);
        let spread = u64::from(self.config.drift);
        let drift = self.draws.below(Purpose::Drift, id.entity(), 0, 2 * spread + 1) as i64 - spread as i64;
        let clock = Clock::new(reading, i32::try_from(drift).unwrap_or(MAX_DRIFT));
        self.processes.push(Process::new(name, starter, clock, self.config.memory));
        self.network.set_host(id, Host::Refusing);
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

    /// How often a process was killed because it needed too much memory.
    pub const fn out_of_memory(&self) -> u32 {
        self.out_of_memory
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
    pub fn processes(&self) -> impl Iterator<Item = ProcessId> {
        let places = (0..).zip(&self.processes);
        places.filter(|(_, process)| process.starter.is_some()).map(|(place, _)| ProcessId(place))
    }

    /// Whether the process is paused.
    pub fn is_paused(&self, process: ProcessId) -> bool {
        self.processes[process.0 as usize].paused
    }

    /// Whether the process takes nothing from its links.
    pub fn is_deaf(&self, process: ProcessId) -> bool {
        self.network.is_deaf(process)
    }

    /// Whether the process's storage completes nothing.
    pub fn is_stalled(&self, process: ProcessId) -> bool {
        self.processes[process.0 as usize].stalled
    }

    /// Who is at the other end of a link.
    pub fn peer(&self, process: ProcessId, link: LinkId) -> Option<ProcessId> {
        self.network.peer(process, link)
    }

    /// How a process stands with the coordination ensemble.
    pub fn standing(&self, process: ProcessId) -> coordination::Standing {
        self.ensemble.standing(process)
    }

    /// The connection that a link is an end of, and which end; see [`Network::connection`].
    pub fn connection(&self, process: ProcessId, link: LinkId) -> Option<(network::ConnectionId, usize)> {
        self.network.connection(process, link)
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

    /// Somebody who is no process here gives a node of the coordination tree other data.
    pub fn overwrite(&mut self, path: &str, data: Bytes) {
        let effects = self.ensemble.overwrite(self.queue.now(), path, data);
        self.absorb_coordination(effects);
    }

    /// Somebody who is no process here makes a node of the coordination tree anew, with other data: its version begins
    /// anew.
    pub fn restore(&mut self, path: &str, data: Bytes) {
        let effects = self.ensemble.restore(self.queue.now(), path, data);
        self.absorb_coordination(effects);
    }

    /// A fault will strike at this time.
    pub fn schedule(&mut self, at: u64, fault: Fault) {
        self.queue.push(at, Happening::Fault(fault, self.called_off));
    }

    /// No fault that is scheduled strikes any more, nor is anything cured that was to be.
    pub const fn call_off(&mut self) {
        self.called_off += 1;
    }

    /// The application will ask something of a process at this time.
    pub fn command(&mut self, at: u64, process: ProcessId, command: N::Command) {
        self.queue.push(at, Happening::Command(process, None, command));
    }

    /// The same, unless the process has died by then, and its application with it.
    pub fn command_of_this_life(&mut self, at: u64, process: ProcessId, command: N::Command) {
        let life = Some(self.processes[process.0 as usize].life);
        self.queue.push(at, Happening::Command(process, life, command));
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
        step.cause.digest(&mut self.fingerprint);
        for output in &step.outputs {
            match output {
                Output::Transmit { link, frame } => {
                    link.hash(&mut self.fingerprint);
                    frame.parts.iter().for_each(|part| self.fingerprint.bytes(part));
                }
                Output::Event(event) => event.digest(&mut self.fingerprint),
                Output::Store(request) => self.fingerprint.word(request.ticket),
                Output::Link(command) => command.hash(&mut self.fingerprint),
                Output::Coordinate(request) => request.hash(&mut self.fingerprint),
                Output::Trace(trace) => trace.hash(&mut self.fingerprint),
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
                let stores = &mut self.processes[process.0 as usize];
                if stores.life == life && stores.stores(ticket) {
                    self.deliver(process, Input::Storage(storage::Event::Done(ticket)));
                }
            }
            Happening::Timer { process, life } => self.timer(process, life),
            Happening::Free(process, life) => self.free(process, life),
            Happening::Command(process, life, command) => {
                if life.is_none_or(|life| life == self.processes[process.0 as usize].life) {
                    self.deliver(process, Input::Command(command));
                }
            }
            Happening::Fault(fault, of) if of == self.called_off => return self.apply(fault),
            Happening::Fault(..) => {}
        }
        None
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
        self.weigh(id);
    }

    /// The system kills a process that needs too much memory.
    fn weigh(&mut self, id: ProcessId) {
        let process = &mut self.processes[id.0 as usize];
        if process.memory == u64::MAX || process.doomed {
            return;
        }
        let needs = process.inbox.len() * INPUT_WEIGHT + self.network.memory(id);
        if needs as u64 > process.memory {
            process.doomed = true;
            self.out_of_memory += 1;
            self.schedule(self.queue.now(), Fault::Crash(id));
        }
    }

    fn timer(&mut self, id: ProcessId, life: u32) {
        let now = self.queue.now();
        let process = &mut self.processes[id.0 as usize];
        if process.life != life || process.paused || process.timer.is_none_or(|at| at > now) {
            return;
        }
        process.timer = None;
        if process.timeout_waits {
            // A slow process that has not come to handle one needs no second one.
            return;
        }
        let deadline = process.node.as_ref().and_then(Node::poll_timeout);
        if deadline.is_some_and(|at| at <= process.clock.read(now)) {
            process.timeout_waits = true;
            self.deliver(id, Input::Timeout);
        } else {
            self.rearm(id);
        }
    }

    fn rearm(&mut self, id: ProcessId) {
        let now = self.queue.now();
        let process = &mut self.processes[id.0 as usize];
        if let Some(at) = process.wakes_at(now) {
            process.timer = Some(at);
            self.queue.push(at, Happening::Timer { process: id, life: process.life });
        }
    }

    /// A slow process goes on with its inbox.
    fn free(&mut self, id: ProcessId, life: u32) {
        let process = &self.processes[id.0 as usize];
        if process.life == life && !process.paused {
            // One is enough to keep it busy again.
            let inputs = if process.cost > 0 { 1 } else { process.inbox.len() };
            self.ready.extend(std::iter::repeat_n(id, inputs));
        }
    }

    /// Hands a process the next input of its inbox.
    fn handle_next(&mut self, id: ProcessId) -> Option<Step<N::Event>> {
        let now = self.queue.now();
        let process = &mut self.processes[id.0 as usize];
        if process.paused || process.busy_until > now {
            return None;
        }
        let input = process.inbox.pop_front()?;
        let cause = cause(&input, id, &mut self.network);
        if matches!(cause, Cause::Timeout) {
            process.note_timeout(now);
        }
        let node = process.node.as_mut()?;
        node.handle_input(process.clock.read(now), input);
        if process.cost > 0 {
            process.busy_until = now + process.cost;
            self.queue.push(process.busy_until, Happening::Free(id, process.life));
        }
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
                self.weigh(id);
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
        let delay = self.draws.within(Purpose::Storage, id.entity(), process.stored, self.config.storage);
        process.stored_until = process.stored_until.max(self.queue.now() + delay);
        let life = process.life;
        self.queue.push(process.stored_until, Happening::Stored { process: id, life, ticket });
    }
}

fn concerns<C>(input: &Input<C>, of: LinkId) -> bool {
    matches!(input, Input::Received { link, .. } | Input::Link { link, .. } if *link == of)
}

fn cause<C>(input: &Input<C>, process: ProcessId, network: &mut Network) -> Cause {
    match input {
        Input::Command(_) => Cause::Command,
        Input::Received { link, frame } => match network.take(process, *link, frame.len()) {
            (_, true) => Cause::Damaged(*link),
            (sender, false) => Cause::Received(*link, sender),
        },
        Input::Link { link, status } => Cause::Link(*link, *status),
        Input::Coordination(event) => Cause::Coordination(event.clone()),
        Input::Storage(storage::Event::Done(ticket)) => Cause::Stored(*ticket),
        Input::Storage(storage::Event::Failed) => Cause::StorageFailed,
        Input::Timeout => Cause::Timeout,
    }
}
