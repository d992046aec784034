//! Trims and snapshots under traffic and faults: a backup returns below the log's start; the primary, the
//! backup or the link between them fails all along a snapshot; a subscriber is overtaken. Every
//! property is checked after every input: TrimSafe and SessionFold among them.

use std::time::Duration;
use steadfast_core::broker::retention::Retention;
use steadfast_sim::cluster::{Cluster, Config, Failure};
use steadfast_sim::fault::Fault;
use steadfast_sim::network::ProcessId;
use steadfast_sim::random::Span;
use steadfast_sim::render::Renderer;

/// Records kept, and their size: more than fits into the window of a snapshot's parts.
const KEPT: u64 = 600;
const PAYLOAD: usize = 16 << 10;
/// How many places of a snapshot's way are struck.
const PLACES: u64 = 10;
const INTERVAL: Duration = Duration::from_micros(500);
const RECOVERY: Duration = Duration::from_secs(20);

fn cluster(seed: u64) -> Cluster {
    let retention = Retention { bytes: None, records: Some(KEPT), age: None };
    let subscribers = vec![">", "a.*"];
    Cluster::new(&Config { retention, subscribers, payload: PAYLOAD, ..Config::default() }, seed)
}

fn publish(cluster: &mut Cluster, count: u64) {
    let publisher = cluster.publishers()[0];
    cluster.publish(publisher, "a.b", count, INTERVAL);
}

fn start_of(cluster: &Cluster, broker: ProcessId) -> u64 {
    cluster.broker(broker).map_or(0, |broker| broker.replica().log().start())
}

/// A cluster with a full log, its primary, and a backup that was away for so long that it needs a
/// snapshot, which has just begun. Publishing goes on.
fn at_a_snapshot(seed: u64) -> Result<(Cluster, ProcessId, ProcessId), Failure> {
    let mut cluster = cluster(seed);
    publish(&mut cluster, 10);
    assert!(cluster.run_until(RECOVERY, Cluster::is_settled)?, "a healthy cluster starts");
    let primary = cluster.primary().expect("a settled cluster has a primary");
    let backup = cluster.brokers().iter().copied().find(|&broker| broker != primary).expect("a backup");
    cluster.strike(Fault::Crash(backup))?;
    publish(&mut cluster, 2 * KEPT);
    assert!(cluster.run_until(RECOVERY, |cluster| start_of(cluster, primary) > 50)?, "the log is trimmed");
    publish(&mut cluster, 200);
    cluster.strike(Fault::Restart(backup))?;
    assert!(
        cluster.run_until(RECOVERY, |cluster| cluster.coverage().count("SnapshotBegun") > 0)?,
        "it needs a snapshot"
    );
    Ok((cluster, primary, backup))
}

/// Everything published is acknowledged, and each subscriber has all of it.
fn everything_arrived(cluster: &Cluster) {
    let published = cluster.published(cluster.publishers()[0]);
    assert_eq!(published.acknowledged, published.asked(), "{published:?}");
    for subscriber in cluster.subscribers() {
        let received = cluster.received(subscriber);
        assert_eq!((received.records, received.lost), (published.asked(), 0), "{received:?}");
    }
}

#[derive(Clone, Copy, Debug)]
enum Trouble {
    PrimaryCrash,
    PrimaryPause,
    BackupCrash,
    LinkReset,
    CutOff,
}

impl Trouble {
    fn faults(self, primary: ProcessId, backup: ProcessId) -> Vec<Fault> {
        match self {
            Self::PrimaryCrash => vec![Fault::Crash(primary)],
            Self::PrimaryPause => vec![Fault::Pause(primary)],
            Self::BackupCrash => vec![Fault::Crash(backup), Fault::Restart(backup)],
            Self::LinkReset => vec![Fault::Reset(primary, backup)],
            Self::CutOff => vec![Fault::Cut(primary, backup), Fault::Cut(backup, primary)],
        }
    }
}

fn run(seed: u64, trouble: Trouble, step: u64, renderer: Option<Renderer>) -> (Cluster, Result<(), Failure>) {
    let (mut cluster, primary, backup) = at_a_snapshot(seed).expect("a healthy cluster");
    if let Some(renderer) = renderer {
        cluster.render(renderer);
    }
    let result = fail_and_recover(&mut cluster, (primary, backup), trouble, step);
    (cluster, result)
}

fn fail_and_recover(
    cluster: &mut Cluster,
    (primary, backup): (ProcessId, ProcessId),
    trouble: Trouble,
    step: u64,
) -> Result<(), Failure> {
    for _ in 0..step {
        cluster.step(u64::MAX)?;
    }
    for fault in trouble.faults(primary, backup) {
        cluster.strike(fault)?;
    }
    cluster.run_for(Duration::from_secs(4))?;
    publish(cluster, 20);
    cluster.settle(RECOVERY)
}

/// Runs, and where it fails runs again with a timeline. Returns how many snapshots were begun in vain.
fn checked(seed: u64, trouble: Trouble, step: u64) -> u64 {
    let (cluster, result) = run(seed, trouble, step, None);
    let Err(failure) = result else {
        everything_arrived(&cluster);
        let coverage = cluster.coverage();
        let (begun, installed) = (coverage.count("SnapshotBegun"), coverage.count("Installed"));
        assert!(installed > 0, "{coverage:?}");
        return begun - installed;
    };
    let (mut again, _) = run(seed, trouble, step, Some(Renderer::default()));
    again.take_lines().iter().for_each(|line| println!("{line}"));
    panic!("seed {seed}, {trouble:?} at step {step}: {failure}");
}

