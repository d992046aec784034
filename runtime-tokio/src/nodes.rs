//! Runs whole nodes: each with its sockets, its coordination port and its identities.

use crate::coordination::{Backing, Coordination};
use crate::driver::{NodePorts, drive_observed};
use crate::transport::{Kind, Transport};
use std::ops::ControlFlow;
use std::time::Duration;
use steadfast_core::coordination::service;
use steadfast_core::id::{Address, Group, NodeName};
use steadfast_core::node::Node;
use steadfast_core::{broker, discovery};
use steadfast_runtime::address::ListenError;
use steadfast_runtime::clock::Clock;
use steadfast_runtime::configuration::LAG_MARGIN;
use steadfast_runtime::coordination::Port;
use steadfast_runtime::identity;
use steadfast_runtime::inbox::{Sender, inbox};
use steadfast_runtime::metrics::Sink;
use steadfast_runtime::metrics::watch::{BrokerWatch, DiscoveryWatch};
use steadfast_runtime::observer::Observer;
use steadfast_runtime::recorder::Tape;
use tokio::task::JoinHandle;

/// A node that runs. Dropped, it ends at once, as a crash would end it.
#[derive(Debug)]
pub struct Running<C, E> {
    address: Address,
    commands: Sender<C>,
    task: JoinHandle<Option<E>>,
}

impl<C, E> Running<C, E> {
    /// Where it listens, with the port that the system chose.
    pub const fn address(&self) -> &Address {
        &self.address
    }

    /// Waits for the node's end: its last event. `None` when its task failed.
    pub async fn ended(&mut self) -> Option<E> {
        (&mut self.task).await.ok().flatten()
    }
}

impl Running<broker::Command, broker::Event> {
    /// Asks the broker to leave. [`Running::ended`] tells when it has.
    pub fn stop(&self) {
        let _ = self.commands.send(broker::Command::Shutdown);
    }
}

impl Running<discovery::Command, discovery::Event> {
    /// Asks the replica to leave. [`Running::ended`] tells when it has.
    pub fn stop(&self) {
        let _ = self.commands.send(discovery::Command::Shutdown);
    }
}

impl<C, E> Drop for Running<C, E> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A broker that runs.
pub type RunningBroker = Running<broker::Command, broker::Event>;
/// A discovery replica that runs.
pub type RunningDiscovery = Running<discovery::Command, discovery::Event>;
/// An embedded coordination service that runs, until it is dropped.
pub type RunningService = Running<service::Command, service::Event>;

/// What a broker is started with.
#[derive(Clone, Debug)]
pub struct BrokerOptions {
    /// Its name, kept over restarts.
    pub node: NodeName,
    /// Its group.
    pub group: Group,
    /// What its links are made of.
    pub transport: Kind,
    /// For so long after each turn its thread stays awake: see [`NodePorts::busy_poll`].
    pub busy_poll: Duration,
    /// Where it listens.
    pub listen: Address,
    /// Where others reach it; `None`: where it listens.
    pub advertise: Option<Address>,
    /// Where the cluster coordinates.
    pub coordination: Coordination,
    /// Where the cluster stands in the coordination tree.
    pub root: String,
    /// How it behaves. `timing.lag` is raised above the session timeout (R12).
    pub config: broker::Config,
}

/// What a discovery replica is started with.
#[derive(Clone, Debug)]
pub struct DiscoveryOptions {
    /// What its links are made of.
    pub transport: Kind,
    /// Where it listens.
    pub listen: Address,
    /// Where the cluster coordinates.
    pub coordination: Coordination,
    /// Where the cluster stands in the coordination tree.
    pub root: String,
    /// How it behaves.
    pub config: discovery::Config,
}

/// Starts a broker, with a new storage generation: its log is in memory (R22).
///
/// # Errors
/// When it cannot listen. Nothing is left behind then.
pub async fn start_broker(options: BrokerOptions) -> Result<RunningBroker, ListenError> {
    start_measured_broker(options, None).await
}

/// As [`start_broker`]; the broker's metrics go into the sink.
///
/// # Errors
/// As [`start_broker`].
pub async fn start_measured_broker(
    options: BrokerOptions,
    sink: Option<Sink>,
) -> Result<RunningBroker, ListenError> {
    start_recorded_broker(options, sink, None).await
}

