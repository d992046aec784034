//! `bugs`: the simulator examined. Each planted bug, and how many seeds it takes to notice it.

use super::interrupt::Interrupt;
use super::output::{Carried, Stop, Verdict, found, say, tell};
use serde_json::{Value, json};
use std::num::NonZero;
use std::thread;
use std::time::{Duration, Instant};
use steadfast_core::sabotage::{Bug, plant};
use steadfast_sim::plan::generate::generate;
use steadfast_sim::plan::minimise::{minimise, nodes, size};
use steadfast_sim::plan::run as runner;
use steadfast_sim::sensitivity::{Effort, Finding, examine, percentile};

/// How long cutting a plan down may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Plants one bug after the other and counts the seeds that it takes to notice it. Of two rules that stand for
/// each other the bugs are planted together: those are rows of their own, `A+B`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only these, by name, or `A+B` for both at a time; all, if none is given.
    bugs: Vec<String>,
    /// At most so many seeds for each.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0, value_name = "SEED")]
    from: u64,
    /// So many detections are enough.
    #[arg(long, default_value = "20", value_name = "COUNT")]
    detections: NonZero<usize>,
    /// How many at a time; as many as there are cores, if not given.
    #[arg(long)]
    jobs: Option<NonZero<usize>>,
    /// Also cuts the first plan that showed each bug down, and says how small it became.
    #[arg(long)]
    minimise: bool,
}

/// What became of the first plan that has shown a bug.
#[derive(Clone, Copy, Debug)]
struct Least {
    lines: usize,
    nodes: usize,
    time: Duration,
}

/// Carries it out. A bug that was not noticed is a failure: of the simulator.
pub fn run(args: &Args, json: bool) -> Carried {
    let chosen: Vec<Vec<Bug>> = match args.bugs.is_empty() {
        true => all(),
        false => args.bugs.iter().map(|names| all_named(names)).collect::<Result<_, _>>()?,
    };
    let jobs = args.jobs.or_else(|| thread::available_parallelism().ok()).map_or(1, NonZero::get);
    let Args { from, seeds, detections, .. } = *args;
    let detections = detections.get();
    // In JSON there is one result, at the end: until then the table is progress.
    let row_of = |text: String| {
        if json {
            tell(text);
            return Ok(());
        }
        say(text)
    };
    row_of(format!("{:<44} {:<10} {:>6} {:>7} {:>6}  caught by", "bug", "rule", "seeds", "median", "p95"))?;
    let mut rows = Vec::new();
    let interrupt = Interrupt::hear()?;
    for bugs in &chosen {
        let begin = Instant::now();
        let finding = examine(bugs, Effort { from, seeds, detections, jobs }, &|| interrupt.has_come());
        if interrupt.has_come() {
            // Half a search says nothing of a bug.
            break;
        }
        let took = begin.elapsed();
        let minimise = |seed| cut_down(bugs, seed, &interrupt);
        let least = finding.first.filter(|_| args.minimise).and_then(minimise);
        let words = least.map_or_else(String::new, words);
        row_of(format!("{}  ({:.0} s){words}", row(&finding), took.as_secs_f64()))?;
        rows.push((finding, least));
    }
    let missed = rows.iter().filter(|(finding, _)| finding.trials.is_empty()).count();
    let verdict = match missed {
        0 if rows.len() < chosen.len() => Verdict::Unfinished,
        0 => Verdict::Good,
        _ => Verdict::Bad,
    };
    if json {
        let bugs: Vec<Value> = rows.iter().map(|(finding, least)| entry(finding, *least)).collect();
        return found(verdict, say(json!({ "bugs": bugs })));
    }
    found(verdict, sum_up(&rows, missed))
}

