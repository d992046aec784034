//! Links between two ends that may be of different kinds.

use super::end::{End, PATIENCE, frame, while_polling, within};
use super::{for_all_pairs, for_both};
use crate::{Transport, notices, queues};
use async_io::Timer;
use bytes::Bytes;
use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};
use steadfast_core::limits::{MAX_FRAME_ENTRIES, MAX_FRAME_LEN};
use steadfast_core::link::{Frame, LinkCommand, LinkId, LinkStatus};
use steadfast_core::node::Input;
use steadfast_runtime::address::{host_and_port, parse};
use steadfast_runtime::transport::{Kind, MAX_DIALLED};

/// A client of this server, with a link that both know: as the server calls it, and as the client does.
async fn joins(server: &mut End, kind: Kind) -> (LinkId, End, LinkId) {
    let (address, mut client) = (server.address(), End::dialling(kind));
    let link = while_polling(server, client.connect(1, &address)).await;
    client.transport.transmit(link, frame(&[b"hello"]));
    let (accepted, hello) = both(&mut client, server).await;
    assert_eq!((accepted.is_accepted(), hello), (true, frame(&[b"hello"])));
    (accepted, client, link)
}

/// A server with its first client.
async fn linked(server: Kind, client: Kind) -> (End, LinkId, End, LinkId) {
    let mut server = End::listening(server).await;
    let (accepted, client, link) = joins(&mut server, client).await;
    (server, accepted, client, link)
}

/// What one end gets, while the other one works.
async fn both(other: &mut End, end: &mut End) -> (LinkId, Frame) {
    while_polling(other, end.received()).await
}

/// Waits until the end knows that its link is lost. Some notice it only when they send something.
async fn lost(end: &mut End, kind: Kind, link: LinkId) {
    let begin = Instant::now();
    loop {
        if within(Duration::from_millis(50), end.wait()).await.is_some() {
            assert_eq!(end.status().await, (link, LinkStatus::Lost));
            return;
        }
        assert!(begin.elapsed() < PATIENCE, "{link} is lost");
        if !notices(kind) {
            end.transport.transmit(link, frame(&[b"are you there?"]));
        }
    }
}

#[test]
fn frames_keep_their_order_and_their_parts_both_ways() {
    for_all_pairs(async |server, client| {
        let (mut server, accepted, mut client, link) = linked(server, client).await;
        for n in 0..1_000_u32 {
            client.transport.transmit(link, frame(&[&n.to_be_bytes(), b"", &[7; 300]]));
        }
        for n in 0..1_000_u32 {
            let got = both(&mut client, &mut server).await;
            assert_eq!(got, (accepted, frame(&[&n.to_be_bytes(), b"", &[7; 300]])));
            server.transport.transmit(accepted, got.1);
        }
        for n in 0..1_000_u32 {
            let got = both(&mut server, &mut client).await;
            assert_eq!(got, (link, frame(&[&n.to_be_bytes(), b"", &[7; 300]])));
        }
    });
}

#[test]
fn frames_of_every_size_up_to_the_limits_arrive_whole() {
    let lengths = [0, 1, 255, 256, 1_023, 1_024, 65_535, 65_536, 1 << 20];
    let mut frames: Vec<_> = lengths.iter().map(|len| vec![*len]).collect();
    frames.push(vec![MAX_FRAME_LEN / 8; 8]);
    frames.push(vec![3; 1 + MAX_FRAME_ENTRIES]);
    frames.push(vec![0; 1 + MAX_FRAME_ENTRIES]);
    let body = |len: usize| Bytes::from_iter((0..len).map(|n| (n % 251) as u8));
    let frames: Vec<_> =
        frames.iter().map(|parts| Frame { parts: parts.iter().map(|len| body(*len)).collect() }).collect();
    for_all_pairs(async |server, client| {
        let is_limited = !queues(server) || !queues(client);
        let (mut server, accepted, mut client, link) = linked(server, client).await;
        for sent in frames.iter().filter(|frame| !is_limited || frame.len() < 100_000) {
            client.transport.transmit(link, sent.clone());
            assert!(both(&mut client, &mut server).await == (accepted, sent.clone()));
            server.transport.transmit(accepted, sent.clone());
            assert!(both(&mut server, &mut client).await == (link, sent.clone()));
        }
    });
}

