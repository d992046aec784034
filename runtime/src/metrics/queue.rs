//! What waits to be sent: bounded, and the oldest gives way. A node's thread never waits here for
//! longer than it takes to move some points.

use super::point::Point;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;
use tokio::sync::Notify;

/// Points on their way to the exporter's thread.
#[derive(Debug)]
pub struct Queue {
    points: Mutex<VecDeque<Point>>,
    capacity: usize,
    dropped: AtomicU64,
    closed: OnceLock<Instant>,
    news: Notify,
}

impl Queue {
    /// A queue for at most this many points.
    pub fn new(capacity: usize) -> Self {
        Self {
            points: Mutex::new(VecDeque::new()),
            capacity,
            dropped: AtomicU64::new(0),
            closed: OnceLock::new(),
            news: Notify::new(),
        }
    }

    /// Adds points; when there is no room, the oldest go and are counted.
    pub fn push(&self, more: impl IntoIterator<Item = Point>) {
        let mut dropped = 0;
        let mut points = self.lock();
        for point in more {
            if points.len() >= self.capacity {
                points.pop_front();
                dropped += 1;
            }
            points.push_back(point);
        }
        drop(points);
        self.dropped.fetch_add(dropped, Ordering::Relaxed);
        self.news.notify_one();
    }

    /// Takes the oldest points, at most this many.
    pub fn take(&self, most: usize) -> Vec<Point> {
        let mut points = self.lock();
        let count = points.len().min(most);
        points.drain(..count).collect()
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.lock().len()
    }

    /// How many had to go.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// What waits is to be sent quickly, and then no more.
    pub fn close(&self) {
        self.closed.get_or_init(Instant::now);
        self.news.notify_one();
    }

    /// Since when nothing more is wanted.
    pub fn closed(&self) -> Option<Instant> {
        self.closed.get().copied()
    }

    /// Waits until something was pushed, or the queue closes.
    pub async fn news(&self) {
        self.news.notified().await;
    }

    /// A thread that panicked while it moved points leaves whole points behind.
    fn lock(&self) -> MutexGuard<'_, VecDeque<Point>> {
        self.points.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_give_way_and_are_counted() {
        let queue = Queue::new(3);
        let point = |at| Point { measurement: "m", tags: Vec::new(), fields: Vec::new(), at };
        queue.push((0..2).map(point));
        queue.push((2..7).map(point));
        assert_eq!((queue.waiting(), queue.dropped()), (3, 4));
        let ats = |points: Vec<Point>| points.iter().map(|point| point.at).collect::<Vec<_>>();
        assert_eq!(ats(queue.take(2)), [4, 5]);
        assert_eq!(ats(queue.take(2)), [6]);
        assert_eq!(queue.waiting(), 0);
    }
}
