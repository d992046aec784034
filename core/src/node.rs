//! The one interface between a node and whatever drives it: a production runtime, the simulator or
//! an explorer. Six rules:
//!
//! 1. One trait, one input enum, one output enum for all nodes.
//! 2. [`Node::handle_input`] does the work, [`Node::poll_output`] only pops.
//! 3. Inputs cannot fail: hostile bytes are dropped and counted, a refusal to the local application is
//!    an event, a broken invariant is an assertion.
//! 4. Deadlines are state: [`Node::poll_timeout`] is their minimum, and a call before it is a no-op.
//! 5. No output is contingent on another. A driver owes order per link and per log, nothing else.
//! 6. No clock, thread, socket or randomly keyed map inside.

use crate::link::{Frame, LinkCommand, LinkId, LinkStatus};
use crate::stats::Stats;
use crate::time::Instant;
use crate::trace::Trace;
use crate::{coordination, storage};
use alloc::collections::VecDeque;
use serde::{Deserialize, Serialize};

/// A pure state machine.
pub trait Node {
    /// What the application asks of it.
    type Command;
    /// What it tells the application.
    type Event;

    /// Takes one input. `now` never goes back.
    fn handle_input(&mut self, now: Instant, input: Input<Self::Command>);

    /// The next thing to be done, until `None`.
    fn poll_output(&mut self) -> Option<Output<Self::Event>>;

    /// When [`Input::Timeout`] is due, if nothing else comes in before.
    fn poll_timeout(&self) -> Option<Instant>;
}

/// What goes into a node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Input<C> {
    /// From the application.
    Command(C),
    /// A frame has arrived. The first one on an accepted link announces the link.
    Received {
        /// On which link.
        link: LinkId,
        /// As it came: unchecked.
        frame: Frame,
    },
    /// A link's state has changed.
    Link {
        /// Which link.
        link: LinkId,
        /// How.
        status: LinkStatus,
    },
    /// From the coordination service.
    Coordination(coordination::Event),
    /// From the storage.
    Storage(storage::Event),
    /// A deadline may have come.
    Timeout,
}

/// What comes out of a node.
#[derive(Clone, Debug)]
pub enum Output<E> {
    /// Send a frame.
    Transmit {
        /// On which link.
        link: LinkId,
        /// Ready to send.
        frame: Frame,
    },
    /// Dial or close a link.
    Link(LinkCommand),
    /// For the coordination service.
    Coordinate(coordination::Request),
    /// For the storage.
    Store(storage::Request),
    /// For the application.
    Event(E),
    /// For logs, checkers and coverage.
    Trace(Trace),
}

/// The queue that components write their outputs to and `poll_output` pops, with the counts of what
/// was done.
#[derive(Clone, Debug)]
pub struct Outbox<E> {
    queue: VecDeque<Output<E>>,
    stats: Stats,
}

impl<E> Default for Outbox<E> {
    fn default() -> Self {
        Self { queue: VecDeque::new(), stats: Stats::default() }
    }
}

impl<E> Outbox<E> {
    /// Adds an output.
    pub fn push(&mut self, output: Output<E>) {
        self.stats.output(&output);
        self.queue.push_back(output);
    }

    /// The oldest output.
    pub fn pop(&mut self) -> Option<Output<E>> {
        self.queue.pop_front()
    }

    /// What was done so far.
    pub const fn stats(&self) -> &Stats {
        &self.stats
    }

    /// For what outputs alone do not tell.
    pub const fn count(&mut self) -> &mut Stats {
        &mut self.stats
    }

    /// Adds a frame.
    pub fn transmit(&mut self, link: LinkId, frame: Frame) {
        self.push(Output::Transmit { link, frame });
    }

    /// Adds a link command.
    pub fn link(&mut self, command: LinkCommand) {
        self.push(Output::Link(command));
    }

    /// Adds a coordination request.
    pub fn coordinate(&mut self, request: coordination::Request) {
        self.push(Output::Coordinate(request));
    }

    /// Adds a storage request.
    pub fn store(&mut self, request: storage::Request) {
        self.push(Output::Store(request));
    }

    /// Adds an event for the application.
    pub fn event(&mut self, event: E) {
        self.push(Output::Event(event));
    }

    /// Adds a trace record.
    pub fn trace(&mut self, trace: Trace) {
        self.push(Output::Trace(trace));
    }
}
