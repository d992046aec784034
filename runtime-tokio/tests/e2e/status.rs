//! `steadfast status` and `steadfast serve`, as a user runs them.

use crate::demo::clusters;
use crate::nodes::{Cluster, Node, Running, Service, run, steadfast, turn, wait_until};
use crate::ports::lasting_ports;
use crate::zookeeper::Ensemble;
use serde_json::Value;
use std::io::Write as _;
use std::net::TcpListener;
use std::process::{Output, Stdio};

/// The report of a cluster, without waiting.
fn status(discovery: &str) -> Value {
    let output = run(&["status", "--json", "--discovery", discovery]);
    assert!(output.status.success(), "{}", stderr(&output));
    object(&output)
}

fn object(output: &Output) -> Value {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    serde_json::from_str(&text).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The last line on standard error: before it, there may be progress.
fn last_line(output: &Output) -> String {
    stderr(output).lines().last().unwrap_or_default().to_owned()
}

fn broker<'a>(report: &'a Value, name: &str) -> Option<&'a Value> {
    report["groups"][0]["brokers"].as_array()?.iter().find(|broker| broker["name"] == name)
}

fn in_sync(report: &Value) -> Vec<&str> {
    let names = report["groups"][0]["in_sync"].as_array().unwrap();
    let mut names: Vec<_> = names.iter().map(|name| name.as_str().unwrap()).collect();
    names.sort_unstable();
    names
}

/// A base from which serve's ports are free, as far as anybody can tell beforehand.
pub fn free_base() -> u16 {
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let mut bases = (12_000..30_000).step_by(50).skip(std::process::id() as usize % 200);
    bases.find(|base| (0..15).all(|n| is_free(base + n))).expect("free ports")
}

fn serve(args: &[&str]) -> Running {
    let mut serve = Running::start("serve", steadfast(&[&["serve"], args].concat()));
    wait_until("serve is ready", || {
        assert!(serve.is_running(), "serve has ended: {}", serve.err.text());
        serve.out.text().contains("Ctrl-C ends it.")
    });
    serve
}

#[test]
fn a_served_cluster_takes_records_from_other_processes_and_ends_cleanly() {
    let _turn = turn();
    let base = free_base();
    let mut serve = serve(&["--port-base", &base.to_string(), "--brokers", "2"]);
    let discovery = format!("127.0.0.1:{},127.0.0.1:{}", base + 1, base + 2);
    assert!(serve.out.text().contains(&format!("--discovery {discovery}\n")), "{}", serve.out.text());

    let mut command = steadfast(&["publish", "orders.eu", "--discovery", &discovery]);
    let mut publish = Running::start("publish", {
        command.stdin(Stdio::piped());
        command
    });
    publish.stdin().write_all(b"one\ntwo\n").unwrap();
    assert!(publish.wait().success(), "{}", publish.err.text());
    let args = ["subscribe", "orders.>", "--from", "earliest", "--count", "2", "--discovery", &discovery];
    let received = run(&args);
    assert_eq!(String::from_utf8(received.stdout).unwrap(), "one\ntwo\n");

    let report = status(&discovery);
    assert_eq!((&report["healthy"], &report["missing"]), (&true.into(), &Value::Array(vec![])));
    assert_eq!(report["discovery"].as_array().unwrap().len(), 2);
    assert_eq!(in_sync(&report), ["broker-1", "broker-2"]);
    let group = &report["groups"][0];
    // The epoch's first record, the session, and the two.
    assert_eq!((&group["commit"], &group["sessions"]), (&4.into(), &1.into()));
    let second = broker(&report, "broker-2").unwrap();
    assert_eq!(second["address"], format!("127.0.0.1:{}", base + 12));
    assert_eq!((&second["lag"], &second["log_end"]), (&0.into(), &4.into()));

    let taken = run(&["serve", "--port-base", &base.to_string()]);
    assert_eq!((taken.status.code(), taken.stdout.len()), (Some(1), 0));
    assert!(stderr(&taken).contains(&format!("127.0.0.1:{base}")), "{}", stderr(&taken));
    assert!(stderr(&taken).contains("--port-base"), "{}", stderr(&taken));

    serve.signal("TERM");
    assert_eq!(serve.wait().code(), Some(0), "{}", serve.err.text());
    assert_eq!(serve.err.text(), "");
    let gone = run(&["status", "--discovery", &discovery]);
    assert_eq!(gone.status.code(), Some(1));
    let table = String::from_utf8(gone.stdout).unwrap();
    assert_eq!(table.matches("nobody listens there").count(), 2, "{table}");
}

#[test]
fn a_broker_of_a_served_cluster_can_be_drained() {
    let _turn = turn();
    let base = free_base();
    let mut serve = serve(&["--port-base", &base.to_string(), "--brokers", "2"]);
    let discovery = format!("127.0.0.1:{}", base + 1);
    let first = run(&["drain", "broker-1", "--discovery", &discovery]);
    assert!(first.status.success(), "{}", stderr(&first));
    wait_until("serve says so", || serve.err.text().contains("broker-1 has left"));
    assert!(serve.is_running(), "the other one goes on");
    wait_until("the other one is alone", || in_sync(&status(&discovery)) == ["broker-2"]);
    let last = run(&["drain", "broker-2", "--discovery", &discovery]);
    assert_eq!(last.status.code(), Some(1), "its data is gone: {}", stderr(&last));
    assert_eq!(serve.wait().code(), Some(0), "{}", serve.err.text());
}