#[test]
fn a_lost_peer_is_noticed_by_both_sides_and_dialled_anew() {
    for_all_pairs(async |server_kind, client_kind| {
        let (mut server, accepted, mut client, first) = linked(server_kind, client_kind).await;
        let address = server.address();
        client.transport.command(LinkCommand::Close { link: first });
        lost(&mut server, server_kind, accepted).await;

        let second = while_polling(&mut server, client.connect(2, &address)).await;
        client.transport.transmit(second, frame(&[b"two"]));
        let (again, _) = both(&mut client, &mut server).await;
        assert_ne!(again, accepted, "a number is never used again");

        drop(server);
        lost(&mut client, client_kind, second).await;
    });
}

#[test]
fn closing_an_accepted_link_disconnects_its_peer_after_the_last_words() {
    for_all_pairs(async |server, client_kind| {
        let (mut server, accepted, mut client, link) = linked(server, client_kind).await;
        server.transport.transmit(accepted, frame(&[b"last words"]));
        server.transport.command(LinkCommand::Close { link: accepted });
        server.poll().await;
        assert_eq!(both(&mut server, &mut client).await, (link, frame(&[b"last words"])));
        lost(&mut client, client_kind, link).await;
    });
}

/// It takes nothing for a while, and then everything.
#[test]
fn a_slow_peer_gets_everything_and_holds_nobody_up() {
    for_all_pairs(async |server, client| {
        if !queues(server) {
            return;
        }
        let (mut server, slow_link, mut slow, at_slow) = linked(server, client).await;
        let (fast_link, mut fast, at_fast) = joins(&mut server, client).await;
        let body = Bytes::from(vec![1; MAX_FRAME_LEN / 128]);
        let frame = |n: u32| Frame { parts: vec![Bytes::copy_from_slice(&n.to_be_bytes()), body.clone()] };
        let frames = 0..512;
        for n in frames.clone() {
            server.transport.transmit(slow_link, frame(n));
            server.transport.transmit(fast_link, frame(n));
            assert_eq!(both(&mut server, &mut fast).await, (at_fast, frame(n)));
        }
        assert!(!server.is_waiting(), "nobody was given up");
        for n in frames {
            assert_eq!(both(&mut server, &mut slow).await, (at_slow, frame(n)));
        }
    });
}

#[test]
fn a_storm_of_reconnects_leaves_nothing_behind() {
    const ROUNDS: u64 = 100;
    for_all_pairs(async |server_kind, client| {
        let (mut server, steady_link, mut steady, at_steady) = linked(server_kind, client).await;
        let address = server.address();
        let (mut begun, mut ended) = (0, 0);
        let mut stormy = End::dialling(client);
        for n in 1..=ROUNDS {
            let link = while_polling(&mut server, stormy.connect(n, &address)).await;
            stormy.transport.transmit(link, frame(&[b"here again"]));
            while begun < n {
                match while_polling(&mut stormy, server.next()).await {
                    Input::Received { link, .. } if link != steady_link => begun += 1,
                    Input::Link { status: LinkStatus::Lost, .. } => ended += 1,
                    other => panic!("{other:?}"),
                }
            }
            stormy.transport.command(LinkCommand::Close { link });
        }
        while notices(server_kind) && ended < ROUNDS {
            assert!(matches!(server.status().await, (_, LinkStatus::Lost)));
            ended += 1;
        }
        steady.transport.transmit(at_steady, frame(&[b"still here"]));
        assert_eq!(both(&mut steady, &mut server).await, (steady_link, frame(&[b"still here"])));
        server.transport.transmit(steady_link, frame(&[b"you too"]));
        assert_eq!(both(&mut server, &mut steady).await, (at_steady, frame(&[b"you too"])));
    });
}

