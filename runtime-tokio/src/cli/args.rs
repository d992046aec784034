//! The command line.

use super::bench::args::BenchArgs;
use super::config::ConfigArgs;
use super::drain::DrainArgs;
use super::metrics::MetricsArgs;
use super::serve::ServeArgs;
use super::status::StatusArgs;
use super::text::{self, kept};
use super::worker::args::WorkerCommand;
use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;
use steadfast_core::filter::{Filter, Topic};
use steadfast_core::id::{Address, Group};
use steadfast_core::log::Codec;
use steadfast_core::subscriber::Start;
use steadfast_runtime::configuration::parse_servers;

const EXAMPLES: &str = "\
Examples:
  steadfast demo
      The main job in one command: a cluster on this machine whose primary is killed and paused.

  steadfast serve
      A cluster in this one process, for development. The other commands find it by themselves, each
      in a terminal of its own:
  steadfast subscribe 'orders.>'
  steadfast publish orders.eu < orders.txt
  steadfast status --watch

  A cluster by hand, at the same addresses, each line in a terminal of its own:
  steadfast coordination --listen 127.0.0.1:7400
  steadfast discovery --coordination 127.0.0.1:7400 --listen 127.0.0.1:7401
  steadfast broker --coordination 127.0.0.1:7400 --name one
  steadfast broker --coordination 127.0.0.1:7400 --name two

Exit status: 0 the job is done, 1 it failed (one line on standard error says why), 2 wrong usage.";

/// Publish/subscribe that loses nothing that it has acknowledged, whichever broker dies.
#[derive(Debug, Parser)]
#[command(name = "steadfast", version, after_help = EXAMPLES, subcommand_required = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    #[command(flatten)]
    pub log: LogArgs,
    #[command(flatten)]
    pub transport: TransportArgs,
}

/// What connections are made of.
#[derive(Debug, Args)]
pub struct TransportArgs {
    /// Which implementation of ZeroMQ's protocol to use, native or zeromq: both understand each other
    /// [default: native]
    #[arg(
        long = "transport",
        global = true,
        value_name = "KIND",
        value_parser = ["native", "zeromq"],
        help_heading = "Connections"
    )]
    pub kind: Option<String>,
}

/// How much is logged. Where it goes, a configuration file says.
#[derive(Debug, Args)]
pub struct LogArgs {
    /// Log lines of this level and above [default: warn]
    #[arg(long, global = true, value_enum, value_name = "LEVEL", help_heading = "Logs")]
    pub log: Option<LogLevel>,
    /// Log one JSON object a line
    #[arg(long, global = true, help_heading = "Logs")]
    pub log_json: bool,
    /// Exit when standard input ends: set for processes that belong to another one.
    #[arg(long, global = true, hide = true)]
    pub attached: bool,
}

/// How much to log.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum LogLevel {
    /// What makes the command fail.
    Error,
    /// What may need attention.
    Warn,
    /// Changes of roles.
    Info,
    /// Every change of state.
    Debug,
    /// Everything.
    Trace,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the main job: a cluster whose primary is killed and paused while records flow
    Demo(DemoArgs),
    /// Publish lines of standard input or of a file, a record a line
    Publish(PublishArgs),
    /// Write the payloads of matching records to standard output, a line each
    Subscribe(SubscribeArgs),
    /// Run a broker: one replica of the log
    Broker(BrokerArgs),
    /// Run a discovery replica: it tells clients who is primary
    Discovery(DiscoveryArgs),
    /// Run the embedded coordination service, for development: one process, in memory
    Coordination(CoordinationArgs),
    /// Make a broker leave without an outage: it hands over if it is primary
    Drain(DrainArgs),
    /// Decide for a group what its brokers must not decide by themselves
    #[command(subcommand)]
    Group(GroupCommand),
    /// Run a whole cluster in this one process, for development
    Serve(ServeArgs),
    /// Show how discovery, the groups and the brokers stand, or wait until all is well
    Status(StatusArgs),
    /// Measure throughput, latency, fan-out, failover, growth and memory
    Bench(BenchArgs),
    /// Look at the configuration: check it, show what holds, print a default file
    Config(ConfigArgs),
    /// A publisher or subscriber of the demo or the benchmark.
    #[command(subcommand, hide = true)]
    Worker(WorkerCommand),
}

