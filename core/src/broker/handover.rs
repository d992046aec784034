//! Leaving without an outage (R34, R12, R27a). A primary waits until a backup has everything, asks it
//! to take over, and stays primary until the tree names another one. A backup lets its live node go
//! first and acknowledges until it is not counted any more; should the primary die meanwhile, it comes
//! back and stands for the lead. The last one in sync declares what is lost.

use super::followers::Follower;
use super::{Broker, Event, Role};
use crate::group::{Change, GroupState};
use crate::id::{Epoch, Member, NodeName};
use crate::limits::{LEARNER_DEADLINE, MAX_DRAIN_REQUESTS, RETRY_SOON, SHUTDOWN_DEADLINE, Timing};
use crate::link::LinkId;
use crate::message::{Departure, Message, Refusal, TakeOver};
use crate::time::{Duration, Instant};
use crate::trace::{Rejection, Suspicion, Trace};
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// One backup is being made primary.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Attempt {
    target: Member,
    until: Instant,
    /// It has everything and was asked.
    asked: bool,
}

/// What a broker that was asked to leave has done for it so far.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Shutdown {
    /// When it was asked, or woke up since.
    asked: Instant,
    /// In which epoch it was primary then.
    reign: Option<Epoch>,
    /// When it leaves whatever happens.
    deadline: Instant,
    /// R27a: until when it waits for followers that may save what only it holds.
    learners_until: Instant,
    /// The read round that tells who else is alive.
    round: u64,
    /// Who asked by a frame and is told how it ended.
    askers: BTreeSet<LinkId>,
    /// It was primary at some time since.
    led: bool,
    attempt: Option<Attempt>,
    /// Who has not taken over when asked.
    tried: Vec<Member>,
    /// Between two attempts publishers get their turn.
    rest_until: Instant,
    /// Until when a backup waits for the primary to drop it, or to commit its epoch's first record.
    goodbye_until: Option<Instant>,
    /// To whom it has handed over. Until then it tells clients so.
    farewell: Option<(NodeName, Instant)>,
}

impl Shutdown {
    fn new(now: Instant, reign: Option<Epoch>, round: u64) -> Self {
        Self {
            asked: now,
            reign,
            deadline: now + sabotage!(StaysBeyondItsTerm => SHUTDOWN_DEADLINE * 100; SHUTDOWN_DEADLINE),
            learners_until: now + LEARNER_DEADLINE,
            round,
            askers: BTreeSet::new(),
            led: false,
            attempt: None,
            tried: Vec::new(),
            rest_until: now,
            goodbye_until: None,
            farewell: None,
        }
    }

    /// This process was not running: what it has heard since the order was perhaps long ago.
    pub(super) const fn forgive(&mut self, now: Instant) {
        self.asked = now;
    }

    /// When it ends at the latest. Everything else is looked at with each heartbeat.
    pub(super) fn deadline(&self) -> Instant {
        self.farewell.as_ref().map_or(self.deadline, |(_, until)| *until)
    }
}

/// How long a backup may take to become primary, from when batches are held back.
fn patience(timing: &Timing) -> Duration {
    timing.suspicion * 2
}

impl Broker {
    /// Asked to leave, once or again.
    pub(super) fn begin_shutdown(&mut self, now: Instant) {
        if self.shutdown.is_none() {
            // R27a: who else is alive must not be an older answer.
            let round = self.registry.refresh_linearizable(&mut self.io.context(now));
            self.shutdown = Some(Shutdown::new(now, self.leads(), round));
        }
    }

    /// An operator asks the broker to leave, and wants to know how it does.
    pub(super) fn handle_drain(&mut self, now: Instant, link: LinkId) {
        self.begin_shutdown(now);
        let Some(shutdown) = &mut self.shutdown else { return };
        if shutdown.askers.len() >= MAX_DRAIN_REQUESTS && !shutdown.askers.contains(&link) {
            let (publisher, retry_after) = (crate::id::PublisherId::default(), RETRY_SOON);
            return self.refuse(link, Refusal::Busy { publisher, expect: 0, retry_after });
        }
        let farewell = shutdown.farewell.clone();
        if farewell.is_none() {
            shutdown.askers.insert(link);
        }
        self.send(link, &Message::Drained(Departure::Begun));
        if let Some((successor, _)) = farewell {
            self.send(link, &Message::Drained(Departure::HandedOver { successor }));
        }
    }

