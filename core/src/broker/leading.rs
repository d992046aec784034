//! The primary's part of replication: followers, the commit offset, the in-sync set.

use super::followers::Follower;
use super::primary::Joining;
use super::roles::supersedes;
use super::{Broker, Role};
use crate::coordination::registry::Live;
use crate::group::{Change, GroupState};
use crate::id::{Address, Member, Nonce, Offset, PublisherId};
use crate::link::LinkId;
use crate::log::EntryKind;
use crate::message::{Hello, Refusal, ReplicateAck, ReplicateNack};
use crate::time::Instant;
use crate::trace::{Rejection, Suspicion, Trace};
use alloc::collections::{BTreeMap, BTreeSet};

impl Broker {
    /// A backup asks for the log: send it from where its log and this one part (R16).
    pub(super) fn handle_hello(&mut self, now: Instant, link: LinkId, hello: Hello) {
        let Some(epoch) = self.leads() else {
            let reason = self.not_primary();
            return self.refuse(link, reason);
        };
        if hello.history != self.replica.history() {
            self.registry.refresh(&mut self.io.context(now));
            return self.refuse(link, Refusal::LineageChanged { history: self.replica.history() });
        }
        if hello.epoch > epoch {
            return self.resign(now);
        }
        // Only a registered process can ever be taken in: strangers take no memory here.
        let sender = &hello.sender;
        let live = || self.registry.view().live.values();
        let is_sender = |live: &&Live| {
            live.node.id.member == sender.member && live.node.id.incarnation == sender.incarnation
        };
        let Some(own) = live().find(is_sender) else {
            self.registry.refresh(&mut self.io.context(now));
            let retry_after = self.config.timing.heartbeat;
            return self.refuse(link, Refusal::Electing { retry_after });
        };
        // R32: as the tree tells; a sender whose session is lost does not know which transaction has made its own
        // live node.
        if live().any(|other| supersedes(other, own)) && !sabotage!(StaleProcessesHeard) {
            let (node, incarnation) = (sender.member.node.clone(), sender.incarnation);
            return self.io.out.trace(Trace::StaleProcess { node, incarnation });
        }
        if sabotage!(FollowedIsCommitted) {
            self.candidacy.committed();
        }
        let common = self.replica.log().common_end(&hello.log);
        let member = hello.sender.member.clone();
        self.io.out.trace(Trace::FollowerAttached { member, common });
        let identity = self.identity();
        let Role::Primary(primary) = &mut self.role else { return };
        primary.probes.heard(&hello.sender.member, &mut self.io.out);
        let from = (&self.replica, &primary.sender(identity));
        primary.followers.attach(now, hello.sender, (link, common), from, &mut self.io.out);
    }

    /// R8: counts only if it is of this epoch and from a member's current process.
    pub(super) fn handle_ack(&mut self, now: Instant, link: LinkId, ack: &ReplicateAck) {
        let Some(epoch) = self.leads() else { return };
        let old = ack.epoch < epoch && !sabotage!(AcksOfAnyEpoch);
        if ack.history != self.replica.history() || old {
            return self.reject(link, Rejection::WrongHistory);
        }
        if ack.epoch > epoch {
            return self.resign(now);
        }
        let identity = self.identity();
        let Role::Primary(primary) = &mut self.role else { return };
        let member = &ack.sender.member;
        let known = primary.followers.get(member).map(|follower| follower.identity().incarnation);
        if known != Some(ack.sender.incarnation) && !sabotage!(AcksOfAnyStorage) {
            let (node, incarnation) = (member.node.clone(), ack.sender.incarnation);
            return self.io.out.trace(Trace::StaleProcess { node, incarnation });
        }
        primary.probes.heard(member, &mut self.io.out);
        let from = (&self.replica, &primary.sender(identity));
        primary.followers.acknowledge(now, (member, ack.matched), from, &mut self.io.out);
        self.advance_commit(now);
    }

