//! `steadfast serve`: a whole cluster in this process, for development. Every node has a thread and a
//! runtime of its own, as if it were a process.

use super::failure::Failure;
use super::metrics::{MetricsArgs, prepare, start_exporter};
use super::node::{run_broker, run_discovery, run_service};
use super::service::Service;
use super::signals::asked_to_leave;
use super::status::wait_healthy;
use super::text;
use clap::Args;
use futures::FutureExt as _;
use futures::future::{Map, join_all, select_all};
use std::thread;
use std::time::Duration;
use steadfast_core::broker::retention::Retention;
use steadfast_core::compression::Codecs;
use steadfast_core::coordination::service;
use steadfast_core::id::{Address, NodeName};
use steadfast_core::{broker, discovery};
use steadfast_runtime::address::ListenError;
use steadfast_runtime::configuration::Configuration;
use steadfast_runtime::identity;
use steadfast_runtime::metrics::{Exporter, Sink};
use steadfast_tokio::nodes::{
    BrokerOptions, DiscoveryOptions, start_measured_broker, start_measured_discovery, start_service,
};
use steadfast_tokio::transport::{BUSY_POLL, Kind};
use tokio::sync::oneshot;

/// What the process and its cluster are called in metrics.
const NAME: &str = "serve";
/// Where `cluster.discovery` has its default.
const PORT_BASE: u16 = 7400;
/// How many discovery replicas: the second one shows that clients take several addresses.
const REPLICAS: u16 = 2;
/// The first broker's port, counted from the base.
const FIRST_BROKER: u16 = 11;
/// Most brokers: their ports are the ones from 11 to 19.
const MAX_BROKERS: u16 = 9;
/// How long nodes wait for each other's sessions.
const SESSION_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the cluster may take to become healthy, or ZooKeeper to answer.
const PATIENCE: Duration = Duration::from_secs(30);

pub const HELP: &str = "\
For development: all nodes are threads of this one process and all data is in its memory, so nothing
survives its end. What dies is the whole cluster; 'steadfast demo' shows failovers between processes.

Listens on 127.0.0.1 only. With the default base 7400: 7400 coordination, 7401 and 7402 discovery, 7411
and on the brokers. Prints 'ready' and what to type in another terminal when clients can use it; Ctrl-C
or SIGTERM ends it. The metrics of all nodes can go to an InfluxDB, as those of a real cluster; of the
configuration only the variables STEADFAST_METRICS_… count here.

Exit status: 0 when asked to end, or when every broker was drained; 1 when it cannot start or a node
fails; 2 wrong usage.

Examples:
  steadfast serve
  steadfast serve --brokers 2 --port-base 7500
  steadfast serve --zookeeper 127.0.0.1:2181";

/// `steadfast serve`
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct ServeArgs {
    /// How many brokers
    #[arg(
        long,
        value_name = "N",
        default_value_t = 3,
        value_parser = clap::value_parser!(u16).range(1..=i64::from(MAX_BROKERS))
    )]
    pub brokers: u16,
    /// The ports are counted from this one
    #[arg(
        long,
        value_name = "PORT",
        default_value_t = PORT_BASE,
        value_parser = clap::value_parser!(u16).range(1..=65_500)
    )]
    pub port_base: u16,
    /// Memory for the log of each broker. Retention keeps it below; one that is full all the same refuses
    /// records
    #[arg(long, value_name = "SIZE", default_value = "256MiB", value_parser = text::bytes)]
    pub log_limit: u64,
    /// Use this ZooKeeper ensemble, under a fresh node that is removed at the end
    /// [default: the embedded coordination service, in this process]
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',', value_parser = text::address)]
    pub zookeeper: Vec<Address>,
    #[command(flatten)]
    pub metrics: MetricsArgs,
}

/// Runs it until it is asked to end.
///
/// # Errors
/// When a node cannot start, or ends before.
pub async fn run(args: ServeArgs, configuration: &Configuration) -> Result<(), Failure> {
    let root = format!("/steadfast/serve-{:016x}", identity::seed());
    let exporter = start_exporter(prepare(configuration, NAME)?, NAME)?;
    let sink = exporter.as_ref().map(|exporter| exporter.sink().clone());
    let transport = configuration.settings.transport.kind;
    let mut cluster = Cluster { transport, sink, ..Cluster::default() };
    let service = cluster.coordinate(&args, &root).await?;
    let result = tokio::select! {
        result = cluster.serve(&args, &service, &root) => result,
        () = asked_to_leave() => Ok(()),
    };
    let stopped = cluster.stop().await;
    exporter.map(Exporter::close);
    let removed = service.remove(&root, PATIENCE).await;
    result.and(stopped).and(removed)
}

