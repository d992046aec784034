//! `steadfast demo`: a cluster whose primary is killed, and whose next primary is paused past every
//! timeout, while records flow. Everything is checked from the outside: the publisher's process says
//! which records were acknowledged, the subscribers' processes say which were delivered, and in which
//! order.

use super::args::DemoArgs;
use super::cluster::{Cluster, Plan};
use super::display::{Display, grouped, millis};
use super::failure::Failure;
use super::service::Service;
use super::signals;
use super::trial::{Outcome, Results, Trial, Work};
use rustix::process::Signal;
use serde::Serialize;
use std::time::{Duration, Instant};
use steadfast_runtime::configuration::Configuration;
use steadfast_runtime::identity;

/// Records per second.
const RATE: u32 = 2_000;
/// How long the first records may take.
const FIRST_RECORDS: Duration = Duration::from_secs(10);
/// Before the first fault.
const STEADY: Duration = Duration::from_secs(3);
/// Between the kill and the pause: at least, and at most while the cluster has not recovered.
const AFTER_KILL: (Duration, Duration) = (Duration::from_secs(4), Duration::from_secs(8));
/// Longer than the suspicion (0.25 s), the session (1.5 s) and the lag limit (2 s).
const PAUSE: Duration = Duration::from_millis(4_500);
/// After the paused broker runs again.
const AFTER_RESUME: Duration = Duration::from_secs(3);

/// The report. The keys are an interface.
#[derive(Debug, Serialize)]
struct DemoReport {
    acknowledged: u64,
    delivered: Vec<u64>,
    lost: u64,
    duplicated: u64,
    out_of_order: u64,
    failovers: Vec<FailoverReport>,
    seconds: f64,
}

#[derive(Debug, Serialize)]
struct FailoverReport {
    cause: &'static str,
    outage_ms: f64,
    publisher_outage_ms: f64,
}

/// Runs it.
///
/// # Errors
/// When the promise was not kept, a failover did not happen, or something does not start.
pub async fn run(args: DemoArgs, configuration: &Configuration) -> Result<(), Failure> {
    let start = Instant::now();
    let plan = Plan {
        transport: configuration.settings.transport.kind,
        service: (!args.zookeeper.is_empty()).then(|| Service::ensemble(&args.zookeeper)),
        cluster: format!("demo-{:016x}", identity::seed()),
        named: None,
        discovery: 2,
        brokers: 3,
        broker_options: Vec::new(),
        logs: args.logs,
        metrics: Vec::new(),
    };
    let mut cluster = Cluster::new(plan);
    let result = tokio::select! {
        result = play(&mut cluster, Display::new(args.json)) => result,
        failure = signals::interrupted() => Err(failure),
    };
    let removed = cluster.stop().await;
    let (results, outcomes) = result?;
    let report = DemoReport::new(&results, &outcomes, start.elapsed());
    let text = if args.json { report.json()? } else { report.text(&outcomes) };
    super::print(&text)?;
    verdict(&results, &report, &outcomes)?;
    removed
}

async fn play(cluster: &mut Cluster, mut display: Display) -> Result<(Results, Vec<Outcome>), Failure> {
    cluster.connect().await?;
    display.event("starting 2 discovery replicas and 3 brokers");
    cluster.start().await?;
    display.event(&format!("publishing {} records a second to 2 subscribers", grouped(RATE.into())));
    let work = Work {
        topic: "demo.numbers".into(),
        filters: ["demo.numbers", "demo.>"].map(str::to_owned).into(),
        size: 100,
        rate: RATE,
        records: None,
    };
    let mut trial = Trial::start(cluster, &work, display).await?;
    if !trial.run_until(FIRST_RECORDS, Trial::is_flowing).await? {
        return Err(trial.cluster.unexpected());
    }
    trial.run_for(STEADY).await?;
    let killed = kill_primary(&mut trial).await?;
    let paused = pause_primary(&mut trial).await?;
    let (results, _) = trial.finish().await?;
    Ok((results, vec![killed, paused]))
}

async fn kill_primary(trial: &mut Trial<'_>) -> Result<Outcome, Failure> {
    let (victim, epoch) = trial.primary().ok_or_else(|| trial.cluster.unexpected())?;
    trial.strike("kill", &victim, Signal::KILL);
    let (least, most) = AFTER_KILL;
    trial.run_for(least).await?;
    trial.run_until(most - least, |trial| trial.has_moved_to(epoch + 1)).await?;
    outcome(trial)
}

