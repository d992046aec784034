//! How a broker changes its role: only by what the coordination tree says.

use super::backup::Backup;
use super::candidacy::Step;
use super::primary::Primary;
use super::{Broker, Event, OnTotalLoss, Role};
use crate::coordination::registry::Live;
use crate::group::{Change, GroupState};
use crate::id::{Epoch, Member, Nonce};
use crate::log::{Entry, EntryKind};
use crate::message::{Departure, History, Message};
use crate::time::{Duration, Instant};
use crate::trace::{Halt, Suspicion, Trace};
use alloc::boxed::Box;
use alloc::vec;

impl Broker {
    /// The group's state or its live nodes, as known, have changed.
    pub(super) fn follow_view(&mut self, now: Instant) {
        let Some((state, _)) = self.registry.view().state.clone() else { return };
        if matches!(self.role, Role::Stopped) || !self.fits(now, &state) {
            return;
        }
        // R5: part of the floor is the epoch last read from the tree.
        if !sabotage!(FloorForgotten) {
            self.replica.raise_floor(state.epoch);
        }
        let lead = state.is_led_by(&self.me) && (state.epoch > self.resigned || sabotage!(ResumesItsEpoch));
        match &self.role {
            Role::Primary(_) if !lead && sabotage!(IgnoresItsSuccessor) => {}
            Role::Primary(primary) if lead && primary.epoch() == state.epoch => self.advance_commit(now),
            _ if lead => self.become_primary(now, state.epoch),
            Role::Primary(_) => {
                self.step_down(now);
                self.follow(now, &state);
            }
            Role::Backup(_) | Role::Stopped => self.follow(now, &state),
        }
    }

    /// Whether the tree's state and the log can belong together; if not, begins anew or halts.
    fn fits(&mut self, now: Instant, state: &GroupState) -> bool {
        let mine = self.replica.history();
        if mine == History::default() {
            self.replica.wipe(state.history, &mut self.io.out);
        } else if state.history.group_id != mine.group_id {
            // R26: no order holds between two groups.
            return self.halt_if_still_so(now, Halt::OtherGroup);
        } else if state.history.lineage > mine.lineage {
            if self.shutdown.is_some() {
                // The data is given up, perhaps by this broker: it has no part in what follows.
                let own = self.leads() == Some(state.lost_epoch) || self.resigned == state.lost_epoch;
                self.depart(now, if own { Departure::GaveUp } else { Departure::Left });
                return false;
            }
            // R27: the group began anew; log and sessions go together.
            self.step_down(now);
            self.replica.wipe(state.history, &mut self.io.out);
        } else if state.history.lineage < mine.lineage || state.epoch < self.replica.log().last_epoch() {
            return self.halt_if_still_so(now, Halt::TreeWentBack);
        }
        self.doubt = None;
        true
    }

    /// R25: only a linearizable read that began after the contradiction was noticed proves it.
    fn halt_if_still_so(&mut self, now: Instant, reason: Halt) -> bool {
        match self.doubt {
            Some(ticket) if ticket <= self.registry.round() => self.halt(reason),
            _ if sabotage!(NeverHalts) => return true,
            None if sabotage!(HaltsUnproved) => self.halt(reason),
            Some(_) => {}
            None => self.doubt = Some(self.registry.refresh_linearizable(&mut self.io.context(now))),
        }
        false
    }

    pub(super) fn halt(&mut self, reason: Halt) {
        self.io.out.trace(Trace::Halted { reason });
        self.stop(Event::Halted(reason));
    }

    /// R4: the log stays as it is, a first record begins the epoch, nothing of others is remembered.
    fn become_primary(&mut self, now: Instant, epoch: Epoch) {
        self.leave_role();
        self.candidacy.won();
        if sabotage!(WinnersTruncate) {
            self.replica.truncate(self.replica.commit(), &mut self.io.out);
        }
        let start = self.replica.log().end();
        self.io.out.trace(Trace::BecamePrimary { epoch, start });
        self.role = Role::Primary(Box::new(Primary::new(now, (epoch, start), &self.config.timing)));
        let entry = Entry { offset: start, epoch, kind: EntryKind::EpochStart };
        self.replica.append(vec![entry], &mut self.io.out);
    }

