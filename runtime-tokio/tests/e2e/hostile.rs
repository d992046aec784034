//! Frames that are not ours, truncated, of another version or out of place, and bytes that are no
//! ZeroMQ at all, while a file is published: nothing is disturbed.

use crate::nodes::{Cluster, Running, Service, run, steadfast, turn};
use bytes::Bytes;
use std::collections::VecDeque;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;
use steadfast_core::filter::{Filter, Topic};
use steadfast_core::id::PublisherId;
use steadfast_core::link::Frame;
use steadfast_core::message::{History, Lookup, Message, OpenStream, Publish};
use steadfast_core::message::{Position, Start};
use steadfast_core::wire::{encode, records::RecordsBuilder};
use zeromq::{DealerSocket, Socket, SocketRecv, SocketSend, ZmqMessage};

/// Valid messages, each of which some node would take.
fn valid() -> Vec<Frame> {
    let mut records = RecordsBuilder::default();
    records.push(b"forged");
    let batch = records.seal(Topic::new("words.american").unwrap(), PublisherId(1), 1, 1);
    let history = History::default();
    let start = Start::At(Position { lineage: 1, epoch: 1, offset: 1 << 40 });
    let filters = vec![Filter::new(">").unwrap()];
    let messages = [
        Message::Lookup(Lookup { group: 0, watch: true, fresh: true }),
        Message::Lookup(Lookup { group: 99, watch: false, fresh: false }),
        Message::Publish(Publish { history, batches: vec![batch] }),
        Message::OpenStream(OpenStream { stream: 1, history, filters, start, credit: 1 }),
        Message::Credit { stream: 7, limit: 1 },
        Message::CloseStream { stream: 7 },
        Message::CoordinationClose,
        Message::Pong { token: 1 },
    ];
    messages.iter().map(encode).collect()
}

/// Each message as it is, cut at every byte, of another version, with a part too many or too few,
/// and with every byte changed; and what was never a message.
fn hostile() -> Vec<Vec<Bytes>> {
    let mut frames = vec![vec![Bytes::new()], vec![Bytes::from_static(&[0xff; 400])]];
    frames.push(vec![Bytes::from_static(b"GET / HTTP/1.1\r\n\r\n"); 40]);
    frames.push(vec![Bytes::from(vec![0x08; 1 << 20])]);
    for Frame { parts } in valid() {
        let envelope = parts[0].clone();
        let with = |first: Vec<u8>| -> Vec<Bytes> {
            std::iter::once(first.into()).chain(parts[1..].iter().cloned()).collect()
        };
        frames.extend((0..envelope.len()).map(|end| with(envelope[..end].to_vec())));
        for index in 0..envelope.len() {
            let mut changed = envelope.to_vec();
            changed[index] ^= 0x55;
            frames.push(with(changed));
        }
        let mut version = envelope.to_vec();
        assert_eq!(version[..2], [0x08, 1], "the version comes first");
        version[1] = 2;
        frames.push(with(version));
        frames.push([&parts[..], &[Bytes::from_static(b"one more")]].concat());
        frames.push(vec![envelope]);
        frames.push(parts);
    }
    frames
}

async fn attack(address: &str) {
    let mut socket = DealerSocket::new();
    socket.connect(&format!("tcp://{address}")).await.unwrap();
    for parts in hostile() {
        let message = ZmqMessage::try_from(VecDeque::from(parts)).unwrap();
        socket.send(message).await.unwrap();
    }
    // The node still answers on the same link.
    let Frame { parts } = encode(&Message::Ping { token: 4_242 });
    socket.send(ZmqMessage::try_from(VecDeque::from(parts)).unwrap()).await.unwrap();
    let pong = encode(&Message::Pong { token: 4_242 }).parts[0].clone();
    let answered = async { while socket.recv().await.unwrap().get(0) != Some(&pong) {} };
    tokio::time::timeout(Duration::from_secs(30), answered).await.expect("the node answers");
}

/// Bytes that are no ZeroMQ, and connections that say nothing.
fn knock(address: &str) -> Vec<TcpStream> {
    let texts: [&[u8]; 4] =
        [b"", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", &[0xff], b"\xff\0\0\0\0\0\0\0\x01\x7f\x03"];
    let connect = |text: &&[u8]| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(text).unwrap();
        stream
    };
    let mut streams: Vec<_> = texts.iter().map(connect).collect();
    let mut broken = TcpStream::connect(address).unwrap();
    broken.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let _ = broken.read(&mut [0; 10]);
    streams.push(broken);
    streams
}

#[test]
fn hostile_frames_disturb_nothing() {
    let _turn = turn();
    let file = fs::read("/usr/share/dict/words").expect("apt-get install wamerican");
    let count = file.iter().filter(|&&byte| byte == b'\n').count().to_string();
    let mut cluster = Cluster::start(Service::embedded(), 2);
    let discovery = cluster.discovery.address.clone();
    let addresses: Vec<_> =
        cluster.brokers.iter().chain([&cluster.discovery]).map(|node| node.address.clone()).collect();
    let mut command = steadfast(&["publish", "words.american", "--discovery", &discovery]);
    command.stdin(std::process::Stdio::piped());
    let mut publisher = Running::start("publisher", command);
    let mut stdin = publisher.stdin();
    let (first, second) = file.split_at(file.len() / 2);
    stdin.write_all(first).unwrap();
    let second = second.to_vec();
    let writer = std::thread::spawn(move || {
        for part in second.chunks(4_096) {
            stdin.write_all(part).unwrap();
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    let open: Vec<_> = addresses.iter().flat_map(|address| knock(address)).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for address in &addresses {
            attack(address).await;
        }
    });
    writer.join().unwrap();
    assert!(publisher.wait().success(), "{}", publisher.err.text());
    drop(open);
    let subscribed =
        run(&["subscribe", ">", "--discovery", &discovery, "--from", "earliest", "--count", &count]);
    assert!(subscribed.status.success());
    assert!(subscribed.stdout == file, "what was published during the attack is not the file");
    assert_eq!(cluster.reigns(), 1, "nobody lost the lead");
    assert!(cluster.brokers.iter_mut().all(|node| node.process.is_running()));
    assert!(cluster.discovery.process.is_running());
}
