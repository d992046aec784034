//! What a recorded broker was told and has said, as text and as a diagram. Its own clock is the only one:
//! a message stands where this process has seen it.

use crate::actor;
use crate::coverage::first_word;
use crate::diagram::{Diagram, Sort};
use crate::network::ProcessId;
use crate::render::{event_text, message_text, session_text, trace_text};
use std::collections::BTreeMap;
use steadfast_core::broker::{Broker, Command, Event};
use steadfast_core::coordination::Event as CoordinationEvent;
use steadfast_core::id::{Address, Offset};
use steadfast_core::link::{Frame, LinkCommand, LinkId, LinkStatus};
use steadfast_core::message::Message;
use steadfast_core::node::{Input, Output};
use steadfast_core::time::Instant;
use steadfast_core::trace::Trace;
use steadfast_core::wire;

/// Columns of a diagram; everybody else shares one more.
const COLUMNS: usize = 12;
/// Most links whose peers are known by name; the others are known by their numbers.
const MOST_LINKS: usize = 10_000;
/// Most lines: the latest are kept.
const MOST_LINES: usize = 200_000;

/// Collects what shows.
pub(super) struct Chronicle {
    name: String,
    me: ProcessId,
    lines: Vec<String>,
    diagram: Diagram,
    peers: BTreeMap<LinkId, String>,
    columns: BTreeMap<String, ProcessId>,
    /// The last message of each kind from or to a peer, which is left out of the text when it repeats.
    said: BTreeMap<(LinkId, bool, &'static str), String>,
    commit: Offset,
}

impl Chronicle {
    /// Of this broker.
    pub(super) fn new(broker: &Broker) -> Self {
        let mut diagram = Diagram::default();
        let name = broker.id().member.node.to_string();
        Self {
            me: diagram.column(&name),
            name,
            lines: Vec::new(),
            diagram,
            peers: BTreeMap::new(),
            columns: BTreeMap::new(),
            said: BTreeMap::new(),
            commit: broker.replica().commit(),
        }
    }

    /// What was collected.
    pub(super) fn take(self) -> (Vec<String>, Diagram) {
        (self.lines, self.diagram)
    }

    /// The broker is given an input.
    pub(super) fn handles(&mut self, at: Instant, broker: &Broker, input: &Input<Command>) {
        match input {
            Input::Received { link, frame } => self.message(at, *link, frame, false),
            Input::Coordination(CoordinationEvent::Session(state)) => {
                self.mark(at, Sort::Session, format!("session {}", session_text(state)));
            }
            Input::Link { link, status } => {
                let peer = self.peer(*link);
                let text = match status {
                    LinkStatus::Up => format!("reaches {peer}"),
                    LinkStatus::Refused => format!("is refused by {peer}"),
                    LinkStatus::Lost => format!("has lost {peer}"),
                };
                self.mark(at, Sort::Trace, text);
                if *status != LinkStatus::Up {
                    self.forget(*link);
                }
            }
            Input::Command(Command::Shutdown) => {
                self.mark(at, Sort::Fault, "# is asked to leave".to_owned());
            }
            Input::Coordination(_) | Input::Storage(_) | Input::Timeout => {}
        }
        self.committed(at, broker);
    }

    /// The broker has put this out.
    pub(super) fn puts_out(&mut self, at: Instant, broker: &Broker, outputs: &[Output<Event>]) {
        for output in outputs {
            match output {
                Output::Trace(Trace::Session(_)) => {}
                Output::Trace(trace) => self.trace(at, trace),
                Output::Event(event) => {
                    self.mark(at, Sort::Event, event_text(&actor::Event::Broker(*event)));
                }
                Output::Transmit { link, frame } => self.message(at, *link, frame, true),
                Output::Link(LinkCommand::Dial { link, address }) => {
                    self.meet(*link, known_as(broker, address));
                }
                Output::Link(LinkCommand::Close { link }) => self.forget(*link),
                Output::Coordinate(_) | Output::Store(_) => {}
            }
        }
        self.committed(at, broker);
    }