    /// Follows the primary that the tree names, or waits for one.
    fn follow(&mut self, now: Instant, state: &GroupState) {
        let primary = state.primary.clone().filter(|primary| *primary != self.me);
        let Role::Backup(backup) = &mut self.role else { return };
        if backup.epoch() != state.epoch || backup.primary() != primary.as_ref() {
            if !sabotage!(KeepsOldLinks) {
                backup.hang_up(&mut self.io.out);
            }
            let node = primary.as_ref().map(|primary| primary.member.node.clone());
            self.io.out.trace(Trace::BecameBackup { epoch: state.epoch, primary: node });
            self.candidacy.withdraw();
            let verified = sabotage!(KeepsVerified => backup.verified(); 0);
            **backup = Backup::new(now, (state.epoch, primary), &self.config.timing);
            backup.verify(verified);
        }
        self.watch_primary();
    }

    /// R2, R32: the primary's live node is gone, or a later process of its node is live.
    fn watch_primary(&mut self) {
        let Role::Backup(backup) = &mut self.role else { return };
        let Some(primary) = backup.primary().cloned() else { return };
        let live = &self.registry.view().live;
        let own = live.values().find(|live| live.node.id == primary);
        backup.locate(own.map(|live| live.node.address.clone()));
        let cause = match own {
            None => Suspicion::NotLive,
            Some(own) if live.values().any(|live| supersedes(live, own)) => Suspicion::Replaced,
            Some(_) => {
                // R2: what was read for a reason that is gone is no use for the next one.
                if backup.absolve() {
                    self.candidacy.withdraw();
                }
                return;
            }
        };
        if backup.suspect(cause) {
            self.io.out.trace(Trace::Suspected { node: primary.member.node, cause });
        }
    }

    /// R11: a higher epoch exists. The tree will say whose.
    pub(super) fn resign(&mut self, now: Instant) {
        self.step_down(now);
        self.registry.refresh(&mut self.io.context(now));
    }

    /// Ends the role of primary, if it has it, and waits to be told whom to follow.
    pub(super) fn step_down(&mut self, now: Instant) {
        let Some(epoch) = self.leads() else { return };
        self.leave_role();
        self.resigned = epoch;
        self.io.out.trace(Trace::SteppedDown { epoch });
        self.role = Role::Backup(Box::new(Backup::new(now, (epoch, None), &self.config.timing)));
    }

    /// Lets go of links and clients. R10: answers that are due to clients are dropped with the role.
    pub(super) fn leave_role(&mut self) {
        let reason = self.not_primary();
        match &mut self.role {
            Role::Backup(backup) => backup.hang_up(&mut self.io.out),
            Role::Primary(primary) => {
                primary.probes.clear(&mut self.io.out);
                let reads = primary.head_reads.drain();
                let streams: alloc::vec::Vec<_> = primary.delivery.drain().chain(reads).collect();
                let publishers = core::mem::take(&mut primary.publishers);
                for (link, stream) in streams {
                    self.send(link, &Message::Refusal { stream, reason: reason.clone() });
                }
                for link in publishers.into_values() {
                    self.refuse(link, reason.clone());
                }
            }
            Role::Stopped => {}
        }
    }

    pub(super) fn advance_backup(&mut self, now: Instant) {
        // R34: who leaves must not be counted again, so it does not attach any more.
        if self.is_parting() {
            return;
        }
        self.retry_snapshot(now);
        let Role::Backup(backup) = &mut self.role else { return };
        let ports = (&self.config.timing, &mut self.dialler, &mut self.io.rng);
        if let Some(cause) = backup.handle_timeout(now, ports, &mut self.io.out)
            && let Some(primary) = backup.primary()
        {
            self.io.out.trace(Trace::Suspected { node: primary.member.node.clone(), cause });
        }
        self.advance_candidacy(now);
    }

    /// Takes the next step towards the lead, while there is a reason.
    fn advance_candidacy(&mut self, now: Instant) {
        if self.configuration.is_busy() {
            return self.candidacy.withdraw();
        }
        let Some((change, delay)) = self.ambition() else { return self.candidacy.withdraw() };
        let round = self.registry.round();
        match self.candidacy.pursue(now, (change, delay), round, &mut self.io.rng) {
            Step::Wait => {}
            Step::Read if sabotage!(PromotesUnread) => self.stand(now, change),
            Step::Read => {
                let mut cx = self.io.context(now);
                // R27b: a live node that a server does not show yet may hold the data. R2 needs no barrier:
                // an older state has another version.
                let ticket = match change {
                    Change::Reset => self.registry.refresh_linearizable(&mut cx),
                    _ => self.registry.refresh(&mut cx),
                };
                self.candidacy.reading(ticket);
            }
            Step::Write => self.stand(now, change),
        }
    }

