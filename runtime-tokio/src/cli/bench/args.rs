//! The command line of benchmarks.

use super::super::metrics::MetricsArgs;
use super::super::text;
use super::memory::MemoryArgs;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;
use steadfast_core::id::Address;

/// Examples.
pub const HELP: &str = "\
Starts brokers, publishers and subscribers as processes of their own on this machine, or publishers and
subscribers of a cluster that is named with --discovery. The result says what machine it was measured
on; --compare refuses a result of another machine, build or work.

Exit status: 0 measured, and nothing was lost; 1 not; 2 wrong usage, or a result that is not comparable.

Examples:
  steadfast bench throughput --plot throughput.svg
  steadfast bench latency --rate 5000 --json > before.json
  steadfast bench latency --rate 5000 --compare before.json
  steadfast bench fanout --publishers 4 --subscribers 8
  steadfast bench fanout --discovery 10.0.0.21:7401,10.0.0.22:7401
  steadfast bench failover --rounds 50 --case primary-killed,handover
  steadfast bench growth --what subscribers --up-to 100
  steadfast bench growth --what promotion --up-to 1GiB --sessions 10000
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
    /// What this program measures.
    #[command(flatten)]
    Own(Box<Measurement>),
    /// One publisher or subscriber of a run that somebody else makes and measures
    Role(RoleArgs),
}

/// What to measure.
#[derive(Debug, Subcommand)]
pub enum Measurement {
    /// Records acknowledged and delivered per second
    Throughput(ThroughputArgs),
    /// From publishing to delivery, at a steady rate
    Latency(LatencyArgs),
    /// Records delivered per second by several publishers to several subscribers, and what that costs
    Fanout(FanoutArgs),
    /// Outages after SIGKILL of the primary and of the backup, SIGSTOP of the backup, and a handover
    Failover(FailoverArgs),
    /// How costs grow with subscribers, publishers, topics, what is retained, and backups
    Growth(GrowthArgs),
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
    /// Print ratios to an earlier result, which --json has printed, of the same work on the same machine
    #[arg(long, value_name = "FILE")]
    pub compare: Option<PathBuf>,
    /// Keep each process's log in this directory
    #[arg(long, value_name = "DIR")]
    pub logs: Option<PathBuf>,
    /// What metrics cost: nodes and publisher send them, if they are told where
    #[command(flatten)]
    pub metrics: MetricsArgs,
}

/// Options of a benchmark with a plot, that can use somebody else's cluster.
#[derive(Clone, Debug, Args)]
pub struct PlotOptions {
    #[command(flatten)]
    pub bench: BenchOptions,
    /// Draw the result into this SVG file
    #[arg(long, value_name = "FILE")]
    pub plot: Option<PathBuf>,
    /// Measure the cluster with discovery there [default: a cluster of its own on this machine]
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',', value_parser = text::address)]
    pub discovery: Vec<Address>,
}

/// `steadfast bench throughput`
#[derive(Debug, Args)]
pub struct ThroughputArgs {
    #[command(flatten)]
    pub options: PlotOptions,
    /// How many records
    #[arg(long, value_name = "N", default_value_t = 5_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub records: u64,
}

/// `steadfast bench latency`
#[derive(Debug, Args)]
pub struct LatencyArgs {
    #[command(flatten)]
    pub options: PlotOptions,
    /// Records per second
    #[arg(long, value_name = "N", default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub rate: u32,
    /// For how long
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = text::duration)]
    pub time: Duration,
}

/// `steadfast bench fanout`
#[derive(Debug, Args)]
pub struct FanoutArgs {
    #[command(flatten)]
    pub options: PlotOptions,
    /// How many publishers, each a process of its own
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub publishers: u32,
    /// How many subscribers of everything, each a process of its own
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub subscribers: u32,
    /// For how long
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = text::duration)]
    pub time: Duration,
}

/// `steadfast bench failover`
#[derive(Debug, Args)]
pub struct FailoverArgs {
    #[command(flatten)]
    pub options: PlotOptions,
    /// What happens
    #[arg(long = "case", value_name = "CASE", value_delimiter = ',', default_values_t = Case::ALL)]
    pub cases: Vec<Case>,
    /// How many times each
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub rounds: u32,
    /// Records per second
    #[arg(long, value_name = "N", default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub rate: u32,
}

/// What happens to a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Case {
    /// The primary gets SIGKILL
    PrimaryKilled,
    /// The backup gets SIGKILL
    BackupKilled,
    /// The backup gets SIGSTOP
    BackupPaused,
    /// The primary is told to leave, as by 'steadfast drain'
    Handover,
}

