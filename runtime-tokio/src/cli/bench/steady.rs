//! One publisher and one subscriber at work: throughput, latency, and what other benchmarks start with.

use super::super::cluster::Cluster;
use super::super::display::{Display, Goal};
use super::super::failure::Failure;
use super::super::trial::{Results, Trial, Work};
use super::args::{BenchOptions, LatencyArgs, ThroughputArgs};
use super::chart::{Chart, Series};
use super::lab::Lab;
use super::scale::{Axis, Scale};
use super::usage::Usage;
use super::{BROKERS, Outcome};
use serde_json::json;
use std::time::{Duration, Instant};
use steadfast_runtime::identity;

/// How long the first records may take.
const FIRST_RECORDS: Duration = Duration::from_secs(10);
/// How long a throughput run may take.
const LONGEST_RUN: Duration = Duration::from_secs(600);

/// What one publisher does, and what one subscriber wants. The topic is nobody else's, on somebody else's
/// cluster too.
pub fn work(options: &BenchOptions, rate: u32, records: Option<u64>) -> Work {
    let topic = format!("bench.{:016x}", identity::seed());
    Work { filters: vec![topic.clone()], topic, size: options.size, rate, records }
}

/// Starts both, and waits for the first records.
///
/// # Errors
/// When there are none in time.
pub async fn start<'a>(
    cluster: &'a mut Cluster,
    work: &Work,
    display: Display,
) -> Result<Trial<'a>, Failure> {
    let mut trial = Trial::start(cluster, work, display).await?;
    match trial.run_until(FIRST_RECORDS, |trial| trial.is_flowing() || trial.has_published()).await? {
        true => Ok(trial),
        false => Err(trial.cluster.unexpected()),
    }
}

/// `steadfast bench throughput`
///
/// # Errors
/// When something does not start, or records are lost.
pub async fn throughput(lab: &Lab, args: &ThroughputArgs) -> Result<Outcome, Failure> {
    let work = work(&args.options.bench, 0, Some(args.records));
    lab.on_cluster(BROKERS, Vec::new(), async |cluster| {
        let mut trial = start(cluster, &work, lab.display()).await?;
        trial.run_until(LONGEST_RUN, Trial::has_published).await?;
        let rates = trial.rates();
        let (results, _) = trial.finish().await?;
        complete(&results)?;
        let Results { published, received } = &results;
        let delivered = received.iter().map(|received| received.delivered.len()).sum::<u64>();
        let seconds = received.iter().map(|received| received.seconds).fold(0.0, f64::max);
        let mut figures = json!({
            "acknowledged": published.acknowledged.len(),
            "acknowledged_per_second": per_second(published.acknowledged.len(), published.seconds),
            "delivered": delivered,
            "delivered_per_second": per_second(delivered, seconds),
        });
        let brokers = cluster.brokers().iter().filter_map(|broker| Usage::of(broker.pid()).ok());
        if let Some(peak) = brokers.map(|usage| usage.peak >> 20).max() {
            figures["broker_peak_memory_mib"] = peak.into();
        }
        let chart = Chart {
            title: format!("Throughput, {}-byte records", args.options.bench.size),
            x: Axis::new("seconds", Scale::Linear),
            y: Axis::new("records delivered per second", Scale::Linear),
            series: vec![Series::line("one publisher, one subscriber", rates)],
        };
        Ok(Outcome { figures, chart: Some(chart) })
    })
    .await
}

/// `steadfast bench latency`
///
/// # Errors
/// When something does not start, or records are lost.
pub async fn latency(lab: &Lab, args: &LatencyArgs) -> Result<Outcome, Failure> {
    let work = work(&args.options.bench, args.rate, None);
    let results = lab.on_cluster(BROKERS, Vec::new(), async |cluster| {
        let mut trial = start(cluster, &work, lab.display()).await?;
        trial.goal = Goal::Time(Instant::now(), args.time);
        trial.run_for(args.time).await?;
        Ok(trial.finish().await?.0)
    });
    let results = results.await?;
    complete(&results)?;
    let received = results.received.into_iter().next();
    let (latency, curve) = received
        .and_then(|received| Some((received.latency?, received.percentiles)))
        .ok_or_else(|| Failure::new("no latency was measured", "measure for longer (--time 10s)"))?;
    let figures = json!({
        "p50_us": latency.p50_us,
        "p90_us": latency.p90_us,
        "p99_us": latency.p99_us,
        "p99_9_us": latency.p999_us,
        "max_us": latency.max_us,
    });
    let chart = Chart {
        title: format!("Latency at {} records/s of {} bytes", args.rate, args.options.bench.size),
        x: Axis::new("percentile", Scale::Percentile),
        y: Axis::new("µs", Scale::Logarithmic),
        series: vec![Series::line(
            "from publishing to delivery",
            curve.into_iter().map(|(percent, us)| (percent, us as f64)).collect(),
        )],
    };
    Ok(Outcome { figures, chart: Some(chart) })
}

/// Figures of a run that lost something are worth nothing.
///
/// # Errors
/// When it did.
pub fn complete(results: &Results) -> Result<(), Failure> {
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

/// How many a second.
pub fn per_second(records: u64, seconds: f64) -> u64 {
    if seconds > 0.0 { (records as f64 / seconds) as u64 } else { 0 }
}
