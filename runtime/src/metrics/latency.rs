//! How long batches waited, as percentiles of one interval.

use hdrhistogram::Histogram;
use std::time::Duration;
use steadfast_core::stats::Sample;

/// The longest wait that is told apart, in microseconds: a minute.
const LONGEST: u64 = 60_000_000;
/// Waits are exact to so many digits.
const DIGITS: u8 = 2;

/// Percentiles of a histogram, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Percentiles {
    /// How many waits were measured.
    pub count: u64,
    /// Half of them took at most this long.
    pub p50: u64,
    /// 95 of 100.
    pub p95: u64,
    /// 99 of 100.
    pub p99: u64,
    /// All of them.
    pub max: u64,
}

/// Waits of one kind in one interval.
#[derive(Debug)]
pub struct Distribution(Histogram<u64>);

impl Default for Distribution {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, LONGEST, DIGITS).expect("the bounds are in order"))
    }
}

impl Distribution {
    /// Adds a wait.
    pub fn record(&mut self, wait: Duration) {
        self.0.saturating_record(u64::try_from(wait.as_micros()).unwrap_or(u64::MAX));
    }

    /// Percentiles, where there was any wait, and begins anew.
    pub fn take(&mut self) -> Option<Percentiles> {
        let Self(histogram) = self;
        if histogram.is_empty() {
            return None;
        }
        let of = |quantile| histogram.value_at_quantile(quantile).min(histogram.max());
        let percentiles = Percentiles {
            count: histogram.len(),
            p50: of(0.5),
            p95: of(0.95),
            p99: of(0.99),
            max: histogram.max(),
        };
        histogram.reset();
        Some(percentiles)
    }
}

/// A broker's waits of one interval.
#[derive(Debug, Default)]
pub struct Latencies {
    commit: Distribution,
    delivery: Distribution,
}

impl Latencies {
    /// Adds a wait.
    pub fn record(&mut self, sample: Sample) {
        match sample {
            Sample::Commit(wait) => self.commit.record(wait),
            Sample::Delivery(wait) => self.delivery.record(wait),
        }
    }

    /// Percentiles from append to commit and from commit to the first delivery, and begins anew.
    pub fn take(&mut self) -> (Option<Percentiles>, Option<Percentiles>) {
        (self.commit.take(), self.delivery.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_one_interval() {
        let mut latencies = Latencies::default();
        for n in 1..=100 {
            latencies.record(Sample::Commit(Duration::from_micros(n * 100)));
        }
        latencies.record(Sample::Delivery(Duration::from_secs(3_600)));
        let (commit, delivery) = latencies.take();
        let Percentiles { count, p50, p95, p99, max } = commit.unwrap();
        assert_eq!(count, 100);
        let near = |value: u64, exact: u64| value.abs_diff(exact) * 100 <= exact;
        assert!(near(p50, 5_000) && near(p95, 9_500) && near(p99, 9_900) && near(max, 10_000));
        assert!(p50 <= p95 && p95 <= p99 && p99 <= max);
        assert!(near(delivery.unwrap().max, LONGEST), "a longer wait counts as the longest");
        assert_eq!(latencies.take(), (None, None));
    }
}
