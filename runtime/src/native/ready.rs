//! Which links have something to do. A socket that wakes its link puts it into a queue, so that a turn
//! costs as much as there is to do, not as many links as there are.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Wake, Waker};
use steadfast_core::link::LinkId;

/// The queue, and whom to wake for it.
#[derive(Debug, Default)]
pub(super) struct Ready(Mutex<Queue>);

#[derive(Debug, Default)]
struct Queue {
    links: VecDeque<Arc<Bell>>,
    task: Option<Waker>,
}

/// Wakes one link: it is in the queue at most once.
#[derive(Debug)]
pub(super) struct Bell {
    link: LinkId,
    rung: AtomicBool,
    /// Weak, because the queue holds who has rung.
    ready: Weak<Ready>,
}

impl Ready {
    /// What rings for this link.
    pub(super) fn bell(self: &Arc<Self>, link: LinkId) -> Arc<Bell> {
        Arc::new(Bell { link, rung: AtomicBool::new(false), ready: Arc::downgrade(self) })
    }

    /// From now on this task is woken.
    pub(super) fn listen(&self, task: &Waker) {
        let mut queue = self.lock();
        if queue.task.as_ref().is_none_or(|before| !before.will_wake(task)) {
            queue.task = Some(task.clone());
        }
    }

    /// How many links wait.
    pub(super) fn len(&self) -> usize {
        self.lock().links.len()
    }

    /// The link that has waited longest.
    pub(super) fn pop(&self) -> Option<LinkId> {
        let bell = self.lock().links.pop_front()?;
        // From here on what happens rings again.
        bell.rung.store(false, Ordering::Release);
        Some(bell.link)
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // A queue is whole whoever has panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.rung.swap(true, Ordering::AcqRel) {
            return;
        }
        let Some(ready) = self.ready.upgrade() else { return };
        let task = {
            let mut queue = ready.lock();
            queue.links.push_back(Arc::clone(self));
            queue.task.clone()
        };
        if let Some(task) = task {
            task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::task::noop_waker;

    #[test]
    fn a_link_waits_once_and_in_turn() {
        let ready = Arc::<Ready>::default();
        ready.listen(&noop_waker());
        let bells = [1, 2].map(|number| ready.bell(LinkId::dialled(number)));
        for number in [0, 1, 0, 0] {
            bells[number].wake_by_ref();
        }
        assert_eq!((ready.len(), ready.pop()), (2, Some(LinkId::dialled(1))));
        bells[0].wake_by_ref();
        let rest: Vec<_> = std::iter::from_fn(|| ready.pop()).collect();
        assert_eq!(rest, [2, 1].map(LinkId::dialled));
    }
}