/// Prints what all bugs together have come to.
fn sum_up(rows: &[(Finding, Option<Least>)], missed: usize) -> Result<(), Stop> {
    say(format_args!("{} of {} bugs were noticed", rows.len() - missed, rows.len()))?;
    let leasts: Vec<Least> = rows.iter().filter_map(|(_, least)| *least).collect();
    let middle = median(&leasts);
    middle.map_or(Ok(()), |middle| {
        say(format_args!("the first plans that showed them, in the median:{}", words(middle)))
    })
}

/// Each bug that breaks a rule, with the one that stands for the same.
pub(super) fn all() -> Vec<Vec<Bug>> {
    let breaks = Bug::ALL.iter().filter(|bug| !bug.rule().is_empty());
    breaks.map(|bug| [*bug].into_iter().chain(bug.stands_twice_with()).collect()).collect()
}

/// The bugs with these names.
pub(super) fn all_named(names: &str) -> Result<Vec<Bug>, String> {
    let bugs: Result<Vec<_>, _> = names.split('+').map(named).collect();
    bugs.and_then(|bugs| match bugs.len() {
        1 | 2 => Ok(bugs),
        _ => Err(format!("{names:?} are too many at a time: plant one bug, or two as A+B")),
    })
}

/// Cuts the plan of a seed down to what it takes to show the bugs.
fn cut_down(bugs: &[Bug], seed: u64, interrupt: &Interrupt) -> Option<Least> {
    plant(bugs.iter().copied());
    let begin = Instant::now();
    let plan = generate(seed);
    let goes_on = || begin.elapsed() < PATIENCE && !interrupt.has_come();
    let failure = runner::run(&plan).result.err();
    let least = failure.map(|failure| minimise(&plan, failure.violation.property, goes_on));
    plant(None);
    least.map(|plan| Least { lines: size(&plan).0, nodes: nodes(&plan), time: begin.elapsed() })
}

/// Each figure's median.
fn median(leasts: &[Least]) -> Option<Least> {
    let middle = |figure: fn(&Least) -> usize| percentile(&leasts.iter().map(figure).collect::<Vec<_>>(), 50);
    let time = percentile(&leasts.iter().map(|least| least.time).collect::<Vec<_>>(), 50)?;
    Some(Least { lines: middle(|least| least.lines)?, nodes: middle(|least| least.nodes)?, time })
}

fn words(Least { lines, nodes, time }: Least) -> String {
    format!("  {lines} lines, {nodes} nodes, {:.1} s", time.as_secs_f64())
}

/// The names of what is planted together.
pub(super) fn name(bugs: &[Bug]) -> String {
    let names: Vec<_> = bugs.iter().map(|bug| bug.name()).collect();
    names.join("+")
}

fn row(finding: &Finding) -> String {
    let figure = |share| finding.percentile(share).map_or_else(|| "–".to_owned(), |seeds| seeds.to_string());
    let properties = finding.properties.iter().map(|(property, times)| format!("{property} {times}"));
    format!(
        "{:<44} {:<10} {:>6} {:>7} {:>6}  {}",
        name(&finding.bugs),
        finding.bugs[0].rule(),
        finding.seeds,
        figure(50),
        figure(95),
        properties.collect::<Vec<_>>().join(", ")
    )
}

fn entry(finding: &Finding, least: Option<Least>) -> Value {
    let mut entry = json!({
        "name": name(&finding.bugs),
        "rule": finding.bugs[0].rule(),
        "detected": !finding.trials.is_empty(),
        "property": finding.property(),
        "median": finding.percentile(50),
        "p95": finding.percentile(95),
        "seeds": finding.seeds,
        "first": finding.first,
    });
    if let Some(Least { lines, nodes, time }) = least {
        entry["minimised"] = json!({"lines": lines, "nodes": nodes, "seconds": time.as_secs_f64()});
    }
    entry
}

/// The bug of this name.
fn named(name: &str) -> Result<Bug, String> {
    let bug = Bug::ALL.iter().copied().find(|bug| bug.name() == name);
    bug.ok_or_else(|| {
        format!("there is no bug {name:?}: the names are those of the table that `bugs` prints")
    })
}
