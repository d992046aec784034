//! The primary dies, freezes or is cut off at every step of a publish, and every property holds:
//! CandidateComplete, AckedDurable, CommittedStable, LogMatching, OnePrimaryPerEpoch,
//! NoPrematureVisibility, ExactlyOnceInLog, SubPrefix and the others are checked after every input;
//! at the end nothing acknowledged is missing, repeated or out of order.

use std::time::Duration;
use steadfast_sim::cluster::{Cluster, Config, Failure};
use steadfast_sim::fault::Fault;
use steadfast_sim::network::ProcessId;
use steadfast_sim::render::Renderer;

/// Records published before the fault, and again while it lasts.
const RECORDS: u64 = 3;
/// How long a fault lasts: past every timeout.
const OUTAGE: Duration = Duration::from_secs(8);
/// After healing, everything is well within this time.
const RECOVERY: Duration = Duration::from_secs(15);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    Crash,
    CrashAndRestart,
    PowerLoss,
    Pause,
    CutOffFromPeers,
    CutOffFromCoordination,
    CutOffFromBoth,
    BackupCrash,
    BackupPowerLoss,
    BackupPause,
    BackupCutOff,
}

const TROUBLES: [Trouble; 11] = [
    Trouble::Crash,
    Trouble::CrashAndRestart,
    Trouble::PowerLoss,
    Trouble::Pause,
    Trouble::CutOffFromPeers,
    Trouble::CutOffFromCoordination,
    Trouble::CutOffFromBoth,
    Trouble::BackupCrash,
    Trouble::BackupPowerLoss,
    Trouble::BackupPause,
    Trouble::BackupCutOff,
];

fn cut_off_from_peers(cluster: &Cluster, primary: ProcessId) -> Vec<Fault> {
    let peers = cluster.brokers().iter().copied().filter(|&peer| peer != primary);
    peers.flat_map(|peer| [Fault::Cut(primary, peer), Fault::Cut(peer, primary)]).collect()
}

fn cut_off_from_coordination(primary: ProcessId) -> Vec<Fault> {
    vec![Fault::CutToCoordination(primary), Fault::CutFromCoordination(primary)]
}

impl Trouble {
    fn faults(self, cluster: &Cluster, primary: ProcessId) -> Vec<Fault> {
        let mut backups = cluster.brokers().iter().copied().filter(|&broker| broker != primary);
        let backup = backups.next().expect("three brokers");
        match self {
            Self::Crash => vec![Fault::Crash(primary)],
            Self::CrashAndRestart => vec![Fault::Crash(primary), Fault::Restart(primary)],
            Self::PowerLoss => vec![Fault::PowerLoss(primary)],
            Self::Pause => vec![Fault::Pause(primary)],
            Self::CutOffFromPeers => cut_off_from_peers(cluster, primary),
            Self::CutOffFromCoordination => cut_off_from_coordination(primary),
            Self::CutOffFromBoth => {
                [cut_off_from_peers(cluster, primary), cut_off_from_coordination(primary)].concat()
            }
            Self::BackupCrash => vec![Fault::Crash(backup)],
            Self::BackupPowerLoss => vec![Fault::PowerLoss(backup), Fault::Restart(backup)],
            Self::BackupPause => vec![Fault::Pause(backup)],
            Self::BackupCutOff => vec![Fault::Cut(primary, backup), Fault::Cut(backup, primary)],
        }
    }

    /// Whether the group must have another primary before the fault is put right. A backup that is cut
    /// off from the primary only may win or lose: both are right.
    fn deposes(self) -> Option<bool> {
        match self {
            Self::BackupCutOff => None,
            Self::BackupCrash | Self::BackupPowerLoss | Self::BackupPause => Some(false),
            _ => Some(true),
        }
    }
}

/// A cluster in which everything is well and the clients are connected, and its primary.
fn well(seed: u64) -> Result<(Cluster, ProcessId), Failure> {
    let mut cluster = Cluster::new(&Config { subscribers: vec![">", "a.*"], ..Config::default() }, seed);
    publish(&mut cluster);
    assert!(cluster.run_until(Duration::from_secs(5), Cluster::is_settled)?, "a healthy cluster starts");
    let primary = cluster.primary().expect("a settled cluster has a primary");
    Ok((cluster, primary))
}

fn publish(cluster: &mut Cluster) {
    let publisher = cluster.publishers()[0];
    cluster.publish(publisher, "a.b", RECORDS, Duration::ZERO);
}

