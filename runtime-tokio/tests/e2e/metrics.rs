//! Brokers and discovery write metrics to a real server, a failover among them; and a server that never
//! answers is nobody's trouble.

use crate::metrics_server::{Stub, VictoriaMetrics, free_address};
use crate::nodes::{Cluster, Running, Service, run, steadfast, turn, wait_until};
use crate::status::free_base;
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

/// What a signal to the primary leads to: one line of this level, and one point with every phase, of one
/// of these causes.
fn every_phase_is_told(server: &VictoriaMetrics, (signal, level, causes): (&str, &str, &[&str])) -> Cluster {
    let url = server.url();
    let mut cluster = Cluster::start_with(Service::embedded(), 2, &options(&url));
    let (mut publisher, mut stdin, subscriber) = clients(&cluster);
    publish_until(&mut stdin, "records flow", || subscriber.out.len() > 2_000);
    let primary = cluster.primary();
    cluster.brokers[primary].process.signal(signal);
    let successor = &cluster.brokers[1 - primary].process;
    publish_until(&mut stdin, "the successor reports", || successor.err.text().contains("failover to epoch"));
    drop(stdin);
    assert!(publisher.wait().success(), "{}", publisher.err.text());

    let text = successor.err.text();
    let lines: Vec<_> = text.lines().filter(|line| line.contains("failover to epoch")).collect();
    let [line] = lines[..] else { panic!("one line: {lines:?}") };
    assert!(line.contains("failover to epoch 2") && line.contains(level), "{line}");
    let value = |field: &str| {
        let series = server.series(&format!("steadfast_failover_{field}"));
        assert_eq!(series["values"].as_array().unwrap().len(), 1, "{series}");
        assert_eq!(series["metric"]["node"], successor.name, "{series}");
        assert!(causes.contains(&series["metric"]["cause"].as_str().unwrap()), "{series}");
        series["values"][0].as_f64().unwrap()
    };
    assert_eq!(value("epoch"), 2.0);
    let phases = ["proposed_ms", "elected_ms", "serving_ms", "delivered_ms", "acked_ms"].map(value);
    let [proposed, elected, serving, delivered, acked] = phases;
    assert!(0.0 <= proposed && proposed <= elected && elected <= serving, "{phases:?}");
    assert!(serving <= delivered && serving <= acked, "{phases:?}");
    assert!(value("commit_age_ms") >= 0.0);
    let before = &mut cluster.brokers[primary].process;
    wait_until("the old primary is gone", || !before.is_running());
    cluster
}

#[test]
fn a_handover_arrives_with_its_phases() {
    let _turn = turn();
    every_phase_is_told(&VictoriaMetrics::start(), ("TERM", "INFO", &["handover"]));
}

