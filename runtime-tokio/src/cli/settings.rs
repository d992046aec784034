//! From flags to a configuration: which flag sets which key, and which commands read a file.

use super::args::{
    BrokerArgs, Cli, ClientArgs, Command, DiscoveryArgs, FileArgs, GroupCommand, ListenArgs, LogArgs,
    LogLevel, ServiceArgs,
};
use super::bench::args::{Bench, BenchArgs};
use super::config::ConfigCommand;
use super::failure::Failure;
use super::metrics::MetricsArgs;
use super::worker::args::WorkerCommand;
use std::path::PathBuf;
use steadfast_runtime::configuration::{self, Configuration, Environment, Flag, Problems, Sources, Value};
use steadfast_runtime::logs::{self, Destination, LogGuard};
use tracing::warn;

/// Reads and checks what the command needs.
///
/// # Errors
/// When something is wrong with it. `steadfast config` prints each problem, other commands the first.
pub fn load(cli: &Cli) -> Result<Configuration, Failure> {
    let mut flags = Flags::default();
    flags.logs(&cli.log);
    flags.text("transport.kind", cli.transport.kind.as_deref());
    let sources = match flags.add(&cli.command) {
        Some(file) => Sources::of_process(file, flags.0),
        None => Sources { file: None, places: &[], environment: own(&cli.command), flags: flags.0 },
    };
    configuration::load(sources).map_err(|problems| match &cli.command {
        Command::Config(_) => print_all(&problems),
        _ => Failure::usage(problems),
    })
}

/// The environment of a command that reads no configuration: a cluster of its own takes from it only
/// where its metrics go, a role of a benchmark only how it is connected.
fn own(command: &Command) -> Environment {
    let prefix = match command {
        Command::Serve(_) => "STEADFAST_METRICS_",
        Command::Bench(BenchArgs { what: Bench::Role(_), .. }) => "STEADFAST_TRANSPORT_",
        _ => return Environment::new(),
    };
    configuration::environment().into_iter().filter(|(name, _)| name.starts_with(prefix)).collect()
}

/// Prints all problems but the last one, which is the failure.
pub fn print_all(problems: &Problems) -> Failure {
    let mut failures: Vec<_> = problems.iter().map(Failure::usage).collect();
    let last = failures.pop();
    failures.iter().for_each(super::tell);
    last.unwrap_or_else(|| Failure::usage(problems))
}

/// Begins to log. Brokers and discovery replicas may have log files; other commands are run by people.
///
/// # Errors
/// When the log files cannot be written.
pub fn start_logs(command: &Command, configuration: &Configuration) -> Result<LogGuard, Failure> {
    let destination = match command {
        Command::Broker(_) => {
            let name = configuration.settings.broker.name.as_ref();
            configuration.logs(&name.map_or_else(|| "broker".to_owned(), |name| format!("broker.{name}")))
        }
        Command::Discovery(_) => configuration.logs("discovery"),
        _ => Destination::StandardError,
    };
    let logging = &configuration.settings.logging;
    let guard = logs::start(logging.level.clone(), logging.format, destination).map_err(Failure::complete)?;
    for line in configuration.unknown_variables() {
        warn!(target: "steadfast", "{line}");
    }
    Ok(guard)
}

#[derive(Default)]
struct Flags(Vec<Flag>);

