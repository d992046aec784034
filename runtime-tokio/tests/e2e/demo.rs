//! `steadfast demo`, as a user runs it.

use crate::nodes::{Running, run, steadfast, turn, wait_until};
use crate::zookeeper::Ensemble;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

/// Runs the demo and checks what its report promises.
fn demo(args: &[&str]) -> Value {
    let output = run(&[&["demo", "--json"], args].concat());
    let (stdout, stderr) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stderr}\n{stdout}");
    let report: Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
    let keys: BTreeSet<_> = report.as_object().unwrap().keys().map(String::as_str).collect();
    let expected =
        ["acknowledged", "delivered", "duplicated", "failovers", "lost", "out_of_order", "seconds"];
    assert_eq!(keys, BTreeSet::from(expected));
    let acknowledged = report["acknowledged"].as_u64().unwrap();
    assert!(acknowledged > 10_000, "{report}");
    let delivered: Vec<_> =
        report["delivered"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect();
    assert_eq!(delivered.len(), 2);
    assert!(delivered.iter().all(|&count| count >= acknowledged), "{report}");
    assert_eq!(
        (&report["lost"], &report["duplicated"], &report["out_of_order"]),
        (&0.into(), &0.into(), &0.into())
    );
    let failovers = report["failovers"].as_array().unwrap();
    let causes: Vec<_> = failovers.iter().map(|failover| failover["cause"].as_str().unwrap()).collect();
    assert_eq!(causes, ["kill", "pause"]);
    for failover in failovers {
        let outage = failover["outage_ms"].as_f64().unwrap();
        // A primary that is silent for less than this is not suspected: an outage below is no outage.
        let least = if failover["cause"] == "pause" { 100.0 } else { 1.0 };
        assert!((least..10_000.0).contains(&outage), "{report}");
        assert!(failover["publisher_outage_ms"].as_f64().unwrap() > 0.0, "{report}");
        assert_eq!(failover.as_object().unwrap().len(), 3);
    }
    assert!(report["seconds"].as_f64().unwrap() < 30.0, "{report}");
    report
}

#[test]
fn the_demo_runs_on_the_embedded_service() {
    let _turn = turn();
    demo(&[]);
}

#[test]
fn the_demo_runs_twice_on_one_zookeeper_ensemble() {
    let _turn = turn();
    let ensemble = Ensemble::start(3);
    let servers = ensemble.connect_string();
    demo(&["--zookeeper", &servers]);
    assert_eq!(clusters(&servers), Vec::<String>::new());
    demo(&["--zookeeper", &servers]);
    assert_eq!(clusters(&servers), Vec::<String>::new());
}

/// What ZooKeeper's own shell lists below the parent of all clusters.
pub fn clusters(servers: &str) -> Vec<String> {
    const JARS: &str = "/usr/share/java";
    let class_path =
        format!("{JARS}/zookeeper.jar:{JARS}/slf4j-log4j12.jar:{JARS}/log4j-1.2.jar:{JARS}/commons-cli.jar");
    let output = Command::new("java")
        .args(["-cp", &class_path, "org.apache.zookeeper.ZooKeeperMain", "-server", servers])
        .args(["ls", "/steadfast"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let list = text.lines().last().and_then(|line| line.strip_prefix('[')?.strip_suffix(']'));
    let list = list.unwrap_or_else(|| panic!("no list: {text} {}", String::from_utf8_lossy(&output.stderr)));
    list.split(", ").filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[test]
fn a_killed_demo_leaves_no_process_behind() {
    let _turn = turn();
    let mut demo = Running::start("demo", steadfast(&["demo"]));
    wait_until("the primary is paused", || demo.out.text().contains("SIGSTOP"));
    let mut processes = children(demo.pid());
    assert!(processes.len() >= 7, "the demo has only {} processes", processes.len());
    let heirs: Vec<u32> = processes.iter().flat_map(|&pid| children(pid)).collect();
    processes.extend(heirs);
    demo.signal("KILL");
    demo.wait();
    wait_until("every process is gone", || !processes.iter().any(|&pid| is_alive(pid)));
}

#[test]
fn an_interrupted_demo_cleans_up() {
    let _turn = turn();
    let ensemble = Ensemble::start(1);
    let servers = ensemble.connect_string();
    let mut demo = Running::start("demo", steadfast(&["demo", "--zookeeper", &servers]));
    wait_until("records flow", || demo.out.text().contains("acknowledged"));
    let children = children(demo.pid());
    demo.signal("INT");
    assert_eq!(demo.wait().code(), Some(1));
    assert_eq!(demo.err.text().lines().count(), 1, "{}", demo.err.text());
    assert!(demo.err.text().contains("interrupted"));
    assert!(!children.iter().any(|&pid| is_alive(pid)));
    assert_eq!(clusters(&servers), Vec::<String>::new());
}

pub fn children(parent: u32) -> Vec<u32> {
    let pids =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    pids.filter(|&pid| stat(pid).is_some_and(|(_, of)| of == parent)).collect()
}

/// State and parent of a process.
fn stat(pid: u32) -> Option<(char, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// A dead process that nobody has waited for yet counts as gone.
pub fn is_alive(pid: u32) -> bool {
    stat(pid).is_some_and(|(state, _)| state != 'Z')
}
