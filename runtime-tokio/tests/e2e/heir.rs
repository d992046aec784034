//! A broker's heir: a second process with the same memory, which ends after it, however it ends.
#![cfg(target_os = "linux")]

use crate::nodes::{Cluster, Node, Service, turn, wait_until};
use std::fs;
use std::process::Command;

/// State and parent of a process that is there, from `/proc`.
fn state(pid: u32) -> Option<(char, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it, in brackets, may hold anything.
    let mut fields = stat[stat.rfind(')')? + 1..].split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

fn children(parent: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").unwrap();
    let numbers = processes.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse::<u32>().ok());
    numbers.filter(|&pid| state(pid).is_some_and(|(_, of)| of == parent)).collect()
}

/// One that nobody has fetched is over all the same.
fn is_over(pid: u32) -> bool {
    state(pid).is_none_or(|(state, _)| state == 'Z')
}

fn heir(broker: &Node) -> u32 {
    let children = children(broker.process.pid());
    assert_eq!(children.len(), 1, "{children:?}");
    assert_eq!(fs::read_to_string(format!("/proc/{}/comm", children[0])).unwrap(), "steadfast-heir\n");
    children[0]
}

#[test]
fn a_broker_has_an_heir_that_ends_after_it() {
    let _turn = turn();
    let mut cluster = Cluster::start(Service::embedded(), 2);
    let heirs = [heir(&cluster.brokers[0]), heir(&cluster.brokers[1])];
    let maps = |pid: u32| fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let broker = cluster.brokers[0].process.pid();
    wait_until("they have the same memory", || maps(heirs[0]) == maps(broker));
    assert_eq!(fs::read_dir(format!("/proc/{}/fd", heirs[0])).unwrap().count(), 0, "it holds a file");
    assert!(children(cluster.discovery.process.pid()).is_empty(), "only brokers have much to leave");
    for signal in ["TERM", "INT", "HUP"] {
        let kill = Command::new("kill").args([&format!("-{signal}"), &heirs[0].to_string()]).status();
        assert!(kill.unwrap().success());
    }
    assert!(!is_over(heirs[0]) && cluster.brokers[0].process.is_running());

    cluster.brokers[0].process.signal("KILL");
    cluster.brokers[1].process.signal("TERM");
    for (broker, heir) in cluster.brokers.iter_mut().zip(heirs) {
        broker.process.wait();
        wait_until("its heir is gone", || is_over(heir));
    }
}
