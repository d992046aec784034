//! Buffers to read into, used again and again.

use alloc::collections::VecDeque;
use bytes::BytesMut;

/// Most buffers that are kept. What was read lives on in slices for about a turn of a node: by then the
/// buffer that has waited longest is free again.
const MOST: usize = 16;

/// Buffers that the connections of a node share: while nothing comes they need no memory of their own, and
/// what has been touched once is touched again, instead of fresh memory that the system has to find.
#[derive(Debug, Default)]
pub struct Spares(VecDeque<BytesMut>);

impl Spares {
    /// An empty buffer with so much room: one of which nobody needs the contents any more, or a new one.
    pub(super) fn take(&mut self, room: usize) -> BytesMut {
        for _ in 0..self.0.len() {
            let Some(mut buffer) = self.0.pop_front() else { break };
            if buffer.try_reclaim(room) {
                return buffer;
            }
            self.0.push_back(buffer);
        }
        BytesMut::with_capacity(room)
    }

    /// Keeps a buffer, of which slices may still be in use. Beyond the limit the oldest goes.
    pub(super) fn put(&mut self, mut buffer: BytesMut) {
        buffer.clear();
        if buffer.capacity() == 0 {
            return;
        }
        if self.0.len() == MOST {
            self.0.pop_front();
        }
        self.0.push_back(buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_when_nobody_has_a_slice_of_it() {
        let mut spares = Spares::default();
        let mut first = spares.take(1_000);
        let memory = first.as_ptr();
        first.extend_from_slice(&[7; 900]);
        let slice = first.split_to(900).freeze();
        spares.put(first);
        let second = spares.take(1_000);
        assert_ne!(second.as_ptr(), memory, "the slice is in use");
        spares.put(second);
        drop(slice);
        assert_eq!(spares.take(1_000).as_ptr(), memory);
    }

    #[test]
    fn only_so_many_are_kept() {
        let mut spares = Spares::default();
        for _ in 0..2 * MOST {
            spares.put(BytesMut::with_capacity(10));
        }
        spares.put(BytesMut::new());
        assert_eq!(spares.0.len(), MOST);
    }
}
