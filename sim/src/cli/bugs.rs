//! `bugs`: the simulator examined. Each planted bug, and how many seeds it takes to notice it.

use super::Verdict;
use serde_json::{Value, json};
use std::num::NonZero;
use std::thread;
use std::time::Instant;
use steadfast_core::sabotage::Bug;
use steadfast_sim::sensitivity::{Effort, Finding, examine};

/// Plants one bug after the other and counts the seeds that it takes to notice it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only these, by name; all, if none is given.
    bugs: Vec<String>,
    /// At most so many seeds for each.
    #[arg(long, default_value_t = 20_000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0, value_name = "SEED")]
    from: u64,
    /// So many detections are enough.
    #[arg(long, default_value_t = 20, value_name = "COUNT")]
    detections: usize,
    /// How many at a time; as many as there are cores, if not given.
    #[arg(long)]
    jobs: Option<NonZero<usize>>,
}

/// Carries it out. A bug that was not noticed is a failure: of the simulator.
pub fn run(args: &Args, json: bool) -> Result<Verdict, String> {
    let chosen = match args.bugs.is_empty() {
        true => Bug::ALL.to_vec(),
        false => args.bugs.iter().map(|name| named(name)).collect::<Result<_, _>>()?,
    };
    let jobs = args.jobs.or_else(|| thread::available_parallelism().ok()).map_or(1, NonZero::get);
    let Args { from, seeds, detections, .. } = *args;
    println!("{:<28} {:<10} {:>8} {:>8} {:>8}  caught by", "bug", "rule", "seeds", "median", "p95");
    let mut findings = Vec::new();
    for bug in chosen {
        let begin = Instant::now();
        let finding = examine(bug, Effort { from, seeds, detections, jobs });
        println!("{}  ({:.0} s)", row(&finding), begin.elapsed().as_secs_f64());
        findings.push(finding);
    }
    let missed = findings.iter().filter(|finding| finding.trials.is_empty()).count();
    println!("{} of {} bugs were noticed", findings.len() - missed, findings.len());
    if json {
        let bugs: Vec<Value> = findings.iter().map(entry).collect();
        println!("{}", json!({ "bugs": bugs }));
    }
    Ok(if missed == 0 { Verdict::Good } else { Verdict::Bad })
}

fn row(finding: &Finding) -> String {
    let figure = |share| finding.percentile(share).map_or_else(|| "–".to_owned(), |seeds| seeds.to_string());
    let properties = finding.properties.iter().map(|(property, times)| format!("{property} {times}"));
    format!(
        "{:<28} {:<10} {:>8} {:>8} {:>8}  {}",
        finding.bug.name(),
        finding.bug.rule(),
        finding.seeds,
        figure(50),
        figure(95),
        properties.collect::<Vec<_>>().join(", ")
    )
}

fn entry(finding: &Finding) -> Value {
    json!({
        "name": finding.bug.name(),
        "rule": finding.bug.rule(),
        "detected": !finding.trials.is_empty(),
        "property": finding.property(),
        "median": finding.percentile(50),
        "p95": finding.percentile(95),
        "seeds": finding.seeds,
        "first": finding.first,
    })
}

/// The bug of this name.
pub(super) fn named(name: &str) -> Result<Bug, String> {
    let bug = Bug::ALL.iter().copied().find(|bug| bug.name() == name);
    bug.ok_or_else(|| {
        format!("there is no bug {name:?}: the names are those of the table that `bugs` prints")
    })
}