/// As [`start_measured_broker`]; what goes into the broker is recorded on the tape.
///
/// # Errors
/// As [`start_broker`].
pub async fn start_recorded_broker(
    options: BrokerOptions,
    sink: Option<Sink>,
    tape: Option<Tape>,
) -> Result<RunningBroker, ListenError> {
    let transport = Transport::listen(options.transport, &options.listen).await?;
    let address = listening(&transport);
    let mut config = options.config;
    let session_timeout = options.coordination.session_timeout();
    if config.timing.lag <= session_timeout {
        config.timing.lag = session_timeout + LAG_MARGIN;
    }
    let clock = Clock::start();
    let name = options.node.to_string();
    let boot = broker::Boot {
        seed: identity::seed(),
        node: options.node,
        generation: identity::generation(),
        incarnation: identity::incarnation(),
        address: options.advertise.unwrap_or_else(|| address.clone()),
        group: options.group,
        root: options.root,
        config,
    };
    let now = clock.now();
    let recorder = tape.map(|tape| tape.record(boot.clone(), now));
    let node = broker::Broker::new(now, boot);
    let coordination = Some(options.coordination.open(options.transport));
    let watch = BrokerWatch::new(&name, sink);
    let busy_poll = options.busy_poll;
    Ok(run(node, clock, Start { name, address, transport, busy_poll, coordination }, (watch, recorder)))
}

/// Starts a discovery replica.
///
/// # Errors
/// When it cannot listen. Nothing is left behind then.
pub async fn start_discovery(options: DiscoveryOptions) -> Result<RunningDiscovery, ListenError> {
    start_measured_discovery(options, None).await
}

/// As [`start_discovery`]; the replica's metrics go into the sink, under its address.
///
/// # Errors
/// As [`start_discovery`].
pub async fn start_measured_discovery(
    options: DiscoveryOptions,
    sink: Option<Sink>,
) -> Result<RunningDiscovery, ListenError> {
    let transport = Transport::listen(options.transport, &options.listen).await?;
    let address = listening(&transport);
    let clock = Clock::start();
    let boot = discovery::Boot {
        seed: identity::seed(),
        replica: identity::random(),
        root: options.root,
        config: options.config,
    };
    let node = discovery::Discovery::new(clock.now(), boot);
    let coordination = Some(options.coordination.open(options.transport));
    let watch = DiscoveryWatch::new(host_and_port(&address), sink);
    let name = format!("discovery {address}");
    let busy_poll = Duration::ZERO;
    Ok(run(node, clock, Start { name, address, transport, busy_poll, coordination }, watch))
}

/// Starts an embedded coordination service with an empty tree.
///
/// # Errors
/// When it cannot listen.
pub async fn start_service(
    transport: Kind,
    listen: &Address,
    config: service::Config,
) -> Result<RunningService, ListenError> {
    let transport = Transport::listen(transport, listen).await?;
    let address = listening(&transport);
    let clock = Clock::start();
    let node = service::Service::new(clock.now(), service::Boot { seed: identity::seed(), config });
    let name = format!("coordination {address}");
    let busy_poll = Duration::ZERO;
    Ok(run(node, clock, Start { name, address, transport, busy_poll, coordination: None }, ()))
}

/// An address as a name in metrics.
pub fn host_and_port(address: &Address) -> &str {
    address.as_str().trim_start_matches("tcp://")
}

fn listening(transport: &Transport) -> Address {
    transport.address().expect("a listening transport has an address").clone()
}

struct Start {
    name: String,
    address: Address,
    transport: Transport,
    busy_poll: Duration,
    coordination: Option<(Port, Backing)>,
}

/// Spawns the node's driver. All events of these nodes are last words.
fn run<N, O>(node: N, clock: Clock, start: Start, observer: O) -> Running<N::Command, N::Event>
where
    N: Node + Send + 'static,
    O: Observer<N> + Send + 'static,
    N::Command: Send + 'static,
    N::Event: Send + 'static,
{
    let (commands, receiver) = inbox();
    let Start { name, address, transport, busy_poll, coordination } = start;
    let (port, backing) = coordination.unzip();
    let task = tokio::spawn(async move {
        let mut last = None;
        let on_event = |event| {
            last = Some(event);
            ControlFlow::Break(())
        };
        let ports = NodePorts {
            name,
            transport,
            commands: receiver,
            coordination: port,
            storage: None,
            busy_poll,
            on_event,
        };
        drive_observed(node, clock, ports, observer).await;
        if let Some(backing) = backing {
            backing.close().await;
        }
        last
    });
    Running { address, commands, task }
}
