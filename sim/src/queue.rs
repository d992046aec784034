//! Virtual time: what is to happen, ordered by time and, at the same time, by the order of scheduling.

use slab::Slab;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Events to come.
#[derive(Debug)]
pub struct Queue<T> {
    /// When each is due, its number in the order of scheduling, and its place among the events: they stay
    /// where they are while the order is kept.
    heap: BinaryHeap<Reverse<(u64, u64, usize)>>,
    events: Slab<T>,
    scheduled: u64,
    now: u64,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), events: Slab::new(), scheduled: 0, now: 0 }
    }
}

impl<T> Queue<T> {
    /// Virtual time in nanoseconds: that of the event taken last.
    pub const fn now(&self) -> u64 {
        self.now
    }

    /// Adds an event. What lies in the past happens now.
    pub fn push(&mut self, at: u64, event: T) {
        self.scheduled += 1;
        let place = self.events.insert(event);
        self.heap.push(Reverse((at.max(self.now), self.scheduled, place)));
    }

    /// When the next event is due.
    pub fn next_at(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse((at, ..))| *at)
    }

    /// Takes the next event and moves time to it.
    pub fn pop(&mut self) -> Option<T> {
        let Reverse((at, _, place)) = self.heap.pop()?;
        self.now = at;
        Some(self.events.remove(place))
    }

    /// Lets time pass to `at`, where nothing is due before.
    ///
    /// # Panics
    /// When something is.
    pub fn advance(&mut self, at: u64) {
        assert!(self.next_at().is_none_or(|next| next >= at), "an event would be skipped");
        self.now = self.now.max(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_then_in_order_of_scheduling() {
        let mut queue = Queue::default();
        for (at, event) in [(5, 'c'), (1, 'a'), (5, 'd'), (2, 'b')] {
            queue.push(at, event);
        }
        let mut order = String::new();
        while let Some(event) = queue.pop() {
            order.push(event);
            if event == 'c' {
                queue.push(0, 'e');
            }
        }
        assert_eq!((order.as_str(), queue.now()), ("abcde", 5));
    }
}
