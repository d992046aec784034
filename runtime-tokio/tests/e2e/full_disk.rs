//! A full disk, for whatever a process writes: a real file system without room. Nothing that was
//! acknowledged is lost, nobody stalls, and what is said names cause and remedy.

use crate::nodes::{Cluster, Running, Service, run, steadfast, turn, wait_until};
use serde_json::Value;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use steadfast_sim::recording::replay;
use steadfast_tokio::client::{PublishError, Publisher, PublisherOptions};

const TOPIC: &str = "t";

/// A file system of its own, in memory, with so much room. Mounting takes a right that `root` has: a machine
/// where nobody may mount fails these tests, because nothing else shows what a full disk does.
struct Disk(PathBuf);

impl Disk {
    fn new(name: &str, bytes: u64) -> Self {
        let path = std::env::temp_dir().join(format!("steadfast-disk-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        let options = format!("size={bytes},mode=777");
        let mut mount = as_root("mount");
        let output = mount.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&path).output();
        let mounted = output.as_ref().is_ok_and(|output| output.status.success());
        assert!(
            mounted,
            "a tmpfs cannot be mounted: run the tests as root, or let sudo mount without a password ({output:?})"
        );
        Self(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }

    /// Leaves no byte.
    fn fill(&self) {
        let mut filler = fs::File::create(self.filler()).unwrap();
        for size in [64 << 10, 1] {
            let block = vec![0; size];
            while filler.write_all(&block).is_ok() {}
        }
    }

    /// As somebody does who has read what was said.
    fn make_room(&self) {
        fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a process that fails its test may still be there.
        let _ = as_root("umount").arg("-l").arg(&self.0).status();
        let _ = fs::remove_dir(&self.0);
    }
}

fn as_root(program: &str) -> Command {
    if fs::metadata("/proc/self").is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0) {
        return Command::new(program);
    }
    let mut sudo = Command::new("sudo");
    sudo.args(["-n", program]);
    sudo
}

/// Everything in the log, read from the beginning.
fn stored(discovery: &str) -> Vec<u8> {
    let all = run(&["subscribe", TOPIC, "--from", "earliest", "--until-head", "--discovery", discovery]);
    assert!(all.status.success(), "{}", String::from_utf8_lossy(&all.stderr));
    all.stdout
}

const LINE: usize = 1_000;

/// So many lines, each another one.
fn lines(count: usize) -> Vec<u8> {
    (0..count).flat_map(|number| format!("{number:0width$}\n", width = LINE - 1).into_bytes()).collect()
}

/// The publisher stops when its outbox cannot grow: one line says why. What a second run on the full disk
/// cannot do it says as well, and with room the next one sends exactly what is missing.
#[test]
fn a_publisher_whose_outbox_is_on_a_full_disk_stops_and_another_goes_on() {
    let _turn = turn();
    let disk = Disk::new("publish", 8 << 20);
    let input = std::env::temp_dir().join(format!("steadfast-e2e-full-disk-{}", std::process::id()));
    let all = lines(20_000);
    fs::write(&input, &all).unwrap();
    let cluster = Cluster::start(Service::embedded(), 1);
    let discovery = cluster.discovery.address.as_str();
    let outbox = disk.file("outbox");
    let publish = ["publish", TOPIC, "--discovery", discovery, "--outbox", &outbox, "--resume", "--json"];
    let names_it = |error: &str, lines: usize| {
        assert_eq!(error.lines().count(), lines, "{error}");
        let last = error.lines().last().unwrap();
        for part in ["error: ", "the outbox ", &outbox, "No space left on device", "make room on its disk"] {
            assert!(last.contains(part), "{part}: {error}");
        }
    };

    // Not even an empty outbox has room; nothing is left behind that would be taken for a damaged one.
    disk.fill();
    let output = run(&[&publish[..], &["--file", input.to_str().unwrap()]].concat());
    assert_eq!(output.status.code(), Some(1));
    names_it(&String::from_utf8_lossy(&output.stderr), 1);
    assert!(!Path::new(&outbox).exists());
    disk.make_room();

    let mut command = steadfast(&publish);
    command.stdin(Stdio::piped());
    let mut publisher = Running::start("publisher", command);
    let mut stdin = publisher.stdin();
    // Little, so that the outbox is small.
    let (first, rest) = all.split_at(20 * LINE);
    stdin.write_all(first).unwrap();
    wait_until("a part is stored", || stored(discovery).len() == first.len());
    disk.fill();
    // Nothing is acknowledged for a moment, so that the outbox has to grow.
    cluster.brokers[0].process.signal("STOP");
    // A publisher that has stopped reads no more.
    let _ = stdin.write_all(rest);
    drop(stdin);
    wait_until("the publisher has stopped", || !publisher.is_running());
    cluster.brokers[0].process.signal("CONT");
    assert_eq!(publisher.wait().code(), Some(1));
    names_it(&publisher.err.text(), 1);
    let report: Value = serde_json::from_str(&publisher.out.text()).unwrap();
    let acknowledged = report["acknowledged"].as_u64().unwrap();
    assert!(acknowledged > 0 && report["unacknowledged"].as_u64().unwrap() > 0, "{report}");

    let again = [&publish[..], &["--file", input.to_str().unwrap()]].concat();
    let output = run(&again);
    assert_eq!(output.status.code(), Some(1), "there is still no room");
    // What is in the outbox is said before.
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    names_it(&said, said.lines().count().min(2));

    disk.make_room();
    let output = run(&again);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    fs::remove_file(&input).unwrap();
    assert!(stored(discovery) == all, "what is stored is the file, every line once");
}

/// The same in a program: receipts and the reason, and the records of the outbox in their place.
#[test]
fn a_program_is_told_why_its_outbox_has_stopped() {
    let _turn = turn();
    let disk = Disk::new("library", 4 << 20);
    let cluster = Cluster::start(Service::embedded(), 1);
    let discovery = cluster.discovery.address.clone();
    let outbox = disk.file("outbox");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let payload = |number: usize| format!("{number:0999}").into_bytes();
    let options = || PublisherOptions::default().outbox(&outbox);
    let (safe, failed) = runtime.block_on(async {
        let publisher = Publisher::connect(&discovery, options()).await.unwrap();
        let mut safe = 0;
        for _ in 0..100 {
            publisher.publish(TOPIC, payload(safe)).await.unwrap().await.unwrap();
            safe += 1;
        }
        disk.fill();
        cluster.brokers[0].process.signal("STOP");
        let mut receipts = Vec::new();
        while publisher.outbox_error().is_none() {
            match publisher.publish(TOPIC, payload(safe + receipts.len())).await {
                Ok(receipt) => receipts.push(receipt),
                Err(PublishError::Publisher(steadfast_core::publisher::Error::OutboxFailed)) => break,
                Err(other) => panic!("{other}"),
            }
            tokio::task::yield_now().await;
        }
        cluster.brokers[0].process.signal("CONT");
        let mut failed = 0;
        for receipt in receipts {
            match receipt.await {
                Ok(()) if failed == 0 => safe += 1,
                Err(PublishError::Publisher(steadfast_core::publisher::Error::OutboxFailed)) => failed += 1,
                other => panic!("{other:?}"),
            }
        }
        let said = publisher.outbox_error().expect("it is known why").to_string();
        for part in ["cannot write the outbox ", &outbox, "make room on its disk"] {
            assert!(said.contains(part), "{said}");
        }
        let closed = publisher.close(Duration::from_secs(10)).await.unwrap_err().to_string();
        assert!(closed.contains("the outbox cannot be written"), "{closed}");
        (safe, failed)
    });
    assert!(failed > 0);

    disk.make_room();
    runtime.block_on(async {
        let publisher = Publisher::connect(&discovery, options()).await.unwrap();
        publisher.flush().await.unwrap();
        publisher.close(Duration::from_secs(10)).await.unwrap();
    });
    let stored = stored(&discovery);
    let stored: Vec<_> = stored.split_inclusive(|&byte| byte == b'\n').collect();
    assert!((safe..=safe + failed).contains(&stored.len()), "{safe}, {failed}, {}", stored.len());
    for (number, line) in stored.iter().enumerate() {
        assert!(line[..line.len() - 1] == payload(number), "record {number}, once and in its place");
    }
}

fn publish_some(discovery: &str, count: usize) {
    for _ in 0..count {
        let mut command = steadfast(&["publish", TOPIC, "--discovery", discovery, "--timeout", "30s"]);
        command.stdin(Stdio::piped());
        let mut publisher = Running::start("publisher", command);
        publisher.stdin().write_all(&lines(10)).unwrap();
        assert!(publisher.wait().success(), "{}", publisher.err.text());
    }
}

/// Log files on a full disk: the broker goes on, says so once, and writes again when there is room.
#[test]
fn a_broker_whose_log_files_are_on_a_full_disk_goes_on() {
    let _turn = turn();
    let disk = Disk::new("logs", 256 << 10);
    let mut cluster = Cluster::start(Service::embedded(), 1);
    cluster.brokers[0].process.signal("TERM");
    cluster.brokers[0].process.wait();
    let file = disk.file("steadfast.broker.broker-2.log");
    let config = std::env::temp_dir().join(format!("steadfast-e2e-logs-{}.toml", std::process::id()));
    fs::write(&config, format!("[logging]\ndirectory = {:?}\n", disk.0)).unwrap();
    let options = ["broker", "--name", "broker-2", "--config", config.to_str().unwrap()];
    let mut broker = cluster.service.node("broker-2", &options);
    let discovery = cluster.discovery.address.clone();
    publish_some(&discovery, 1);
    let before = fs::read_to_string(&file).unwrap();
    assert!(before.contains("BecamePrimary"), "{before}");
    assert_eq!(broker.process.err.text(), "");

    disk.fill();
    // Each opens a session, which is a line. What the file has of a page is full after some of them.
    let told = |broker: &crate::nodes::Node| broker.process.err.text().contains("cannot write log files");
    for _ in 0..200 {
        publish_some(&discovery, 1);
        if told(&broker) {
            break;
        }
    }
    publish_some(&discovery, 5);
    let said = broker.process.err.text();
    assert_eq!(said.lines().count(), 1, "once: {said}");
    for part in ["cannot write log files in ", disk.0.to_str().unwrap(), "No space left", "make room"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    disk.make_room();
    publish_some(&discovery, 1);
    wait_until("it says that it writes again", || broker.process.err.text().contains("are written again"));
    publish_some(&discovery, 1);
    broker.process.signal("TERM");
    assert!(broker.process.wait().success());
    let after = fs::read_to_string(&file).unwrap();
    assert!(after.starts_with(&before) && after.len() > before.len());
    assert!(after.trim_end().lines().last().unwrap().contains("node=\"broker-2\""), "{after}");
    fs::remove_file(&config).unwrap();
}

/// The broker goes on without its recording, and says so once. What was recorded before is whole.
#[test]
fn a_broker_whose_recording_is_on_a_full_disk_goes_on() {
    let _turn = turn();
    let disk = Disk::new("recording", 8 << 20);
    let mut cluster = Cluster::start(Service::embedded(), 0);
    let recording = disk.file("recording");
    let broker = cluster.service.node("broker-1", &["broker", "--name", "broker-1", "--record", &recording]);
    cluster.brokers.push(broker);
    let discovery = cluster.discovery.address.clone();
    publish_some(&discovery, 3);
    disk.fill();
    let told = |cluster: &Cluster| {
        cluster.brokers[0].process.err.text().matches("cannot write the recording").count()
    };
    wait_until("it is told", || {
        publish_some(&discovery, 5);
        told(&cluster) > 0
    });
    publish_some(&discovery, 5);
    disk.make_room();
    publish_some(&discovery, 5);
    let broker = &mut cluster.brokers[0].process;
    assert!(broker.err.text().contains("goes on without"), "{}", broker.err.text());
    broker.signal("TERM");
    assert!(broker.wait().success());
    assert_eq!(told(&cluster), 1, "once");
    let outcome = replay(&[&fs::read(&recording).unwrap()]).expect("a recording");
    assert_eq!(outcome.result, Ok(()));
    assert!(outcome.first == 1 && outcome.inputs > 10);
}

/// A program of a shell whose output of this kind cannot be written.
fn with_full(stream: &str, args: &[&str]) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("exec \"$0\" \"$@\" {stream}>/dev/full"), env!("CARGO_BIN_EXE_steadfast")]);
    shell.args(args).stdin(Stdio::null());
    shell
}

