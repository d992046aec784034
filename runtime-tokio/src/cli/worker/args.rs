//! What the demo and the benchmark tell their workers.

use super::super::args::ClientArgs;
use super::super::metrics::MetricsArgs;
use super::super::text;
use super::crowd::CrowdArgs;
use super::idle::IdleWorkerArgs;
use clap::{Args, Subcommand};
use steadfast_core::filter::{Filter, Topic};

/// What a worker does.
#[derive(Debug, Subcommand)]
pub enum WorkerCommand {
    /// Publish numbered records.
    Publisher(PublisherWorkerArgs),
    /// Check what is delivered.
    Subscriber(SubscriberWorkerArgs),
    /// Hold clients that do nothing.
    Idle(IdleWorkerArgs),
    /// Many publishers, or many subscribers.
    Crowd(CrowdArgs),
}

/// `steadfast worker publisher`
#[derive(Debug, Args)]
pub struct PublisherWorkerArgs {
    #[command(flatten)]
    pub client: ClientArgs,
    #[command(flatten)]
    pub metrics: MetricsArgs,
    #[arg(long, value_parser = text::topic)]
    pub topic: Topic,
    /// Bytes of a record.
    #[arg(long)]
    pub size: u32,
    /// Records per second; 0: as fast as they are taken.
    #[arg(long)]
    pub rate: u32,
    /// Stop by itself after this many.
    #[arg(long)]
    pub records: Option<u64>,
}

/// `steadfast worker subscriber`
#[derive(Debug, Args)]
pub struct SubscriberWorkerArgs {
    #[command(flatten)]
    pub client: ClientArgs,
    #[arg(long, value_parser = text::filter)]
    pub filter: Filter,
}
