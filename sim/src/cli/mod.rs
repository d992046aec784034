//! The command line: one file per command. Results go to standard output, progress and complaints to
//! standard error. The exit status is 0 when every property holds, 1 when one does not (or when results cannot be
//! written), 2 when the command could not be carried out, and 3 when it was stopped before its end and nothing
//! was found until then. A reader of the results that goes away has seen enough: that changes no exit status.

#[cfg(feature = "bugs")]
mod bugs;
mod coverage;
mod explore;
mod interrupt;
mod minimise;
mod output;
mod progress;
mod replay;
mod report;
mod run;

use clap::{Parser, Subcommand};
use output::{Stop, Verdict, found, tell};
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
    // Of a command that goes on printing while it looks, nothing bad was seen until then.
    let result = result.or_else(|stop| found(Verdict::Good, Err(stop)));
    match result {
        Ok(Verdict::Good) => ExitCode::SUCCESS,
        Ok(Verdict::Bad) => ExitCode::FAILURE,
        Ok(Verdict::Unfinished) => ExitCode::from(3),
        Err(Stop::Output(error)) => {
            tell(format_args!(
                "steadfast-sim: cannot write to standard output: {error}: check where it leads"
            ));
            ExitCode::FAILURE
        }
        Err(Stop::Refused(error)) => {
            tell(format_args!("steadfast-sim: {error}"));
            ExitCode::from(2)
        }
    }
}
