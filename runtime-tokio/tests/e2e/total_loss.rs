//! Every process that held the records is gone, on a real ZooKeeper ensemble: what the cluster does
//! then, and that everybody is told (R24, R27).

use crate::nodes::{Cluster, Running, Service, run, steadfast, turn, wait_until};
use std::io::Write;
use std::process::{Output, Stdio};

const TOPIC: &str = "t";

fn subscriber(cluster: &Cluster) -> Running {
    let args = ["subscribe", TOPIC, "--discovery", &cluster.discovery.address, "--from", "earliest"];
    Running::start("subscriber", steadfast(&args))
}

/// Publishes these lines. `None`: they were not acknowledged in time.
fn publish(cluster: &Cluster, lines: &str, patience: &str) -> Option<()> {
    let discovery = cluster.discovery.address.as_str();
    let mut command = steadfast(&["publish", TOPIC, "--discovery", discovery, "--timeout", patience]);
    command.stdin(Stdio::piped());
    let mut publisher = Running::start("publisher", command);
    publisher.stdin().write_all(lines.as_bytes()).unwrap();
    publisher.wait().success().then_some(())
}

/// Two brokers hold two records that a subscriber has seen; then the brokers get the signal, one after
/// the other, and new processes take their places.
fn after_the_end(signal: &str, options: &[&str]) -> (Cluster, Running) {
    let mut cluster = Cluster::start_with(Service::ensemble(), 2, options);
    let subscriber = subscriber(&cluster);
    publish(&cluster, "old 1\nold 2\n", "30s").expect("a healthy cluster acknowledges");
    wait_until("the records are delivered", || subscriber.out.text() == "old 1\nold 2\n");
    for broker in &mut cluster.brokers {
        broker.process.signal(signal);
        broker.process.wait();
    }
    for n in 0..2 {
        cluster.restart_broker(n, options);
    }
    (cluster, subscriber)
}

/// Everybody has been told, and the new lineage serves.
fn begins_anew(cluster: &Cluster, mut subscriber: Running) {
    publish(cluster, "new\n", "60s").expect("the new lineage acknowledges");
    wait_until("the new record is delivered", || subscriber.out.text() == "old 1\nold 2\nnew\n");
    let told = subscriber.err.text();
    assert!(told.contains("missing: the cluster gave its data up (lineage 1 became 2)"), "{told}");
    subscriber.signal("TERM");
    assert_eq!(subscriber.wait().code(), Some(1), "a gap is no success");
    let discovery = cluster.discovery.address.as_str();
    let all = run(&["subscribe", TOPIC, "--discovery", discovery, "--from", "earliest", "--until-head"]);
    assert_eq!(String::from_utf8_lossy(&all.stdout), "new\n");
    assert!(all.status.success());
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

/// R27a.
#[test]
fn the_last_broker_that_is_stopped_gives_the_data_up() {
    let _turn = turn();
    let (cluster, subscriber) = after_the_end("TERM", &["--on-total-loss", "wait"]);
    begins_anew(&cluster, subscriber);
}

/// R27b.
#[test]
fn brokers_that_were_all_killed_begin_anew_by_themselves() {
    let _turn = turn();
    let (cluster, subscriber) = after_the_end("KILL", &["--on-total-loss", "reset"]);
    begins_anew(&cluster, subscriber);
}

/// R24, R27c.
#[test]
fn an_operator_gives_the_data_up_and_nobody_else() {
    let _turn = turn();
    let wait = ["--on-total-loss", "wait"];
    let mut cluster = Cluster::start_with(Service::ensemble(), 2, &wait);
    let force = ["group", "force", "--give-up-data"];
    let refused = cluster.operate(&force);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        said(&refused).contains("is alive and holds the group's records; it can lead"),
        "{}",
        said(&refused)
    );
    let unasked = cluster.operate(&["group", "force"]);
    assert_eq!(unasked.status.code(), Some(2), "{}", said(&unasked));

    let subscriber = subscriber(&cluster);
    publish(&cluster, "old 1\nold 2\n", "30s").expect("a healthy cluster acknowledges");
    wait_until("the records are delivered", || subscriber.out.text() == "old 1\nold 2\n");
    for broker in &mut cluster.brokers {
        broker.process.signal("KILL");
        broker.process.wait();
    }
    for n in 0..2 {
        cluster.restart_broker(n, &wait);
    }
    assert!(publish(&cluster, "never\n", "5s").is_none(), "without the operator nobody leads");
    let nobody = cluster.operate(&["group", "force", "--give-up-data", "--cluster", "other"]);
    assert!(said(&nobody).contains("there is no group 0 in cluster \"other\""), "{}", said(&nobody));
    let forced = cluster.operate(&force);
    assert!(forced.status.success(), "{}", said(&forced));
    assert!(said(&forced).contains("lineage 2 begins"), "{}", said(&forced));
    begins_anew(&cluster, subscriber);
}
