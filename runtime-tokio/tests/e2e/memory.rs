//! The memory of brokers as the system counts it.

use crate::nodes::{Cluster, Node, Service, run, turn};
use std::fs;

const MIB: u64 = 1 << 20;
/// What the brokers retain.
const RETAINED: u64 = 16;
/// What a broker may take besides, as docs/performance.md says.
const BESIDES: u64 = 96;
/// What is published, in parts.
const PARTS: u64 = 4;
const PART: u64 = 64;
const LINE: u64 = 4_096;
// Were everything kept, nobody would pass.
const _: () = assert!(PARTS * PART > 2 * (RETAINED + BESIDES));

/// The most memory that the process has had, in MiB.
fn peak(broker: &Node) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", broker.process.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() >> 10
}

/// R36: sixteen times of what is retained goes through both brokers, and what they take stays within what
/// is promised, which is less than half of that.
#[test]
fn brokers_stay_within_what_they_retain_and_a_constant() {
    let _turn = turn();
    let retention = format!("{RETAINED}MiB");
    let cluster = Cluster::start_with(Service::embedded(), 2, &["--retention-bytes", &retention]);
    let file = std::env::temp_dir().join(format!("steadfast-memory-{}", std::process::id()));
    let line = format!("{}\n", "x".repeat(LINE as usize - 1));
    fs::write(&file, line.repeat((PART * MIB / LINE) as usize)).unwrap();
    for _ in 0..PARTS {
        let path = file.to_str().unwrap();
        let discovery = &cluster.discovery.address;
        let published =
            run(&["publish", "much", "--discovery", discovery, "--file", path, "--timeout", "80s"]);
        assert!(published.status.success(), "{}", String::from_utf8_lossy(&published.stderr));
    }
    fs::remove_file(&file).unwrap();
    for broker in &cluster.brokers {
        let peak = peak(broker);
        assert!(peak > RETAINED, "{peak} MiB cannot hold what is retained");
        assert!(peak <= RETAINED + BESIDES, "{} took {peak} MiB", broker.process.name);
    }
}