    /// R34: the primary asks this backup to take its place. Only the tree says whether it may ask, and
    /// this broker may be asked.
    pub(super) fn handle_take_over(&mut self, now: Instant, link: LinkId, take_over: TakeOver) {
        let TakeOver { sender, history, epoch } = take_over;
        let named = |state: &GroupState| {
            let primary = state.primary.as_ref();
            state.epoch == epoch
                && state.history == history
                && primary.is_some_and(|primary| {
                    primary.member == sender.member && primary.incarnation == sender.incarnation
                })
        };
        let fits = self.counts() && self.shutdown.is_none();
        let named = self.registry.view().state.as_ref().is_some_and(|(state, _)| named(state));
        let Role::Backup(backup) = &mut self.role else {
            return self.reject(link, Rejection::Unexpected);
        };
        let node = sender.member.node;
        if !(fits && named && backup.epoch() == epoch) {
            return self.io.out.trace(Trace::TakeOverIgnored { node, epoch });
        }
        backup.hear(now, link);
        if backup.suspect(Suspicion::Leaving) {
            self.io.out.trace(Trace::Suspected { node, cause: Suspicion::Leaving });
        }
    }

    /// Whether the group's state, as known, counts this broker as in sync.
    pub(super) fn counts(&self) -> bool {
        let state = self.registry.view().state.as_ref();
        state.is_some_and(|(state, _)| state.in_sync.contains(&self.me.member))
    }

    /// Whether it leaves and follows nobody any more.
    pub(super) fn is_parting(&self) -> bool {
        self.shutdown.is_some() && !self.counts()
    }

    /// Whether it is primary and nobody else is in sync.
    fn is_last(&self) -> bool {
        let state = self.registry.view().state.as_ref();
        state.is_some_and(|(state, _)| {
            let alone = state.in_sync == [self.me.member.clone()] || sabotage!(GivesUpWhileHeld);
            state.is_led_by(&self.me) && alone
        })
    }

    /// Why a primary that leaves takes nothing into its log now.
    pub(super) fn withholds(&self) -> Option<Refusal> {
        let shutdown = self.shutdown.as_ref()?;
        if sabotage!(AcceptsWhileLeaving) {
            return None;
        }
        if self.gives_up() {
            return Some(Refusal::NotPrimary { primary: None, epoch: 0 });
        }
        // R34: what is sent again goes to the next primary, or comes back here when the handover fails.
        shutdown.attempt.as_ref().map(|_| Refusal::Electing { retry_after: RETRY_SOON })
    }

    /// R27a: whether it leaves and nobody is there to hand over to.
    pub(super) fn gives_up(&self) -> bool {
        self.shutdown.is_some() && self.is_last()
    }

    /// R12: a primary that leaves drops only what is proved gone: silence may be its own fault.
    pub(super) fn may_drop(&self, cause: Suspicion) -> bool {
        self.shutdown.is_none() || cause != Suspicion::Silence || sabotage!(LeaversDropTheSilent)
    }

    /// Whether a follower may be taken in: who leaves does so only where nobody else alive is in sync.
    pub(super) fn may_take_in(&self, state: &GroupState) -> bool {
        self.shutdown.is_none() || self.is_last_holder(state)
    }

    /// Takes the next step towards leaving.
    pub(super) fn advance_shutdown(&mut self, now: Instant) {
        let leads = self.leads().is_some();
        let Some(shutdown) = &mut self.shutdown else { return };
        if matches!(self.role, Role::Stopped) {
            return;
        }
        shutdown.led |= leads;
        if let Some((_, until)) = &shutdown.farewell {
            if *until <= now {
                self.stop(Event::Stopped);
            }
        } else if shutdown.deadline <= now {
            self.depart(now, Departure::TimedOut);
        } else if !leads {
            self.advance_goodbye(now);
        } else if self.is_last() {
            self.advance_giving_up(now);
        } else {
            self.advance_handover(now);
        }
    }

    /// A backup, or a primary that is deposed: leaves when nothing depends on it any more.
    fn advance_goodbye(&mut self, now: Instant) {
        // R27a: of two that leave one after the other the second one must know that it is the last.
        // R14: a change under way may be what makes this broker the last one.
        let round = self.shutdown.as_ref().map(|shutdown| shutdown.round);
        let unread = Some(self.registry.round()) < round && !sabotage!(LeavesUnread);
        if unread || self.configuration.is_busy() {
            return;
        }
        let Some((state, _)) = self.registry.view().state.clone() else {
            return self.depart(now, Departure::Left);
        };
        // R34: deposed by a frame. Only the tree says whether there is another primary.
        if self.resigned > 0 && state.epoch <= self.resigned {
            return;
        }
        let orphaned = matches!(&self.role, Role::Backup(backup) if backup.is_orphaned());
        if self.counts() && orphaned && !sabotage!(StaysGone) {
            return self.stand_in(now);
        }
        // R35: where too few would be left nobody drops it. A successor needs it once more, to serve.
        if self.counts() && state.may_shrink() && !sabotage!(LeavesCounted) {
            return self.say_goodbye(now);
        }
        // R34: it goes by itself only where the primary holds the data, too.
        if self.counts() && !self.hears_primary(now) {
            return;
        }
        let awaited = self.is_awaited(&state) && !sabotage!(AwaitedLeaves);
        if awaited && self.goodbye_until(now).is_some_and(|until| now < until) {
            return;
        }
        let led = self.shutdown.as_ref().is_some_and(|shutdown| shutdown.led);
        let departure = match &state.primary {
            Some(primary) if led => Departure::HandedOver { successor: primary.member.node.clone() },
            None if led && state.lost_epoch == self.resigned => Departure::GaveUp,
            _ => Departure::Left,
        };
        self.depart(now, departure);
    }

