//! Links over real sockets: what the nodes are promised about them.

mod support;

use bytes::Bytes;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};
use steadfast_core::limits::MAX_FRAME_LEN;
use steadfast_core::link::{Frame, LinkCommand, LinkStatus};
use steadfast_runtime::address::{host_and_port, parse};
use steadfast_tokio::transport::{MAX_DIALLED, Transport};
use support::end::{End, PATIENCE, frame};
use tokio::time::{sleep, timeout};

#[tokio::test]
async fn frames_keep_their_order_and_their_parts_both_ways() {
    let (mut server, mut client) = (End::listening().await, End::dialling());
    let link = client.connect(1, &server.address()).await;
    for n in 0..1_000_u32 {
        client.transport.transmit(link, frame(&[&n.to_be_bytes(), b"", &[7; 300]]));
    }
    let mut accepted = None;
    for n in 0..1_000_u32 {
        let (from, got) = server.received().await;
        assert!(from.is_accepted());
        assert_eq!(*accepted.get_or_insert(from), from, "one connection is one link");
        assert_eq!(got, frame(&[&n.to_be_bytes(), b"", &[7; 300]]));
        server.transport.transmit(from, got);
    }
    for n in 0..1_000_u32 {
        let (from, got) = client.received().await;
        assert_eq!((from, &got.parts[0][..]), (link, &n.to_be_bytes()[..]));
    }
}

#[tokio::test]
async fn a_port_without_a_listener_refuses() {
    let address = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        parse(&listener.local_addr().unwrap().to_string()).unwrap()
    };
    let mut client = End::dialling();
    let link = client.dial(1, &address);
    assert_eq!(client.status().await, (link, LinkStatus::Refused));
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_lost_not_refused() {
    let mut client = End::dialling();
    let link = client.dial(1, &parse("no-such-host.invalid:1").unwrap());
    assert_eq!(client.status().await, (link, LinkStatus::Lost));
}

#[tokio::test]
async fn a_server_that_says_nothing_is_lost_after_the_dial_timeout() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = parse(&silent.local_addr().unwrap().to_string()).unwrap();
    let mut client = End::dialling();
    client.transport = Transport::dial_only().with_dial_timeout(Duration::from_millis(200));
    let start = Instant::now();
    let link = client.dial(1, &address);
    assert_eq!(client.status().await, (link, LinkStatus::Lost));
    assert!(start.elapsed() >= Duration::from_millis(200));
}

#[tokio::test]
async fn a_lost_peer_is_noticed_by_both_sides_and_dialled_anew() {
    let (mut server, mut client) = (End::listening().await, End::dialling());
    let first = client.connect(1, &server.address()).await;
    client.transport.transmit(first, frame(&[b"one"]));
    let (accepted, _) = server.received().await;

    client.transport.command(LinkCommand::Close { link: first });
    assert_eq!(server.status().await, (accepted, LinkStatus::Lost));

    let second = client.connect(2, &server.address()).await;
    client.transport.transmit(second, frame(&[b"two"]));
    let (again, _) = server.received().await;
    assert_ne!(again, accepted, "a number is never used again");

    drop(server);
    assert_eq!(client.status().await, (second, LinkStatus::Lost));
}

#[tokio::test]
async fn closing_an_accepted_link_disconnects_its_peer() {
    let (mut server, mut client) = (End::listening().await, End::dialling());
    let link = client.connect(1, &server.address()).await;
    client.transport.transmit(link, frame(&[b"hello"]));
    let (accepted, _) = server.received().await;
    server.transport.transmit(accepted, frame(&[b"last words"]));
    server.transport.command(LinkCommand::Close { link: accepted });
    server.poll().await;
    assert_eq!(client.received().await, (link, frame(&[b"last words"])));
    assert_eq!(client.status().await, (link, LinkStatus::Lost));
}

#[tokio::test]
async fn a_peer_that_never_reads_is_given_up_and_holds_nobody_up() {
    let (mut server, mut healthy) = (End::listening().await, End::dialling());
    let mut stuck = handshake(&server);
    write_frame(&mut stuck, b"I never read");
    let (stuck_link, _) = server.received().await;
    let link = healthy.connect(1, &server.address()).await;
    healthy.transport.transmit(link, frame(&[b"hello"]));
    let (healthy_link, _) = server.received().await;

    let big = Frame { parts: vec![Bytes::from(vec![1; MAX_FRAME_LEN / 8])] };
    for n in 0_u32.. {
        server.transport.transmit(stuck_link, big.clone());
        server.transport.transmit(healthy_link, frame(&[&n.to_be_bytes()]));
        // Polling takes the status, if there is one.
        let got = timeout(PATIENCE, healthy.received()).await.unwrap();
        assert_eq!(got, (link, frame(&[&n.to_be_bytes()])));
        server.poll().await;
        if server.is_waiting() {
            assert_eq!(server.status().await, (stuck_link, LinkStatus::Lost));
            break;
        }
        assert!(n < 1_000, "the stuck link should have been given up");
    }
    server.transport.transmit(healthy_link, frame(&[b"still here"]));
    assert_eq!(healthy.received().await, (link, frame(&[b"still here"])));
}