/// The nodes that run.
#[derive(Default)]
struct Cluster {
    /// What all connections are made of.
    transport: Kind,
    /// Outlives the others, which end their sessions there.
    service: Option<Thread>,
    nodes: Vec<Thread>,
    /// For the metrics of all of them.
    sink: Option<Sink>,
}

impl Cluster {
    /// Starts the embedded coordination service, or looks for the other one.
    async fn coordinate(&mut self, args: &ServeArgs, root: &str) -> Result<Service, Failure> {
        if !args.zookeeper.is_empty() {
            let service = Service::ensemble(&args.zookeeper);
            service.probe(self.transport, root, PATIENCE).await?;
            return Ok(service);
        }
        let address = local(args.port_base);
        let (transport, listen) = (self.transport, address.clone());
        let life = async move |life: Life| {
            let started = start_service(transport, &listen, service::Config::default()).await;
            let Some(running) = life.started.report(started) else { return Ok(()) };
            run_service(running, life.asked).await
        };
        self.service = Some(Thread::start("coordination", life).await?);
        Ok(Service::Embedded(address))
    }

    /// Starts the nodes, says what to do with them, and waits until one fails or no broker is left.
    async fn serve(&mut self, args: &ServeArgs, service: &Service, root: &str) -> Result<(), Failure> {
        let replicas: Vec<_> = (1..=REPLICAS).map(|n| local(args.port_base + n)).collect();
        for (listen, n) in replicas.iter().zip(1..) {
            self.nodes.push(self.start_replica(n, listen.clone(), service, root).await?);
        }
        for n in 1..=args.brokers {
            self.nodes.push(self.start_broker(n, args, service, root).await?);
        }
        let healthy = wait_healthy(self.transport, &replicas, usize::from(args.brokers), PATIENCE).await;
        healthy.map_err(|(failure, _)| failure)?;
        super::print(&welcome(args, &replicas))?;
        while self.nodes.len() > replicas.len() {
            self.one_ends().await?;
        }
        Ok(())
    }

    async fn start_replica(
        &self,
        n: u16,
        listen: Address,
        service: &Service,
        root: &str,
    ) -> Result<Thread, Failure> {
        let options = DiscoveryOptions {
            transport: self.transport,
            listen,
            coordination: service.coordination(SESSION_TIMEOUT),
            root: root.to_owned(),
            config: discovery::Config::default(),
        };
        let sink = self.sink.clone();
        let life = async move |life: Life| {
            let started = start_measured_discovery(options, sink).await;
            let Some(running) = life.started.report(started) else { return Ok(()) };
            run_discovery(running, life.asked).await
        };
        Thread::start(&format!("discovery-{n}"), life).await
    }

    async fn start_broker(
        &self,
        n: u16,
        args: &ServeArgs,
        service: &Service,
        root: &str,
    ) -> Result<Thread, Failure> {
        let name = format!("broker-{n}");
        let options = BrokerOptions {
            node: NodeName::new(&name).expect("a name"),
            group: 0,
            transport: self.transport,
            busy_poll: BUSY_POLL,
            listen: local(args.port_base + FIRST_BROKER + n - 1),
            advertise: None,
            coordination: service.coordination(SESSION_TIMEOUT),
            root: root.to_owned(),
            config: broker::Config {
                log_bytes: args.log_limit,
                retention: Retention { bytes: Some(args.log_limit / 2), ..Retention::default() },
                compression: Codecs::ALL,
                ..broker::Config::default()
            },
        };
        let sink = self.sink.clone();
        let life = async move |life: Life| {
            let started = start_measured_broker(options, sink).await;
            let Some(running) = life.started.report(started) else { return Ok(()) };
            run_broker(running, life.asked).await
        };
        Thread::start(&name, life).await
    }

    /// Waits until a node ends: without a failure, it was drained.
    async fn one_ends(&mut self) -> Result<(), Failure> {
        let ends = self.nodes.iter_mut().chain(&mut self.service).map(|thread| &mut thread.ended);
        let (result, ended, _) = select_all(ends).await;
        // It is not asked to leave any more.
        let thread = match ended < self.nodes.len() {
            true => Some(self.nodes.remove(ended)),
            false => self.service.take(),
        };
        result.unwrap_or_else(|_| Err(panicked()))?;
        thread.iter().for_each(|thread| eprintln!("{} has left", thread.name));
        Ok(())
    }

    /// Ends all nodes; the coordination service last.
    async fn stop(&mut self) -> Result<(), Failure> {
        let nodes = join_all(self.nodes.drain(..).map(Thread::stop)).await;
        let service = match self.service.take() {
            Some(service) => service.stop().await,
            None => Ok(()),
        };
        nodes.into_iter().collect::<Result<(), _>>().and(service)
    }
}

