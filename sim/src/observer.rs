//! Turns what happens in a cluster's world into the facts that the checkers read.

mod clients;
mod conduct;
mod lookups;
mod overdue;
mod proposals;
mod seen;
mod streams;
mod times;

use crate::actor::{Actor, Event};
use crate::check::{Checks, Fact, Loss, Violation};
use crate::coverage::{Coverage, mark};
use crate::fault::Fault;
use crate::network::{ConnectionId, ProcessId};
use crate::world::{Cause, Step, World};
use bytes::Bytes;
pub(crate) use seen::{Seen, Snapshot};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::rc::Rc;
use std::time::Duration;
use steadfast_core::broker;
use steadfast_core::id::{Offset, PublisherId};
use steadfast_core::link::{Frame, LinkId};
use steadfast_core::message::{Departure, History, Message};
use steadfast_core::node::Output;
use steadfast_core::subscriber::Bookmark;
use steadfast_core::trace::Trace;
use steadfast_core::{publisher, subscriber, wire};

/// What became of a publisher's records, in the order of their tickets.
#[derive(Clone, Debug, Default)]
pub struct Published {
    /// The payloads of the records handed to the publisher.
    payloads: Vec<Bytes>,
    /// Records acknowledged.
    pub acknowledged: u64,
    /// Records of which nothing is known.
    pub unknown: u64,
    /// Records refused.
    pub refused: u64,
    /// The first record's ticket, less 1. Processes that share an identity share no tickets.
    tickets: u64,
    /// Records that were not taken, because too many waited.
    pub turned_away: u64,
    /// Records whose fate the application does not know because its process died.
    pub abandoned: u64,
}

impl Published {
    /// Records handed to the publisher.
    pub const fn asked(&self) -> u64 {
        self.payloads.len() as u64
    }

    /// Records whose fate the application was told.
    const fn told(&self) -> u64 {
        self.acknowledged + self.unknown + self.refused + self.turned_away
    }

    /// Whether every record's fate is settled.
    pub const fn is_settled(&self) -> bool {
        self.told() + self.abandoned == self.asked()
    }
}

/// What a subscriber has delivered.
#[derive(Clone, Debug, Default)]
pub struct Received {
    /// Records delivered.
    pub records: u64,
    /// Everything below is handled.
    pub next: Offset,
    /// In which history.
    pub history: History,
    /// Times that it was told of a range that retention had taken.
    pub lost: u32,
    /// Times that the group's data was given up.
    pub lineage_changes: u32,
    /// Answers to reads of the head.
    pub heads: u64,
    /// Whether a read of the head waits for its answer.
    pub asks: bool,
    /// The head that it was told and has not come to.
    pub ahead: Option<(History, Offset)>,
}

/// Who is who among the clients.
#[derive(Debug)]
pub struct Observer {
    brokers: BTreeMap<ProcessId, Seen>,
    /// With the identity of the present life.
    publishers: BTreeMap<ProcessId, (Rc<Cell<PublisherId>>, Published)>,
    subscribers: BTreeMap<ProcessId, Received>,
    coverage: Coverage,
    /// Payloads are at least so long, in bytes.
    length: usize,
    times: times::Times,
    conduct: conduct::Conduct,
    proposals: proposals::Proposals,
    overdue: overdue::Overdue,
    /// When each read of the head was sent that no broker has answered, by connection and token.
    reads: BTreeMap<(ConnectionId, u64), u64>,
    streams: streams::Streams,
    clients: clients::Clients,
    lookups: lookups::Lookups,
}

/// The payload of a publisher's record, at least so long. Every one is unique in its run.
pub fn payload(publisher: PublisherId, ticket: u64, length: usize) -> Bytes {
    let mut bytes = Vec::with_capacity(length);
    write!(bytes, "{publisher:?}/{ticket}").expect("memory takes everything");
    bytes.resize(bytes.len().max(length), b'.');
    Bytes::from(bytes)
}

impl Observer {
    /// Nothing has happened; payloads are at least so long, in bytes. A process that was not running for
    /// longer than `nap` has noticed it, or a client for longer than `client_nap`.
    pub fn new(length: usize, nap: Duration, client_nap: Duration) -> Self {
        Self {
            brokers: BTreeMap::new(),
            publishers: BTreeMap::new(),
            subscribers: BTreeMap::new(),
            coverage: Coverage::default(),
            length,
            times: times::Times::new(nap),
            conduct: conduct::Conduct::default(),
            proposals: proposals::Proposals::new(nap),
            overdue: overdue::Overdue::new(nap),
            reads: BTreeMap::new(),
            streams: streams::Streams::default(),
            clients: clients::Clients::new(client_nap),
            lookups: lookups::Lookups::default(),
        }
    }

