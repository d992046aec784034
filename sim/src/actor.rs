//! The nodes of a cluster as one type, so that one world can run them all.

use crate::fingerprint::{Digest, Fingerprint};
use crate::operator::{self, Operator};
use crate::stranger::Stranger;
use std::hash::Hash as _;
use steadfast_core::broker::{self, Broker};
use steadfast_core::compression::Decompressor;
use steadfast_core::discovery::{self, Discovery};
use steadfast_core::node::{Input, Node, Output};
use steadfast_core::publisher::{self, Publisher};
use steadfast_core::subscriber::{self, Subscriber};
use steadfast_core::time::Instant;

/// Any node.
#[derive(Clone, Debug)]
pub enum Actor {
    /// A broker.
    Broker(Box<Broker>),
    /// A discovery replica.
    Discovery(Box<Discovery>),
    /// A publisher.
    Publisher(Box<Publisher>),
    /// A subscriber.
    Subscriber(Box<Subscriber>),
    /// A replica of discovery of another cluster.
    Stranger(Stranger),
    /// An operator.
    Operator(Operator),
}

/// What an application asks of its node.
#[derive(Clone, Debug)]
pub enum Command {
    /// Of a broker.
    Broker(broker::Command),
    /// Of a discovery replica.
    Discovery(discovery::Command),
    /// Of a publisher.
    Publisher(publisher::Command),
    /// Of a subscriber.
    Subscriber(subscriber::Command),
    /// Of an operator.
    Operator(operator::Drain),
}

/// What a node tells its application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A broker.
    Broker(broker::Event),
    /// A discovery replica.
    Discovery(discovery::Event),
    /// A publisher.
    Publisher(publisher::Event),
    /// A subscriber.
    Subscriber(subscriber::Event),
    /// An operator.
    Operator(operator::Told),
}

impl Event {
    /// A publisher's event, if it is one.
    pub const fn publisher(&self) -> Option<&publisher::Event> {
        match self {
            Self::Publisher(event) => Some(event),
            _ => None,
        }
    }
}

impl Digest for Event {
    fn digest(&self, hash: &mut Fingerprint) {
        match self {
            Self::Subscriber(subscriber::Event::Delivered(delivery)) => {
                let subscriber::Delivery { epoch, offset, topic, publisher, incarnation, .. } = delivery;
                (1_u8, epoch, offset, topic, publisher, incarnation).hash(hash);
                (delivery.first_sequence, delivery.bytes, delivery.next).hash(hash);
                delivery.records.clone().for_each(|record| hash.bytes(&record));
            }
            Self::Publisher(publisher::Event::Completed { tickets, result: Ok(()) }) => {
                (2_u8, tickets).hash(hash);
            }
            rare => hash.debug(rare),
        }
    }
}

impl Actor {
    /// The broker, if it is one.
    pub fn broker(&self) -> Option<&Broker> {
        match self {
            Self::Broker(broker) => Some(broker),
            _ => None,
        }
    }

    /// The subscriber, if it is one.
    pub fn subscriber(&self) -> Option<&Subscriber> {
        match self {
            Self::Subscriber(subscriber) => Some(subscriber),
            _ => None,
        }
    }

    /// The replica of discovery, if it is one.
    pub fn discovery(&self) -> Option<&Discovery> {
        match self {
            Self::Discovery(discovery) => Some(discovery),
            _ => None,
        }
    }
}

/// The same input for a node of one kind. A command for another kind is a mistake of the plan.
fn narrow<C>(input: Input<Command>, take: fn(Command) -> Option<C>) -> Input<C> {
    match input {
        Input::Command(command) => Input::Command(take(command).expect("a command for this kind of node")),
        Input::Received { link, frame } => Input::Received { link, frame },
        Input::Link { link, status } => Input::Link { link, status },
        Input::Coordination(event) => Input::Coordination(event),
        Input::Storage(event) => Input::Storage(event),
        Input::Timeout => Input::Timeout,
    }
}

/// The same output of a node of any kind.
fn widen<E>(output: Output<E>, wrap: fn(E) -> Event) -> Output<Event> {
    match output {
        Output::Transmit { link, frame } => Output::Transmit { link, frame },
        Output::Link(command) => Output::Link(command),
        Output::Coordinate(request) => Output::Coordinate(request),
        Output::Store(request) => Output::Store(request),
        Output::Event(event) => Output::Event(wrap(event)),
        Output::Trace(trace) => Output::Trace(trace),
    }
}

/// A subscriber's event, as its application comes to see it.
fn unpacked(event: subscriber::Event) -> Event {
    Event::Subscriber(match event {
        subscriber::Event::Packed(packed) => {
            let delivery = packed.unpack(&mut Decompressor::default());
            subscriber::Event::Delivered(delivery.expect("publishers compress so that it can be read"))
        }
        event => event,
    })
}

macro_rules! take {
    ($kind:ident) => {
        |command| if let Command::$kind(command) = command { Some(command) } else { None }
    };
}

impl Node for Actor {
    type Command = Command;
    type Event = Event;

    fn handle_input(&mut self, now: Instant, input: Input<Command>) {
        match self {
            Self::Broker(node) => node.handle_input(now, narrow(input, take!(Broker))),
            Self::Discovery(node) => node.handle_input(now, narrow(input, take!(Discovery))),
            Self::Publisher(node) => node.handle_input(now, narrow(input, take!(Publisher))),
            Self::Subscriber(node) => node.handle_input(now, narrow(input, take!(Subscriber))),
            Self::Stranger(node) => {
                if let Input::Received { link, frame } = input {
                    node.hear(link, frame);
                }
            }
            Self::Operator(node) => node.handle(narrow(input, take!(Operator))),
        }
    }

    fn poll_output(&mut self) -> Option<Output<Event>> {
        match self {
            Self::Broker(node) => node.poll_output().map(|output| widen(output, Event::Broker)),
            Self::Discovery(node) => node.poll_output().map(|output| widen(output, Event::Discovery)),
            Self::Publisher(node) => node.poll_output().map(|output| widen(output, Event::Publisher)),
            Self::Subscriber(node) => node.poll_output().map(|output| widen(output, unpacked)),
            Self::Stranger(node) => node.say().map(|(link, frame)| Output::Transmit { link, frame }),
            Self::Operator(node) => node.next_output().map(|output| widen(output, Event::Operator)),
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Self::Broker(node) => node.poll_timeout(),
            Self::Discovery(node) => node.poll_timeout(),
            Self::Publisher(node) => node.poll_timeout(),
            Self::Subscriber(node) => node.poll_timeout(),
            Self::Stranger(_) | Self::Operator(_) => None,
        }
    }
}