impl Flags {
    /// Adds the command's flags. Returns the file that was named, or nothing for commands that read
    /// no configuration.
    fn add(&mut self, command: &Command) -> Option<Option<PathBuf>> {
        let file = match command {
            Command::Broker(args) => self.broker(args),
            Command::Discovery(args) => self.discovery(args),
            Command::Drain(args) => self.client(&args.client, &args.file),
            Command::Group(GroupCommand::Force(args)) => {
                self.service(&args.service);
                &args.file
            }
            Command::Publish(args) => self.client(&args.client, &args.config),
            Command::Subscribe(args) => self.client(&args.client, &args.config),
            Command::Status(args) => self.client(&args.client, &args.config),
            Command::Config(args) => match &args.what {
                ConfigCommand::Check(file) => file,
                ConfigCommand::Show(args) => &args.file,
                ConfigCommand::Default => return None,
            },
            Command::Worker(worker) => {
                let client = match worker {
                    WorkerCommand::Publisher(args) => {
                        self.metrics(&args.metrics);
                        &args.client
                    }
                    WorkerCommand::Subscriber(args) => &args.client,
                    WorkerCommand::Idle(args) => &args.client,
                    WorkerCommand::Crowd(args) => &args.client,
                };
                self.list("cluster.discovery", &client.discovery);
                return None;
            }
            Command::Bench(args) => {
                if let Bench::Own(what) = &args.what {
                    self.metrics(&what.options().metrics);
                }
                return None;
            }
            Command::Serve(args) => {
                self.metrics(&args.metrics);
                return None;
            }
            Command::Demo(_) | Command::Coordination(_) => return None,
        };
        Some(file.config.clone())
    }

    fn broker<'a>(&mut self, args: &'a BrokerArgs) -> &'a FileArgs {
        self.service(&args.service);
        self.listen(["broker.listen", "broker.advertise"], &args.listen);
        self.text("broker.name", args.name.as_deref());
        self.text("broker.log_limit", args.log_limit.as_deref());
        self.text("broker.retention.bytes", args.retention.retention_bytes.as_deref());
        self.text("broker.retention.records", args.retention.retention_records.as_deref());
        self.text("broker.retention.age", args.retention.retention_age.as_deref());
        self.text("broker.on_total_loss", args.on_total_loss.as_deref());
        self.text("broker.compression", args.compression.as_deref());
        self.text("broker.record", args.record.as_deref());
        self.text("recovery.suspicion", args.suspicion.as_deref());
        self.metrics(&args.metrics);
        &args.file
    }

    fn discovery<'a>(&mut self, args: &'a DiscoveryArgs) -> &'a FileArgs {
        self.service(&args.service);
        self.listen(["discovery.listen", "discovery.advertise"], &args.listen);
        self.text("discovery.min_in_sync", args.min_in_sync.as_deref());
        self.metrics(&args.metrics);
        &args.file
    }

    fn client<'a>(&mut self, args: &ClientArgs, file: &'a FileArgs) -> &'a FileArgs {
        self.list("cluster.discovery", &args.discovery);
        file
    }

    fn service(&mut self, args: &ServiceArgs) {
        self.list("coordination.zookeeper", &args.zookeeper);
        self.text("coordination.embedded", args.coordination.as_deref());
        self.text("cluster.name", args.cluster.as_deref());
        self.text("coordination.session_timeout", args.session_timeout.as_deref());
        self.text("coordination.connect_timeout", args.connect_timeout.as_deref());
    }

    fn listen(&mut self, [listen, advertise]: [&'static str; 2], args: &ListenArgs) {
        self.text(listen, args.listen.as_deref());
        self.text(advertise, args.advertise.as_deref());
    }

    fn metrics(&mut self, args: &MetricsArgs) {
        self.text("metrics.url", args.metrics_url.as_deref());
        self.text("metrics.org", args.metrics_org.as_deref());
        self.text("metrics.bucket", args.metrics_bucket.as_deref());
        self.text("metrics.token_file", args.metrics_token_file.as_deref());
        self.text("metrics.interval", args.metrics_interval.as_deref());
    }

    fn logs(&mut self, args: &LogArgs) {
        let level = args.log.map(|level| match level {
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
            LogLevel::Trace => "trace",
        });
        self.text("logging.level", level);
        self.text("logging.format", args.log_json.then_some("json"));
    }

    fn text(&mut self, key: &'static str, value: Option<&str>) {
        self.0.extend(value.map(|value| Flag { key, value: Value::from(value) }));
    }

    fn list(&mut self, key: &'static str, values: &[String]) {
        if !values.is_empty() {
            self.text(key, Some(&values.join(",")));
        }
    }
}
