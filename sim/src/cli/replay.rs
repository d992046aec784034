//! `replay`: a plan's timeline and verdict.

use super::{Verdict, report};
use serde_json::json;
use std::fs;
use std::path::PathBuf;
use steadfast_sim::plan::run;
use steadfast_sim::render::Renderer;

/// Runs one plan and prints its timeline.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The plan's file.
    plan: Option<PathBuf>,
    /// The plan that is made from this seed.
    #[arg(long, conflicts_with = "plan")]
    seed: Option<u64>,
    /// Print the plan and the verdict only.
    #[arg(long)]
    brief: bool,
    /// Write a space-time diagram of the run to this file, instead of printing the timeline.
    #[arg(long, value_name = "FILE", conflicts_with = "brief")]
    html: Option<PathBuf>,
}

/// Carries it out.
pub fn run(args: &Args, json: bool) -> Result<Verdict, String> {
    let plan = report::plan(args.plan.as_deref(), args.seed)?;
    let outcome = match &args.html {
        Some(file) => {
            let (outcome, diagram) = run::depict(&plan);
            let page = diagram.page(&plan, &outcome);
            fs::write(file, page).map_err(|error| format!("{}: {error}", file.display()))?;
            outcome
        }
        None if args.brief => run::run(&plan),
        None => run::render(&plan, Renderer::default()),
    };
    if json {
        let mut line = report::outcome(&outcome);
        line["plan"] = json!(plan.to_string());
        line["timeline"] = json!(outcome.lines);
        println!("{line}");
    } else {
        print!("{plan}");
        outcome.lines.iter().for_each(|line| println!("{line}"));
        match (&outcome.result, outcome.excuse) {
            (Err(failure), _) => println!("{failure}"),
            (Ok(()), Some(excuse)) => println!("every property held; liveness was excused: {excuse}"),
            (Ok(()), None) => println!("every property held, hash {:016x}", outcome.fingerprint),
        }
    }
    Ok(if outcome.result.is_ok() { Verdict::Good } else { Verdict::Bad })
}
