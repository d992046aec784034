//! One process of an exploration: the real node with the little that its surroundings know of it, and
//! what one stimulus makes of it. All that follows at once (reads of the tree, the storage's completions,
//! what discovery says) belongs to the same step; what may be late comes out as an [`Effect`].

use super::canonical::{Digest, canonical};
use super::client::{self, DISCOVERY};
use super::own::Own;
use super::state::Id;
use super::tree::{ANY, ROOT, Tree};
use crate::actor::{Actor, Command, Event};
use crate::check::Violation;
use crate::observer::Snapshot;
use crate::plan::panics;
use bytes::Bytes;
use std::collections::VecDeque;
use std::time::Duration;
use steadfast_core::broker::{self, Boot, Broker, Config};
use steadfast_core::coordination::{
    CallId, Error, Event as Said, Operation, Reply, Request, SessionId, SessionState, WatchKind,
};
use steadfast_core::group::PrimaryId;
use steadfast_core::id::{Address, Generation, Incarnation, Member, NodeName};
use steadfast_core::limits::Timing;
use steadfast_core::link::{Frame, LinkCommand, LinkId, LinkStatus};
use steadfast_core::node::{Input, Node, Output};
use steadfast_core::storage::{self, Ticket};
use steadfast_core::time::Instant;
use steadfast_core::trace::Halt;

/// Time passes for one broker at a time and in this unit: a heartbeat and a suspicion are due after
/// one, a lag after two.
pub const UNIT: Duration = Duration::from_secs(10);

/// Name of a link at one process, given out anew when a link is over.
pub type Slot = u8;

/// The links of one process.
#[derive(Clone, Debug, Default)]
pub struct LinkTable {
    links: Vec<(Slot, LinkId)>,
    accepted: u64,
}

impl LinkTable {
    /// Gives a name to a link.
    pub fn insert(&mut self, link: LinkId) -> Slot {
        let slot = self.next_slot(0);
        self.links.push((slot, link));
        slot
    }

    /// The first name from here on that is free.
    fn next_slot(&self, from: Slot) -> Slot {
        let taken = |slot: &Slot| self.links.iter().any(|(other, _)| other == slot);
        (from..Slot::MAX).find(|slot| !taken(slot)).expect("few links")
    }

    /// The name of a link by its side and number.
    pub fn slot(&self, accepted: bool, number: u64) -> Option<Slot> {
        let link = if accepted { LinkId::accepted(number) } else { LinkId::dialled(number) };
        self.slot_of(link)
    }

    fn slot_of(&self, link: LinkId) -> Option<Slot> {
        self.links.iter().find(|(_, other)| *other == link).map(|(slot, _)| *slot)
    }

    fn link(&self, slot: Slot) -> LinkId {
        self.links.iter().find(|(other, _)| *other == slot).expect("a link that is not over").1
    }

    fn accept(&mut self, slot: Slot) -> LinkId {
        self.accepted += 1;
        let link = LinkId::accepted(self.accepted);
        self.links.push((slot, link));
        link
    }

    fn remove(&mut self, slot: Slot) {
        self.links.retain(|(other, _)| *other != slot);
    }

    fn slots(&self) -> Vec<Slot> {
        let mut slots: Vec<_> = self.links.iter().map(|(slot, _)| *slot).collect();
        slots.sort_unstable();
        slots
    }
}

/// A process that runs a node.
#[derive(Clone, Debug)]
pub struct Process {
    node: Actor,
    now: Instant,
    links: LinkTable,
    session: SessionId,
    /// The latest conditional write: only its reply still means something to the node.
    write: Option<CallId>,
    /// Whether there is something that a client has put off for a moment.
    put_off: bool,
    /// A client's.
    own: Own,
}

/// What happens to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stimulus {
    /// It begins.
    Start,
    /// A unit of time has passed; for a client, so much that whatever it waits for is overdue.
    Tick,
    /// It runs again after a pause that was longer than any threshold.
    Resume,
    /// A client goes on with what it had put off.
    Retry,
    /// A frame, on a link that it knows.
    Frame(Slot, Id),
    /// The first frame on a link that it has not seen before, and is to be known by this name.
    First(Slot, Id),
    /// A link's status.
    Link(Slot, Status),
    /// Something in the tree has changed.
    Notified,
    /// Its latest conditional write is answered.
    Answer(Answer),
    /// It is asked to leave.
    Shutdown,
    /// The publisher is given a record, by its number.
    Publish(u64),
    /// The next change of its outbox is made.
    Stored,
}

