//! The simulator examined: planted bugs, and how many seeds it takes to notice each.
//!
//! Seeds are run one after the other, and each one that shows the bug ends a trial: the numbers of seeds
//! between detections are what the median and the 95th percentile are taken of. A seed that fails without
//! the bug as well shows nothing, and is left out.

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
    /// Which bug; or which two, that make a difference only together.
    pub bugs: Vec<Bug>,
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
        percentile(&self.trials, share)
    }
}

/// The least of these numbers that is not exceeded by this share of them, in percent.
pub fn percentile<T: Ord + Copy>(numbers: &[T], share: usize) -> Option<T> {
    let mut numbers = numbers.to_vec();
    numbers.sort_unstable();
    let rank = (numbers.len() * share).div_ceil(100).max(1);
    numbers.get(rank - 1).copied()
}

/// Plants a bug, or two, and runs seeds until it was noticed often enough, there are no more, or `stop` says so.
pub fn examine(bugs: &[Bug], effort: Effort, stop: &(dyn Fn() -> bool + Sync)) -> Finding {
    let mut search = Search { effort, stop, next: AtomicU64::new(0), seen: Mutex::default() };
    // Which bug is planted holds for the whole process: seeds are proved innocent when all threads rest.
    loop {
        plant(bugs.iter().copied());
        search.look();
        plant(None);
        if !search.leave_out_innocent() || search.is_over() {
            return search.finding(bugs);
        }
    }
}

/// What has been seen of the seeds.
#[derive(Debug, Default)]
struct Seen {
    ran: BTreeSet<u64>,
    /// Those that failed, and what they violated.
    detected: BTreeMap<u64, &'static str>,
    /// Of these, those that do not fail without the bug.
    proved: BTreeSet<u64>,
}

struct Search<'a> {
    effort: Effort,
    stop: &'a (dyn Fn() -> bool + Sync),
    next: AtomicU64,
    seen: Mutex<Seen>,
}

impl Search<'_> {
    fn look(&self) {
        let enough = AtomicBool::new(false);
        let work = || {
            while !enough.load(Ordering::Relaxed) && !(self.stop)() {
                let number = self.next.fetch_add(1, Ordering::Relaxed);
                if number >= self.effort.seeds {
                    return;
                }
                let result = run(&generate(self.effort.from + number)).result;
                let mut seen = self.seen.lock().expect("no thread panics while it holds this");
                seen.ran.insert(number);
                if let Err(failure) = result {
                    seen.detected.insert(number, failure.violation.property);
                    enough.store(seen.detected.len() >= self.effort.detections, Ordering::Relaxed);
                }
            }
        };
        thread::scope(|scope| (0..self.effort.jobs.max(1)).for_each(|_| drop(scope.spawn(work))));
    }

    /// Leaves out the seeds that fail without the bug. Says whether there were any.
    fn leave_out_innocent(&mut self) -> bool {
        let seen = self.seen.get_mut().expect("no thread has panicked");
        let before = seen.detected.len();
        let (proved, from) = (&seen.proved, self.effort.from);
        let proves = |number: &u64| proved.contains(number) || run(&generate(from + number)).result.is_ok();
        seen.detected.retain(|number, _| proves(number));
        seen.proved = seen.detected.keys().copied().collect();
        seen.detected.len() < before
    }

    fn is_over(&self) -> bool {
        self.next.load(Ordering::Relaxed) >= self.effort.seeds || (self.stop)()
    }

    fn finding(self, bugs: &[Bug]) -> Finding {
        let seen = self.seen.into_inner().expect("no thread has panicked");
        finding(bugs, self.effort.from, &seen.ran, &seen.detected)
    }
}

fn finding(bugs: &[Bug], from: u64, ran: &BTreeSet<u64>, detected: &BTreeMap<u64, &'static str>) -> Finding {
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
    Finding { bugs: bugs.to_vec(), seeds, trials, properties, first }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trials_end_with_each_detection_and_holes_count_for_nothing() {
        let ran = (0..10).chain([12]).collect();
        let detected = [(2, "A"), (3, "B"), (9, "B"), (12, "A")].into();
        let finding = finding(&[Bug::NeverFrozen], 100, &ran, &detected);
        assert_eq!((finding.seeds, finding.first), (10, Some(102)));
        assert_eq!(finding.trials, [3, 1, 6]);
        assert_eq!(finding.properties, [("B", 2), ("A", 1)]);
        assert_eq!((finding.percentile(50), finding.percentile(95)), (Some(3), Some(6)));
    }

    #[test]
    fn what_was_never_noticed_has_no_figures() {
        let finding = finding(&[Bug::NeverFrozen], 0, &(0..5).collect(), &BTreeMap::new());
        assert_eq!((finding.property(), finding.percentile(50), finding.seeds), (None, None, 5));
    }
}
