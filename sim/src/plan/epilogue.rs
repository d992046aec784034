//! What is looked at when a run has come to a good end. One replica of discovery leads, and every subscriber
//! is where the log ends. Then somebody puts an old copy of the coordination tree back (R25), or that of another group
//! (R26), over what is there or with versions that begin anew. At first that is put right at once: nobody may halt, and
//! nobody commits anything that long. Then it stays, and every broker has to halt. The other properties say nothing of
//! such a world.

use crate::actor::{Actor, Event};
use crate::check::Violation;
use crate::cluster::Cluster;
use crate::network::ProcessId;
use std::collections::BTreeSet;
use std::time::Duration;
use steadfast_core::broker::{self, Broker};
use steadfast_core::group::GroupState;
use steadfast_core::id::{GroupId, Nonce, Offset};
use steadfast_core::message::History;
use steadfast_core::node::Output;
use steadfast_core::subscriber::Subscriber;
use steadfast_core::time::Instant;

/// Within this time every broker has read the tree twice.
const NOTICED: Duration = Duration::from_secs(5);
/// So often the tree is old for a moment.
const BLINKS: u32 = 4;
/// Records that each publisher publishes while the tree is not what it was.
const RECORDS: u64 = 40;

/// The tree is restored in the runs of one seed of so many.
const RESTORED: u64 = 3;

/// How a state comes into the tree.
type Put = fn(&mut Cluster, &GroupState);

/// Looks at a cluster in which all is calm, and restores an old tree.
///
/// # Errors
/// The property that does not hold.
pub(super) fn judge(cluster: &mut Cluster, seed: u64) -> Result<(), Violation> {
    one_leads(cluster)?;
    positions_are_told(cluster)?;
    if !seed.is_multiple_of(RESTORED) {
        return Ok(());
    }
    let turn = seed / RESTORED;
    let put: Put = if turn.is_multiple_of(2) { Cluster::restore } else { Cluster::overwrite };
    let old = if turn % 4 < 2 { outdated(cluster) } else { another_group(cluster) };
    let Some(old) = old else { return Ok(()) };
    (0..BLINKS).try_for_each(|_| nobody_halts_in_doubt(cluster, &old, put))?;
    halt_on_old_tree(cluster, &old, put)
}

/// Section 4: whoever led discovery, one replica does now.
fn one_leads(cluster: &Cluster) -> Result<(), Violation> {
    let replicas = cluster.discoveries().iter().filter_map(|replica| cluster.world().node(*replica));
    let leaders = replicas
        .filter_map(Actor::discovery)
        .filter(|replica| replica.figures(Instant::default()).leads)
        .count();
    match leaders {
        1 => Ok(()),
        _ => {
            Err(Violation { property: "DiscoveryLed", detail: format!("{leaders} replicas lead discovery") })
        }
    }
}

/// R30: a stream says how far it has come also where nothing matches.
fn positions_are_told(cluster: &Cluster) -> Result<(), Violation> {
    let Some(state) = cluster.state() else { return Ok(()) };
    let end = cluster.checks().ledger().committed(state.history).log.end();
    for process in cluster.subscribers() {
        let subscriber = cluster.world().node(process).and_then(Actor::subscriber);
        let at = subscriber.and_then(Subscriber::bookmark).map(|at| at.position.offset);
        if subscriber.is_some() && at != Some(end) && !cluster.closes(process) {
            let detail = format!("{} is at {at:?}, the log ends at {end}", cluster.world().name(process));
            return Err(Violation { property: "PositionsTold", detail });
        }
    }
    Ok(())
}

