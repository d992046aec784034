//! `steadfast bench`: figures of one primary and one backup on this machine, measured from the
//! outside by the same workers as the demo's.

pub mod args;
pub mod memory;
mod role;
mod usage;

use super::cluster::{Cluster, Plan};
use super::display::{Display, grouped, millis};
use super::failure::Failure;
use super::signals;
use super::trial::{Results, Trial, Work};
use args::{Bench, BenchArgs, BenchOptions, FailoverArgs, LatencyArgs, Measurement, ThroughputArgs};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::time::Duration;
use steadfast_runtime::configuration::Configuration;
use steadfast_runtime::identity;
use usage::Usage;

/// How long the first records may take.
const FIRST_RECORDS: Duration = Duration::from_secs(10);
/// How long a throughput run may take.
const LONGEST_RUN: Duration = Duration::from_secs(600);
/// How long a failover or a return may take.
const RECOVERY: Duration = Duration::from_secs(20);
/// Steady flow before a fault and after it.
const STEADY: Duration = Duration::from_millis(700);

impl Measurement {
    /// What every benchmark has.
    pub const fn options(&self) -> &BenchOptions {
        match self {
            Self::Throughput(args) => &args.options,
            Self::Latency(args) => &args.options,
            Self::Failover(args) => &args.options,
            Self::Memory(args) => args.options(),
        }
    }
}

/// Runs one benchmark.
///
/// # Errors
/// When something does not start, or records are lost.
pub async fn run(args: BenchArgs, configuration: &Configuration) -> Result<(), Failure> {
    match &args.what {
        Bench::Own(what) => on_own_cluster(what, configuration).await,
        Bench::Role(args) => role::run(args, configuration).await,
    }
}

async fn on_own_cluster(what: &Measurement, configuration: &Configuration) -> Result<(), Failure> {
    let options = what.options();
    let broker_options = match what {
        Measurement::Memory(args) => args.broker_options(),
        Measurement::Throughput(_) | Measurement::Latency(_) | Measurement::Failover(_) => Vec::new(),
    };
    let plan = Plan {
        transport: configuration.settings.transport.kind,
        service: None,
        cluster: format!("bench-{:016x}", identity::seed()),
        discovery: 1,
        brokers: 2,
        broker_options,
        logs: options.logs.clone(),
        metrics: options.metrics.flags(),
    };
    let mut cluster = Cluster::new(plan);
    let result = tokio::select! {
        result = measure(&mut cluster, what) => result,
        failure = signals::interrupted() => Err(failure),
    };
    cluster.stop().await?;
    let figures = result?;
    super::print(&if options.json { figures.to_string() } else { table(&figures) })
}

async fn measure(cluster: &mut Cluster, what: &Measurement) -> Result<Value, Failure> {
    cluster.connect().await?;
    cluster.start().await?;
    match what {
        Measurement::Throughput(args) => throughput(cluster, args).await,
        Measurement::Latency(args) => latency(cluster, args).await,
        Measurement::Failover(args) => failover(cluster, args).await,
        Measurement::Memory(args) => memory::measure(cluster, args).await,
    }
}

const fn work(options: &BenchOptions, rate: u32, records: Option<u64>) -> Work {
    Work { topic: "bench.records", filters: &["bench.records"], size: options.size, rate, records }
}

async fn start<'a>(cluster: &'a mut Cluster, work: &Work) -> Result<Trial<'a>, Failure> {
    let mut trial = Trial::start(cluster, work, Display::new(true)).await?;
    match trial.run_until(FIRST_RECORDS, |trial| trial.is_flowing() || trial.has_published()).await? {
        true => Ok(trial),
        false => Err(trial.cluster.unexpected()),
    }
}

async fn throughput(cluster: &mut Cluster, args: &ThroughputArgs) -> Result<Value, Failure> {
    let mut trial = start(cluster, &work(&args.options, 0, Some(args.records))).await?;
    trial.run_until(LONGEST_RUN, Trial::has_published).await?;
    let (results, _) = trial.finish().await?;
    let Results { published, received } = &results;
    let delivered = received.iter().map(|received| received.delivered.len()).sum::<u64>();
    let seconds = received.iter().map(|received| received.seconds).fold(0.0, f64::max);
    let brokers = cluster.brokers().iter().filter_map(|broker| Usage::of(broker.pid()).ok());
    complete(&results)?;
    Ok(json!({
        "record_bytes": args.options.size,
        "acknowledged": published.acknowledged.len(),
        "acknowledged_per_second": per_second(published.acknowledged.len(), published.seconds),
        "delivered": delivered,
        "delivered_per_second": per_second(delivered, seconds),
        "broker_peak_memory_mib": brokers.map(|usage| usage.peak >> 20).max(),
    }))
}