#[test]
fn a_failover_arrives_with_its_phases() {
    let _turn = turn();
    let server = VictoriaMetrics::start();
    let causes = ["refused", "silence", "not_live"];
    let cluster = every_phase_is_told(&server, ("KILL", "WARN", &causes));
    let url = server.url();
    let _replica = cluster.service.node("replica", &[&["discovery"], &options(&url)[..]].concat());
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

/// Records flow, everything is delivered and every broker ends, whatever the metrics server does.
fn is_nobodys_trouble(url: &str) {
    let mut cluster = Cluster::start_with(Service::embedded(), 2, &options(url));
    let (mut publisher, mut stdin, subscriber) = clients(&cluster);
    let lines = "a line\n".repeat(20_000);
    stdin.write_all(lines.as_bytes()).unwrap();
    drop(stdin);
    assert!(publisher.wait().success(), "{}", publisher.err.text());
    wait_until("everything is delivered", || subscriber.out.len() >= lines.len());
    let complaint = "metrics cannot be written to";
    for broker in &cluster.brokers {
        let text = &broker.process.err;
        wait_until("it is told", || text.text().contains(complaint));
    }
    for broker in &mut cluster.brokers {
        broker.process.signal("TERM");
        assert!(broker.process.wait().success(), "{}", broker.process.err.text());
        assert_eq!(broker.process.err.text().matches(complaint).count(), 1, "once");
    }
}

#[test]
fn a_metrics_server_that_never_answers_is_nobodys_trouble() {
    let _turn = turn();
    let server = Stub::start(|_| None);
    is_nobodys_trouble(&server.url);
    assert!(server.count() >= 2, "the server was asked");
}

#[test]
fn a_metrics_server_that_refuses_or_fails_is_nobodys_trouble() {
    let _turn = turn();
    let server = Stub::start(|n| Some([400, 401, 500, 429][n % 4]));
    is_nobodys_trouble(&server.url);
    assert!(server.count() >= 4, "the server was asked");
}

#[test]
fn a_metrics_server_that_is_not_there_is_nobodys_trouble() {
    let _turn = turn();
    is_nobodys_trouble(&format!("http://{}", free_address()));
}

fn bodies(server: &Stub) -> String {
    server.requests.lock().unwrap().iter().map(|request| request.body.as_str()).collect()
}

/// All nodes of a served cluster write, and a publisher that is told to says how long its
/// acknowledgements took.
#[test]
fn a_served_cluster_and_a_publisher_write_metrics() {
    let _turn = turn();
    let server = Stub::start(|_| Some(204));
    let base = free_base();
    let mut serve = steadfast(&["serve", "--brokers", "2", "--port-base", &base.to_string()]);
    serve.args(options(&server.url));
    let mut serve = Running::start("serve", serve);
    wait_until("it is ready", || serve.out.text().contains("Ctrl-C ends it."));
    let discovery = format!("127.0.0.1:{}", base + 1);
    let mut publish = steadfast(&["publish", TOPIC, "--metrics", "--discovery", &discovery]);
    let variables = [("URL", server.url.as_str()), ("ORG", "acme"), ("BUCKET", "steadfast")];
    publish.envs(variables.map(|(name, value)| (format!("STEADFAST_METRICS_{name}"), value)));
    publish.stdin(Stdio::piped());
    let mut publish = Running::start("publish", publish);
    publish.stdin().write_all(b"one\ntwo\n").unwrap();
    assert!(publish.wait().success(), "{}", publish.err.text());
    let told = bodies(&server);
    let client: Vec<_> = told.lines().filter(|line| line.contains("ack_count=")).collect();
    let [line] = client[..] else { panic!("one line: {client:?}") };
    assert!(line.starts_with("steadfast_delivery,cluster=main,node=publish "), "{line}");
    assert!(line.contains("ack_p99_us=") && !line.contains("streams"), "{line}");
    serve.signal("TERM");
    assert!(serve.wait().success(), "{}", serve.err.text());
    let told = bodies(&server);
    for start in [
        "broker,cluster=serve,node=broker-1",
        "broker,cluster=serve,node=broker-2",
        "exporter,cluster=serve,node=serve",
    ] {
        assert!(told.contains(&format!("steadfast_{start} ")), "{start}: {told}");
    }
    for n in 1..=2 {
        let replica = format!("steadfast_discovery,cluster=serve,node=127.0.0.1:{} ", base + n);
        assert!(told.contains(&replica), "{replica}: {told}");
    }

    let wanted = run(&["publish", TOPIC, "--metrics", "--config", "/dev/null"]);
    let error = String::from_utf8(wanted.stderr).unwrap();
    assert_eq!((wanted.status.code(), error.contains("STEADFAST_METRICS_URL")), (Some(2), true), "{error}");
}

#[test]
fn wrong_settings_are_one_line() {
    let _turn = turn();
    let common = ["broker", "--name", "a", "--coordination", "127.0.0.1:1"];
    for (extra, status, words) in [
        (&["--metrics-url", "http://a"][..], 2, ["--metrics-url", "metrics.org is not"]),
        (&["--metrics-token-file", "/x"], 2, ["--metrics-token-file", "set metrics.url"]),
        (&options("/3242/23"), 2, ["--metrics-url", "http://127.0.0.1:8086"]),
        (&options("https://a"), 2, ["--metrics-url", "encryption"]),
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
