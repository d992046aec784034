//! R17: a follower that cannot keep up with the load would never be taken in. While one is on its way,
//! publishers may add half as much as it takes over, so its distance halves with every log that it
//! copies. The group is never stopped for it: something may always be added, and not for ever so little.

use super::{Broker, Role};
use crate::id::Member;
use crate::limits::Timing;
use crate::time::{Duration, Instant};
use crate::trace::Trace;
use serde::{Deserialize, Serialize};

/// Bytes that publishers may add per heartbeat whatever the follower does.
const FLOOR: i64 = 256 << 10;
/// Most bytes that publishers may have saved up.
const CEILING: i64 = 4 << 20;
/// How long publishers are held back at most, and how long they are then left alone.
const TERM: Duration = Duration::from_secs(60);

/// A follower that is on its way.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Learner {
    member: Member,
    /// Since when it has not been up to date.
    since: Instant,
    /// Bytes that it had taken over when last looked at.
    delivered: u64,
    /// When it was first up to date: it is about to be taken in.
    reached: Option<Instant>,
}

/// What is seen of a follower that is not in sync.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Who.
    pub member: &'a Member,
    /// Bytes that it has taken over so far.
    pub delivered: u64,
    /// There is more for it than is on its way.
    pub behind: bool,
}

/// How much publishers may add.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Throttle {
    learner: Option<Learner>,
    /// Since when publishers are held back.
    engaged: Option<Instant>,
    rest_until: Instant,
    /// Bytes that may be added; below zero after a batch that was larger.
    allowance: i64,
    refill_at: Instant,
}

impl Throttle {
    /// Looks at the follower that is on its way, if there is one. Returns whether publishers are held back from now on, or are no more.
    pub fn observe(&mut self, now: Instant, learner: Option<Seen<'_>>, timing: &Timing) -> Option<bool> {
        let before = self.engaged.is_some();
        match learner {
            None if sabotage!(HeldBackForNobody) => self.learner = None,
            None => (self.learner, self.engaged) = (None, None),
            Some(seen) => self.follow(now, seen, timing),
        }
        let reached = self.learner.as_ref().and_then(|learner| learner.reached);
        let overdue = reached.is_some_and(|reached| reached + timing.suspicion * 4 <= now);
        if let Some(since) = self.engaged
            && (overdue || since + TERM <= now)
        {
            (self.learner, self.engaged) = (None, None);
            self.rest_until = now + TERM;
        }
        let after = self.engaged.is_some();
        (before != after).then_some(after)
    }

    fn follow(&mut self, now: Instant, Seen { member, delivered, behind }: Seen<'_>, timing: &Timing) {
        match &mut self.learner {
            Some(known) if known.member == *member => {
                let more = signed(delivered.saturating_sub(known.delivered) / 2);
                known.delivered = delivered;
                known.reached = known.reached.or((!behind).then_some(now));
                self.allowance = self.allowance.saturating_add(more).min(CEILING);
                let patient = known.since + timing.suspicion * 4 > now;
                if self.engaged.is_none() && !patient && self.rest_until <= now {
                    self.engaged = Some(now);
                }
            }
            _ => {
                let member = member.clone();
                self.learner = Some(Learner { member, since: now, delivered, reached: None });
            }
        }
        if self.refill_at <= now {
            self.allowance = self.allowance.max((self.allowance + FLOOR).min(FLOOR));
            self.refill_at = now + timing.heartbeat;
        }
    }

    /// Whether publishers are held back for this follower.
    pub fn is_for(&self, member: &Member) -> bool {
        self.engaged.is_some() && self.learner.as_ref().is_some_and(|learner| learner.member == *member)
    }

    /// Whether nothing may be added behind `more` bytes.
    pub fn is_exhausted(&self, more: u64) -> bool {
        self.engaged.is_some() && self.allowance <= signed(more)
    }

