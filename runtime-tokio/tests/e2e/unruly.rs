//! A subscriber that takes all credit there is and never reads from its socket, and a publisher that sends
//! whatever it is told: the broker gives them up, its memory stays bounded, and nobody else notices.

use crate::nodes::{Cluster, Running, Service, steadfast, turn, wait_until};
use crate::worker::{Worker, check};
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Duration;
use steadfast_core::filter::{Filter, Topic};
use steadfast_core::id::{Nonce, PublisherId};
use steadfast_core::link::Frame;
use steadfast_core::message::{History, Message, OpenSession, OpenStream, Publish, Start};
use steadfast_core::subscriber::Bookmark;
use steadfast_core::wire::{decode, encode, records::RecordsBuilder};

/// The most credit that a frame may grant.
const EVERYTHING: u64 = (1 << 62) - 1;
/// Records of a thousand bytes: more than kernel buffers and the broker's queue for a peer (64 MiB) take.
const LINES: u64 = 300_000;
const RETAINED: u64 = 64 << 20;
/// What a broker may take besides what it retains, and the queue of one peer that does not read.
const BESIDES: u64 = (96 + 64) << 20;

const FLOODER: PublisherId = PublisherId(66);
/// Batches of ten kilobytes, each sent twice.
const FLOOD: u64 = 30_000;

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

/// Writes a message in the frames of ZMTP.
fn send(raw: &mut TcpStream, message: &Message) -> io::Result<()> {
    const MORE: u8 = 1;
    const LONG: u8 = 2;
    let parts = encode(message).parts;
    let mut bytes = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        bytes.push(LONG | if index + 1 < parts.len() { MORE } else { 0 });
        bytes.extend((part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part);
    }
    raw.write_all(&bytes)
}

/// The first message of one frame that comes after the handshake.
fn receive(raw: &mut TcpStream) -> Message {
    let mut take = |count: usize| {
        let mut bytes = vec![0; count];
        raw.read_exact(&mut bytes).unwrap();
        bytes
    };
    take(64);
    loop {
        let [flags, len] = take(2)[..] else { unreachable!() };
        let body = take(usize::from(len));
        // A command of ZMTP is none of ours.
        if flags == 0 {
            return decode(Frame { parts: vec![body.into()] }).unwrap();
        }
    }
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
    let open = OpenStream { stream: 1, history, filters, start, credit: EVERYTHING };
    send(&mut stuck, &Message::OpenStream(open)).unwrap();
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
    assert!(ended.is_ok() || ended.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionReset));
    assert!((rest.len() as u64) < LINES * 1_000, "it was not sent everything");
}

/// Sends batches and listens to nothing, until it is cut off. Returns how many were sent.
fn flood(raw: &mut TcpStream, history: History) -> u64 {
    let session = OpenSession { history, publisher: FLOODER, nonce: Nonce(1), incarnation: 0 };
    send(raw, &Message::OpenSession(session)).unwrap();
    let Message::SessionOpened(opened) = receive(raw) else { panic!("a session is opened") };
    for sequence in 1..=FLOOD {
        let mut records = RecordsBuilder::default();
        records.push(&[7; 10_000]);
        let topic = Topic::new("flood").unwrap();
        let batches = vec![records.seal(topic, FLOODER, opened.incarnation, sequence)];
        let publish = Message::Publish(Publish { history, batches });
        // The second time it is there already.
        if send(raw, &publish).and_then(|()| send(raw, &publish)).is_err() {
            return sequence;
        }
    }
    FLOOD
}

#[test]
fn a_publisher_that_floods_and_hears_nothing_disturbs_nobody() {
    let _turn = turn();
    let retained = RETAINED.to_string();
    let mut cluster = Cluster::start_with(Service::embedded(), 1, &["--retention-bytes", &retained]);
    let discovery = cluster.discovery.address.clone();
    let history = history(&discovery);
    let subscribe = ["worker", "subscriber", "--filter", "load.>"];
    let subscriber = Worker::start("subscriber", &subscribe, &discovery);
    let publish = ["worker", "publisher", "--topic", "load.all", "--size", "100", "--rate", "2000"];
    let mut publisher = Worker::start("publisher", &publish, &discovery);
    publisher.wait_for(1_000);

    let mut raw = dealer(&cluster.brokers[0].address);
    let flooding = std::thread::spawn(move || flood(&mut raw, history));
    let mut most = 0;
    while !flooding.is_finished() {
        most = most.max(memory(&cluster.brokers[0].process));
        std::thread::sleep(Duration::from_millis(20));
    }
    let sent = flooding.join().unwrap();
    publisher.wait_for(1_000);
    check(publisher, vec![subscriber]);
    println!("{sent} batches twice; the broker took {} MiB at most", most >> 20);
    assert!(sent > 5_000, "{sent} batches are no flood");
    assert!(most < RETAINED + BESIDES, "the broker took {} MiB", most >> 20);
    assert!(cluster.brokers[0].process.is_running());
}