#[test]
fn a_cluster_served_on_zookeeper_leaves_nothing_there() {
    let _turn = turn();
    let ensemble = Ensemble::start(1);
    let servers = ensemble.connect_string();
    let base = free_base();
    let args = ["--zookeeper", &servers, "--brokers", "1", "--port-base", &base.to_string()];
    let mut serve = serve(&args);
    assert_eq!(clusters(&servers).len(), 1);
    assert_eq!(status(&format!("127.0.0.1:{}", base + 1))["healthy"], true);
    serve.signal("INT");
    assert_eq!(serve.wait().code(), Some(0), "{}", serve.err.text());
    assert_eq!(clusters(&servers), Vec::<String>::new());
}

#[test]
fn a_killed_backup_is_shown_and_waited_for() {
    let _turn = turn();
    let mut cluster = Cluster::start(Service::embedded(), 2);
    let discovery = cluster.discovery.address.clone();
    let healthy = ["status", "--wait-healthy", "--brokers", "2", "--json", "--discovery", &discovery];
    let output = run(&healthy);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(object(&output)["healthy"], true);

    let victim = 1 - cluster.primary();
    let name = format!("broker-{}", victim + 1);
    let other = format!("broker-{}", 2 - victim);
    cluster.brokers[victim].process.signal("KILL");
    cluster.brokers[victim].process.wait();
    let report = status(&discovery);
    match broker(&report, &name) {
        Some(dead) => {
            assert_eq!(report["healthy"], false);
            assert_eq!((&dead["answers"], &dead["error"]), (&false.into(), &"nobody listens there".into()));
        }
        // Its session has ended already, on a slow machine.
        None => assert_eq!(in_sync(&report), [other.as_str()]),
    }
    wait_until("the primary goes on alone", || in_sync(&status(&discovery)) == [other.as_str()]);

    let args = ["status", "--wait-healthy", "--brokers", "2", "--timeout", "1s", "--discovery", &discovery];
    let output = run(&args);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
    assert!(last_line(&output).contains("not healthy after 1 s"), "{}", stderr(&output));
    assert!(last_line(&output).contains("1 of 2 brokers are in sync"), "{}", stderr(&output));

    let coordination = cluster.coordination_args();
    let args = [&["broker", "--name", &name][..], &coordination.each_ref().map(String::as_str)].concat();
    cluster.brokers[victim] = Node::start(&name, &args);
    let output = run(&healthy);
    assert!(output.status.success(), "{}", stderr(&output));
    let report = object(&output);
    assert_eq!(in_sync(&report), ["broker-1", "broker-2"]);
    let back = report["groups"][0]["brokers"].as_array().unwrap().iter();
    let back: Vec<_> = back.filter(|broker| broker["name"] == name && broker["answers"] == true).collect();
    assert_eq!(back.len(), 1, "{report}");
    assert_eq!((&back[0]["role"], &back[0]["in_sync"]), (&"backup".into(), &true.into()));
}

#[test]
fn where_nothing_runs_one_line_says_so() {
    let nobody = format!("127.0.0.1:{}", lasting_ports(1)[0]);
    let waits = ["status", "--wait-healthy", "--timeout", "500ms", "--discovery", &nobody];
    for (args, lines) in [(&waits[..], 0), (&["status", "--discovery", &nobody][..], 4)] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(stderr(&output).lines().count(), 1, "{}", stderr(&output));
        assert!(stderr(&output).starts_with("error: no discovery replica answers at 127.0.0.1:"));
        assert!(stderr(&output).contains("--discovery"), "it names a remedy");
        assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), lines);
    }
}

/// Somebody who takes connections and says nothing costs each question its deadline, and no more.
#[test]
fn a_replica_that_never_answers_does_not_hang_the_command() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let output = run(&["status", "--discovery", &address]);
    assert_eq!(output.status.code(), Some(1));
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.contains("no answer in time") || table.contains("the connection fails"), "{table}");
}

/// Without a terminal the report is printed again and again, until a signal comes.
#[test]
fn a_watch_repeats_until_it_is_interrupted() {
    let nobody = format!("127.0.0.1:{}", lasting_ports(1)[0]);
    let args = ["status", "--watch", "50ms", "--json", "--discovery", &nobody];
    let mut watch = Running::start("watch", steadfast(&args));
    wait_until("it has looked three times", || watch.out.text().lines().count() >= 3);
    watch.signal("INT");
    assert_eq!(watch.wait().code(), Some(0));
    let text = watch.out.text();
    for line in text.lines() {
        let report: Value = serde_json::from_str(line).unwrap();
        assert_eq!(report["healthy"], false);
    }
}
