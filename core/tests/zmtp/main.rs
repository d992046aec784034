//! Two ends of a ZMTP connection, and what strangers make of one.

mod hostile;

use bytes::{BufMut as _, Bytes};
use proptest::prelude::*;
use steadfast_core::link::Frame;
use steadfast_core::time::{Duration, Instant};
use steadfast_core::zmtp::{Connection, Event, Fault, Limits, SocketType, Spares};

const BEGIN: Instant = Instant::from_nanos(1_000_000_000);

fn end(socket: SocketType) -> Connection {
    Connection::new(BEGIN, socket, Limits::default())
}

/// Everything that is to be written.
fn written(from: &mut Connection) -> Vec<u8> {
    let bytes: Vec<u8> = from.outgoing().flatten().copied().collect();
    from.written(bytes.len());
    bytes
}

/// Bytes arrive, all at once. What they come to.
fn arrive(to: &mut Connection, bytes: &[u8]) -> Result<Vec<Event>, Fault> {
    to.buffer(&mut Spares::default()).extend_from_slice(bytes);
    to.received(BEGIN);
    let mut events = Vec::new();
    while let Some(event) = to.poll_event()? {
        events.push(event);
    }
    Ok(events)
}

/// Both ends, after the handshake.
fn opened() -> (Connection, Connection) {
    let (mut dealer, mut router) = (end(SocketType::Dealer), end(SocketType::Router));
    for expected in [vec![], vec![Event::Open]] {
        let (one, other) = (written(&mut dealer), written(&mut router));
        assert_eq!(arrive(&mut dealer, &other).as_ref(), Ok(&expected));
        assert_eq!(arrive(&mut router, &one), Ok(expected));
    }
    (dealer, router)
}

fn frame(parts: &[&[u8]]) -> Frame {
    Frame { parts: parts.iter().map(|part| Bytes::copy_from_slice(part)).collect() }
}

/// A frame as it stands on the wire.
fn raw(flags: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![flags | 2];
    bytes.extend((body.len() as u64).to_be_bytes());
    bytes.extend_from_slice(body);
    bytes
}

fn message() -> impl Strategy<Value = Frame> {
    let part = prop_oneof![Just(0), 1_usize..300, 1_000_usize..1_100, 60_000_usize..70_000];
    prop::collection::vec(part, 1..5).prop_map(|parts| Frame {
        parts: parts.into_iter().map(|len| Bytes::from(vec![len as u8; len])).collect(),
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    /// However the bytes are cut, the messages are the same.
    #[test]
    fn messages_arrive_whole_and_in_order(
        messages in prop::collection::vec(message(), 0..8),
        cuts in prop::collection::vec(1_usize..100_000, 1..20),
    ) {
        let (mut dealer, mut router) = opened();
        for message in &messages {
            prop_assert!(dealer.send(message.clone()));
        }
        let bytes = written(&mut dealer);
        prop_assert!(dealer.is_flushed());
        let (mut rest, mut cuts, mut came) = (&bytes[..], cuts.iter().cycle(), Vec::new());
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(*cuts.next().expect("a cycle")));
            came.extend(arrive(&mut router, now).expect("nothing wrong"));
            rest = later;
        }
        prop_assert_eq!(came, messages.into_iter().map(Event::Message).collect::<Vec<_>>());
    }
}

#[test]
fn nothing_is_sent_before_the_handshake_is_done() {
    let mut dealer = end(SocketType::Dealer);
    assert!(!dealer.is_open() && !dealer.send(frame(&[b"early"])));
}

#[test]
fn a_full_queue_takes_no_more() {
    let limits = Limits { queued_bytes: 5_000, ..Limits::default() };
    let mut dealer = Connection::new(BEGIN, SocketType::Dealer, limits);
    let (_, mut router) = opened();
    arrive(&mut dealer, &written(&mut end(SocketType::Router))).expect("a greeting");
    arrive(&mut dealer, b"\x04\x1c\x05READY\x0bSocket-Type\0\0\0\x06ROUTER").expect("READY");
    let _ = written(&mut dealer);
    let body = frame(&[&[1; 2_000]]);
    assert!(dealer.send(body.clone()) && dealer.send(body.clone()));
    assert!(!dealer.send(body.clone()));
    let bytes = written(&mut dealer);
    assert_eq!(arrive(&mut router, &bytes), Ok(vec![Event::Message(body.clone()), Event::Message(body)]));
}

#[test]
fn a_ping_is_answered_once_with_its_context_also_within_a_message() {
    let (mut dealer, _) = opened();
    let mut bytes = raw(1, b"one");
    bytes.extend(raw(4, b"\x04PING\0\x0aold"));
    bytes.extend(raw(4, b"\x04PING\0\x0anew"));
    bytes.extend(raw(0, b"two"));
    assert_eq!(arrive(&mut dealer, &bytes), Ok(vec![Event::Message(frame(&[b"one", b"two"]))]));
    assert!(!dealer.is_flushed());
    assert_eq!(written(&mut dealer), b"\x04\x08\x04PONGnew");
    assert!(dealer.is_flushed());
}

