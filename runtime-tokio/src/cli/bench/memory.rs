//! `steadfast bench memory`: what brokers take of memory, as the system counts it.

use super::super::cluster::Cluster;
use super::super::display::{Display, Goal};
use super::super::failure::Failure;
use super::super::process::Process;
use super::super::text;
use super::super::trial::{Results, Trial};
use super::args::BenchOptions;
use super::crowd::{Crowd, Shape, connected};
use super::growth::TOPIC_BATCH;
use super::lab::{Lab, retaining};
use super::steady::{complete, per_second, start, work};
use super::usage::{Usage, mib};
use clap::{Args, Subcommand};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::time::Duration;
use steadfast_core::limits::MAX_TOPICS;
use tokio::time::{Instant, sleep};

/// After this long, what begins is over, and memory is what it stays.
const SETTLE: Duration = Duration::from_secs(1);
/// Between two looks at a broker's memory, or less where there would be few of them.
const SAMPLE: Duration = Duration::from_secs(1);
/// How long it may take to fill the log, to drop a broker, or to bring one back under full load.
const PATIENCE: Duration = Duration::from_secs(300);
/// What brokers retain while topics are counted, in bytes: little, and the same before and after.
const BESIDE_TOPICS: u64 = 16 << 20;
/// How often the log is filled anew before it is looked at: buffers then have the size that they keep.
const ROUNDS: u64 = 8;
/// How often each topic has its turn.
const TURNS: u64 = 2;
/// Beyond so many bytes topics are not counted: it would take minutes.
const MOST_PUBLISHED: u64 = 32 << 30;
/// How often publishers come and go, for the memory of sessions without them.
const GENERATIONS: u32 = 4;

/// Its help.
pub const HELP: &str = "\
Starts one primary, one backup and the clients as processes of their own, and reads the brokers'
memory from /proc.

Examples:
  steadfast bench memory clients
  steadfast bench memory load --retention 256MiB --time 10m
  steadfast bench memory topics
  steadfast bench memory snapshot --json";

/// `steadfast bench memory`
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct MemoryArgs {
    /// What takes memory
    #[command(subcommand)]
    what: Memory,
}

/// What takes memory.
#[derive(Debug, Subcommand)]
enum Memory {
    /// Connected clients that do nothing, and sessions whose publishers are gone
    Clients(ClientsArgs),
    /// As much load as one publisher makes
    Load(LoadArgs),
    /// Topics that were published to
    Topics(TopicsArgs),
    /// Snapshots under load: to a backup that was killed, and to one that was paused
    Snapshot(SnapshotArgs),
}

#[derive(Debug, Args)]
struct ClientsArgs {
    #[command(flatten)]
    options: BenchOptions,
    /// How many subscribers, and how many publishers
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=2_000))]
    clients: u32,
}

#[derive(Debug, Args)]
struct TopicsArgs {
    #[command(flatten)]
    options: BenchOptions,
    /// How many; of more than this a broker forgets the one that was published to longest ago
    #[arg(long, value_name = "N", default_value_t = MAX_TOPICS as u32, value_parser = clap::value_parser!(u32).range(1..=MAX_TOPICS as i64))]
    topics: u32,
}

#[derive(Debug, Args)]
struct LoadArgs {
    #[command(flatten)]
    options: BenchOptions,
    #[command(flatten)]
    kept: Kept,
    /// For how long
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = text::duration)]
    time: Duration,
}

#[derive(Debug, Args)]
struct SnapshotArgs {
    #[command(flatten)]
    options: BenchOptions,
    #[command(flatten)]
    kept: Kept,
}

#[derive(Debug, Args)]
struct Kept {
    /// What the brokers retain
    #[arg(long, value_name = "SIZE", default_value = "256MiB", value_parser = text::bytes)]
    retention: u64,
}

impl MemoryArgs {
    /// The options of every benchmark.
    pub const fn options(&self) -> &BenchOptions {
        match &self.what {
            Memory::Clients(args) => &args.options,
            Memory::Load(args) => &args.options,
            Memory::Topics(args) => &args.options,
            Memory::Snapshot(args) => &args.options,
        }
    }

