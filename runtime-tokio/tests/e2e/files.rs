//! A real text file goes through a cluster whose primary is killed or paused, or whose backup is
//! killed, in the middle: what comes out is the file.

use crate::nodes::{Cluster, Running, Service, run, steadfast, turn, wait_until};
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

/// From Debian's package `wamerican`, which `scripts/test` installs.
const WORDS: &str = "/usr/share/dict/words";
const TOPIC: &str = "words.american";

pub enum Fault {
    KillPrimary,
    PausePrimary,
    KillBackup,
}

/// The file, and how many lines it has.
pub fn words() -> (Vec<u8>, usize) {
    let file = fs::read(WORDS).unwrap_or_else(|_| panic!("{WORDS} is missing: apt-get install wamerican"));
    let lines = file.iter().filter(|&&byte| byte == b'\n').count();
    assert!(lines >= 100_000 && file.ends_with(b"\n"), "{WORDS} has {lines} lines");
    (file, lines)
}

fn survives(service: Service, fault: Fault) {
    let (file, lines) = words();
    let count = lines.to_string();
    let cluster = Cluster::start(service, 2);
    let discovery = cluster.discovery.address.clone();
    let subscribe = ["subscribe", TOPIC, "--discovery", &discovery, "--from", "earliest", "--count", &count];
    let publish = steadfast(&["publish", TOPIC, "--discovery", &discovery, "--timeout", "60s", "--json"]);
    let report = passes(&cluster, publish, steadfast(&subscribe), fault);
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["acknowledged"], lines);
    assert_eq!(report["unacknowledged"], 0);
    let late = run(&subscribe);
    assert!(late.status.success() && late.stdout == file, "what a late subscriber gets is not the file");
}

/// Publishes the file through a pipe. When a part of it was delivered, the fault comes, and the rest
/// of the file goes on at the same time. What the subscriber writes is the file. Returns what the
/// publisher has said.
pub fn passes(cluster: &Cluster, mut publish: Command, subscribe: Command, fault: Fault) -> String {
    let (file, _) = words();
    let primary = cluster.primary();
    assert_eq!(cluster.reigns(), 1);
    let mut subscriber = Running::start("subscriber", subscribe);
    publish.stdin(Stdio::piped());
    let mut publisher = Running::start("publisher", publish);
    let mut stdin = publisher.stdin();
    let (first, second) = file.split_at(file.len() / 2);
    stdin.write_all(first).unwrap();
    wait_until("part of the file is delivered", || subscriber.out.len() > file.len() / 5);
    assert!(subscriber.out.len() < file.len() * 3 / 4, "the fault comes in the middle");

    let second = second.to_vec();
    let writer = thread::spawn(move || {
        for part in second.chunks(4_096) {
            stdin.write_all(part).unwrap();
            thread::sleep(Duration::from_millis(8));
        }
    });
    thread::sleep(Duration::from_millis(100));
    let victim = match fault {
        Fault::KillBackup => 1 - primary,
        Fault::KillPrimary | Fault::PausePrimary => primary,
    };
    match fault {
        Fault::KillPrimary | Fault::KillBackup => {
            // Stopped for a moment, shorter than anybody suspects it: then records are in flight for certain.
            cluster.brokers[victim].process.signal("STOP");
            thread::sleep(Duration::from_millis(60));
            cluster.brokers[victim].process.signal("KILL");
        }
        Fault::PausePrimary => {
            cluster.brokers[victim].process.signal("STOP");
            thread::sleep(Duration::from_secs(10));
            cluster.brokers[victim].process.signal("CONT");
        }
    }
    writer.join().unwrap();

    assert!(publisher.wait().success(), "{}", publisher.err.text());
    assert!(subscriber.wait().success(), "{}", subscriber.err.text());
    assert!(subscriber.out.bytes() == file, "the subscriber's output is not the file");
    let expected_reigns = if matches!(fault, Fault::KillBackup) { 1 } else { 2 };
    assert_eq!(cluster.reigns(), expected_reigns);
    assert_eq!(cluster.primary(), if expected_reigns == 1 { primary } else { 1 - primary });
    publisher.out.text()
}

#[test]
fn the_primary_is_killed_on_the_embedded_service() {
    let _turn = turn();
    survives(Service::embedded(), Fault::KillPrimary);
}