/// A frame's parts, so that a frame can be a key.
pub type Parts = Vec<Bytes>;

/// A status of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// It is up.
    Up,
    /// Nobody is there.
    Refused,
    /// It is gone.
    Lost,
}

/// What became of a conditional write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// It holds, at this version.
    Applied(i32),
    /// Another version was there.
    Refused,
    /// The session was over.
    Expired,
    /// Nobody knows.
    Unknown,
}

/// What a process does to its surroundings.
#[derive(Clone, Debug)]
pub enum Effect {
    /// A frame is on its way.
    Send(Slot, Parts),
    /// A link is dialled to this broker.
    Dial(Slot, usize),
    /// A link is over on this side.
    Close(Slot),
    /// A conditional write is on its way.
    Write {
        /// What.
        data: Bytes,
        /// At which version.
        version: i32,
        /// In which session.
        session: SessionId,
    },
    /// The process has ended by itself.
    Stopped,
    /// The broker says that nobody may go on (R25, R26, R6).
    Halted(Halt),
    /// It has broken its promises to its own outbox.
    Broken(Violation),
}

/// What one input did.
#[derive(Debug)]
pub struct Seen {
    /// What shows of a broker afterwards.
    pub after: Snapshot,
    /// Whether the input was a completion of the storage.
    pub stored: Option<Ticket>,
    /// What the node put out.
    pub outputs: Vec<Output<Event>>,
}

/// What one stimulus led to.
#[derive(Debug)]
pub struct Step {
    /// The process afterwards.
    pub after: Process,
    /// What it did to its surroundings, in order.
    pub effects: Vec<Effect>,
    /// Input for input.
    pub seen: Vec<Seen>,
    /// Whether anything of it came from the tree.
    pub consulted: bool,
    /// The tree afterwards, where it is another one.
    pub tree: Option<Tree>,
}

fn name(index: usize) -> String {
    format!("b{}", index + 1)
}

/// Identity of a broker's life. The digits that a trace shows tell all lives apart.
pub fn identity(index: usize, life: u8) -> PrimaryId {
    let number = ((index as u128 + 1) << 8 | u128::from(life)) << 96;
    let node = NodeName::new(&name(index)).expect("a valid name");
    PrimaryId { member: Member { node, generation: Generation(number) }, incarnation: Incarnation(number) }
}

fn timing() -> Timing {
    Timing {
        heartbeat: UNIT,
        suspicion: UNIT,
        client_heartbeat: UNIT * 1_000,
        client_suspicion: UNIT * 1_000,
        lag: UNIT * 2,
        step_down: UNIT * 2,
        // Whatever is tried again is tried again with the next input.
        backoff: Duration::ZERO,
        backoff_cap: Duration::ZERO,
    }
}

impl Process {
    /// A broker that has not started yet.
    pub fn broker(index: usize, life: u8) -> Self {
        let PrimaryId { member, incarnation } = identity(index, life);
        let boot = Boot {
            seed: (index as u64) << 8 | u64::from(life),
            node: member.node,
            generation: member.generation,
            incarnation,
            address: Address::new(&format!("sim://{}", name(index))).expect("a valid address"),
            group: 0,
            root: ROOT.to_owned(),
            config: Config { timing: timing(), ..Config::default() },
        };
        Self::of(Own::default(), |now| Actor::Broker(Box::new(Broker::new(now, boot))))
    }

    /// A process with this node, which has not started yet.
    pub fn of(own: Own, node: impl FnOnce(Instant) -> Actor) -> Self {
        let now = Instant::from_nanos(100 * UNIT.as_nanos() as u64);
        let node = node(now);
        Self { node, now, links: LinkTable::default(), session: 0, write: None, put_off: false, own }
    }

    /// Its broker, if it runs one.
    pub fn node(&self) -> Option<&Broker> {
        self.node.broker()
    }

    /// Whether there is something that a client has put off for a moment.
    pub const fn has_put_off(&self) -> bool {
        self.put_off
    }

    /// What is a client's, whichever process it runs.
    pub const fn own(&self) -> &Own {
        &self.own
    }

    /// Its coordination session.
    pub const fn session(&self) -> SessionId {
        self.session
    }

    /// The name that the next link from this process will have. Whoever comes first, the names are the same.
    pub fn next_slot(&self, from: u8) -> Slot {
        self.links.next_slot(16 * (from + 1))
    }

