//! The clients of an exploration: a publisher and a subscriber, and what discovery tells them.
//!
//! Both are the real nodes. Discovery is not: whoever asks is told what the tree says at that moment, and
//! whoever watches hears of a change at any later moment. A client's time stands still, except where it
//! goes on with something that it had put off, and where everything that it waits for is overdue.
//!
//! A client's own part of the interleaving is put in one order, because no other could show more:
//!
//! * What a client is sent it gets at once, or never, or it cannot read it. All that it may do thereupon is to
//!   send frames, and a publisher's wait as long as one likes. Between a frame and its arrival there is no input
//!   of a client that could not as well have come before the frame was sent, except one that ends the
//!   connection; then the frame does not arrive.
//! * What a subscriber sends arrives at once, unless it may be damaged. It changes nothing but the subscriber's own
//!   stream.
//! * A client hears at once that its connection is gone and who is primary now, and a broker that a client
//!   has hung up, once it has read what the client had sent. To hear of a primary later is to have one's
//!   frames wait. What the old primary says meanwhile is judged when it is said, by the properties that
//!   are about frames; that a client of it hears it nevertheless is not explored.
//! * What a client has put off it tries again as soon as the answer would be another one.
//! * The publisher has all its records from the beginning: the frame of a record that is given later is
//!   like one that waits.

use super::own::{Kept, Own};
use super::process::{Process, UNIT};
use super::tree::Tree;
use crate::actor::{Actor, Command, Event};
use crate::check::{Checks, ClientId, Fact, Loss, Violation};
use crate::outbox::Disk;
use bytes::Bytes;
use std::ops::Range;
use std::time::Duration;
use steadfast_core::filter::{Filter, Topic};
use steadfast_core::id::{Address, Endpoint, Nonce, PublisherId};
use steadfast_core::limits::Timing;
use steadfast_core::link::{Frame, LinkId};
use steadfast_core::message::{self, Message, Route};
use steadfast_core::node::{Input, Output};
use steadfast_core::publisher::{self, Publisher};
use steadfast_core::subscriber::{self, Start, Subscriber};
use steadfast_core::wire;

/// Each client's link to discovery: the first that it dials, and it is never lost.
pub const DISCOVERY: LinkId = LinkId::dialled(1);

/// Longer than anything is put off, and far shorter than a client's patience.
pub const PUT_OFF: Duration = Duration::from_secs(1);

/// After so long whatever a client waits for is overdue.
pub const PATIENCE: Duration = Duration::from_secs(2_000 * UNIT.as_secs());

const PUBLISHER: PublisherId = PublisherId(1 << 96);
const SUBSCRIBER: ClientId = 0;
const CLIENT: ClientId = 1;

/// Where discovery is.
pub fn discovery() -> Address {
    Address::new("sim://d").expect("a valid address")
}

fn topic() -> Topic {
    Topic::new("t").expect("a valid topic")
}

fn filters() -> Vec<Filter> {
    vec![Filter::new("t").expect("a valid filter")]
}

fn payload(number: u64) -> Bytes {
    Bytes::from(format!("record {number}"))
}

/// What is put off is put off for a moment; everything else takes a client's whole patience.
fn timing() -> Timing {
    let long = PATIENCE / 2;
    Timing {
        heartbeat: long,
        suspicion: long,
        client_heartbeat: long,
        client_suspicion: PATIENCE,
        lag: long,
        step_down: long,
        backoff: Duration::from_millis(1),
        backoff_cap: long,
    }
}

/// What a client begins with that never ran before.
pub fn first(outbox: bool) -> Own {
    Own::first(if outbox { Kept::Outbox(Box::<Disk>::default()) } else { Kept::Nothing })
}

/// The publisher, which has not started yet. Every record is a batch of its own.
pub fn publisher(mut own: Own) -> Process {
    let outbox = if let Kept::Outbox(disk) = &mut own.kept { Some(disk.read()) } else { None };
    let config = publisher::Config {
        timing: timing(),
        batch_bytes: 1,
        ack_timeout: PATIENCE / 2,
        ..publisher::Config::default()
    };
    let boot = publisher::Boot {
        // Nonces of two processes are never the same.
        seed: own.life.into(),
        publisher: PUBLISHER,
        nonce: Nonce((6 + u128::from(own.life)) << 96),
        discovery: vec![discovery()],
        group: 0,
        config,
        outbox,
    };
    Process::of(own, |now| Actor::Publisher(Box::new(Publisher::new(now, boot))))
}

/// The subscriber, which has not started yet. It wants everything from the beginning, or what it has not had yet.
pub fn subscriber(own: Own) -> Process {
    let config = subscriber::Config {
        timing: timing(),
        stream_timeout: PATIENCE / 2,
        ..subscriber::Config::default()
    };
    let boot = subscriber::Boot {
        seed: 2,
        discovery: vec![discovery()],
        group: 0,
        filters: filters(),
        start: if let Kept::Position(at) = own.kept { Start::At(at) } else { Start::Earliest },
        config,
    };
    Process::of(own, |now| Actor::Subscriber(Box::new(Subscriber::new(now, boot))))
}

/// The publisher is given a record.
pub fn publish(number: u64) -> Input<Command> {
    Input::Command(Command::Publisher(publisher::Command::publish(number, topic(), &payload(number))))
}

