//! What is done once, before or after a cluster's life: is ZooKeeper there, and the root node.

use super::{Spawner, convert, entered};
use async_io::Timer;
use futures::future::{Either, select};
use std::pin::pin;
use std::time::Duration;
use steadfast_core::coordination::CreateMode;
use zookeeper_client as zk;

/// How long a session used here lives, in case this process dies before it closes it.
const SESSION_TIMEOUT: Duration = Duration::from_secs(4);

/// Why ZooKeeper cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The list of servers cannot be read.
    #[error("{servers:?} is not a list of ZooKeeper servers: {reason}; write HOST:PORT[,HOST:PORT...]")]
    Servers {
        /// As given.
        servers: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No server answered.
    #[error(
        "no ZooKeeper server answered at {servers} within {} s: start ZooKeeper there, or name servers that run",
        .timeout.as_secs_f32()
    )]
    Unreachable {
        /// As given.
        servers: String,
        /// How long it was tried.
        timeout: Duration,
    },
    /// A server answered with an error.
    #[error("ZooKeeper at {servers} refused to {action}: {reason}; check the path and its access rights")]
    Refused {
        /// As given.
        servers: String,
        /// What was asked for.
        action: String,
        /// What it said.
        reason: zk::Error,
    },
}

/// Opens and closes a session.
///
/// # Errors
/// When the list of servers cannot be read, or none of them answers in time.
pub async fn probe(servers: &str, timeout: Duration, spawner: &Spawner) -> Result<(), AdminError> {
    entered(spawner, async { connect(servers, timeout).await.map(drop) }).await
}

/// Creates the node and every parent that is missing.
///
/// # Errors
/// As [`probe`], and when ZooKeeper refuses.
pub async fn ensure_root(
    servers: &str,
    path: &str,
    timeout: Duration,
    spawner: &Spawner,
) -> Result<(), AdminError> {
    entered(spawner, async {
        let client = connect(servers, timeout).await?;
        let made = client.mkdir(path, &convert::options(CreateMode::Persistent)).await;
        made.map_err(|reason| refused(servers, format!("create {path}"), reason))
    })
    .await
}

/// Removes the node and everything below it. Nothing else may write there any more.
///
/// # Errors
/// As [`probe`], and when ZooKeeper refuses.
pub async fn remove_root(
    servers: &str,
    path: &str,
    timeout: Duration,
    spawner: &Spawner,
) -> Result<(), AdminError> {
    entered(spawner, async {
        let client = connect(servers, timeout).await?;
        let removed = remove(&client, path).await;
        removed.map_err(|reason| refused(servers, format!("remove {path}"), reason))
    })
    .await
}

fn refused(servers: &str, action: String, reason: zk::Error) -> AdminError {
    AdminError::Refused { servers: servers.to_owned(), action, reason }
}

async fn connect(servers: &str, timeout: Duration) -> Result<zk::Client, AdminError> {
    let connector = zk::Client::connector().with_session_timeout(SESSION_TIMEOUT);
    let connected = pin!(connector.connect(servers));
    match select(connected, Timer::after(timeout)).await {
        Either::Left((Ok(client), _)) => Ok(client),
        Either::Left((Err(zk::Error::BadArguments(reason)), _)) => {
            Err(AdminError::Servers { servers: servers.to_owned(), reason: (*reason).to_owned() })
        }
        _ => Err(AdminError::Unreachable { servers: servers.to_owned(), timeout }),
    }
}

/// Depth first, with a list in place of recursion: a node is met a second time when its children
/// are gone.
async fn remove(client: &zk::Client, path: &str) -> Result<(), zk::Error> {
    let mut stack = vec![path.to_owned()];
    while let Some(path) = stack.last() {
        match client.delete(path, None).await {
            Ok(()) | Err(zk::Error::NoNode) => {
                stack.pop();
            }
            Err(zk::Error::NotEmpty) => {
                let parent = path.clone();
                let names = client.list_children(&parent).await?;
                stack.extend(names.into_iter().map(|name| format!("{parent}/{name}")));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
