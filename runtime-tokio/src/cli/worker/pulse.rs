//! What a worker measures while records come: counts, silences, latencies.

use super::report::{Latency, Progress, Silence};
use hdrhistogram::Histogram;
use std::time::Duration;

/// Latencies of the first second are left out of the whole: connections are made in it.
const WARM_UP: Duration = Duration::from_secs(1);
/// One minute, in microseconds: longer latencies count as this long.
const LONGEST_US: u64 = 60_000_000;

/// Points of the curve each time that what is left halves.
const TICKS: u32 = 5;

/// Counts, silences and latencies.
#[derive(Debug)]
pub struct Pulse {
    count: u64,
    first: Option<u64>,
    last: u64,
    silence: Option<Silence>,
    recent: Histogram<u64>,
    whole: Histogram<u64>,
}

impl Pulse {
    /// Nothing has come yet, and it is this late.
    pub fn new(now: u64) -> Self {
        let histogram = Histogram::new_with_bounds(1, LONGEST_US, 3).expect("the bounds are right");
        Self { count: 0, first: None, last: now, silence: None, recent: histogram.clone(), whole: histogram }
    }

    /// Records have come. Before the first one it was not silence, but a beginning.
    pub fn beat(&mut self, now: u64, records: u64) {
        match self.first {
            None => self.first = Some(now),
            Some(_) => self.note_silence(now),
        }
        self.last = now;
        self.count += records;
    }

    /// One of them took this long.
    pub fn latency(&mut self, now: u64, sent_at: u64) {
        let micros = now.saturating_sub(sent_at) / 1_000;
        self.recent.saturating_record(micros);
        if self.first.is_some_and(|first| now - first >= WARM_UP.as_nanos() as u64) {
            self.whole.saturating_record(micros);
        }
    }

    /// What has happened since the last call.
    pub fn report(&mut self, now: u64) -> Progress {
        if self.first.is_some() {
            self.note_silence(now);
        }
        let latency = summary(&self.recent);
        self.recent.reset();
        Progress { count: self.count, silence: self.silence.take(), latency }
    }

    /// From the first record to the last.
    pub fn seconds(&self) -> f64 {
        self.first.map_or(0.0, |first| self.last.saturating_sub(first) as f64 / 1e9)
    }

    /// Latency of the whole, without the warm-up.
    pub fn whole_latency(&self) -> Option<Latency> {
        summary(&self.whole)
    }

    /// The same as a curve, without the longest.
    pub fn percentiles(&self) -> Vec<(f64, u64)> {
        let curve = self.whole.iter_quantiles(TICKS).map(|step| (step.quantile(), step.value_iterated_to()));
        curve.filter(|(quantile, _)| *quantile < 1.0).map(|(quantile, us)| (quantile * 100.0, us)).collect()
    }

    fn note_silence(&mut self, now: u64) {
        let silence = Silence { from: self.last, until: now };
        if self.silence.is_none_or(|longest| silence.length() > longest.length()) {
            self.silence = Some(silence);
        }
    }
}

fn summary(histogram: &Histogram<u64>) -> Option<Latency> {
    (!histogram.is_empty()).then(|| Latency {
        p50_us: histogram.value_at_quantile(0.5),
        p90_us: histogram.value_at_quantile(0.9),
        p99_us: histogram.value_at_quantile(0.99),
        p999_us: histogram.value_at_quantile(0.999),
        max_us: histogram.max(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn the_longest_silence_is_reported_once() {
        let mut pulse = Pulse::new(0);
        assert_eq!(pulse.report(50 * MS).silence, None, "nothing has begun");
        for at in [100, 101, 140, 141] {
            pulse.beat(at * MS, 1);
        }
        let longest = Silence { from: 101 * MS, until: 140 * MS };
        assert_eq!(pulse.report(142 * MS), Progress { count: 4, silence: Some(longest), latency: None });
        let running = Silence { from: 141 * MS, until: 200 * MS };
        assert_eq!(pulse.report(200 * MS).silence, Some(running), "a silence that goes on counts");
        pulse.beat(300 * MS, 1);
        let whole = Silence { from: 141 * MS, until: 300 * MS };
        assert_eq!(pulse.report(301 * MS).silence, Some(whole));
        assert_eq!(pulse.seconds(), 0.2);
    }

    #[test]
    fn latencies_are_summed_up() {
        let mut pulse = Pulse::new(0);
        pulse.beat(1, 1);
        let later = 1 + WARM_UP.as_nanos() as u64;
        (1..=100).for_each(|n| pulse.latency(later, later - n * 1_000));
        pulse.latency(later - 1, later - 1 - MS);
        let latency = pulse.report(later).latency.unwrap();
        assert_eq!((latency.p50_us, latency.max_us), (51, 1_000));
        assert_eq!(pulse.report(later).latency, None);
        assert_eq!(pulse.whole_latency().unwrap().max_us, 100, "without the warm-up");
        let curve = pulse.percentiles();
        assert!(curve.is_sorted() && curve.iter().all(|&(percent, us)| percent < 100.0 && us <= 100));
        assert!(curve.iter().any(|&(percent, us)| percent >= 90.0 && us >= 90), "{curve:?}");
    }
}