    /// A backup refuses: there is a higher epoch (R11), or its log parts elsewhere from this one.
    pub(super) fn handle_nack(&mut self, now: Instant, link: LinkId, nack: &ReplicateNack) {
        let Some(epoch) = self.leads() else { return };
        let mine = self.replica.history();
        if nack.history.group_id != mine.group_id || nack.history.lineage < mine.lineage {
            return self.reject(link, Rejection::WrongHistory);
        }
        if nack.history.lineage > mine.lineage || nack.floor > epoch {
            return self.resign(now);
        }
        let common = self.replica.log().common_end(&nack.log);
        let identity = self.identity();
        let Role::Primary(primary) = &mut self.role else { return };
        let from = (&self.replica, &primary.sender(identity));
        let pace = (now, self.config.timing.heartbeat);
        primary.followers.rewind(pace, (link, &nack.sender), common, from, &mut self.io.out);
    }

    /// Sends new entries to everyone.
    pub(super) fn replicate(&mut self, now: Instant) {
        let identity = self.identity();
        let Role::Primary(primary) = &mut self.role else { return };
        let from = (&self.replica, &primary.sender(identity));
        primary.followers.send_entries(now, from, &mut self.io.out);
    }

    /// R9: whom the commits of a primary wait for, besides a follower on its way into the set; nobody,
    /// where this broker does not lead.
    pub fn counted(&self) -> impl Iterator<Item = &Member> {
        let state = self.registry.view().state.as_ref().filter(|_| self.leads().is_some());
        let pending = self.configuration.pending_member();
        state.into_iter().flat_map(move |(state, _)| state.in_sync.iter().chain(pending))
    }

    /// How far a primary counts each of its followers (R7, R8).
    pub fn matched(&self) -> impl Iterator<Item = (&Member, Offset)> {
        let primary = if let Role::Primary(primary) = &self.role { Some(primary) } else { None };
        let followers = primary.into_iter().flat_map(|primary| primary.followers.iter());
        followers.filter_map(|(member, follower)| Some((member, follower.matched()?)))
    }

    /// Whether a primary has something committed for a stream that has credit (R30).
    pub fn owes_streams(&self) -> bool {
        matches!(&self.role, Role::Primary(primary) if primary.delivery.owes(self.replica.commit()))
    }

    /// R9: moves the commit offset to what every member that counts has verified, and tells everyone
    /// who waits for it.
    pub(super) fn advance_commit(&mut self, now: Instant) {
        let Role::Primary(primary) = &mut self.role else { return };
        // R25: while the tree seems to have gone back, its in-sync set proves nothing.
        if self.doubt.is_some() && !sabotage!(DoubtersCommit) {
            return;
        }
        let Some((state, _)) = &self.registry.view().state else { return };
        let durable =
            sabotage!(CountsItselfUndurable => self.replica.log().end(); self.replica.durable_end());
        let me = (&self.me.member, durable);
        // A follower that has gone again is not waited for.
        let attached = |member| primary.followers.get(member).is_some_and(Follower::is_attached);
        let waits = |until| now < until || sabotage!(WaitsForJoinersForEver);
        let joining = primary.joining.as_ref().filter(|it| waits(it.until) && attached(&it.member));
        let pending = self.configuration.pending_member().into_iter();
        let pending = pending.chain(joining.map(|joining| &joining.member));
        let known = sabotage!(ShrinkCountsAtOnce =>
            self.configuration.wanted(Change::Shrink).unwrap_or(state); state);
        let counted = sabotage!(ReplacedNotCounted =>
            self.configuration.wanted(Change::Replace).unwrap_or(known); known);
        let to = primary.followers.committable(counted, pending, me);
        if to <= self.replica.commit() {
            return;
        }
        let committed = self.replica.log().iter_from(self.replica.commit());
        let publishers: BTreeSet<PublisherId> = committed
            .take_while(|entry| entry.end() <= to)
            .filter_map(|entry| match &entry.kind {
                EntryKind::Batch(batch) => Some(batch.header.publisher),
                EntryKind::EpochStart
                | EntryKind::SessionOpen { .. }
                | EntryKind::SessionExpire { .. }
                | EntryKind::Trim { .. } => None,
            })
            .collect();
        self.replica.advance_commit(to, &mut self.io.out);
        // R4: what depends on the commit offset waits for the epoch's first record.
        let commit = self.replica.commit();
        if commit <= primary.start() && !sabotage!(ServesBeforeEpochStart) {
            return;
        }
        if !primary.serving {
            primary.serving = true;
            // R29: until now it refused whoever came to continue a session.
            if !sabotage!(ExpiryCountsFromPromotion) {
                primary.expiry.forgive(now);
            }
            self.candidacy.committed();
            self.io.out.trace(Trace::EpochCommitted { epoch: primary.epoch(), commit });
        }
        let streams = primary.delivery.streams() > 0;
        self.io.out.count().committed(now, commit, streams);
        primary.delivery.serve_first(now, (&self.replica, primary.epoch()), &mut self.io.out);
        self.answer_committed(publishers);
        let Role::Primary(primary) = &mut self.role else { return };
        primary.delivery.serve_others(now, (&self.replica, primary.epoch()), &mut self.io.out);
    }