#[test]
fn the_primary_is_paused_on_the_embedded_service() {
    let _turn = turn();
    survives(Service::embedded(), Fault::PausePrimary);
}

#[test]
fn the_backup_is_killed_on_the_embedded_service() {
    let _turn = turn();
    survives(Service::embedded(), Fault::KillBackup);
}

#[test]
fn the_primary_is_killed_on_zookeeper() {
    let _turn = turn();
    survives(Service::ensemble(), Fault::KillPrimary);
}

#[test]
fn the_primary_is_paused_on_zookeeper() {
    let _turn = turn();
    survives(Service::ensemble(), Fault::PausePrimary);
}

#[test]
fn the_backup_is_killed_on_zookeeper() {
    let _turn = turn();
    survives(Service::ensemble(), Fault::KillBackup);
}

#[test]
fn any_bytes_come_back_and_positions_are_taken_up() {
    let _turn = turn();
    let cluster = Cluster::start(Service::embedded(), 1);
    let discovery = cluster.discovery.address.as_str();
    let path = std::env::temp_dir().join(format!("steadfast-e2e-{}", std::process::id()));
    let bytes: &[u8] = b"first\n\n\xff\xfe\x00 not text\r\nlast without a newline";
    fs::write(&path, bytes).unwrap();
    let file = path.to_str().unwrap();
    let published = run(&["publish", "raw.bytes", "--discovery", discovery, "--file", file]);
    fs::remove_file(&path).unwrap();
    assert!(published.status.success(), "{}", String::from_utf8_lossy(&published.stderr));
    assert!(String::from_utf8_lossy(&published.stdout).contains("4 of 4"), "{published:?}");

    let common = ["--discovery", discovery, "--from", "earliest", "--count", "4"];
    let raw = run(&[&["subscribe", "raw.*"][..], &common].concat());
    assert!(raw.status.success());
    assert_eq!(raw.stdout, [bytes, b"\n"].concat());

    let json = run(&[&["subscribe", "raw.>", "--json"][..], &common].concat());
    let records: Vec<serde_json::Value> = String::from_utf8(json.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(records.len(), 4);
    assert_eq!((&records[0]["payload"], &records[1]["payload"]), (&"first".into(), &"".into()));
    assert_eq!(records[2]["payload_base64"], "//4AIG5vdCB0ZXh0DQ==");
    for (index, record) in records.iter().enumerate() {
        assert_eq!((&record["topic"], &record["group"]), (&"raw.bytes".into(), &0.into()));
        assert_eq!(record["sequence"], index + 1);
        assert_eq!(record["publisher"], records[0]["publisher"]);
    }
    let position = records[1]["position"].as_str().unwrap();
    let rest = run(&["subscribe", ">", "--discovery", discovery, "--from", position, "--count", "2"]);
    assert!(rest.status.success());
    assert_eq!(rest.stdout, b"\xff\xfe\x00 not text\r\nlast without a newline\n");

    // R19: whoever starts after the acknowledgement gets everything, and then stops by itself.
    for (filter, expected) in [("raw.*", [bytes, b"\n"].concat()), ("other", Vec::new())] {
        let all = ["subscribe", filter, "--discovery", discovery, "--from", "earliest", "--until-head"];
        let all = run(&all);
        assert!(all.status.success(), "{}", String::from_utf8_lossy(&all.stderr));
        assert_eq!(all.stdout, expected);
    }
}

#[test]
fn a_reader_that_goes_away_ends_the_subscriber_quietly() {
    let _turn = turn();
    let cluster = Cluster::start(Service::embedded(), 1);
    let discovery = cluster.discovery.address.as_str();
    let script = format!(
        "seq 1 200000 | '{0}' publish n --discovery {discovery} >/dev/null && \
         '{0}' subscribe n --from earliest --discovery {discovery} | head -3",
        env!("CARGO_BIN_EXE_steadfast")
    );
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", &script]).stdin(Stdio::null());
    let mut shell = Running::start("shell", shell);
    assert!(shell.wait().success());
    assert_eq!(shell.out.text(), "1\n2\n3\n");
    assert_eq!(shell.err.text(), "");
}
