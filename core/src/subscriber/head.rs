//! Reads of the group's head (R19): the primary is asked, and every later one until one has answered;
//! then the stream is watched until it has come that far.

use super::{Bookmark, Event, Phase, Subscriber};
use crate::message::{Head, Message, Refusal};
use crate::time::Instant;
use crate::trace::Rejection;

/// Where the tokens of reads begin: stream numbers count from 1, and a link knows both by one name.
const FIRST_TOKEN: u64 = 1 << 63;

/// The read under way, if there is one: a later request includes an earlier one.
#[derive(Clone, Debug, Default)]
pub(super) struct HeadRead {
    /// The application's request that waits for an answer.
    wanted: Option<u64>,
    /// Reads sent so far; the latest one counts.
    sent: u64,
    /// When the primary is asked again.
    again_at: Option<Instant>,
    /// The head of the application's request, while the stream has not come that far.
    ahead: Option<(u64, Bookmark)>,
}

impl HeadRead {
    const fn token(&self) -> u64 {
        FIRST_TOKEN + self.sent
    }

    /// When the primary is asked again.
    pub(super) fn due_at(&self) -> Option<Instant> {
        self.wanted.and(self.again_at)
    }

    /// A head of an earlier history says nothing about this one: it is read again.
    pub(super) fn history_changed(&mut self) {
        if sabotage!(HeadOutlivesHistory) {
            return;
        }
        if let Some((request, _)) = self.ahead.take() {
            self.wanted = self.wanted.or(Some(request));
        }
    }

    /// Whether a refusal answers the latest read.
    pub(super) fn is_asked(&self, token: u64) -> bool {
        self.sent > 0 && token == self.token()
    }
}

impl Subscriber {
    /// The application wants to know the head, from now on.
    pub(super) fn request_head(&mut self, request: u64) {
        self.head.wanted = Some(request);
        self.ask_head();
    }

    /// Asks the primary, if there is a stream and something to ask for.
    pub(super) fn ask_head(&mut self) {
        if self.head.wanted.is_some() && matches!(self.phase, Phase::Open { .. }) {
            self.head.sent += 1;
            self.head.again_at = Some(self.shared.now + self.config.stream_timeout);
            self.send(&Message::ReadHead { token: self.head.token() });
        }
    }

    pub(super) fn handle_head(&mut self, head: &Head) {
        if !self.head.is_asked(head.token) && !sabotage!(AnyHeadAnswers) {
            return;
        }
        // A head of another history, or of an earlier reign, proves nothing about this stream.
        if Some(head.history) != self.history || head.epoch < self.epoch {
            return self.reject(Rejection::WrongHistory);
        }
        let Some(request) = self.head.wanted.take() else { return };
        let at = Bookmark { group: self.group, group_id: head.history.group_id, position: head.position };
        self.shared.out.event(Event::Head { request, at });
        self.head.ahead = Some((request, at));
        self.look_ahead();
    }

    /// The primary has put the read off, or is none: it is asked again later, whoever it is then.
    pub(super) fn handle_head_refusal(&mut self, reason: &Refusal) {
        let retry_after = match reason {
            Refusal::Electing { retry_after } => *retry_after,
            _ => self.config.timing.backoff_cap,
        };
        self.head.again_at = Some(self.shared.put_off(retry_after, &self.config.timing));
    }

    /// Tells the application once the stream has come to the head.
    pub(super) fn look_ahead(&mut self) {
        if let (Some((request, head)), Some(at)) = (self.head.ahead, self.at)
            && at.history() == head.history()
            && at.position.offset + u64::from(sabotage!(ReachedOneEarly)) >= head.position.offset
        {
            self.head.ahead = None;
            self.shared.out.event(Event::Reached { request });
        }
    }
}
