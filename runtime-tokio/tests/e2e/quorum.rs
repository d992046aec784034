//! A group that wants two copies of everything (`--min-in-sync 2`, R35), on a real ZooKeeper ensemble.

use crate::nodes::{Cluster, Service, run, turn, wait_until};
use crate::worker::{Worker, check};
use std::thread::sleep;
use std::time::Duration;

/// Records per second.
const RATE: &str = "4000";
/// Records that show that writes go on.
const SOME: u64 = 2_000;

fn start(brokers: usize) -> (Cluster, Worker, Worker) {
    let cluster = Cluster::start_as(Service::ensemble(), brokers, &[], &["--min-in-sync", "2"]);
    let discovery = cluster.discovery.address.clone();
    let subscribe = ["worker", "subscriber", "--filter", "load.>"];
    let subscriber = Worker::start("subscriber", &subscribe, &discovery);
    let publish = ["worker", "publisher", "--topic", "load.all", "--size", "100", "--rate", RATE];
    let mut publisher = Worker::start("publisher", &publish, &discovery);
    publisher.wait_for(SOME);
    (cluster, publisher, subscriber)
}

fn kill(cluster: &mut Cluster, broker: usize) {
    cluster.brokers[broker].process.signal("KILL");
    cluster.brokers[broker].process.wait();
}

/// R9, R35: however long one waits, nothing is acknowledged.
fn writes_wait(publisher: &mut Worker) -> u64 {
    // What was under way when the last member went.
    let mut acknowledged = publisher.count();
    wait_until("acknowledgements end", || {
        sleep(Duration::from_millis(500));
        let before = std::mem::replace(&mut acknowledged, publisher.count());
        acknowledged == before
    });
    sleep(Duration::from_secs(2));
    assert_eq!(publisher.count(), acknowledged, "an acknowledgement that rests on one process");
    acknowledged
}

/// How many records a subscriber gets that begins now, up to everything that is acknowledged.
fn readable(cluster: &Cluster) -> u64 {
    let discovery = cluster.discovery.address.as_str();
    let all =
        ["subscribe", "load.>", "--json", "--from", "earliest", "--until-head", "--discovery", discovery];
    let output = run(&all);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout.iter().filter(|&&byte| byte == b'\n').count() as u64
}

/// One of three dies: the group goes on. Another one dies: writes wait, and what is committed is read.
/// One comes back: the group goes on; and with the other one back, the next may die.
#[test]
fn a_group_of_three_acknowledges_with_two_and_waits_with_one_on_zookeeper() {
    let _turn = turn();
    let (mut cluster, mut publisher, subscriber) = start(3);
    let first = cluster.primary();
    kill(&mut cluster, first);
    wait_until("another one leads", || cluster.primary() != first);
    publisher.wait_for(SOME);
    let second = cluster.primary();
    let third = 3 - first - second;

    kill(&mut cluster, third);
    wait_until("the dead one is kept", || cluster.brokers[second].process.err.text().contains("Kept {"));
    let acknowledged = writes_wait(&mut publisher);
    let read = readable(&cluster);
    assert!(read >= acknowledged, "{read} records are read, {acknowledged} acknowledged");
    assert_eq!(cluster.reigns(), 2, "the primary stays");

    cluster.restart_broker(first, &[]);
    publisher.wait_for(SOME);
    cluster.restart_broker(third, &[]);
    wait_until("all are in sync", || cluster.discovery.in_sync() == 3);
    kill(&mut cluster, second);
    wait_until("a third one leads", || cluster.primary() != second);
    publisher.wait_for(SOME);
    let published = check(publisher, vec![subscriber]);
    assert_eq!(readable(&cluster), published, "once each in the log of who was away");
}

/// R34: with two brokers, writes wait for one that was stopped until it is back.
#[test]
fn a_pair_waits_for_the_one_that_was_stopped_on_zookeeper() {
    let _turn = turn();
    let (mut cluster, mut publisher, subscriber) = start(2);
    let first = cluster.primary();
    cluster.brokers[first].process.signal("TERM");
    assert!(cluster.brokers[first].process.wait().success());
    wait_until("the other one leads", || cluster.primary() != first);
    writes_wait(&mut publisher);
    cluster.restart_broker(first, &[]);
    publisher.wait_for(SOME);
    let published = check(publisher, vec![subscriber]);
    assert_eq!(readable(&cluster), published);
}