impl Case {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::PrimaryKilled, Self::BackupKilled, Self::BackupPaused, Self::Handover];

    /// For people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PrimaryKilled => "primary killed",
            Self::BackupKilled => "backup killed",
            Self::BackupPaused => "backup paused",
            Self::Handover => "handover",
        }
    }
}

impl std::fmt::Display for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name().replace(' ', "-"))
    }
}

/// `steadfast bench growth`
#[derive(Debug, Args)]
pub struct GrowthArgs {
    #[command(flatten)]
    pub options: PlotOptions,
    /// What grows
    #[arg(long, value_name = "WHAT")]
    pub what: Growing,
    /// How far [default: 1000 subscribers or publishers, 100000 topics, 2GiB retained, 3 backups; 1GiB retained
    /// for a promotion]
    #[arg(long, value_name = "N", value_parser = text::bytes)]
    pub up_to: Option<u64>,
    /// How long each point is measured
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = text::duration)]
    pub time: Duration,
    /// For a promotion: how many sessions of publishers, beside what is retained
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub sessions: u32,
    /// For a promotion: how many times the primary is killed
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub rounds: u32,
}

/// What grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Growing {
    /// Subscribers of everything
    Subscribers,
    /// Publishers
    Publishers,
    /// Topics of one publisher
    Topics,
    /// Bytes of records that the brokers retain
    Retained,
    /// Backups
    Backups,
    /// The outage after SIGKILL of the primary: with nothing retained, and with much and many sessions
    Promotion,
}

impl Growing {
    /// As on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Subscribers => "subscribers",
            Self::Publishers => "publishers",
            Self::Topics => "topics",
            Self::Retained => "retained",
            Self::Backups => "backups",
            Self::Promotion => "promotion",
        }
    }

    /// How far it grows, unless it is said.
    pub const fn most(self) -> u64 {
        match self {
            Self::Subscribers | Self::Publishers => 1_000,
            Self::Topics => 100_000,
            Self::Retained => 2 << 30,
            Self::Backups => 3,
            Self::Promotion => 1 << 30,
        }
    }
}

impl Measurement {
    /// What every benchmark has.
    pub const fn options(&self) -> &BenchOptions {
        match (self, self.plot_options()) {
            (_, Some(options)) => &options.bench,
            (Self::Memory(args), _) => args.options(),
            _ => unreachable!(),
        }
    }

    /// What those with a plot have.
    pub const fn plot_options(&self) -> Option<&PlotOptions> {
        match self {
            Self::Throughput(args) => Some(&args.options),
            Self::Latency(args) => Some(&args.options),
            Self::Fanout(args) => Some(&args.options),
            Self::Failover(args) => Some(&args.options),
            Self::Growth(args) => Some(&args.options),
            Self::Memory(_) => None,
        }
    }

    /// What it is called.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Throughput(_) => "throughput",
            Self::Latency(_) => "latency",
            Self::Fanout(_) => "fanout",
            Self::Failover(_) => "failover",
            Self::Growth(_) => "growth",
            Self::Memory(_) => "memory",
        }
    }

    /// What its own options say: only results with the same ones can be compared.
    pub fn settings(&self) -> Value {
        let seconds = |time: &Duration| time.as_secs_f64();
        match self {
            Self::Throughput(args) => json!({ "records": args.records }),
            Self::Latency(args) => {
                json!({ "records_per_second": args.rate, "seconds": seconds(&args.time) })
            }
            Self::Fanout(args) => json!({
                "publishers": args.publishers,
                "subscribers": args.subscribers,
                "seconds": seconds(&args.time),
            }),
            Self::Failover(args) => json!({
                "cases": args.cases.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "rounds": args.rounds,
                "records_per_second": args.rate,
            }),
            Self::Growth(args) if args.what == Growing::Promotion => json!({
                "what": args.what.name(),
                "up_to": args.up_to(),
                "sessions": args.sessions,
                "rounds": args.rounds,
            }),
            Self::Growth(args) => json!({
                "what": args.what.name(),
                "up_to": args.up_to(),
                "seconds_per_point": seconds(&args.time),
            }),
            Self::Memory(args) => args.settings(),
        }
    }
}

impl GrowthArgs {
    /// How far it grows.
    pub fn up_to(&self) -> u64 {
        self.up_to.unwrap_or(self.what.most())
    }
}
