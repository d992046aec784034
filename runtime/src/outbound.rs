//! What a link's frames weigh between the driver and the socket. The `zeromq` crate queues up to
//! 100,000 messages per peer whatever their size and tells nobody how many; a frame that is
//! admitted here carries a token that is dropped when the crate has encoded it, so that the
//! queue's true length and weight are known.

use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use steadfast_core::limits::MAX_FRAME_LEN;
use steadfast_core::link::Frame;

/// Most frames that one link queues. The nodes' own windows stay far below; a link that reaches it
/// has a peer that does not read, and is given up.
pub const MAX_QUEUED_FRAMES: usize = 16_384;
/// Most bytes that one link queues. A node may hand out several full frames in one turn of the
/// driver, before the socket can take any.
pub const MAX_QUEUED_BYTES: usize = 8 * MAX_FRAME_LEN;

/// One link's queue.
#[derive(Clone, Debug, Default)]
pub struct Outbound(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    frames: AtomicUsize,
    bytes: AtomicUsize,
}

/// The frame's first part, and its share of the queue until it is dropped.
struct Token {
    part: Bytes,
    weight: usize,
    counters: Arc<Counters>,
}

impl AsRef<[u8]> for Token {
    fn as_ref(&self) -> &[u8] {
        &self.part
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        self.counters.frames.fetch_sub(1, Ordering::Relaxed);
        self.counters.bytes.fetch_sub(self.weight, Ordering::Relaxed);
    }
}

impl Outbound {
    /// Accounts for the frame and returns its parts, ready to send, with room for one more part in
    /// front. `None` when the queue is full.
    pub fn admit(&self, frame: Frame) -> Option<VecDeque<Bytes>> {
        let weight = frame.len();
        let counters = &self.0;
        let full = counters.frames.load(Ordering::Relaxed) >= MAX_QUEUED_FRAMES
            || counters.bytes.load(Ordering::Relaxed).saturating_add(weight) > MAX_QUEUED_BYTES;
        if full {
            return None;
        }
        counters.frames.fetch_add(1, Ordering::Relaxed);
        counters.bytes.fetch_add(weight, Ordering::Relaxed);
        let mut parts = VecDeque::with_capacity(frame.parts.len() + 1);
        let mut rest = frame.parts.into_iter();
        let part = rest.next().unwrap_or_default();
        parts.push_back(Bytes::from_owner(Token { part, weight, counters: Arc::clone(counters) }));
        parts.extend(rest);
        Some(parts)
    }

    /// Whether everything was encoded.
    pub fn is_empty(&self) -> bool {
        self.0.frames.load(Ordering::Relaxed) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(len: usize) -> Frame {
        Frame { parts: vec![Bytes::from_static(b"head"), Bytes::from(vec![7; len])] }
    }

    #[test]
    fn a_queue_is_full_by_bytes_until_frames_are_dropped() {
        let outbound = Outbound::default();
        let held: Vec<_> = (0..7).map(|_| outbound.admit(frame(MAX_FRAME_LEN)).unwrap()).collect();
        assert_eq!(held[0][0], &b"head"[..]);
        assert_eq!(held[0].len(), 2);
        assert!(outbound.admit(frame(MAX_FRAME_LEN)).is_none(), "the heads push it over the limit");
        assert!(!outbound.is_empty());
        drop(held);
        assert!(outbound.is_empty());
        assert!(outbound.admit(frame(MAX_FRAME_LEN)).is_some());
    }

    #[test]
    fn a_queue_is_full_by_frames() {
        let outbound = Outbound::default();
        let held: Vec<_> = (0..MAX_QUEUED_FRAMES).map(|_| outbound.admit(frame(0)).unwrap()).collect();
        assert!(outbound.admit(frame(0)).is_none());
        drop(held);
        assert!(outbound.admit(frame(0)).is_some());
    }
}
