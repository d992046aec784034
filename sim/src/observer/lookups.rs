//! Fresh answers of discovery: when each was asked for, and what its replica has read of the tree since.

use super::conduct::connection;
use super::proposals::{is_barrier, proves};
use crate::actor::{Actor, Event};
use crate::check::{Checks, Fact, Violation};
use crate::network::{ConnectionId, ProcessId};
use crate::world::{Cause, Step, World};
use std::collections::BTreeMap;
use steadfast_core::coordination::{self, CallId, Request};
use steadfast_core::discovery::Discovery;
use steadfast_core::message::{Lookup, Message, Route};
use steadfast_core::node::Output;
use steadfast_core::wire;

/// What has to be remembered for that. Times are the world's, in nanoseconds.
#[derive(Debug, Default)]
pub(super) struct Lookups {
    /// When the earliest was sent that has no fresh answer, on each connection.
    asked: BTreeMap<ConnectionId, u64>,
    replicas: BTreeMap<ProcessId, Rounds>,
}

/// The linearizable rounds of a replica.
#[derive(Debug, Default)]
struct Rounds {
    /// Barriers under way, each with when it was sent.
    barriers: BTreeMap<CallId, u64>,
    /// When the latest barrier was sent that is complete, and the one whose round is.
    passed: Option<u64>,
    read: Option<u64>,
    /// How many rounds are complete.
    complete: u64,
}

impl Lookups {
    /// A client may ask for a fresh answer.
    pub(super) fn ask(&mut self, world: &World<Actor>, step: &Step<Event>) {
        for output in &step.outputs {
            let Output::Transmit { link, frame } = output else { continue };
            let peer = world.peer(step.process, *link).and_then(|peer| world.node(peer));
            if matches!(peer, Some(Actor::Discovery(_)))
                && let Ok(Message::Lookup(Lookup { fresh: true, .. })) = wire::decode(frame.clone())
                && let Some(connection) = connection(world, step.process, *link)
            {
                self.asked.entry(connection).or_insert(step.at);
            }
        }
    }

    /// A replica reads the tree, and may give a fresh answer.
    pub(super) fn answer(
        &mut self,
        world: &World<Actor>,
        replica: &Discovery,
        step: &Step<Event>,
        checks: &mut Checks,
    ) -> Result<(), Violation> {
        let rounds = self.replicas.entry(step.process).or_default();
        rounds.read(step, replica.registry().round());
        for output in &step.outputs {
            let Output::Transmit { link, frame } = output else { continue };
            if let Ok(Message::Route(Route { fresh: true, .. })) = wire::decode(frame.clone())
                && let Some(connection) = connection(world, step.process, *link)
            {
                let (asked, read) = (self.asked.remove(&connection), rounds.read);
                checks.observe(&Fact::AnsweredFresh { replica: step.process.0, asked, read })?;
            }
        }
        Ok(())
    }
}

impl Rounds {
    fn read(&mut self, step: &Step<Event>, complete: u64) {
        match &step.cause {
            Cause::Started => *self = Self::default(),
            Cause::Coordination(coordination::Event::Reply { call, result }) => {
                let sent = self.barriers.remove(call).filter(|_| proves(result));
                self.passed = sent.or(self.passed);
            }
            _ => {}
        }
        if complete > self.complete {
            (self.complete, self.read) = (complete, self.passed);
        }
        for output in &step.outputs {
            if let Output::Coordinate(Request::Call { call, operation }) = output
                && is_barrier(operation)
            {
                self.barriers.insert(*call, step.at);
            }
        }
    }
}
