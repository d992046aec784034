//! A broker's heir: a second process with the same memory, which ends when all of the broker has ended, however that
//! came.
#![cfg(target_os = "linux")]

use crate::demo::{children, is_alive};
use crate::nodes::{Cluster, Node, Service, run, turn, wait_until};
use std::fs;
use std::process::Command;

/// Every signal, as a set of bits, but for SIGKILL and SIGSTOP, which nobody can block, and the two that the C library
/// keeps for itself.
const BLOCKABLE: u64 = !(1 << 8 | 1 << 18 | 1 << 31 | 1 << 32);

fn heir(broker: &Node) -> u32 {
    let children = children(broker.process.pid());
    assert_eq!(children.len(), 1, "{children:?}");
    assert_eq!(fs::read_to_string(format!("/proc/{}/comm", children[0])).unwrap(), "steadfast-heir\n");
    children[0]
}

/// The signals that a process does not hear.
fn blocked(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let set = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap();
    u64::from_str_radix(set.trim(), 16).unwrap()
}

#[test]
fn a_broker_has_an_heir_that_ends_with_it() {
    let _turn = turn();
    let mut cluster = Cluster::start(Service::embedded(), 2);
    let heirs = [heir(&cluster.brokers[0]), heir(&cluster.brokers[1])];
    let maps = |pid: u32| fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let broker = cluster.brokers[0].process.pid();
    wait_until("they have the same memory", || maps(heirs[0]) == maps(broker));
    let files = fs::read_dir(format!("/proc/{}/fd", heirs[0])).unwrap();
    assert_eq!(files.count(), 1, "it holds more than its parent's handle");
    assert_eq!(blocked(heirs[0]) & BLOCKABLE, BLOCKABLE);
    assert_eq!(blocked(broker), 0, "what is blocked for the heir is not for the broker");
    assert!(children(cluster.discovery.process.pid()).is_empty(), "only brokers have much to leave");

    cluster.brokers[0].process.signal("KILL");
    cluster.brokers[1].process.signal("TERM");
    for (broker, heir) in cluster.brokers.iter_mut().zip(heirs) {
        broker.process.wait();
        wait_until("its heir is gone", || !is_alive(heir));
    }
}

#[test]
fn a_broker_whose_heir_is_killed_goes_on() {
    let _turn = turn();
    let mut cluster = Cluster::start(Service::embedded(), 1);
    let heir = heir(&cluster.brokers[0]);
    assert!(Command::new("kill").args(["-KILL", &heir.to_string()]).status().unwrap().success());
    wait_until("the heir is gone", || !is_alive(heir));
    let status = run(&["status", "--discovery", &cluster.discovery.address]);
    assert_eq!(status.status.code(), Some(0));
    assert!(cluster.brokers[0].process.is_running());
}