#[test]
fn a_silent_peer_is_asked_and_then_given_up() {
    let (mut dealer, mut router) = opened();
    let limits = Limits::default();
    let (asked, end) = (BEGIN + limits.ping, BEGIN + limits.silence);
    assert_eq!(dealer.poll_timeout(), Some(asked));
    assert_eq!((dealer.handle_timeout(BEGIN), dealer.is_flushed()), (Ok(()), true));
    assert_eq!(dealer.handle_timeout(asked), Ok(()));
    assert_eq!(dealer.poll_timeout(), Some(end));
    let ping = written(&mut dealer);
    // The peer answers, and later is silent.
    assert_eq!(arrive(&mut router, &ping), Ok(vec![]));
    dealer.buffer(&mut Spares::default()).extend_from_slice(&written(&mut router));
    dealer.received(asked);
    assert_eq!((dealer.poll_event(), dealer.poll_timeout()), (Ok(None), Some(asked + limits.ping)));
    assert_eq!(dealer.handle_timeout(asked + limits.ping), Ok(()));
    assert_eq!(dealer.handle_timeout(end), Ok(()));
    assert_eq!(dealer.handle_timeout(asked + limits.silence), Err(Fault::Silent));
}

#[test]
fn whoever_was_stopped_asks_before_it_judges() {
    let (mut dealer, _) = opened();
    let limits = Limits::default();
    let late = BEGIN + 10 * limits.silence;
    assert_eq!(dealer.handle_timeout(late), Ok(()));
    assert_eq!(dealer.poll_timeout(), Some(late + (limits.silence - limits.ping)));
    assert!(!dealer.is_flushed(), "a PING");
}

#[test]
fn a_peer_of_version_3_0_is_never_asked() {
    let mut greeting = written(&mut end(SocketType::Router));
    greeting[11] = 0;
    let mut dealer = end(SocketType::Dealer);
    arrive(&mut dealer, &greeting).expect("a greeting");
    arrive(&mut dealer, b"\x04\x1c\x05READY\x0bSocket-Type\0\0\0\x06ROUTER").expect("READY");
    let _ = written(&mut dealer);
    let limits = Limits::default();
    assert_eq!(dealer.handle_timeout(BEGIN + limits.ping), Ok(()));
    assert_eq!((dealer.poll_timeout(), dealer.is_flushed()), (None, true));
    assert_eq!(dealer.handle_timeout(BEGIN + 10 * limits.silence), Ok(()));
}

#[test]
fn a_peer_that_has_said_how_long_it_may_be_silent_is_held_to_it() {
    let (mut dealer, _) = opened();
    assert_eq!(arrive(&mut dealer, &raw(4, b"\x04PING\0\x0a")), Ok(vec![]));
    let end = BEGIN + Duration::from_secs(1);
    assert_eq!(dealer.poll_timeout(), Some(end));
    assert_eq!(dealer.handle_timeout(end), Err(Fault::Silent));
}

#[test]
fn an_unfinished_handshake_ends_in_time() {
    let limit = Limits::default().handshake;
    let mut router = end(SocketType::Router);
    arrive(&mut router, &written(&mut end(SocketType::Dealer))[..30]).expect("half a greeting");
    assert_eq!(router.poll_timeout(), Some(BEGIN + limit));
    assert_eq!(router.handle_timeout(BEGIN), Ok(()));
    assert_eq!(router.handle_timeout(BEGIN + limit), Err(Fault::HandshakeTimeout));
}

#[test]
fn connections_share_a_buffer_and_keep_what_is_half() {
    let (mut dealer, mut first) = opened();
    let (_, mut second) = opened();
    assert!(dealer.send(frame(&[b"head", &[9; 3_000]])));
    let bytes = written(&mut dealer);
    let mut spares = Spares::default();
    let mut came = [Vec::new(), Vec::new()];
    for (place, byte) in bytes.iter().enumerate() {
        for (router, came) in [&mut first, &mut second].into_iter().zip(&mut came) {
            router.buffer(&mut spares).put_u8(*byte);
            router.received(BEGIN);
            came.extend(router.poll_event().expect("nothing wrong"));
            router.give_back(&mut spares);
        }
        assert_eq!(came[0].len(), usize::from(place + 1 == bytes.len()));
    }
    assert_eq!(came[0], came[1]);
}

#[test]
fn a_body_is_a_slice_of_what_was_read() {
    let (mut dealer, mut router) = opened();
    assert!(dealer.send(frame(&[b"head", &[9; 50_000]])));
    let bytes = written(&mut dealer);
    router.buffer(&mut Spares::default()).extend_from_slice(&bytes);
    let body = router.buffer(&mut Spares::default())[bytes.len() - 50_000..].as_ptr();
    router.received(BEGIN);
    let Ok(Some(Event::Message(frame))) = router.poll_event() else { panic!("a message") };
    assert_eq!(frame.parts[1].as_ptr(), body);
}
