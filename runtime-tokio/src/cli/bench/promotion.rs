//! `steadfast bench growth --what promotion`: what subscribers notice of a primary's death when the next
//! one has nothing, and when it has much and knows many sessions.

use super::super::cluster::Cluster;
use super::super::failure::Failure;
use super::args::{Case, GrowthArgs};
use super::chart::{Chart, Series};
use super::failover::{Outages, strike};
use super::growth::fill;
use super::lab::{Lab, retaining};
use super::memory::{end, idle};
use super::scale::{Axis, Scale};
use super::steady::{complete, start, work};
use super::{BROKERS, Outcome};
use crate::cli::display::Goal;
use serde_json::json;
use std::time::Duration;

/// Records per second.
const RATE: u32 = 5_000;
/// How long a new backup may take to copy the log.
const RECOVERY: Duration = Duration::from_secs(300);
/// Publishers that are connected at the same time: their sessions stay when they leave.
const AT_ONCE: u32 = 1_000;
/// Bytes of the one record that each of them publishes.
const SIZE: u32 = 16;

/// Measures both.
///
/// # Errors
/// When something does not start or does not recover, or records are lost.
pub async fn promotion(lab: &Lab, args: &GrowthArgs) -> Result<Outcome, Failure> {
    lab.refuse_named("a promotion needs a primary that is killed")?;
    let empty = measure(lab, args, 0, 0).await?;
    let full = measure(lab, args, args.up_to(), args.sessions).await?;
    let figures = json!({
        "empty": empty.figures(),
        "full": full.figures(),
    });
    let much = format!("{} MiB retained, {} sessions of publishers", args.up_to() >> 20, args.sessions);
    let chart = Chart {
        title: format!("Outage of a subscriber after SIGKILL of the primary, at {RATE} records/s"),
        x: Axis::new("rounds, the shortest first", Scale::Count),
        y: Axis::new("ms without a record", Scale::Linear),
        series: vec![
            Series::dots("nothing retained", empty.curve(Case::PrimaryKilled)),
            Series::dots(much, full.curve(Case::PrimaryKilled)),
        ],
    };
    Ok(Outcome { figures, chart: Some(chart) })
}

async fn measure(lab: &Lab, args: &GrowthArgs, bytes: u64, sessions: u32) -> Result<Outages, Failure> {
    let work = work(&args.options.bench, RATE, None);
    let options = if bytes > 0 { retaining(bytes) } else { Vec::new() };
    lab.on_cluster(BROKERS, options, async |cluster| {
        let mut display = lab.display();
        if bytes > 0 {
            fill(cluster, bytes, &mut display).await?;
        }
        open_sessions(lab, cluster, sessions).await?;
        let mut trial = start(cluster, &work, display).await?;
        let mut outages = Outages::default();
        for round in 0..args.rounds {
            trial.goal = Goal::Steps(round, args.rounds);
            strike(&mut trial, Case::PrimaryKilled, RECOVERY, &mut outages).await?;
        }
        let (results, _) = trial.finish().await?;
        complete(&results).map(|()| outages)
    })
    .await
}

/// Opens sessions of publishers, which are gone then.
async fn open_sessions(lab: &Lab, cluster: &Cluster, sessions: u32) -> Result<(), Failure> {
    let mut display = lab.display();
    for opened in (0..sessions).step_by(AT_ONCE as usize) {
        let count = AT_ONCE.min(sessions - opened);
        end(idle(cluster, &mut display, ("publishers", count, SIZE)).await?).await;
    }
    Ok(())
}
