//! The group comes into being while its processes die (R26): each of them, at steps all along the way,
//! until the last one is in sync. Nothing that is acknowledged meanwhile is missing.

use std::time::Duration;
use steadfast_sim::cluster::{Cluster, Config, Failure};
use steadfast_sim::fault::Fault;

/// Every so manieth step is struck.
const STRIDE: usize = 9;
const RECORDS: u64 = 20;
const RECOVERY: Duration = Duration::from_secs(15);

/// Brokers, discovery replicas and a publisher that publishes from the first moment on.
fn cluster(seed: u64, min_in_sync: u32) -> Cluster {
    let mut cluster = Cluster::new(&Config { brokers: 2, min_in_sync, ..Config::default() }, seed);
    let publisher = cluster.publishers()[0];
    cluster.publish(publisher, "a.b", RECORDS, Duration::from_millis(20));
    cluster
}

/// How many steps it takes until all is well.
fn steps(seed: u64, min_in_sync: u32) -> Result<u64, Failure> {
    let mut cluster = cluster(seed, min_in_sync);
    assert!(cluster.run_until(Duration::from_secs(5), Cluster::is_settled)?, "a healthy cluster starts");
    Ok(cluster.world().steps())
}

/// The process with this name dies after so many steps and is back after a while.
fn run(cluster: &mut Cluster, name: &str, step: u64, outage: Duration) -> Result<(), Failure> {
    let victim = cluster.find(name).expect("it takes part");
    let is_there = |cluster: &Cluster| cluster.world().steps() >= step;
    cluster.run_until(Duration::from_secs(5), is_there)?;
    cluster.strike(Fault::Crash(victim))?;
    let back = cluster.world().now() + outage.as_nanos() as u64;
    cluster.world_mut().schedule(back, Fault::Restart(victim));
    cluster.run_for(outage)?;
    cluster.settle(RECOVERY)
}

fn everybody_dies_once(min_in_sync: u32) {
    let steps = steps(1, min_in_sync).unwrap_or_else(|failure| panic!("{failure}"));
    let mut given_up = 0;
    for step in (0..steps).step_by(STRIDE) {
        for name in ["b1", "b2", "d1", "d2"] {
            for outage in [Duration::from_millis(20), Duration::from_secs(4)] {
                let mut cluster = cluster(1, min_in_sync);
                let what = format!("{name} dies at step {step} for {outage:?}");
                run(&mut cluster, name, step, outage).unwrap_or_else(|failure| panic!("{what}: {failure}"));
                let published = cluster.published(cluster.publishers()[0]);
                let kept = cluster.state().is_some_and(|state| state.history.lineage == 1);
                given_up += u32::from(!kept);
                assert!(published.is_settled(), "{what}: {published:?}");
                assert!(!kept || published.acknowledged == RECORDS, "{what}: {published:?}");
            }
        }
    }
    // A broker that dies as the first and only one in sync takes the data with it, and everybody is told.
    assert!(given_up > 0, "no broker died alone");
}

#[test]
fn one_in_sync_broker_is_enough() {
    everybody_dies_once(1);
}

#[test]
fn two_in_sync_brokers_are_asked_for() {
    everybody_dies_once(2);
}
