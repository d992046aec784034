//! A subscriber that retention has overtaken (R36): it is told once what is missing, goes on with what is
//! kept, and its exit status says that something was missing.

use crate::nodes::{Cluster, Running, Service, run, steadfast, turn, wait_until};
use serde_json::Value;
use std::io::Write as _;
use std::process::Stdio;

const KEPT: &str = "2000";
const LINES: u64 = 20_000;

/// Publishes these numbers, a line each, of a thousand bytes.
fn publish(discovery: &str, numbers: std::ops::Range<u64>) {
    let mut command = steadfast(&["publish", "n", "--discovery", discovery]);
    command.stdin(Stdio::piped());
    let mut publisher = Running::start("publisher", command);
    let lines: String = numbers.map(|number| format!("{number:01000}\n")).collect();
    publisher.stdin().write_all(lines.as_bytes()).unwrap();
    assert!(publisher.wait().success(), "{}", publisher.err.text());
}

fn numbers(lines: &[u8]) -> Vec<u64> {
    String::from_utf8_lossy(lines).lines().map(|line| line.parse().unwrap()).collect()
}

/// It ended with the documented status, said once what is missing, and once why it ends so.
fn told_once(status: Option<i32>, error: &str) {
    assert_eq!(status, Some(1), "{error}");
    let lines: Vec<_> = error.lines().collect();
    let [missing, last] = lines[..] else { panic!("{error}") };
    assert!(missing.starts_with("missing: records "), "{missing}");
    assert!(missing.contains("are lost: they were no longer kept"), "{missing}");
    assert!(last.starts_with("error: records are missing: 1 gap was reported; "), "{last}");
    assert!(last.contains("--retention-bytes"), "{last}");
}

/// At its opening: the position is from long ago.
#[test]
fn a_position_that_is_no_longer_kept_is_told_once() {
    let _turn = turn();
    let cluster = Cluster::start_with(Service::embedded(), 1, &["--retention-records", KEPT]);
    let discovery = cluster.discovery.address.as_str();
    publish(discovery, 0..1);
    let first =
        run(&["subscribe", "n", "--json", "--from", "earliest", "--count", "1", "--discovery", discovery]);
    let first: Value = serde_json::from_slice(&first.stdout).unwrap();
    let position = first["position"].as_str().unwrap();
    publish(discovery, 1..LINES);

    let subscribe = ["subscribe", "n", "--from", position, "--until-head", "--discovery", discovery];
    let output = run(&subscribe);
    told_once(output.status.code(), &String::from_utf8_lossy(&output.stderr));
    let received = numbers(&output.stdout);
    let start = received[0];
    assert!(start > 1 && received == (start..LINES).collect::<Vec<_>>(), "what is kept follows, once");

    let output = run(&[&subscribe[..], &["--json"]].concat());
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.starts_with("error: records are missing") && error.lines().count() == 1, "{error}");
    let text = String::from_utf8(output.stdout).unwrap();
    let objects: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let lost: Vec<_> = objects.iter().filter(|object| !object["lost"].is_null()).collect();
    assert_eq!((lost.len(), objects.len()), (1, received.len() + 1));
    assert_eq!(lost[0], &objects[0], "it is told where the records are missing");
    let (from, to) = (lost[0]["lost"]["from"].as_u64().unwrap(), lost[0]["lost"]["to"].as_u64().unwrap());
    assert!(from < to && to >= start, "{}", lost[0]);
    assert!(lost[0]["lost"]["reason"].as_str().unwrap().contains("no longer kept"), "{}", lost[0]);
}

/// Later: the process did not run while the log went on.
#[test]
fn a_subscriber_that_slept_too_long_is_told_once() {
    let _turn = turn();
    let cluster = Cluster::start_with(Service::embedded(), 1, &["--retention-records", KEPT]);
    let discovery = cluster.discovery.address.as_str();
    let subscribe = ["subscribe", "n", "--from", "earliest", "--discovery", discovery];
    let mut subscriber = Running::start("subscriber", steadfast(&subscribe));
    publish(discovery, 0..1);
    wait_until("the first record is delivered", || subscriber.out.len() > 1_000);
    subscriber.signal("STOP");
    publish(discovery, 1..LINES);
    subscriber.signal("CONT");
    let arrives = |number: u64| {
        let line = format!("{number:01000}\n");
        wait_until("it goes on", || subscriber.out.bytes().ends_with(line.as_bytes()));
    };
    arrives(LINES - 1);
    publish(discovery, LINES..LINES + 1);
    arrives(LINES);
    subscriber.signal("TERM");
    let status = subscriber.wait().code();
    told_once(status, &subscriber.err.text());
    let received = numbers(&subscriber.out.bytes());
    let gaps: Vec<_> = received.windows(2).filter(|pair| pair[0] + 1 != pair[1]).collect();
    assert!(gaps.len() == 1 && gaps[0][0] < gaps[0][1], "one gap: {gaps:?}");
}
