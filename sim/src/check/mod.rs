//! The invariants, one property per file. Checkers work on recorded facts, never on nodes: whoever
//! drives nodes says what it saw, and a test can tell any story.
//!
//! [`Checks::observe`] first lets the [`Ledger`] take a fact in and then shows it to every checker.

pub mod acked_durable;
pub mod admission_grounds;
pub mod believes_forward;
pub mod candidate_complete;
pub mod commit_monotone;
pub mod commits_counted;
pub mod committed_stable;
pub mod compresses_by_leave;
pub mod conditional_writes;
pub mod config_intent;
pub mod counts_verified;
pub mod credit_kept;
pub mod damage_noticed;
pub mod dead_session;
pub mod delivery_due;
pub mod departure_due;
pub mod duty;
pub mod election;
pub mod enough_copies;
pub mod exactly_once_in_log;
mod fact;
pub mod floor_monotone;
pub mod follows_route;
pub mod fresh_head;
pub mod fresh_route;
pub mod handover;
pub mod handover_settled;
pub mod held_up;
pub mod history_cut;
pub mod leads_by_right;
pub mod leaves_in_order;
pub mod leaving;
pub mod ledger;
pub mod live_session;
pub mod log_matching;
mod loss;
pub mod loss_grounds;
pub mod newest_heard;
pub mod no_flapping;
pub mod no_phantom;
pub mod no_premature_visibility;
pub mod nothing_missing;
pub mod one_primary_per_epoch;
pub mod outcomes;
pub mod promotion_grounds;
pub mod proposal;
pub mod pub_fencing;
mod records;
pub mod release_due;
pub mod removal_due;
pub mod removal_grounds;
pub mod retained;
pub mod route_monotone;
pub mod session_fold;
pub mod silence_grounds;
pub mod silenced;
pub mod sleepers_ask;
pub mod stream_wanted;
pub mod sub_prefix;
pub mod succession_due;
pub mod superset_quorum;
pub mod takes_from_primary;
#[cfg(test)]
mod testing;
pub mod told_of_changes;
pub mod trim_due;
pub mod trim_safe;
pub mod unread_bounded;
pub mod within_memory;

pub use fact::{ClientId, Fact, Kind};
pub use ledger::Ledger;
pub use loss::Loss;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use steadfast_core::broker::retention::Retention;
use strum::EnumCount as _;

/// One property. `Err` says what was violated and how.
pub trait Check: Fork + fmt::Debug {
    /// Its name, as the protocol's documentation has it.
    fn name(&self) -> &'static str;

    /// What it has anything to say to: it is shown no other facts.
    fn hears(&self) -> &'static [Kind];

    /// Looks at a fact that the ledger has taken in.
    ///
    /// # Errors
    /// When the fact violates the property.
    fn check(&mut self, ledger: &Ledger, fact: &Fact<'_>) -> Result<(), String>;
}

/// Makes an independent copy, so that one history can go on in several ways.
pub trait Fork {
    /// The copy.
    fn fork(&self) -> Box<dyn Check>;
}

impl<C: Check + Clone + 'static> Fork for C {
    fn fork(&self) -> Box<dyn Check> {
        Box::new(self.clone())
    }
}

impl Clone for Box<dyn Check> {
    fn clone(&self) -> Self {
        // Through the reference: the box itself could be forked too.
        (**self).fork()
    }
}

/// A property does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which property.
    pub property: &'static str,
    /// What was seen.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.property, self.detail)
    }
}

/// What has to be known of a cluster's settings. Times allow for clocks that are wrong.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// A primary falls silent within so long of the end of its reign.
    pub silence: Duration,
    /// A session lives for so long at least after its publisher was heard of.
    pub session: Duration,
    /// And about so long at most.
    pub session_term: Duration,
    /// Nobody suspects a primary for a shorter silence.
    pub suspicion: Duration,
    /// Nobody drops a member, or gives data up, that was well so lately.
    pub lag: Duration,
    /// No primary falls silent that has heard so lately of everybody.
    pub step_down: Duration,
    /// Who was heard so long ago was not heard lately.
    pub lately: Duration,
    /// Each candidate waits for so long at least for those before it.
    pub turn: Duration,
    /// A handover that does not come about is given up within so long.
    pub handover: Duration,
    /// Before it is tried again so much time passes.
    pub rest: Duration,
    /// A member that leaves waits for so long to be dropped.
    pub goodbye: Duration,
    /// A primary does not wait for longer for a follower that is not in the set.
    pub held_up: Duration,
    /// What is due is done within this.
    pub due: duty::Due,
    /// What is kept.
    pub retention: Retention,
    /// Memory for the log, and for what is not committed, in bytes.
    pub memory: (u64, u64),
    /// So many records may wait at a publisher, of so many bytes.
    pub queue: (usize, usize),
    /// So many body bytes may wait for a subscriber's application, and one batch.
    pub unread: u64,
}

/// The ledger and all checkers.
#[derive(Clone, Debug)]
pub struct Checks {
    ledger: Ledger,
    checks: Vec<Box<dyn Check>>,
    /// The places of the checkers that hear each kind of fact.
    hearers: Arc<[Vec<usize>; Kind::COUNT]>,
}

