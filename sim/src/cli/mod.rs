//! The command line: one file per command. Results go to standard output, progress and complaints to
//! standard error; the exit status is 1 when a property does not hold and 2 when the command could not
//! be carried out.

#[cfg(feature = "bugs")]
mod bugs;
mod coverage;
mod explore;
mod minimise;
mod replay;
mod report;
mod run;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Simulates Steadfast clusters, deterministically, through everything that can go wrong.
#[derive(Debug, Parser)]
#[command(name = "steadfast-sim", version)]
struct Cli {
    /// Print results as JSON, one object a line.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Args),
    Replay(replay::Args),
    Minimise(minimise::Args),
    Explore(explore::Args),
    Coverage(coverage::Args),
    #[cfg(feature = "bugs")]
    Bugs(bugs::Args),
}

/// How a command ended, if it could be carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Every property held.
    Good,
    /// One did not.
    Bad,
}

/// Carries out what the command line asks for.
pub fn main() -> ExitCode {
    let Cli { json, command } = Cli::parse();
    steadfast_sim::plan::panics::keep_quiet();
    let result = match command {
        Command::Run(args) => run::run(&args, json),
        Command::Replay(args) => replay::run(&args, json),
        Command::Minimise(args) => minimise::run(&args, json),
        Command::Explore(args) => explore::run(&args, json),
        Command::Coverage(args) => coverage::run(&args, json),
        #[cfg(feature = "bugs")]
        Command::Bugs(args) => bugs::run(&args, json),
    };
    match result {
        Ok(Verdict::Good) => ExitCode::SUCCESS,
        Ok(Verdict::Bad) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("steadfast-sim: {error}");
            ExitCode::from(2)
        }
    }
}