    /// R34: whether the primary was heard since the order, and of late.
    fn hears_primary(&self, now: Instant) -> bool {
        if sabotage!(LeavesUnheard) {
            return true;
        }
        let (Role::Backup(backup), Some(shutdown)) = (&self.role, &self.shutdown) else { return false };
        // Who begins to follow, or has slept, counts its primary as heard: that is no word of its.
        let spoke = backup.source().is_some() && backup.heard() > shutdown.asked;
        spoke && backup.heard() + self.config.timing.heartbeat * 2 > now
    }

    /// R34: its copy may be the last one. With its live node back it stands for the lead.
    fn stand_in(&mut self, now: Instant) {
        if let Some(shutdown) = &mut self.shutdown {
            shutdown.goodbye_until = None;
        }
        self.registry.register(&mut self.io.context(now));
    }

    /// R12: without its live node it is dropped by one write, and until then it acknowledges.
    fn say_goodbye(&mut self, now: Instant) {
        let until = self.goodbye_until(now);
        self.registry.withdraw(&mut self.io.context(now));
        if until.is_some_and(|until| until <= now) && self.hears_primary(now) {
            self.depart(now, Departure::TimedOut);
        }
    }

    /// How long it follows on as a member that leaves.
    fn goodbye_until(&mut self, now: Instant) -> Option<Instant> {
        let patience = self.config.timing.suspicion * 4;
        Some(*self.shutdown.as_mut()?.goodbye_until.get_or_insert(now + patience))
    }

    /// R35, R4: whether the first record of the primary's epoch still waits for this member, which no
    /// write can drop: without that record the primary serves nobody, not even reads.
    fn is_awaited(&self, state: &GroupState) -> bool {
        let led = state.primary.as_ref().is_some_and(|primary| *primary != self.me);
        let commit = self.replica.commit();
        led && self.counts()
            && !state.is_frozen()
            && self.replica.log().epoch_before(commit) < Some(state.epoch)
    }

    /// R27a: declares what is lost, unless a follower that moves can save it.
    fn advance_giving_up(&mut self, now: Instant) {
        let lag = self.config.timing.lag;
        let (Role::Primary(primary), Some(shutdown)) = (&self.role, &mut self.shutdown) else { return };
        if self.registry.session().is_none() {
            return;
        }
        // R27a: who leads only since the order has not been found by anybody yet.
        let new = Some(primary.epoch()) > shutdown.reign;
        if new && now + patience(&self.config.timing) < shutdown.deadline {
            return;
        }
        let moves = |follower: &Follower| follower.is_attached() && follower.progressed() + lag > now;
        let waits = now < shutdown.learners_until && !sabotage!(GivesUpBeforeLearners);
        let moves = primary.followers.iter().any(|(_, follower)| moves(follower));
        if waits && (moves || sabotage!(WaitsForNobody)) {
            // What comes of it, a handover or the loss, is to have its full time.
            shutdown.deadline = shutdown.deadline.max(now + SHUTDOWN_DEADLINE);
            return;
        }
        // R35: where commits are frozen nothing was ever committed that could be lost.
        let frozen = self.registry.view().state.as_ref().is_some_and(|(state, _)| state.is_frozen());
        let all = self.replica.commit() == self.replica.log().end();
        let settled = frozen || all || sabotage!(GivesUpUnsettled);
        if settled && !self.configuration.is_busy() {
            self.stand(now, Change::GiveUp);
        }
    }

    /// R34: one attempt after the other, each with the best backup that has not failed yet.
    fn advance_handover(&mut self, now: Instant) {
        let Some(shutdown) = &self.shutdown else { return };
        match shutdown.attempt.clone() {
            None => self.begin_handover(now),
            Some(attempt) if self.is_over(now, &attempt) => {
                self.abandon_handover(now, attempt.target);
            }
            Some(attempt) if !attempt.asked => self.ask_to_take_over(attempt),
            Some(_) => {}
        }
    }

    /// R34: whether an attempt has taken long enough, or cannot come about.
    fn is_over(&self, now: Instant, attempt: &Attempt) -> bool {
        attempt.until <= now && !sabotage!(HandoverNeverAbandoned) || !self.is_target(now, attempt)
    }

