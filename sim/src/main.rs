//! `steadfast-sim`: runs, replays and cuts down plans.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
