//! `steadfast-sim`: runs, replays and cuts down plans.

mod cli;

use mimalloc::MiMalloc;
use std::process::ExitCode;

// A run is made of short-lived frames and traces: a tenth of its time goes to the allocator of the C library.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    cli::main()
}
