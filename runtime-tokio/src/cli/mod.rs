//! The commands of the `steadfast` program.

mod args;
mod attached;
mod bench;
mod cluster;
mod demo;
mod display;
mod failure;
mod group;
mod lines;
mod node;
mod process;
mod publish;
mod retention;
mod serve;
mod service;
mod signals;
mod status;
mod subscribe;
mod text;
mod tree;
mod trial;
mod worker;

use args::{Cli, Command, GroupCommand, LogArgs, LogLevel, WorkerCommand};
use attached::Parent;
use clap::Parser as _;
use clap::error::ErrorKind;
use failure::{Failure, JOB_FAILED, USAGE};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::Write as _;
use std::process::ExitCode;
use steadfast_runtime::telemetry;
use tokio::task::LocalSet;

/// Open files are raised to this many, or as far as the hard limit allows: accepted links have a limit
/// of their own below it, and connections that say nothing end here.
const MAX_OPEN_FILES: u64 = 16_384;

/// Runs the program.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    start_logs(&cli.log);
    raise_open_files();
    let parent = Parent::tie(cli.log.attached);
    match in_runtime(cli.command, &parent) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            JOB_FAILED.into()
        }
    }
}

/// Every connection takes a descriptor, and the usual soft limit is far below what a broker serves.
fn raise_open_files() {
    let limits = getrlimit(Resource::Nofile);
    let most = limits.maximum.map_or(MAX_OPEN_FILES, |hard| hard.min(MAX_OPEN_FILES));
    if limits.current.is_some_and(|soft| soft < most) {
        // Where it cannot be raised the process does with what it has.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(most), ..limits });
    }
}

fn in_runtime(command: Command, parent: &Parent) -> Result<(), Failure> {
    // One thread: with the sockets' tasks on it a frame costs no wake-up of another core.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
        Failure::new(format!("cannot start: {error}"), "raise the limit of open files (ulimit -n)")
    })?;
    LocalSet::new().block_on(&runtime, run(command, parent))
}

async fn run(command: Command, parent: &Parent) -> Result<(), Failure> {
    match command {
        Command::Demo(args) => demo::run(args).await,
        Command::Publish(args) => publish::run(args).await,
        Command::Subscribe(args) => subscribe::run(args).await,
        Command::Broker(args) => node::broker(args).await,
        Command::Discovery(args) => node::discovery(args).await,
        Command::Coordination(args) => node::coordination(args).await,
        Command::Group(GroupCommand::Force(args)) => group::force(args).await,
        Command::Serve(args) => serve::run(args).await,
        Command::Status(args) => status::run(args).await,
        Command::Bench(args) => bench::run(args).await,
        Command::Worker(WorkerCommand::Publisher(args)) => worker::publisher::run(args, parent).await,
        Command::Worker(WorkerCommand::Subscriber(args)) => worker::subscriber::run(args, parent).await,
    }
}

fn start_logs(args: &LogArgs) {
    let level = match args.log {
        LogLevel::Error => tracing::Level::ERROR,
        LogLevel::Warn => tracing::Level::WARN,
        LogLevel::Info => tracing::Level::INFO,
        LogLevel::Debug => tracing::Level::DEBUG,
        LogLevel::Trace => tracing::Level::TRACE,
    };
    let format = if args.log_json { telemetry::Format::Json } else { telemetry::Format::Plain };
    telemetry::init(level, format);
}

/// Help and version as asked for; anything else as one line that names cause and remedy.
fn usage(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        // A reader that is gone has seen enough.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        eprint!("{}", error.render());
        return USAGE.into();
    }
    eprintln!("{}", failure::usage_line(error));
    USAGE.into()
}

/// Prints a result on standard output.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).map_err(|error| {
        Failure::new(format!("cannot write to standard output: {error}"), "check where it leads")
    })
}