    /// What equal futures have in common.
    pub fn digest(&self) -> u128 {
        let text = canonical(&format!("{:?}", self.node), self.now, &self.links);
        let own = Digest::of_text(&format!("{:?}", self.own));
        Digest::of(&(Digest::of_text(&text), self.links.slots(), self.session, self.write.is_some(), own))
    }

    /// Lets something happen to it. `Err`: an assertion of the node failed.
    /// `parts` are those of the stimulus' frame, if it has one.
    pub fn step(&self, stimulus: Stimulus, parts: &[Bytes], tree: &Tree) -> Result<Step, String> {
        panics::catch(|| Run::new(self, tree).go(stimulus, parts))
    }
}

struct Run<'a> {
    process: Process,
    before: &'a Tree,
    tree: Tree,
    consulted: bool,
    inputs: VecDeque<Input<Command>>,
    effects: Vec<Effect>,
    seen: Vec<Seen>,
}

impl<'a> Run<'a> {
    fn new(process: &Process, before: &'a Tree) -> Self {
        Self {
            process: process.clone(),
            before,
            tree: before.clone(),
            consulted: false,
            inputs: VecDeque::new(),
            effects: Vec::new(),
            seen: Vec::new(),
        }
    }

    fn go(mut self, stimulus: Stimulus, parts: &[Bytes]) -> Step {
        self.begin(stimulus, parts);
        if stimulus == Stimulus::Start {
            self.put_out(None);
        }
        while let Some(input) = self.inputs.pop_front() {
            let stored = match &input {
                Input::Storage(storage::Event::Done(ticket)) => Some(*ticket),
                _ => None,
            };
            self.process.node.handle_input(self.process.now, input);
            self.put_out(stored);
        }
        let due = self.process.node.poll_timeout();
        self.process.put_off = due.is_some_and(|at| at <= self.process.now + client::PUT_OFF);
        let tree = (self.tree != *self.before).then_some(self.tree);
        let (effects, seen, consulted) = (self.effects, self.seen, self.consulted);
        Step { after: self.process, effects, seen, consulted, tree }
    }

    fn begin(&mut self, stimulus: Stimulus, parts: &[Bytes]) {
        match stimulus {
            Stimulus::Start => {}
            Stimulus::Tick => {
                let client = self.process.node().is_none();
                self.wait(if client { client::PATIENCE } else { UNIT });
            }
            Stimulus::Resume => self.wait(UNIT * 4),
            Stimulus::Retry => self.wait(client::PUT_OFF),
            Stimulus::Publish(number) => self.inputs.push_back(client::publish(number)),
            Stimulus::Stored => {
                let (ticket, made) = self.process.own.complete();
                self.effects.extend(made.err().map(Effect::Broken));
                self.inputs.extend(ticket.map(|ticket| Input::Storage(storage::Event::Done(ticket))));
            }
            Stimulus::Frame(slot, _) => {
                let link = self.process.links.link(slot);
                self.receive(link, parts);
            }
            Stimulus::First(slot, _) => {
                let link = self.process.links.accept(slot);
                self.receive(link, parts);
            }
            Stimulus::Link(slot, status) => {
                let link = self.process.links.link(slot);
                let status = match status {
                    Status::Up => LinkStatus::Up,
                    Status::Refused => LinkStatus::Refused,
                    Status::Lost => LinkStatus::Lost,
                };
                if status != LinkStatus::Up {
                    self.process.links.remove(slot);
                }
                self.inputs.push_back(Input::Link { link, status });
            }
            Stimulus::Shutdown => {
                self.inputs.push_back(Input::Command(Command::Broker(broker::Command::Shutdown)))
            }
            Stimulus::Notified => self.notify(),
            Stimulus::Answer(answer) => self.answer(answer),
        }
    }

    fn wait(&mut self, time: Duration) {
        self.process.now = self.process.now + time;
        self.inputs.push_back(Input::Timeout);
    }

    fn receive(&mut self, link: LinkId, parts: &[Bytes]) {
        self.inputs.push_back(Input::Received { link, frame: Frame { parts: parts.to_vec() } });
    }

    /// A client is told the route. To a broker everything that may have changed is named, so that it is
    /// read again.
    fn notify(&mut self) {
        self.consulted = true;
        if self.process.node().is_none() {
            let frame = client::route(self.known(), false);
            return self.inputs.push_back(Input::Received { link: DISCOVERY, frame });
        }
        if !self.tree.has_session(self.process.session) {
            self.inputs.push_back(Input::Coordination(Said::Session(SessionState::Expired)));
            return;
        }
        let live = self.tree.live().map(str::to_owned);
        for path in live.chain([Tree::path()]) {
            self.inputs.push_back(Input::Coordination(Said::Watch { path, kind: WatchKind::DataChanged }));
        }
    }

