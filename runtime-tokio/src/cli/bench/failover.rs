//! `steadfast bench failover`: what publisher and subscriber notice of a broker that dies, pauses or leaves.

use super::super::cluster::SESSION_TIMEOUT;
use super::super::display::{Goal, millis};
use super::super::failure::Failure;
use super::super::trial::Trial;
use super::args::{Case, FailoverArgs};
use super::chart::{Chart, Series};
use super::lab::Lab;
use super::scale::{Axis, Scale};
use super::steady::{complete, start, work};
use super::{BROKERS, Outcome};
use rustix::process::Signal;
use serde_json::{Map, Value, json};
use std::time::Duration;
use steadfast_runtime::configuration::Configuration;

/// How long a failover or a return may take.
const RECOVERY: Duration = Duration::from_secs(20);
/// Steady flow before a fault and after it.
const STEADY: Duration = Duration::from_millis(700);

/// The longest time without a record around each fault, in milliseconds.
#[derive(Clone, Debug, Default)]
pub struct Outages {
    /// At the subscriber.
    pub subscriber: Vec<f64>,
    /// Without an acknowledgement, at the publisher.
    pub publisher: Vec<f64>,
}

impl Outages {
    /// Medians and worst.
    pub fn figures(&self) -> Value {
        let [subscriber, publisher] = [&self.subscriber, &self.publisher].map(|outages| sorted(outages));
        json!({
            "subscriber_outage_median_ms": median(&subscriber),
            "subscriber_outage_worst_ms": subscriber.last(),
            "publisher_stall_median_ms": median(&publisher),
            "publisher_stall_worst_ms": publisher.last(),
        })
    }

    /// What the case is about, and how long that was each time.
    const fn of(&self, case: Case) -> (&'static str, &Vec<f64>) {
        match case {
            Case::PrimaryKilled | Case::Handover => ("subscriber's outage", &self.subscriber),
            Case::BackupKilled | Case::BackupPaused => ("publisher's stall", &self.publisher),
        }
    }

    /// What the case is about, the shortest first.
    pub fn curve(&self, case: Case) -> Vec<(f64, f64)> {
        (1..).map(f64::from).zip(sorted(self.of(case).1)).collect()
    }
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values
}

/// The middle of what is sorted.
fn median(values: &[f64]) -> Option<f64> {
    values.get(values.len() / 2).copied()
}

/// `steadfast bench failover`
///
/// # Errors
/// When something does not start or does not recover, or records are lost.
pub async fn failover(
    lab: &Lab,
    args: &FailoverArgs,
    configuration: &Configuration,
) -> Result<Outcome, Failure> {
    lab.refuse_named("a failover kills, pauses and drains brokers")?;
    let work = work(&args.options.bench, args.rate, None);
    let measured = lab.on_cluster(BROKERS, Vec::new(), async |cluster| {
        let mut trial = start(cluster, &work, lab.display()).await?;
        let mut measured = Vec::new();
        for (index, &case) in args.cases.iter().enumerate() {
            let mut outages = Outages::default();
            for round in 0..args.rounds {
                let all = args.rounds * args.cases.len() as u32;
                trial.goal = Goal::Steps(args.rounds * index as u32 + round, all);
                strike(&mut trial, case, RECOVERY, &mut outages).await?;
            }
            measured.push((case, outages));
        }
        let (results, _) = trial.finish().await?;
        complete(&results).map(|()| measured)
    });
    let measured = measured.await?;
    let lag = configuration.settings.timing(SESSION_TIMEOUT).lag;
    let mut figures = Map::new();
    figures.insert("session_timeout_ms".into(), millis(SESSION_TIMEOUT).into());
    figures.insert("lag_threshold_ms".into(), millis(lag).into());
    figures.extend(measured.iter().map(|(case, outages)| (case.name().replace(' ', "_"), outages.figures())));
    let series = measured.iter().map(|(case, outages)| {
        Series::dots(format!("{}: {}", case.name(), outages.of(*case).0), outages.curve(*case))
    });
    let chart = Chart {
        title: format!("Failover, {} rounds each, at {} records/s", args.rounds, args.rate),
        x: Axis::new("rounds, the shortest first", Scale::Count),
        y: Axis::new("ms without a record", Scale::Logarithmic),
        series: series.collect(),
    };
    Ok(Outcome { figures: figures.into(), chart: Some(chart) })
}

/// Does it to the primary or the backup, waits until records flow again, brings the broker back, and
/// notes how long publisher and subscriber were without records.
///
/// # Errors
/// When the cluster does not recover in time.
pub async fn strike(
    trial: &mut Trial<'_>,
    case: Case,
    patience: Duration,
    outages: &mut Outages,
) -> Result<(), Failure> {
    trial.run_for(STEADY).await?;
    let (_, epoch) = trial.primary().ok_or_else(|| trial.cluster.unexpected())?;
    let (primary, backups) = trial.cluster.roles()?;
    let backup = backups.first().ok_or_else(|| trial.cluster.unexpected())?;
    let (primary, backup) = (primary.name.clone(), backup.name.clone());
    // Whoever tells a broker to leave is dropped when it has left.
    let (victim, wanted, _drain) = match case {
        Case::PrimaryKilled => {
            trial.strike(case.name(), &primary, Signal::KILL);
            (primary, epoch + 1, None)
        }
        Case::BackupKilled => {
            trial.strike(case.name(), &backup, Signal::KILL);
            (backup, epoch, None)
        }
        Case::BackupPaused => {
            trial.strike(case.name(), &backup, Signal::STOP);
            (backup, epoch, None)
        }
        Case::Handover => {
            let drain = trial.drain(case.name(), &primary)?;
            (primary, epoch + 1, Some(drain))
        }
    };
    let gone = |trial: &Trial<'_>| {
        let alone = trial.cluster.state().is_some_and(|state| state.in_sync.len() == 1);
        let left = case != Case::Handover
            || trial.cluster.brokers().iter().any(|broker| broker.name == victim && broker.has_ended());
        trial.has_moved_to(wanted) && alone && left
    };
    if !trial.run_until(patience, gone).await? {
        return Err(trial.cluster.unexpected());
    }
    trial.run_for(STEADY).await?;
    let outcome = trial.outcome().ok_or_else(|| trial.cluster.unexpected())?;
    outages.subscriber.push(millis(outcome.outage));
    outages.publisher.push(millis(outcome.publisher_outage));
    match case {
        Case::BackupPaused => trial.cluster.signal(&victim, Signal::CONT),
        _ => trial.cluster.start_broker(&victim).await?,
    }
    trial.heal(&victim, "is back");
    let whole = |trial: &Trial<'_>| trial.cluster.state().is_some_and(|state| state.in_sync.len() == BROKERS);
    match trial.run_until(patience, whole).await? {
        true => Ok(()),
        false => Err(trial.cluster.unexpected()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_the_middle_ones() {
        let outages = Outages { subscriber: vec![3.0, 1.0, 2.0], publisher: vec![7.0] };
        let figures = outages.figures();
        assert_eq!(figures["subscriber_outage_median_ms"], 2.0);
        assert_eq!(figures["subscriber_outage_worst_ms"], 3.0);
        assert_eq!(figures["publisher_stall_worst_ms"], 7.0);
        assert_eq!(outages.curve(Case::PrimaryKilled), [(1.0, 1.0), (2.0, 2.0), (3.0, 3.0)]);
        assert_eq!(outages.curve(Case::BackupPaused), [(1.0, 7.0)]);
        assert!(Outages::default().figures()["publisher_stall_median_ms"].is_null());
    }
}