const DEMO_HELP: &str = "\
Starts 2 discovery replicas, 3 brokers, a publisher and 2 subscribers as processes of their own,
publishes at a steady rate, kills the primary with SIGKILL, and later pauses the new primary with
SIGSTOP past every timeout and resumes it. Takes less than 30 seconds.

Exit status: 0 only if both failovers happened and nothing acknowledged was lost, duplicated or
reordered; 1 otherwise; 2 wrong usage.

Examples:
  steadfast demo
  steadfast demo --json | tail -1
  steadfast demo --zookeeper 127.0.0.1:2181";

/// `steadfast demo`
#[derive(Debug, Args)]
#[command(after_help = DEMO_HELP)]
pub struct DemoArgs {
    /// Use this ZooKeeper ensemble, under a fresh node that is removed at the end
    /// [default: the embedded coordination service, in the demo's own process]
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',', value_parser = text::address)]
    pub zookeeper: Vec<Address>,
    /// Print the report as one JSON object on standard output, and progress on standard error
    #[arg(long)]
    pub json: bool,
    /// Keep each process's log in this directory
    #[arg(long, value_name = "DIR")]
    pub logs: Option<PathBuf>,
}

/// Which configuration file is read.
#[derive(Clone, Debug, Default, Args)]
pub struct FileArgs {
    /// Read this configuration file; flags go over environment variables, and these over the file
    /// [default: $STEADFAST_CONFIG, or ./steadfast.toml, or /etc/steadfast/steadfast.toml]
    #[arg(long, value_name = "FILE", help_heading = "Configuration")]
    pub config: Option<PathBuf>,
}

/// Which coordination service a node uses.
#[derive(Clone, Debug, Args)]
#[command(group(ArgGroup::new("service").args(["zookeeper", "coordination"])))]
pub struct ServiceArgs {
    /// The ZooKeeper ensemble; a chroot may follow the last address
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',', value_parser = kept(parse_servers))]
    pub zookeeper: Vec<String>,
    /// An embedded coordination service (see 'steadfast coordination')
    #[arg(long, value_name = "HOST:PORT", value_parser = kept(text::address))]
    pub coordination: Option<String>,
    /// The cluster's name: it lives under /steadfast/NAME in the coordination tree [default: main]
    #[arg(long, value_name = "NAME", value_parser = kept(text::node_name))]
    pub cluster: Option<String>,
    /// How long the coordination service waits for a silent node before it counts as dead
    /// [default: 2s]
    #[arg(long, value_name = "TIME", value_parser = kept(text::duration))]
    pub session_timeout: Option<String>,
    /// How long to look for the coordination service at the start [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = kept(text::duration))]
    pub connect_timeout: Option<String>,
}

/// Where a node listens.
#[derive(Clone, Debug, Args)]
pub struct ListenArgs {
    /// Where to listen; port 0 lets the system choose one [default: 127.0.0.1:0]
    #[arg(long, value_name = "HOST:PORT", value_parser = kept(text::address))]
    pub listen: Option<String>,
    /// Where others reach this node [default: where it listens]
    #[arg(long, value_name = "HOST:PORT", value_parser = kept(text::address))]
    pub advertise: Option<String>,
}

const BROKER_HELP: &str = "\
Prints 'listening on tcp://HOST:PORT' when it is ready. SIGTERM or Ctrl-C leaves the group cleanly.
The log is in memory: a broker that restarts copies it from the primary again.

Steadfast has no authentication yet: do not listen on a network that you do not trust.

Examples:
  steadfast broker --zookeeper zk1:2181,zk2:2181,zk3:2181 --name one
  steadfast broker --coordination 127.0.0.1:7400 --name two --listen 127.0.0.1:7412
  steadfast broker --config /etc/steadfast/steadfast.toml";

