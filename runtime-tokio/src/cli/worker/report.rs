//! What workers tell the process that started them: one JSON object a line. Times are nanoseconds on
//! the machine's monotonic clock, which all processes of one machine share.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

/// One line.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(tag = "report", rename_all = "snake_case")]
pub enum Report {
    /// A primary serves this worker.
    Connected {
        /// Which broker.
        node: String,
        /// In which epoch.
        epoch: u64,
    },
    /// The primary is lost.
    Disconnected,
    /// A regular sign of life.
    Progress(Progress),
    /// A regular sign of life of many clients.
    Tally(Tally),
    /// The last line of a publisher.
    Published(Published),
    /// The last line of a subscriber.
    Received(Received),
}

/// What has happened since the last report.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct Progress {
    /// Records acknowledged or delivered, or clients connected, since the worker began.
    pub count: u64,
    /// The longest time without any that ended, or goes on, since the last report.
    pub silence: Option<Silence>,
    /// Since the last report.
    pub latency: Option<Latency>,
}

/// A time in which nothing was acknowledged or delivered.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Silence {
    /// When it began.
    pub from: u64,
    /// When it ended, or when it was reported.
    pub until: u64,
}

impl Silence {
    /// How long it was.
    pub const fn length(&self) -> Duration {
        Duration::from_nanos(self.until.saturating_sub(self.from))
    }

    /// Whether any of it lies between these times.
    pub const fn overlaps(&self, from: u64, until: u64) -> bool {
        self.until > from && self.from < until
    }
}

/// What many clients of one kind have done together.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct Tally {
    /// Records acknowledged or delivered.
    pub total: u64,
    /// Those that were delivered to the subscriber with the fewest.
    pub least: u64,
    /// Records that are not acknowledged, or came again or out of order, and gaps.
    pub faults: u64,
    /// Publishers have stopped, and everything has its outcome.
    pub is_last: bool,
}

/// A distribution of delays, in microseconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Latency {
    /// Half are below.
    pub p50_us: u64,
    /// 90 % are below.
    pub p90_us: u64,
    /// 99 % are below.
    pub p99_us: u64,
    /// 99.9 % are below.
    pub p999_us: u64,
    /// The longest.
    pub max_us: u64,
}

/// What a publisher has done.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct Published {
    /// The records that were acknowledged.
    pub acknowledged: NumberSet,
    /// How many were not.
    pub failed: u64,
    /// From the first record sent to the last acknowledgement.
    pub seconds: f64,
}

/// What a subscriber has seen.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct Received {
    /// The records that were delivered.
    pub delivered: NumberSet,
    /// Records delivered again.
    pub duplicated: u64,
    /// Records delivered after a later one.
    pub out_of_order: u64,
    /// Records whose payload is not what was published.
    pub corrupt: u64,
    /// Times the cluster said that something is missing.
    pub reported_missing: u64,
    /// From the first delivery to the last.
    pub seconds: f64,
    /// Over the whole run, without its first second.
    pub latency: Option<Latency>,
    /// The same as a curve: percentiles, and the microseconds that so many are within.
    pub percentiles: Vec<(f64, u64)>,
}

/// A set of record numbers, kept as ranges: whole runs are one range.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(from = "Vec<(u64, u64)>", into = "Vec<(u64, u64)>")]
pub struct NumberSet(BTreeMap<u64, u64>);

impl From<Vec<(u64, u64)>> for NumberSet {
    fn from(ranges: Vec<(u64, u64)>) -> Self {
        Self(ranges.into_iter().collect())
    }
}

impl From<NumberSet> for Vec<(u64, u64)> {
    fn from(set: NumberSet) -> Self {
        set.0.into_iter().collect()
    }
}

impl NumberSet {
    /// Adds a number. Returns whether it is new.
    pub fn insert(&mut self, number: u64) -> bool {
        // As a rule the number follows the largest.
        if let Some(mut last) = self.0.last_entry()
            && *last.get() == number
        {
            *last.get_mut() += 1;
            return true;
        }
        let before = self.0.range(..=number).next_back().map(|(&start, &end)| (start, end));
        if before.is_some_and(|(_, end)| number < end) {
            return false;
        }
        let end = self.0.remove(&(number + 1)).unwrap_or(number + 1);
        match before {
            Some((start, last)) if last == number => self.0.insert(start, end),
            _ => self.0.insert(number, end),
        };
        true
    }

    /// The number after the largest.
    pub fn end(&self) -> u64 {
        self.0.last_key_value().map_or(0, |(_, &end)| end)
    }

    /// How many numbers there are.
    pub fn len(&self) -> u64 {
        self.ranges().map(|range| range.end - range.start).sum()
    }

    /// How many of these numbers are not in the other set.
    pub fn missing_in(&self, other: &Self) -> u64 {
        self.len() - self.ranges().map(|range| other.count_within(&range)).sum::<u64>()
    }

    fn count_within(&self, range: &Range<u64>) -> u64 {
        let overlap = |own: Range<u64>| own.end.min(range.end).saturating_sub(own.start.max(range.start));
        self.ranges().map(overlap).sum()
    }

    fn ranges(&self) -> impl Iterator<Item = Range<u64>> {
        self.0.iter().map(|(&start, &end)| start..end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(numbers: &[u64]) -> NumberSet {
        let mut set = NumberSet::default();
        numbers.iter().for_each(|&number| assert!(set.insert(number)));
        set
    }

    #[test]
    fn numbers_melt_into_ranges() {
        let mut numbers = set(&[5, 1, 2, 0, 4]);
        assert_eq!(numbers.ranges().collect::<Vec<_>>(), [0..3, 4..6]);
        assert!(!numbers.insert(5));
        assert!(numbers.insert(3));
        assert_eq!(numbers.ranges().map(|range| (range.start, range.end)).collect::<Vec<_>>(), [(0, 6)]);
        assert_eq!((numbers.len(), numbers.end()), (6, 6));
    }

    #[test]
    fn what_is_missing_is_counted() {
        let acknowledged = set(&[0, 1, 2, 3, 7, 8]);
        assert_eq!(acknowledged.missing_in(&set(&[0, 1, 3, 7, 9])), 2);
        assert_eq!(acknowledged.missing_in(&NumberSet::default()), 6);
        assert_eq!(acknowledged.missing_in(&acknowledged), 0);
        assert_eq!(NumberSet::default().missing_in(&acknowledged), 0);
    }

    #[test]
    fn reports_survive_their_text() {
        let report = Report::Published(Published { acknowledged: set(&[3, 4]), failed: 1, seconds: 0.5 });
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
    }

    #[test]
    fn silences_overlap_half_open_intervals() {
        let silence = Silence { from: 10, until: 20 };
        assert!(silence.overlaps(19, 30) && silence.overlaps(0, 11) && silence.overlaps(12, 13));
        assert!(!silence.overlaps(20, 30) && !silence.overlaps(0, 10));
        assert_eq!(silence.length(), Duration::from_nanos(10));
    }
}
