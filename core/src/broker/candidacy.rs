//! When a broker tries for the lead, or declares that all data is lost. Safe at any time (R2): the
//! waiting here only keeps several candidates from writing at once.

use crate::group::Change;
use crate::rng::{Backoff, Rng};
use crate::time::{Duration, Instant};
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Stage {
    /// Waits for its turn.
    Waiting(Instant),
    /// Its turn has come: waits for this read round.
    Reading(u64),
}

/// R2: after so many barren reigns in a row a broker leaves the next ones to others.
const BARREN: u32 = 2;

/// An intention to change the group's state, while its reason lasts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Candidacy {
    goal: Option<(Change, Stage)>,
    backoff: Backoff,
    /// When this broker last wrote: another attempt soon after waits for a random while (L5).
    attempted_at: Option<Instant>,
    calm: Duration,
    /// Own reigns since anything was last committed.
    barren: u32,
    /// How long others need to drop this broker.
    drop_time: Duration,
}

/// What a candidate does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing yet.
    Wait,
    /// Ask for a read round and report it with [`Candidacy::reading`].
    Read,
    /// The round has come and the reason still holds: write.
    Write,
}

impl Candidacy {
    /// No intention. An attempt counts as a first one after `calm` without any. Who is silent is dropped by
    /// others within `drop_time`.
    pub const fn new(backoff: Backoff, calm: Duration, drop_time: Duration) -> Self {
        Self { goal: None, backoff, attempted_at: None, calm, barren: 0, drop_time }
    }

    /// There is a reason for this change. A new intention waits for `delay`, and after failed attempts
    /// for a random while more.
    pub fn pursue(
        &mut self,
        now: Instant,
        (change, delay): (Change, Duration),
        round: u64,
        rng: &mut Rng,
    ) -> Step {
        match self.goal {
            Some((goal, Stage::Waiting(at))) if goal == change => match at <= now {
                true => Step::Read,
                false => Step::Wait,
            },
            Some((goal, Stage::Reading(ticket))) if goal == change => match ticket <= round {
                true => Step::Write,
                false => Step::Wait,
            },
            _ => {
                let again = match self.attempted_at {
                    Some(at) if at + self.calm > now => self.backoff.next(rng),
                    _ => Duration::ZERO,
                };
                if again.is_zero() {
                    self.backoff.reset();
                }
                let again = match change {
                    Change::Promote if self.barren >= BARREN && !sabotage!(NeverLeavesItToOthers) => {
                        again.max(self.drop_time + rng.jitter(self.drop_time))
                    }
                    _ => again,
                };
                self.goal = Some((change, Stage::Waiting(now + delay + again)));
                match delay + again {
                    Duration::ZERO => Step::Read,
                    _ => Step::Wait,
                }
            }
        }
    }

    /// The read round that was asked for.
    pub fn reading(&mut self, ticket: u64) {
        if let Some((_, stage)) = &mut self.goal {
            *stage = Stage::Reading(ticket);
        }
    }

    /// The change was written: the next intention is another attempt.
    pub const fn attempted(&mut self, now: Instant) {
        self.goal = None;
        self.attempted_at = Some(now);
    }

    /// A reign begins.
    pub const fn won(&mut self) {
        self.goal = None;
        self.barren = if self.barren < BARREN { self.barren + 1 } else { BARREN };
    }

    /// Something was committed, in this broker's reign or in another's.
    pub const fn committed(&mut self) {
        self.barren = 0;
    }

    /// The reason is gone.
    pub const fn withdraw(&mut self) {
        self.goal = None;
    }

    /// When its turn comes.
    pub const fn deadline(&self) -> Option<Instant> {
        match self.goal {
            Some((_, Stage::Waiting(at))) => Some(at),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    fn candidacy() -> Candidacy {
        let backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(500));
        Candidacy::new(backoff, Duration::from_millis(2_500), SECOND)
    }

    /// When a reign that begins now, and ends at once, may be followed by another.
    fn reigns(candidacy: &mut Candidacy, now: u64, rng: &mut Rng) -> Duration {
        candidacy.attempted(at(now));
        candidacy.won();
        candidacy.pursue(at(now), (Change::Promote, Duration::ZERO), 0, rng);
        candidacy.deadline().map_or(Duration::ZERO, |deadline| deadline - at(now))
    }

    #[test]
    fn whose_reigns_commit_nothing_twice_leaves_the_lead_to_others_for_a_while() {
        let (mut candidacy, mut rng) = (candidacy(), Rng::new(1));
        assert!(reigns(&mut candidacy, 0, &mut rng) < SECOND);
        for now in [1_000, 4_000] {
            let wait = reigns(&mut candidacy, now, &mut rng);
            assert!((SECOND..SECOND * 2).contains(&wait), "{wait:?}");
        }
        candidacy.committed();
        assert!(reigns(&mut candidacy, 9_000, &mut rng) < SECOND);
    }

    #[test]
    fn what_nobody_leads_is_declared_lost_without_that_wait() {
        let (mut candidacy, mut rng) = (candidacy(), Rng::new(1));
        for now in [0, 1_000] {
            reigns(&mut candidacy, now, &mut rng);
        }
        candidacy.withdraw();
        let step = candidacy.pursue(at(60_000), (Change::Reset, Duration::ZERO), 0, &mut rng);
        assert_eq!(step, Step::Read);
    }

    fn pursue(candidacy: &mut Candidacy, now: u64, change: Change, delay: u64) -> Step {
        candidacy.pursue(at(now), (change, Duration::from_millis(delay)), 0, &mut Rng::new(1))
    }

    #[test]
    fn each_intention_waits_for_its_own_turn() {
        let mut candidacy = candidacy();
        assert_eq!(pursue(&mut candidacy, 0, Change::Promote, 20), Step::Wait);
        assert_eq!(pursue(&mut candidacy, 20, Change::Reset, 500), Step::Wait);
        assert_eq!(candidacy.deadline(), Some(at(520)));
        assert_eq!(pursue(&mut candidacy, 519, Change::Reset, 500), Step::Wait);
        assert_eq!(pursue(&mut candidacy, 520, Change::Reset, 500), Step::Read);
        candidacy.reading(1);
        assert_eq!(pursue(&mut candidacy, 530, Change::Promote, 20), Step::Wait);
        assert_eq!(candidacy.deadline(), Some(at(550)), "what was read for another one is no use");
    }
}
