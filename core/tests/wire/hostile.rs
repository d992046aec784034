//! Whatever bytes come in: no panic, and nothing over a limit gets through.

use crate::sound::assert_sound;
use crate::{samples, strategies};
use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use steadfast_core::link::Frame;
use steadfast_core::wire;

/// A frame either is refused or means something sound that can be said again.
fn take(frame: Frame) {
    if let Ok(message) = wire::decode(frame) {
        assert_sound(&message);
        assert_eq!(wire::decode(wire::encode(&message)), Ok(message));
    }
}

/// Overwrites bytes.
fn damaged(part: &Bytes, damage: &[(f64, u8)]) -> Bytes {
    let mut bytes = part.to_vec();
    for &(at, to) in damage {
        let index = (at * bytes.len() as f64) as usize;
        if let Some(byte) = bytes.get_mut(index) {
            *byte = to;
        }
    }
    bytes.into()
}

/// A valid envelope's version, so that random bytes get past the first check.
fn versioned(bytes: Vec<u8>) -> Bytes {
    [0x08, 1].into_iter().chain(bytes).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn arbitrary_bytes(parts in vec(vec(any::<u8>(), 0..300).prop_map(Bytes::from), 0..5)) {
        take(Frame { parts });
    }

    #[test]
    fn arbitrary_messages(bytes in vec(any::<u8>(), 0..300), bodies in vec(vec(any::<u8>(), 0..50), 0..3)) {
        let bodies = bodies.into_iter().map(Bytes::from);
        take(Frame { parts: [versioned(bytes)].into_iter().chain(bodies).collect() });
    }

    #[test]
    fn damaged_messages(
        message in strategies::message(),
        damage in strategies::damage(),
        part: prop::sample::Index,
    ) {
        let mut parts = wire::encode(&message).parts;
        // The envelope holds what is checked, so it is hit as often as all bodies together.
        let part = part.index(2 * parts.len()).saturating_sub(parts.len());
        parts[part] = damaged(&parts[part], &damage);
        take(Frame { parts });
    }

    #[test]
    fn shuffled_parts(message in strategies::message(), from: prop::sample::Index, to: prop::sample::Index) {
        let mut parts = wire::encode(&message).parts;
        let (from, to) = (from.index(parts.len()), to.index(parts.len()));
        parts.swap(from, to);
        take(Frame { parts: parts.clone() });
        parts.push(parts[from].clone());
        take(Frame { parts });
    }

    #[test]
    fn damaged_tree_data(
        state in strategies::group_state(),
        live in strategies::live_node(),
        damage in strategies::damage(),
    ) {
        if let Ok(state) = wire::decode_group_state(&damaged(&wire::encode_group_state(&state), &damage)) {
            prop_assert_eq!(wire::decode_group_state(&wire::encode_group_state(&state)), Ok(state));
        }
        if let Ok(live) = wire::decode_live_node(&damaged(&wire::encode_live_node(&live), &damage)) {
            prop_assert_eq!(wire::decode_live_node(&wire::encode_live_node(&live)), Ok(live));
        }
    }
}

#[test]
fn every_prefix_and_every_single_byte_of_every_sample() {
    for (_, message) in samples::messages() {
        let parts = wire::encode(&message).parts;
        for at in 0..parts[0].len() {
            let mut truncated = parts.clone();
            truncated[0].truncate(at);
            take(Frame { parts: truncated });
            for to in [0x00, 0x01, 0x7f, 0x80, 0xff, parts[0][at] ^ 0x08] {
                let mut changed = parts[0].to_vec();
                changed[at] = to;
                let bodies = parts[1..].iter().cloned();
                take(Frame { parts: [changed.into()].into_iter().chain(bodies).collect() });
            }
        }
    }
}

#[test]
fn a_changed_body_never_gets_into_a_broker() {
    for message in [samples::publish(), samples::replicate()] {
        let parts = wire::encode(&message).parts;
        for part in 1..parts.len() {
            for at in 0..parts[part].len() {
                let mut changed = parts.clone();
                let mut body = changed[part].to_vec();
                body[at] ^= 0x20;
                changed[part] = body.into();
                let refused = wire::decode(Frame { parts: changed });
                assert_eq!(refused, Err(steadfast_core::trace::Rejection::Checksum));
            }
        }
    }
}
