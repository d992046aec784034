//! The coordination service that this program's nodes use.

use super::args::ServiceArgs;
use super::failure::Failure;
use super::tree::Tree;
use std::time::Duration;
use steadfast_core::coordination::service::Config;
use steadfast_core::id::Address;
use steadfast_runtime::zookeeper;
use steadfast_tokio::coordination::{Coordination, spawner};
use steadfast_tokio::nodes::{RunningService, start_service};

/// Session timeout of this program's own reads.
const SESSION_TIMEOUT: Duration = Duration::from_secs(2);

/// Which service, and where.
#[derive(Clone, Debug)]
pub enum Service {
    /// A ZooKeeper ensemble.
    ZooKeeper(Vec<Address>),
    /// An embedded coordination service, in this process or another one.
    Embedded(Address),
}

impl From<&ServiceArgs> for Service {
    fn from(args: &ServiceArgs) -> Self {
        match &args.coordination {
            Some(address) => Self::Embedded(address.clone()),
            None => Self::ZooKeeper(args.zookeeper.clone()),
        }
    }
}

impl Service {
    /// Serves an embedded service from this process, on a port of its own.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn embed() -> Result<(Self, RunningService), Failure> {
        let any = Address::new("tcp://127.0.0.1:0").expect("an address");
        let running = start_service(&any, Config::default()).await.map_err(Failure::complete)?;
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
            Self::ZooKeeper(_) => {
                Coordination::ZooKeeper(zookeeper::Config { servers: self.addresses(), session_timeout })
            }
            Self::Embedded(address) => Coordination::Embedded { address: address.clone(), session_timeout },
        }
    }

    /// Opens a session for this program's own reads.
    ///
    /// # Errors
    /// When the service does not answer in time.
    pub async fn open(&self, patience: Duration) -> Result<Tree, Failure> {
        let name = match self {
            Self::ZooKeeper(_) => format!("ZooKeeper at {}", self.addresses()),
            Self::Embedded(_) => format!("the coordination service at {}", self.addresses()),
        };
        Tree::open(self.coordination(SESSION_TIMEOUT).open(), &name, patience).await
    }

    /// Checks that it is there.
    ///
    /// # Errors
    /// When it does not answer in time.
    pub async fn probe(&self, patience: Duration) -> Result<(), Failure> {
        self.open(patience).await?.close().await;
        Ok(())
    }

    /// Removes a cluster. What an embedded service holds goes with its process anyway.
    ///
    /// # Errors
    /// When something is left.
    pub async fn remove(&self, root: &str, patience: Duration) -> Result<(), Failure> {
        match self {
            Self::Embedded(_) => Ok(()),
            Self::ZooKeeper(_) => {
                let removed = zookeeper::remove_root(&self.addresses(), root, patience, &spawner()).await;
                removed.map_err(|error| Failure::new(error, format!("remove {root} by hand")))
            }
        }
    }

    fn addresses(&self) -> String {
        let plain = |address: &Address| address.as_str().trim_start_matches("tcp://").to_owned();
        match self {
            Self::ZooKeeper(servers) => servers.iter().map(plain).collect::<Vec<_>>().join(","),
            Self::Embedded(address) => plain(address),
        }
    }
}
