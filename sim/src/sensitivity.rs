//! The simulator examined: planted bugs, and how many seeds it takes to notice each.
//!
//! Seeds are run one after the other, and each one that shows the bug ends a trial: the numbers of seeds
//! between detections are what the median and the 95th percentile are taken of.

use crate::plan::generate::generate;
use crate::plan::run::run;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use steadfast_core::sabotage::{Bug, plant};

/// How hard to look for a bug.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// The first seed.
    pub from: u64,
    /// Seeds at the most.
    pub seeds: u64,
    /// Enough detections.
    pub detections: usize,
    /// Threads.
    pub jobs: usize,
}

/// What looking for a bug has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which bug.
    pub bug: Bug,
    /// Seeds run without a hole, from the first one.
    pub seeds: u64,
    /// Seeds from one detection to the next, in order.
    pub trials: Vec<u64>,
    /// How often each property caught it, the most frequent first.
    pub properties: Vec<(&'static str, u64)>,
    /// The first seed that showed it.
    pub first: Option<u64>,
}

impl Finding {
    /// The property that caught it most often.
    pub fn property(&self) -> Option<&'static str> {
        self.properties.first().map(|(property, _)| *property)
    }

    /// So many seeds suffice in this share of the trials, in percent.
    pub fn percentile(&self, share: usize) -> Option<u64> {
        let mut trials = self.trials.clone();
        trials.sort_unstable();
        let rank = (trials.len() * share).div_ceil(100).max(1);
        trials.get(rank - 1).copied()
    }
}

/// Plants a bug and runs seeds until it was noticed often enough, or there are no more.
pub fn examine(bug: Bug, effort: Effort) -> Finding {
    plant(Some(bug));
    let (next, enough) = (AtomicU64::new(0), AtomicBool::new(false));
    let seen: Mutex<(BTreeSet<u64>, BTreeMap<u64, &'static str>)> = Mutex::default();
    let work = || {
        while !enough.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= effort.seeds {
                return;
            }
            let result = run(&generate(effort.from + number)).result;
            let mut seen = seen.lock().expect("no thread panics while it holds this");
            seen.0.insert(number);
            if let Err(failure) = result {
                seen.1.insert(number, failure.violation.property);
                enough.store(seen.1.len() >= effort.detections, Ordering::Relaxed);
            }
        }
    };
    thread::scope(|scope| (0..effort.jobs.max(1)).for_each(|_| drop(scope.spawn(work))));
    plant(None);
    let (ran, detected) = seen.into_inner().expect("no thread panics while it holds this");
    finding(bug, effort.from, &ran, &detected)
}

fn finding(bug: Bug, from: u64, ran: &BTreeSet<u64>, detected: &BTreeMap<u64, &'static str>) -> Finding {
    // Threads end at different seeds: only those without a hole before them count.
    let seeds = (0..).zip(ran).take_while(|(number, ran)| number == *ran).count() as u64;
    let mut properties: BTreeMap<&'static str, u64> = BTreeMap::new();
    let (mut trials, mut before) = (Vec::new(), 0);
    for (&number, &property) in detected.range(..seeds) {
        trials.push(number + 1 - before);
        before = number + 1;
        *properties.entry(property).or_default() += 1;
    }
    let mut properties: Vec<_> = properties.into_iter().collect();
    properties.sort_by_key(|(_, times)| std::cmp::Reverse(*times));
    let first = detected.range(..seeds).next().map(|(number, _)| from + number);
    Finding { bug, seeds, trials, properties, first }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trials_end_with_each_detection_and_holes_count_for_nothing() {
        let ran = (0..10).chain([12]).collect();
        let detected = [(2, "A"), (3, "B"), (9, "B"), (12, "A")].into();
        let finding = finding(Bug::NeverFrozen, 100, &ran, &detected);
        assert_eq!((finding.seeds, finding.first), (10, Some(102)));
        assert_eq!(finding.trials, [3, 1, 6]);
        assert_eq!(finding.properties, [("B", 2), ("A", 1)]);
        assert_eq!((finding.percentile(50), finding.percentile(95)), (Some(3), Some(6)));
    }

    #[test]
    fn what_was_never_noticed_has_no_figures() {
        let finding = finding(Bug::NeverFrozen, 0, &(0..5).collect(), &BTreeMap::new());
        assert_eq!((finding.property(), finding.percentile(50), finding.seeds), (None, None, 5));
    }
}
