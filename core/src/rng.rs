//! Random numbers inside a node: a small generator seeded from `Boot`, so that a run can be replayed.
//! Used for jitter and identifiers' nonces, never for secrets.

use crate::time::Duration;
use serde::{Deserialize, Serialize};

/// SplitMix64 (Steele, Lea, Flood 2014): 64 bits of state, full period.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Rng(u64);

impl Rng {
    /// A generator with this seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// The next 128 random bits.
    pub fn next_u128(&mut self) -> u128 {
        u128::from(self.next_u64()) << 64 | u128::from(self.next_u64())
    }

    /// A number below `bound` (0 when `bound` is 0). The bias is below 2⁻³² for bounds below 2³².
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// Full jitter: uniformly between zero and `max`. Nothing is drawn where there is no choice.
    pub fn jitter(&mut self, max: Duration) -> Duration {
        if max.is_zero() {
            return max;
        }
        let nanos = u64::try_from(max.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.below(nanos.saturating_add(1)))
    }
}

/// Full-jitter exponential backoff: the n-th delay is uniform in [0, min(cap, base · 2ⁿ)].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    attempts: u32,
}

impl Backoff {
    /// Starts at `base` and never exceeds `cap`.
    pub const fn new(base: Duration, cap: Duration) -> Self {
        Self { base, cap, attempts: 0 }
    }

    /// The next delay.
    pub fn next(&mut self, rng: &mut Rng) -> Duration {
        let ceiling = self.base.saturating_mul(1 << self.attempts.min(20)).min(self.cap);
        self.attempts = self.attempts.saturating_add(1);
        rng.jitter(ceiling)
    }

    /// After a success: the next delay is short again.
    pub const fn reset(&mut self) {
        self.attempts = 0;
    }
}