    /// So many bytes were added.
    pub fn spend(&mut self, bytes: u64) {
        if self.engaged.is_some() {
            self.allowance = self.allowance.saturating_sub(signed(bytes));
        }
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

impl Broker {
    /// Looks whether a follower needs publishers to be held back.
    pub(super) fn throttle(&mut self, now: Instant) {
        let Role::Primary(primary) = &mut self.role else { return };
        let Some((state, _)) = &self.registry.view().state else { return };
        let (timing, end) = (&self.config.timing, self.replica.log().end());
        // One that does not move is sick: it is not waited for.
        // One that is up to date is helped on until it is in sync, or is found not to get there.
        let learner = primary.followers.iter().find(|(member, follower)| {
            follower.is_attached()
                && (!follower.has_been_sent(end) || primary.throttle.is_for(member))
                && follower.progressed() + timing.suspicion * 2 > now
                && !state.in_sync.contains(member)
        });
        let seen = learner.map(|(member, follower)| Seen {
            member,
            delivered: follower.delivered(),
            behind: !follower.has_been_sent(end),
        });
        if let Some(engaged) = primary.throttle.observe(now, seen, timing) {
            let member = learner.filter(|_| engaged).map(|(member, _)| member.clone());
            self.io.out.trace(Trace::Throttled { member });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Generation, NodeName};

    fn member() -> Member {
        Member { node: NodeName::new("b").unwrap(), generation: Generation(1) }
    }

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    fn seen(member: &Member, delivered: u64) -> Option<Seen<'_>> {
        Some(Seen { member, delivered, behind: true })
    }

    /// Looks every 10 ms at a follower that takes over so many bytes each time; returns when publishers
    /// were held back and let go.
    fn watch(throttle: &mut Throttle, (from, to): (u64, u64), step: u64) -> alloc::vec::Vec<(u64, bool)> {
        let (member, timing) = (member(), Timing::default());
        let mut look = |ms| Some((ms, throttle.observe(at(ms), seen(&member, ms / 10 * step), &timing)?));
        (from / 10..to / 10).filter_map(|ten| look(ten * 10)).collect()
    }

    #[test]
    fn publishers_are_held_back_after_a_while_for_a_while() {
        let mut throttle = Throttle::default();
        assert_eq!(watch(&mut throttle, (0, 150_000), 1), [(1_000, true), (61_000, false), (121_000, true)]);
        assert_eq!(throttle.observe(at(150_000), None, &Timing::default()), Some(false));
        assert!(!throttle.is_exhausted(u64::MAX));
    }

    #[test]
    fn a_follower_that_is_up_to_date_and_not_taken_in_is_helped_for_a_while_only() {
        let mut throttle = Throttle::default();
        watch(&mut throttle, (0, 1_010), 1);
        let (member, timing) = (member(), Timing::default());
        let up_to_date = Some(Seen { member: &member, delivered: 200, behind: false });
        assert_eq!(throttle.observe(at(1_100), up_to_date, &timing), None);
        assert!(throttle.is_for(&member));
        assert_eq!(throttle.observe(at(2_100), up_to_date, &timing), Some(false));
        assert_eq!(throttle.observe(at(50_000), up_to_date, &timing), None);
    }

    #[test]
    fn half_of_what_the_follower_takes_may_be_added() {
        let mut throttle = Throttle::default();
        watch(&mut throttle, (0, 1_010), 0);
        throttle.spend(FLOOR as u64);
        assert!(throttle.is_exhausted(0));
        let (member, timing) = (member(), Timing::default());
        throttle.observe(at(1_011), seen(&member, 1_000), &timing);
        assert!(!throttle.is_exhausted(499) && throttle.is_exhausted(500));
        throttle.spend(500);
        throttle.observe(at(1_060), seen(&member, 1_000), &timing);
        assert!(!throttle.is_exhausted(FLOOR as u64 - 1), "something may always be added");
        throttle.spend(3 * FLOOR as u64);
        throttle.observe(at(1_110), seen(&member, 1_000), &timing);
        assert!(throttle.is_exhausted(0), "a large batch is paid for");
        throttle.observe(at(1_120), seen(&member, 1 << 40), &timing);
        assert!(throttle.is_exhausted(CEILING as u64) && !throttle.is_exhausted(CEILING as u64 - 1));
    }
}
