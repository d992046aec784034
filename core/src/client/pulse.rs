//! Signs of life on one link.

use crate::time::{Duration, Instant};

/// Decides when to ping a quiet link and when to call it silent.
///
/// Silence is counted in own pings without an answer, not in time alone: a process that was itself
/// stopped sends one ping when it resumes and then hears what had been waiting for it.
#[derive(Clone, Debug)]
pub(super) struct Pulse {
    interval: Duration,
    patience: u32,
    quiet_since: Instant,
    unanswered: u32,
}

/// What is due on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beat {
    /// Nothing yet.
    Nothing,
    /// Send a ping.
    Ping,
    /// The peer is silent.
    Silent,
}

impl Pulse {
    /// Pings after each quiet `interval`; silent after about `silence` (at least two intervals).
    pub(super) fn new(now: Instant, interval: Duration, silence: Duration) -> Self {
        let interval = interval.max(Duration::from_millis(1));
        let intervals = silence.as_nanos() / interval.as_nanos();
        let patience = u32::try_from(intervals).unwrap_or(u32::MAX).saturating_sub(1).max(1);
        Self { interval, patience, quiet_since: now, unanswered: 0 }
    }

    /// The peer was heard.
    pub(super) const fn heard(&mut self, now: Instant) {
        self.quiet_since = now;
        self.unanswered = 0;
    }

    pub(super) fn deadline(&self) -> Instant {
        self.quiet_since + self.interval
    }

    pub(super) fn check(&mut self, now: Instant) -> Beat {
        if now < self.deadline() {
            return Beat::Nothing;
        }
        if self.unanswered >= self.patience {
            return Beat::Silent;
        }
        self.unanswered += 1;
        self.quiet_since = now;
        Beat::Ping
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    fn pulse() -> Pulse {
        Pulse::new(at(0), Duration::from_millis(50), Duration::from_millis(250))
    }

    #[test]
    fn a_quiet_link_is_pinged_and_then_called_silent() {
        let mut pulse = pulse();
        assert_eq!(pulse.check(at(49)), Beat::Nothing);
        for ms in [50, 100, 150, 200] {
            assert_eq!(pulse.check(at(ms)), Beat::Ping, "{ms}");
        }
        assert_eq!(pulse.deadline(), at(250));
        assert_eq!(pulse.check(at(250)), Beat::Silent);
    }

    #[test]
    fn any_sign_of_life_starts_anew() {
        let mut pulse = pulse();
        for ms in [50, 100, 150, 200] {
            assert_eq!(pulse.check(at(ms)), Beat::Ping);
        }
        pulse.heard(at(240));
        assert_eq!(pulse.check(at(250)), Beat::Nothing);
        assert_eq!(pulse.check(at(290)), Beat::Ping);
    }

    #[test]
    fn a_stall_of_this_process_is_not_the_peers_silence() {
        let mut pulse = pulse();
        assert_eq!(pulse.check(at(50)), Beat::Ping);
        assert_eq!(pulse.check(at(10_000)), Beat::Ping, "no verdict before the inbox was read");
        pulse.heard(at(10_001));
        assert_eq!(pulse.check(at(10_051)), Beat::Ping);
    }
}
