//! A run as a space-time diagram: a column per process, time downwards, messages as arrows. The page is
//! one HTML file that needs nothing else.

mod page;

use crate::actor::{Actor, Event};
use crate::coverage::first_word;
use crate::fault::Fault;
use crate::network::ProcessId;
use crate::render::{event_text, fault_text, message_text, session_text, trace_text};
use crate::world::{Cause, Step, World};
use std::collections::{BTreeMap, VecDeque};
use steadfast_core::coordination::Event as CoordinationEvent;
use steadfast_core::id::Offset;
use steadfast_core::link::{Frame, LinkId};
use steadfast_core::node::Output;
use steadfast_core::trace::Trace;
use steadfast_core::wire;

/// Most marks, and most messages of each sort, that a diagram keeps: the latest.
pub const MOST: usize = 40_000;

/// One direction of a connection: its number, and the end at which frames arrive.
type Way = (u64, usize);

/// The latest of many.
#[derive(Debug)]
struct Latest<T> {
    items: VecDeque<T>,
    /// How many were dropped.
    dropped: usize,
}

impl<T> Default for Latest<T> {
    fn default() -> Self {
        Self { items: VecDeque::new(), dropped: 0 }
    }
}

impl<T> Latest<T> {
    /// Adds one. Returns its number.
    fn push(&mut self, item: T) -> usize {
        if self.items.len() == MOST {
            self.items.pop_front();
            self.dropped += 1;
        }
        self.items.push_back(item);
        self.dropped + self.items.len() - 1
    }

    fn get_mut(&mut self, number: usize) -> Option<&mut T> {
        self.items.get_mut(number.checked_sub(self.dropped)?)
    }
}

/// What sort of mark it is: the page shows and hides each by itself.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sort {
    Fault,
    /// A process starts, ends, or plays another part.
    Role,
    Session,
    /// The group's state, as somebody has read it.
    State,
    Commit,
    /// Another state transition.
    Trace,
    /// What an application was told.
    Event,
}

impl Sort {
    const fn name(self) -> &'static str {
        match self {
            Self::Fault => "fault",
            Self::Role => "role",
            Self::Session => "session",
            Self::State => "state",
            Self::Commit => "commit",
            Self::Trace => "trace",
            Self::Event => "event",
        }
    }
}

/// Something that happened to one process.
#[derive(Debug)]
struct Mark {
    at: u64,
    process: ProcessId,
    sort: Sort,
    text: String,
}

/// A message.
#[derive(Debug)]
struct Message {
    at: u64,
    from: ProcessId,
    to: ProcessId,
    /// When it was handled; `None`: it was lost, or is under way.
    taken: Option<u64>,
    kind: String,
    text: String,
}

/// Collects what a run shows.
#[derive(Debug, Default)]
pub struct Diagram {
    names: Vec<(ProcessId, String)>,
    marks: Latest<Mark>,
    messages: Latest<Message>,
    /// Messages that say nothing but that their sender is there.
    quiet: Latest<Message>,
    /// What each process was from some time on.
    parts: Vec<(u64, ProcessId, &'static str)>,
    /// What a process was before it was paused.
    before: BTreeMap<ProcessId, &'static str>,
    ways: BTreeMap<(ProcessId, LinkId), (u64, usize)>,
    /// Frames that were not taken, in their order: whether each is quiet, and its number.
    pending: BTreeMap<Way, VecDeque<(bool, usize)>>,
    commits: BTreeMap<ProcessId, Offset>,
}

impl Diagram {
    /// Adds what a step shows.
    pub fn step(&mut self, world: &World<Actor>, step: &Step<Event>) {
        if self.names.is_empty() {
            self.names = world.processes().map(|it| (it, world.name(it).to_owned())).collect();
        }
        self.cause(world, step);
        for output in &step.outputs {
            match output {
                Output::Trace(Trace::Session(_)) => {}
                Output::Trace(trace) => self.trace(step, trace),
                Output::Event(event) => self.mark(step, Sort::Event, event_text(event)),
                Output::Transmit { link, frame } => self.sent(world, step, *link, frame),
                _ => {}
            }
        }
        self.commit(world, step);
    }

    /// The column with this name; a new one, if there is none.
    pub(crate) fn column(&mut self, name: &str) -> ProcessId {
        let known = self.names.iter().find(|(_, other)| other == name).map(|(process, _)| *process);
        known.unwrap_or_else(|| {
            let process = ProcessId(u32::try_from(self.names.len()).expect("few columns"));
            self.names.push((process, name.to_owned()));
            process
        })
    }

    /// Adds a mark to a column.
    pub(crate) fn note(&mut self, at: u64, process: ProcessId, sort: Sort, text: String) {
        self.marks.push(Mark { at, process, sort, text });
    }

    /// From now on a process plays this part, as the page has them.
    pub(crate) fn begins(&mut self, at: u64, process: ProcessId, part: &'static str) {
        self.parts.push((at, process, part));
    }