#[tokio::test]
async fn garbage_from_a_connection_disturbs_no_other() {
    let (mut server, mut client) = (End::listening().await, End::dialling());
    let mut hostile = TcpStream::connect(host_and_port(&server.address()).unwrap()).unwrap();
    hostile
        .write_all(b"GET / HTTP/1.1\r\n\r\n and then some bytes to fill a greeting of ZMTP ......")
        .unwrap();
    let link = client.connect(1, &server.address()).await;
    client.transport.transmit(link, frame(&[b"hello"]));
    assert_eq!(server.received().await.1, frame(&[b"hello"]));
}

#[tokio::test]
async fn a_port_in_use_names_cause_and_remedy() {
    let server = End::listening().await;
    let error = Transport::listen(&server.address()).await.err().unwrap().to_string();
    assert!(error.starts_with("cannot listen on tcp://127.0.0.1:"), "{error}");
    assert!(error.contains("stop the process that uses the port"), "{error}");
    let error = Transport::listen(&parse("192.0.2.1:0").unwrap()).await.err().unwrap().to_string();
    assert!(error.contains("choose an address of this machine"), "{error}");
}

#[tokio::test]
async fn a_dial_too_many_is_lost_at_once() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = parse(&silent.local_addr().unwrap().to_string()).unwrap();
    let mut client = End::dialling();
    for n in 0..MAX_DIALLED as u64 {
        client.dial(n, &address);
    }
    let link = client.dial(1_000, &address);
    assert_eq!(client.status().await, (link, LinkStatus::Lost));
}

#[tokio::test]
async fn a_closed_dial_says_nothing_more() {
    let (mut server, mut client) = (End::listening().await, End::dialling());
    let link = client.dial(1, &server.address());
    client.transport.command(LinkCommand::Close { link });
    let other = client.connect(2, &server.address()).await;
    client.transport.transmit(link, frame(&[b"into the void"]));
    client.transport.transmit(other, frame(&[b"x"]));
    assert_eq!(server.received().await.1, frame(&[b"x"]));
    sleep(Duration::from_millis(20)).await;
    client.poll().await;
    assert!(!client.is_waiting());
}

/// Makes a raw connection and does the ZMTP handshake of a DEALER.
fn handshake(server: &End) -> TcpStream {
    let mut raw = TcpStream::connect(host_and_port(&server.address()).unwrap()).unwrap();
    raw.write_all(&greeting()).unwrap();
    raw.write_all(&ready()).unwrap();
    raw
}

fn greeting() -> Vec<u8> {
    let mut greeting = vec![0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 0];
    greeting.extend(b"NULL");
    greeting.resize(64, 0);
    greeting
}

fn ready() -> Vec<u8> {
    let mut body = b"\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER".to_vec();
    let mut command = vec![0x04, u8::try_from(body.len()).unwrap()];
    command.append(&mut body);
    command
}

fn write_frame(raw: &mut TcpStream, body: &[u8]) {
    raw.write_all(&[0, u8::try_from(body.len()).unwrap()]).unwrap();
    raw.write_all(body).unwrap();
}

/// The one input that is not contained: the crate allocates what a frame header claims. The test
/// shows it in a child process, and fails when the crate has learnt better.
#[test]
#[ignore = "documents a limit of the zeromq crate; aborts a child process"]
fn a_forged_length_aborts_the_process() {
    const VICTIM: &str = "STEADFAST_TEST_VICTIM";
    if std::env::var_os(VICTIM).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut server = End::listening().await;
            println!("\nlistening {}", server.address());
            server.next().await;
        });
        return;
    }
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "a_forged_length_aborts_the_process"])
        .env(VICTIM, "1")
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = child.stdout.take().unwrap();
    let mut said = String::new();
    let address = loop {
        let mut byte = [0];
        output.read_exact(&mut byte).unwrap();
        said.push(char::from(byte[0]));
        if let Some((_, rest)) = said.split_once("listening ")
            && let Some(address) = rest.strip_suffix('\n')
        {
            break parse(address).unwrap();
        }
    };
    let mut raw = TcpStream::connect(host_and_port(&address).unwrap()).unwrap();
    raw.write_all(&greeting()).unwrap();
    raw.write_all(&[0x02]).unwrap();
    raw.write_all(&(1_u64 << 62).to_be_bytes()).unwrap();
    let status = child.wait().unwrap();
    let signal = std::os::unix::process::ExitStatusExt::signal(&status);
    assert_eq!(signal, Some(6), "73 bytes abort the process: {status}");
}