/// `steadfast broker`
#[derive(Debug, Args)]
#[command(after_help = BROKER_HELP)]
pub struct BrokerArgs {
    #[command(flatten)]
    pub service: ServiceArgs,
    #[command(flatten)]
    pub listen: ListenArgs,
    #[command(flatten)]
    pub file: FileArgs,
    /// The broker's name, the same after a restart; unique in the cluster. Required, here or in the
    /// configuration
    #[arg(long, value_name = "NAME", value_parser = kept(text::node_name))]
    pub name: Option<String>,
    /// Silence after which a backup suspects its primary [default: 250ms]
    #[arg(long, value_name = "TIME", value_parser = kept(text::duration))]
    pub suspicion: Option<String>,
    /// Memory for the log. Retention keeps it below; one that is full all the same refuses records
    /// [default: 1GiB]
    #[arg(long, value_name = "SIZE", value_parser = kept(text::bytes))]
    pub log_limit: Option<String>,
    #[command(flatten)]
    pub retention: RetentionArgs,
    /// What to do when no process holds the acknowledged records any more: reset begins anew and
    /// tells publishers and subscribers, wait waits for an operator [default: reset]
    #[arg(long, value_name = "WHAT", value_parser = ["reset", "wait"])]
    pub on_total_loss: Option<String>,
    /// How publishers may compress: lz4, zstd, or both with a comma between. Allow what every subscriber can
    /// read [default: not at all]
    #[arg(long, value_name = "CODECS")]
    pub compression: Option<String>,
    /// Record what goes into the broker in this file and one beside it, for 'steadfast-sim replay FILE';
    /// messages are in it
    #[arg(long, value_name = "FILE")]
    pub record: Option<String>,
    #[command(flatten)]
    pub metrics: MetricsArgs,
}

const DISCOVERY_HELP: &str = "\
Prints 'listening on tcp://HOST:PORT' when it is ready. SIGTERM or Ctrl-C leaves cleanly.
Run two or more: each answers clients by itself, so give clients all addresses.

Example:
  steadfast discovery --zookeeper zk1:2181,zk2:2181,zk3:2181 --listen 127.0.0.1:7401";

/// The oldest records go when any of these is exceeded, whoever has not read them yet.
#[derive(Clone, Debug, Args)]
pub struct RetentionArgs {
    /// Memory for records that are kept [default: half of --log-limit]
    #[arg(long, value_name = "SIZE", value_parser = kept(text::bytes))]
    pub retention_bytes: Option<String>,
    /// How many records are kept [default: no limit]
    #[arg(long, value_name = "NUMBER", value_parser = kept(text::count))]
    pub retention_records: Option<String>,
    /// How long records are kept, for example 30m, 12h or 7d [default: no limit]
    #[arg(long, value_name = "TIME", value_parser = kept(text::age))]
    pub retention_age: Option<String>,
}

/// `steadfast discovery`
#[derive(Debug, Args)]
#[command(after_help = DISCOVERY_HELP)]
pub struct DiscoveryArgs {
    #[command(flatten)]
    pub service: ServiceArgs,
    #[command(flatten)]
    pub listen: ListenArgs,
    #[command(flatten)]
    pub file: FileArgs,
    #[command(flatten)]
    pub metrics: MetricsArgs,
    /// In-sync brokers that an acknowledgement needs; fixed when the group is created [default: 1]
    #[arg(long, value_name = "N", value_parser = kept(text::copies))]
    pub min_in_sync: Option<String>,
}

const COORDINATION_HELP: &str = "\
For development and tests: the tree is in memory and in one process, so it is lost with it.
In production use ZooKeeper.

Example:
  steadfast coordination --listen 127.0.0.1:7400";

/// `steadfast coordination`
#[derive(Debug, Args)]
#[command(after_help = COORDINATION_HELP)]
pub struct CoordinationArgs {
    #[command(flatten)]
    pub listen: ListenArgs,
}

