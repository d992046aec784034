//! `coverage`: how often everything that can happen has happened, and what has struck whom.

use super::interrupt::Interrupt;
use super::output::{Carried, Stop, Verdict, found, say, say_all};
use super::progress::Progress;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;
use steadfast_sim::coverage::{Coverage, UNREACHABLE, marks, unreachable};
use steadfast_sim::matrix::{Cell, Role, troubles};
use steadfast_sim::plan::generate::generate;
use steadfast_sim::plan::run;

/// Between two looks at whether all is done.
const GLANCE: Duration = Duration::from_millis(50);

/// Runs many seeds and counts which transitions they come to, and which trouble strikes whom. Fails
/// where something that can happen has not.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many seeds.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0, value_name = "SEED")]
    from: u64,
    /// How many at a time; as many as there are cores, if not given.
    #[arg(long)]
    jobs: Option<NonZero<usize>>,
}

/// What the runs came to.
#[derive(Default)]
struct Tally {
    seeds: u64,
    failed: u64,
    marks: Coverage,
    cells: BTreeMap<Cell, u64>,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.seeds += other.seeds;
        self.failed += other.failed;
        self.marks.add(&other.marks);
        for (cell, count) in other.cells {
            *self.cells.entry(cell).or_default() += count;
        }
    }
}

/// What should have happened and has not, and the other way round.
struct Gaps {
    marks: Vec<String>,
    cells: Vec<Cell>,
    /// Held for unreachable, or not listed at all, and reached.
    surprises: Vec<String>,
}

impl Gaps {
    fn of(tally: &Tally) -> Self {
        let all = marks();
        let missing = all.iter().filter(|mark| count(tally, mark) == 0 && unreachable(mark).is_none());
        let missing_cells =
            Cell::all().filter(|cell| !tally.cells.contains_key(cell) && cell.unreachable().is_none());
        let reached = tally.marks.iter().map(|(mark, _)| mark.to_owned());
        let odd = reached.filter(|mark| unreachable(mark).is_some() || !all.contains(mark));
        let odd_cells = tally.cells.keys().filter(|cell| cell.unreachable().is_some());
        Self {
            marks: missing.cloned().collect(),
            cells: missing_cells.collect(),
            surprises: odd.chain(odd_cells.map(Cell::to_string)).collect(),
        }
    }

    const fn is_none(&self) -> bool {
        self.marks.is_empty() && self.cells.is_empty() && self.surprises.is_empty()
    }
}

fn count(tally: &Tally, mark: &str) -> u64 {
    tally.marks.iter().find(|(name, _)| *name == mark).map_or(0, |(_, count)| count)
}

/// Carries it out.
pub fn run(args: &Args, json: bool) -> Carried {
    let interrupt = Interrupt::hear()?;
    let tally = sweep(args, &interrupt);
    let gaps = Gaps::of(&tally);
    let verdict = match tally.failed {
        0 if gaps.is_none() => Verdict::Good,
        0 if tally.seeds < args.seeds && gaps.surprises.is_empty() => Verdict::Unfinished,
        _ => Verdict::Bad,
    };
    found(verdict, if json { say(in_json(&tally, &gaps)) } else { print(&tally, &gaps) })
}

/// Runs the seeds on several threads.
fn sweep(args: &Args, interrupt: &Interrupt) -> Tally {
    let jobs = args.jobs.or_else(|| thread::available_parallelism().ok()).map_or(1, NonZero::get);
    let (next, ended) = (AtomicU64::new(0), AtomicU64::new(0));
    let work = || {
        let mut tally = Tally::default();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= args.seeds || interrupt.has_come() {
                return tally;
            }
            let outcome = run::run(&generate(args.from.wrapping_add(number)));
            let (seeds, failed) = (1, u64::from(outcome.result.is_err()));
            ended.fetch_add(1, Ordering::Relaxed);
            tally.add(Tally { seeds, failed, marks: outcome.coverage, cells: outcome.strikes });
        }
    };
    let mut total = Tally::default();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(work)).collect();
        let mut progress = Progress::begin();
        while !workers.iter().all(|worker| worker.is_finished()) {
            thread::sleep(GLANCE);
            progress.show(|| format!("{} of {} seeds", ended.load(Ordering::Relaxed), args.seeds));
        }
        for worker in workers {
            total.add(worker.join().expect("a panic of a run is caught, and is its result"));
        }
    });
    total
}

fn print(tally: &Tally, gaps: &Gaps) -> Result<(), Stop> {
    let mut counts: Vec<_> = marks().into_iter().map(|mark| (count(tally, &mark), mark)).collect();
    counts.sort_unstable();
    for (count, mark) in counts {
        match unreachable(&mark) {
            Some(reason) if count == 0 => say(format_args!("{:>10} {mark}: {reason}", "–"))?,
            _ => say(format_args!("{count:>10} {mark}"))?,
        }
    }
    print_matrix(tally)?;
    say_all(gaps.marks.iter().map(|mark| format!("never reached: {mark}")))?;
    say_all(gaps.cells.iter().map(|cell| format!("never struck: {cell}")))?;
    say_all(gaps.surprises.iter().map(|what| format!("reached, and held for unreachable: {what}")))?;
    let Gaps { marks, cells, surprises } = gaps;
    say(format_args!(
        "{} seeds, {} failed; {} marks and {} cells are empty, {} should be",
        tally.seeds,
        tally.failed,
        marks.len(),
        cells.len(),
        surprises.len()
    ))
}

/// A line for each trouble, a column for each role: connected, suspended, none.
fn print_matrix(tally: &Tally) -> Result<(), Stop> {
    let heads: String = Role::ALL.iter().map(|role| format!("{:>20}", role.name())).collect();
    say(format_args!("\n{:<26}{heads}", "connected/suspended/none"))?;
    for trouble in troubles() {
        let mut line = format!("{trouble:<26}");
        for role in Role::ALL {
            let cells = Cell::all().filter(|cell| cell.trouble == trouble && cell.role == *role);
            let counts: Vec<_> = cells
                .map(|cell| match (tally.cells.get(&cell), cell.unreachable()) {
                    (None, Some(_)) => "–".to_owned(),
                    (count, _) => count.copied().unwrap_or(0).to_string(),
                })
                .collect();
            line += &format!("{:>20}", counts.join("/"));
        }
        say(line)?;
    }
    say("")
}

fn in_json(tally: &Tally, gaps: &Gaps) -> Value {
    let marks: Map<_, _> =
        marks().into_iter().map(|mark| (mark.clone(), json!(count(tally, &mark)))).collect();
    let cells = Cell::all().map(|cell| {
        let count = tally.cells.get(&cell).copied().unwrap_or(0);
        json!({
            "fault": cell.trouble, "role": cell.role.name(), "session": cell.session.name(),
            "count": count, "unreachable": cell.unreachable(),
        })
    });
    let unreachable: Map<_, _> =
        UNREACHABLE.iter().map(|(mark, reason)| ((*mark).to_owned(), json!(reason))).collect();
    json!({
        "seeds": tally.seeds, "failed": tally.failed, "marks": marks, "unreachable": unreachable,
        "matrix": cells.collect::<Vec<_>>(),
        "empty_marks": gaps.marks,
        "empty_cells": gaps.cells.iter().map(Cell::to_string).collect::<Vec<_>>(),
        "surprises": gaps.surprises,
    })
}