/// What discovery tells a watcher of this tree, or one who asked for a fresh answer.
pub fn route(tree: &Tree, fresh: bool) -> Frame {
    let known = tree.primary();
    let primary = known.as_ref().and_then(|(_, _, live)| live.clone()).map(|live| Endpoint {
        node: live.id.member.node,
        incarnation: live.id.incarnation,
        address: live.address,
    });
    wire::encode(&Message::Route(Route {
        group: 0,
        groups: 1,
        history: known.as_ref().map(|(history, _, _)| *history),
        epoch: known.map_or(0, |(_, epoch, _)| epoch),
        // Writes of the group's state are in order, whatever they change.
        config: tree.version().unsigned_abs().into(),
        primary,
        retry_after: Duration::ZERO,
        age: Duration::ZERO,
        fresh,
    }))
}

/// What discovery answers to a client. Whether it is able to give a fresh answer is up to the caller.
pub fn discovery_says(frame: &Frame, tree: &Tree, reads: bool) -> Frame {
    match wire::decode(frame.clone()) {
        Ok(Message::Lookup(message::Lookup { fresh, .. })) => route(tree, fresh && reads),
        Ok(Message::Ping { token }) => wire::encode(&Message::Pong { token }),
        other => unreachable!("clients do not say {other:?} to discovery"),
    }
}

/// A subscriber begins, as far as the checkers are concerned.
pub fn subscribed(checks: &mut Checks) -> Result<(), Violation> {
    let (filters, start) = (&filters(), message::Start::Earliest);
    checks.observe(&Fact::Subscribed { subscriber: SUBSCRIBER, filters, start })
}

/// Another process of a client begins with this, as far as the checkers are concerned.
pub fn revived(own: &Own, checks: &mut Checks) -> Result<(), Violation> {
    match &own.kept {
        Kept::Outbox(_) => checks.observe(&Fact::ClientStarted { client: CLIENT }),
        Kept::Nothing => subscribed(checks),
        Kept::Position(at) => {
            let (filters, start) = (&filters(), message::Start::At(at.position));
            checks.observe(&Fact::Subscribed { subscriber: SUBSCRIBER, filters, start })?;
            let (history, epoch, at) = (at.history(), at.position.epoch, at.position.offset);
            checks.observe(&Fact::Began { subscriber: SUBSCRIBER, history, epoch, at })
        }
    }
}

/// The publisher was given a record, as far as the checkers are concerned.
pub fn published(number: u64, checks: &mut Checks) -> Result<(), Violation> {
    let (topic, payload) = (&topic(), &payload(number));
    checks.observe(&Fact::Asked { client: CLIENT, ticket: number, bytes: payload.len() })?;
    checks.observe(&Fact::Published { client: CLIENT, publisher: PUBLISHER, topic, payload })
}

/// Shows to the checkers what a client has told its application.
pub fn observe(output: &Output<Event>, checks: &mut Checks) -> Result<(), Violation> {
    match output {
        Output::Event(Event::Publisher(publisher::Event::Completed { tickets, result })) => {
            told(tickets, *result, checks)?;
            tickets.clone().filter(|_| result.is_ok()).try_for_each(|ticket| {
                let payload = &payload(ticket);
                checks.observe(&Fact::Acknowledged { publisher: PUBLISHER, payload })
            })
        }
        Output::Event(Event::Publisher(publisher::Event::Recovered { result, .. })) => {
            told(&(0..0), *result, checks)
        }
        Output::Event(Event::Subscriber(event)) => subscriber_says(event, checks),
        _ => Ok(()),
    }
}

fn told(
    tickets: &Range<u64>,
    result: Result<(), publisher::Error>,
    checks: &mut Checks,
) -> Result<(), Violation> {
    let result = result.err();
    checks.observe(&Fact::Told { client: CLIENT, publisher: PUBLISHER, tickets, result })
}

fn subscriber_says(event: &subscriber::Event, checks: &mut Checks) -> Result<(), Violation> {
    let subscriber = SUBSCRIBER;
    match event {
        subscriber::Event::Delivered(delivery) => {
            let payloads: Vec<_> = delivery.records.clone().collect();
            checks.observe(&Fact::Delivered {
                subscriber,
                history: delivery.next.history(),
                offset: delivery.offset,
                topic: &delivery.topic,
                publisher: delivery.publisher,
                first_sequence: delivery.first_sequence,
                payloads: &payloads,
            })
        }
        subscriber::Event::Connected { at, epoch, .. } => {
            let (history, epoch, at) = (at.history(), *epoch, at.position.offset);
            checks.observe(&Fact::Began { subscriber, history, epoch, at })
        }
        subscriber::Event::Lost { from, to, reason } => {
            let because = Loss::of(*reason, false);
            checks.observe(&Fact::Missed { subscriber, from: *from, to: *to, because })
        }
        subscriber::Event::LineageChanged { to, .. } => {
            checks.observe(&Fact::LineageChanged { subscriber, to: *to })
        }
        subscriber::Event::Diverged { from, common } => {
            let detail = format!("the subscriber diverged from {from} at {common}");
            Err(Violation { property: "Unexpected", detail })
        }
        _ => Ok(()),
    }
}
