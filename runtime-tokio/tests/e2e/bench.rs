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

fn figures(args: &[&str]) -> Value {
    bench(args)["figures"].take()
}

/// A benchmark's figures. Its result says where they come from, its plot is a drawing.
fn plotted(args: &[&str]) -> Value {
    let name = args.iter().map(|arg| arg.trim_matches('-')).collect::<String>().replace(':', "");
    let plot = std::env::temp_dir().join(format!("steadfast-{name}-{}.svg", std::process::id()));
    let mut result = bench(&[args, &["--plot", plot.to_str().unwrap()]].concat());
    let svg = std::fs::read_to_string(&plot).unwrap();
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{svg}");
    assert!(svg.contains(result["chart"]["title"].as_str().unwrap()), "{svg}");
    std::fs::remove_file(plot).unwrap();
    assert_eq!((&result["benchmark"], &result["settings"]["transport"]), (&args[0].into(), &"native".into()));
    assert!(result["machine"]["cores"].as_u64().unwrap() > 0, "{result}");
    for (part, key) in [("machine", "cpu"), ("machine", "kernel"), ("machine", "profile")] {
        assert!(!result[part][key].as_str().unwrap().is_empty(), "{result}");
    }
    result["figures"].take()
}

fn positive(figures: &Value, names: &[&str]) {
    for name in names {
        assert!(figures[name].as_f64().is_some_and(|figure| figure > 0.0), "{name}: {figures}");
    }
}

#[test]
fn throughput_and_latency_have_figures_and_curves() {
    let _turn = turn();
    let throughput = plotted(&["throughput", "--records", "100000"]);
    assert_eq!((&throughput["acknowledged"], &throughput["delivered"]), (&100_000.into(), &100_000.into()));
    positive(&throughput, &["acknowledged_per_second", "delivered_per_second", "broker_peak_memory_mib"]);
    let latency = plotted(&["latency", "--time", "2s"]);
    let quantiles = ["p50_us", "p90_us", "p99_us", "p99_9_us", "max_us"];
    positive(&latency, &quantiles);
    assert!(quantiles.map(|name| latency[name].as_u64()).is_sorted(), "{latency}");
}

#[test]
fn fanout_delivers_everything_to_everyone() {
    let _turn = turn();
    let fanout = plotted(&["fanout", "--publishers", "2", "--subscribers", "3", "--time", "1s"]);
    let costs = ["brokers_processor_us_per_record", "brokers_processor_us_per_delivery"];
    positive(&fanout, &[&costs[..], &["acknowledged_per_second", "delivered_per_second"]].concat());
}

#[test]
fn failover_has_its_cases() {
    let _turn = turn();
    let failover = plotted(&["failover", "--rounds", "1"]);
    for case in ["primary_killed", "backup_killed", "backup_paused", "handover"] {
        positive(&failover[case], &["subscriber_outage_median_ms", "publisher_stall_worst_ms"]);
    }
    positive(&failover, &["lag_threshold_ms", "session_timeout_ms"]);
    let one = bench(&["failover", "--rounds", "1", "--case", "handover"]);
    assert!(one["figures"]["primary_killed"].is_null() && one["figures"]["handover"].is_object(), "{one}");
}

#[test]
fn growth_is_measured_at_points_and_fitted() {
    let _turn = turn();
    for (what, most, points) in [
        ("subscribers", "3", vec![1, 3]),
        ("publishers", "4", vec![1, 3, 4]),
        ("topics", "20", vec![1, 10, 20]),
        ("retained", "20MiB", vec![16 << 20, 20 << 20]),
        ("backups", "1", vec![0, 1]),
    ] {
        let growth = plotted(&["growth", "--what", what, "--up-to", most, "--time", "500ms"]);
        let measured = growth["points"].as_array().unwrap();
        let values: Vec<_> = measured.iter().map(|point| point[what].as_u64().unwrap()).collect();
        assert_eq!(values, points, "{growth}");
        let names = ["acknowledged_per_second", "brokers_processor_us_per_record", "primary_memory_mib"];
        measured.iter().for_each(|point| positive(point, &names));
        assert!(names.iter().all(|name| growth["exponents"][name].is_f64()), "{growth}");
    }
    let promotion =
        plotted(&["growth", "--what", "promotion", "--up-to", "16MiB", "--sessions", "20", "--rounds", "1"]);
    for log in ["empty", "full"] {
        positive(&promotion[log], &["subscriber_outage_median_ms"]);
    }
}

