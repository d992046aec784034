//! Bad input on the command line: one line that names cause and remedy, the documented exit status,
//! and nothing left behind.

use crate::nodes::{Cluster, Node, Running, Service, run, steadfast, turn, wait_until};
use std::io::Read;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Runs the program, which must fail with one line that holds every one of these words.
pub fn fails(args: &[&str], status: i32, words: &[&str]) {
    let start = Instant::now();
    let output = run(args);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(status), "{args:?}: {error}");
    assert_eq!(error.lines().count(), 1, "{args:?}: {error}");
    assert!(error.starts_with("error: "), "{args:?}: {error}");
    assert!(words.iter().all(|word| error.contains(word)), "{args:?}: {error}");
    assert_eq!(output.stdout, b"", "{args:?}");
    assert!(start.elapsed() < Duration::from_secs(20), "{args:?} took {:?}", start.elapsed());
}

/// A port on which nobody listens.
fn dead_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

#[test]
fn wrong_usage_is_explained_in_one_line() {
    fails(&["publish", "orders", "--frobnicate"], 2, &["--frobnicate", "--help"]);
    fails(&["demo", "--jsn"], 2, &["--jsn", "--json"]);
    fails(&["fly"], 2, &["fly", "--help"]);
    fails(&["publish"], 2, &["<TOPIC>"]);
    fails(&["publish", "a..b"], 2, &["a..b", "empty word", "orders.eu"]);
    fails(&["publish", "a.*"], 2, &["wildcards are for filters"]);
    fails(&["publish", ""], 2, &["is empty"]);
    fails(&["subscribe", "a.>.b"], 2, &["a.>.b", "orders.>"]);
    fails(&["subscribe", "a", "--from", "yesterday"], 2, &["yesterday", "earliest"]);
    fails(&["subscribe", "a", "--count", "0"], 2, &["--count"]);
    fails(&["subscribe", "a", "--discovery", "localhost"], 2, &["the port is missing", "HOST:PORT"]);
    fails(&["broker", "--name", "one"], 2, &["--zookeeper", "--coordination"]);
    fails(&["broker", "--name", "One", "--coordination", "127.0.0.1:1"], 2, &["lower-case"]);
    fails(
        &["broker", "--name", "a", "--coordination", "h:1", "--zookeeper", "h:1"],
        2,
        &["cannot be used with"],
    );
    fails(&["broker", "--name", "a", "--coordination", "h:1", "--log-limit", "lots"], 2, &["1GiB"]);
    let broker = ["broker", "--name", "a", "--coordination", "h:1"];
    fails(
        &[&broker[..], &["--retention-age", "soon"]].concat(),
        2,
        &["--retention-age", "write for example"],
    );
    fails(
        &[&broker[..], &["--retention-bytes", "1GiB"]].concat(),
        2,
        &["--retention-bytes", "seven eighths"],
    );
    fails(&["discovery", "--coordination", "h:1", "--session-timeout", "0"], 2, &["longer than zero"]);
}

#[test]
fn help_is_no_error() {
    for args in
        [&["--help"][..], &["--version"], &["demo", "--help"], &["subscribe", "--help"], &["help", "broker"]]
    {
        let output = run(args);
        assert!(output.status.success(), "{args:?}");
        assert!(!output.stdout.is_empty() && output.stderr.is_empty(), "{args:?}");
    }
    let nothing = run::<&str>(&[]);
    assert_eq!(nothing.status.code(), Some(2));
    assert!(String::from_utf8(nothing.stderr).unwrap().contains("Usage: steadfast"));
}

#[test]
fn a_coordination_service_that_is_not_there_is_named() {
    let _turn = turn();
    let dead = dead_port();
    for service in ["--zookeeper", "--coordination"] {
        let common = [service, &dead, "--connect-timeout", "1s"];
        let words = if service == "--zookeeper" {
            ["no ZooKeeper server answered", "start ZooKeeper"]
        } else {
            ["does not answer", "check"]
        };
        fails(&[&["broker", "--name", "a"][..], &common].concat(), 1, &[&dead, words[0], words[1]]);
        fails(&[&["discovery"][..], &common].concat(), 1, &[&dead, words[0], words[1]]);
    }
    fails(&["demo", "--json", "--zookeeper", &dead], 1, &[&dead, "no ZooKeeper server answered"]);
}

#[test]
fn a_port_in_use_is_named() {
    let _turn = turn();
    let service = Node::start("coordination", &["coordination"]);
    let taken = service.address.as_str();
    let words = ["cannot listen", taken, "choose another"];
    fails(&["coordination", "--listen", taken], 1, &words);
    let common = ["--coordination", taken, "--listen", taken];
    fails(&[&["discovery"][..], &common].concat(), 1, &words);
    fails(&[&["broker", "--name", "a"][..], &common].concat(), 1, &words);
    fails(&["coordination", "--listen", "192.0.2.1:7400"], 1, &["192.0.2.1", "address of this machine"]);
    let everywhere = ["broker", "--name", "a", "--coordination", taken, "--listen", "0.0.0.0:0"];
    fails(&everywhere, 2, &["--listen: broker.listen", "nobody can dial", "--advertise"]);
}

