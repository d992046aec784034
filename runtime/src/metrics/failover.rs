//! Failovers, told by the broker that took over: what happened when, on its own clock alone. Everything
//! is derived from the trace, the commit offset and two counters, and only here.

use super::schema::{Measurement, count, fields, milliseconds};
use std::fmt;
use std::time::Duration;
use steadfast_core::group::Change;
use steadfast_core::id::{Epoch, Offset};
use steadfast_core::time::Instant;
use steadfast_core::trace::{Suspicion, Trace};

/// How long a new primary is watched for its first delivery and first acknowledgement, after it has
/// begun to serve. Where nobody publishes or subscribes neither comes.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a broker took over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It suspected the primary.
    Suspected(Suspicion),
    /// There was no primary.
    Vacancy,
    /// Neither: the primary was handed over, or named anew.
    Takeover,
}

impl Cause {
    /// As a tag.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Suspected(Suspicion::Silence) => "silence",
            Self::Suspected(Suspicion::Refused) => "refused",
            Self::Suspected(Suspicion::NotLive) => "not_live",
            Self::Suspected(Suspicion::Replaced) => "replaced",
            Self::Suspected(Suspicion::Leaving) => "handover",
            Self::Vacancy => "vacancy",
            Self::Takeover => "takeover",
        }
    }
}

/// One failover. Durations count from its beginning: the suspicion, or what else made the broker stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failover {
    /// The epoch that began.
    pub epoch: Epoch,
    /// Why.
    pub cause: Cause,
    /// When, on the broker's clock.
    pub began: Instant,
    /// How long before the beginning the commit offset last moved here, as far as this broker saw it;
    /// zero if it moved later; `None` if it never did.
    pub commit_age: Option<Duration>,
    /// Until the promotion was written.
    pub proposed: Option<Duration>,
    /// Until the write was known to hold.
    pub elected: Duration,
    /// Until the epoch's first record was committed: the end of the outage for clients that are there.
    pub serving: Option<Duration>,
    /// Until the first subscriber was sent records.
    pub delivered: Option<Duration>,
    /// Until the first publisher was sent an acknowledgement.
    pub acked: Option<Duration>,
}

/// The point of a failover.
pub const FAILOVER: Measurement<Failover> = Measurement {
    name: "steadfast_failover",
    about: "One point for each failover, at the time it began, sent by the broker that took over; all times are on its own clock. A group's very first primary is none. A phase that did not come within 10 s after the first record's commit, or before the broker lost the lead again, is absent.",
    tags: &[(
        "cause",
        "why the broker took over: `silence`, `refused`, `not_live`, `replaced` (suspicions), `handover` (the primary left and asked for it), `vacancy` (there was no primary), `takeover` (neither)",
    )],
    fields: fields! {
        "epoch", "", "the epoch that began" => |f| count(f.epoch);
        "commit_age_ms", "ms", "how long before the suspicion this broker last saw the commit offset move" => |f| f.commit_age.and_then(milliseconds);
        "proposed_ms", "ms", "from the suspicion to the sending of the promotion" => |f| f.proposed.and_then(milliseconds);
        "elected_ms", "ms", "from the suspicion until the promotion was known to hold" => |f| milliseconds(f.elected);
        "serving_ms", "ms", "from the suspicion to the commit of the epoch's first record" => |f| f.serving.and_then(milliseconds);
        "delivered_ms", "ms", "from the suspicion to the first records sent to a subscriber" => |f| f.delivered.and_then(milliseconds);
        "acked_ms", "ms", "from the suspicion to the first acknowledgement sent to a publisher" => |f| f.acked.and_then(milliseconds);
    },
};

impl fmt::Display for Failover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        write!(f, "failover to epoch {} because of {}:", self.epoch, self.cause.name())?;
        match self.commit_age {
            Some(age) => write!(f, " last commit {:.1} ms before;", ms(age))?,
            None => f.write_str(" no commit before;")?,
        }
        f.write_str(" after that")?;
        let phases = [
            ("promotion sent", self.proposed),
            ("known", Some(self.elected)),
            ("serving", self.serving),
            ("first delivery", self.delivered),
            ("first acknowledgement", self.acked),
        ];
        for (name, time) in phases {
            match time {
                Some(time) => write!(f, " {name} {:.1} ms,", ms(time))?,
                None => write!(f, " {name} -,")?,
            }
        }
        f.write_str(" on this broker's clock")
    }
}