/// A cluster that somebody else has started: its brokers are nobody's to look into, and none's to kill.
#[test]
fn somebody_elses_cluster_is_measured_and_left_alone() {
    let _turn = turn();
    let cluster = Cluster::start(Service::embedded(), 2);
    let there = ["--discovery", &cluster.discovery.address];
    let throughput = plotted(&[&["throughput", "--records", "20000"], &there[..]].concat());
    assert_eq!(throughput["delivered"], 20_000);
    assert!(throughput["broker_peak_memory_mib"].is_null());
    let fanout = plotted(
        &[&["fanout", "--publishers", "1", "--subscribers", "2", "--time", "500ms"], &there[..]].concat(),
    );
    positive(&fanout, &["delivered_per_second"]);
    assert!(fanout["brokers_processor_us_per_record"].is_null());
    let growth =
        plotted(&[&["growth", "--what", "topics", "--up-to", "2", "--time", "500ms"], &there[..]].concat());
    assert!(growth["exponents"]["delivered_per_second"].is_f64(), "{growth}");
    for refused in [&["failover"][..], &["growth", "--what", "backups"], &["growth", "--what", "promotion"]] {
        let output = run(&[&["bench"], refused, &there].concat());
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), error.contains("--discovery")), (Some(2), true), "{error}");
    }
}

#[test]
fn results_are_compared_with_those_of_like_runs_only() {
    let _turn = turn();
    let file = std::env::temp_dir().join(format!("steadfast-compare-{}.json", std::process::id()));
    let earlier = bench(&["throughput", "--records", "20000"]);
    std::fs::write(&file, earlier.to_string()).unwrap();
    let compare = ["--compare", file.to_str().unwrap()];
    let now = bench(&[&["throughput", "--records", "20000"], &compare[..]].concat());
    assert_eq!(now["ratios"]["delivered"], 1.0, "{now}");
    positive(&now["ratios"], &["delivered_per_second"]);
    let refused = |args: &[&str], cause: &str| {
        let output = run(&[&["bench"], args, &compare].concat());
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), error.contains(cause)), (Some(2), true), "{error}");
    };
    refused(&["throughput", "--records", "20001"], "settings.records was 20000 and is 20001");
    refused(&["latency"], "benchmark was \"throughput\" and is \"latency\"");
    std::fs::write(&file, "{}").unwrap();
    refused(&["throughput"], "no result of a benchmark");
    std::fs::remove_file(&file).unwrap();
    refused(&["throughput"], "cannot read");
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
fn memory_is_measured_of_clients_load_topics_and_snapshots() {
    let _turn = turn();
    let clients = figures(&["memory", "clients", "--clients", "20"]);
    assert!(clients["connected_mib"]["primary"].as_f64().unwrap() > 0.0);
    assert!(clients["bytes_per_session_without_publisher"]["backup"].is_i64());
    let load = figures(&["memory", "load", "--time", "2s", "--retention", "8MiB"]);
    let peak = load["peak_mib"]["primary"].as_f64().unwrap();
    assert!(load["second_half_mib"]["primary"].as_f64().unwrap() <= peak, "{load}");
    let topics = figures(&["memory", "topics", "--size", "1000", "--topics", "50"]);
    assert!(topics["bytes_per_topic"]["backup"].is_i64(), "{topics}");
    let snapshot = figures(&["memory", "snapshot", "--size", "1000", "--retention", "8MiB"]);
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

#[test]
fn a_role_takes_the_transports_settings_from_its_environment() {
    let mut command = steadfast(&["bench", "role", "pub", "addr=127.0.0.1:1", "shm=/dev/null"]);
    let output = command.env("STEADFAST_TRANSPORT_BUSY_POLL", "soon").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("STEADFAST_TRANSPORT_BUSY_POLL"), "{said}");
}