/// Steps from the publish to the last delivery and acknowledgement when nothing goes wrong.
fn steps_of_a_publish(seed: u64) -> Result<u64, Failure> {
    let (mut cluster, _) = well(seed)?;
    publish(&mut cluster);
    let before = cluster.world().steps();
    assert!(cluster.run_until(Duration::from_secs(1), Cluster::is_settled)?, "a publish succeeds");
    Ok(cluster.world().steps() - before)
}

fn run(cluster: &mut Cluster, primary: ProcessId, trouble: Trouble, step: u64) -> Result<(), Failure> {
    publish(cluster);
    for _ in 0..step {
        cluster.step(u64::MAX)?;
    }
    for fault in trouble.faults(cluster, primary) {
        cluster.strike(fault)?;
    }
    publish(cluster);
    let epoch = cluster.state().map_or(0, |state| state.epoch);
    cluster.run_for(OUTAGE)?;
    let state = cluster.state().expect("the group exists");
    let deposed = state.epoch > epoch;
    assert_eq!(deposed, trouble.deposes().unwrap_or(deposed), "{trouble:?}: {state:?}");
    publish(cluster);
    cluster.settle(RECOVERY)?;
    everything_arrived(cluster);
    Ok(())
}

/// Nothing is unknown, and each subscriber has each record: in order and once, as was checked.
fn everything_arrived(cluster: &Cluster) {
    let published = cluster.published(cluster.publishers()[0]);
    assert_eq!(published.acknowledged, published.asked(), "{published:?}");
    for subscriber in cluster.subscribers() {
        assert_eq!(cluster.received(subscriber).records, published.asked(), "{subscriber:?}");
    }
}

/// Runs, and where it fails runs again with a timeline.
fn checked(seed: u64, trouble: Trouble, step: u64) -> u64 {
    let (mut cluster, primary) = well(seed).expect("a healthy cluster");
    let Err(failure) = run(&mut cluster, primary, trouble, step) else {
        return cluster.fingerprint().value();
    };
    let (mut again, primary) = well(seed).expect("a healthy cluster");
    again.render(Renderer::default());
    let same = run(&mut again, primary, trouble, step).expect_err("the same failure");
    for line in again.take_lines() {
        println!("{line}");
    }
    assert_eq!(same, failure);
    panic!("seed {seed}, {trouble:?} at step {step}: {failure}");
}

fn at_every_step(trouble: Trouble) {
    let seed = 1;
    let steps = steps_of_a_publish(seed).expect("a healthy cluster");
    assert!(steps > 20, "a publish takes more than {steps} steps");
    for step in 0..=steps {
        checked(seed, trouble, step);
    }
}

#[test]
fn the_primary_crashes_at_every_step() {
    at_every_step(Trouble::Crash);
}

#[test]
fn the_primary_crashes_and_restarts_at_every_step() {
    at_every_step(Trouble::CrashAndRestart);
}

#[test]
fn the_primary_loses_power_at_every_step() {
    at_every_step(Trouble::PowerLoss);
}

#[test]
fn the_primary_is_paused_at_every_step() {
    at_every_step(Trouble::Pause);
}

#[test]
fn the_primary_is_cut_off_from_its_peers_at_every_step() {
    at_every_step(Trouble::CutOffFromPeers);
}

#[test]
fn the_primary_is_cut_off_from_coordination_at_every_step() {
    at_every_step(Trouble::CutOffFromCoordination);
}

#[test]
fn the_primary_is_cut_off_from_everything_at_every_step() {
    at_every_step(Trouble::CutOffFromBoth);
}

#[test]
fn a_backup_crashes_at_every_step() {
    at_every_step(Trouble::BackupCrash);
}

#[test]
fn a_backup_loses_power_and_restarts_at_every_step() {
    at_every_step(Trouble::BackupPowerLoss);
}

#[test]
fn a_backup_is_paused_at_every_step() {
    at_every_step(Trouble::BackupPause);
}

#[test]
fn a_backup_is_cut_off_from_the_primary_at_every_step() {
    at_every_step(Trouble::BackupCutOff);
}

#[test]
fn the_same_seed_gives_the_same_history() {
    for trouble in TROUBLES {
        assert_eq!(checked(7, trouble, 10), checked(7, trouble, 10), "{trouble:?}");
    }
    assert_ne!(checked(7, Trouble::Crash, 10), checked(8, Trouble::Crash, 10));
}