    /// Further options of the brokers.
    pub fn broker_options(&self) -> Vec<String> {
        let retention = match &self.what {
            Memory::Clients(_) => return Vec::new(),
            Memory::Load(args) => args.kept.retention,
            Memory::Topics(_) => BESIDE_TOPICS,
            Memory::Snapshot(args) => args.kept.retention,
        };
        retaining(retention)
    }

    /// What its own options say.
    pub fn settings(&self) -> Value {
        match &self.what {
            Memory::Clients(args) => json!({ "what": "clients", "clients": args.clients }),
            Memory::Topics(args) => json!({ "what": "topics", "topics": args.topics }),
            Memory::Load(args) => json!({
                "what": "load",
                "retention_mib": mib(args.kept.retention),
                "seconds": args.time.as_secs_f64(),
            }),
            Memory::Snapshot(args) => {
                json!({ "what": "snapshot", "retention_mib": mib(args.kept.retention) })
            }
        }
    }
}

/// Measures.
///
/// # Errors
/// When something does not start or does not come back, or records are lost.
pub async fn measure(lab: &Lab, args: &MemoryArgs) -> Result<Value, Failure> {
    let measured = async |cluster: &mut Cluster| match &args.what {
        Memory::Clients(args) => clients(cluster, args, lab.display()).await,
        Memory::Load(args) => load(cluster, args, lab.display()).await,
        Memory::Topics(args) => topics(cluster, args, lab.display()).await,
        Memory::Snapshot(args) => snapshot(cluster, args, lab.display()).await,
    };
    lab.on_cluster(2, args.broker_options(), measured).await
}

/// Memory of the primary, the backup and the discovery replica.
#[derive(Clone, Copy, Debug)]
struct Nodes([Usage; 3]);

impl Nodes {
    fn of(cluster: &Cluster) -> Result<Self, Failure> {
        let (primary, backup) = roles(cluster)?;
        let discovery = cluster.discovery().next().ok_or_else(|| cluster.unexpected())?.0;
        let usage = |process: &Process| Usage::of(process.pid());
        Ok(Self([usage(primary)?, usage(backup)?, usage(discovery)?]))
    }

    fn resident_mib(&self) -> Value {
        named(self.0.map(|usage| mib(usage.resident).into()))
    }

    fn peak_mib(&self) -> Value {
        named(self.0.map(|usage| mib(usage.peak).into()))
    }

    /// Bytes for each of so many since then. What was freed meanwhile makes it negative.
    fn each_since(&self, before: &Self, count: u32) -> Value {
        let grown = |now: Usage, before: Usage| now.resident as i64 - before.resident as i64;
        let [primary, backup, discovery] = [0, 1, 2].map(|node| grown(self.0[node], before.0[node]));
        named([primary, backup, discovery].map(|bytes| (bytes / i64::from(count)).into()))
    }
}

fn named([primary, backup, discovery]: [Value; 3]) -> Value {
    json!({ "primary": primary, "backup": backup, "discovery": discovery })
}

/// The primary and the backup.
fn roles(cluster: &Cluster) -> Result<(&Process, &Process), Failure> {
    let (primary, backups) = cluster.roles()?;
    let backup = backups.first().ok_or_else(|| cluster.unexpected())?;
    Ok((primary, backup))
}

async fn clients(cluster: &mut Cluster, args: &ClientsArgs, mut display: Display) -> Result<Value, Failure> {
    let (count, size) = (args.clients, args.options.size);
    let epoch = cluster.state().map(|state| state.epoch);
    sleep(SETTLE).await;
    let alone = Nodes::of(cluster)?;
    let subscribers = idle(cluster, &mut display, ("subscribers", count, size)).await?;
    let subscribed = Nodes::of(cluster)?;
    let publishers = idle(cluster, &mut display, ("publishers", count, size)).await?;
    let connected = Nodes::of(cluster)?;
    end(publishers).await;
    // The first to leave also leave memory behind that the next ones take.
    let before = Nodes::of(cluster)?;
    for _ in 0..GENERATIONS {
        end(idle(cluster, &mut display, ("publishers", count, size)).await?).await;
    }
    let after = Nodes::of(cluster)?;
    end(subscribers).await;
    display.end();
    unchanged(cluster, epoch, "try again with less load on the machine, or fewer --clients")?;
    let sessions = count * GENERATIONS;
    Ok(json!({
        "alone_mib": alone.resident_mib(),
        "connected_mib": connected.resident_mib(),
        "bytes_per_subscriber": subscribed.each_since(&alone, count),
        "bytes_per_publisher": connected.each_since(&subscribed, count),
        "bytes_per_session_without_publisher": after.each_since(&before, sessions),
    }))
}

