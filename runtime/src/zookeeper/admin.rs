//! What is done once, before or after a cluster's life: is ZooKeeper there, and the root node.

use super::{Config, Spawner, convert, entered};
use async_io::Timer;
use futures::future::{Either, select};
use std::pin::pin;
use std::time::Duration;
use steadfast_core::coordination::CreateMode;
use zookeeper_client as zk;

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
    /// The servers do not know who this is.
    #[error(
        "ZooKeeper at {servers} refuses the credential: check coordination.auth_scheme and the credential"
    )]
    Credential {
        /// As given.
        servers: String,
    },
    /// A server answered with an error.
    #[error(
        "ZooKeeper at {servers} refused to {action}: {reason}; check the path, its access rights, and the credential"
    )]
    Refused {
        /// As given.
        servers: String,
        /// What was asked for.
        action: String,
        /// What it said.
        reason: zk::Error,
    },
}

/// Checks that ZooKeeper is there and lets this program use the node and what is below it. Creates
/// the chroot and the node where they are missing. Returns the session timeout that it grants.
///
/// # Errors
/// When the list of servers cannot be read, none of them answers in time, or one refuses.
pub async fn prepare(
    config: &Config,
    root: &str,
    timeout: Duration,
    spawner: &Spawner,
) -> Result<Duration, AdminError> {
    entered(spawner, async {
        if let Some(chroot) = &config.chroot {
            let whole = Config { chroot: None, ..config.clone() };
            let client = connect(&whole, timeout).await?;
            ensure(&client, config, chroot).await?;
        }
        let client = connect(config, timeout).await?;
        ensure(&client, config, root).await?;
        let listed = client.list_children(root).await;
        listed.map_err(|reason| refused(config, format!("read {root}"), reason))?;
        Ok(client.session_timeout())
    })
    .await
}

/// Removes the node and everything below it. Nothing else may write there any more.
///
/// # Errors
/// As [`prepare`].
pub async fn remove_root(
    config: &Config,
    path: &str,
    timeout: Duration,
    spawner: &Spawner,
) -> Result<(), AdminError> {
    entered(spawner, async {
        let client = connect(config, timeout).await?;
        let removed = remove(&client, path).await;
        removed.map_err(|reason| refused(config, format!("remove {path}"), reason))
    })
    .await
}

fn refused(config: &Config, action: String, reason: zk::Error) -> AdminError {
    AdminError::Refused { servers: config.connect_string(), action, reason }
}

/// Creates the node and every parent that is missing. One that exists is left alone: its parent may
/// be closed to this session.
async fn ensure(client: &zk::Client, config: &Config, path: &str) -> Result<(), AdminError> {
    let failed = |reason| refused(config, format!("create {path}"), reason);
    if client.check_stat(path).await.map_err(failed)?.is_some() {
        return Ok(());
    }
    let options = convert::options(CreateMode::Persistent, config.acls());
    client.mkdir(path, &options).await.map_err(failed)
}

async fn connect(config: &Config, timeout: Duration) -> Result<zk::Client, AdminError> {
    let servers = config.connect_string();
    let connected = pin!(config.connector().connect(&servers));
    match select(connected, Timer::after(timeout)).await {
        Either::Left((Ok(client), _)) => Ok(client),
        Either::Left((Err(zk::Error::BadArguments(reason)), _)) => {
            Err(AdminError::Servers { servers: servers.clone(), reason: (*reason).to_owned() })
        }
        Either::Left((Err(zk::Error::AuthFailed), _)) => {
            Err(AdminError::Credential { servers: servers.clone() })
        }
        _ => Err(AdminError::Unreachable { servers: servers.clone(), timeout }),
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