    fn begin_handover(&mut self, now: Instant) {
        let Some(shutdown) = &self.shutdown else { return };
        let rests = now < shutdown.rest_until && !sabotage!(NeverRests);
        // Its own write would come before the target's.
        if rests || self.configuration.is_busy() || self.doubt.is_some() {
            return;
        }
        let Some(target) = self.best_target(now) else { return };
        let until = now + patience(&self.config.timing);
        let Role::Primary(primary) = &mut self.role else { return };
        primary.joining = None;
        if let Some(shutdown) = &mut self.shutdown {
            if shutdown.tried.contains(&target) {
                shutdown.tried.clear();
            }
            self.io.out.trace(Trace::HandoverBegan { target: target.node.clone() });
            let attempt = Attempt { target, until, asked: false };
            shutdown.attempt = Some(attempt.clone());
            self.advance_commit(now);
            self.ask_to_take_over(attempt);
        }
    }

    /// Who has most of the log, of those that have not failed before if there are any.
    fn best_target(&self, now: Instant) -> Option<Member> {
        let Role::Primary(primary) = &self.role else { return None };
        let (state, _) = self.registry.view().state.as_ref().filter(|_| primary.serving)?;
        let tried = &self.shutdown.as_ref()?.tried;
        let patience = self.config.timing.suspicion;
        let fits = |member: &&Member| {
            let follower = primary.followers.get(member);
            let heard = follower.is_some_and(|other| other.is_attached() && other.heard() + patience > now);
            **member != self.me.member && heard && self.doubt_about(now, member).is_none()
        };
        let matched = |member: &Member| primary.followers.get(member).and_then(|other| other.matched());
        let others = state.in_sync.iter().filter(fits);
        let fresh = |member: &Member| !tried.contains(member) || sabotage!(AsksTheFailedAgain);
        others.max_by_key(|member| (fresh(member), matched(member))).cloned()
    }

    /// Whether the target can still become primary. Its link ends when it does, so that says nothing.
    fn is_target(&self, now: Instant, attempt: &Attempt) -> bool {
        let Role::Primary(primary) = &self.role else { return false };
        let state = self.registry.view().state.as_ref();
        let attached = primary.followers.get(&attempt.target).is_some_and(|other| other.is_attached());
        state.is_some_and(|(state, _)| state.in_sync.contains(&attempt.target))
            && (attempt.asked || attached)
            && self.doubt_about(now, &attempt.target).is_none()
    }

    /// R34: only a target that has everything is asked, and everything is committed and acknowledged.
    fn ask_to_take_over(&mut self, attempt: Attempt) {
        let end = self.replica.log().end();
        let Role::Primary(primary) = &self.role else { return };
        let Some(follower) = primary.followers.get(&attempt.target) else { return };
        let ready = follower.matched() == Some(end) && self.replica.commit() == end;
        let ready = ready || sabotage!(AsksUnreadyTargets);
        let Some(link) = follower.link().filter(|_| ready) else { return };
        let (history, epoch) = (self.replica.history(), primary.epoch());
        let take_over = TakeOver { sender: self.identity(), history, epoch };
        self.send(link, &Message::TakeOver(take_over));
        if let Some(shutdown) = &mut self.shutdown {
            shutdown.attempt = Some(Attempt { asked: true, ..attempt });
            if sabotage!(LeavesUnreplaced) {
                self.stop(Event::Stopped);
            }
        }
    }

    /// R34: it was primary all the time, and takes batches again.
    fn abandon_handover(&mut self, now: Instant, target: Member) {
        let rest_until = now + self.config.timing.suspicion;
        self.io.out.trace(Trace::HandoverFailed { target: target.node.clone() });
        if let Some(shutdown) = &mut self.shutdown {
            shutdown.attempt = None;
            shutdown.rest_until = rest_until;
            shutdown.tried.push(target);
        }
    }

    /// Has left the group. Who was primary stays for a moment more to tell clients where to go.
    pub(super) fn depart(&mut self, now: Instant, departure: Departure) {
        let until = now + self.config.timing.heartbeat * 2;
        let Some(shutdown) = &mut self.shutdown else { return };
        if let Departure::HandedOver { successor } = &departure {
            shutdown.farewell = Some((successor.clone(), until));
        }
        let stays = shutdown.farewell.is_some();
        let askers = core::mem::take(&mut shutdown.askers);
        for link in askers {
            self.send(link, &Message::Drained(departure.clone()));
        }
        self.io.out.trace(Trace::Leaves { departure });
        if stays {
            self.hang_up();
        } else {
            self.stop(Event::Stopped);
        }
    }

    fn hang_up(&mut self) {
        if let Role::Backup(backup) = &mut self.role {
            backup.hang_up(&mut self.io.out);
        }
    }
}
