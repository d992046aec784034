//! The command line of benchmarks.

use super::super::metrics::MetricsArgs;
use super::super::text;
use super::memory::MemoryArgs;
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// Examples.
pub const HELP: &str = "\
Starts one primary, one backup, one publisher and one subscriber as processes of their own.

Examples:
  steadfast bench throughput
  steadfast bench latency --rate 5000
  steadfast bench failover --rounds 10 --json
  steadfast bench memory clients";

/// `steadfast bench`
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct BenchArgs {
    /// What to measure
    #[command(subcommand)]
    pub what: Bench,
}

/// What to measure, and where.
#[derive(Debug, Subcommand)]
pub enum Bench {
    /// On a cluster of its own.
    #[command(flatten)]
    Own(Measurement),
    /// One publisher or subscriber of a run that somebody else makes and measures
    Role(RoleArgs),
}

/// What to measure on a cluster of its own.
#[derive(Debug, Subcommand)]
pub enum Measurement {
    /// Records acknowledged and delivered per second
    Throughput(ThroughputArgs),
    /// From publishing to delivery, at a steady rate
    Latency(LatencyArgs),
    /// Outages after SIGKILL of the primary, and of the backup
    Failover(FailoverArgs),
    /// Memory of brokers, as the system counts it
    Memory(MemoryArgs),
}

/// `steadfast bench role`
#[derive(Debug, Args)]
pub struct RoleArgs {
    /// Which role
    pub role: Role,
    /// What to do: addr=HOST:PORT of discovery, shm=FILE for the counters that all roles share; id, npub, nsub,
    /// size, rate (0: as fast as possible), secs, window, ackwin, gap_ms, idle_ms, drain_s, dump
    #[arg(value_name = "KEY=VALUE")]
    pub words: Vec<String>,
}

/// Roles of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Publishes
    Pub,
    /// Subscribes to everything
    Sub,
}

/// Options of every benchmark.
#[derive(Clone, Debug, Args)]
pub struct BenchOptions {
    /// Bytes of a record
    #[arg(long, value_name = "BYTES", default_value_t = 100, value_parser = clap::value_parser!(u32).range(16..=1_000_000))]
    pub size: u32,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Keep each process's log in this directory
    #[arg(long, value_name = "DIR")]
    pub logs: Option<PathBuf>,
    /// What metrics cost: nodes and publisher send them, if they are told where
    #[command(flatten)]
    pub metrics: MetricsArgs,
}

/// `steadfast bench throughput`
#[derive(Debug, Args)]
pub struct ThroughputArgs {
    #[command(flatten)]
    pub options: BenchOptions,
    /// How many records
    #[arg(long, value_name = "N", default_value_t = 5_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub records: u64,
}

/// `steadfast bench latency`
#[derive(Debug, Args)]
pub struct LatencyArgs {
    #[command(flatten)]
    pub options: BenchOptions,
    /// Records per second
    #[arg(long, value_name = "N", default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub rate: u32,
    /// For how long
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = text::duration)]
    pub time: Duration,
}

/// `steadfast bench failover`
#[derive(Debug, Args)]
pub struct FailoverArgs {
    #[command(flatten)]
    pub options: BenchOptions,
    /// How many times the primary is killed, and then the backup
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// Records per second
    #[arg(long, value_name = "N", default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub rate: u32,
}
