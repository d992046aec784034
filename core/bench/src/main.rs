//! Counts the instructions of the hot path under valgrind and compares them with those that are kept in
//! `instructions.json`: a regression shows on every machine, however busy.
//!
//! What is counted is the difference of two runs, of which one publishes more batches: what the start takes
//! cancels out. Valgrind shows a program the same processor on every x86-64 machine that has AVX2, so what is
//! chosen at run time by its features (checksums, copies) is chosen alike. A long copy counts by the byte.

use std::collections::BTreeMap;
use std::error::Error;
use std::process::{Command, ExitCode};
use std::{env, fs};
use steadfast_bench::case::{CASES, Case};
use steadfast_bench::counts::{Comparison, Counts};
use steadfast_bench::pair::Pair;

const USAGE: &str = "\
usage: steadfast-bench check             count, and compare with what is kept
       steadfast-bench accept            count, and keep that
       steadfast-bench run CASE BATCHES  what is counted";
/// Where counts are kept.
const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions.json");

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments[..] {
        ["check"] => check(),
        ["accept"] => accept(),
        ["run", case, batches] => run(case, batches),
        _ => Err(USAGE.into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(case: &str, batches: &str) -> Result<(), Box<dyn Error>> {
    let known = || CASES.map(|case| case.name).join(", ");
    let case = Case::find(case).ok_or_else(|| format!("there is no case {case:?}, only {}", known()))?;
    let batches = batches.parse().map_err(|error| format!("{batches:?} is no number of batches: {error}"))?;
    println!("{} records delivered", Pair::start(case).publish(batches));
    Ok(())
}

fn check() -> Result<(), Box<dyn Error>> {
    let kept = fs::read_to_string(KEPT).map_err(|error| format!("{KEPT} cannot be read: {error}"))?;
    let kept = serde_json::from_str(&kept).map_err(|error| format!("{KEPT} holds no counts: {error}"))?;
    let Comparison { text, is_same } = count_all()?.compare(&kept);
    print!("{text}");
    if is_same { Ok(()) } else { Err("instructions: not the counts that are kept".into()) }
}

fn accept() -> Result<(), Box<dyn Error>> {
    let counts = serde_json::to_string_pretty(&count_all()?)?;
    fs::write(KEPT, counts.clone() + "\n").map_err(|error| format!("{KEPT} cannot be written: {error}"))?;
    println!("{counts}");
    Ok(())
}

fn count_all() -> Result<Counts, Box<dyn Error>> {
    if cfg!(debug_assertions) {
        return Err("counts belong to the release profile: run this with --release".into());
    }
    let mut instructions = BTreeMap::new();
    for case in &CASES {
        let [few, many] = [case.counted, 2 * case.counted].map(|batches| instructions_of(case, batches));
        let records = case.counted * case.deliveries();
        let each = (many? - few?) as f64 / records as f64;
        instructions.insert(case.name.to_owned(), (each * 10.0).round() / 10.0);
    }
    let compiler = Command::new("rustc").arg("--version").output();
    let compiler = compiler.map_err(|error| format!("rustc cannot be asked for its version: {error}"))?;
    let compiler = format!("{}, {}", String::from_utf8(compiler.stdout)?.trim(), env::consts::ARCH);
    Ok(Counts { compiler, instructions })
}

/// Instructions of a whole run. It has no environment, so that nobody's settings change what it does.
fn instructions_of(case: &Case, batches: u64) -> Result<u64, Box<dyn Error>> {
    let program = env::current_exe()?;
    let profile = program.with_file_name(format!("callgrind.{}", case.name));
    let output = Command::new("valgrind")
        .env_clear()
        .envs(env::var_os("PATH").map(|path| ("PATH", path)))
        .arg("--tool=callgrind")
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(program)
        .args(["run", case.name, &batches.to_string()])
        .output()
        .map_err(|error| format!("valgrind cannot be started: {error} (apt-get install valgrind)"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let count = said.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok());
    match count {
        Some(count) if output.status.success() => Ok(count),
        _ => Err(format!("{} under valgrind has failed ({}):\n{said}", case.name, output.status).into()),
    }
}