#[test]
fn standard_error_and_output_that_cannot_be_written_end_nothing_else() {
    let _turn = turn();
    let mut cluster = Cluster::start(Service::embedded(), 1);
    cluster.brokers[0].process.signal("TERM");
    cluster.brokers[0].process.wait();
    let common = cluster.coordination_args();
    let broker = ["broker", "--name", "broker-2", "--log", "debug", &common[0], &common[1]];
    let mut broker = Running::start("broker-2", with_full("2", &broker));
    let discovery = cluster.discovery.address.as_str();
    publish_some(discovery, 3);
    assert!(broker.is_running());

    // The exit status is what it is elsewhere.
    let wrong = ["publish", "a..b", "--discovery", discovery];
    assert_eq!(Running::start("wrong", with_full("2", &wrong)).wait().code(), Some(2));
    let nobody = ["publish", "a", "--discovery", "127.0.0.1:1", "--timeout", "1s"];
    assert_eq!(Running::start("nobody", with_full("2", &nobody)).wait().code(), Some(1));
    let subscribe = ["subscribe", TOPIC, "--from", "earliest", "--until-head", "--discovery", discovery];
    let mut subscriber = Running::start("subscriber", with_full("1", &subscribe));
    assert_eq!(subscriber.wait().code(), Some(1));
    let error = subscriber.err.text();
    assert!(error.starts_with("error: cannot write to standard output: No space left"), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    assert_eq!(stored(discovery).len(), lines(10).len() * 3);
    broker.signal("TERM");
    assert!(broker.wait().success());
}