/// Another primary, and nothing is where it was.
fn unchanged(cluster: &Cluster, epoch: Option<u64>, remedy: &str) -> Result<(), Failure> {
    match cluster.state().map(|state| state.epoch) == epoch {
        true => Ok(()),
        false => Err(Failure::new("the primary has changed while it was measured", remedy)),
    }
}

/// Connects clients that do nothing, and waits until all are there.
///
/// # Errors
/// When they do not connect in time.
pub async fn idle(
    cluster: &Cluster,
    display: &mut Display,
    (kind, count, size): (&str, u32, u32),
) -> Result<Process, Failure> {
    let args = ["idle", &format!("--{kind}"), &count.to_string(), "--size", &size.to_string()];
    let mut process = cluster.start_worker(kind, &args.map(str::to_owned))?;
    connected(&mut process, display, (kind, count)).await?;
    sleep(SETTLE).await;
    Ok(process)
}

/// Ends them.
pub async fn end(mut process: Process) {
    process.signal(Signal::KILL);
    process.ended().await;
    sleep(SETTLE).await;
}

/// The same load on one topic, then on many, each of which has its turn.
async fn topics(cluster: &mut Cluster, args: &TopicsArgs, mut display: Display) -> Result<Value, Failure> {
    let batch = u64::from(TOPIC_BATCH) * u64::from(args.options.size);
    let batches = (TURNS * u64::from(args.topics)).max(ROUNDS * BESIDE_TOPICS / batch);
    if batches * batch > MOST_PUBLISHED {
        let gib = (batches * batch) >> 30;
        return Err(Failure::usage(format!(
            "so many topics with records of {} bytes are {gib} GiB; choose a smaller --size, or fewer --topics",
            args.options.size
        )));
    }
    let epoch = cluster.state().map(|state| state.epoch);
    publish_on(cluster, (1, batches), args.options.size, &mut display).await?;
    let before = Nodes::of(cluster)?;
    publish_on(cluster, (args.topics, batches), args.options.size, &mut display).await?;
    let after = Nodes::of(cluster)?;
    display.end();
    unchanged(cluster, epoch, "try again with less load on the machine")?;
    Ok(json!({
        "before_mib": before.resident_mib(),
        "after_mib": after.resident_mib(),
        "bytes_per_topic": after.each_since(&before, args.topics),
    }))
}

/// Publishes so many batches on so many topics in turn.
async fn publish_on(
    cluster: &Cluster,
    (topics, batches): (u32, u64),
    size: u32,
    display: &mut Display,
) -> Result<(), Failure> {
    let shape = Shape { publishers: 1, subscribers: 0, topics, size, batch: TOPIC_BATCH, apart: false };
    let records = u64::from(TOPIC_BATCH) * batches;
    let mut crowd = Crowd::start(cluster, shape, display).await?;
    let begin = Instant::now();
    while crowd.acknowledged() < records {
        if begin.elapsed() > PATIENCE {
            return Err(cluster.unexpected());
        }
        crowd.run_for(SAMPLE / 4, Goal::Records(records), display).await?;
    }
    crowd.finish().await?;
    sleep(SETTLE).await;
    Ok(())
}

