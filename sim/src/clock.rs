//! A process's monotonic clock: it starts anywhere, runs a little too fast or too slow, jumps ahead
//! when its machine was suspended, and never goes back.

use std::time::Duration;
use steadfast_core::time::Instant;

/// A clock runs at most so many millionths too fast or too slow. Real ones stay below a thousand; the
/// rest is margin for machines that lie.
pub const MAX_DRIFT: i32 = 100_000;
/// A clock jumps ahead by at most this much at a time.
pub const MAX_JUMP: Duration = Duration::from_secs(3_600);

const MILLION: i128 = 1_000_000;

/// A clock, as a straight line from where it was set last.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Virtual time when it was set, in nanoseconds, and what it showed then.
    set: (u64, u64),
    /// Millionths that it runs too fast.
    drift: i32,
}

impl Clock {
    /// A clock that shows `reading` at the beginning of virtual time.
    pub fn new(reading: u64, drift: i32) -> Self {
        Self { set: (0, reading), drift: within(drift) }
    }

    /// What it shows at this virtual time.
    pub fn read(&self, now: u64) -> Instant {
        let (at, reading) = self.set;
        let elapsed = now.saturating_sub(at);
        if self.drift == 0 {
            return Instant::from_nanos(reading.saturating_add(elapsed));
        }
        let passed = i128::from(elapsed) * self.speed() / MILLION;
        Instant::from_nanos(reading.saturating_add(u64::try_from(passed).unwrap_or(u64::MAX)))
    }

    /// The virtual time, not before it was set, from which on it shows at least this.
    pub fn when(&self, reading: Instant) -> u64 {
        let (at, set) = self.set;
        let missing = reading.as_nanos().saturating_sub(set);
        if self.drift == 0 {
            return at.saturating_add(missing);
        }
        let (missing, speed) = (i128::from(missing) * MILLION, self.speed());
        at.saturating_add(u64::try_from((missing + speed - 1) / speed).unwrap_or(u64::MAX))
    }

    /// From now on it runs so many millionths too fast. Says whether that is a change.
    pub fn drift(&mut self, now: u64, drift: i32) -> bool {
        self.set = (now, self.read(now).as_nanos());
        std::mem::replace(&mut self.drift, within(drift)) != self.drift
    }

    /// It jumps ahead.
    pub fn jump(&mut self, now: u64, by: Duration) {
        self.set = (now, (self.read(now) + by.min(MAX_JUMP)).as_nanos());
    }

    fn speed(&self) -> i128 {
        MILLION + i128::from(self.drift)
    }
}

fn within(drift: i32) -> i32 {
    drift.clamp(-MAX_DRIFT, MAX_DRIFT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_reached_at_the_first_moment_that_shows_it() {
        for drift in [-MAX_DRIFT, -7, 0, 3, 999, i32::MAX] {
            let mut clock = Clock::new(12_345, drift);
            clock.jump(1_000, Duration::from_nanos(5));
            for deadline in (0..2_000_000).step_by(997).map(Instant::from_nanos) {
                let at = clock.when(deadline);
                assert!(clock.read(at) >= deadline, "{drift} {deadline:?}");
                assert!(at == 1_000 || clock.read(at - 1) < deadline, "{drift} {deadline:?}");
            }
        }
    }

    #[test]
    fn a_clock_goes_on_from_where_it_is_and_never_back() {
        let mut clock = Clock::new(0, 0);
        let mut last = clock.read(0);
        for (step, drift) in [500, -500, MAX_DRIFT, i32::MIN, 0, 0].into_iter().enumerate() {
            let now = (step as u64 + 1) * 1_000_000;
            let before = clock.read(now);
            assert_eq!(clock.drift(now, drift), step < 5, "{drift}");
            assert_eq!(clock.read(now), before, "a new rate is no jump");
            assert!(before > last);
            last = before;
        }
        clock.jump(6_000_000, Duration::MAX);
        assert_eq!(clock.read(6_000_000).since(last), MAX_JUMP);
        assert_eq!(clock.read(7_000_000).since(last), MAX_JUMP + Duration::from_millis(1));
    }
}
