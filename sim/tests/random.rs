//! Random faults under traffic: every property is checked after every input, and when the faults end
//! everything is well again.

use std::time::Duration;
use steadfast_sim::cluster::{Cluster, Config, Failure};
use steadfast_sim::nemesis::Nemesis;
use steadfast_sim::random::Span;
use steadfast_sim::render::Renderer;

const SEEDS: std::ops::Range<u64> = 0..200;
const FAULTS: u32 = 12;
const RECORDS: u64 = 400;
const HEADS: u64 = 40;
const RECOVERY: Duration = Duration::from_secs(30);

/// Two or three brokers, storage that is fast or slow; every third cluster commits to two brokers.
fn cluster(seed: u64) -> Cluster {
    let brokers = 2 + (seed % 2) as u32;
    let min_in_sync = least(seed);
    let mut config = Config {
        brokers,
        publishers: 2,
        subscribers: vec![">", "a.*", "b"],
        min_in_sync,
        ..Config::default()
    };
    if seed % 4 >= 2 {
        config.world.storage = Span::new(Duration::ZERO, Duration::from_millis(10));
    }
    Cluster::new(&config, seed)
}

/// How many in-sync members commits need.
const fn least(seed: u64) -> u32 {
    if seed % 3 == 2 { 2 } else { 1 }
}

fn run(cluster: &mut Cluster) -> Result<(), Failure> {
    for (publisher, topic) in cluster.publishers().to_vec().into_iter().zip(["a.b", "b"]) {
        cluster.publish(publisher, topic, RECORDS, Duration::from_millis(20));
    }
    for subscriber in cluster.subscribers().collect::<Vec<_>>() {
        cluster.read_heads(subscriber, HEADS, Duration::from_millis(190));
    }
    Nemesis::default().rage(cluster, FAULTS)?;
    cluster.settle(RECOVERY)
}

/// Whether the run ended in the lineage that it began with.
fn kept_its_data(cluster: &Cluster) -> bool {
    let kept = cluster.state().is_some_and(|state| state.history.lineage == 1);
    let publishers = cluster.publishers().iter().map(|&publisher| cluster.published(publisher));
    for published in publishers {
        assert!(published.is_settled(), "{published:?}");
        assert!(!kept || published.acknowledged == published.asked, "{published:?}");
    }
    for (subscriber, share) in cluster.subscribers().zip([2, 1, 1]) {
        let received = cluster.received(subscriber);
        assert!(!kept || received.records == share * RECORDS, "{received:?}");
        assert!(received.heads > 0, "{received:?}");
    }
    kept
}

fn checked(seed: u64) -> (bool, u64) {
    let mut first = cluster(seed);
    let Err(failure) = run(&mut first) else { return (kept_its_data(&first), first.fingerprint().value()) };
    let mut again = cluster(seed);
    again.render(Renderer::default());
    let same = run(&mut again).expect_err("the same failure");
    for line in again.take_lines() {
        println!("{line}");
    }
    assert_eq!(same, failure);
    panic!("seed {seed}: {failure}");
}

#[test]
fn random_faults_under_traffic() {
    // The nemesis spares the last member in sync, but a change of the set that was under way may have
    // excluded the one it spared: then the data is given up, as the rules say.
    let given_up = SEEDS.filter(|&seed| !checked(seed).0).count();
    assert!(given_up * 20 < SEEDS.count(), "the data was given up in {given_up} runs");
}

#[test]
fn the_same_seed_gives_the_same_history() {
    for seed in 0..10 {
        assert_eq!(checked(seed), checked(seed), "seed {seed}");
    }
}
