//! `replay`: a plan's or a recording's timeline and verdict.

use super::{Verdict, report};
use serde_json::{Map, json};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use steadfast_core::recording::Decoder;
use steadfast_sim::plan::run;
use steadfast_sim::recording::{self, End, Outcome};
use steadfast_sim::render::Renderer;

/// Runs a plan, or what `steadfast broker --record FILE` has recorded, and prints its timeline.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The file of a plan or of a recording. A recording's older part FILE.1 comes first, where there is
    /// one.
    file: Option<PathBuf>,
    /// The plan that is made from this seed.
    #[arg(long, conflicts_with = "file")]
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
    if let Some(file) = &args.file {
        let bytes = read(file)?;
        if Decoder::recognises(&bytes) {
            return recorded(file, &bytes, args, json);
        }
    }
    let plan = report::plan(args.file.as_deref(), args.seed)?;
    let outcome = match &args.html {
        Some(file) => {
            let (outcome, diagram) = run::depict(&plan);
            write(file, &diagram.page(&plan, &outcome))?;
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

fn read(file: &Path) -> Result<Vec<u8>, String> {
    fs::read(file).map_err(|error| format!("{}: {error}", file.display()))
}

fn write(file: &Path, page: &str) -> Result<(), String> {
    fs::write(file, page).map_err(|error| format!("{}: {error}", file.display()))
}

/// The part of a recording before this one, if it is there and goes on here.
fn before(file: &Path, bytes: &[u8]) -> Option<(PathBuf, Vec<u8>)> {
    let mut name = OsString::from(file);
    name.push(".1");
    let older = PathBuf::from(name);
    let part = fs::read(&older).ok()?;
    recording::joins(&part, bytes).then_some((older, part))
}

fn recorded(file: &Path, bytes: &[u8], args: &Args, json: bool) -> Result<Verdict, String> {
    let before = before(file, bytes);
    let older = before.iter().map(|(file, part)| (file.as_path(), part.as_slice()));
    let (files, parts): (Vec<_>, Vec<_>) = older.chain([(file, bytes)]).unzip();
    let outcome =
        recording::replay(&parts).map_err(|(part, damage)| format!("{}: {damage}", files[part].display()))?;
    if let Some(file) = &args.html {
        write(file, &outcome.page())?;
    }
    let lines = if args.brief || args.html.is_some() { &[] } else { outcome.lines.as_slice() };
    if json {
        println!("{}", in_json(&outcome, lines));
    } else {
        lines.iter().for_each(|line| println!("{line}"));
        print!("{outcome}");
        match &outcome.result {
            Err(failure) => println!("{failure}"),
            Ok(()) => println!(
                "every property of one process held, and it has put out what was recorded, checksum {}",
                outcome.outputs
            ),
        }
    }
    Ok(if outcome.result.is_ok() { Verdict::Good } else { Verdict::Bad })
}

fn in_json(outcome: &Outcome, lines: &[String]) -> serde_json::Value {
    let coverage: Map<_, _> =
        outcome.coverage.iter().map(|(mark, count)| (mark.to_owned(), json!(count))).collect();
    let end = match outcome.end {
        End::Orderly => "orderly",
        End::Open => "open",
        End::Cut(_) => "cut",
        End::Hole => "hole",
    };
    json!({
        "broker": outcome.head.boot.node.as_str(),
        "version": outcome.head.version,
        "from_boot": outcome.head.booted,
        "first_input": outcome.first,
        "inputs": outcome.inputs,
        "milliseconds": outcome.times.map(|at| at / 1_000_000),
        "end": end,
        "violation": outcome.result.as_ref().err().map(report::failure),
        "outputs": outcome.outputs.to_string(),
        "coverage": coverage,
        "timeline": lines,
    })
}
