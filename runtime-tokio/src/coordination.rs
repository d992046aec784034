//! What stands behind a node's coordination port: a real ZooKeeper, or the embedded service.

use crate::driver::{NodePorts, drive};
use crate::transport::{Kind, Transport};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;
use steadfast_core::coordination::client;
use steadfast_core::id::Address;
use steadfast_core::limits::Timing;
use steadfast_runtime::clock::Clock;
use steadfast_runtime::coordination::{Backend, Port, port};
use steadfast_runtime::identity;
use steadfast_runtime::zookeeper::{self, Config, Spawn, Spawner};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How long a session may take to end before its backend is given up.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

/// Where a cluster coordinates.
#[derive(Clone, Debug)]
pub enum Coordination {
    /// At an embedded service.
    Embedded {
        /// Where it listens.
        address: Address,
        /// How long a session outlives its process.
        session_timeout: Duration,
    },
    /// On ZooKeeper.
    ZooKeeper(Config),
}

impl Coordination {
    /// How long a session outlives its process.
    pub const fn session_timeout(&self) -> Duration {
        match self {
            Self::Embedded { session_timeout, .. } => *session_timeout,
            Self::ZooKeeper(config) => config.session_timeout,
        }
    }

    /// A port there, for one node that uses this transport.
    pub fn open(&self, transport: Kind) -> (Port, Backing) {
        match self {
            Self::Embedded { address, session_timeout } => {
                embedded(transport, address.clone(), *session_timeout)
            }
            Self::ZooKeeper(config) => zookeeper(config.clone()),
        }
    }
}

/// A task behind a port. Dropped, it ends at once; [`Backing::close`] lets it end its session.
#[derive(Debug)]
pub struct Backing(JoinHandle<()>);

impl Backing {
    /// Waits until the task has ended by itself, as it does when its port is dropped.
    pub async fn close(mut self) {
        let _ = timeout(CLOSE_TIMEOUT, &mut self.0).await;
    }
}

impl Drop for Backing {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct OnTokio;

impl Spawn for OnTokio {
    fn spawn(&self, task: zookeeper::Task) {
        tokio::spawn(Box::into_pin(task.future));
    }
}

/// Spawns the ZooKeeper client's tasks on the current tokio runtime.
pub fn spawner() -> Spawner {
    Arc::new(OnTokio)
}

/// A port on a real ZooKeeper.
pub fn zookeeper(config: Config) -> (Port, Backing) {
    let (port, backend) = port();
    (port, Backing(tokio::spawn(zookeeper::serve(config, spawner(), backend))))
}

/// A port at an embedded service: the service's client, driven like any node.
pub fn embedded(transport: Kind, address: Address, session_timeout: Duration) -> (Port, Backing) {
    let (port, Backend { requests, events }) = port();
    let clock = Clock::start();
    let timing = Timing::default();
    let boot = client::Boot { seed: identity::seed(), address, timeout: session_timeout, timing };
    let client = client::Client::new(clock.now(), boot);
    let on_event = move |event| match events.send(event) {
        Ok(()) => ControlFlow::Continue(()),
        Err(_) => ControlFlow::Break(()),
    };
    let ports = NodePorts {
        name: "coordination client".into(),
        transport: Transport::dial_only(transport),
        commands: requests,
        coordination: None,
        storage: None,
        busy_poll: Duration::ZERO,
        on_event,
    };
    (port, Backing(tokio::spawn(drive(client, clock, ports))))
}