/// Where a client finds the cluster.
#[derive(Clone, Debug, Args)]
pub struct ClientArgs {
    /// Addresses of discovery replicas: any that answers will do. By default those of 'steadfast serve'
    /// [default: 127.0.0.1:7401,127.0.0.1:7402]
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',', value_parser = kept(text::address))]
    pub discovery: Vec<String>,
}

const PUBLISH_HELP: &str = "\
A record is the bytes of a line, without the newline; an empty line is an empty record. Waits until
the cluster has acknowledged every record: then each in-sync broker has it.

Exit status: 0 if every record was acknowledged, 1 otherwise, 2 wrong usage.

Examples:
  echo '42 apples' | steadfast publish orders.eu
  steadfast publish orders.eu --discovery 10.0.0.21:7401,10.0.0.22:7401 < orders.txt
  steadfast publish logs.web --file access.log --timeout 1m
  tail -f access.log | steadfast publish logs.web
  steadfast publish orders.eu --file orders.txt --outbox orders.outbox --resume";

/// `steadfast publish`
#[derive(Debug, Args)]
#[command(after_help = PUBLISH_HELP)]
pub struct PublishArgs {
    /// The topic: words with dots between, for example orders.eu
    #[arg(value_name = "TOPIC", value_parser = text::topic)]
    pub topic: Topic,
    #[command(flatten)]
    pub client: ClientArgs,
    #[command(flatten)]
    pub config: FileArgs,
    /// Read this file instead of standard input
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Keep what is not acknowledged in this file: the next run with it sends that again, and nothing
    /// twice. The file is made where there is none
    #[arg(long, value_name = "FILE")]
    pub outbox: Option<PathBuf>,
    /// Leave out the lines that earlier runs took from this input: those since the last run with this
    /// outbox that ended well
    #[arg(long, requires = "outbox", conflicts_with = "unknown")]
    pub resume: bool,
    /// What becomes of records in the outbox whose fate is not known, because the cluster gave its data
    /// up or forgot the publisher: kept apart, dropped, or sent again although some may then be there twice
    #[arg(long, value_name = "CHOICE", requires = "outbox")]
    pub unknown: Option<Unknown>,
    /// Compress what is sent, where the brokers allow it (broker.compression) and it gets smaller: none, lz4
    /// or zstd
    #[arg(long, value_name = "CODEC", default_value = "none")]
    pub compression: Codec,
    /// Give up when records wait for this long and none is acknowledged
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = text::duration)]
    pub timeout: Duration,
    /// Print the counts as one JSON object
    #[arg(long)]
    pub json: bool,
    /// Send how long acknowledgements take to the metrics server that the configuration names
    #[arg(long)]
    pub metrics: bool,
}

/// What becomes of records of unknown fate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Unknown {
    /// They stay in the outbox.
    Keep,
    /// They are forgotten.
    Drop,
    /// They are published again.
    Resend,
}

const SUBSCRIBE_HELP: &str = "\
Runs until it is stopped, and shows what is published from then on; --from earliest begins with the
oldest record that is kept. In a filter '*' stands for one word and a final '>' for one or more; other
filters match exactly themselves.

With --json each record is one object: topic, publisher, sequence, group, position, and payload
(text) or payload_base64 (where it is not UTF-8). --from takes a position: what follows that record.

What the cluster could not deliver is reported: one line on standard error, or with --json one
object with the key \"lost\" or \"lineage_changed\".

Exit status: 0 when stopped by Ctrl-C or SIGTERM or after --count records and nothing was missing,
1 if anything was, or on an error, 2 wrong usage.

Examples:
  steadfast subscribe orders.eu
  steadfast subscribe 'orders.*' 'logs.>' --from earliest
  steadfast subscribe '>' --from earliest --until-head --discovery 10.0.0.21:7401,10.0.0.22:7401
  steadfast subscribe '>' --json --count 1";

