//! The end of a run in which only a core is put right: who is in it, that the rest stays as it is, and that
//! a core which does not come to what is demanded is noticed.

use std::time::Duration;
use steadfast_sim::cluster::{Cluster, Config, Core};
use steadfast_sim::fault::Fault;
use steadfast_sim::network::ProcessId;

const RECOVERY: Duration = Duration::from_secs(30);

fn settled(seed: u64, min_in_sync: u32) -> Cluster {
    let config = Config { publishers: 2, subscribers: vec![">", "a.b"], min_in_sync, ..Config::default() };
    let mut cluster = Cluster::new(&config, seed);
    let publisher = cluster.publishers()[0];
    cluster.publish(publisher, "a.b", 20, Duration::from_millis(10));
    cluster.settle(RECOVERY).unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
    cluster
}

fn brokers_in(cluster: &Cluster, core: &Core) -> Vec<ProcessId> {
    cluster.brokers().iter().copied().filter(|broker| core.has(*broker)).collect()
}

#[test]
fn a_core_can_survive() {
    let mut sizes = [0; 4];
    for seed in 0..40 {
        let min_in_sync = 1 + (seed % 2) as u32;
        let mut cluster = settled(seed, min_in_sync);
        let primary = cluster.primary().expect("a settled cluster has one");
        cluster.strike(Fault::Crash(primary)).unwrap();
        let core = Core::survivable(&cluster);
        let brokers = brokers_in(&cluster, &core);
        sizes[brokers.len()] += 1;
        assert!(brokers.len() >= min_in_sync as usize, "seed {seed}: {core:?}");
        assert!(brokers.iter().any(|broker| cluster.broker(*broker).is_some()), "seed {seed}: {core:?}");
        assert!(cluster.discoveries().iter().any(|replica| core.has(*replica)), "seed {seed}: {core:?}");
        assert!(cluster.publishers().iter().any(|publisher| core.has(*publisher)), "seed {seed}: {core:?}");
        assert!(cluster.subscribers().any(|subscriber| core.has(subscriber)), "seed {seed}: {core:?}");
    }
    assert!(sizes[1..].iter().all(|times| *times > 0), "cores of all sizes: {sizes:?}");
}

#[test]
fn the_rest_stays_as_it_is() {
    for seed in 0..20 {
        let mut cluster = settled(seed, 1);
        let primary = cluster.primary().expect("a settled cluster has one");
        cluster.strike(Fault::Crash(primary)).unwrap();
        let soon = cluster.world().now() + 1_000_000_000;
        cluster.world_mut().schedule(soon, Fault::Restart(primary));
        let core = Core::survivable(&cluster);
        cluster.heal(&core).unwrap();
        cluster.recover(&core, RECOVERY).unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
        assert_eq!(cluster.broker(primary).is_some(), core.has(primary), "seed {seed}");
    }
}

#[test]
fn a_core_that_does_not_come_to_it_is_noticed() {
    let mut cluster = settled(1, 1);
    let everybody = Core::everybody(&cluster);
    for broker in cluster.brokers().to_vec() {
        cluster.strike(Fault::Pause(broker)).unwrap();
    }
    let publisher = cluster.publishers()[0];
    cluster.publish(publisher, "a.b", 1, Duration::ZERO);
    let failure = cluster.recover(&everybody, RECOVERY).unwrap_err();
    assert_eq!(failure.violation.property, "Liveness");
    assert!(failure.violation.detail.starts_with("L2: "), "{failure}");
}
