//! Two brokers, and commits need both (R35). One of them dies at every step of a publish and comes
//! back empty: nothing is lost, and writes go on. While it is away they wait.

use std::time::Duration;
use steadfast_sim::cluster::{Cluster, Config, Failure};
use steadfast_sim::fault::Fault;
use steadfast_sim::network::ProcessId;

const RECORDS: u64 = 3;
/// Past every timeout.
const OUTAGE: Duration = Duration::from_secs(8);
const RECOVERY: Duration = Duration::from_secs(15);

/// All is well; the primary and the other one.
fn pair(seed: u64) -> Result<(Cluster, [ProcessId; 2]), Failure> {
    let mut cluster = Cluster::new(&Config { brokers: 2, min_in_sync: 2, ..Config::default() }, seed);
    publish(&mut cluster);
    assert!(cluster.run_until(Duration::from_secs(5), Cluster::is_settled)?, "a healthy pair starts");
    let primary = cluster.primary().expect("a settled cluster has a primary");
    let other = cluster.brokers().iter().copied().find(|&broker| broker != primary).expect("two brokers");
    Ok((cluster, [primary, other]))
}

fn publish(cluster: &mut Cluster) {
    let publisher = cluster.publishers()[0];
    cluster.publish(publisher, "a.b", RECORDS, Duration::ZERO);
}

fn acknowledged(cluster: &Cluster) -> u64 {
    cluster.published(cluster.publishers()[0]).acknowledged
}

/// Nothing was given up, and every record is acknowledged and delivered.
fn nothing_is_lost(cluster: &Cluster, what: &str) {
    let state = cluster.state().expect("the group exists");
    assert_eq!(state.history.lineage, 1, "{what}: {state:?}");
    let published = cluster.published(cluster.publishers()[0]);
    assert_eq!(published.acknowledged, published.asked(), "{what}: {published:?}");
    for subscriber in cluster.subscribers() {
        assert_eq!(cluster.received(subscriber).records, published.asked(), "{what}");
    }
}

/// Steps that a publish takes when nothing goes wrong.
fn steps_of_a_publish() -> Result<u64, Failure> {
    let (mut cluster, _) = pair(1)?;
    publish(&mut cluster);
    let before = cluster.world().steps();
    assert!(cluster.run_until(Duration::from_secs(1), Cluster::is_settled)?, "a publish succeeds");
    Ok(cluster.world().steps() - before)
}

/// One of the two strikes out at a step; `away`: for longer than every timeout, or it is back at once.
fn dies(which: usize, step: u64, away: bool) -> Result<(), Failure> {
    let what = format!("broker {which} at step {step}, away: {away}");
    let (mut cluster, pair) = pair(1)?;
    publish(&mut cluster);
    for _ in 0..step {
        cluster.step(u64::MAX)?;
    }
    cluster.strike(Fault::Crash(pair[which]))?;
    if away {
        // Acknowledgements that were under way arrive; then there are no more.
        cluster.run_for(Duration::from_secs(1))?;
        publish(&mut cluster);
        let before = acknowledged(&cluster);
        cluster.run_for(OUTAGE)?;
        assert_eq!(acknowledged(&cluster), before, "{what}: one broker alone acknowledges nothing");
        let state = cluster.state().expect("the group exists");
        assert_eq!(state.in_sync.len(), 2, "{what}: {state:?}");
    }
    cluster.strike(Fault::Restart(pair[which]))?;
    publish(&mut cluster);
    cluster.settle(RECOVERY)?;
    nothing_is_lost(&cluster, &what);
    Ok(())
}

fn at_every_step(which: usize, away: bool) {
    let steps = steps_of_a_publish().expect("a healthy pair");
    assert!(steps > 15, "a publish takes more than {steps} steps");
    for step in 0..=steps {
        dies(which, step, away).unwrap_or_else(|failure| panic!("step {step}: {failure}"));
    }
}

#[test]
fn the_primary_dies_and_comes_back_at_every_step() {
    at_every_step(0, false);
}

#[test]
fn the_primary_stays_away_for_a_while_at_every_step() {
    at_every_step(0, true);
}

#[test]
fn the_backup_dies_and_comes_back_at_every_step() {
    at_every_step(1, false);
}

#[test]
fn the_backup_stays_away_for_a_while_at_every_step() {
    at_every_step(1, true);
}

/// One after the other, with time to recover in between: any number of deaths loses nothing.
#[test]
fn they_die_in_turns() {
    let (mut cluster, pair) = pair(2).expect("a healthy pair");
    for turn in 0..6 {
        publish(&mut cluster);
        cluster.strike(Fault::Crash(pair[turn % 2])).expect("no violation");
        cluster.run_for(Duration::from_secs(1)).expect("no violation");
        cluster.settle(RECOVERY).unwrap_or_else(|failure| panic!("turn {turn}: {failure}"));
        nothing_is_lost(&cluster, &format!("turn {turn}"));
    }
}

