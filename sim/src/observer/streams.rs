//! Streams as their brokers know them: what each one asked for, and when its broker has read that it is over. Frames
//! of one connection arrive in the order in which they were sent, so counting them at both ends says when.

use super::conduct::connection;
use crate::actor::{Actor, Event};
use crate::check::{Checks, Fact, Violation};
use crate::network::{ConnectionId, ProcessId};
use crate::world::{Cause, Step, World};
use std::collections::{BTreeMap, VecDeque};
use steadfast_core::link::{LinkId, LinkStatus};
use steadfast_core::message::Message;

/// What has to be remembered for that.
#[derive(Debug, Default)]
pub(super) struct Streams {
    connections: BTreeMap<ConnectionId, Connection>,
    /// The connection that each broker's link was an end of.
    links: BTreeMap<(ProcessId, LinkId), ConnectionId>,
}

/// A subscriber's connection to somebody.
#[derive(Debug, Default)]
struct Connection {
    /// Frames that it has sent, and that were read.
    frames: (u64, u64),
    /// Streams that were opened and not closed, as their broker knows.
    open: Vec<u64>,
    /// Streams that it closes: with which frame, and which.
    closing: VecDeque<(u64, u64)>,
}

impl Streams {
    /// A subscriber has sent this.
    pub(super) fn sent(
        &mut self,
        world: &World<Actor>,
        process: ProcessId,
        (link, message): (LinkId, &Message),
        checks: &mut Checks,
    ) -> Result<(), Violation> {
        let Some(id) = connection(world, process, link) else { return Ok(()) };
        let known = self.connections.entry(id).or_default();
        known.frames.0 += 1;
        match message {
            Message::OpenStream(open) => {
                known.open.push(open.stream);
                checks.observe(&Fact::Wanted { stream: (id, open.stream), filters: &open.filters })?;
            }
            Message::CloseStream { stream } => known.closing.push_back((known.frames.0, *stream)),
            _ => {}
        }
        Ok(())
    }

    /// A broker has read a frame, perhaps of a subscriber, or was told that a connection is over.
    pub(super) fn read(
        &mut self,
        world: &World<Actor>,
        step: &Step<Event>,
        is_subscriber: impl Fn(ProcessId) -> bool,
        checks: &mut Checks,
    ) -> Result<(), Violation> {
        let (link, is_damaged) = match step.cause {
            Cause::Received(_, Some(from)) if !is_subscriber(from) => return Ok(()),
            Cause::Received(link, _) => (link, false),
            Cause::Damaged(link) => (link, true),
            Cause::Link(link, LinkStatus::Lost | LinkStatus::Refused) => {
                let id = self.links.get(&(step.process, link));
                let over = id.and_then(|id| Some((*id, self.connections.remove(id)?)));
                let Some((id, over)) = over else { return Ok(()) };
                return over
                    .open
                    .iter()
                    .try_for_each(|stream| checks.observe(&Fact::Closed { stream: (id, *stream) }));
            }
            _ => return Ok(()),
        };
        let Some(id) = connection(world, step.process, link) else { return Ok(()) };
        let Some(known) = self.connections.get_mut(&id) else { return Ok(()) };
        if known.frames.1 == 0 {
            self.links.insert((step.process, link), id);
        }
        known.frames.1 += 1;
        let read = known.frames.1;
        if let Some((_, stream)) =
            known.closing.pop_front_if(|(frame, _)| *frame == read).filter(|_| !is_damaged)
        {
            known.open.retain(|open| *open != stream);
            checks.observe(&Fact::Closed { stream: (id, stream) })?;
        }
        Ok(())
    }

    /// The connection of a broker's link, also when it is over.
    pub(super) fn of(&self, world: &World<Actor>, process: ProcessId, link: LinkId) -> Option<ConnectionId> {
        connection(world, process, link).or_else(|| self.links.get(&(process, link)).copied())
    }
}
