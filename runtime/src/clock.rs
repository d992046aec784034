//! The driver's monotonic clock.

use std::time::Instant as SystemInstant;
use steadfast_core::time::Instant;

/// Readings of the system's monotonic clock, relative to the clock's start. It runs on while the
/// process is stopped by a signal, so a resumed node sees at once that its deadlines have passed.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: SystemInstant,
}

impl Clock {
    /// A clock that reads zero now.
    pub fn start() -> Self {
        Self { start: SystemInstant::now() }
    }

    /// The reading.
    pub fn now(&self) -> Instant {
        let nanos = self.start.elapsed().as_nanos();
        Instant::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// When the clock will read `at`. `None` beyond the system clock's range: it never comes.
    pub fn system(&self, at: Instant) -> Option<SystemInstant> {
        self.start.checked_add(std::time::Duration::from_nanos(at.as_nanos()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn readings_and_system_times_agree() {
        let clock = Clock::start();
        let before = SystemInstant::now();
        let at = clock.now() + Duration::from_secs(5);
        let after = SystemInstant::now();
        let system = clock.system(at).unwrap();
        assert!(system >= before + Duration::from_secs(5) && system <= after + Duration::from_secs(5));
    }
}