#[test]
fn clients_without_a_cluster_say_so() {
    let _turn = turn();
    let dead = dead_port();
    fails(&["publish", "a", "--discovery", &dead, "--timeout", "1s"], 1, &[&dead, "check that discovery"]);
    fails(&["publish", "a", "--file", "/does/not/exist"], 1, &["/does/not/exist", "--file"]);
    fails(&["publish", "a", "--file", "/tmp"], 1, &["/tmp", "directory"]);
    fails(&["worker", "subscriber", "--filter", "a"], 1, &["steadfast demo"]);
}

#[test]
fn nodes_leave_cleanly_when_asked_to() {
    let _turn = turn();
    let mut cluster = Cluster::start(Service::embedded(), 2);
    let primary = cluster.primary();
    let started = Instant::now();
    cluster.brokers[primary].process.signal("TERM");
    assert!(cluster.brokers[primary].process.wait().success());
    wait_until("the backup is primary", || cluster.reigns() == 2);
    assert!(started.elapsed() < Duration::from_secs(10));
    cluster.discovery.process.signal("INT");
    assert!(cluster.discovery.process.wait().success());
    cluster.brokers[1 - primary].process.signal("TERM");
    assert!(cluster.brokers[1 - primary].process.wait().success());
}

#[test]
fn records_that_are_not_acknowledged_are_counted() {
    let _turn = turn();
    let cluster = Cluster::start(Service::embedded(), 1);
    let discovery = cluster.discovery.address.clone();
    let mut command = steadfast(&["publish", "a", "--discovery", &discovery, "--timeout", "2s", "--json"]);
    command.stdin(std::process::Stdio::piped());
    let mut publisher = Running::start("publisher", command);
    let mut stdin = publisher.stdin();
    std::io::Write::write_all(&mut stdin, b"one\n").unwrap();
    let mut subscriber = Running::start(
        "subscriber",
        steadfast(&["subscribe", "a", "--discovery", &discovery, "--from", "earliest"]),
    );
    wait_until("a record is delivered", || subscriber.out.text() == "one\n");
    cluster.brokers[0].process.signal("STOP");
    std::io::Write::write_all(&mut stdin, b"two\nthree\n").unwrap();
    drop(stdin);
    assert_eq!(publisher.wait().code(), Some(1));
    let report: serde_json::Value = serde_json::from_str(&publisher.out.text()).unwrap();
    assert_eq!((&report["acknowledged"], &report["unacknowledged"]), (&1.into(), &2.into()));
    let error = publisher.err.text();
    assert!(error.contains("2 records are not acknowledged") && error.lines().count() == 1, "{error}");
    cluster.brokers[0].process.signal("CONT");
    subscriber.signal("TERM");
    assert!(subscriber.wait().success(), "a subscriber that missed nothing leaves without an error");
}

#[test]
fn a_subscriber_leaves_although_nobody_reads_it() {
    let _turn = turn();
    let cluster = Cluster::start(Service::embedded(), 1);
    let discovery = cluster.discovery.address.as_str();
    let path = std::env::temp_dir().join(format!("steadfast-e2e-full-pipe-{}", std::process::id()));
    std::fs::write(&path, format!("{}\n", "x".repeat(1_000)).repeat(5_000)).unwrap();
    let published =
        run(&["publish", "full.pipe", "--discovery", discovery, "--file", path.to_str().unwrap()]);
    std::fs::remove_file(&path).unwrap();
    assert!(published.status.success(), "{published:?}");

    let mut command = steadfast(&["subscribe", "full.*", "--discovery", discovery, "--from", "earliest"]);
    let mut subscriber = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut first = [0; 1];
    subscriber.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    assert_eq!(&first, b"x", "it delivers");
    // The pipe is full now, and stays so.
    std::thread::sleep(Duration::from_millis(300));
    let script = format!("kill -TERM {}", subscriber.id());
    let asked = Command::new("sh").args(["-c", &script]).status().unwrap();
    assert!(asked.success());
    wait_until("the subscriber has left", || subscriber.try_wait().unwrap().is_some());
}

#[test]
fn what_stands_before_a_line_that_is_too_long_is_published() {
    let _turn = turn();
    let cluster = Cluster::start(Service::embedded(), 1);
    let discovery = cluster.discovery.address.as_str();
    let path = std::env::temp_dir().join(format!("steadfast-e2e-long-line-{}", std::process::id()));
    std::fs::write(&path, format!("one\ntwo\n{}\nfour\n", "x".repeat((1 << 20) + 1))).unwrap();
    let published =
        run(&["publish", "long.line", "--json", "--discovery", discovery, "--file", path.to_str().unwrap()]);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(published.status.code(), Some(1), "{published:?}");
    let report: serde_json::Value = serde_json::from_slice(&published.stdout).unwrap();
    assert_eq!((&report["published"], &report["acknowledged"]), (&2.into(), &2.into()));
}
