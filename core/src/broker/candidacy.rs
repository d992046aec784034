//! When a broker tries for the lead, or declares that all data is lost. Safe at any time (R2): the
//! waiting here only keeps several candidates from writing at once.

use crate::group::Change;
use crate::rng::{Backoff, Rng};
use crate::time::{Duration, Instant};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Waits for its turn.
    Waiting(Instant),
    /// Its turn has come: waits for this read round.
    Reading(u64),
}

/// An intention to change the group's state, while its reason lasts.
#[derive(Clone, Debug)]
pub struct Candidacy {
    goal: Option<(Change, Stage)>,
    backoff: Backoff,
    /// When this broker last wrote: another attempt soon after waits for a random while (L5).
    attempted_at: Option<Instant>,
    calm: Duration,
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
    /// No intention. An attempt counts as a first one after `calm` without any.
    pub const fn new(backoff: Backoff, calm: Duration) -> Self {
        Self { goal: None, backoff, attempted_at: None, calm }
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

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    fn pursue(candidacy: &mut Candidacy, now: u64, change: Change, delay: u64) -> Step {
        candidacy.pursue(at(now), (change, Duration::from_millis(delay)), 0, &mut Rng::new(1))
    }

    #[test]
    fn each_intention_waits_for_its_own_turn() {
        let backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(100));
        let mut candidacy = Candidacy::new(backoff, Duration::from_secs(1));
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