    /// The tree as discovery knows it.
    fn known(&self) -> &Tree {
        self.process.own.astray.as_deref().unwrap_or(&self.tree)
    }

    fn answer(&mut self, answer: Answer) {
        let call = self.process.write.take().expect("a write is under way");
        let result = match answer {
            Answer::Applied(version) => {
                let stat = steadfast_core::coordination::Stat { version, ..Default::default() };
                Ok(Reply::Set(stat))
            }
            Answer::Refused => Err(Error::BadVersion),
            Answer::Expired => Err(Error::SessionExpired),
            Answer::Unknown => Err(Error::Unknown),
        };
        self.inputs.push_back(Input::Coordination(Said::Reply { call, result }));
    }

    /// Takes what the node puts out.
    fn put_out(&mut self, stored: Option<Ticket>) {
        let mut outputs = Vec::new();
        while let Some(output) = self.process.node.poll_output() {
            self.take(&output);
            outputs.push(output);
        }
        let after = self.process.node().map_or_else(Snapshot::default, Snapshot::of);
        self.seen.push(Seen { after, stored, outputs });
    }

    fn take(&mut self, output: &Output<Event>) {
        self.effects.extend(self.process.own.see(output).err().map(Effect::Broken));
        match output {
            Output::Transmit { link: DISCOVERY, frame } if self.process.node().is_none() => {
                self.consulted = true;
                let answer = client::discovery_says(frame, self.known(), self.process.own.astray.is_none());
                self.inputs.push_back(Input::Received { link: DISCOVERY, frame: answer });
            }
            Output::Transmit { link, frame } => {
                // What goes to a link that is over goes nowhere.
                if let Some(slot) = self.process.links.slot_of(*link) {
                    self.effects.push(Effect::Send(slot, frame.parts.clone()));
                }
            }
            Output::Link(LinkCommand::Dial { link, address }) if *address == client::discovery() => {
                self.inputs.push_back(Input::Link { link: *link, status: LinkStatus::Up });
            }
            Output::Link(LinkCommand::Dial { link, address }) => {
                let target = address.as_str().trim_start_matches("sim://b").parse::<usize>();
                let slot = self.process.links.insert(*link);
                self.effects.push(Effect::Dial(slot, target.expect("a broker's address") - 1));
            }
            Output::Link(LinkCommand::Close { link }) => {
                if let Some(slot) = self.process.links.slot_of(*link) {
                    self.process.links.remove(slot);
                    self.effects.push(Effect::Close(slot));
                }
            }
            Output::Coordinate(request) => self.coordinate(request),
            Output::Store(request) => {
                // A broker's storage takes no time.
                if !self.process.own.request(request) {
                    self.inputs.push_back(Input::Storage(storage::Event::Done(request.ticket)));
                }
            }
            Output::Event(Event::Broker(broker::Event::Stopped)) => self.effects.push(Effect::Stopped),
            Output::Event(Event::Broker(broker::Event::Halted(reason))) => {
                self.effects.push(Effect::Halted(*reason));
            }
            Output::Event(_) | Output::Trace(_) => {}
        }
    }

    fn coordinate(&mut self, request: &Request) {
        self.consulted = true;
        let session = self.process.session;
        match request {
            Request::OpenSession => {
                self.process.session = self.tree.open();
                let connected = SessionState::Connected(self.process.session);
                self.inputs.push_back(Input::Coordination(Said::Session(connected)));
            }
            Request::CloseSession => self.tree.close(session),
            Request::Call { call, operation: Operation::Set(set) } => {
                self.process.write = Some(*call);
                let (data, version) = (set.data.clone(), set.version.unwrap_or(ANY));
                self.effects.push(Effect::Write { data, version, session });
            }
            Request::Call { call, operation } => {
                let result = self.tree.run(session, operation);
                let over = result == Err(Error::SessionExpired);
                self.inputs.push_back(Input::Coordination(Said::Reply { call: *call, result }));
                if over && session != 0 {
                    self.inputs.push_back(Input::Coordination(Said::Session(SessionState::Expired)));
                    // Told once.
                    self.process.session = 0;
                }
            }
        }
    }
}
