//! One way between two ends: packets arrive in the order in which they were sent, and wait while the
//! way is cut.

use std::collections::VecDeque;

/// Packets under way. Its owner schedules one arrival per packet, at the time that `put` returns.
#[derive(Debug)]
pub struct Pipe<P> {
    packets: VecDeque<P>,
    last_arrival: u64,
    /// Arrivals that came due while the way was cut.
    held: usize,
    /// Nothing arrives before this time.
    delayed: u64,
}

impl<P> Default for Pipe<P> {
    fn default() -> Self {
        Self { packets: VecDeque::new(), last_arrival: 0, held: 0, delayed: 0 }
    }
}

impl<P> Pipe<P> {
    /// Adds a packet that would arrive at `at` if it were alone; returns when it does.
    pub fn put(&mut self, packet: P, at: u64) -> u64 {
        self.packets.push_back(packet);
        self.last_arrival = self.last_arrival.max(at);
        self.last_arrival
    }

    /// A packet arrives.
    pub fn take(&mut self) -> Option<P> {
        self.packets.pop_front()
    }

    /// The packet that arrives next.
    pub fn first(&self) -> Option<&P> {
        self.packets.front()
    }

    /// Nothing arrives before `until`: arrivals that come due earlier are to be held, and released then.
    pub fn delay(&mut self, until: u64) {
        self.delayed = self.delayed.max(until);
        self.last_arrival = self.last_arrival.max(until);
    }

    /// Whether nothing may arrive yet.
    pub const fn is_delayed(&self, now: u64) -> bool {
        now < self.delayed
    }

    /// A packet's arrival comes due while it cannot arrive.
    pub fn hold(&mut self) {
        self.held += 1;
    }

    /// The way is free again: when the packets held back arrive, at `at` or later.
    pub fn release(&mut self, at: u64) -> impl Iterator<Item = u64> + use<P> {
        let held = std::mem::take(&mut self.held);
        if held > 0 {
            self.last_arrival = self.last_arrival.max(at);
        }
        std::iter::repeat_n(self.last_arrival, held)
    }

    /// Loses every packet but the first `keep`.
    pub fn lose_after(&mut self, keep: usize) {
        self.packets.truncate(keep);
    }

    /// Packets under way.
    pub fn len(&self) -> usize {
        self.packets.len()
    }

    /// Whether nothing is under way.
    pub fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }
}
