//! The sending side: a queue of bytes, of which bodies are not copied.

use super::inbound::{LONG, MORE};
use crate::link::Frame;
use alloc::collections::VecDeque;
use bytes::{Buf, Bytes, BytesMut};

/// From this length on a part is written from where it is. Below, copying it costs less than a further
/// piece for the system to gather.
const BY_REFERENCE: usize = 1_024;

/// What waits to be written.
#[derive(Debug, Default)]
pub(super) struct Outbound {
    pieces: VecDeque<Bytes>,
    /// What comes after the pieces: headers and short parts.
    tail: BytesMut,
    /// Bytes that wait.
    queued: usize,
}

/// Longest header of a part: flags and an eight-byte length.
const MAX_HEADER_LEN: usize = 9;

impl Outbound {
    /// Adds bytes as they are.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
        self.queued += bytes.len();
    }

    /// Adds a message, unless that would go beyond the limit. Whether it did.
    pub(super) fn push_message(&mut self, frame: Frame, limit: usize) -> bool {
        if self.queued + frame.len() + frame.parts.len() * MAX_HEADER_LEN > limit {
            return false;
        }
        let last = frame.parts.len().saturating_sub(1);
        for (number, part) in frame.parts.into_iter().enumerate() {
            self.push_part(part, number < last);
        }
        true
    }

    fn push_part(&mut self, part: Bytes, more: bool) {
        let flags = if more { MORE } else { 0 };
        match u8::try_from(part.len()) {
            Ok(length) => self.push(&[flags, length]),
            Err(_) => {
                self.push(&[flags | LONG]);
                self.push(&(part.len() as u64).to_be_bytes());
            }
        }
        if part.len() < BY_REFERENCE {
            self.push(&part);
            return;
        }
        self.queued += part.len();
        self.pieces.push_back(self.tail.split().freeze());
        self.pieces.push_back(part);
    }

    /// Nothing was asked for in a while: what is kept for more is given back.
    pub(super) fn rest(&mut self) {
        if self.is_empty() {
            *self = Self::default();
        }
    }

    /// Nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty() && self.tail.is_empty()
    }

    /// What waits, in order.
    pub(super) fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.pieces.iter().map(|piece| &piece[..]).chain(Some(&self.tail[..]).filter(|tail| !tail.is_empty()))
    }

    /// So many bytes were written.
    pub(super) fn written(&mut self, mut len: usize) {
        self.queued = self.queued.saturating_sub(len);
        while len > 0
            && let Some(piece) = self.pieces.front_mut()
        {
            let part = len.min(piece.len());
            piece.advance(part);
            len -= part;
            if piece.is_empty() {
                self.pieces.pop_front();
            }
        }
        self.tail.advance(len.min(self.tail.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;

    const LIMIT: usize = 1 << 20;

    fn frame(parts: &[usize]) -> Frame {
        Frame { parts: parts.iter().map(|len| Bytes::from(vec![7; *len])).collect() }
    }

    #[test]
    fn long_parts_are_written_from_where_they_are() {
        let mut outbound = Outbound::default();
        let body = Bytes::from(vec![7; 4_096]);
        assert!(
            outbound.push_message(Frame { parts: vec![Bytes::from_static(b"head"), body.clone()] }, LIMIT)
        );
        let pieces: Vec<_> = outbound.pieces().collect();
        assert_eq!(pieces[0], [MORE, 4, b'h', b'e', b'a', b'd', LONG, 0, 0, 0, 0, 0, 0, 16, 0]);
        assert_eq!(pieces[1].as_ptr(), body.as_ptr());
    }

    #[test]
    fn what_is_written_in_any_steps_is_the_same() {
        let whole = |step: usize| {
            let mut outbound = Outbound::default();
            assert!(outbound.push_message(frame(&[3, 2_000, 0, 255, 256, 1_024]), LIMIT));
            let mut written = Vec::new();
            while !outbound.is_empty() {
                let next: Vec<u8> = outbound.pieces().flatten().copied().take(step).collect();
                outbound.written(next.len());
                written.extend(next);
            }
            assert_eq!(outbound.queued, 0);
            written
        };
        assert_eq!(whole(1), whole(1_000_000));
        assert_eq!(whole(7), whole(1_500));
    }

    #[test]
    fn a_full_queue_takes_nothing_and_has_room_again_when_something_was_written() {
        let mut outbound = Outbound::default();
        assert!(outbound.push_message(frame(&[900]), 1_000));
        assert!(!outbound.push_message(frame(&[100]), 1_000));
        outbound.written(300);
        assert!(outbound.push_message(frame(&[100]), 1_000));
    }
}
