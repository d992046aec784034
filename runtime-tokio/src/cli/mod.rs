//! The commands of the `steadfast` program.

mod args;
mod attached;
mod bench;
mod cluster;
mod config;
mod demo;
mod display;
mod drain;
mod failure;
mod group;
mod lines;
mod metrics;
mod node;
mod process;
mod publish;
mod serve;
mod service;
mod settings;
mod signals;
mod status;
mod subscribe;
mod text;
mod tree;
mod trial;
mod worker;

use args::{Cli, Command, GroupCommand};
use attached::Parent;
use clap::Parser as _;
use clap::error::ErrorKind;
use failure::{Failure, USAGE};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fmt::Display;
use std::io::Write as _;
use std::process::ExitCode;
use steadfast_runtime::configuration::Configuration;
use tokio::task::LocalSet;
use tracing::warn;
use worker::args::WorkerCommand;

/// Open files are raised to this many, or as far as the hard limit allows: accepted links have a limit
/// of their own below it, and connections that say nothing end here.
const MAX_OPEN_FILES: u64 = 16_384;

/// Runs the program.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    match start(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            tell(&failure);
            failure.status().into()
        }
    }
}

fn start(cli: Cli) -> Result<(), Failure> {
    let configuration = settings::load(&cli)?;
    let _logs = settings::start_logs(&cli.command, &configuration)?;
    raise_open_files();
    if matches!(cli.command, Command::Broker(_))
        && let Err(error) = steadfast_heir::appoint()
    {
        warn!(%error, "without an heir: were this broker killed, it would be missed the later the longer its log");
    }
    let parent = Parent::tie(cli.log.attached);
    in_runtime(cli.command, &configuration, &parent)
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

fn in_runtime(command: Command, configuration: &Configuration, parent: &Parent) -> Result<(), Failure> {
    // One thread: with the sockets' tasks on it a frame costs no wake-up of another core.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
        Failure::new(format!("cannot start: {error}"), "raise the limit of open files (ulimit -n)")
    })?;
    LocalSet::new().block_on(&runtime, run(command, configuration, parent))
}

async fn run(command: Command, configuration: &Configuration, parent: &Parent) -> Result<(), Failure> {
    match command {
        Command::Demo(args) => demo::run(args, configuration).await,
        Command::Publish(args) => publish::run(args, configuration).await,
        Command::Subscribe(args) => subscribe::run(args, configuration).await,
        Command::Broker(_) => node::broker(configuration).await,
        Command::Discovery(_) => node::discovery(configuration).await,
        Command::Coordination(args) => node::coordination(args, configuration).await,
        Command::Drain(args) => drain::run(args, configuration).await,
        Command::Group(GroupCommand::Force(args)) => group::force(args, configuration).await,
        Command::Serve(args) => serve::run(args, configuration).await,
        Command::Status(args) => status::run(args, configuration).await,
        Command::Bench(args) => bench::run(args, configuration).await,
        Command::Config(args) => config::run(&args.what, configuration),
        Command::Worker(WorkerCommand::Publisher(args)) => {
            worker::publisher::run(args, configuration, parent).await
        }
        Command::Worker(WorkerCommand::Subscriber(args)) => {
            worker::subscriber::run(args, configuration, parent).await
        }
        Command::Worker(WorkerCommand::Idle(args)) => worker::idle::run(args, configuration, parent).await,
        Command::Worker(WorkerCommand::Crowd(args)) => worker::crowd::run(args, configuration, parent).await,
    }
}

/// Help and version as asked for; anything else as one line that names cause and remedy.
fn usage(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        // A reader that is gone has seen enough.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let _ = error.print();
        return USAGE.into();
    }
    tell(&failure::usage_line(error));
    USAGE.into()
}

/// Says a line on standard error. That nobody can take it is no reason to end in another way.
fn tell(line: &impl Display) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Prints a result on standard output.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).map_err(|error| {
        Failure::new(format!("cannot write to standard output: {error}"), "check where it leads")
    })
}
