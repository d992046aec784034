//! What several commands print.

use serde_json::{Map, Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use steadfast_sim::cluster::Failure;
use steadfast_sim::plan::Plan;
use steadfast_sim::plan::generate::generate;
use steadfast_sim::plan::run::Outcome;

/// Nanoseconds in a millisecond.
const MILLI: u64 = 1_000_000;

/// A plan from a file or of a seed. `Err`: what is wrong, with the line.
pub fn plan(file: Option<&Path>, seed: Option<u64>) -> Result<Plan, String> {
    match (file, seed) {
        (Some(file), None) => {
            let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
            text.parse().map_err(|error| format!("{}: {error}", file.display()))
        }
        (None, Some(seed)) => Ok(generate(seed)),
        _ => Err("name either a plan's file or --seed".to_owned()),
    }
}

/// Writes a plan that fails to a file, with what it violates as comments.
pub fn keep(plan: &Plan, failure: &Failure, file: PathBuf) -> Result<PathBuf, String> {
    let what: String = failure.to_string().lines().map(|line| format!("# {line}\n")).collect();
    fs::write(&file, format!("{what}{plan}")).map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(file)
}

/// An outcome in JSON.
pub fn outcome(outcome: &Outcome) -> Value {
    let coverage: Map<_, _> =
        outcome.coverage.iter().map(|(mark, count)| (mark.to_owned(), json!(count))).collect();
    json!({
        "violation": outcome.result.as_ref().err().map(failure),
        "excuse": outcome.excuse,
        "inputs": outcome.steps,
        "milliseconds": outcome.time / MILLI,
        "fingerprint": format!("{:016x}", outcome.fingerprint),
        "lineage": outcome.lineage,
        "coverage": coverage,
    })
}

/// A failure in JSON.
pub fn failure(failure: &Failure) -> Value {
    json!({
        "property": failure.violation.property,
        "detail": failure.violation.detail,
        "step": failure.step,
        "millisecond": failure.at / MILLI,
    })
}
