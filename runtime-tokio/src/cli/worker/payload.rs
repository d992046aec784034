//! Numbered payloads: number, time of publishing, and a filling that depends on the number.

use bytes::{BufMut as _, Bytes, BytesMut};
use rustix::time::{ClockId, clock_gettime};

/// Shortest payload.
pub const MIN_SIZE: usize = 16;
/// Payloads are cut from blocks of this size.
const BLOCK: usize = 64 << 10;

/// Nanoseconds on the machine's monotonic clock: the same for all its processes.
pub fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    // Both parts of a monotonic reading are never negative.
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

/// Makes payloads.
#[derive(Debug)]
pub struct Factory {
    size: usize,
    block: BytesMut,
}

impl Factory {
    /// Of this size, or the shortest.
    pub fn new(size: usize) -> Self {
        Self { size: size.max(MIN_SIZE), block: BytesMut::new() }
    }

    /// The payload with this number.
    pub fn make(&mut self, number: u64, sent_at: u64) -> Bytes {
        if self.block.capacity() < self.size {
            self.block = BytesMut::with_capacity(self.size.max(BLOCK));
        }
        self.block.put_u64_le(number);
        self.block.put_u64_le(sent_at);
        self.block.put_bytes(filling(number), self.size - MIN_SIZE);
        self.block.split().freeze()
    }
}

/// The number and the time of publishing. `None` if this is not what was published.
pub fn read(payload: &[u8]) -> Option<(u64, u64)> {
    let (number, rest) = payload.split_first_chunk()?;
    let (sent_at, rest) = rest.split_first_chunk()?;
    let number = u64::from_le_bytes(*number);
    let filling = filling(number);
    rest.iter().all(|&byte| byte == filling).then(|| (number, u64::from_le_bytes(*sent_at)))
}

const fn filling(number: u64) -> u8 {
    (number % 251) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_carry_number_and_time() {
        let mut factory = Factory::new(100);
        for number in [0, 1, 250, 251, 1 << 40] {
            let payload = factory.make(number, 77);
            assert_eq!(payload.len(), 100);
            assert_eq!(read(&payload), Some((number, 77)));
        }
        assert_eq!(Factory::new(0).make(5, 6).len(), MIN_SIZE);
    }

    #[test]
    fn a_changed_payload_is_noticed() {
        let payload = Factory::new(20).make(7, 1);
        for index in 16..20 {
            let mut changed = payload.to_vec();
            changed[index] ^= 1;
            assert_eq!(read(&changed), None);
        }
        assert_eq!(read(&payload[..15]), None);
        let mut other = payload.to_vec();
        other[0] = 8;
        assert_eq!(read(&other), None, "the filling belongs to another number");
    }
}
