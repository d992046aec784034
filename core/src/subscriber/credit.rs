//! How much a broker may send: absolute limits, so that a late or repeated grant does no harm, and one that
//! was lost can be repeated.

use crate::time::{Duration, Instant};

/// A grant is repeated at last after so many times its first pause.
const LONGEST_PAUSE: u32 = 32;

/// Credit of one stream after another. The application's unread bytes outlive a stream.
#[derive(Clone, Debug)]
pub(super) struct Credit {
    window: u64,
    /// Bytes delivered and not yet consumed, of whichever stream.
    unread: u64,
    /// Body bytes received on the current stream.
    received: u64,
    /// The limit last granted on the current stream.
    granted: u64,
    /// The limit that the current stream was opened with: once it is open, its broker knows that.
    opened: u64,
    /// How long after a grant it is repeated for the first time.
    pause: Duration,
    /// When it is repeated, and how long after that again.
    again: Option<(Instant, Duration)>,
}

impl Credit {
    pub(super) const fn new(window: u64, pause: Duration) -> Self {
        Self { window, unread: 0, received: 0, granted: 0, opened: 0, pause, again: None }
    }

    /// A new stream: the first limit.
    pub(super) fn open(&mut self) -> u64 {
        self.received = 0;
        self.granted = self.limit();
        self.opened = self.granted;
        self.again = None;
        self.granted
    }

    fn limit(&self) -> u64 {
        let unread = if sabotage!(CreditForgetsUnread) { 0 } else { self.unread };
        (self.received + self.window).saturating_sub(unread)
    }

    /// Whether the broker has overrun its credit by more than `slack`.
    pub(super) const fn is_overrun(&self, slack: u64) -> bool {
        self.received > self.granted.saturating_add(slack)
    }

    /// A body came and went to the application.
    pub(super) const fn delivered(&mut self, bytes: u64) {
        self.received += bytes;
        self.unread += bytes;
    }

    /// A body came and was dropped.
    pub(super) const fn dropped(&mut self, bytes: u64) {
        self.received += bytes;
    }

    /// The application is done with some bytes.
    pub(super) fn consumed(&mut self, bytes: u64) {
        if sabotage!(CreditNeverFreed) {
            return;
        }
        self.unread = self.unread.saturating_sub(bytes);
    }

    /// The next limit, once a quarter of the window has been freed.
    pub(super) fn grant(&mut self, now: Instant) -> Option<u64> {
        let limit = self.limit();
        let due = limit >= self.granted + (self.window / 4).max(1);
        due.then(|| {
            self.granted = limit;
            self.again = Some((now + self.pause, self.pause));
            limit
        })
    }

    /// R30: the last grant once more, where nothing comes. The broker may not have heard it, and waits as this side
    /// does. With what it was granted at the opening it has no reason to.
    pub(super) fn grant_again(&mut self, now: Instant) -> Option<u64> {
        let (at, pause) = self.again.filter(|(at, _)| *at <= now && self.received >= self.opened)?;
        if sabotage!(GrantsOnce) {
            return None;
        }
        let next = (pause * 2).min(self.pause * LONGEST_PAUSE);
        self.again = Some((at.max(now) + next, next));
        Some(self.granted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_millis(10);

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn a_quarter_of_the_window_is_granted_at_once() {
        let mut credit = Credit::new(100, PAUSE);
        assert_eq!(credit.open(), 100);
        credit.delivered(100);
        credit.consumed(24);
        assert_eq!(credit.grant(at(0)), None);
        credit.consumed(1);
        assert_eq!(credit.grant(at(0)), Some(125));
        assert_eq!(credit.grant(at(0)), None);
        credit.dropped(25);
        assert_eq!(credit.grant(at(0)), Some(150), "what was dropped is free at once");
    }

    #[test]
    fn a_new_stream_gets_what_the_application_has_left() {
        let mut credit = Credit::new(100, PAUSE);
        credit.open();
        credit.delivered(130);
        assert_eq!(credit.open(), 0);
        credit.consumed(50);
        assert_eq!(credit.grant(at(0)), None, "80 of 100 are unread: 20 are free");
        credit.consumed(10);
        assert_eq!(credit.grant(at(0)), Some(30));
        credit.consumed(1_000);
        assert_eq!(credit.grant(at(0)), Some(100), "consuming what was never delivered earns nothing");
    }

    #[test]
    fn an_overrun_is_noticed() {
        let mut credit = Credit::new(100, PAUSE);
        credit.open();
        credit.delivered(110);
        assert!(!credit.is_overrun(10));
        credit.delivered(1);
        assert!(credit.is_overrun(10));
    }

    #[test]
    fn a_grant_is_repeated_ever_more_seldom_where_the_stream_may_wait_for_it() {
        let mut credit = Credit::new(100, PAUSE);
        credit.open();
        credit.dropped(50);
        assert_eq!(credit.grant(at(0)), Some(150));
        assert_eq!(credit.grant_again(at(100)), None, "half of what it was opened with is left");
        credit.dropped(60);
        assert_eq!(credit.grant(at(100)), Some(210));
        assert_eq!(credit.grant_again(at(109)), None);
        assert_eq!(credit.grant_again(at(110)), Some(210));
        assert_eq!(credit.grant_again(at(129)), None);
        assert_eq!(credit.grant_again(at(130)), Some(210));
        assert_eq!(credit.grant_again(at(1_000)), Some(210));
        credit.open();
        assert_eq!(credit.grant_again(at(9_000)), None, "a new stream has its own");
    }
}