#[test]
fn a_port_without_a_listener_refuses() {
    for_both(async |kind| {
        let address = {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            parse(&listener.local_addr().unwrap().to_string()).unwrap()
        };
        let mut client = End::dialling(kind);
        let link = client.dial(1, &address);
        assert_eq!(client.status().await, (link, LinkStatus::Refused));
    });
}

#[test]
fn a_name_that_does_not_resolve_is_lost_not_refused() {
    for_both(async |kind| {
        let mut client = End::dialling(kind);
        let link = client.dial(1, &parse("no-such-host.invalid:1").unwrap());
        assert_eq!(client.status().await, (link, LinkStatus::Lost));
    });
}

#[test]
fn a_server_that_says_nothing_is_lost_after_the_dial_timeout() {
    for_both(async |kind| {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = parse(&silent.local_addr().unwrap().to_string()).unwrap();
        let limit = Duration::from_millis(200);
        let mut client = End::with(Transport::dialling(kind, limit));
        let start = Instant::now();
        let link = client.dial(1, &address);
        assert_eq!(client.status().await, (link, LinkStatus::Lost));
        assert!(start.elapsed() >= limit);
    });
}

#[test]
fn bytes_that_are_no_zeromq_disturb_nobody() {
    for_all_pairs(async |server, client| {
        let (mut server, accepted, mut client, link) = linked(server, client).await;
        let address = server.address();
        let mut stranger = TcpStream::connect(host_and_port(&address).unwrap()).unwrap();
        let text = b"GET / HTTP/1.1\r\n\r\n and then some bytes to fill a greeting of ZMTP ......";
        stranger.write_all(text).unwrap();
        client.transport.transmit(link, frame(&[b"hello"]));
        assert_eq!(both(&mut client, &mut server).await, (accepted, frame(&[b"hello"])));
    });
}

#[test]
fn a_port_in_use_names_cause_and_remedy() {
    for_both(async |kind| {
        let server = End::listening(kind).await;
        let error = Transport::listen(kind, &server.address()).await.err().unwrap().to_string();
        assert!(error.starts_with("cannot listen on tcp://127.0.0.1:"), "{error}");
        assert!(error.contains("stop the process that uses the port"), "{error}");
        let error = Transport::listen(kind, &parse("192.0.2.1:0").unwrap()).await.err().unwrap().to_string();
        assert!(error.contains("choose an address of this machine"), "{error}");
    });
}

#[test]
fn a_dial_too_many_is_lost_at_once() {
    for_both(async |kind| {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = parse(&silent.local_addr().unwrap().to_string()).unwrap();
        let mut client = End::dialling(kind);
        for n in 0..MAX_DIALLED as u64 {
            client.dial(n, &address);
        }
        let link = client.dial(1_000, &address);
        assert_eq!(client.status().await, (link, LinkStatus::Lost));
    });
}

#[test]
fn a_closed_dial_says_nothing_more() {
    for_all_pairs(async |server, client| {
        let (mut server, mut client) = (End::listening(server).await, End::dialling(client));
        let address = server.address();
        let link = client.dial(1, &address);
        client.transport.command(LinkCommand::Close { link });
        let other = while_polling(&mut server, client.connect(2, &address)).await;
        client.transport.transmit(link, frame(&[b"into the void"]));
        client.transport.transmit(other, frame(&[b"x"]));
        assert_eq!(both(&mut client, &mut server).await.1, frame(&[b"x"]));
        Timer::after(Duration::from_millis(20)).await;
        client.poll().await;
        assert!(!client.is_waiting());
    });
}

#[test]
fn the_last_frames_of_a_node_leave_before_it_ends() {
    for_all_pairs(async |server, client| {
        let (mut server, accepted, mut client, link) = linked(server, client).await;
        for n in 0..100_u32 {
            client.transport.transmit(link, frame(&[&n.to_be_bytes(), &[5; 10_000]]));
        }
        while_polling(&mut server, client.transport.flush(PATIENCE)).await;
        drop(client);
        for n in 0..100_u32 {
            assert_eq!(server.received().await, (accepted, frame(&[&n.to_be_bytes(), &[5; 10_000]])));
        }
    });
}
