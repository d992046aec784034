//! Retention on real processes: a backup that was away for longer than the log keeps comes back in sync,
//! and then holds everything that is kept.

use crate::nodes::{Cluster, Running, Service, run, steadfast, turn, wait_until};
use crate::worker::{Worker, check};
use std::fs;
use std::process::Output;

const WORDS: &str = "/usr/share/dict/words";
const KEPT: usize = 20_000;

fn publish(discovery: &str, file: &str) -> Output {
    let published = run(&["publish", "words", "--discovery", discovery, "--file", file, "--timeout", "60s"]);
    assert!(published.status.success(), "{}", String::from_utf8_lossy(&published.stderr));
    published
}

/// R16: a killed backup returns below the log's start, gets a snapshot, and loses nothing when the
/// primary is killed in its turn.
#[test]
fn a_backup_that_returns_below_the_log_start_takes_over_on_zookeeper() {
    let _turn = turn();
    let file = fs::read_to_string(WORDS).unwrap_or_else(|_| panic!("{WORDS} is missing"));
    let words: Vec<&str> = file.lines().collect();
    assert!(words.len() > 4 * KEPT, "{WORDS} has {} lines", words.len());
    let kept = KEPT.to_string();
    let retention = ["--retention-records", kept.as_str()];
    let mut cluster = Cluster::start_with(Service::ensemble(), 2, &retention);
    let discovery = cluster.discovery.address.clone();
    let primary = cluster.primary();
    let backup = 1 - primary;

    cluster.brokers[backup].process.signal("KILL");
    wait_until("the backup is dropped", || cluster.discovery.in_sync() == 1);
    publish(&discovery, WORDS);
    let trimmed = |cluster: &Cluster| cluster.brokers[primary].process.err.text().contains("Trimmed");
    wait_until("the log is trimmed", || trimmed(&cluster));
    cluster.brokers[backup].process.wait();
    cluster.restart_broker(backup, &retention);
    wait_until("the backup is in sync again", || cluster.discovery.in_sync() == 2);
    let said = cluster.brokers[backup].process.err.text();
    assert!(said.contains("Installed { start: "), "it got a snapshot:\n{said}");

    cluster.brokers[primary].process.signal("KILL");
    wait_until("the backup takes over", || cluster.primary() == backup);
    let last = std::env::temp_dir().join(format!("steadfast-retention-{}", std::process::id()));
    fs::write(&last, "that is all\n").unwrap();
    publish(&discovery, last.to_str().unwrap());
    fs::remove_file(&last).unwrap();

    let subscribe = ["subscribe", "words", "--from", "earliest", "--discovery", &discovery];
    let subscriber = Running::start("subscriber", steadfast(&subscribe));
    wait_until("everything kept is delivered", || subscriber.out.text().ends_with("that is all\n"));
    let text = subscriber.out.text();
    let mut received: Vec<&str> = text.lines().collect();
    received.pop();
    // In whole batches of some thousand words.
    assert!((KEPT / 2..KEPT * 2).contains(&received.len()), "{} are kept", received.len());
    assert!(words.ends_with(&received), "what is kept is the end of what was published");
    assert_eq!(subscriber.err.text(), "");
}

/// The number behind the last words of this kind.
fn last_number(text: &str, words: &str) -> Option<u64> {
    let (_, rest) = text.rsplit_once(words)?;
    rest.split(|byte: char| !byte.is_ascii_digit()).next()?.parse().ok()
}

/// Where the log began when the primary last began a snapshot.
fn start_at_snapshot(said: &str) -> Option<u64> {
    let (before, _) = said.rsplit_once("SnapshotBegun {")?;
    let trim = before.rfind("Trimmed {")?;
    last_number(before[trim..].lines().next()?, ", to: ")
}

/// R16, R17: publishers write as fast as they can all the time, and the log is trimmed while the snapshot is
/// on its way. The backup gets in sync under this load; then the primary is killed, and nothing is lost.
#[test]
fn a_backup_that_returns_under_full_load_gets_in_sync_and_takes_over_on_zookeeper() {
    let _turn = turn();
    let retention = ["--retention-bytes", "256MiB"];
    let mut cluster = Cluster::start_with(Service::ensemble(), 2, &retention);
    let discovery = cluster.discovery.address.clone();
    let primary = cluster.primary();
    let backup = 1 - primary;
    let subscribe = ["worker", "subscriber", "--filter", "load.>"];
    let subscriber = Worker::start("subscriber", &subscribe, &discovery);
    let publish = ["worker", "publisher", "--topic", "load.all", "--size", "1000", "--rate", "0"];
    let mut publisher = Worker::start("publisher", &publish, &discovery);

    cluster.brokers[backup].process.signal("KILL");
    cluster.brokers[backup].process.wait();
    wait_until("the backup is dropped", || cluster.discovery.in_sync() == 1);
    let trimmed = |cluster: &Cluster| cluster.brokers[primary].process.err.text().contains("Trimmed");
    wait_until("the log is trimmed", || trimmed(&cluster));
    cluster.restart_broker(backup, &retention);
    wait_until("the backup is in sync under load", || cluster.discovery.in_sync() == 2);
    // The load goes on.
    publisher.wait_for(10_000);

    let before = start_at_snapshot(&cluster.brokers[primary].process.err.text());
    let installed = last_number(&cluster.brokers[backup].process.err.text(), "Installed { start: ");
    let (Some(before), Some(installed)) = (before, installed) else {
        panic!("no snapshot was sent and installed: {before:?}, {installed:?}")
    };
    assert!(installed > before, "the log was trimmed on the way of the snapshot: {installed}, {before}");

    cluster.brokers[primary].process.signal("KILL");
    wait_until("the backup takes over", || cluster.primary() == backup);
    publisher.wait_for(10_000);
    let published = check(publisher, vec![subscriber]);
    println!(
        "{published} records; the log began at {before} when the snapshot began, at {installed} in the end"
    );
}
