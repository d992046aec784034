//! `steadfast bench` prints its figures. What they are is no test's business.

use crate::metrics_server::Stub;
use crate::nodes::{run, turn};
use serde_json::Value;

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