    /// A process publishes. Its identity may be another one in each life. Its tickets are all higher than `tickets`.
    pub fn add_publisher(&mut self, process: ProcessId, id: Rc<Cell<PublisherId>>, tickets: u64) {
        self.publishers.insert(process, (id, Published { tickets, ..Published::default() }));
    }

    /// The identity of a publisher, for another process that has it, too.
    pub(crate) fn shared_identity(&self, process: ProcessId) -> Rc<Cell<PublisherId>> {
        Rc::clone(&self.publishers[&process].0)
    }

    /// A process subscribes.
    pub fn add_subscriber(&mut self, process: ProcessId) {
        self.subscribers.insert(process, Received::default());
    }

    /// What became of a publisher's records.
    ///
    /// # Panics
    /// When the process is no publisher.
    pub fn published(&self, process: ProcessId) -> &Published {
        &self.publishers[&process].1
    }

    /// The identity of a publisher's present life.
    ///
    /// # Panics
    /// When the process is no publisher.
    pub fn identity(&self, process: ProcessId) -> PublisherId {
        self.publishers[&process].0.get()
    }

    /// A publisher is asked for one more record. Returns its ticket and payload.
    pub fn publish(&mut self, process: ProcessId) -> (u64, Bytes) {
        let (id, published) = self.publishers.get_mut(&process).expect("a publisher");
        let ticket = published.tickets + published.asked() + 1;
        let payload = payload(id.get(), ticket, self.length);
        published.payloads.push(payload.clone());
        (ticket, payload)
    }

    /// What a subscriber has delivered.
    ///
    /// # Panics
    /// When the process is no subscriber.
    pub fn received(&self, process: ProcessId) -> &Received {
        &self.subscribers[&process]
    }

    /// A life of a subscriber begins, at this place if it has one.
    pub fn begins(&mut self, process: ProcessId, place: Option<Bookmark>) {
        let received = self.subscribers.entry(process).or_default();
        received.history = place.map_or_else(History::default, |place| place.history());
        received.next = place.map_or(0, |place| place.position.offset);
        (received.asks, received.ahead) = (false, None);
    }

    /// What has happened so far.
    pub const fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    /// A run has come to something else that it should.
    pub fn note(&mut self, mark: &str) {
        self.coverage.note(mark.to_owned());
    }

    /// Whether nothing was committed since this process last led.
    pub fn led_in_vain(&self, process: ProcessId) -> bool {
        self.proposals.mind(process).is_some_and(|mind| mind.barren > 0)
    }