    pub(super) fn advance_primary(&mut self, now: Instant) {
        self.judge_isolation(now);
        self.send_heartbeats(now);
        // R13: when commits have waited long enough for a follower, nothing else may come to say so.
        self.advance_commit(now);
        self.change_in_sync_set(now);
        self.expire_sessions(now);
        self.retain(now);
        self.throttle(now);
        self.advance_head_reads(now);
        let Role::Primary(primary) = &mut self.role else { return };
        if !primary.silent || sabotage!(SilentBeats) {
            let from = (&self.replica, primary.epoch());
            primary.delivery.handle_timeout(now, from, &mut self.io.out);
        }
    }

    fn send_heartbeats(&mut self, now: Instant) {
        let (identity, timing) = (self.identity(), &self.config.timing);
        let Role::Primary(primary) = &mut self.role else { return };
        if !primary.heartbeat_due(now, timing) {
            return;
        }
        let half = Instant::from_nanos(now.as_nanos().saturating_sub(timing.heartbeat.as_nanos() as u64 / 2));
        let from = (&self.replica, &primary.sender(identity));
        primary.followers.send_heartbeats((now, half), from, &mut self.io.out);
        // Those that are neither counted, nor registered, nor heard are forgotten.
        let view = self.registry.view();
        let counted =
            |member: &Member| view.state.as_ref().is_some_and(|(state, _)| state.in_sync.contains(member));
        let live = |member: &Member| view.live.values().any(|live| live.node.id.member == *member);
        let heard = |follower: &Follower| follower.is_attached() && follower.heard() + timing.lag > now;
        primary.followers.retain(|member, other| counted(member) || live(member) || heard(other));
    }

    /// R20: for too long neither the coordination service nor every other member that counts has answered, and
    /// one counts that may have been taken in, for then it may lead by now. The primary then says nothing, so that
    /// clients look elsewhere; it has not stepped down.
    fn judge_isolation(&mut self, now: Instant) {
        let step_down = self.config.timing.step_down;
        let alone = self.alone_since.is_some_and(|since| since + step_down <= now);
        let Role::Primary(primary) = &mut self.role else { return };
        let Some((state, _)) = &self.registry.view().state else { return };
        let unheard = |member: &&Member| {
            let heard = primary.followers.get(member).map_or(primary.since(), |other| other.heard());
            heard + step_down <= now
        };
        let pending = self.configuration.pending_member().filter(|_| !sabotage!(PendingNotMissed));
        let mut others = state.in_sync.iter().chain(pending).filter(|member| **member != self.me.member);
        let unheard = others.any(|member| unheard(&member)) || sabotage!(SilentInCompany);
        let silent = alone && unheard && !sabotage!(NeverSilent);
        if silent != primary.silent {
            primary.silent = silent;
            // R29: while it was silent it refused whoever came to continue a session.
            if !silent && !sabotage!(SilenceCountsForExpiry) {
                primary.expiry.forgive(now);
            }
            self.io.out.trace(if silent { Trace::FellSilent } else { Trace::SpokeAgain });
        }
    }

