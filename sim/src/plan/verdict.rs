//! What must hold in the end besides the properties that were checked all along: what became of each
//! record that was stored in an outbox.

use super::Plan;
use crate::check::Violation;
use crate::cluster::{Cluster, Core};
use crate::render::Payload;
use bytes::Bytes;
use std::collections::BTreeSet;
use steadfast_core::log::EntryKind;
use steadfast_core::wire::records::Records;

/// Whether the group still has the data that it began with.
fn kept(cluster: &Cluster) -> bool {
    cluster.state().is_some_and(|state| state.history.lineage == 1)
}

/// Judges a run that has settled. What reached the outbox of a publisher that was put right is in the log that
/// holds now, or was set aside and reported; and nothing is in the log that had not been in the outbox.
///
/// # Errors
/// The property that does not hold.
pub(super) fn judge(cluster: &Cluster, plan: &Plan, core: &Core) -> Result<(), Violation> {
    let broken = |detail: String| Err(Violation { property: "OutboxKept", detail });
    if plan.publishers.iter().all(|publisher| !publisher.outbox) {
        return Ok(());
    }
    let logged = logged(cluster)?;
    let outboxes: Vec<_> = cluster.outboxes().collect();
    for &(process, ref disk) in &outboxes {
        let gone = |payload: &&Bytes| !logged.contains(*payload) && !disk.aside().contains(*payload);
        // Who was told that another process goes on with its outbox has told its application so.
        let due = kept(cluster) && core.has(process) && !disk.is_fenced();
        if let Some(payload) = disk.stored().iter().find(gone).filter(|_| due) {
            return broken(format!("{:?} was stored in the outbox and is gone", Payload(payload)));
        }
        let identity = cluster.identity(process);
        let prefix = format!("{identity:?}/");
        let mut own = logged.iter().filter(|payload| payload.starts_with(prefix.as_bytes()));
        let copies = || outboxes.iter().filter(|(other, _)| cluster.identity(*other) == identity);
        let stored = |payload: &Bytes| copies().any(|(_, disk)| disk.stored().contains(payload));
        if let Some(payload) = own.find(|payload| !stored(payload)) {
            return broken(format!("{:?} left before it was stored", Payload(payload)));
        }
    }
    Ok(())
}

/// Every payload in the committed log that holds now.
fn logged(cluster: &Cluster) -> Result<BTreeSet<Bytes>, Violation> {
    let mut logged = BTreeSet::new();
    let Some(state) = cluster.state() else { return Ok(logged) };
    for held in cluster.checks().ledger().committed(state.history).log.entries() {
        let EntryKind::Batch(batch) = &held.entry.kind else { continue };
        let records = Records::decode(&batch.header, batch.body.clone());
        let unreadable =
            |error| Violation { property: "OutboxKept", detail: format!("a committed batch: {error}") };
        logged.extend(records.map_err(unreadable)?);
    }
    Ok(logged)
}
