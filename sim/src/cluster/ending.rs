//! Applications that close, and brokers that an operator asks to leave by a frame.

use super::{Cluster, Failure};
use crate::actor::{Command, Event};
use crate::check::{Fact, Violation};
use crate::fault::Fault;
use crate::network::ProcessId;
use crate::operator::Drain;
use crate::world::{Cause, Step};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use steadfast_core::link::{LinkId, LinkStatus};
use steadfast_core::message::{Departure, Message};
use steadfast_core::node::Output;
use steadfast_core::trace::Trace;
use steadfast_core::{publisher, subscriber, wire};

/// Who is about to end, or has.
#[derive(Debug, Default)]
pub(super) struct Ending {
    /// Clients that were told to close and have not yet.
    closing: BTreeSet<ProcessId>,
    /// Those that have.
    closed: BTreeSet<ProcessId>,
    /// Brokers that an operator has asked, and how long after their end they start again; `None`: when everything
    /// is put right. The frame may be on its way.
    drains: BTreeMap<ProcessId, Option<Duration>>,
    /// On which of its links each broker has said that it leaves, and not how it did.
    awaited: BTreeSet<(ProcessId, LinkId)>,
    /// Those that have left the group.
    left: BTreeSet<ProcessId>,
}

impl Ending {
    /// Whether a client was told to close and has not.
    pub(super) fn is_closing(&self, client: ProcessId) -> bool {
        self.closing.contains(&client)
    }

    /// Whether a client was told to close: it need not come to anything else any more.
    pub(super) fn closes(&self, client: ProcessId) -> bool {
        self.closing.contains(&client) || self.closed.contains(&client)
    }

    /// Brokers that an operator has asked.
    pub(super) fn drained(&self) -> impl Iterator<Item = ProcessId> {
        self.drains.keys().copied()
    }

    /// Those who have not begun to leave when everything is put right start again at once, if they are of those.
    pub(super) fn put_right(&mut self, is_put_right: impl Fn(ProcessId) -> bool) {
        for (process, back) in &mut self.drains {
            *back = if is_put_right(*process) { back.or(Some(Duration::ZERO)) } else { None };
        }
    }

    /// A closed client does nothing more, but refuses what it is asked for.
    fn client(&mut self, step: &Step<Event>) -> Result<Option<ProcessId>, &'static str> {
        if matches!(step.cause, Cause::Started | Cause::Fault(Fault::Crash(_) | Fault::PowerLoss(_))) {
            self.closing.remove(&step.process);
            self.closed.remove(&step.process);
        }
        let mut closes = None;
        for output in &step.outputs {
            if self.closed.contains(&step.process) && !is_refusal(output) {
                return Err("does something after it has closed");
            }
            if is_end(output) {
                if !self.closing.remove(&step.process) {
                    return Err("closes, and nobody has told it to");
                }
                self.closed.insert(step.process);
                closes = Some(step.process);
            }
        }
        Ok(closes)
    }

    /// R34: whoever has asked a broker to leave, and was told that it does, is told how it did. A broker has
    /// heard of it when it says so.
    fn broker(&mut self, step: &Step<Event>) -> Result<(), &'static str> {
        let process = step.process;
        match step.cause {
            Cause::Started | Cause::Fault(Fault::Crash(_) | Fault::PowerLoss(_) | Fault::Exit(_)) => {
                self.awaited.retain(|(of, _)| *of != process);
                self.left.remove(&process);
            }
            Cause::Link(link, LinkStatus::Lost | LinkStatus::Refused) => {
                self.awaited.remove(&(process, link));
            }
            _ => {}
        }
        let leaves = |output: &Output<Event>| matches!(output, Output::Trace(Trace::Leaves { .. }));
        if step.outputs.iter().any(leaves) {
            self.left.insert(process);
        }
        for output in &step.outputs {
            let Output::Transmit { link, frame } = output else { continue };
            match wire::decode(frame.clone()) {
                Ok(Message::Drained(Departure::Begun)) => drop(self.awaited.insert((process, *link))),
                Ok(Message::Drained(_)) => drop(self.awaited.remove(&(process, *link))),
                _ => {}
            }
        }
        match self.left.contains(&process) && self.awaited.iter().any(|(of, _)| *of == process) {
            true => Err("has left, and does not tell how to whom it had said that it would"),
            false => Ok(()),
        }
    }
}

fn is_end(output: &Output<Event>) -> bool {
    matches!(
        output,
        Output::Event(
            Event::Publisher(publisher::Event::Closed) | Event::Subscriber(subscriber::Event::Closed)
        )
    )
}

fn is_refusal(output: &Output<Event>) -> bool {
    matches!(output, Output::Event(Event::Publisher(publisher::Event::Completed { result: Err(_), .. })))
}

impl Cluster {
    /// A client's application tells it to close. It stays closed until its process starts again.
    pub fn close(&mut self, client: ProcessId) {
        if self.world.node(client).is_none() || self.ending.closes(client) {
            return;
        }
        let command = match () {
            () if self.publishers.contains(&client) => Command::Publisher(publisher::Command::Close),
            () if self.subscribers.contains_key(&client) => Command::Subscriber(subscriber::Command::Close),
            () => return,
        };
        self.ending.closing.insert(client);
        self.checks.observe(&Fact::ToldToClose(client.0)).expect("an order violates nothing");
        if self.subscribers.contains_key(&client) {
            let gone = Fact::Unsubscribed { subscriber: client.0 };
            self.checks.observe(&gone).expect("an order violates nothing");
        }
        self.world.command(self.world.now(), client, command);
    }

    /// Whether a client was told to close, or has closed.
    pub fn closes(&self, client: ProcessId) -> bool {
        self.ending.closes(client)
    }

    /// An operator asks a broker by a frame to leave. If that arrives, its process ends when it has left, and starts
    /// again so long after that; `None`: only a [`Fault::Restart`] starts it, or healing.
    pub fn drain(&mut self, broker: ProcessId, back_after: Option<Duration>) {
        let Some(operator) = self.operator else { return };
        if !self.brokers.contains(&broker) || self.world.node(broker).is_none() {
            return;
        }
        self.ending.drains.insert(broker, back_after);
        let order = Drain(super::joining::address(self.world.name(broker)));
        self.world.command(self.world.now(), operator, Command::Operator(order));
    }

    /// Notes who ends, and judges how.
    pub(super) fn note_ending(&mut self, step: &Step<Event>) -> Result<(), Failure> {
        let process = step.process;
        if let Cause::Received(_, from @ Some(_)) = step.cause
            && from == self.operator
            && let Some(back) = self.ending.drains.remove(&process)
        {
            self.leaving.entry(process).or_insert(back);
        }
        if step.outputs.iter().any(|output| matches!(output, Output::Event(Event::Operator(_)))) {
            self.observer.note("drained");
        }
        let ends = match () {
            () if self.brokers.contains(&process) && self.operator.is_some() => {
                self.ending.broker(step).map(|()| None)
            }
            () if self.publishers.contains(&process) || self.subscribers.contains_key(&process) => {
                self.ending.client(step)
            }
            () => return Ok(()),
        };
        let broken = |what| {
            let detail = format!("{} {what}", self.world.name(process));
            self.failure(Violation { property: "EndsInOrder", detail })
        };
        let Some(client) = ends.map_err(broken)? else { return Ok(()) };
        self.observer.note("closed");
        let closed = self.checks.observe(&Fact::ClientClosed(client.0));
        closed.map_err(|violation| self.failure(violation))
    }
}
