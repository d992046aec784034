//! `steadfast bench fanout`: several publishers, several subscribers of everything.

use super::super::cluster::Cluster;
use super::super::display::Goal;
use super::super::failure::Failure;
use super::args::FanoutArgs;
use super::chart::{Chart, Series};
use super::crowd::{Crowd, Pace, Shape};
use super::lab::Lab;
use super::scale::{Axis, Scale};
use super::{BROKERS, Outcome, rounded};
use serde_json::json;
use std::time::{Duration, Instant};

/// How long it may take until records flow.
const FIRST_RECORDS: Duration = Duration::from_secs(20);
/// What begins is over by then.
const SETTLE: Duration = Duration::from_millis(500);
/// Between two points of the curve.
const STEP: Duration = Duration::from_millis(250);

/// `steadfast bench fanout`
///
/// # Errors
/// When something does not start, or records are lost.
pub async fn fanout(lab: &Lab, args: &FanoutArgs) -> Result<Outcome, Failure> {
    let size = args.options.bench.size;
    let shape = Shape {
        publishers: args.publishers,
        subscribers: args.subscribers,
        topics: 1,
        size,
        batch: Shape::full_batch(size),
        apart: true,
    };
    let (whole, curve) = lab
        .on_cluster(BROKERS, Vec::new(), async |cluster| measure(lab, cluster, shape, args.time).await)
        .await?;
    let mut figures = json!({
        "acknowledged_per_second": whole.acknowledged as u64,
        "delivered_per_second": whole.delivered as u64,
    });
    // Microseconds for a record are seconds for a million.
    let costs = [("record", whole.per_record), ("delivery", whole.per_delivery)];
    for (what, cost) in costs.into_iter().filter_map(|(what, cost)| Some((what, cost?))) {
        figures[format!("brokers_processor_us_per_{what}")] = rounded(cost).into();
    }
    let chart = Chart {
        title: format!(
            "Fan-out, {} publishers, {} subscribers of everything, {size}-byte records",
            args.publishers, args.subscribers
        ),
        x: Axis::new("seconds", Scale::Linear),
        y: Axis::new("records per second", Scale::Linear),
        series: vec![
            Series::line("delivered", curve.iter().map(|(at, pace)| (*at, pace.delivered)).collect()),
            Series::line("acknowledged", curve.iter().map(|(at, pace)| (*at, pace.acknowledged)).collect()),
        ],
    };
    Ok(Outcome { figures, chart: Some(chart) })
}

/// The pace of the whole time, and of its parts by their middle in seconds.
async fn measure(
    lab: &Lab,
    cluster: &Cluster,
    shape: Shape,
    time: Duration,
) -> Result<(Pace, Vec<(f64, Pace)>), Failure> {
    let mut display = lab.display();
    let mut crowd = Crowd::start(cluster, shape, &mut display).await?;
    if !crowd.run_until(FIRST_RECORDS, |crowd| crowd.acknowledged() > 0).await? {
        return Err(cluster.unexpected());
    }
    crowd.run_for(SETTLE, Goal::Open, &mut display).await?;
    let (begin, first) = (Instant::now(), crowd.sample()?);
    let (mut last, mut curve) = (first, Vec::new());
    while begin.elapsed() < time {
        let step = STEP.min(time - begin.elapsed());
        crowd.run_for(step, Goal::Time(begin, time), &mut display).await?;
        let now = crowd.sample()?;
        let middle = (last.at - first.at + (now.at - first.at)).as_secs_f64() / 2.0;
        curve.push((middle, Pace::between(&last, &now)));
        last = now;
    }
    crowd.finish().await?;
    Ok((Pace::between(&first, &last), curve))
}
