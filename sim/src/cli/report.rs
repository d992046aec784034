//! What several commands read, write and print.

use super::output::tell;
use rustix::fs::{Access, access};
use serde_json::{Map, Value, json};
use std::fs;
use std::path::Path;
use steadfast_core::recording::Decoder;
use steadfast_sim::cluster::Failure;
use steadfast_sim::plan::Plan;
use steadfast_sim::plan::generate::generate;
use steadfast_sim::plan::idle::idle;
use steadfast_sim::plan::run::Outcome;

/// Nanoseconds in a millisecond.
const MILLI: u64 = 1_000_000;

/// A plan from a file or of a seed. `Err`: what is wrong, with the line. What can have no effect in a file is said.
pub fn plan(file: Option<&Path>, seed: Option<u64>) -> Result<Plan, String> {
    match (file, seed) {
        (Some(file), None) => {
            let bytes = read(file)?;
            if Decoder::recognises(&bytes) {
                return Err(format!(
                    "{} is a recording, not a plan: only `replay` takes one",
                    file.display()
                ));
            }
            plan_in(file, &bytes)
        }
        (None, Some(seed)) => Ok(generate(seed)),
        _ => Err("name either a plan's file or --seed".to_owned()),
    }
}

/// The bytes of a file.
pub fn read(file: &Path) -> Result<Vec<u8>, String> {
    fs::read(file).map_err(|error| format!("{}: {error}", file.display()))
}

/// The plan that a file holds.
pub fn plan_in(file: &Path, bytes: &[u8]) -> Result<Plan, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = &bytes[..error.valid_up_to()];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        format!("{}: line {line}: this is no text in UTF-8: a plan is one", file.display())
    })?;
    let plan: Plan = text.parse().map_err(|error| format!("{}: {error}", file.display()))?;
    for item in idle(&plan) {
        tell(format_args!("steadfast-sim: warning: {}: this has no effect: {item}", file.display()));
    }
    Ok(plan)
}

/// Whether a file may be written, before work is done for it.
pub fn may_write(file: &Path) -> Result<(), String> {
    if file.is_dir() {
        return Err(format!("{} is a folder: name a file", file.display()));
    }
    if file.exists() {
        return access(file, Access::WRITE_OK).map_err(|error| format!("{}: {error}", file.display()));
    }
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    may_write_into(folder.unwrap_or(Path::new(".")))
}

/// Whether files may be written into a folder.
pub fn may_write_into(folder: &Path) -> Result<(), String> {
    let wrong = |why: String| format!("{}: {why}: name a folder that can be written to", folder.display());
    match fs::metadata(folder) {
        Err(error) => Err(wrong(error.to_string())),
        Ok(metadata) if !metadata.is_dir() => Err(wrong("this is no folder".to_owned())),
        Ok(_) => access(folder, Access::WRITE_OK | Access::EXEC_OK).map_err(|error| wrong(error.to_string())),
    }
}

/// Writes a plan that fails to a file, with what it violates as comments.
pub fn keep(plan: &Plan, failure: &Failure, file: &Path) -> Result<(), String> {
    let what: String = failure.to_string().lines().map(|line| format!("# {line}\n")).collect();
    fs::write(file, format!("{what}{}", plan.counted()))
        .map_err(|error| format!("{}: {error}", file.display()))
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
