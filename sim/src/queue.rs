//! Virtual time: what is to happen, ordered by time and, at the same time, by the order of scheduling.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Events to come.
#[derive(Debug)]
pub struct Queue<T> {
    heap: BinaryHeap<Reverse<Slot<T>>>,
    scheduled: u64,
    now: u64,
}

#[derive(Debug)]
struct Slot<T> {
    key: (u64, u64),
    event: T,
}

impl<T> PartialEq for Slot<T> {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl<T> Eq for Slot<T> {}

impl<T> PartialOrd for Slot<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Slot<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key.cmp(&other.key)
    }
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), scheduled: 0, now: 0 }
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
        self.heap.push(Reverse(Slot { key: (at.max(self.now), self.scheduled), event }));
    }

    /// When the next event is due.
    pub fn next_at(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse(slot)| slot.key.0)
    }

    /// Takes the next event and moves time to it.
    pub fn pop(&mut self) -> Option<T> {
        let Reverse(slot) = self.heap.pop()?;
        self.now = slot.key.0;
        Some(slot.event)
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
