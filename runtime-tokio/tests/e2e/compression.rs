//! Publishers that compress in one way or another, side by side, through the death and the return of a
//! primary: what comes out is what went in, and what lies in the brokers is smaller.

use crate::command_line::fails;
use crate::files::words;
use crate::nodes::{Cluster, Running, Service, run, steadfast, turn, wait_until};
use std::io::Write as _;
use std::process::Stdio;
use std::thread;

const CODECS: [&str; 3] = ["none", "lz4", "zstd"];
const ALLOWED: [&str; 2] = ["--compression", "lz4,zstd"];

fn topic(codec: &str) -> String {
    format!("words.{codec}")
}

fn subscribe<'a>(topic: &'a str, discovery: &'a str, count: &'a str) -> [&'a str; 8] {
    ["subscribe", topic, "--discovery", discovery, "--from", "earliest", "--count", count]
}

/// Bytes of the primary's log.
fn log_bytes(cluster: &Cluster) -> u64 {
    let output = run(&["status", "--discovery", &cluster.discovery.address, "--json"]);
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let brokers = status["groups"][0]["brokers"].as_array().unwrap();
    brokers.iter().filter_map(|broker| broker["log_bytes"].as_u64()).max().unwrap()
}

#[test]
fn compressed_and_plain_records_survive_the_death_and_return_of_a_primary() {
    let _turn = turn();
    let (file, lines) = words();
    let count = lines.to_string();
    let mut cluster = Cluster::start_with(Service::embedded(), 2, &ALLOWED);
    let discovery = cluster.discovery.address.clone();
    let topics = CODECS.map(topic);
    let mut subscribers: Vec<_> = topics
        .iter()
        .map(|topic| Running::start("subscriber", steadfast(&subscribe(topic, &discovery, &count))))
        .collect();
    let mut publishers: Vec<_> = CODECS
        .iter()
        .zip(&topics)
        .map(|(codec, topic)| {
            let args =
                ["publish", topic, "--discovery", &discovery, "--timeout", "60s", "--compression", codec];
            let mut command = steadfast(&args);
            command.stdin(Stdio::piped());
            Running::start("publisher", command)
        })
        .collect();
    let (first, second) = file.split_at(file.len() / 2);
    let mut inputs: Vec<_> = publishers.iter_mut().map(Running::stdin).collect();
    inputs.iter_mut().for_each(|input| input.write_all(first).unwrap());
    wait_until("a part is delivered", || subscribers.iter().all(|subscriber| subscriber.out.len() > 10_000));
    let victim = cluster.primary();
    cluster.brokers[victim].process.signal("KILL");
    cluster.brokers[victim].process.wait();
    let second = second.to_vec();
    let writer = thread::spawn(move || inputs.iter_mut().for_each(|input| input.write_all(&second).unwrap()));
    cluster.restart_broker(victim, &ALLOWED);
    writer.join().unwrap();
    for publisher in &mut publishers {
        assert!(publisher.wait().success(), "{}", publisher.err.text());
    }
    for (subscriber, topic) in subscribers.iter_mut().zip(&topics) {
        assert!(subscriber.wait().success(), "{topic}: {}", subscriber.err.text());
        assert!(subscriber.out.bytes() == file, "what comes from {topic} is not the file");
        let late = run(&subscribe(topic, &discovery, &count));
        assert!(late.status.success() && late.stdout == file, "what a late subscriber of {topic} gets");
    }
}

#[test]
fn what_is_compressed_takes_less_room_where_it_is_allowed() {
    let _turn = turn();
    let path = std::env::temp_dir().join(format!("steadfast-e2e-compression-{}", std::process::id()));
    let line =
        |n: u32| format!("{{\"sensor\":\"s-{}\",\"celsius\":{},\"status\":\"ok\"}}\n", n % 100, n % 40);
    let text: String = (0..20_000).map(line).collect();
    std::fs::write(&path, &text).unwrap();
    let file = path.to_str().unwrap();
    for (allowed, shrinks) in [("zstd,lz4", true), ("", false)] {
        let cluster = Cluster::start_with(Service::embedded(), 1, &["--compression", allowed]);
        let discovery = cluster.discovery.address.as_str();
        for codec in ["lz4", "zstd"] {
            let before = log_bytes(&cluster);
            let topic = topic(codec);
            let publish =
                ["publish", &topic, "--file", file, "--discovery", discovery, "--compression", codec];
            let output = run(&publish);
            assert!(output.status.success());
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(said.contains("allow the codec on every broker"), !shrinks, "{codec}: {said}");
            let taken = log_bytes(&cluster) - before;
            assert_eq!(taken < text.len() as u64 / 2, shrinks, "{codec}: {taken} of {}", text.len());
            let output = run(&subscribe(&topic, discovery, "20000"));
            assert!(output.status.success() && output.stdout == text.as_bytes(), "{codec}");
        }
    }
    std::fs::remove_file(&path).unwrap();
    fails(&["publish", "a", "--compression", "gzip"], 2, &["gzip", "none, lz4 or zstd"]);
    fails(&["broker", "--name", "one", "--compression", "gzip"], 2, &["gzip", "lz4, zstd or both"]);
}
