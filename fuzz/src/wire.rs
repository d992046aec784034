//! Frames of all kinds: a frame is refused, or means something sound that can be said again.

use crate::{parts, samples, sound};
use bytes::Bytes;
use steadfast_core::link::Frame;
use steadfast_core::wire;

/// Most parts of a frame that is tried.
const PARTS: usize = 8;

/// The parts of the input are those of a frame.
pub fn run(bytes: &[u8]) {
    let parts = parts::split(bytes, PARTS).into_iter().map(Bytes::copy_from_slice).collect();
    if let Ok(message) = wire::decode(Frame { parts }) {
        sound::assert_sound(&message);
        assert_eq!(wire::decode(wire::encode(&message)), Ok(message));
    }
}

/// A frame of every kind.
pub fn seeds() -> Vec<Vec<u8>> {
    samples::golden().iter().map(|(_, parts)| parts::join(parts)).collect()
}
