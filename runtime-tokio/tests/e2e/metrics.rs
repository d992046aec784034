//! Brokers and discovery write metrics to a real server, a failover among them; and a server that never
//! answers is nobody's trouble.

use crate::metrics_server::{Stub, VictoriaMetrics};
use crate::nodes::{Cluster, Running, Service, run, steadfast, turn, wait_until};
use std::io::Write;
use std::process::{ChildStdin, Stdio};

const TOPIC: &str = "orders.eu";

fn options(url: &str) -> [&str; 8] {
    [
        "--metrics-url",
        url,
        "--metrics-org",
        "acme",
        "--metrics-bucket",
        "steadfast",
        "--metrics-interval",
        "200ms",
    ]
}

/// A publisher that goes on until its input is closed, and a subscriber.
fn clients(cluster: &Cluster) -> (Running, ChildStdin, Running) {
    let discovery = cluster.discovery.address.as_str();
    let subscribe = ["subscribe", TOPIC, "--discovery", discovery, "--from", "earliest"];
    let subscriber = Running::start("subscriber", steadfast(&subscribe));
    let mut command = steadfast(&["publish", TOPIC, "--discovery", discovery, "--timeout", "60s"]);
    command.stdin(Stdio::piped());
    let mut publisher = Running::start("publisher", command);
    let stdin = publisher.stdin();
    (publisher, stdin, subscriber)
}

/// Publishes lines until this holds.
fn publish_until(stdin: &mut ChildStdin, what: &str, mut holds: impl FnMut() -> bool) {
    wait_until(what, || {
        stdin.write_all(b"a line\n").unwrap();
        stdin.flush().unwrap();
        holds()
    });
}

#[test]
fn a_failover_arrives_with_its_phases() {
    let _turn = turn();
    let server = VictoriaMetrics::start();
    let url = server.url();
    let cluster = Cluster::start_with(Service::embedded(), 2, &options(&url));
    let _replica = cluster.service.node("replica", &[&["discovery"], &options(&url)[..]].concat());
    let (mut publisher, mut stdin, subscriber) = clients(&cluster);
    publish_until(&mut stdin, "records flow", || subscriber.out.len() > 2_000);
    let primary = cluster.primary();
    let successor = &cluster.brokers[1 - primary].process;
    cluster.brokers[primary].process.signal("KILL");
    publish_until(&mut stdin, "the successor reports", || successor.err.text().contains("failover to epoch"));
    drop(stdin);
    assert!(publisher.wait().success(), "{}", publisher.err.text());

    let text = successor.err.text();
    let lines: Vec<_> = text.lines().filter(|line| line.contains("failover to epoch")).collect();
    let [line] = lines[..] else { panic!("one line: {lines:?}") };
    assert!(line.contains("failover to epoch 2") && line.contains("WARN"), "{line}");
    let value = |field: &str| {
        let series = server.series(&format!("steadfast_failover_{field}"));
        assert_eq!(series["values"].as_array().unwrap().len(), 1, "{series}");
        assert_eq!(series["metric"]["node"], successor.name, "{series}");
        let cause = series["metric"]["cause"].as_str().unwrap();
        assert!(["refused", "silence", "not_live"].contains(&cause), "{series}");
        series["values"][0].as_f64().unwrap()
    };
    assert_eq!(value("epoch"), 2.0);
    let phases = ["proposed_ms", "elected_ms", "serving_ms", "delivered_ms", "acked_ms"].map(value);
    let [proposed, elected, serving, delivered, acked] = phases;
    assert!(0.0 <= proposed && proposed <= elected && elected <= serving, "{phases:?}");
    assert!(serving <= delivered && serving <= acked, "{phases:?}");
    assert!(value("commit_age_ms") >= 0.0);

    for (series, least) in [
        ("steadfast_broker_published_records_total", 1.0),
        ("steadfast_topic_delivered_records_total", 1.0),
        ("steadfast_delivery_commit_p99_us", 0.0),
        ("steadfast_replication_in_sync", 1.0),
        ("steadfast_follower_lag_records", 0.0),
        ("steadfast_discovery_groups", 1.0),
        ("steadfast_coordination_calls_total", 1.0),
        ("steadfast_exporter_sent_total", 0.0),
    ] {
        // Every node has a series of its own, and not every one has something to count.
        let found = server.series_where(series, |series| {
            let values = series["values"].as_array().unwrap();
            values.iter().any(|value| value.as_f64().unwrap() >= least)
        });
        assert_eq!(found["metric"]["cluster"], "main", "{found}");
    }
}

#[test]
fn a_metrics_server_that_never_answers_is_nobodys_trouble() {
    let _turn = turn();
    let server = Stub::start(|_| None);
    let mut cluster = Cluster::start_with(Service::embedded(), 2, &options(&server.url));
    let (mut publisher, mut stdin, subscriber) = clients(&cluster);
    let lines = "a line\n".repeat(20_000);
    stdin.write_all(lines.as_bytes()).unwrap();
    drop(stdin);
    assert!(publisher.wait().success(), "{}", publisher.err.text());
    wait_until("everything is delivered", || subscriber.out.len() >= lines.len());
    wait_until("the server was asked", || server.count() >= 2);
    for broker in &mut cluster.brokers {
        broker.process.signal("TERM");
        assert!(broker.process.wait().success(), "{}", broker.process.err.text());
    }
}

#[test]
fn wrong_settings_are_one_line() {
    let _turn = turn();
    let common = ["broker", "--name", "a", "--coordination", "127.0.0.1:1"];
    for (extra, status, words) in [
        (&["--metrics-url", "http://a"][..], 2, ["--metrics-url", "metrics.org is not"]),
        (&["--metrics-token-file", "/x"], 2, ["--metrics-token-file", "set metrics.url"]),
        (&options("/3242/23"), 2, ["--metrics-url", "http://127.0.0.1:8086"]),
        (&options("https://a"), 2, ["--metrics-url", "no https"]),
        (
            &[&options("http://a")[..], &["--metrics-token-file", "/does/not/exist"]].concat(),
            2,
            ["/does/not/exist", "token"],
        ),
    ] {
        let output = run(&[&common[..], extra].concat());
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(status), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
    }
}
