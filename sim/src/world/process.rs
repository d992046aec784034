//! A process: the node that it runs, and what the system holds for it.

use super::Starter;
use crate::clock::Clock;
use std::collections::VecDeque;
use steadfast_core::node::{Input, Node};
use steadfast_core::storage::Ticket;

/// A node that wants to be woken at the present moment this often in a row is stuck.
const STUCK_AFTER: u32 = 1_000;

pub(super) struct Process<N: Node> {
    pub name: String,
    /// `None`: nobody has this place.
    pub starter: Option<Starter<N>>,
    pub node: Option<N>,
    pub life: u32,
    pub paused: bool,
    /// Inputs that wait to be handled, in order.
    pub inbox: VecDeque<Input<N::Command>>,
    pub clock: Clock,
    /// When the earliest timer scheduled for this life fires.
    pub timer: Option<u64>,
    /// Whether there is a timeout in the inbox.
    pub timeout_waits: bool,
    /// Time that each input takes, in nanoseconds, and until when it is busy with one.
    pub cost: u64,
    pub busy_until: u64,
    /// Most bytes that may wait for it, and whether more do.
    pub memory: u64,
    pub doomed: bool,
    pub stored_until: u64,
    pub stored: u64,
    /// Its storage completes nothing, and what it would have completed meanwhile.
    pub stalled: bool,
    pub unstored: Vec<Ticket>,
    /// Timeouts in a row at the same moment.
    timeouts: (u64, u32),
}

impl<N: Node> Process<N> {
    pub fn new(name: &str, starter: Option<Starter<N>>, clock: Clock, memory: u64) -> Self {
        Self {
            name: name.to_owned(),
            starter,
            node: None,
            life: 0,
            paused: false,
            inbox: VecDeque::new(),
            clock,
            timer: None,
            timeout_waits: false,
            cost: 0,
            busy_until: 0,
            memory,
            doomed: false,
            stored_until: 0,
            stored: 0,
            stalled: false,
            unstored: Vec::new(),
            timeouts: (0, 0),
        }
    }

    /// The process is gone, with all that the system held for it. Says no when it was gone already.
    pub fn end(&mut self) -> bool {
        if self.node.take().is_none() {
            return false;
        }
        self.inbox.clear();
        self.unstored.clear();
        (self.paused, self.doomed, self.timeout_waits) = (false, false, false);
        self.timer = None;
        (self.stored_until, self.busy_until) = (0, 0);
        // What was scheduled for this life finds another one.
        self.life += 1;
        true
    }

    /// A request to its storage is due. Says whether it is complete.
    pub fn stores(&mut self, ticket: Ticket) -> bool {
        if self.stalled {
            self.unstored.push(ticket);
        }
        !self.stalled
    }

    /// When a timer must fire that is earlier than the one scheduled.
    pub fn wakes_at(&self, now: u64) -> Option<u64> {
        let deadline = self.node.as_ref().and_then(Node::poll_timeout)?;
        let at = self.clock.when(deadline).max(now);
        self.timer.is_none_or(|timer| at < timer).then_some(at)
    }

    /// A timeout is about to be handled.
    ///
    /// # Panics
    /// When the node asks for one after the other at the same moment.
    pub fn note_timeout(&mut self, now: u64) {
        self.timeout_waits = false;
        let (at, in_a_row) = self.timeouts;
        self.timeouts = (now, if at == now { in_a_row + 1 } else { 1 });
        assert!(in_a_row < STUCK_AFTER, "{} asks for one timeout after another", self.name);
    }
}