async fn pause_primary(trial: &mut Trial<'_>) -> Result<Outcome, Failure> {
    let (victim, _) = trial.primary().ok_or_else(|| trial.cluster.unexpected())?;
    trial.strike("pause", &victim, Signal::STOP);
    trial.run_for(PAUSE).await?;
    trial.cluster.signal(&victim, Signal::CONT);
    trial.heal(&victim, "gets SIGCONT and runs again");
    trial.run_for(AFTER_RESUME).await?;
    outcome(trial)
}

fn outcome(trial: &mut Trial<'_>) -> Result<Outcome, Failure> {
    let outcome = trial.outcome().ok_or_else(|| trial.cluster.unexpected())?;
    let (outage, publisher) = (millis(outcome.outage), millis(outcome.publisher_outage));
    trial.display.event(&format!(
        "{}: subscribers waited {outage} ms at most, the publisher {publisher} ms",
        outcome.fault.cause
    ));
    Ok(outcome)
}

impl DemoReport {
    fn new(results: &Results, outcomes: &[Outcome], time: Duration) -> Self {
        let acknowledged = &results.published.acknowledged;
        let received = &results.received;
        Self {
            acknowledged: acknowledged.len(),
            delivered: received.iter().map(|received| received.delivered.len()).collect(),
            lost: received.iter().map(|received| acknowledged.missing_in(&received.delivered)).sum(),
            duplicated: received.iter().map(|received| received.duplicated).sum(),
            out_of_order: received.iter().map(|received| received.out_of_order).sum(),
            failovers: outcomes.iter().map(FailoverReport::new).collect(),
            seconds: (time.as_secs_f64() * 100.0).round() / 100.0,
        }
    }

    fn json(&self) -> Result<String, Failure> {
        serde_json::to_string(self).map_err(Failure::complete)
    }

    fn text(&self, outcomes: &[Outcome]) -> String {
        let delivered: Vec<_> = self.delivered.iter().map(|&count| grouped(count)).collect();
        let mut lines = vec![
            String::new(),
            format!("acknowledged   {}", grouped(self.acknowledged)),
            format!("delivered      {}", delivered.join(" and ")),
            format!("lost           {}", self.lost),
            format!("duplicated     {}", self.duplicated),
            format!("out of order   {}", self.out_of_order),
        ];
        for (outcome, report) in outcomes.iter().zip(&self.failovers) {
            let (victim, cause) = (&outcome.fault.victim, format!("{}:", report.cause));
            let successor = match &outcome.successor {
                Some((name, epoch)) => format!("{name} in epoch {epoch}"),
                None => "nobody".into(),
            };
            let (outage, publisher) = (report.outage_ms, report.publisher_outage_ms);
            lines.push(format!(
                "{cause:14} {victim} was followed by {successor}; subscribers waited {outage} ms, the publisher {publisher} ms",
            ));
        }
        lines.push(format!("seconds        {}", self.seconds));
        lines.join("\n")
    }
}

impl FailoverReport {
    fn new(outcome: &Outcome) -> Self {
        Self {
            cause: outcome.fault.cause,
            outage_ms: millis(outcome.outage),
            publisher_outage_ms: millis(outcome.publisher_outage),
        }
    }
}

/// Whether the promise was kept and was put to the test.
fn verdict(results: &Results, report: &DemoReport, outcomes: &[Outcome]) -> Result<(), Failure> {
    let broken =
        |what: String| Err(Failure::new(what, "please report it with the logs of a run with --logs DIR"));
    if report.lost + report.duplicated + report.out_of_order > 0 {
        return broken("acknowledged records were lost, duplicated or reordered".into());
    }
    let count =
        |what: fn(&super::worker::report::Received) -> u64| results.received.iter().map(what).sum::<u64>();
    if count(|received| received.corrupt + received.reported_missing) > 0 {
        return broken("records were changed on their way, or reported as missing".into());
    }
    if report.acknowledged == 0 || results.published.failed > 0 {
        return broken(format!("{} records were not acknowledged", results.published.failed));
    }
    match outcomes.iter().find(|outcome| !outcome.is_failover()) {
        None => Ok(()),
        Some(outcome) => Err(Failure::new(
            format!("the {} of {} led to no failover", outcome.fault.cause, outcome.fault.victim),
            "try again with less load on the machine, or with --logs DIR",
        )),
    }
}
