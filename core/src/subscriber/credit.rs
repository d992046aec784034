//! How much a broker may send: absolute limits, so that a lost or repeated grant does no harm.

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
}

impl Credit {
    pub(super) const fn new(window: u64) -> Self {
        Self { window, unread: 0, received: 0, granted: 0 }
    }

    /// A new stream: the first limit.
    pub(super) fn open(&mut self) -> u64 {
        self.received = 0;
        self.granted = self.limit();
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
    pub(super) fn grant(&mut self) -> Option<u64> {
        let limit = self.limit();
        let due = limit >= self.granted + (self.window / 4).max(1);
        due.then(|| {
            self.granted = limit;
            limit
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_of_the_window_is_granted_at_once() {
        let mut credit = Credit::new(100);
        assert_eq!(credit.open(), 100);
        credit.delivered(100);
        credit.consumed(24);
        assert_eq!(credit.grant(), None);
        credit.consumed(1);
        assert_eq!(credit.grant(), Some(125));
        assert_eq!(credit.grant(), None);
        credit.dropped(25);
        assert_eq!(credit.grant(), Some(150), "what was dropped is free at once");
    }

    #[test]
    fn a_new_stream_gets_what_the_application_has_left() {
        let mut credit = Credit::new(100);
        credit.open();
        credit.delivered(130);
        assert_eq!(credit.open(), 0);
        credit.consumed(50);
        assert_eq!(credit.grant(), None, "80 of 100 are unread: 20 are free");
        credit.consumed(10);
        assert_eq!(credit.grant(), Some(30));
        credit.consumed(1_000);
        assert_eq!(credit.grant(), Some(100), "consuming what was never delivered earns nothing");
    }

    #[test]
    fn an_overrun_is_noticed() {
        let mut credit = Credit::new(100);
        credit.open();
        credit.delivered(110);
        assert!(!credit.is_overrun(10));
        credit.delivered(1);
        assert!(credit.is_overrun(10));
    }
}
