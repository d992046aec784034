//! `replay`: a plan's or a recording's timeline and verdict.

use super::output::{Carried, Stop, Verdict, found, say, say_all, tell};
use super::progress::beside;
use super::report::{self, read};
use serde_json::{Map, json};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use steadfast_core::recording::Decoder;
use steadfast_sim::diagram::MOST;
use steadfast_sim::plan::{Plan, run};
use steadfast_sim::recording::{self, End, Outcome};
use steadfast_sim::render::Renderer;

/// From so many records on a plan is called long,
const MANY_RECORDS: u64 = 50_000;
/// or from so many simulated seconds on.
const LONG: u64 = 300;

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
    /// Plant this bug before, or two as `A+B`.
    #[cfg(feature = "bugs")]
    #[arg(long, value_name = "BUG")]
    bug: Option<String>,
}

/// Carries it out.
pub fn run(args: &Args, json: bool) -> Carried {
    if let Some(file) = &args.html {
        report::may_write(file)?;
    }
    #[cfg(feature = "bugs")]
    if let Some(names) = &args.bug {
        steadfast_core::sabotage::plant(super::bugs::all_named(names)?);
    }
    let plan = match &args.file {
        Some(file) => {
            let bytes = read(file)?;
            if Decoder::recognises(&bytes) {
                return recorded(file, &bytes, args, json);
            }
            report::plan_in(file, &bytes)?
        }
        None => report::plan(None, args.seed)?,
    };
    foresee(&plan, args.html.is_some());
    let outcome = match &args.html {
        Some(file) => {
            let (outcome, diagram) = beside("running", || run::depict(&plan));
            write(file, &diagram.page(&plan, &outcome))?;
            outcome
        }
        None if args.brief => beside("running", || run::run(&plan)),
        None => beside("running", || run::render(&plan, Renderer::default())),
    };
    let verdict = if outcome.result.is_ok() { Verdict::Good } else { Verdict::Bad };
    found(verdict, show(&plan, &outcome, json))
}

/// Says beforehand how long a long plan takes, and what a diagram of it does not show.
fn foresee(plan: &Plan, html: bool) {
    let (records, seconds) = (plan.records(), plan.knobs.duration.as_secs());
    if records < MANY_RECORDS && seconds < LONG {
        return;
    }
    tell(format_args!("{records} records in {seconds} simulated seconds: this takes a while"));
    if html {
        tell(format_args!(
            "the diagram shows the latest {MOST} messages and marks of each sort, and no more"
        ));
    }
}

/// Prints what has come of a plan.
fn show(plan: &Plan, outcome: &run::Outcome, json: bool) -> Result<(), Stop> {
    if json {
        let mut line = report::outcome(outcome);
        line["plan"] = json!(plan.counted());
        line["timeline"] = json!(outcome.lines);
        return say(line);
    }
    say_all(plan.lines())?;
    say_all(&outcome.lines)?;
    match (&outcome.result, outcome.excuse) {
        (Err(failure), _) => say(failure),
        (Ok(()), Some(excuse)) => say(format_args!("every property held; liveness was excused: {excuse}")),
        (Ok(()), None) => say(format_args!("every property held, hash {:016x}", outcome.fingerprint)),
    }
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

fn recorded(file: &Path, bytes: &[u8], args: &Args, json: bool) -> Carried {
    let before = before(file, bytes);
    let older = before.iter().map(|(file, part)| (file.as_path(), part.as_slice()));
    let (files, parts): (Vec<_>, Vec<_>) = older.chain([(file, bytes)]).unzip();
    let outcome =
        recording::replay(&parts).map_err(|(part, damage)| format!("{}: {damage}", files[part].display()))?;
    if outcome.inputs == 0 && outcome.result.is_ok() {
        let reason = format!("{}: no input is in this recording: there is nothing to judge", file.display());
        return Err(Stop::Refused(reason));
    }
    if let Some(file) = &args.html {
        write(file, &outcome.page())?;
    }
    let lines = if args.brief || args.html.is_some() { &[] } else { outcome.lines.as_slice() };
    let verdict = if outcome.result.is_ok() { Verdict::Good } else { Verdict::Bad };
    found(verdict, show_recorded(&outcome, lines, json))
}

/// Prints what has come of a recording.
fn show_recorded(outcome: &Outcome, lines: &[String], json: bool) -> Result<(), Stop> {
    if json {
        return say(in_json(outcome, lines));
    }
    say_all(lines)?;
    match &outcome.result {
        Err(failure) => say(format_args!("{outcome}{failure}")),
        Ok(()) => say(format_args!(
            "{outcome}every property of one process held, and it has put out what was recorded, checksum {}",
            outcome.outputs
        )),
    }
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