/// What a broker shows after a turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Its commit offset.
    pub commit: Offset,
    /// Batches sent to subscribers so far.
    pub delivered: u64,
    /// Acknowledgements sent to publishers so far.
    pub acked: u64,
    /// Whether it is a backup and suspects its primary.
    pub suspects: bool,
}

/// Follows one broker.
#[derive(Debug, Default)]
pub struct Tracker {
    leads: bool,
    began: Option<(Instant, Cause)>,
    proposed: Option<Instant>,
    progress: Progress,
    committed: Option<Instant>,
    reign: Option<Reign>,
}

/// The beginning of a reign, until it is reported.
#[derive(Debug)]
struct Reign {
    failover: Failover,
    /// As it was before.
    before: Progress,
    /// When it is reported at the latest; `None` until it serves.
    until: Option<Instant>,
}

impl Tracker {
    /// Takes a trace record. Returns a failover that is complete, or will not be.
    pub fn traced(&mut self, now: Instant, trace: &Trace) -> Option<Failover> {
        match trace {
            // A primary's suspicions are of its followers.
            Trace::Suspected { cause, .. } if !self.leads => {
                self.began = Some((now, Cause::Suspected(*cause)));
            }
            Trace::BecameBackup { primary, .. } => {
                // Without a primary the same outage goes on.
                let since = self.began.take().map_or(now, |(since, _)| since);
                self.began = primary.is_none().then_some((since, Cause::Vacancy));
                self.proposed = None;
            }
            Trace::Proposed { change: Change::Promote, .. } => self.proposed = Some(now),
            Trace::BecamePrimary { epoch, .. } => {
                let before = self.finish();
                self.begin(now, *epoch);
                return before;
            }
            Trace::EpochCommitted { epoch, .. } => {
                if let Some(reign) = self.reign.as_mut().filter(|reign| reign.failover.epoch == *epoch) {
                    reign.failover.serving = Some(now - reign.failover.began);
                    reign.until = Some(now + PATIENCE);
                }
            }
            Trace::SteppedDown { .. } => {
                self.leads = false;
                self.began = Some((now, Cause::Vacancy));
                return self.finish();
            }
            _ => {}
        }
        None
    }

    /// Takes what the broker shows after a turn. Returns a failover that is complete.
    pub fn turned(&mut self, now: Instant, progress: Progress) -> Option<Failover> {
        if progress.commit != self.progress.commit {
            self.committed = Some(now);
        }
        self.progress = progress;
        if let Some((_, Cause::Suspected(_))) = self.began
            && !progress.suspects
        {
            // The primary was heard again.
            self.began = None;
        }
        let Reign { failover, before, until } = self.reign.as_mut()?;
        let since = now - failover.began;
        if progress.delivered > before.delivered {
            failover.delivered.get_or_insert(since);
        }
        if progress.acked > before.acked {
            failover.acked.get_or_insert(since);
        }
        let complete = failover.delivered.is_some() && failover.acked.is_some();
        match complete || until.is_some_and(|until| until <= now) {
            true => self.finish(),
            false => None,
        }
    }

    /// Nothing more comes: returns what there is.
    pub fn finish(&mut self) -> Option<Failover> {
        self.reign.take().map(|reign| reign.failover)
    }

    /// When it has to be looked at.
    pub fn deadline(&self) -> Option<Instant> {
        self.reign.as_ref()?.until
    }