fn all_along(trouble: Trouble) {
    let seed = 1;
    let (mut cluster, ..) = at_a_snapshot(seed).expect("a healthy cluster");
    let before = cluster.world().steps();
    let installed = cluster.run_until(RECOVERY, |cluster| cluster.coverage().count("Installed") > 0);
    assert!(installed.expect("every property holds"), "a snapshot is installed");
    let steps = cluster.world().steps() - before;
    assert!(steps > 5, "a snapshot takes more than {steps} steps");
    // Most steps are traffic's: some places all along the way are struck.
    let stride = (steps / PLACES).max(1) as usize;
    let broken: u64 = (0..=steps + 4).step_by(stride).map(|step| checked(seed, trouble, step)).sum();
    assert!(broken > 0, "some snapshots break off");
}

#[test]
fn the_primary_crashes_all_along_a_snapshot() {
    all_along(Trouble::PrimaryCrash);
}

#[test]
fn the_primary_is_paused_all_along_a_snapshot() {
    all_along(Trouble::PrimaryPause);
}

#[test]
fn the_backup_crashes_and_restarts_all_along_a_snapshot() {
    all_along(Trouble::BackupCrash);
}

#[test]
fn the_connection_breaks_all_along_a_snapshot() {
    all_along(Trouble::LinkReset);
}

#[test]
fn the_backup_is_cut_off_all_along_a_snapshot() {
    all_along(Trouble::CutOff);
}

/// L4: a backup below the log's start gets in sync while publishers publish and the log is trimmed, and
/// then takes over with everything.
#[test]
fn a_backup_returns_below_the_log_start_under_load_and_takes_over() {
    for seed in 0..10 {
        let (mut cluster, primary, backup) = at_a_snapshot(seed).expect("every property holds");
        publish(&mut cluster, 4 * KEPT);
        let in_sync = |cluster: &Cluster| {
            let member = cluster.broker(backup).map(|broker| &broker.id().member);
            cluster.state().is_some_and(|state| member.is_some_and(|member| state.in_sync.contains(member)))
        };
        let before = start_of(&cluster, primary);
        assert!(cluster.run_until(RECOVERY, in_sync).expect("every property holds"), "seed {seed}");
        let busy = !cluster.published(cluster.publishers()[0]).is_settled();
        assert!(busy && start_of(&cluster, primary) >= before, "seed {seed}: the load has gone on");
        let others: Vec<_> = cluster.brokers().iter().copied().filter(|&other| other != backup).collect();
        for other in others {
            cluster.strike(Fault::Crash(other)).expect("every property holds");
            // Whoever is left has to shrink the set before the next one dies.
            cluster.run_for(Duration::from_secs(2)).expect("every property holds");
        }
        assert_eq!(cluster.primary(), Some(backup), "seed {seed}");
        cluster.settle(RECOVERY).unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
        everything_arrived(&cluster);
    }
}

/// R36: over a slow network a snapshot takes so long that the log is trimmed meanwhile: the backup starts
/// where everybody else does at the same offset.
#[test]
fn the_log_is_trimmed_while_a_snapshot_is_on_its_way() {
    let mut trimmed = 0;
    for seed in 0..10 {
        let (mut cluster, primary, backup) = at_a_snapshot(seed).expect("every property holds");
        let slow = Span::new(Duration::from_millis(5), Duration::from_millis(40));
        cluster.world_mut().network_mut().set_latency(primary, backup, slow);
        publish(&mut cluster, 2 * KEPT);
        let before = start_of(&cluster, primary);
        let installed = cluster.run_until(RECOVERY, |cluster| cluster.coverage().count("Installed") > 0);
        assert!(installed.expect("every property holds"), "seed {seed}");
        trimmed += u32::from(start_of(&cluster, backup) > before);
        cluster.settle(RECOVERY).unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
        everything_arrived(&cluster);
    }
    assert!(trimmed > 2, "{trimmed} snapshots were overtaken");
}

/// G4: a subscriber that was away too long is told of one range, and misses nothing else.
#[test]
fn a_subscriber_that_is_overtaken_is_told_once() {
    for seed in 0..10 {
        let mut cluster = cluster(seed);
        publish(&mut cluster, 10);
        assert!(cluster.run_until(RECOVERY, Cluster::is_settled).expect("a healthy cluster starts"));
        let subscriber = cluster.subscribers().next().expect("a subscriber");
        let others: Vec<_> = cluster.world().processes().filter(|&other| other != subscriber).collect();
        for &other in &others {
            cluster.strike(Fault::Cut(other, subscriber)).expect("every property holds");
            cluster.strike(Fault::Cut(subscriber, other)).expect("every property holds");
        }
        publish(&mut cluster, 4 * KEPT);
        cluster.run_for(Duration::from_secs(5)).expect("every property holds");
        cluster.settle(RECOVERY).unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
        let received = cluster.received(subscriber);
        let published = cluster.published(cluster.publishers()[0]);
        assert_eq!(received.lost, 1, "seed {seed}: {received:?}");
        assert!(received.records < published.asked() && received.records > KEPT / 2, "{received:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_history() {
    let fingerprint = || run(3, Trouble::PrimaryCrash, 4, None).0.fingerprint().value();
    assert_eq!(fingerprint(), fingerprint());
}