/// An old state is there for a moment. Who has seen it reads again before it believes it.
fn nobody_halts_in_doubt(cluster: &mut Cluster, old: &GroupState, put: Put) -> Result<(), Violation> {
    let Some(state) = cluster.state().cloned() else { return Ok(()) };
    for publisher in cluster.publishers().to_vec() {
        cluster.publish(publisher, "in.doubt", RECORDS, Duration::from_micros(200));
    }
    put(cluster, old);
    let (mut until, mut restored) = (cluster.world().now() + nanos(NOTICED), false);
    let mut before = Vec::new();
    while let Some((process, halted)) = step(cluster, until) {
        if halted {
            let detail =
                format!("{} halts at the first sight of an old state", cluster.world().name(process));
            return Err(Violation { property: "HaltsInDoubt", detail });
        }
        let doubt = doubters(cluster, old);
        let commits = |(who, from, commit): &(ProcessId, bool, Offset)| {
            *from && before.iter().any(|(other, _, offset)| other == who && offset < commit)
        };
        if let Some((who, _, commit)) = doubt.iter().find(|one| commits(one)) {
            let detail = format!("{} commits {commit} before a tree gone back", cluster.world().name(*who));
            return Err(Violation { property: "CommitsInDoubt", detail });
        }
        if !doubt.is_empty() && !restored {
            put(cluster, &state);
            (until, restored) = (cluster.world().now() + nanos(NOTICED) / 10, true);
        }
        before = doubt;
    }
    Ok(())
}

const fn nanos(time: Duration) -> u64 {
    time.as_nanos() as u64
}

/// Brokers whose view shows this state, whether they lead, and their commit offsets.
fn doubters(cluster: &Cluster, old: &GroupState) -> Vec<(ProcessId, bool, Offset)> {
    let sees = |broker: &&Broker| {
        let state = broker.registry().view().state.as_ref();
        state.is_some_and(|(state, _)| state.nonce == old.nonce)
    };
    let brokers = cluster.brokers().iter().copied();
    let brokers = brokers.filter_map(|process| Some((process, cluster.broker(process).filter(sees)?)));
    brokers.map(|(process, broker)| (process, broker.leads().is_some(), broker.replica().commit())).collect()
}

/// An old state, or that of another group, is there for good: every broker halts.
fn halt_on_old_tree(cluster: &mut Cluster, old: &GroupState, put: Put) -> Result<(), Violation> {
    let mut going_on: BTreeSet<_> = cluster.brokers().iter().copied().collect();
    put(cluster, old);
    let until = cluster.world().now() + nanos(NOTICED);
    while !going_on.is_empty() {
        let Some((process, halted)) = step(cluster, until) else {
            let names: Vec<_> = going_on.iter().map(|process| cluster.world().name(*process)).collect();
            let (history, epoch) = (old.history, old.epoch);
            let detail = format!("{names:?} go on with a tree that is back in epoch {epoch} of {history:?}");
            return Err(Violation { property: "HaltsOnOldTree", detail });
        };
        if halted {
            going_on.remove(&process);
        }
    }
    Ok(())
}

/// One step without the checkers: whose, and whether that one has halted.
fn step(cluster: &mut Cluster, until: u64) -> Option<(ProcessId, bool)> {
    let step = cluster.world_mut().step(until)?;
    let halted =
        |output: &Output<Event>| matches!(output, Output::Event(Event::Broker(broker::Event::Halted(_))));
    Some((step.process, step.outputs.iter().any(halted)))
}

/// The state of a group that is another one, and otherwise the same.
fn another_group(cluster: &Cluster) -> Option<GroupState> {
    let state = cluster.state()?.clone();
    let history = History { group_id: GroupId(!state.history.group_id.0), ..state.history };
    Some(GroupState { history, nonce: Nonce(!state.nonce.0), ..state })
}

/// A state that contradicts every broker's log.
fn outdated(cluster: &Cluster) -> Option<GroupState> {
    let states = cluster.checks().ledger().states();
    let old = states.iter().find(|state| state.primary.is_some())?;
    let contradicts = |process: &_| {
        cluster.broker(*process).is_some_and(|broker| {
            let replica = broker.replica();
            old.history.lineage < replica.history().lineage || old.epoch < replica.log().last_epoch()
        })
    };
    cluster.brokers().iter().all(contradicts).then(|| old.clone())
}
