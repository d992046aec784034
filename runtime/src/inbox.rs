//! A queue from many senders to one driver, drained in batches under one lock: what an application
//! sends costs tens of nanoseconds and no task switch.
//!
//! The inbox itself never refuses, because an input that is lost would be lost silently. Who sends
//! is who bounds: a publisher by its window of unacknowledged records, a subscriber by its credit, a
//! coordination session by the calls and watches that its node has open.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

#[derive(Debug)]
struct State<T> {
    queue: VecDeque<T>,
    receiver: Option<Waker>,
    senders: usize,
    closed: bool,
}

#[derive(Debug)]
struct Shared<T>(Mutex<State<T>>);

impl<T> Shared<T> {
    /// No code that can panic runs under the lock.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sending end.
#[derive(Debug)]
pub struct Sender<T>(Arc<Shared<T>>);

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.lock().senders += 1;
        Self(Arc::clone(&self.0))
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let waker = {
            let mut state = self.0.lock();
            state.senders -= 1;
            if state.senders == 0 { state.receiver.take() } else { None }
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// The receiving end.
#[derive(Debug)]
pub struct Receiver<T>(Arc<Shared<T>>);

/// A new inbox.
pub fn inbox<T>() -> (Sender<T>, Receiver<T>) {
    let state = State { queue: VecDeque::new(), receiver: None, senders: 1, closed: false };
    let shared = Arc::new(Shared(Mutex::new(state)));
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

impl<T> Sender<T> {
    /// Adds an item. Gives it back when the receiver is gone.
    ///
    /// # Errors
    /// With the item, when nobody will receive it.
    pub fn send(&self, item: T) -> Result<(), T> {
        let waker = {
            let mut state = self.0.lock();
            if state.closed {
                return Err(item);
            }
            state.queue.push_back(item);
            state.receiver.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }

    /// Lets the last item that nobody has taken yet `absorb` what is to be sent, or else adds `item`. Nothing
    /// happens when the receiver is gone.
    pub fn extend(&self, absorb: impl FnOnce(&mut T) -> bool, item: impl FnOnce() -> T) {
        let waker = {
            let mut state = self.0.lock();
            if state.closed || state.queue.back_mut().is_some_and(absorb) {
                return;
            }
            state.queue.push_back(item());
            state.receiver.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Whether the receiver is gone.
    pub fn is_closed(&self) -> bool {
        self.0.lock().closed
    }
}

impl<T> Receiver<T> {
    /// Moves up to `max` items to `take`, in order. Returns how many; when there is none, the task is
    /// woken by the next one; zero means that no sender is left either.
    pub fn poll_drain(&mut self, cx: &mut Context<'_>, max: usize, take: impl FnMut(T)) -> Poll<usize> {
        let mut state = self.0.lock();
        let count = state.queue.len().min(max);
        if count == 0 && state.senders > 0 {
            match &mut state.receiver {
                Some(waker) => waker.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
            return Poll::Pending;
        }
        state.queue.drain(..count).for_each(take);
        Poll::Ready(count)
    }

    /// The next item; `None` when there is none and no sender is left.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let mut item = None;
        self.poll_drain(cx, 1, |next| item = Some(next)).map(|_| item)
    }

    /// As [`Self::poll_next`].
    pub async fn next(&mut self) -> Option<T> {
        poll_fn(|cx| self.poll_next(cx)).await
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let dropped = {
            let mut state = self.0.lock();
            state.closed = true;
            std::mem::take(&mut state.queue)
        };
        // Outside the lock: an item's own drop may send.
        drop(dropped);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::future::FutureExt;
    use futures::task::noop_waker;

    #[test]
    fn items_come_in_order_and_in_batches() {
        let (sender, mut receiver) = inbox();
        let waker = noop_waker();
        let mut cx = Context::from_waker(&waker);
        let mut got = Vec::new();
        assert_eq!(receiver.poll_drain(&mut cx, 2, |n| got.push(n)), Poll::Pending);
        (1..=3).for_each(|n| sender.send(n).unwrap());
        assert_eq!(receiver.poll_drain(&mut cx, 2, |n| got.push(n)), Poll::Ready(2));
        assert_eq!(receiver.poll_drain(&mut cx, 2, |n| got.push(n)), Poll::Ready(1));
        assert_eq!(got, [1, 2, 3]);
        sender.clone().send(4).unwrap();
        assert_eq!(receiver.next().now_or_never(), Some(Some(4)));
        assert_eq!(receiver.next().now_or_never(), None);
        drop(receiver);
        assert_eq!(sender.send(4), Err(4));
        assert!(sender.is_closed());
    }

    #[test]
    fn the_last_item_absorbs_what_follows_until_it_is_taken() {
        let (sender, mut receiver) = inbox();
        let add = |n: u32| {
            let absorb = |last: &mut u32| {
                *last += n;
                true
            };
            sender.extend(absorb, || n);
        };
        [1, 2, 3].into_iter().for_each(add);
        assert_eq!(receiver.next().now_or_never(), Some(Some(6)));
        add(4);
        sender.extend(|_| false, || 5);
        assert_eq!(receiver.next().now_or_never(), Some(Some(4)));
        assert_eq!(receiver.next().now_or_never(), Some(Some(5)));
    }

    #[test]
    fn the_last_sender_ends_the_items() {
        let (sender, mut receiver) = inbox();
        sender.send(1).unwrap();
        drop(sender);
        assert_eq!(receiver.next().now_or_never(), Some(Some(1)));
        assert_eq!(receiver.next().now_or_never(), Some(None));
    }
}