async fn latency(cluster: &mut Cluster, args: &LatencyArgs) -> Result<Value, Failure> {
    let mut trial = start(cluster, &work(&args.options, args.rate, None)).await?;
    trial.run_for(args.time).await?;
    let (results, _) = trial.finish().await?;
    complete(&results)?;
    let latency = results.received.first().and_then(|received| received.latency);
    let latency =
        latency.ok_or_else(|| Failure::new("no latency was measured", "measure for longer (--time 10s)"))?;
    Ok(json!({
        "record_bytes": args.options.size,
        "records_per_second": args.rate,
        "p50_us": latency.p50_us,
        "p99_us": latency.p99_us,
        "max_us": latency.max_us,
    }))
}

async fn failover(cluster: &mut Cluster, args: &FailoverArgs) -> Result<Value, Failure> {
    let mut trial = start(cluster, &work(&args.options, args.rate, None)).await?;
    let mut primary = Vec::new();
    for _ in 0..args.rounds {
        primary.push(kill(&mut trial, true).await?.0);
    }
    let mut backup = Vec::new();
    for _ in 0..args.rounds {
        backup.push(kill(&mut trial, false).await?.1);
    }
    let (results, _) = trial.finish().await?;
    complete(&results)?;
    Ok(json!({
        "records_per_second": args.rate,
        "rounds": args.rounds,
        "primary_killed_outage_median_ms": median(&mut primary),
        "primary_killed_outage_worst_ms": primary.last(),
        "backup_killed_publisher_stall_median_ms": median(&mut backup),
        "backup_killed_publisher_stall_worst_ms": backup.last(),
    }))
}

/// Kills the primary or the backup, waits until records flow again, and starts it anew. Returns the
/// outage of the subscriber and of the publisher, in milliseconds.
async fn kill(trial: &mut Trial<'_>, primary: bool) -> Result<(f64, f64), Failure> {
    trial.run_for(STEADY).await?;
    let (leader, epoch) = trial.primary().ok_or_else(|| trial.cluster.unexpected())?;
    let backup =
        trial.cluster.brokers().iter().map(|broker| broker.name.clone()).find(|name| *name != leader);
    let (victim, cause) = match backup {
        Some(backup) if !primary => (backup, "backup killed"),
        _ => (leader, "primary killed"),
    };
    trial.strike(cause, &victim, Signal::KILL);
    let wanted = if primary { epoch + 1 } else { epoch };
    let alone = move |trial: &Trial<'_>| {
        trial.has_moved_to(wanted) && trial.cluster.state().is_some_and(|state| state.in_sync.len() == 1)
    };
    if !trial.run_until(RECOVERY, alone).await? {
        return Err(trial.cluster.unexpected());
    }
    trial.run_for(STEADY).await?;
    let outcome = trial.outcome().ok_or_else(|| trial.cluster.unexpected())?;
    trial.cluster.start_broker(&victim).await?;
    trial.heal(&victim, "is started again");
    let whole = |trial: &Trial<'_>| trial.cluster.state().is_some_and(|state| state.in_sync.len() == 2);
    match trial.run_until(RECOVERY, whole).await? {
        true => Ok((millis(outcome.outage), millis(outcome.publisher_outage))),
        false => Err(trial.cluster.unexpected()),
    }
}

/// Figures of a run that lost something are worth nothing.
fn complete(results: &Results) -> Result<(), Failure> {
    let acknowledged = &results.published.acknowledged;
    let lost: u64 =
        results.received.iter().map(|received| acknowledged.missing_in(&received.delivered)).sum();
    let wrong: u64 =
        results.received.iter().map(|received| received.duplicated + received.out_of_order).sum();
    match (lost + wrong, results.published.failed) {
        (0, 0) => Ok(()),
        (wrong, failed) => Err(Failure::new(
            format!("{failed} records were not acknowledged; {wrong} were lost, duplicated or reordered"),
            "please report it with the logs of a run with --logs DIR",
        )),
    }
}

fn per_second(records: u64, seconds: f64) -> u64 {
    if seconds > 0.0 { (records as f64 / seconds) as u64 } else { 0 }
}

/// Sorts, and returns the middle.
fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

fn table(figures: &Value) -> String {
    rows("", figures).join("\n")
}

/// A figure, or those of several nodes.
fn rows(name: &str, figure: &Value) -> Vec<String> {
    match figure.as_object() {
        Some(parts) => {
            parts.iter().flat_map(|(part, value)| rows(&format!("{name} {part}"), value)).collect()
        }
        None => {
            let value = figure.as_u64().map_or_else(|| figure.to_string(), grouped);
            vec![format!("{:52} {value}", name.trim_start().replace('_', " "))]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one() {
        let mut values = vec![3.0, 1.0, 2.0];
        assert_eq!(median(&mut values), Some(2.0));
        assert_eq!(values.last(), Some(&3.0));
        assert_eq!(median(&mut []), None);
    }

    #[test]
    fn a_table_has_a_row_for_each_figure() {
        let figures = json!({ "clients": 1_000, "alone_mib": { "primary": 4.5, "backup": 4.1 } });
        let rows = table(&figures);
        let rows: Vec<_> =
            rows.lines().map(|row| row.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(rows, ["alone mib backup 4.1", "alone mib primary 4.5", "clients 1,000"]);
    }
}