    /// Adds a message that took no time. Without a text it says nothing but that its sender is there.
    pub(crate) fn message(&mut self, at: u64, [from, to]: [ProcessId; 2], kind: &str, text: Option<&str>) {
        let (quiet, text) = (text.is_none(), text.unwrap_or_default().to_owned());
        let message = Message { at, from, to, taken: Some(at), kind: kind.to_owned(), text };
        if quiet { &mut self.quiet } else { &mut self.messages }.push(message);
    }

    fn cause(&mut self, world: &World<Actor>, step: &Step<Event>) {
        match &step.cause {
            Cause::Started => {
                self.ways.retain(|(process, _), _| *process != step.process);
                self.mark(step, Sort::Role, "starts".to_owned());
                self.plays(step, "up");
            }
            Cause::Fault(fault) => {
                self.mark(step, Sort::Fault, fault_text(world, *fault));
                match fault {
                    Fault::Crash(_) | Fault::Exit(_) | Fault::PowerLoss(_) => self.plays(step, "dead"),
                    Fault::Pause(_) => {
                        let last = self.parts.iter().rev().find(|(_, process, _)| *process == step.process);
                        self.before.insert(step.process, last.map_or("up", |(_, _, part)| part));
                        self.plays(step, "paused");
                    }
                    Fault::Resume(_) => {
                        let part = self.before.remove(&step.process).unwrap_or("up");
                        self.plays(step, part);
                    }
                    _ => {}
                }
            }
            Cause::Coordination(CoordinationEvent::Session(state)) => {
                self.mark(step, Sort::Session, format!("session {}", session_text(state)));
            }
            Cause::Received(link, _) | Cause::Damaged(link) => self.taken(world, step, *link),
            _ => {}
        }
    }

    fn trace(&mut self, step: &Step<Event>, trace: &Trace) {
        let part = match trace {
            Trace::BecamePrimary { .. } => Some("primary"),
            Trace::BecameBackup { .. } => Some("backup"),
            Trace::DiscoveryLeads { .. } => Some("leads"),
            Trace::SteppedDown { .. } | Trace::DiscoveryFollows => Some("up"),
            _ => None,
        };
        let sort = match (trace, part) {
            (_, Some(part)) => {
                self.plays(step, part);
                Sort::Role
            }
            (Trace::GroupChanged { .. }, None) => Sort::State,
            (_, None) => Sort::Trace,
        };
        self.mark(step, sort, trace_text(trace));
    }

    fn mark(&mut self, step: &Step<Event>, sort: Sort, text: String) {
        self.marks.push(Mark { at: step.at, process: step.process, sort, text });
    }

    fn plays(&mut self, step: &Step<Event>, part: &'static str) {
        self.parts.push((step.at, step.process, part));
    }

    fn commit(&mut self, world: &World<Actor>, step: &Step<Event>) {
        let Some(broker) = world.node(step.process).and_then(Actor::broker) else { return };
        let commit = broker.replica().commit();
        if self.commits.insert(step.process, commit) != Some(commit) && commit > 0 {
            self.mark(step, Sort::Commit, format!("commit {commit}"));
        }
    }

    /// The connection of a link, also when the step has closed it.
    fn way(&mut self, world: &World<Actor>, process: ProcessId, link: LinkId) -> Option<(u64, usize)> {
        if let Some(end) = world.connection(process, link) {
            self.ways.insert((process, link), end);
        }
        self.ways.get(&(process, link)).copied()
    }

    fn sent(&mut self, world: &World<Actor>, step: &Step<Event>, link: LinkId, frame: &Frame) {
        let Some((connection, end)) = self.way(world, step.process, link) else { return };
        // Lost with the link: it was full.
        let Some(to) = world.peer(step.process, link) else { return };
        let Ok(message) = wire::decode(frame.clone()) else { return };
        let (kind, text, quiet) = match message_text(&message) {
            Some((kind, text)) => (kind.to_owned(), text.trim_start().to_owned(), false),
            None => (first_word(&message), String::new(), true),
        };
        let message = Message { at: step.at, from: step.process, to, taken: None, kind, text };
        let number = if quiet { &mut self.quiet } else { &mut self.messages }.push(message);
        self.pending.entry((connection, 1 - end)).or_default().push_back((quiet, number));
    }

    /// A connection keeps the order of its frames, and what is lost of them is the last.
    fn taken(&mut self, world: &World<Actor>, step: &Step<Event>, link: LinkId) {
        let Some(way) = self.way(world, step.process, link) else { return };
        let Some((quiet, number)) = self.pending.get_mut(&way).and_then(VecDeque::pop_front) else { return };
        let messages = if quiet { &mut self.quiet } else { &mut self.messages };
        if let Some(message) = messages.get_mut(number) {
            message.taken = Some(step.at);
        }
    }
}
