//! What stands behind a node's coordination port: a real ZooKeeper, or the embedded service.

use std::sync::Arc;
use std::time::Duration;
use steadfast_runtime::coordination::{Port, port};
use steadfast_runtime::zookeeper::{self, Config, Spawn, Spawner};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How long a session may take to end before its backend is given up.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

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
