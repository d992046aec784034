//! The coordination service that this program's nodes use.

use super::failure::Failure;
use super::tree::Tree;
use std::time::Duration;
use steadfast_core::coordination::service::Config;
use steadfast_core::id::Address;
use steadfast_runtime::configuration::Configuration;
use steadfast_runtime::zookeeper;
use steadfast_tokio::coordination::{Coordination, spawner};
use steadfast_tokio::nodes::{RunningService, start_service};
use steadfast_tokio::transport::Kind;

/// Session timeout of this program's own reads.
const SESSION_TIMEOUT: Duration = Duration::from_secs(2);

/// Which service, and where.
#[derive(Clone, Debug)]
pub enum Service {
    /// A ZooKeeper ensemble.
    ZooKeeper(zookeeper::Config),
    /// An embedded coordination service, in this process or another one.
    Embedded(Address),
}

impl Service {
    /// The one that the configuration names.
    ///
    /// # Errors
    /// When it names none, or the credential cannot be read.
    pub fn of(configuration: &Configuration) -> Result<Self, Failure> {
        let coordination = &configuration.settings.coordination;
        match (&coordination.zookeeper, &coordination.embedded) {
            (Some(servers), _) => Ok(Self::ZooKeeper(zookeeper::Config {
                chroot: coordination.chroot().map(str::to_owned),
                auth: configuration.auth().map_err(Failure::usage)?,
                session_timeout: coordination.session_timeout,
                ..zookeeper::Config::new(plain(&servers.addresses))
            })),
            (None, Some(address)) => Ok(Self::Embedded(address.clone())),
            (None, None) => Err(Failure::usage(
                "no coordination service is named; give --zookeeper HOST:PORT or --coordination HOST:PORT, or set zookeeper or embedded in [coordination] of the configuration file",
            )),
        }
    }

    /// A ZooKeeper ensemble without access control.
    pub fn ensemble(servers: &[Address]) -> Self {
        Self::ZooKeeper(zookeeper::Config {
            session_timeout: SESSION_TIMEOUT,
            ..zookeeper::Config::new(plain(servers))
        })
    }

    /// Serves an embedded service from this process, on a port of its own.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn embed(transport: Kind) -> Result<(Self, RunningService), Failure> {
        let any = Address::new("tcp://127.0.0.1:0").expect("an address");
        let running = start_service(transport, &any, Config::default()).await.map_err(Failure::complete)?;
        Ok((Self::Embedded(running.address().clone()), running))
    }

    /// How a node is told of it.
    pub fn args(&self) -> [String; 2] {
        match self {
            Self::ZooKeeper(_) => ["--zookeeper".into(), self.addresses()],
            Self::Embedded(_) => ["--coordination".into(), self.addresses()],
        }
    }

    /// As the adapter wants it.
    pub fn coordination(&self, session_timeout: Duration) -> Coordination {
        match self {
            Self::ZooKeeper(config) => {
                Coordination::ZooKeeper(zookeeper::Config { session_timeout, ..config.clone() })
            }
            Self::Embedded(address) => Coordination::Embedded { address: address.clone(), session_timeout },
        }
    }

    /// Checks that it is there and lets this program use the root and what is below it. Returns the
    /// session timeout that ZooKeeper grants; an embedded service grants what it is asked for.
    ///
    /// # Errors
    /// When it does not answer in time, or refuses.
    pub async fn probe(
        &self,
        transport: Kind,
        root: &str,
        patience: Duration,
    ) -> Result<Option<Duration>, Failure> {
        match self {
            Self::ZooKeeper(config) => {
                let granted = zookeeper::prepare(config, root, patience, &spawner()).await;
                granted.map(Some).map_err(Failure::complete)
            }
            Self::Embedded(_) => {
                self.open(transport, patience).await?.close().await;
                Ok(None)
            }
        }
    }

    /// Opens a session for this program's own reads.
    ///
    /// # Errors
    /// When the service does not answer in time.
    pub async fn open(&self, transport: Kind, patience: Duration) -> Result<Tree, Failure> {
        let name = match self {
            Self::ZooKeeper(_) => format!("ZooKeeper at {}", self.addresses()),
            Self::Embedded(_) => format!("the coordination service at {}", self.addresses()),
        };
        Tree::open(self.coordination(SESSION_TIMEOUT).open(transport), &name, patience).await
    }

    /// Removes a cluster. What an embedded service holds goes with its process anyway.
    ///
    /// # Errors
    /// When something is left.
    pub async fn remove(&self, root: &str, patience: Duration) -> Result<(), Failure> {
        match self {
            Self::Embedded(_) => Ok(()),
            Self::ZooKeeper(config) => {
                let removed = zookeeper::remove_root(config, root, patience, &spawner()).await;
                removed.map_err(|error| Failure::new(error, format!("remove {root} by hand")))
            }
        }
    }

    fn addresses(&self) -> String {
        match self {
            Self::ZooKeeper(config) => config.servers.clone(),
            Self::Embedded(address) => plain(std::slice::from_ref(address)),
        }
    }
}

/// Addresses as ZooKeeper and people write them.
fn plain(addresses: &[Address]) -> String {
    let plain = addresses.iter().map(|address| address.as_str().trim_start_matches("tcp://"));
    plain.collect::<Vec<_>>().join(",")
}
