//! Sessions of publishers that are gone: of whom the primary has heard nothing for how long, and when a
//! session is forgotten (R29).
//!
//! Time is this primary's own, since its promotion (R21). Only the committed entry ends a session.

use super::{Broker, Role};
use crate::id::PublisherId;
use crate::limits::{EXPIRY_STEP, MAX_SESSIONS};
use crate::link::LinkId;
use crate::log::EntryKind;
use crate::time::{Duration, Instant};
use crate::trace::Trace;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// A publisher that is heard of all the time is noted this often.
const GRAIN: Duration = Duration::from_millis(100);

/// When each publisher was last heard of: its frames, or signs of life on its link.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Expiry {
    heard: BTreeMap<PublisherId, Instant>,
    /// The same, the one that has been quiet for longest first.
    order: BTreeSet<(Instant, PublisherId)>,
    links: BTreeMap<LinkId, PublisherId>,
    /// Sessions below were taken into view; `None`: all were.
    next: Option<PublisherId>,
    since: Instant,
}

impl Expiry {
    /// Every session of the group counts as heard of when the epoch begins.
    pub const fn new(now: Instant) -> Self {
        Self {
            heard: BTreeMap::new(),
            order: BTreeSet::new(),
            links: BTreeMap::new(),
            next: Some(PublisherId(0)),
            since: now,
        }
    }

    /// A publisher was heard of on this link.
    pub fn heard(&mut self, now: Instant, publisher: PublisherId, link: LinkId) {
        self.links.insert(link, publisher);
        self.note(now, publisher);
    }

    /// Something that names no publisher came on a link.
    pub fn heard_on(&mut self, now: Instant, link: LinkId) {
        if sabotage!(LivePublishersExpire) {
            return;
        }
        if let Some(publisher) = self.links.get(&link).copied() {
            self.note(now, publisher);
        }
    }

    /// A link is gone. Its publisher has its term to come back.
    pub fn unlink(&mut self, link: LinkId) {
        self.links.remove(&link);
    }

    /// This process itself was not running: everyone gets a fresh term.
    pub fn forgive(&mut self, now: Instant) {
        *self = Self { links: core::mem::take(&mut self.links), ..Self::new(now) };
    }

    fn note(&mut self, now: Instant, publisher: PublisherId) {
        match self.heard.get(&publisher) {
            Some(before) if *before + GRAIN > now => {}
            before => {
                if let Some(before) = before {
                    self.order.remove(&(*before, publisher));
                }
                self.heard.insert(publisher, now);
                self.order.insert((now, publisher));
            }
        }
    }

    fn forget(&mut self, publisher: PublisherId) {
        if let Some(heard) = self.heard.remove(&publisher) {
            self.order.remove(&(heard, publisher));
        }
    }

    /// Takes sessions into view that were not heard of in this epoch.
    fn look(&mut self, sessions: impl Iterator<Item = PublisherId>) {
        let mut last = None;
        for publisher in sessions.take(EXPIRY_STEP) {
            last = Some(publisher);
            if !self.heard.contains_key(&publisher) {
                self.heard.insert(publisher, self.since);
                self.order.insert((self.since, publisher));
            }
        }
        self.next = last.and_then(|last| last.0.checked_add(1)).map(PublisherId);
    }

    /// Who has been quiet for at least so long, the longest first.
    fn quiet(&self, now: Instant, term: Duration) -> impl Iterator<Item = PublisherId> {
        let quiet = self.order.iter().take_while(move |(heard, _)| *heard + term <= now);
        quiet.map(|(_, publisher)| *publisher)
    }
}

impl Broker {
    /// R29: proposes the end of sessions that were not heard of for the whole term, a bounded number in
    /// one step.
    pub(super) fn expire_sessions(&mut self, now: Instant) {
        // R34: nothing is added to what a target has to have.
        let leaves = self.shutdown.is_some() && !sabotage!(ExpiresWhileLeaving);
        if !leaves && !sabotage!(SessionsNeverExpire) {
            let term = self.config.session_expiry;
            self.expire_quiet(now, term, EXPIRY_STEP);
        }
    }

