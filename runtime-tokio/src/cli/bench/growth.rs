//! `steadfast bench growth`: how costs grow with the number of something, and with which exponent.

use super::super::cluster::Cluster;
use super::super::display::{Display, Goal};
use super::super::failure::Failure;
use super::args::{Growing, GrowthArgs};
use super::chart::{Chart, Series};
use super::crowd::{Crowd, Pace, Shape};
use super::fit::Power;
use super::lab::{Lab, retaining};
use super::scale::{Axis, Scale};
use super::usage::{Usage, mib};
use super::{BROKERS, Outcome, promotion, rounded};
use serde_json::{Map, Value, json};
use std::time::{Duration, Instant};

/// How long it may take until every publisher and every topic has had its turn, or the log is full.
const PATIENCE: Duration = Duration::from_secs(120);
/// What begins is over by then.
const SETTLE: Duration = Duration::from_millis(500);
/// Records of a batch when topics grow: each batch is of one topic, and each topic has its turn.
pub const TOPIC_BATCH: u32 = 16;
/// Bytes of a record that fills the log.
const FILLING: u32 = 16 << 10;
/// The least that brokers retain: more than a subscriber may be behind.
const LEAST_RETAINED: u64 = 16 << 20;

/// A point of the curve. What is not known of somebody else's brokers is missing.
struct Point {
    /// So many of what grows.
    value: u64,
    pace: Pace,
    primary_mib: Option<f64>,
}

