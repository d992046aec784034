//! `minimise`: the smallest plan that violates the same property.

use super::{Verdict, report};
use serde_json::json;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use steadfast_sim::plan::minimise::{minimise, size};
use steadfast_sim::plan::run;

/// Cuts a plan down to what it takes to violate the same property.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The plan's file.
    plan: Option<PathBuf>,
    /// The plan that is made from this seed.
    #[arg(long, conflicts_with = "plan")]
    seed: Option<u64>,
    /// How long it may take.
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    seconds: u64,
    /// Where to write the plan, instead of to standard output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Carries it out.
pub fn run(args: &Args, json: bool) -> Result<Verdict, String> {
    let plan = report::plan(args.plan.as_deref(), args.seed)?;
    let Err(failure) = run::run(&plan).result else {
        return Err("this plan violates nothing: there is nothing to minimise".to_owned());
    };
    let end = Instant::now() + Duration::from_secs(args.seconds);
    let mut runs = 0;
    let least = minimise(&plan, failure.violation.property, || {
        runs += 1;
        Instant::now() < end
    });
    let failure = run::run(&least)
        .result
        .err()
        .ok_or("the plan found does not fail again: a run is not deterministic")?;
    let (before, after) = (size(&plan).0, size(&least).0);
    if json {
        let failure = report::failure(&failure);
        println!(
            "{}",
            json!({"plan": least.to_string(), "violation": failure, "lines": [before, after], "runs": runs})
        );
    } else {
        eprintln!("{before} lines became {after} in {runs} runs");
        if args.out.is_none() {
            print!("{least}");
        }
        println!("# {failure}");
    }
    if let Some(file) = &args.out {
        report::keep(&least, &failure, file.clone())?;
    }
    Ok(Verdict::Good)
}