    fn trace(&mut self, at: Instant, trace: &Trace) {
        let part = match trace {
            Trace::BecamePrimary { .. } => Some("primary"),
            Trace::BecameBackup { .. } => Some("backup"),
            Trace::SteppedDown { .. } => Some("up"),
            _ => None,
        };
        if let Some(part) = part {
            self.diagram.begins(at.as_nanos(), self.me, part);
        }
        let sort = match trace {
            _ if part.is_some() => Sort::Role,
            Trace::GroupChanged { .. } => Sort::State,
            _ => Sort::Trace,
        };
        self.mark(at, sort, format!("| {}", trace_text(trace)));
    }

    fn committed(&mut self, at: Instant, broker: &Broker) {
        let commit = broker.replica().commit();
        if std::mem::replace(&mut self.commit, commit) != commit && commit > 0 {
            self.diagram.note(at.as_nanos(), self.me, Sort::Commit, format!("commit {commit}"));
        }
    }

    fn mark(&mut self, at: Instant, sort: Sort, text: String) {
        self.line(at, &text);
        self.diagram.note(at.as_nanos(), self.me, sort, text);
    }

    fn line(&mut self, at: Instant, text: &str) {
        if self.lines.len() == MOST_LINES {
            self.lines.drain(..MOST_LINES / 2);
        }
        let (ms, us) = (at.as_nanos() / 1_000_000, at.as_nanos() / 1_000 % 1_000);
        self.lines.push(format!("{ms:>6}.{us:03} {:<3} {text}", self.name));
    }

    fn message(&mut self, at: Instant, link: LinkId, frame: &Frame, sent: bool) {
        let Ok(message) = wire::decode(frame.clone()) else { return };
        if !sent {
            self.introduces(link, &message);
        }
        let peer = self.peer(link);
        let column = self.column(&peer);
        let way = if sent { [self.me, column] } else { [column, self.me] };
        let Some((kind, text)) = message_text(&message) else {
            return self.diagram.message(at.as_nanos(), way, &first_word(&message), None);
        };
        self.diagram.message(at.as_nanos(), way, kind, Some(text.trim_start()));
        let before = self.said.insert((link, sent, kind), text.clone());
        if before.is_none_or(|before| before != text) {
            let arrow = if sent { "->" } else { "<-" };
            self.line(at, &format!("{arrow} {peer} {kind}{text}"));
        }
    }

    /// Who speaks on a link often says so.
    fn introduces(&mut self, link: LinkId, message: &Message) {
        let name = match message {
            Message::Hello(hello) => hello.sender.member.node.to_string(),
            Message::OpenSession(open) => format!("publisher {:?}", open.publisher),
            Message::OpenStream(_) | Message::ReadHead { .. } => format!("subscriber {link}"),
            Message::Drain | Message::StatusRequest { .. } => format!("operator {link}"),
            _ => return,
        };
        self.meet(link, name);
    }

    fn meet(&mut self, link: LinkId, name: String) {
        if self.peers.len() < MOST_LINKS {
            self.peers.entry(link).or_insert(name);
        }
    }

    fn peer(&self, link: LinkId) -> String {
        self.peers.get(&link).cloned().unwrap_or_else(|| format!("link {link}"))
    }

    fn forget(&mut self, link: LinkId) {
        self.peers.remove(&link);
        self.said.retain(|(of, _, _), _| *of != link);
    }

    fn column(&mut self, peer: &str) -> ProcessId {
        if let Some(column) = self.columns.get(peer) {
            return *column;
        }
        let name = if self.columns.len() < COLUMNS { peer } else { "others" };
        let column = self.diagram.column(name);
        if self.columns.len() < COLUMNS {
            self.columns.insert(peer.to_owned(), column);
        }
        column
    }
}

/// The broker at an address, or the address.
fn known_as(broker: &Broker, address: &Address) -> String {
    let mut live = broker.registry().view().live.values();
    let there = live.find(|live| live.node.address == *address);
    there.map_or_else(|| address.to_string(), |live| live.node.id.member.node.to_string())
}