    /// Whether another session has room. In a full table the one that was quiet for longest makes room,
    /// if its publisher cannot be there any more.
    pub(super) fn has_room_for_a_session(&mut self, now: Instant) -> bool {
        if self.replica.sessions().overlay().len() < MAX_SESSIONS {
            return true;
        }
        let timing = &self.config.timing;
        let term = timing.lag.max(timing.client_suspicion * 2).min(self.config.session_expiry);
        self.expire_quiet(now, term, 1)
    }

    /// Says whether a session was expired.
    fn expire_quiet(&mut self, now: Instant, term: Duration, most: usize) -> bool {
        let Role::Primary(primary) = &mut self.role else { return false };
        if !primary.serving || primary.silent {
            return false;
        }
        let sessions = self.replica.sessions().overlay();
        if let Some(next) = primary.expiry.next {
            primary.expiry.look(sessions.from(next).map(|(publisher, _)| publisher));
        }
        let quiet: Vec<PublisherId> = primary.expiry.quiet(now, term).take(most).collect();
        let mut ended = Vec::new();
        for publisher in quiet {
            primary.expiry.forget(publisher);
            if let Some(session) = sessions.get(publisher) {
                // R28: one that is over is nobody's any more, also if all this is committed at once.
                if !sabotage!(ExpiredAnswered) {
                    primary.opens.remove(&session.incarnation);
                }
                ended.push((publisher, session.incarnation));
            }
        }
        let any = !ended.is_empty();
        for &(publisher, incarnation) in &ended {
            self.io.out.trace(Trace::SessionExpired { publisher, incarnation });
        }
        if any {
            let expire = |(publisher, incarnation)| EntryKind::SessionExpire { publisher, incarnation };
            self.append(now, ended.into_iter().map(expire).collect());
        }
        any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    fn quiet(expiry: &Expiry, now: u64, term: u64) -> Vec<u128> {
        expiry.quiet(at(now), Duration::from_millis(term)).map(|publisher| publisher.0).collect()
    }

    #[test]
    fn a_link_that_lives_keeps_its_publisher_and_the_quietest_comes_first() {
        let (a, b) = (LinkId::accepted(1), LinkId::accepted(2));
        let mut expiry = Expiry::new(at(0));
        expiry.heard(at(1_000), PublisherId(1), a);
        expiry.heard(at(2_000), PublisherId(2), b);
        expiry.look([PublisherId(1), PublisherId(3)].into_iter());
        assert_eq!(quiet(&expiry, 5_000, 3_000), [3, 1, 2]);
        expiry.heard_on(at(4_000), a);
        assert_eq!(quiet(&expiry, 5_000, 3_000), [3, 2]);
        expiry.unlink(a);
        expiry.heard_on(at(6_000), a);
        assert_eq!(
            quiet(&expiry, 7_000, 3_000),
            [3, 2, 1],
            "what comes on a link that is gone counts no more"
        );
        expiry.forgive(at(7_000));
        expiry.look([PublisherId(1), PublisherId(2), PublisherId(3)].into_iter());
        assert_eq!(quiet(&expiry, 9_000, 3_000), Vec::<u128>::new());
    }

    #[test]
    fn sessions_are_taken_into_view_a_few_at_a_time() {
        let all = || (0..2 * EXPIRY_STEP as u128 + 1).map(PublisherId);
        let mut expiry = Expiry::new(at(0));
        for seen in [EXPIRY_STEP, 2 * EXPIRY_STEP, 2 * EXPIRY_STEP + 1] {
            let next = expiry.next.expect("not all were looked at");
            expiry.look(all().skip_while(|publisher| *publisher < next));
            assert_eq!(expiry.order.len(), seen);
        }
        let next = expiry.next.expect("the end was not met yet");
        expiry.look(all().skip_while(|publisher| *publisher < next));
        assert_eq!(expiry.next, None);
    }
}
