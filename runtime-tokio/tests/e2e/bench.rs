//! `steadfast bench` prints its figures. What they are is no test's business.

use crate::metrics_server::Stub;
use crate::nodes::{Cluster, Running, Service, run, steadfast, turn, wait_until};
use serde_json::Value;
use std::io::Write as _;
use std::process::{ChildStdin, Stdio};

fn bench(args: &[&str]) -> Value {
    let output = run(&[&["bench"][..], args, &["--json"]].concat());
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn benchmarks_print_their_figures() {
    let _turn = turn();
    let throughput = bench(&["throughput", "--records", "100000"]);
    assert_eq!((&throughput["acknowledged"], &throughput["delivered"]), (&100_000.into(), &100_000.into()));
    assert!(throughput["acknowledged_per_second"].as_u64().unwrap() > 0);
    let latency = bench(&["latency", "--time", "2s"]);
    assert!(latency["p50_us"].as_u64().unwrap() <= latency["p99_us"].as_u64().unwrap());
    let failover = bench(&["failover", "--rounds", "1"]);
    assert!(failover["primary_killed_outage_median_ms"].as_f64().unwrap() > 0.0);
    assert!(failover["backup_killed_publisher_stall_worst_ms"].as_f64().unwrap() > 0.0);
}

/// What metrics cost is measured by a run with them: every node and the publisher send theirs.
#[test]
fn a_benchmark_with_metrics_sends_them() {
    let _turn = turn();
    let server = Stub::start(|_| Some(204));
    let to = ["--metrics-url", &server.url, "--metrics-org", "acme", "--metrics-bucket", "steadfast"];
    bench(&[&["latency", "--time", "2s", "--metrics-interval", "200ms"], &to[..]].concat());
    let requests = server.requests.lock().unwrap();
    let told: String = requests.iter().map(|request| request.body.as_str()).collect();
    for part in ["node=broker-1 ", "node=broker-2 ", "steadfast_discovery,", "node=publisher ack_count="] {
        assert!(told.contains(part), "{part}: {told}");
    }
}

#[test]
fn memory_is_measured_of_clients_load_and_snapshots() {
    let _turn = turn();
    let clients = bench(&["memory", "clients", "--clients", "20"]);
    assert!(clients["connected_mib"]["primary"].as_f64().unwrap() > 0.0);
    assert!(clients["bytes_per_session_without_publisher"]["backup"].is_i64());
    let load = bench(&["memory", "load", "--time", "2s", "--retention", "8MiB"]);
    let peak = load["peak_mib"]["primary"].as_f64().unwrap();
    assert!(load["second_half_mib"]["primary"].as_f64().unwrap() <= peak, "{load}");
    let snapshot = bench(&["memory", "snapshot", "--size", "1000", "--retention", "8MiB"]);
    for broker in ["restarted_backup", "paused_backup", "primary"] {
        assert!(snapshot[format!("peak_of_{broker}_mib")].as_f64().unwrap() > 8.0, "{snapshot}");
    }
}

/// A role of a run that this test makes, connected.
fn role(name: &str, args: &[&str], words: &[String]) -> (Running, ChildStdin) {
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let mut command = steadfast(&[&["bench", "role"], args, &words].concat());
    command.stdin(Stdio::piped());
    let mut role = Running::start(name, command);
    let stdin = role.stdin();
    wait_until(&format!("{name} is ready"), || role.out.text() == "READY\n");
    (role, stdin)
}

/// What it says at its end.
fn report(role: &Running) -> Value {
    let last = || role.out.text().lines().nth(1).map(str::to_owned);
    wait_until(&format!("{} reports", role.name), || role.out.text().lines().count() == 2);
    serde_json::from_str(&last().unwrap()).unwrap()
}

/// Two publishers, one as fast as it may and one at a rate, and two subscribers, of a run that others measure.
#[test]
fn roles_play_their_part_in_a_run() {
    let _turn = turn();
    let cluster = Cluster::start(Service::embedded(), 2);
    let counters = std::env::temp_dir().join(format!("steadfast-roles-{}", std::process::id()));
    let dump = counters.with_extension("dump");
    let common = ["npub=2", "nsub=2", "size=64", "secs=1", "window=4096", "colour=red"].map(str::to_owned);
    let words = |own: &[String]| {
        let places = [format!("addr={}", cluster.discovery.address), format!("shm={}", counters.display())];
        [&places[..], &common, own].concat()
    };
    let own = |id: usize, rest: &[String]| words(&[&[format!("id={id}")], rest].concat());
    let subscribers = [0, 1].map(|id| role("subscriber", &["sub"], &own(id, &[])));
    let dumped = [format!("dump={}", dump.display()), "rate=500".to_owned()];
    let mut publishers = [role("fast", &["pub"], &own(0, &[])), role("steady", &["pub"], &own(1, &dumped))];
    publishers.iter_mut().for_each(|(_, stdin)| writeln!(stdin, "GO").unwrap());
    let sent: Vec<_> = publishers.iter().map(|(role, _)| report(role)).collect();
    for report in &sent {
        assert_eq!((&report["sent"], &report["errors"]), (&report["acked"], &0.into()), "{report}");
    }
    let all = sent.iter().map(|report| report["sent"].as_u64().unwrap()).sum::<u64>();
    for (role, _) in &subscribers {
        let report = report(role);
        assert_eq!([&report["n"], &report["uniq"], &report["expected"]].map(Value::as_u64), [Some(all); 3]);
        assert_eq!([&report["dup"], &report["ooo"]].map(Value::as_u64), [Some(0); 2]);
    }
    assert_eq!(std::fs::read(&dump).unwrap(), vec![1; sent[1]["sent"].as_u64().unwrap() as usize]);
    for (mut role, stdin) in subscribers.into_iter().chain(publishers) {
        drop(stdin);
        assert!(role.wait().success(), "{}", role.name);
    }
    [counters, dump].iter().for_each(|file| std::fs::remove_file(file).unwrap());
}

#[test]
fn a_role_that_is_told_nonsense_says_so() {
    for words in [&["size=100"][..], &["addr=127.0.0.1:1", "shm=/tmp/x", "size"]] {
        let output = run(&[&["bench", "role", "pub"], words].concat());
        assert!(!output.status.success());
        assert!(!output.stderr.is_empty() && output.stdout.is_empty());
    }
}
