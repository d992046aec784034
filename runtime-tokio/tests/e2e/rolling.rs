//! Every process of a cluster is restarted, one after the other, while records flow (R34).

use crate::nodes::{Node, Service, run, turn, wait_until};
use crate::ports::lasting_ports;
use crate::worker::{Worker, check};
use std::thread::sleep;
use std::time::{Duration, Instant};

const BROKERS: usize = 3;
/// Records per second.
const RATE: &str = "2000";
/// Undisturbed time before and after each step: longer than the workers' reports are apart.
const CALM: Duration = Duration::from_millis(400);

/// A process of the cluster that can be restarted in its place.
struct Member {
    name: String,
    args: Vec<String>,
    node: Node,
    restarts: u32,
}

impl Member {
    fn start(name: &str, args: &[&str], service: &Service) -> Self {
        let mut args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).chain(service.args()).collect();
        // Others go on to look for it where it was.
        args.extend(["--listen".to_owned(), format!("127.0.0.1:{}", lasting_ports(1)[0])]);
        let node = start(name, &args);
        Self { name: name.to_owned(), args, node, restarts: 0 }
    }

    /// Waits for its end, after it was told to leave, and starts it again.
    fn come_back(&mut self) {
        assert!(self.node.process.wait().success(), "{} leaves cleanly", self.name);
        self.restarts += 1;
        self.node = start(&format!("{} ({})", self.name, self.restarts), &self.args);
    }

    /// Whether, by its own log, every broker is in sync.
    fn sees_all_in_sync(&self) -> bool {
        self.node.in_sync() == BROKERS
    }
}

fn start(name: &str, args: &[String]) -> Node {
    Node::start(name, &args.iter().map(String::as_str).collect::<Vec<_>>())
}

/// A cluster whose every process has a name.
struct Cluster {
    members: Vec<Member>,
    /// Runs as long as the members do.
    _service: Service,
}

impl Cluster {
    fn start(service: Service) -> Self {
        let mut members = Vec::new();
        for n in 1..=2 {
            members.push(Member::start(&format!("discovery-{n}"), &["discovery"], &service));
        }
        for n in 1..=BROKERS {
            let name = format!("broker-{n}");
            members.push(Member::start(&name, &["broker", "--name", &name], &service));
        }
        let cluster = Self { members, _service: service };
        wait_until("every broker is in sync", || cluster.members.iter().all(Member::sees_all_in_sync));
        cluster
    }

    fn discovery(&self) -> String {
        let addresses: Vec<_> = self.members[..2].iter().map(|member| member.node.address.as_str()).collect();
        addresses.join(",")
    }

    /// Index of the primary.
    fn primary(&self) -> usize {
        let brokers = 2..self.members.len();
        brokers.max_by_key(|&index| self.members[index].node.latest_epoch()).unwrap()
    }
}

/// One process leaves and comes back. Says what it was and how long the clients heard nothing.
fn restart(cluster: &mut Cluster, index: usize, workers: &mut [Worker]) -> String {
    sleep(CALM);
    for worker in &mut *workers {
        // What was before is not this step's.
        worker.silence();
    }
    let role = match index {
        0 | 1 => "",
        _ if cluster.primary() == index => " (primary)",
        _ => " (backup)",
    };
    let member = &mut cluster.members[index];
    let began = Instant::now();
    member.node.process.signal("TERM");
    member.come_back();
    let took = began.elapsed();
    // As an operator does before the next step.
    let discovery = cluster.discovery();
    let brokers = BROKERS.to_string();
    let args = ["status", "--wait-healthy", "--brokers", &brokers, "--discovery", &discovery];
    let healthy = run(&args);
    assert!(healthy.status.success(), "{}", String::from_utf8_lossy(&healthy.stderr));
    let member = &cluster.members[index];
    wait_until(&format!("{} is back", member.name), || member.sees_all_in_sync());
    sleep(CALM);
    let silences: Vec<_> = workers.iter_mut().map(|worker| worker.silence().as_millis()).collect();
    format!(
        "{}{role}: longest silence of the publisher {} ms, of the subscribers {} and {} ms; listens again after {} ms",
        member.name,
        silences[0],
        silences[1],
        silences[2],
        took.as_millis()
    )
}

fn every_process_restarts(service: Service) {
    let mut cluster = Cluster::start(service);
    let discovery = cluster.discovery();
    let mut workers = Vec::new();
    let publish = ["worker", "publisher", "--topic", "load.all", "--size", "100", "--rate", RATE];
    for name in ["subscriber-1", "subscriber-2"] {
        workers.push(Worker::start(name, &["worker", "subscriber", "--filter", "load.>"], &discovery));
    }
    workers.insert(0, Worker::start("publisher", &publish, &discovery));
    let brokers_first = (2..cluster.members.len()).chain([0, 1]);
    let steps: Vec<_> = brokers_first.map(|index| restart(&mut cluster, index, &mut workers)).collect();
    steps.iter().for_each(|step| println!("{step}"));

    let publisher = workers.remove(0);
    check(publisher, workers);
    let reigns = cluster.members.iter().map(|member| member.node.latest_epoch()).max().unwrap();
    assert!(reigns >= 2, "the primary was restarted, too");
}

#[test]
fn every_process_of_a_cluster_on_zookeeper_restarts_under_load() {
    let _turn = turn();
    every_process_restarts(Service::ensemble());
}

#[test]
fn a_drained_broker_says_how_it_has_left() {
    let _turn = turn();
    let mut cluster = Cluster::start(Service::embedded());
    let discovery = cluster.members[0].node.address.clone();
    let drain = |name: &str| run(&["drain", name, "--discovery", &discovery]);
    let fails = |output: std::process::Output, word: &str| {
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), error.contains(word)), (Some(1), true), "{error}");
    };
    fails(drain("nobody"), "knows no broker nobody");
    let leave = |cluster: &mut Cluster, index: usize| {
        let output = drain(&cluster.members[index].name);
        assert!(cluster.members[index].node.process.wait().success());
        output
    };
    let said = |output: std::process::Output| {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let first = cluster.primary();
    let text = said(leave(&mut cluster, first));
    assert!(text.contains("has handed over to broker-"), "{text}");
    let second = cluster.primary();
    assert_ne!(first, second);
    let backup = (2..5).find(|index| ![first, second].contains(index)).unwrap();
    let text = said(leave(&mut cluster, backup));
    assert!(text.contains("was not primary"), "{text}");
    fails(leave(&mut cluster, second), "given up");
}
