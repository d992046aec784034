//! `steadfast-sim`: runs, replays and cuts down plans.

mod cli;

use std::process::ExitCode;

/// A run makes and drops millions of small values.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::main()
}
