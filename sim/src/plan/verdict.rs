//! What must hold in the end besides the properties that were checked all along: what became of each
//! record that was published.

use super::Plan;
use crate::check::Violation;
use crate::cluster::{Cluster, Core};
use crate::network::ProcessId;
use bytes::Bytes;
use std::collections::BTreeMap;
use steadfast_core::log::EntryKind;
use steadfast_core::wire::records::Records;

/// Judges a run that has settled.
///
/// # Errors
/// The property that does not hold.
pub(super) fn judge(cluster: &Cluster, plan: &Plan, core: &Core) -> Result<(), Violation> {
    for &publisher in cluster.publishers() {
        acknowledged(cluster, publisher)?;
    }
    outboxes(cluster, plan, core)
}

/// Whether the group still has the data that it began with.
fn kept(cluster: &Cluster) -> bool {
    cluster.state().is_some_and(|state| state.history.lineage == 1)
}

/// Where no data was given up and no session has expired, nobody is left in the dark: every record of a
/// publisher that lives is acknowledged.
fn acknowledged(cluster: &Cluster, publisher: ProcessId) -> Result<(), Violation> {
    let published = cluster.published(publisher);
    let excused = !kept(cluster) || cluster.coverage().count("SessionExpired") > 0;
    if excused || (published.unknown == 0 && published.refused == 0) {
        return Ok(());
    }
    let name = cluster.world().name(publisher);
    Err(Violation {
        property: "Acknowledged",
        detail: format!("{name}: {published:?}, and nothing was given up"),
    })
}

/// What reached the outbox of a publisher that was put right is in the log that holds now, once, or was set
/// aside and reported; and nothing is in the log that had not been in the outbox.
fn outboxes(cluster: &Cluster, plan: &Plan, core: &Core) -> Result<(), Violation> {
    let broken = |detail: String| Err(Violation { property: "OutboxKept", detail });
    if plan.publishers.iter().all(|publisher| !publisher.outbox) {
        return Ok(());
    }
    let logged = logged(cluster)?;
    if let Some((payload, times)) = logged.iter().find(|(_, times)| **times > 1) {
        return broken(format!("{payload:?} is in the log {times} times"));
    }
    for publisher in &plan.publishers {
        let process = cluster.find(&format!("p{}", publisher.number)).filter(|_| publisher.outbox);
        let Some(process) = process else { continue };
        let disk = cluster.disk(process);
        let gone = |payload: &&Bytes| !logged.contains_key(*payload) && !disk.aside().contains(*payload);
        if let Some(payload) = disk.stored().iter().find(gone).filter(|_| kept(cluster) && core.has(process))
        {
            return broken(format!("{payload:?} was stored in the outbox and is gone"));
        }
        let prefix = format!("{:?}/", cluster.identity(process));
        let mut own = logged.keys().filter(|payload| payload.starts_with(prefix.as_bytes()));
        if let Some(payload) = own.find(|payload| !disk.stored().contains(*payload)) {
            return broken(format!("{payload:?} left before it was stored"));
        }
    }
    Ok(())
}

/// How often each payload is in the committed log that holds now.
fn logged(cluster: &Cluster) -> Result<BTreeMap<Bytes, u32>, Violation> {
    let mut times = BTreeMap::new();
    let Some(state) = cluster.state() else { return Ok(times) };
    for held in cluster.checks().ledger().committed(state.history).log.entries() {
        let EntryKind::Batch(batch) = &held.entry.kind else { continue };
        let records = Records::decode(&batch.header, batch.body.clone());
        let unreadable =
            |error| Violation { property: "OutboxKept", detail: format!("a committed batch: {error}") };
        for payload in records.map_err(unreadable)? {
            *times.entry(payload).or_insert(0) += 1;
        }
    }
    Ok(times)
}
