//! `minimise`: the smallest plan that violates the same property.

use super::interrupt::Interrupt;
use super::output::{Carried, Stop, Verdict, found, say, tell};
use super::report;
use serde_json::json;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use steadfast_sim::plan::minimise::{minimise, size};
use steadfast_sim::plan::run;

/// A year, in seconds: nobody waits for longer.
const LONGEST: u64 = 366 * 24 * 60 * 60;

/// Cuts a plan down to what it takes to violate the same property.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The plan's file.
    plan: Option<PathBuf>,
    /// The plan that is made from this seed.
    #[arg(long, conflicts_with = "plan")]
    seed: Option<u64>,
    /// How long it may take.
    #[arg(long, default_value_t = 60, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(..=LONGEST))]
    seconds: u64,
    /// Where to write the plan, instead of to standard output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Plant this bug before, or two as `A+B`.
    #[cfg(feature = "bugs")]
    #[arg(long, value_name = "BUG")]
    bug: Option<String>,
}

/// Carries it out.
pub fn run(args: &Args, json: bool) -> Carried {
    if let Some(file) = &args.out {
        report::may_write(file)?;
    }
    #[cfg(feature = "bugs")]
    if let Some(names) = &args.bug {
        steadfast_core::sabotage::plant(super::bugs::all_named(names)?);
    }
    let plan = report::plan(args.plan.as_deref(), args.seed)?;
    let Err(failure) = run::run(&plan).result else {
        return Err("this plan violates nothing: there is nothing to minimise".to_owned().into());
    };
    let interrupt = Interrupt::hear()?;
    let end = Instant::now() + Duration::from_secs(args.seconds);
    let mut runs = 0;
    let least = minimise(&plan, failure.violation.property, || {
        runs += 1;
        Instant::now() < end && !interrupt.has_come()
    });
    let failure = run::run(&least)
        .result
        .err()
        .ok_or_else(|| "the plan found does not fail again: a run is not deterministic".to_owned())?;
    let (before, after) = (size(&plan).0, size(&least).0);
    let kept = args.out.as_deref().map_or(Ok(()), |file| report::keep(&least, &failure, file));
    let plan = least.counted();
    let printed = if json {
        let failure = report::failure(&failure);
        say(json!({"plan": plan, "violation": failure, "lines": [before, after], "runs": runs}))
    } else {
        tell(format_args!("{before} lines became {after} in {runs} runs"));
        // What could not be kept in a file is not lost.
        let shown = if args.out.is_none() || kept.is_err() { plan.as_str() } else { "" };
        say(format_args!("{shown}# {}", failure.to_string().replace('\n', "\n# ")))
    };
    kept.map_err(Stop::Refused).and_then(|()| found(Verdict::Good, printed))
}