fn local(port: u16) -> Address {
    Address::new(&format!("tcp://127.0.0.1:{port}")).expect("an address")
}

/// What to do next.
fn welcome(args: &ServeArgs, replicas: &[Address]) -> String {
    let ports: Vec<_> =
        replicas.iter().map(|address| address.as_str().trim_start_matches("tcp://")).collect();
    let discovery = ports.join(",");
    // Other commands look at the usual ports by themselves.
    let option = match args.port_base {
        PORT_BASE => String::new(),
        _ => format!(" --discovery {discovery}"),
    };
    let first = args.port_base + FIRST_BROKER;
    let last = first + args.brokers - 1;
    format!(
        "\
ready: discovery at {discovery}, {} brokers at 127.0.0.1:{first} to {last}

In other terminals:
  steadfast subscribe 'orders.>'{option}
  echo '42 apples' | steadfast publish orders.eu{option}
  steadfast status --watch{option}
From Python: docs/clients/python/README.md

For development only: everything is in the memory of this one process, and gone when it ends.
Ctrl-C ends it.",
        args.brokers
    )
}

/// A node's thread. Told to end when this is dropped.
struct Thread {
    name: String,
    ask: oneshot::Sender<()>,
    ended: oneshot::Receiver<Result<(), Failure>>,
}

/// What a node's thread is given.
struct Life {
    started: Started,
    asked: Asked,
}

/// Tells whether the node has started.
struct Started(oneshot::Sender<Result<(), ListenError>>);

/// Ends when the node is asked to leave.
type Asked = Map<oneshot::Receiver<()>, fn(Result<(), oneshot::error::RecvError>)>;

impl Started {
    /// The node, if it has started.
    fn report<T>(self, started: Result<T, ListenError>) -> Option<T> {
        let (node, report) = match started {
            Ok(node) => (Some(node), Ok(())),
            Err(error) => (None, Err(error)),
        };
        // Nobody waits for it when the program is about to end.
        let _ = self.0.send(report);
        node
    }
}

impl Thread {
    /// Runs a node on a thread of its own; returns when it listens.
    async fn start<F>(name: &str, life: F) -> Result<Self, Failure>
    where
        F: AsyncFnOnce(Life) -> Result<(), Failure> + Send + 'static,
    {
        let cannot = |error: std::io::Error| {
            Failure::new(
                format!("cannot start {name}: {error}"),
                "raise the limits of open files and threads",
            )
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(cannot)?;
        let (ask, asked) = oneshot::channel();
        let (started, has_started) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let run = move || {
            let ignore: fn(_) = |_| ();
            let asked = asked.map(ignore);
            let result = runtime.block_on(life(Life { started: Started(started), asked }));
            // Nobody waits for it when the program is about to end.
            let _ = end.send(result);
        };
        thread::Builder::new().name(name.to_owned()).spawn(run).map_err(cannot)?;
        match has_started.await {
            Ok(Ok(())) => Ok(Self { name: name.to_owned(), ask, ended }),
            Ok(Err(error)) => Err(Failure::new(error, "or choose other ports with --port-base")),
            Err(_) => Err(panicked()),
        }
    }

    /// Asks the node to leave and waits until it has.
    async fn stop(self) -> Result<(), Failure> {
        let Self { ask, ended, .. } = self;
        drop(ask);
        ended.await.unwrap_or_else(|_| Err(panicked()))
    }
}

fn panicked() -> Failure {
    Failure::new("a node has ended by itself", "report what was said on standard error, and start again")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;
    use steadfast_runtime::configuration::keys;

    #[derive(clap::Parser)]
    struct Served {
        #[command(flatten)]
        args: ServeArgs,
    }

    /// Other commands find it without a flag, and are told of its ports where they are others.
    #[test]
    fn the_usual_ports_are_the_default_of_clients() {
        let text = |args: &[&str]| {
            let Served { args } = Served::parse_from(args);
            let replicas: Vec<_> = (1..=REPLICAS).map(|n| local(args.port_base + n)).collect();
            (welcome(&args, &replicas), replicas)
        };
        let (usual, replicas) = text(&["serve"]);
        let discovery = keys().iter().find(|key| key.path == "cluster.discovery").unwrap();
        let default = discovery.default_text().unwrap();
        assert_eq!(steadfast_runtime::address::parse_list(&default).unwrap(), replicas);
        assert!(!usual.contains("--discovery"), "{usual}");
        let (other, _) = text(&["serve", "--port-base", "7500"]);
        assert_eq!(other.matches(" --discovery 127.0.0.1:7501,127.0.0.1:7502").count(), 3, "{other}");
    }
}
