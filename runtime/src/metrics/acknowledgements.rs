//! How long records wait for their acknowledgement, measured where the application hands them over and
//! learns of it. One clock, of one process.

use super::latency::{Distribution, Percentiles};
use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Instant;

/// Every so many records one is timed: reading the clock for each would cost a fast publisher more
/// than the rest of its bookkeeping.
const STRIDE: u64 = 64;
/// Most records that are timed at once.
const MAX_TIMED: usize = 4_096;

/// Times a sample of records: every 64th, and any that is published while none is timed. A record that
/// waits through a failover was timed from its beginning, like one that did not.
#[derive(Debug, Default)]
pub struct Acknowledgements {
    /// Since when, by ticket.
    waiting: BTreeMap<u64, Instant>,
    waits: Distribution,
}

impl Acknowledgements {
    /// A record is published.
    pub fn begin(&mut self, ticket: u64) {
        let chosen = self.waiting.is_empty() || ticket.is_multiple_of(STRIDE);
        if chosen && self.waiting.len() < MAX_TIMED {
            self.waiting.insert(ticket, Instant::now());
        }
    }

    /// These records have their outcome. Only acknowledgements count.
    pub fn end(&mut self, tickets: &Range<u64>, acknowledged: bool) {
        let now = Instant::now();
        while let Some((&ticket, &since)) = self.waiting.range(tickets.clone()).next() {
            self.waiting.remove(&ticket);
            if acknowledged {
                self.waits.record(now - since);
            }
        }
    }

    /// Percentiles since the last call.
    pub fn take(&mut self) -> Option<Percentiles> {
        self.waits.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lone_record_and_every_64th_are_timed_once() {
        let mut acknowledgements = Acknowledgements::default();
        acknowledgements.begin(7);
        acknowledgements.end(&(7..8), true);
        assert_eq!(acknowledgements.take().map(|waits| waits.count), Some(1));
        (8..8 + 10 * STRIDE).for_each(|ticket| acknowledgements.begin(ticket));
        // Out of order, as topics are acknowledged: the first record of the row, and the multiples.
        acknowledgements.end(&(100..8 + 10 * STRIDE), true);
        assert_eq!(acknowledgements.take().map(|waits| waits.count), Some(9));
        acknowledgements.end(&(8..100), true);
        assert_eq!(acknowledgements.take().map(|waits| waits.count), Some(2));
        assert_eq!(acknowledgements.take(), None);
        assert!(acknowledgements.waiting.is_empty());
    }

    #[test]
    fn what_failed_is_no_latency_and_what_waits_is_bounded() {
        let mut acknowledgements = Acknowledgements::default();
        let tickets = 0..2 * STRIDE * MAX_TIMED as u64;
        tickets.clone().for_each(|ticket| acknowledgements.begin(ticket));
        assert_eq!(acknowledgements.waiting.len(), MAX_TIMED);
        acknowledgements.end(&tickets, false);
        assert_eq!(acknowledgements.take(), None);
        assert!(acknowledgements.waiting.is_empty());
    }
}