    /// Shows one step to the checkers.
    ///
    /// # Errors
    /// The property that it violates.
    pub fn observe(
        &mut self,
        world: &mut World<Actor>,
        step: &Step<Event>,
        checks: &mut Checks,
    ) -> Result<(), Violation> {
        for data in world.take_changes() {
            match data.as_deref().map(wire::decode_group_state) {
                Some(Ok(state)) => checks.observe(&Fact::State(&state))?,
                Some(Err(_)) | None => checks.observe(&Fact::StateDeleted)?,
            }
        }
        if step.cause == Cause::Started {
            checks.observe(&Fact::ClientStarted { client: step.process.0 })?;
        }
        if matches!(step.cause, Cause::Fault(Fault::Crash(_) | Fault::Exit(_) | Fault::PowerLoss(_)))
            && let Some(seen) = self.brokers.remove(&step.process)
        {
            // The log is in memory (R22).
            checks.observe(&Fact::StorageLost(seen.member()))?;
        }
        if matches!(step.cause, Cause::Fault(Fault::Crash(_) | Fault::PowerLoss(_)))
            && let Some((_, published)) = self.publishers.get_mut(&step.process)
        {
            published.abandoned = published.asked() - published.told();
        }
        self.proposals.strike(step);
        if let Cause::Damaged(link) = step.cause {
            let says = |output: &Output<Event>| matches!(output, Output::Trace(Trace::Rejected { link: of, .. }) if *of == link);
            // A subscriber has no use for every batch that it gets.
            let said = step.outputs.iter().any(says) || self.subscribers.contains_key(&step.process);
            checks.observe(&Fact::Damaged { receiver: step.process.0, said })?;
        }
        match world.node(step.process) {
            Some(Actor::Broker(_)) => self.broker(world, step, checks)?,
            Some(Actor::Discovery(replica)) => {
                self.lookups.answer(world, replica, step, checks)?;
                self.conduct.discovery(replica, step, checks)?;
            }
            Some(Actor::Publisher(_) | Actor::Subscriber(_)) => {
                let idle = self.publishers.get(&step.process).is_some_and(|(_, it)| it.is_settled());
                self.clients.observe(world, step, idle, checks)?;
                self.lookups.ask(world, step);
            }
            Some(Actor::Stranger(_) | Actor::Operator(_)) | None => {}
        }
        for output in &step.outputs {
            if let Output::Trace(trace) = output {
                self.coverage.note(mark(trace));
            }
            match output {
                Output::Event(Event::Broker(broker::Event::Halted(reason))) => {
                    return Err(unexpected(format!("{} halted: {reason:?}", world.name(step.process))));
                }
                Output::Event(Event::Publisher(event)) => self.publisher(step.process, event, checks)?,
                Output::Event(Event::Subscriber(event)) => {
                    let damaged = matches!(step.cause, Cause::Damaged(_));
                    self.subscriber(step.process, (event, damaged), checks)?
                }
                Output::Transmit { link, frame } => {
                    self.asked(world, step.process, (*link, frame), checks)?
                }
                Output::Trace(Trace::Routed { lineage, epoch, .. }) => {
                    let client = step.process.0;
                    checks.observe(&Fact::Routed { client, lineage: *lineage, epoch: *epoch })?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn broker(
        &mut self,
        world: &World<Actor>,
        step: &Step<Event>,
        checks: &mut Checks,
    ) -> Result<(), Violation> {
        let Some(broker) = world.node(step.process).and_then(Actor::broker) else { return Ok(()) };
        let seen = self.brokers.entry(step.process).or_insert_with(|| Seen::new(broker.id()));
        let stored = if let Cause::Stored(ticket) = step.cause { Some(ticket) } else { None };
        let said = seen.observe(Snapshot::of(broker), stored, &step.outputs, checks)?;
        seen.fold(broker, checks)?;
        seen.count(broker, checks)?;
        let sender =
            if let Cause::Received(_, Some(from)) = step.cause { self.brokers.get(&from) } else { None };
        let from = sender.map(|sender| (sender.member(), takes(step, &said)));
        let newest = checks.ledger().states().last().map_or(0, |state| state.epoch);
        let in_touch = self.proposals.in_touch(broker, step, newest);
        self.times.observe((broker, in_touch), step, &said, checks)?;
        let is_subscriber = |process| self.subscribers.contains_key(&process);
        self.streams.read(world, step, is_subscriber, checks)?;
        conduct::said(|link| self.streams.of(world, step.process, link), broker, &said, checks)?;
        if is_order(step, &said) {
            self.conduct.ordered(step);
            self.proposals.ordered(step);
        }
        self.conduct.broker(broker, step, from, checks)?;
        self.proposals.observe(broker, step, (from, &said), checks)?;
        if let Some(mind) = self.proposals.mind(step.process) {
            self.overdue.observe(broker, step, mind, checks)?;
        }
        for (link, message) in &said {
            if let Message::SessionOpened(opened) = message
                && let Some(connection) = conduct::connection(world, step.process, *link)
            {
                self.clients.named(connection, opened.codecs);
            }
            if let Message::Head(head) = message
                && let Some(connection) = conduct::connection(world, step.process, *link)
                && let Some(asked) = self.reads.remove(&(connection, head.token))
            {
                self.proposals.answered(broker, step.process, asked, checks)?;
            }
        }
        let (read, heard) = self.proposals.since_the_order(step.process);
        let forsaken = self.proposals.is_forsaken(broker, step.process, step.at);
        self.conduct.leaves(broker, step, (read, heard, forsaken), checks)
    }

    /// A subscriber's read of the head counts from when it was sent last.
    fn asked(
        &mut self,
        world: &World<Actor>,
        process: ProcessId,
        (link, frame): (LinkId, &Frame),
        checks: &mut Checks,
    ) -> Result<(), Violation> {
        let Some(received) = self.subscribers.get_mut(&process) else { return Ok(()) };
        let Ok(message) = wire::decode(frame.clone()) else { return Ok(()) };
        conduct::granted(world, process, (link, &message), checks)?;
        self.streams.sent(world, process, (link, &message), checks)?;
        let Message::ReadHead { token } = message else { return Ok(()) };
        if let Some(connection) = conduct::connection(world, process, link) {
            self.reads.insert((connection, token), world.now());
        }
        received.asks = true;
        checks.observe(&Fact::HeadAsked { client: process.0 })
    }

    fn publisher(
        &mut self,
        process: ProcessId,
        event: &publisher::Event,
        checks: &mut Checks,
    ) -> Result<(), Violation> {
        let (id, published) = self.publishers.get_mut(&process).expect("a publisher");
        let (client, publisher) = (process.0, id.get());
        if let publisher::Event::Recovered { result, .. } = event {
            self.coverage.note(if result.is_ok() { "recovered" } else { "aside" }.to_owned());
            let result = result.err();
            return checks.observe(&Fact::Told { client, publisher, tickets: &(0..0), result });
        }
        let publisher::Event::Completed { tickets, result } = event else { return Ok(()) };
        checks.observe(&Fact::Told { client, publisher, tickets, result: result.err() })?;
        let count = tickets.end - tickets.start;
        match result {
            Ok(()) => published.acknowledged += count,
            Err(publisher::Error::Unknown { .. }) => {
                published.unknown += count;
                self.coverage.note("unknown".to_owned());
            }
            Err(publisher::Error::QueueFull) => published.turned_away += count,
            Err(publisher::Error::Fenced { .. }) => {
                published.refused += count;
                self.coverage.note("fenced".to_owned());
            }
            Err(_) => published.refused += count,
        }
        if result.is_ok() {
            for ticket in tickets.clone() {
                let payload = &published.payloads[(ticket - published.tickets - 1) as usize];
                checks.observe(&Fact::Acknowledged { publisher, payload })?;
            }
        }
        Ok(())
    }

    /// What a subscriber tells its application, perhaps because of a frame that was damaged on its way.
    fn subscriber(
        &mut self,
        process: ProcessId,
        (event, damaged): (&subscriber::Event, bool),
        checks: &mut Checks,
    ) -> Result<(), Violation> {
        let subscriber = process.0;
        let received = self.subscribers.entry(process).or_default();
        match event {
            subscriber::Event::Delivered(delivery) => {
                let payloads: Vec<_> = delivery.records.clone().collect();
                received.records += payloads.len() as u64;
                if payloads.iter().map(|payload| payload.len() as u64).sum::<u64>() > delivery.bytes {
                    self.coverage.note("compressed".to_owned());
                }
                received.next = delivery.next.position.offset;
                received.history = delivery.next.history();
                checks.observe(&Fact::Unread { subscriber, bytes: delivery.bytes })?;
                checks.observe(&Fact::Delivered {
                    subscriber,
                    history: received.history,
                    offset: delivery.offset,
                    topic: &delivery.topic,
                    publisher: delivery.publisher,
                    first_sequence: delivery.first_sequence,
                    payloads: &payloads,
                })
            }
            subscriber::Event::Connected { at, epoch, .. } if received.history == History::default() => {
                (received.history, received.next) = (at.history(), at.position.offset);
                let (history, at) = (received.history, received.next);
                checks.observe(&Fact::Began { subscriber, history, epoch: *epoch, at })
            }
            subscriber::Event::Lost { from, to, reason } => {
                received.lost += 1;
                self.coverage.note("lost".to_owned());
                received.next = *to;
                let because = Loss::of(*reason, damaged);
                checks.observe(&Fact::Missed { subscriber, from: *from, to: *to, because })
            }
            subscriber::Event::LineageChanged { to, .. } => {
                received.lineage_changes += 1;
                (received.history, received.next) = (*to, 0);
                checks.observe(&Fact::LineageChanged { subscriber, to: *to })
            }
            subscriber::Event::Head { at, .. } => {
                received.heads += 1;
                (received.asks, received.ahead) = (false, Some((at.history(), at.position.offset)));
                let (history, head) = (at.history(), at.position.offset);
                checks.observe(&Fact::HeadTold { client: subscriber, history, head })
            }
            subscriber::Event::Reached { .. } => {
                let head = received.ahead.take();
                checks.observe(&Fact::HeadReached { subscriber, head })
            }
            subscriber::Event::Diverged { from, common } => {
                Err(unexpected(format!("subscriber {subscriber} diverged from {from} at {common}")))
            }
            _ => Ok(()),
        }
    }
}

/// Whether a backup has taken what it was sent.
fn takes(step: &Step<Event>, said: &[(LinkId, Message)]) -> bool {
    let acknowledges =
        |message: &Message| matches!(message, Message::ReplicateAck(_) | Message::SnapshotAck(_));
    said.iter().any(|(_, message)| acknowledges(message))
        || step.outputs.iter().any(|output| matches!(output, Output::Store(_)))
}

/// Whether a broker has just heard that it is to leave.
fn is_order(step: &Step<Event>, said: &[(LinkId, Message)]) -> bool {
    let begins = |message: &Message| matches!(message, Message::Drained(Departure::Begun));
    step.cause == Cause::Command || said.iter().any(|(_, message)| begins(message))
}

fn unexpected(detail: String) -> Violation {
    Violation { property: "Unexpected", detail }
}
