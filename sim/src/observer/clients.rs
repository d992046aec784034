//! How clients treat their primary: whom they stay with when discovery names another one, and whether a publisher
//! that was not running asks for its session.

use crate::actor::{Actor, Event};
use crate::check::{Checks, Fact, Violation};
use crate::fault::Fault;
use crate::network::{ConnectionId, ProcessId};
use crate::world::{Cause, Step, World};
use std::collections::BTreeMap;
use std::time::Duration;
use steadfast_core::compression::Codecs;
use steadfast_core::id::{Endpoint, Epoch};
use steadfast_core::link::LinkId;
use steadfast_core::message::Message;
use steadfast_core::node::Output;
use steadfast_core::publisher::outbox::Change;
use steadfast_core::storage::{Operation, Request};
use steadfast_core::trace::Trace;
use steadfast_core::{publisher, wire};

/// What has to be remembered for that.
#[derive(Debug)]
pub(super) struct Clients {
    /// A client that was not running for longer than this has noticed it, in nanoseconds.
    nap: u64,
    clients: BTreeMap<ProcessId, Client>,
    /// The codecs that a primary has named on each connection.
    named: BTreeMap<ConnectionId, Codecs>,
}

/// A client's process.
#[derive(Debug, Default)]
struct Client {
    /// Its link to a primary.
    link: Option<LinkId>,
    /// Whether a publisher has its session, and nothing that an earlier process has left is in flight.
    is_open: bool,
    has_settled: bool,
    /// Since when it is paused with its session open and nothing in flight.
    paused: Option<u64>,
    /// Whether it was for longer than that takes to notice, and has not sent anything since.
    slept: bool,
    /// The connection of its link.
    connection: Option<ConnectionId>,
    /// The codecs that the primary has named that has opened its session, on its link.
    named: Option<Codecs>,
    /// Whether a publisher has an outbox. It numbers what it stores.
    stores: bool,
    /// The session and the number up to which a publisher without one has numbered.
    numbered: (u64, u64),
}

impl Clients {
    /// A client that was not running for longer than `nap` has noticed it.
    pub(super) fn new(nap: Duration) -> Self {
        Self { nap: nap.as_nanos() as u64, clients: BTreeMap::new(), named: BTreeMap::new() }
    }

    /// A primary has opened a session on this connection, and names these codecs.
    pub(super) fn named(&mut self, connection: ConnectionId, codecs: Codecs) {
        self.named.insert(connection, codecs);
    }

    /// Shows to the checkers how what a publisher numbers is compressed.
    fn numbers(&mut self, step: &Step<Event>, checks: &mut Checks) -> Result<(), Violation> {
        let Some(client) = self.clients.get_mut(&step.process) else { return Ok(()) };
        let named = client.named;
        for output in &step.outputs {
            let batches = match output {
                Output::Store(Request { operation: Operation::Outbox(change), .. }) => {
                    client.stores = true;
                    let Change::Append { batches, .. } = change else { continue };
                    batches.clone()
                }
                Output::Transmit { frame, .. } if !client.stores => match wire::decode(frame.clone()) {
                    Ok(Message::Publish(publish)) => publish.batches,
                    _ => continue,
                },
                _ => continue,
            };
            for header in batches.iter().map(|batch| &batch.header) {
                let number = (header.incarnation, header.last_sequence());
                if client.stores || number > client.numbered {
                    client.numbered = number;
                    let client = step.process.0;
                    checks.observe(&Fact::Numbered { client, codec: header.codec, named })?;
                }
            }
        }
        Ok(())
    }

    /// Shows a client's step to the checkers. `is_idle` says that the application of a publisher was told what became
    /// of everything that it has asked for.
    pub(super) fn observe(
        &mut self,
        world: &World<Actor>,
        step: &Step<Event>,
        is_idle: bool,
        checks: &mut Checks,
    ) -> Result<(), Violation> {
        let nap = self.nap;
        let client = self.clients.entry(step.process).or_default();
        match step.cause {
            Cause::Started => *client = Client::default(),
            Cause::Fault(Fault::Pause(_)) => {
                client.paused = (client.is_open && client.has_settled && is_idle).then_some(step.at);
            }
            Cause::Fault(Fault::Resume(_)) => {
                client.slept = client.paused.take().is_some_and(|paused| step.at > paused + nap);
            }
            _ => {}
        }
        let mut named = None;
        for output in &step.outputs {
            match output {
                Output::Trace(Trace::Attached { link }) => {
                    client.link = Some(*link);
                    // When it hears the first of it, it may be gone.
                    let connection = world.connection(step.process, *link);
                    client.connection = connection.map(|(connection, _)| connection);
                }
                Output::Trace(Trace::Detached { .. }) => {
                    (client.link, client.is_open, client.slept) = (None, false, false);
                    client.named = None;
                }
                Output::Trace(Trace::SessionOpened { .. }) => {
                    (client.is_open, client.slept) = (true, false);
                    client.named =
                        client.connection.and_then(|connection| self.named.get(&connection)).copied();
                }
                Output::Trace(Trace::Routed { epoch, primary: Some(primary), .. }) => {
                    named = Some((*epoch, primary));
                }
                Output::Event(Event::Publisher(publisher::Event::Completed { result: Ok(()), .. })) => {
                    client.has_settled = true;
                }
                Output::Transmit { frame, .. } if client.slept => {
                    let asked = match wire::decode(frame.clone()) {
                        Ok(Message::OpenSession(_)) => true,
                        Ok(Message::Publish(_)) => false,
                        _ => continue,
                    };
                    client.slept = false;
                    checks.observe(&Fact::SentAfterSleep { client: step.process.0, asked })?;
                }
                _ => {}
            }
        }
        let link = client.link;
        if matches!(world.node(step.process), Some(Actor::Publisher(_))) {
            self.numbers(step, checks)?;
        }
        match (named, link) {
            (Some(named), Some(link)) => stays(world, (step.process, link), named, checks),
            _ => Ok(()),
        }
    }
}

/// A client has learned of a primary, and has this link still. It may be to that one, or to one of whose end it
/// will learn from that one.
fn stays(
    world: &World<Actor>,
    (process, link): (ProcessId, LinkId),
    (named, primary): (Epoch, &Endpoint),
    checks: &mut Checks,
) -> Result<(), Violation> {
    let peer = world.peer(process, link).and_then(|peer| world.node(peer)).and_then(Actor::broker);
    let other = peer.filter(|peer| peer.id().incarnation != primary.incarnation);
    match other.and_then(|other| other.leads()) {
        Some(with) => checks.observe(&Fact::StaysWith { client: process.0, with, named }),
        None => Ok(()),
    }
}