/// A third broker takes the place of one that never comes back.
#[test]
fn another_broker_takes_the_place_of_a_dead_one() {
    let config = Config { brokers: 3, min_in_sync: 2, stagger: Duration::ZERO, ..Config::default() };
    let mut cluster = Cluster::new(&config, 3);
    publish(&mut cluster);
    assert!(cluster.run_until(Duration::from_secs(5), Cluster::is_settled).expect("no violation"));
    let primary = cluster.primary().expect("a primary");
    cluster.strike(Fault::PowerLoss(primary)).expect("no violation");
    publish(&mut cluster);
    cluster.run_for(OUTAGE).expect("no violation");
    let published = cluster.published(cluster.publishers()[0]);
    assert_eq!(published.acknowledged, published.asked(), "two of three go on");
    let state = cluster.state().expect("the group exists");
    assert_eq!(state.in_sync.len(), 2, "{state:?}");
}

/// R34, R35: one of a pair hands over and stays away: what is committed can be read all the time, and
/// writes wait for it. With a third broker nothing waits at all.
#[test]
fn reads_go_on_while_one_of_a_pair_is_away_in_order() {
    for seed in 1..=20 {
        let (mut cluster, [primary, other]) = pair(seed).expect("a healthy pair");
        let subscriber = cluster.subscribers().next().expect("a subscriber");
        cluster.shut_down(primary, None);
        let gone = |cluster: &Cluster| cluster.broker(primary).is_none();
        assert!(cluster.run_until(Duration::from_secs(1), gone).expect("no violation"), "seed {seed}");
        assert_eq!(cluster.primary(), Some(other), "seed {seed}");
        publish(&mut cluster);
        let (before, heads) = (acknowledged(&cluster), cluster.received(subscriber).heads);
        cluster.read_heads(subscriber, 1, Duration::from_millis(10));
        cluster.run_for(Duration::from_secs(1)).expect("no violation");
        assert_eq!(cluster.received(subscriber).heads, heads + 1, "seed {seed}: reads wait");
        assert_eq!(acknowledged(&cluster), before, "seed {seed}: one broker alone acknowledges nothing");
        cluster.settle(RECOVERY).unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
        nothing_is_lost(&cluster, &format!("seed {seed}"));
    }
}

#[test]
fn nothing_waits_while_one_of_three_is_away_in_order() {
    let config = Config { brokers: 3, min_in_sync: 2, ..Config::default() };
    for seed in 1..=5 {
        let mut cluster = Cluster::new(&config, seed);
        publish(&mut cluster);
        assert!(cluster.run_until(Duration::from_secs(5), Cluster::is_settled).expect("no violation"));
        let primary = cluster.primary().expect("a primary");
        cluster.shut_down(primary, None);
        publish(&mut cluster);
        cluster.run_for(Duration::from_millis(500)).expect("no violation");
        assert!(cluster.broker(primary).is_none(), "seed {seed}: it has left");
        let published = cluster.published(cluster.publishers()[0]);
        assert_eq!(published.acknowledged, published.asked(), "seed {seed}");
    }
}

/// Both are gone at once: the data is, too, and everybody is told.
#[test]
fn both_die_at_once() {
    let (mut cluster, pair) = pair(4).expect("a healthy pair");
    for broker in pair {
        cluster.strike(Fault::Crash(broker)).expect("no violation");
    }
    cluster.settle(RECOVERY).unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(cluster.state().map(|state| state.history.lineage), Some(2));
    publish(&mut cluster);
    cluster.settle(RECOVERY).unwrap_or_else(|failure| panic!("{failure}"));
}

/// R27a, R35: the set still names a member that is dead and was kept. Who leaves and alone holds the data
/// takes in whoever comes, and hands over.
#[test]
fn who_leaves_beside_a_dead_member_that_was_kept_takes_in_whoever_copies() {
    for delay in [0, 5, 10, 20, 40, 80] {
        let config = Config { brokers: 3, min_in_sync: 2, subscribers: vec![], ..Config::default() };
        let mut cluster = Cluster::new(&config, 1);
        publish(&mut cluster);
        assert!(cluster.run_until(Duration::from_secs(5), Cluster::is_settled).expect("no violation"));
        let primary = cluster.primary().expect("a primary");
        let others: Vec<_> = cluster.brokers().iter().copied().filter(|&broker| broker != primary).collect();
        for &other in &others {
            cluster.strike(Fault::Crash(other)).expect("no violation");
            cluster.run_for(OUTAGE).expect("no violation");
        }
        assert_eq!(cluster.state().map(|state| state.in_sync.len()), Some(2), "one was dropped, one kept");
        cluster.strike(Fault::Restart(others[0])).expect("no violation");
        cluster.run_for(Duration::from_millis(delay)).expect("no violation");
        cluster.shut_down(primary, None);
        cluster.run_for(Duration::from_secs(15)).expect("no violation");
        assert!(cluster.broker(primary).is_none(), "{delay} ms: it has left");
        assert_eq!(cluster.primary(), Some(others[0]), "{delay} ms: it has handed over");
        nothing_is_lost(&cluster, &format!("{delay} ms"));
    }
}