/// What is known of a point, by its name.
type Measure = (&'static str, fn(&Point) -> Option<f64>);

const MEASURES: [Measure; 5] = [
    ("acknowledged_per_second", |point| Some(point.pace.acknowledged.round())),
    ("delivered_per_second", |point| Some(point.pace.delivered.round())),
    ("brokers_processor_us_per_record", |point| point.pace.per_record),
    ("brokers_processor_us_per_delivery", |point| point.pace.per_delivery),
    ("primary_memory_mib", |point| point.primary_mib),
];

/// `steadfast bench growth`
///
/// # Errors
/// When something does not start, or records are lost.
pub async fn growth(lab: &Lab, args: &GrowthArgs) -> Result<Outcome, Failure> {
    match args.what {
        Growing::Promotion => return promotion::promotion(lab, args).await,
        Growing::Retained | Growing::Backups => {
            lab.refuse_named("what brokers retain and how many there are is set when they start")?;
        }
        Growing::Subscribers | Growing::Publishers | Growing::Topics => {}
    }
    let values = values(args.what, args.up_to())?;
    let mut points = Vec::new();
    for (step, &value) in (0..).zip(&values) {
        let mut display = lab.display();
        let goal = Goal::Steps(step, values.len() as u32);
        let brokers = if args.what == Growing::Backups { 1 + value as usize } else { BROKERS };
        let options = if args.what == Growing::Retained { retaining(value) } else { Vec::new() };
        let measured = async |cluster: &mut Cluster| {
            display.event(&format!("{} {value}", args.what.name()));
            measure(cluster, args, value, (&mut display, goal)).await
        };
        points.push(lab.on_cluster(brokers, options, measured).await?);
    }
    let exponents = MEASURES.iter().filter_map(|measure| {
        let power = Power::fit(&curve(args.what, &points, measure.1))?;
        Some((measure.0.to_owned(), rounded(power.exponent).into()))
    });
    let figures = json!({
        "points": points.iter().map(|point| point.figures(args.what)).collect::<Vec<_>>(),
        "exponents": exponents.collect::<Map<_, _>>(),
    });
    Ok(Outcome { figures, chart: Some(chart(args, &points)) })
}

/// Where it is measured: about three points for each power of ten.
fn values(what: Growing, most: u64) -> Result<Vec<u64>, Failure> {
    let (least, allowed, factors): (u64, u64, &[u64]) = match what {
        Growing::Subscribers | Growing::Publishers => (1, 5_000, &[3, 10]),
        Growing::Topics => (1, 1_000_000, &[10]),
        Growing::Retained | Growing::Promotion => (LEAST_RETAINED, 1 << 40, &[4]),
        Growing::Backups => return backups(most),
    };
    if !(least..=allowed).contains(&most) {
        return Err(Failure::usage(format!(
            "{} cannot grow up to {most}; choose --up-to from {least} to {allowed}",
            what.name()
        )));
    }
    let mut values: Vec<_> = [least].into();
    let mut base = least;
    while base < most {
        values.extend(factors.iter().map(|factor| base * factor));
        base *= factors.last().expect("each has one");
    }
    values.retain(|value| *value < most);
    values.push(most);
    Ok(values)
}

/// All of them.
fn backups(most: u64) -> Result<Vec<u64>, Failure> {
    match most {
        1..=8 => Ok((0..=most).collect()),
        _ => Err(Failure::usage(format!("there cannot be {most} backups; choose --up-to from 1 to 8"))),
    }
}

async fn measure(
    cluster: &Cluster,
    args: &GrowthArgs,
    value: u64,
    (display, goal): (&mut Display, Goal),
) -> Result<Point, Failure> {
    let size = args.options.bench.size;
    let mut shape = Shape {
        publishers: 1,
        subscribers: 1,
        topics: 1,
        size,
        batch: Shape::full_batch(size),
        apart: false,
    };
    let count = u32::try_from(value).unwrap_or(u32::MAX);
    match args.what {
        Growing::Subscribers => shape.subscribers = count,
        Growing::Publishers => shape.publishers = count,
        Growing::Topics => (shape.topics, shape.batch) = (count, TOPIC_BATCH),
        Growing::Retained => fill(cluster, value, display).await?,
        Growing::Backups | Growing::Promotion => {}
    }
    let mut crowd = Crowd::start(cluster, shape, display).await?;
    let everyone = u64::from(shape.batch) * u64::from(shape.publishers.max(shape.topics));
    if !crowd.run_until(PATIENCE, |crowd| crowd.acknowledged() >= everyone).await? {
        return Err(cluster.unexpected());
    }
    crowd.run_for(SETTLE, goal, display).await?;
    let epoch = cluster.state().map(|state| state.epoch);
    let before = crowd.sample()?;
    crowd.run_for(args.time, goal, display).await?;
    let after = crowd.sample()?;
    // Another primary, and the figures are those of a failover.
    if cluster.state().map(|state| state.epoch) != epoch {
        return Err(Failure::new(
            "the primary has changed while it was measured",
            "try again with less load on the machine, or a smaller --up-to",
        ));
    }
    let primary_mib = match cluster.brokers() {
        [] => None,
        _ => Some(mib(Usage::of(cluster.roles()?.0.pid())?.resident)),
    };
    crowd.finish().await?;
    Ok(Point { value, pace: Pace::between(&before, &after), primary_mib })
}

/// Publishes more than so many bytes, which is what brokers with this retention then have.
///
/// # Errors
/// When it takes too long.
pub async fn fill(cluster: &Cluster, bytes: u64, display: &mut Display) -> Result<(), Failure> {
    let records = bytes / u64::from(FILLING) * 5 / 4;
    let (size, batch) = (FILLING, Shape::full_batch(FILLING));
    let shape = Shape { publishers: 1, subscribers: 0, topics: 1, size, batch, apart: false };
    let mut crowd = Crowd::start(cluster, shape, display).await?;
    let begin = Instant::now();
    while crowd.acknowledged() < records {
        if begin.elapsed() > PATIENCE {
            return Err(cluster.unexpected());
        }
        crowd.run_for(Duration::from_millis(100), Goal::Records(records), display).await?;
    }
    crowd.finish().await
}

impl Point {
    fn figures(&self, what: Growing) -> Value {
        let measured = MEASURES.iter().filter_map(|(name, of)| Some(((*name).to_owned(), of(self)?)));
        let mut figures: Map<_, _> = measured.map(|(name, value)| (name, rounded(value).into())).collect();
        figures.insert(what.name().to_owned(), self.value.into());
        figures.into()
    }
}

/// What grows, and what it costs. Of backups, it is the copies that grow.
fn curve(what: Growing, points: &[Point], of: fn(&Point) -> Option<f64>) -> Vec<(f64, f64)> {
    let x = |point: &Point| match what {
        Growing::Backups => point.value as f64 + 1.0,
        Growing::Retained => mib(point.value),
        _ => point.value as f64,
    };
    points.iter().filter_map(|point| Some((x(point), of(point)?))).collect()
}

fn chart(args: &GrowthArgs, points: &[Point]) -> Chart {
    let is_known = points.iter().any(|point| point.pace.per_record.is_some());
    let (label, curves): (_, Vec<Measure>) = match is_known {
        true => (
            "µs of all brokers' processor time",
            vec![
                ("for each record", |point| point.pace.per_record),
                ("for each delivery", |point| point.pace.per_delivery),
            ],
        ),
        false => ("records per second", vec![("delivered", |point| Some(point.pace.delivered))]),
    };
    // Where there is one subscriber, a record is a delivery.
    let shown = if args.what == Growing::Subscribers { curves.len() } else { 1 };
    let series = curves.into_iter().take(shown).map(|(name, of)| {
        let points = curve(args.what, points, of);
        let Some(power) = Power::fit(&points) else { return Series::dots(name, points) };
        let fitted = points.iter().map(|(x, _)| (*x, power.at(*x))).collect();
        Series { fitted, ..Series::dots(format!("{name}: exponent {:.2}", power.exponent), points) }
    });
    let x = match args.what {
        Growing::Backups => "copies, the primary's among them",
        Growing::Retained => "MiB retained",
        what => what.name(),
    };
    Chart {
        title: format!("Growth with {}, {}-byte records", args.what.name(), args.options.bench.size),
        x: Axis::new(x, Scale::Logarithmic),
        y: Axis::new(label, Scale::Logarithmic),
        series: series.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_ends_where_it_is_told_to() {
        let values = |what, most| values(what, most).unwrap();
        assert_eq!(values(Growing::Subscribers, 1_000), [1, 3, 10, 30, 100, 300, 1_000]);
        assert_eq!(values(Growing::Publishers, 25), [1, 3, 10, 25]);
        assert_eq!(values(Growing::Topics, 100_000), [1, 10, 100, 1_000, 10_000, 100_000]);
        assert_eq!(values(Growing::Topics, 1), [1]);
        assert_eq!(
            values(Growing::Retained, 2 << 30).iter().map(|v| v >> 20).collect::<Vec<_>>(),
            [16, 64, 256, 1_024, 2_048]
        );
        assert_eq!(values(Growing::Backups, 3), [0, 1, 2, 3]);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (what, most) in [(Growing::Backups, 9), (Growing::Retained, 1), (Growing::Subscribers, 1 << 20)] {
            let failure = values(what, most).unwrap_err();
            assert!(failure.to_string().contains("--up-to"), "{failure}");
        }
    }

    #[test]
    fn points_become_curves_with_their_exponents() {
        let point = |value, cost| Point {
            value,
            pace: Pace {
                acknowledged: 100.0,
                delivered: 100.0,
                per_record: Some(cost),
                per_delivery: Some(cost / value as f64),
            },
            primary_mib: None,
        };
        let points = [point(1, 2.0), point(10, 20.0), point(100, 200.0)];
        let figures = points[1].figures(Growing::Subscribers);
        assert_eq!(
            (&figures["subscribers"], &figures["brokers_processor_us_per_record"]),
            (&10.into(), &20.0.into())
        );
        assert!(figures["primary_memory_mib"].is_null());
        let copies = curve(Growing::Backups, &points, |point| point.pace.per_record);
        assert_eq!(copies[0], (2.0, 2.0));
    }
}