/// `steadfast subscribe`
#[derive(Debug, Args)]
#[command(after_help = SUBSCRIBE_HELP)]
pub struct SubscribeArgs {
    /// Which topics
    #[arg(value_name = "FILTER", required = true, value_parser = text::filter)]
    pub filters: Vec<Filter>,
    #[command(flatten)]
    pub client: ClientArgs,
    #[command(flatten)]
    pub config: FileArgs,
    /// Where to begin: earliest, latest or a position
    #[arg(long, value_name = "WHERE", default_value = "latest", value_parser = text::start)]
    pub from: Start,
    /// Stop after this many records
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// Stop after everything that had been acknowledged, to anyone, when the command started; with
    /// --from earliest: print what there is and end
    #[arg(long)]
    pub until_head: bool,
    /// Write each record as one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `steadfast group`
#[derive(Debug, Subcommand)]
pub enum GroupCommand {
    /// Give up the data of a group whose in-sync brokers are all gone, so that others begin anew
    Force(ForceArgs),
}

const FORCE_HELP: &str = "\
A group waits for a broker that holds its acknowledged records. This command ends the waiting when
none will come back: the group begins anew with no records, in the next lineage. Every publisher
and subscriber is told; whatever was acknowledged and not yet delivered is lost.

It refuses while a broker that holds the records is registered. A broker that is paused or cut off
is not registered either: make sure that every one of them is stopped for good. One that still
serves clients would go on to acknowledge records which the new lineage never holds.

Exit status: 0 the data was given up, 1 it was not, 2 wrong usage.

Example:
  steadfast group force --zookeeper zk1:2181,zk2:2181,zk3:2181 --give-up-data";

/// `steadfast group force`
#[derive(Debug, Args)]
#[command(after_help = FORCE_HELP)]
pub struct ForceArgs {
    #[command(flatten)]
    pub service: ServiceArgs,
    #[command(flatten)]
    pub file: FileArgs,
    /// The group
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub group: Group,
    /// Yes: the records are gone, or may go
    #[arg(long, required = true)]
    pub give_up_data: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;
    use steadfast_runtime::configuration::{FLAGS, keys};

    #[test]
    fn the_definitions_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_example_in_the_help_parses() {
        let texts = [
            EXAMPLES,
            DEMO_HELP,
            BROKER_HELP,
            DISCOVERY_HELP,
            COORDINATION_HELP,
            PUBLISH_HELP,
            SUBSCRIBE_HELP,
            crate::cli::bench::args::HELP,
            crate::cli::bench::memory::HELP,
            crate::cli::config::HELP,
            crate::cli::drain::HELP,
            crate::cli::serve::HELP,
            crate::cli::status::HELP,
        ];
        let mut examples = 0;
        for line in texts.iter().flat_map(|text| text.lines()) {
            let Some(start) = line.find("steadfast ").filter(|_| line.starts_with("  ")) else { continue };
            let command = line[start..].split(" > ").next().unwrap_or_default();
            let words = command.split(['<', '|']).next().unwrap_or_default();
            let words = words.split_whitespace().map(|word| word.trim_matches('\''));
            Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{line}: {error}"));
            examples += 1;
        }
        assert!(examples >= 20, "only {examples} examples were found");
    }

    /// The defaults that the help names are those that hold.
    #[test]
    fn the_help_names_the_defaults_that_hold() {
        let commands = ["broker", "discovery", "publish"];
        let mut program = Cli::command();
        program.build();
        let helps: String = commands
            .map(|name| program.find_subcommand_mut(name).unwrap().render_long_help().to_string())
            .concat();
        let helps = helps.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut named = 0;
        for (key, flag) in FLAGS {
            assert!(helps.contains(flag), "{flag}");
            let default = keys().iter().find(|one| one.path == key).unwrap().default_text();
            if let Some(default) = default.filter(|_| flag != "--log-json" && flag != "--log") {
                assert!(helps.contains(&format!("[default: {default}]")), "{flag}: {default}");
                named += 1;
            }
        }
        assert!(named >= 8, "{named}");
    }
}