    /// Drops members that do not keep up (R12) and takes in those that have caught up (R13): one
    /// conditional write at a time (R14).
    fn change_in_sync_set(&mut self, now: Instant) {
        let Role::Primary(primary) = &mut self.role else { return };
        let Some((state, version)) = self.registry.view().state.clone() else {
            return primary.probes.clear(&mut self.io.out);
        };
        self.probe_silent_members(now, &state);
        let busy = self.configuration.is_busy() && !sabotage!(TwoChangesAtOnce);
        // R25: what a tree that went back says is no ground for a change.
        let doubts = self.doubt.is_some() && !sabotage!(DoubtersChange);
        if busy || doubts || self.registry.session().is_none() {
            return;
        }
        let lagging = self.lagging_member(now, &state);
        let Some((change, member, next)) =
            self.drop_member(&state, lagging).or_else(|| self.take_member(now, &state))
        else {
            return;
        };
        // R13: from here on the member counts, before the write is sent.
        self.configuration.propose(change, member, (next, version), &mut self.io.context(now));
    }

    /// R12: without the member that lags, unless too few would be left: then it stays, and commits go on
    /// waiting for it (R35).
    fn drop_member(
        &mut self,
        state: &GroupState,
        lagging: Option<(Member, Suspicion)>,
    ) -> Option<(Change, Member, GroupState)> {
        let Role::Primary(primary) = &mut self.role else { return None };
        let Some((member, cause)) = lagging else {
            primary.kept = None;
            return None;
        };
        let node = member.node.clone();
        if !state.may_shrink() {
            if primary.kept.as_ref() != Some(&member) {
                primary.kept = Some(member);
                self.io.out.trace(Trace::Kept { node, cause });
            }
            return None;
        }
        self.io.out.trace(Trace::Suspected { node, cause });
        let next = state.shrink(&member, Nonce(self.io.rng.next_u128()));
        Some((Change::Shrink, member, next))
    }

    /// R13: with a member that has caught up; R35: in the place of its node's former storage, if that is
    /// still in the set.
    fn take_member(&mut self, now: Instant, state: &GroupState) -> Option<(Change, Member, GroupState)> {
        let waits = matches!(&self.role, Role::Primary(primary) if !primary.serving);
        if !self.may_take_in(state) || (waits && sabotage!(JoinersWaitForTheEpoch)) {
            return None;
        }
        let member = self.joining_member(now, state)?;
        let nonce = Nonce(self.io.rng.next_u128());
        Some(match state.replace(&member, nonce) {
            Some(next) => (Change::Replace, member, next),
            None => {
                let next = state.expand(&member, nonce);
                (Change::Expand, member, next)
            }
        })
    }

    /// R12: why a member does not count as alive: its live node is gone, its process is proved dead, or
    /// it has not moved for the lag threshold.
    pub(super) fn doubt_about(&self, now: Instant, member: &Member) -> Option<Suspicion> {
        let Role::Primary(primary) = &self.role else { return None };
        let live = &self.registry.view().live;
        let progressed = primary.followers.get(member).map_or(primary.since(), |other| other.progressed());
        match live.values().find(|live| live.node.id.member == *member) {
            None if !sabotage!(VanishedStay) => Some(Suspicion::NotLive),
            Some(own) if live.values().any(|live| supersedes(live, own)) => Some(Suspicion::Replaced),
            _ if primary.probes.proves_death(member) => Some(Suspicion::Refused),
            _ if sabotage!(ShrinksImpatiently) && progressed + self.config.timing.suspicion <= now => {
                Some(Suspicion::Silence)
            }
            _ if progressed + self.config.timing.lag <= now => Some(Suspicion::Silence),
            _ => None,
        }
    }

