//! The flight recorder on real processes: what it has kept of an incident is run again, through the same
//! node and the checkers, and comes to the same.

use crate::nodes::{Cluster, Service, run, turn, wait_until};
use crate::worker::{Worker, check};
use std::fs;
use std::path::{Path, PathBuf};
use steadfast_sim::recording::{End, Outcome, joins, replay};

/// Records that show that everything goes on.
const SOME: u64 = 8_000;

/// A directory that goes with its test.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("steadfast-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn start_broker(cluster: &mut Cluster, directory: &Directory, n: usize) {
    let (name, configuration) = (format!("broker-{n}"), directory.file("steadfast.toml"));
    let recording = directory.file(&name);
    let args = ["broker", "--name", &name, "--config", &configuration, "--record", &recording];
    let broker = cluster.service.node(&name, &args);
    cluster.brokers.push(broker);
}

/// Everything that is there of a recording, run again.
fn again(file: &str) -> Outcome {
    let newer = fs::read(file).unwrap();
    let older = fs::read(format!("{file}.1")).ok().filter(|older| joins(older, &newer));
    let parts: Vec<_> = older.iter().chain([&newer]).map(Vec::as_slice).collect();
    let outcome = replay(&parts).unwrap_or_else(|(part, damage)| panic!("{file}, part {part}: {damage}"));
    if let Err(failure) = &outcome.result {
        let tail: Vec<_> = outcome.lines.iter().rev().take(60).rev().map(String::as_str).collect();
        panic!("{file}: {failure}\n{}", tail.join("\n"));
    }
    outcome
}

#[test]
fn a_kill_and_a_failover_are_run_again_from_what_was_recorded() {
    let _turn = turn();
    let directory = Directory::new("recordings");
    // Small, so that the ring turns.
    let settings = "[broker]\nrecord_limit = \"2MiB\"\n[broker.retention]\nrecords = 20000\n";
    fs::write(directory.file("steadfast.toml"), settings).unwrap();
    let mut cluster = Cluster::start(Service::embedded(), 0);
    (1..=3).for_each(|n| start_broker(&mut cluster, &directory, n));
    wait_until("every broker is in sync", || cluster.discovery.in_sync() == 3);
    let discovery = cluster.discovery.address.clone();
    let subscriber = Worker::start("subscriber", &["worker", "subscriber", "--filter", "load.>"], &discovery);
    let publish = ["worker", "publisher", "--topic", "load.all", "--size", "200", "--rate", "4000"];
    let mut publisher = Worker::start("publisher", &publish, &discovery);
    publisher.wait_for(SOME);

    let killed = cluster.primary();
    cluster.brokers[killed].process.signal("KILL");
    cluster.brokers[killed].process.wait();
    wait_until("another one leads", || cluster.primary() != killed);
    publisher.wait_for(SOME);
    // It gets a snapshot, of records that are not in its recording otherwise.
    let name = format!("broker-{}", killed + 1);
    start_broker(&mut cluster, &directory, killed + 1);
    wait_until("it is in sync again", || cluster.discovery.in_sync() == 3);
    check(publisher, vec![subscriber]);
    for broker in &mut cluster.brokers {
        if broker.process.is_running() {
            broker.process.signal("TERM");
            assert!(broker.process.wait().success());
        }
    }

    for n in 1..=3 {
        let outcome = again(&directory.file(&format!("broker-{n}")));
        assert_eq!(outcome.end, End::Orderly, "broker-{n}");
        assert!(outcome.inputs > 20, "broker-{n} has {}", outcome.inputs);
    }
    let incident = again(&directory.file(&format!("{name}.last")));
    assert!(matches!(incident.end, End::Open | End::Cut(_)), "it was killed: {:?}", incident.end);
    assert!(incident.first > 1, "the ring has turned");
    assert!(incident.lines.len() > 100);
    for entry in fs::read_dir(&directory.0).unwrap() {
        let entry = entry.unwrap();
        assert!(entry.metadata().unwrap().len() < 8 << 20, "{:?} is bounded", entry.path());
    }
}

#[test]
fn a_recording_that_cannot_be_made_is_refused_in_one_line() {
    let _turn = turn();
    let directory = Directory::new("refused");
    let precious = directory.file("precious");
    fs::write(&precious, "not yours\n").unwrap();
    let missing = directory.file("missing/recording");
    for (file, part) in [(&precious, "is no recording"), (&missing, "cannot write the recording")] {
        let args = ["broker", "--name", "one", "--coordination", "127.0.0.1:1", "--record", file];
        let output = run(&[&args[..], &["--connect-timeout", "1s"]].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.lines().count() == 1 && said.contains(part) && said.contains(file), "{said}");
    }
    assert_eq!(fs::read_to_string(&precious).unwrap(), "not yours\n");
    assert!(!Path::new(&missing).exists());
}
