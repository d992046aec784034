//! `steadfast-sim`: runs, replays and cuts down plans.

mod cli;

use mimalloc::MiMalloc;
use std::process::ExitCode;

/// A run makes and drops millions of small messages: this takes a tenth off it.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    cli::main()
}
