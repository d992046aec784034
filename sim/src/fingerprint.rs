//! A rolling hash of a run's history. Two runs of the same seed must agree after every step.

use std::fmt;
use std::hash::Hasher;

/// What can be added to a run's hash.
pub trait Digest {
    /// Adds it: whatever differs between two histories should show.
    fn digest(&self, hash: &mut Fingerprint);
}

/// For nodes that tell their application nothing.
impl Digest for () {
    fn digest(&self, _: &mut Fingerprint) {}
}

/// The hash so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(u64);

impl Default for Fingerprint {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fingerprint {
    /// Adds a number.
    pub const fn word(&mut self, word: u64) {
        let mixed = (self.0 ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 29);
    }

    /// Adds bytes and their number. Two words at a time: this is most of what a run hashes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.word(bytes.len() as u64);
        let (pairs, rest) = bytes.as_chunks::<16>();
        pairs.iter().for_each(|pair| self.pair(u128::from_le_bytes(*pair)));
        if !rest.is_empty() {
            let mut pair = [0; 16];
            pair[..rest.len()].copy_from_slice(rest);
            self.pair(u128::from_le_bytes(pair));
        }
    }

    /// Adds two words: both halves of their product.
    const fn pair(&mut self, pair: u128) {
        let (low, high) = (pair as u64 ^ self.0, (pair >> 64) as u64 ^ 0x9e37_79b9_7f4a_7c15);
        let product = low as u128 * high as u128;
        self.0 = self.0.rotate_left(23) ^ product as u64 ^ (product >> 64) as u64;
    }

    /// Adds a value as its [`fmt::Debug`] text, without building the text.
    pub fn debug(&mut self, value: &impl fmt::Debug) {
        fmt::write(self, format_args!("{value:?}")).expect("hashing does not fail");
    }

    /// The hash as a number.
    pub const fn value(self) -> u64 {
        self.0
    }
}

/// For what derives [`std::hash::Hash`]: much cheaper than the text of [`Fingerprint::debug`].
impl Hasher for Fingerprint {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.bytes(bytes);
    }

    fn write_u8(&mut self, word: u8) {
        self.word(word.into());
    }

    fn write_u32(&mut self, word: u32) {
        self.word(word.into());
    }

    fn write_u64(&mut self, word: u64) {
        self.word(word);
    }

    fn write_usize(&mut self, word: usize) {
        self.word(word as u64);
    }
}

impl fmt::Write for Fingerprint {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.bytes(text.as_bytes());
        Ok(())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}
