//! What publishers and subscribers share: finding their group's primary and keeping a link to it.
//!
//! A [`Connector`] asks one discovery replica at a time, remembers the best route it was given, dials
//! the primary, notices when either falls silent, and tries again with full-jitter backoff. It tells
//! its owner only what matters there: a [`Notice`].

mod connector;
mod finder;
mod pulse;
mod routes;

pub use connector::{Connector, Notice};

use crate::coordination::{CallIds, Context};
use crate::limits::Timing;
use crate::node::Outbox;
use crate::rng::Rng;
use crate::time::{Duration, Instant};

/// What a client node shares with its components.
#[derive(Clone, Debug)]
pub(crate) struct Shared<E> {
    /// Time of the input being handled.
    pub(crate) now: Instant,
    pub(crate) rng: Rng,
    calls: CallIds,
    pub(crate) out: Outbox<E>,
}

impl<E> Shared<E> {
    pub(crate) fn new(now: Instant, seed: u64) -> Self {
        Self { now, rng: Rng::new(seed), calls: CallIds::default(), out: Outbox::default() }
    }

    pub(crate) const fn cx(&mut self) -> Context<'_, E> {
        Context { now: self.now, rng: &mut self.rng, calls: &mut self.calls, out: &mut self.out }
    }

    /// When to try again what a broker has put off: not before it asked for, within reason, and not
    /// together with everybody else.
    pub(crate) fn put_off(&mut self, retry_after: Duration, timing: &Timing) -> Instant {
        let after = retry_after.clamp(timing.backoff, timing.backoff_cap.max(timing.backoff));
        self.now + after + self.rng.jitter(timing.backoff)
    }
}