impl Default for Checks {
    fn default() -> Self {
        let checks: Vec<Box<dyn Check>> = vec![
            Box::new(committed_stable::CommittedStable),
            Box::new(candidate_complete::CandidateComplete),
            Box::<acked_durable::AckedDurable>::default(),
            Box::<log_matching::LogMatching>::default(),
            Box::<one_primary_per_epoch::OnePrimaryPerEpoch>::default(),
            Box::<floor_monotone::FloorMonotone>::default(),
            Box::<fresh_head::FreshHead>::default(),
            Box::new(fresh_route::FreshRoute),
            Box::<no_premature_visibility::NoPrematureVisibility>::default(),
            Box::<commit_monotone::CommitMonotone>::default(),
            Box::<exactly_once_in_log::ExactlyOnceInLog>::default(),
            Box::<pub_fencing::PubFencing>::default(),
            Box::<no_phantom::NoPhantom>::default(),
            Box::<sub_prefix::SubPrefix>::default(),
            Box::<history_cut::HistoryCut>::default(),
            Box::<nothing_missing::NothingMissing>::default(),
            Box::<superset_quorum::SupersetQuorum>::default(),
            Box::<counts_verified::CountsVerified>::default(),
            Box::<commits_counted::CommitsCounted>::default(),
            Box::<session_fold::SessionFold>::default(),
            Box::new(trim_safe::TrimSafe),
            Box::<config_intent::ConfigIntent>::default(),
            Box::<enough_copies::EnoughCopies>::default(),
            Box::<no_flapping::NoFlapping>::default(),
            Box::<route_monotone::RouteMonotone>::default(),
            Box::new(conditional_writes::ConditionalWrites),
            Box::new(takes_from_primary::TakesFromPrimary),
            Box::new(compresses_by_leave::CompressesByLeave),
            Box::new(newest_heard::NewestHeard),
            Box::new(believes_forward::BelievesForward),
            Box::<credit_kept::CreditKept>::default(),
            Box::new(leads_by_right::LeadsByRight),
            Box::new(told_of_changes::ToldOfChanges),
            Box::new(damage_noticed::DamageNoticed),
            Box::<stream_wanted::StreamWanted>::default(),
            Box::new(follows_route::FollowsRoute),
            Box::new(sleepers_ask::SleepersAsk),
        ];
        Self::of(checks)
    }
}

impl Checks {
    /// Nothing has happened, and only these properties are of interest.
    pub fn of(checks: Vec<Box<dyn Check>>) -> Self {
        Self::knowing(Ledger::default(), checks)
    }

    /// So much is known already, and only these properties are of interest.
    pub(crate) fn knowing(ledger: Ledger, checks: Vec<Box<dyn Check>>) -> Self {
        let mut hearers = [const { Vec::new() }; Kind::COUNT];
        for (place, check) in checks.iter().enumerate() {
            check.hears().iter().for_each(|kind| hearers[*kind as usize].push(place));
        }
        Self { ledger, checks, hearers: Arc::new(hearers) }
    }

    /// The same as by default, and what depends on settings.
    pub fn under(terms: &Terms) -> Self {
        let mut checks = Self::default().checks;
        let (log, uncommitted) = terms.memory;
        let (records, bytes) = terms.queue;
        checks.extend([
            Box::new(silenced::Silenced::within(terms.silence)) as Box<dyn Check>,
            Box::new(live_session::LiveSession::for_at_least(terms.session)),
            Box::new(dead_session::DeadSession::after(terms.session_term)),
            Box::new(promotion_grounds::PromotionGrounds::after(terms.suspicion, terms.turn, terms.lag)),
            Box::new(handover_settled::HandoverSettled::within(terms.handover, terms.rest)),
            Box::new(removal_grounds::RemovalGrounds::after(terms.lag)),
            Box::new(admission_grounds::AdmissionGrounds::within(terms.lately)),
            Box::new(loss_grounds::LossGrounds::after(terms.lag)),
            Box::new(silence_grounds::SilenceGrounds::after(terms.step_down)),
            Box::new(leaves_in_order::LeavesInOrder::after(terms.goodbye)),
            Box::new(held_up::HeldUp::for_at_most(terms.held_up)),
            Box::new(within_memory::WithinMemory::of(log, uncommitted)),
            Box::new(retained::Retained::of(terms.retention)),
            Box::new(outcomes::Outcomes::with_queue_of(records, bytes)),
            Box::new(unread_bounded::UnreadBounded::by(terms.unread)),
            Box::new(removal_due::RemovalDue::within(terms.due.lag)),
            Box::new(succession_due::SuccessionDue::within(terms.due)),
            Box::new(trim_due::TrimDue::after(terms.retention.age)),
            Box::new(release_due::ReleaseDue::within(terms.due.learner)),
            Box::new(delivery_due::DeliveryDue),
            Box::new(departure_due::DepartureDue::within(terms.due)),
        ]);
        Self::of(checks)
    }

    /// Takes a fact in and checks every property.
    ///
    /// # Errors
    /// The first property that does not hold.
    pub fn observe(&mut self, fact: &Fact<'_>) -> Result<(), Violation> {
        self.ledger.take(fact).map_err(|detail| Violation { property: "Ledger", detail })?;
        for place in &self.hearers[Kind::from(fact) as usize] {
            let check = &mut self.checks[*place];
            if let Err(detail) = check.check(&self.ledger, fact) {
                return Err(Violation { property: check.name(), detail });
            }
        }
        self.ledger.forget_names();
        Ok(())
    }

    /// What is known.
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }
}