async fn load(cluster: &mut Cluster, args: &LoadArgs, display: Display) -> Result<Value, Failure> {
    let mut trial = start(cluster, &work(&args.options, 0, None), display).await?;
    let (begin, mut most) = (Instant::now(), [[0; 2]; 2]);
    trial.goal = Goal::Time(begin.into_std(), args.time);
    while begin.elapsed() < args.time {
        let half = usize::from(begin.elapsed() * 2 > args.time);
        let pause = SAMPLE.min(args.time / 8).min(args.time - begin.elapsed());
        trial.run_for(pause).await?;
        let Nodes([primary, backup, _]) = Nodes::of(trial.cluster)?;
        most[half][0] = most[half][0].max(primary.resident);
        most[half][1] = most[half][1].max(backup.resident);
    }
    let mut last = Nodes::of(trial.cluster)?;
    for (broker, usage) in last.0.iter_mut().take(2).enumerate() {
        // The kernel keeps its peak apart from what it says is resident, and may be behind.
        usage.peak = usage.peak.max(most[0][broker]).max(most[1][broker]);
    }
    let (results, _) = trial.finish().await?;
    let [first, second] =
        most.map(|[primary, backup]| json!({ "primary": mib(primary), "backup": mib(backup) }));
    Ok(json!({
        "acknowledged": results.published.acknowledged.len(),
        "acknowledged_per_second": per_second(results.published.acknowledged.len(), results.published.seconds),
        "gaps_reported": gaps(&results)?,
        "peak_mib": last.peak_mib(),
        "first_half_mib": first,
        "second_half_mib": second,
    }))
}

/// How often retention has overtaken the subscriber, which says so; if it never has, nothing may be missing.
fn gaps(results: &Results) -> Result<u64, Failure> {
    match results.received.iter().map(|received| received.reported_missing).sum() {
        0 => complete(results).map(|()| 0),
        gaps => Ok(gaps),
    }
}

async fn snapshot(cluster: &mut Cluster, args: &SnapshotArgs, display: Display) -> Result<Value, Failure> {
    let mut trial = start(cluster, &work(&args.options, 0, None), display).await?;
    publish(&mut trial, args).await?;
    let full = Nodes::of(trial.cluster)?.resident_mib();
    let restarted = restart(&mut trial).await?;
    let paused = pause(&mut trial, args).await?;
    let primary = Usage::of(roles(trial.cluster)?.0.pid())?.peak;
    let (results, _) = trial.finish().await?;
    Ok(json!({
        "acknowledged": results.published.acknowledged.len(),
        "gaps_reported": gaps(&results)?,
        "full_mib": full,
        "peak_of_restarted_backup_mib": mib(restarted),
        "peak_of_paused_backup_mib": mib(paused),
        "peak_of_primary_mib": mib(primary),
    }))
}

/// Waits until more is published than is retained.
async fn publish(trial: &mut Trial<'_>, args: &SnapshotArgs) -> Result<(), Failure> {
    let records = args.kept.retention / u64::from(args.options.size) * 5 / 4;
    let enough = trial.acknowledged() + records;
    match trial.run_until(PATIENCE, |trial| trial.acknowledged() >= enough).await? {
        true => Ok(()),
        false => Err(trial.cluster.unexpected()),
    }
}

/// Kills the backup and starts it anew: it has nothing. Returns the most memory that it had when it was
/// in sync again, and a little later.
async fn restart(trial: &mut Trial<'_>) -> Result<u64, Failure> {
    let backup = roles(trial.cluster)?.1.name.clone();
    trial.strike("backup killed", &backup, Signal::KILL);
    in_sync(trial, 1).await?;
    trial.cluster.start_broker(&backup).await?;
    trial.heal(&backup, "is started again");
    returned(trial).await
}

/// Pauses the backup until its log ends below the start of the primary's. Returns as [`restart`] does.
async fn pause(trial: &mut Trial<'_>, args: &SnapshotArgs) -> Result<u64, Failure> {
    let backup = roles(trial.cluster)?.1.name.clone();
    trial.strike("backup paused", &backup, Signal::STOP);
    in_sync(trial, 1).await?;
    publish(trial, args).await?;
    trial.cluster.signal(&backup, Signal::CONT);
    trial.heal(&backup, "goes on");
    returned(trial).await
}

async fn returned(trial: &mut Trial<'_>) -> Result<u64, Failure> {
    in_sync(trial, 2).await?;
    trial.run_for(SETTLE).await?;
    Ok(Usage::of(roles(trial.cluster)?.1.pid())?.peak)
}

async fn in_sync(trial: &mut Trial<'_>, members: usize) -> Result<(), Failure> {
    let there = |trial: &Trial<'_>| trial.cluster.state().is_some_and(|state| state.in_sync.len() == members);
    match trial.run_until(PATIENCE, there).await? {
        true => Ok(()),
        false => Err(trial.cluster.unexpected()),
    }
}