    /// Why this broker should change the group's state, and after which delay.
    fn ambition(&self) -> Option<(Change, Duration)> {
        let Role::Backup(backup) = &self.role else { return None };
        // R2: the candidate's own live node belongs to its current session.
        if !sabotage!(PromotesUnregistered) {
            self.registry.session().and(self.registry.registered())?;
        }
        let (state, _) = self.registry.view().state.as_ref()?;
        let timing = &self.config.timing;
        // R34: whoever leaves leads no more, unless it may hold what nobody else alive does.
        let leaving = self.shutdown.is_some() && !(self.counts() && backup.is_orphaned());
        if leaving || self.doubt.is_some() {
            return None;
        }
        if state.may_lead(&self.me.member) {
            let wanted = backup.is_bereft();
            // R34: who was asked to take over has no turn to wait for.
            let asked = backup.is_asked();
            // Who leaves lets all others go first.
            let leaves = self.shutdown.is_some() && !self.is_last_holder(state);
            let last = if leaves { u32::try_from(state.in_sync.len()).unwrap_or(u32::MAX) } else { 0 };
            let rank = if asked || sabotage!(NoTurns) { 0 } else { self.rank(state).saturating_add(last) };
            return wanted.then(|| (Change::Promote, timing.heartbeat * 2 * rank));
        }
        let reset = self.config.on_total_loss == OnTotalLoss::Reset && self.all_data_is_lost(state);
        let patience = sabotage!(ResetsAtOnce => Duration::ZERO; timing.lag);
        reset.then(|| (Change::Reset, patience + timing.heartbeat * 2 * self.rank(state)))
    }

    /// The broker's place among those who might do the same: they take turns.
    fn rank(&self, state: &GroupState) -> u32 {
        let deposed = state.primary.as_ref().map(|primary| &primary.member);
        let candidates = state.in_sync.iter().filter(|member| Some(*member) != deposed);
        let place = match candidates.clone().any(|member| *member == self.me.member) {
            true => candidates.take_while(|member| **member != self.me.member).count(),
            false => {
                let czxid = self.registry.registered().unwrap_or(i64::MAX);
                self.registry.view().live.values().filter(|live| live.czxid < czxid).count()
            }
        };
        u32::try_from(place).unwrap_or(u32::MAX)
    }

    /// R27b: every in-sync node is live with another storage, and none with the one that counts.
    fn all_data_is_lost(&self, state: &GroupState) -> bool {
        let live = || self.registry.view().live.values().map(|live| &live.node.id.member);
        let lost = |member: &Member| {
            let held = live().any(|other| other == member) && !sabotage!(ResetsWhileHeld);
            live().any(|other| other.node == member.node) && !held
        };
        !state.in_sync.is_empty() && state.in_sync.iter().all(lost)
    }

    /// Whether this broker holds the data and, as far as the live nodes tell, nobody else does.
    pub(super) fn is_last_holder(&self, state: &GroupState) -> bool {
        let me = &self.me.member;
        let live =
            |member: &Member| self.registry.view().live.values().any(|live| live.node.id.member == *member);
        state.in_sync.contains(me) && state.in_sync.iter().all(|member| member == me || !live(member))
    }

    /// R1, R2: one conditional write at the version just read.
    pub(super) fn stand(&mut self, now: Instant, change: Change) {
        let Some((state, version)) = self.registry.view().state.clone() else { return };
        let nonce = Nonce(self.io.rng.next_u128());
        let next = match change {
            Change::Promote => state.promote(&self.me, nonce),
            _ => state.give_up(nonce),
        };
        self.candidacy.attempted(now);
        let subject = self.me.member.clone();
        let mut cx = self.io.context(now);
        self.configuration.propose(change, subject, (next, version), &mut cx);
    }
}

/// R32: of two processes of one node the one registered later lives.
pub(super) fn supersedes(later: &Live, than: &Live) -> bool {
    let (later_id, id) = (&later.node.id, &than.node.id);
    // The names last: they take longest to compare.
    sabotage!(EarlierSupersedes => later.czxid < than.czxid; later.czxid > than.czxid)
        && later_id.incarnation != id.incarnation
        && later_id.member.node == id.member.node
}
