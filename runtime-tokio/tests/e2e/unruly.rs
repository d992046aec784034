//! A subscriber that takes all credit there is and never reads from its socket: the broker gives it up,
//! its memory stays bounded, and nobody else notices.

use crate::nodes::{Cluster, Running, Service, steadfast, turn, wait_until};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Duration;
use steadfast_core::filter::Filter;
use steadfast_core::message::{History, Message, OpenStream, Start};
use steadfast_core::subscriber::Bookmark;
use steadfast_core::wire::encode;

/// The most credit that a frame may grant.
const EVERYTHING: u64 = (1 << 62) - 1;
/// Records of a thousand bytes: more than kernel buffers and the broker's queue for a peer (64 MiB) take.
const LINES: u64 = 300_000;
const RETAINED: u64 = 64 << 20;
/// What a broker may take besides what it retains, and the queue of one peer that does not read.
const BESIDES: u64 = (96 + 64) << 20;

/// A connection that has done the handshake of a ZeroMQ DEALER, by hand: nothing reads behind our back.
fn dealer(address: &str) -> TcpStream {
    let mut raw = TcpStream::connect(address).unwrap();
    let mut greeting = vec![0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 0];
    greeting.extend(b"NULL");
    greeting.resize(64, 0);
    raw.write_all(&greeting).unwrap();
    let ready = b"\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER";
    raw.write_all(&[&[4, u8::try_from(ready.len()).unwrap()], &ready[..]].concat()).unwrap();
    raw
}

/// The last frame of a ZeroMQ message.
fn send(raw: &mut TcpStream, message: &Message) {
    let frame = encode(message);
    let [body] = &frame.parts[..] else { panic!("a message of one part") };
    raw.write_all(&[&[0, u8::try_from(body.len()).unwrap()], &body[..]].concat()).unwrap();
}

/// The history of a group, from the position of its first record.
fn history(discovery: &str) -> History {
    let first =
        ["subscribe", "first", "--json", "--from", "earliest", "--count", "1", "--discovery", discovery];
    let mut subscriber = Running::start("subscriber", steadfast(&first));
    let mut publisher = steadfast(&["publish", "first", "--discovery", discovery]);
    publisher.stdin(Stdio::piped());
    let mut publisher = Running::start("publisher", publisher);
    publisher.stdin().write_all(b"\n").unwrap();
    assert!(publisher.wait().success() && subscriber.wait().success());
    let record: serde_json::Value = serde_json::from_str(&subscriber.out.text()).unwrap();
    let position: Bookmark = record["position"].as_str().unwrap().parse().unwrap();
    position.history()
}

/// Resident memory of a process, in bytes.
fn memory(process: &Running) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

#[test]
fn a_subscriber_that_never_reads_is_given_up_and_disturbs_nobody() {
    let _turn = turn();
    let retained = RETAINED.to_string();
    let cluster = Cluster::start_with(Service::embedded(), 1, &["--retention-bytes", &retained]);
    let (discovery, broker) = (cluster.discovery.address.as_str(), &cluster.brokers[0]);
    let mut stuck = dealer(&broker.address);
    let filters = vec![Filter::new(">").unwrap()];
    let (history, start) = (history(discovery), Start::Earliest);
    send(
        &mut stuck,
        &Message::OpenStream(OpenStream { stream: 1, history, filters, start, credit: EVERYTHING }),
    );
    let count = LINES.to_string();
    let subscribe = ["subscribe", "n", "--from", "earliest", "--count", &count, "--discovery", discovery];
    let mut subscriber = Running::start("subscriber", steadfast(&subscribe));
    // And the one that has read the first record.
    wait_until("both have a stream", || broker.process.err.text().matches("StreamOpened").count() == 3);

    let mut command = steadfast(&["publish", "n", "--discovery", discovery]);
    command.stdin(Stdio::piped());
    let mut publisher = Running::start("publisher", command);
    let mut stdin = publisher.stdin();
    let mut most = 0;
    for number in 0..LINES {
        stdin.write_all(format!("{number:01000}\n").as_bytes()).unwrap();
        if number % 1_000 == 0 {
            most = most.max(memory(&broker.process));
            // Retention overtakes nobody who reads.
            let near = (number * 1_001).saturating_sub(RETAINED / 4) as usize;
            wait_until("what is published is delivered", || subscriber.out.len() >= near);
        }
    }
    drop(stdin);
    assert!(publisher.wait().success(), "{}", publisher.err.text());
    assert!(subscriber.wait().success(), "{}", subscriber.err.text());
    let expected: u64 = LINES * 1_001;
    assert_eq!((subscriber.out.len() as u64, subscriber.err.text().as_str()), (expected, ""));
    assert!(most < RETAINED + BESIDES, "the broker took {} MiB", most >> 20);
    println!("the broker took {} MiB at most", most >> 20);

    // It is cut off: what is left in the kernel's buffers ends.
    stuck.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut rest = Vec::new();
    let ended = stuck.read_to_end(&mut rest);
    assert!(ended.is_ok() || ended.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset));
    assert!((rest.len() as u64) < LINES * 1_000, "it was not sent everything");
}
