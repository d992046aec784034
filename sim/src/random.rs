//! Keyed randomness. A draw depends on what it is for, whom it concerns and how many of its kind came
//! before, never on unrelated draws: leaving one fault out of a run changes nothing else in it.

use std::time::Duration;
use steadfast_core::rng::Rng;

/// What a draw is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The seed of a node's own generator.
    Boot = 1,
    /// Identities given to a node at its start.
    Identity,
    /// How far a process's clock is from virtual time.
    Clock,
    /// Time that a packet takes.
    Latency,
    /// How late each end notices that a connection was reset.
    HalfOpen,
    /// Time that a storage request takes.
    Storage,
    /// Time that a coordination request or reply takes.
    CoordinationLatency,
    /// Which server a session is attached to, and how far that is behind.
    Placement,
    /// When exactly a session expires.
    Expiry,
    /// What becomes of coordination requests in flight when their connection breaks.
    LostRequest,
    /// When a coordination client tries to connect again.
    Reconnect,
    /// Which faults a random run has, and when.
    Fault,
    /// What the clients of a random run do.
    Workload,
    /// How far a process is from another one.
    Distance,
    /// Which packets take much longer, and how much.
    Tail,
    /// How much too fast or too slow a process's clock runs.
    Drift,
    /// How long the election of a coordination leader takes.
    Election,
    /// How much of what a process has sent is lost when it dies.
    Unsent,
    /// Who is put right when the faults of a run end.
    Core,
    /// Which frames are damaged, and where.
    Damage,
}

/// All draws of one run.
#[derive(Clone, Copy, Debug)]
pub struct Draws {
    seed: u64,
}

impl Draws {
    /// The draws of this seed.
    pub const fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// 64 random bits.
    pub fn draw(&self, purpose: Purpose, entity: u64, counter: u64) -> u64 {
        let key = [purpose as u64, entity, counter];
        key.iter().fold(self.seed, |state, &word| Rng::new(state ^ word).next_u64())
    }

    /// 128 random bits.
    pub fn draw_u128(&self, purpose: Purpose, entity: u64, counter: u64) -> u128 {
        Rng::new(self.draw(purpose, entity, counter)).next_u128()
    }

    /// A number below `bound`; 0 when `bound` is 0.
    pub fn below(&self, purpose: Purpose, entity: u64, counter: u64, bound: u64) -> u64 {
        Rng::new(self.draw(purpose, entity, counter)).below(bound)
    }

    /// A duration in nanoseconds within the span, both ends included.
    pub fn within(&self, purpose: Purpose, entity: u64, counter: u64, span: Span) -> u64 {
        let width = span.max.saturating_sub(span.min);
        span.min + self.below(purpose, entity, counter, width + 1)
    }
}

/// A range of durations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    min: u64,
    max: u64,
}

impl Span {
    /// Always zero.
    pub const ZERO: Self = Self { min: 0, max: 0 };

    /// From `min` to `max`, both included.
    ///
    /// # Panics
    /// When `min` is above `max`.
    pub const fn new(min: Duration, max: Duration) -> Self {
        let span = Self { min: min.as_nanos() as u64, max: max.as_nanos() as u64 };
        assert!(span.min <= span.max, "a span's ends are in order");
        span
    }

    /// Its ends.
    pub const fn ends(self) -> (Duration, Duration) {
        (Duration::from_nanos(self.min), Duration::from_nanos(self.max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draw_depends_on_every_part_of_its_key_and_on_nothing_else() {
        let draws = Draws::new(7);
        let base = draws.draw(Purpose::Latency, 1, 2);
        assert_eq!(base, Draws::new(7).draw(Purpose::Latency, 1, 2));
        let others = [
            Draws::new(8).draw(Purpose::Latency, 1, 2),
            draws.draw(Purpose::Storage, 1, 2),
            draws.draw(Purpose::Latency, 2, 2),
            draws.draw(Purpose::Latency, 1, 3),
            draws.draw(Purpose::Latency, 2, 1),
        ];
        assert!(others.iter().all(|&other| other != base), "{base} {others:?}");
    }

    #[test]
    fn spans_include_both_ends() {
        let draws = Draws::new(1);
        let span = Span::new(Duration::from_nanos(3), Duration::from_nanos(5));
        let mut seen: Vec<_> = (0..100).map(|n| draws.within(Purpose::Latency, 0, n, span)).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen, [3, 4, 5]);
    }
}