    fn begin(&mut self, now: Instant, epoch: Epoch) {
        self.leads = true;
        let proposed = self.proposed.take();
        let takeover = (proposed.unwrap_or(now), Cause::Takeover);
        let (began, cause) = self.began.take().unwrap_or(takeover);
        // A group's first primary replaces nobody.
        if epoch <= 1 {
            return;
        }
        let failover = Failover {
            epoch,
            cause,
            began,
            commit_age: self.committed.map(|committed| began - committed),
            proposed: proposed.map(|proposed| proposed - began),
            elected: now - began,
            serving: None,
            delivered: None,
            acked: None,
        };
        self.reign = Some(Reign { failover, before: self.progress, until: None });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use steadfast_core::id::NodeName;

    const NOTHING: Progress = Progress { commit: 0, delivered: 0, acked: 0, suspects: false };

    fn at(milliseconds: u64) -> Instant {
        Instant::from_nanos(milliseconds * 1_000_000)
    }

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn name() -> NodeName {
        NodeName::new("a").unwrap()
    }

    fn suspected(cause: Suspicion) -> Trace {
        Trace::Suspected { node: name(), cause }
    }

    fn promoted(tracker: &mut Tracker, epoch: Epoch, times: [u64; 2]) {
        let change = Change::Promote;
        assert_eq!(tracker.traced(at(times[0]), &Trace::Proposed { change, epoch, config: 1 }), None);
        assert_eq!(tracker.traced(at(times[1]), &Trace::BecamePrimary { epoch, start: 5 }), None);
    }

    #[test]
    fn every_phase_is_told_in_order() {
        let mut tracker = Tracker::default();
        tracker.turned(at(50), Progress { commit: 5, ..NOTHING });
        tracker.turned(at(90), Progress { commit: 5, ..NOTHING });
        tracker.traced(at(100), &suspected(Suspicion::Refused));
        promoted(&mut tracker, 2, [103, 107]);
        assert_eq!(tracker.turned(at(107), Progress { commit: 5, ..NOTHING }), None);
        tracker.traced(at(110), &Trace::EpochCommitted { epoch: 2, commit: 6 });
        tracker.traced(at(111), &suspected(Suspicion::NotLive));
        assert_eq!(tracker.turned(at(111), Progress { commit: 6, ..NOTHING }), None);
        assert_eq!(
            tracker.turned(at(120), Progress { commit: 7, delivered: 0, acked: 1, suspects: false }),
            None
        );
        let failover =
            tracker.turned(at(130), Progress { commit: 7, delivered: 3, acked: 4, suspects: false }).unwrap();
        let expected = Failover {
            epoch: 2,
            cause: Cause::Suspected(Suspicion::Refused),
            began: at(100),
            commit_age: Some(ms(50)),
            proposed: Some(ms(3)),
            elected: ms(7),
            serving: Some(ms(10)),
            delivered: Some(ms(30)),
            acked: Some(ms(20)),
        };
        assert_eq!(failover, expected);
        assert_eq!(tracker.turned(at(140), NOTHING), None, "once");
        let line = failover.to_string();
        for part in [
            "epoch 2",
            "refused",
            "50.0 ms before",
            "sent 3.0",
            "known 7.0",
            "serving 10.0",
            "delivery 30.0",
            "acknowledgement 20.0",
        ] {
            assert!(line.contains(part), "{part}: {line}");
        }
    }

    #[test]
    fn what_does_not_come_is_absent_after_a_while() {
        let mut tracker = Tracker::default();
        tracker.traced(at(100), &Trace::BecameBackup { epoch: 4, primary: None });
        promoted(&mut tracker, 5, [200, 300]);
        tracker.traced(at(400), &Trace::EpochCommitted { epoch: 5, commit: 1 });
        assert_eq!(tracker.deadline(), Some(at(400) + PATIENCE));
        assert_eq!(tracker.turned(at(500), NOTHING), None);
        let failover = tracker.turned(at(400) + PATIENCE, NOTHING).unwrap();
        assert_eq!((failover.cause, failover.serving), (Cause::Vacancy, Some(ms(300))));
        assert_eq!((failover.commit_age, failover.delivered, failover.acked), (None, None, None));
        assert!(failover.to_string().contains("first delivery -"), "{failover}");
        assert_eq!(tracker.deadline(), None);
    }

    #[test]
    fn a_reign_that_ends_early_is_told_as_far_as_it_came() {
        let mut tracker = Tracker::default();
        tracker.traced(at(1), &suspected(Suspicion::Silence));
        promoted(&mut tracker, 7, [2, 3]);
        let failover = tracker.traced(at(9), &Trace::SteppedDown { epoch: 7 }).unwrap();
        assert_eq!((failover.epoch, failover.serving), (7, None));
        assert_eq!(tracker.finish(), None);
    }

    #[test]
    fn a_suspicion_of_a_primary_that_was_followed_since_is_forgotten() {
        let mut tracker = Tracker::default();
        tracker.traced(at(1), &suspected(Suspicion::Silence));
        tracker.traced(at(2), &Trace::BecameBackup { epoch: 2, primary: Some(name()) });
        promoted(&mut tracker, 3, [50, 60]);
        let failover = tracker.finish().unwrap();
        assert_eq!((failover.cause, failover.began), (Cause::Takeover, at(50)));
        assert_eq!((failover.proposed, failover.elected), (Some(Duration::ZERO), ms(10)));
    }

    #[test]
    fn a_false_alarm_is_no_beginning() {
        let mut tracker = Tracker::default();
        tracker.traced(at(10), &suspected(Suspicion::Silence));
        tracker.turned(at(10), Progress { suspects: true, ..NOTHING });
        tracker.turned(at(20), NOTHING);
        tracker.traced(at(5_000), &Trace::BecameBackup { epoch: 3, primary: None });
        promoted(&mut tracker, 4, [5_010, 5_020]);
        let failover = tracker.finish().unwrap();
        assert_eq!((failover.cause, failover.began), (Cause::Vacancy, at(5_000)));
    }

    /// The members were gone, and the group had to be reset before anybody could lead: the outage began
    /// with the suspicion.
    #[test]
    fn a_vacancy_after_a_suspicion_is_the_same_outage() {
        let mut tracker = Tracker::default();
        tracker.traced(at(10), &suspected(Suspicion::NotLive));
        tracker.turned(at(11), Progress { suspects: true, ..NOTHING });
        tracker.traced(at(2_500), &Trace::BecameBackup { epoch: 3, primary: None });
        tracker.turned(at(2_501), NOTHING);
        promoted(&mut tracker, 4, [2_510, 2_520]);
        let failover = tracker.finish().unwrap();
        assert_eq!((failover.cause, failover.began), (Cause::Vacancy, at(10)));
        assert_eq!((failover.proposed, failover.elected), (Some(ms(2_500)), ms(2_510)));
    }

    /// R34: asked by a primary that leaves.
    #[test]
    fn a_handover_has_every_phase() {
        let mut tracker = Tracker::default();
        let progress = |commit, delivered, acked| Progress { commit, delivered, acked, suspects: false };
        tracker.turned(at(90), progress(5, 0, 0));
        tracker.traced(at(100), &suspected(Suspicion::Leaving));
        tracker.turned(at(100), Progress { suspects: true, ..progress(5, 0, 0) });
        promoted(&mut tracker, 2, [101, 103]);
        tracker.traced(at(104), &Trace::EpochCommitted { epoch: 2, commit: 6 });
        let failover = tracker.turned(at(110), progress(8, 2, 1)).unwrap();
        assert_eq!((failover.cause.name(), failover.commit_age), ("handover", Some(ms(10))));
        let phases = [failover.proposed, Some(failover.elected), failover.serving];
        assert_eq!(phases, [Some(ms(1)), Some(ms(3)), Some(ms(4))]);
        assert_eq!([failover.delivered, failover.acked], [Some(ms(10)); 2]);
    }

    #[test]
    fn a_primary_that_is_elected_again_did_not_suspect_itself() {
        let mut tracker = Tracker::default();
        promoted(&mut tracker, 1, [5, 6]);
        tracker.traced(at(7), &suspected(Suspicion::NotLive));
        tracker.traced(at(20), &Trace::SteppedDown { epoch: 1 });
        promoted(&mut tracker, 2, [30, 40]);
        let failover = tracker.finish().unwrap();
        assert_eq!((failover.cause, failover.began), (Cause::Vacancy, at(20)));
    }

    #[test]
    fn the_first_primary_of_a_group_is_no_failover() {
        let mut tracker = Tracker::default();
        promoted(&mut tracker, 1, [5, 6]);
        tracker.traced(at(7), &Trace::EpochCommitted { epoch: 1, commit: 1 });
        assert_eq!(
            tracker.turned(at(60_000), Progress { commit: 9, delivered: 9, acked: 9, suspects: false }),
            None
        );
        assert_eq!(tracker.finish(), None);
    }
}
