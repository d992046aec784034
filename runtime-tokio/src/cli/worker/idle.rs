//! Clients that are connected and do nothing.

use super::super::args::ClientArgs;
use super::super::attached::Parent;
use super::super::failure::Failure;
use super::super::publish::{connect_failure, discovery};
use super::payload::{Factory, now};
use super::report::{Progress, Report};
use super::{not_attached, say};
use clap::Args;
use futures::stream::{self, StreamExt as _};
use std::time::Duration;
use steadfast_runtime::configuration::Configuration;
use steadfast_tokio::client::{Publisher, PublisherOptions, Subscriber, SubscriberOptions};

/// Clients that connect at the same time.
const AT_ONCE: usize = 16;
/// How long one may take: so many at once keep a small machine busy.
const PATIENCE: Option<Duration> = Some(Duration::from_secs(120));
/// A filter and a topic that do not match.
const FILTER: &str = "bench.idle";
const TOPIC: &str = "bench.once";

/// `steadfast worker idle`
#[derive(Debug, Args)]
pub struct IdleWorkerArgs {
    #[command(flatten)]
    pub client: ClientArgs,
    #[arg(long, default_value_t = 0)]
    subscribers: u32,
    /// Each publishes one record first.
    #[arg(long, default_value_t = 0)]
    publishers: u32,
    /// Bytes of that record.
    #[arg(long)]
    size: u32,
}

/// Connects, says how many are connected, and holds them until the parent ends this process.
///
/// # Errors
/// When there is no cluster, or the parent is gone.
pub async fn run(
    args: IdleWorkerArgs,
    configuration: &Configuration,
    parent: &Parent,
) -> Result<(), Failure> {
    let _orders = parent.take().ok_or_else(not_attached)?;
    let discovery = &discovery(configuration);
    let subscribers = connect_all(args.subscribers, || async {
        let options = subscriber_options(configuration);
        Subscriber::connect(discovery, [FILTER], options).await.map_err(connect_failure)
    });
    let _subscribers = subscribers.await?;
    let publishers = connect_all(args.publishers, || async {
        let options = publisher_options(configuration);
        let publisher = Publisher::connect(discovery, options).await.map_err(connect_failure)?;
        let payload = Factory::new(args.size as usize).make(0, now());
        let receipt = publisher.publish(TOPIC, payload).await.map_err(Failure::complete)?;
        receipt.await.map_err(Failure::complete)?;
        Ok(publisher)
    });
    let _publishers = publishers.await?;
    std::future::pending().await
}

/// Of one of many subscribers.
pub fn subscriber_options(configuration: &Configuration) -> SubscriberOptions {
    SubscriberOptions {
        transport: configuration.settings.transport.kind,
        busy_poll: Duration::ZERO,
        connect_timeout: PATIENCE,
        ..SubscriberOptions::default()
    }
}

/// Of one of many publishers.
pub fn publisher_options(configuration: &Configuration) -> PublisherOptions {
    PublisherOptions {
        transport: configuration.settings.transport.kind,
        busy_poll: Duration::ZERO,
        connect_timeout: PATIENCE,
        ..PublisherOptions::default()
    }
}

/// Connects so many clients, and reports how many are connected.
///
/// # Errors
/// When one does not connect.
pub async fn connect_all<T, F: Future<Output = Result<T, Failure>>>(
    count: u32,
    connect: impl Fn() -> F,
) -> Result<Vec<T>, Failure> {
    let mut clients = Vec::new();
    let mut connecting = stream::iter(0..count).map(|_| connect()).buffer_unordered(AT_ONCE);
    while let Some(client) = connecting.next().await {
        clients.push(client?);
        say(&Report::Progress(Progress { count: clients.len() as u64, ..Progress::default() }))?;
    }
    Ok(clients)
}
