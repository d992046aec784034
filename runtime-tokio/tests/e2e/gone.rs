//! Clients of a cluster that no longer exists: another one answers at its addresses (R26). They are told
//! once, believe it after a fresh answer, and begin with what the new one holds.

use crate::nodes::{Cluster, Running, Service, run, steadfast, turn, wait_until};
use crate::ports::lasting_ports;
use serde_json::Value;
use std::io::Write as _;
use std::process::Stdio;

const TOPIC: &str = "t";

fn publisher(discovery: &str, options: &[&str], lines: &str) -> Running {
    let mut command = steadfast(&[&["publish", TOPIC, "--json", "--discovery", discovery], options].concat());
    command.stdin(Stdio::piped());
    let mut publisher = Running::start("publisher", command);
    publisher.stdin().write_all(lines.as_bytes()).unwrap();
    publisher
}

fn subscribe(discovery: &str, options: &[&str]) -> std::process::Output {
    run(&[&["subscribe", TOPIC, "--discovery", discovery], options].concat())
}

/// Published or not, it says so in one object.
fn report(publisher: &Running) -> Value {
    serde_json::from_str(&publisher.out.text()).unwrap()
}

fn start(discovery: &str) -> Cluster {
    Cluster::start_as(Service::embedded(), 1, &[], &["--listen", discovery])
}

/// A cluster that is gone for good, and another one whose discovery has its address.
fn replace(cluster: Cluster) -> Cluster {
    let address = cluster.discovery.address.clone();
    drop(cluster);
    start(&address)
}

const GONE: &str = "the cluster that was here is gone, and another one is in its place";

#[test]
fn clients_of_a_cluster_that_is_gone_are_told_and_go_on() {
    let _turn = turn();
    let outbox = std::env::temp_dir().join(format!("steadfast-e2e-gone-{}", std::process::id()));
    let outbox = outbox.to_str().unwrap();
    let cluster = start(&format!("127.0.0.1:{}", lasting_ports(1)[0]));
    let discovery = cluster.discovery.address.clone();
    let live = ["subscribe", TOPIC, "--from", "earliest", "--discovery", &discovery];
    let mut live = Running::start("subscriber", steadfast(&live));
    assert!(publisher(&discovery, &[], "old 1\nold 2\n").wait().success());
    wait_until("the old records are delivered", || live.out.text() == "old 1\nold 2\n");
    let records = subscribe(&discovery, &["--json", "--from", "earliest", "--count", "1"]);
    let first: Value = serde_json::from_slice(&records.stdout).unwrap();
    let position = first["position"].as_str().unwrap();
    // A record is stored in the outbox; its publisher dies before it knows whether the broker has it.
    let mut command = steadfast(&["publish", TOPIC, "--discovery", &discovery, "--outbox", outbox]);
    command.stdin(Stdio::piped());
    let mut killed = Running::start("publisher", command);
    let mut stdin = killed.stdin();
    stdin.write_all(b"perhaps\n").unwrap();
    wait_until("it is delivered", || live.out.text().ends_with("perhaps\n"));
    killed.signal("KILL");
    killed.wait();

    let cluster = replace(cluster);
    assert_eq!(cluster.discovery.address, discovery);
    assert!(publisher(&discovery, &[], "new 1\nnew 2\n").wait().success());
    wait_until("the live subscriber goes on", || live.out.text().ends_with("perhaps\nnew 1\nnew 2\n"));
    live.signal("TERM");
    assert_eq!(live.wait().code(), Some(1), "a gap is no success");
    let told = live.err.text();
    assert!(told.matches(GONE).count() == 1 && told.lines().count() == 2, "{told}");

    let old = subscribe(&discovery, &["--from", position, "--until-head"]);
    let told = String::from_utf8_lossy(&old.stderr).into_owned();
    assert_eq!((old.status.code(), &old.stdout[..]), (Some(1), &b"new 1\nnew 2\n"[..]), "{told}");
    assert!(told.starts_with(&format!("missing: {GONE}")) && told.lines().count() == 2, "{told}");
    assert!(told.contains("error: records are missing: 1 gap was reported; "), "{told}");
    let old = subscribe(&discovery, &["--from", position, "--until-head", "--json"]);
    assert_eq!(old.status.code(), Some(1));
    let objects = String::from_utf8(old.stdout).unwrap();
    let objects: Vec<Value> = objects.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(objects.len() == 3 && objects[0]["lineage_changed"].is_object(), "{objects:?}");

    // The outbox: what may have been stored in the cluster that is gone is not sent to this one unasked.
    let mut next = publisher(&discovery, &["--outbox", outbox], "new 3\n");
    assert_eq!(next.wait().code(), Some(1));
    let said = next.err.text();
    assert!(
        said.lines().last().unwrap().starts_with("error: everything that was published is ack"),
        "{said}"
    );
    assert!(said.contains(GONE) && said.contains("--unknown drop or --unknown resend"), "{said}");
    let counts = report(&next);
    let field = |name: &str| counts[name].as_u64().unwrap();
    assert_eq!((field("acknowledged"), field("unacknowledged"), field("set_aside")), (1, 0, 1), "{counts}");
    let stored = || String::from_utf8(subscribe(&discovery, &["--from", "earliest", "--until-head"]).stdout);
    assert_eq!(stored().unwrap(), "new 1\nnew 2\nnew 3\n");
    let mut resent = publisher(&discovery, &["--outbox", outbox, "--unknown", "resend"], "new 4\n");
    assert!(resent.wait().success(), "{}", resent.err.text());
    assert_eq!(stored().unwrap(), "new 1\nnew 2\nnew 3\nperhaps\nnew 4\n");
    std::fs::remove_file(outbox).unwrap();
}
