//! Strangers: nothing that they send panics, nothing makes this end keep more than its limits say, and
//! what is wrong is named.

use super::*;
use steadfast_core::rng::Rng;

/// Mutated streams that are tried.
const STREAMS: usize = 900_000;

/// What a good peer of either kind sends: handshake, messages short and long, a PING.
fn good_stream() -> Vec<u8> {
    let mut bytes = written(&mut end(SocketType::Dealer));
    bytes.extend(b"\x04\x1c\x05READY\x0bSocket-Type\0\0\0\x06DEALER");
    bytes.extend(raw(1, b"head"));
    bytes.extend(raw(0, &[5; 300]));
    bytes.extend(raw(4, b"\x04PING\0\x64context"));
    bytes.extend([0, 2, b'h', b'i']);
    bytes
}

fn receive(bytes: &[u8]) -> Result<Vec<Event>, Fault> {
    arrive(&mut end(SocketType::Router), bytes)
}

/// What comes after a good handshake.
fn after_handshake(bytes: &[u8]) -> Result<Vec<Event>, Fault> {
    arrive(&mut opened().1, bytes)
}

#[test]
fn a_good_stream_is_good() {
    let messages = [frame(&[b"head", &[5; 300]]), frame(&[b"hi"])].map(Event::Message);
    assert_eq!(receive(&good_stream()), Ok([[Event::Open].as_slice(), &messages].concat()));
}

#[test]
fn every_prefix_is_waited_for() {
    let bytes = good_stream();
    assert!((0..bytes.len()).all(|len| receive(&bytes[..len]).is_ok()));
}

/// Changed, left out, doubled and cut bytes, at one or several places.
fn mutate(rng: &mut Rng, bytes: &mut Vec<u8>) {
    for _ in 0..=rng.below(3) {
        let place = rng.below(bytes.len() as u64) as usize;
        match rng.below(5) {
            0 => bytes[place] = rng.below(256) as u8,
            1 => bytes[place] ^= 1 << rng.below(8),
            2 if bytes.len() > 1 => drop(bytes.remove(place)),
            3 => bytes.insert(place, rng.below(256) as u8),
            _ => bytes.truncate(place.max(1)),
        }
    }
}

/// At both kinds of ends, in one piece or two.
#[test]
fn mutated_streams_never_panic_and_never_grow_what_is_kept() {
    let good = good_stream();
    let mut rng = Rng::new(37);
    let (mut refused, mut opened) = (0, 0);
    for _ in 0..STREAMS {
        let mut bytes = good.clone();
        mutate(&mut rng, &mut bytes);
        let mut victim = end(if rng.below(2) == 0 { SocketType::Router } else { SocketType::Dealer });
        let (first, second) = bytes.split_at(rng.below(bytes.len() as u64) as usize);
        match arrive(&mut victim, first).and_then(|_| arrive(&mut victim, second)) {
            Ok(_) => opened += usize::from(victim.is_open()),
            Err(_) => refused += 1,
        }
        // At most one PONG and our own half of the handshake.
        assert!(written(&mut victim).len() < 200);
        assert!(victim.buffer(&mut Spares::default()).capacity() <= 64 << 10);
    }
    println!("{STREAMS} streams: {refused} refused, {opened} opened");
    assert!(refused > 0 && opened > 0);
}

#[test]
fn a_length_that_nobody_has_is_refused_before_anything_is_allocated() {
    for claimed in [2_u64.pow(40), 2_u64.pow(62), u64::MAX] {
        let mut header = vec![2];
        header.extend(claimed.to_be_bytes());
        let limit = Limits::default().part_bytes;
        assert_eq!(after_handshake(&header), Err(Fault::TooLong { bytes: claimed, limit }));
        header[0] |= 4;
        assert!(matches!(after_handshake(&header), Err(Fault::TooLong { .. })));
    }
}

#[test]
fn a_promise_allocates_nothing() {
    let (_, mut router) = opened();
    let mut header = vec![2];
    header.extend((Limits::default().part_bytes as u64).to_be_bytes());
    assert_eq!(arrive(&mut router, &header), Ok(vec![]));
    assert!(router.buffer(&mut Spares::default()).capacity() <= 64 << 10);
}

#[test]
fn an_endless_message_ends_at_its_limit() {
    let limits = Limits::default();
    let parts = raw(1, b"").repeat(limits.message_parts + 1);
    assert_eq!(after_handshake(&parts), Err(Fault::TooManyParts(limits.message_parts)));
    let parts = raw(1, &vec![0; 1 << 20]).repeat(9);
    assert!(
        matches!(after_handshake(&parts), Err(Fault::TooLong { limit, .. }) if limit == limits.message_bytes)
    );
}

#[test]
fn flags_that_mean_nothing_are_refused() {
    for flags in [5, 8, 0x80, 0xff] {
        assert!(matches!(after_handshake(&[flags, 0]), Err(Fault::Malformed(_))), "{flags}");
    }
}

#[test]
fn a_handshake_out_of_order_is_refused() {
    let greeting = written(&mut end(SocketType::Dealer));
    let then = |bytes: &[u8]| receive(&[&greeting, bytes].concat());
    assert!(matches!(then(&raw(0, b"early")), Err(Fault::Malformed(_))));
    assert!(matches!(then(&raw(4, b"\x04PING\0\0")), Err(Fault::Malformed(_))));
    assert_eq!(then(&raw(4, b"\x05ERROR\x02no")), Err(Fault::Refused));
    assert_eq!(then(b"\x04\x19\x05READY\x0bSocket-Type\0\0\0\x03SUB"), Err(Fault::Unsuitable));
    assert!(matches!(then(&raw(4, b"\x05READY")), Err(Fault::Malformed(_))));
}

#[test]
fn a_flood_of_pings_is_answered_once_at_a_time() {
    let (_, mut router) = opened();
    for _ in 0..100 {
        assert_eq!(arrive(&mut router, &raw(4, b"\x04PING\0\x64context").repeat(100)), Ok(vec![]));
    }
    assert_eq!(written(&mut router).len(), 2 + 5 + 7);
}

#[test]
fn who_asks_and_never_reads_has_one_answer_waiting() {
    let (_, mut router) = opened();
    assert!(router.send(frame(&[b"waits"])));
    for _ in 0..1_000 {
        assert_eq!(arrive(&mut router, &raw(4, b"\x04PING\0\x64context")), Ok(vec![]));
        // The socket is tried, and takes nothing.
        let waiting: usize = router.outgoing().map(<[u8]>::len).sum();
        assert_eq!(waiting, 2 + 5);
    }
    let bytes = [written(&mut router), written(&mut router)];
    assert_eq!(bytes[1].len(), 2 + 5 + 7);
}