    /// The first member that may be dropped: one that must stay hides none that is gone.
    fn lagging_member(&self, now: Instant, state: &GroupState) -> Option<(Member, Suspicion)> {
        let others = state.in_sync.iter().filter(|member| **member != self.me.member);
        let mut doubtful = others.filter_map(|member| Some((member, self.doubt_about(now, member)?)));
        let found = match sabotage!(SilentHideTheGone) {
            true => doubtful.next().filter(|(_, cause)| self.may_drop(*cause)),
            false => doubtful.find(|(_, cause)| self.may_drop(*cause)),
        };
        found.map(|(member, cause)| (member.clone(), cause))
    }

    /// R13: a member that may be taken in now. Under load the commit offset would always be ahead of
    /// it, so commits first wait, for a while, for one that is nearly there.
    fn joining_member(&mut self, now: Instant, state: &GroupState) -> Option<Member> {
        let Role::Primary(primary) = &self.role else { return None };
        let joining = primary.joining.clone();
        let end = self.replica.log().end();
        let found = primary.followers.iter().find_map(|(member, follower)| {
            let start = if sabotage!(ExpandsBeforeEpochStart) { None } else { Some(primary.start()) };
            let nearly = follower.matched().is_some_and(|matched| Some(matched) > start)
                && follower.has_been_sent(end);
            let ready = follower.matched() >= Some(self.replica.commit());
            let wanted = joining.as_ref().is_none_or(|joining| match now < joining.until {
                true => joining.member == *member,
                false => ready || joining.member != *member || joining.from < follower.matched(),
            });
            let found = wanted && nearly && self.may_join(now, state, (member, follower));
            found.then(|| (member.clone(), follower.matched()))
        });
        let (member, matched) = found?;
        let waited_for = joining.filter(|joining| joining.member == member && now < joining.until);
        let until = now + self.config.timing.suspicion;
        let joining = waited_for.unwrap_or(Joining { member: member.clone(), until, from: matched });
        let Role::Primary(primary) = &mut self.role else { return None };
        let ready = matched >= Some(self.replica.commit()) || sabotage!(ExpandsBehindCommit);
        // From the proposal on it counts by itself, and the wait is over: it may leave at any time.
        primary.joining = (!ready).then_some(joining);
        ready.then_some(member)
    }

    /// R13: attached and heard, not in yet, and the current process of its node is live. What would drop
    /// it again at once keeps it out.
    fn may_join(&self, now: Instant, state: &GroupState, (member, follower): (&Member, &Follower)) -> bool {
        let process = |live: &Live| {
            live.node.id.member == *member && live.node.id.incarnation == follower.identity().incarnation
        };
        let heard = follower.is_attached() && follower.heard() + self.config.timing.heartbeat * 2 > now;
        let doubtful = self.doubt_about(now, member).is_some() && !sabotage!(TakesInTheDoubtful);
        let live = self.registry.view().live.values().any(process) && !doubtful;
        (heard || sabotage!(ExpandsUnheard))
            && !state.in_sync.contains(member)
            && (live || sabotage!(ExpandsUnlive))
    }

    fn probe_silent_members(&mut self, now: Instant, state: &GroupState) {
        let patience = self.config.timing.heartbeat * 2;
        let Role::Primary(primary) = &mut self.role else { return };
        let followers = &primary.followers;
        let silent = |member: &Member| {
            followers.get(member).is_none_or(|other| !other.is_attached() || other.heard() + patience <= now)
        };
        let others = state.in_sync.iter().filter(|member| **member != self.me.member && silent(member));
        let doors: BTreeMap<&Member, &Address> = others
            .filter_map(|member| {
                let mut live = self.registry.view().live.values();
                Some((member, &live.find(|live| live.node.id.member == *member)?.node.address))
            })
            .collect();
        primary.probes.knock(now, &doors, &mut self.dialler, &mut self.io.out);
    }
}
