//! What a primary knows in its epoch: its followers, its clients, and how alone it is.

use super::delivery::Delivery;
use super::expiry::Expiry;
use super::followers::{Followers, Sender};
use super::head::HeadReads;
use super::probes::Probes;
use super::throttle::Throttle;
use crate::id::{BrokerIdentity, Epoch, Member, Offset, PublisherId};
use crate::limits::Timing;
use crate::link::{LinkId, LinkStatus};
use crate::node::Outbox;
use crate::time::{Instant, earliest};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use serde::{Deserialize, Serialize};

/// A publisher that waits for its session to be committed.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct PendingOpen {
    /// Who asked last.
    pub link: LinkId,
    /// Whose session.
    pub publisher: PublisherId,
}

/// The primary's part of a broker, from promotion to step-down.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Primary {
    epoch: Epoch,
    /// Offset of the epoch's first record.
    start: Offset,
    since: Instant,
    heartbeat_at: Instant,
    /// That the epoch's first record is committed was noticed.
    pub(super) serving: bool,
    /// R20: cut off from everyone, it says nothing.
    pub(super) silent: bool,
    pub(super) followers: Followers,
    pub(super) probes: Probes,
    pub(super) delivery: Delivery,
    pub(super) head_reads: HeadReads,
    /// Where each publisher's acknowledgements go.
    pub(super) publishers: BTreeMap<PublisherId, LinkId>,
    /// By where the session begins in the log, which is its number: the answer waits until that is
    /// committed. A publisher has one at a time, however often it asks.
    pub(super) opens: BTreeMap<Offset, PendingOpen>,
    /// Since when nothing was heard of each publisher.
    pub(super) expiry: Box<Expiry>,
    /// Where the last decision to trim stands in the log.
    pub(super) trim: Option<Offset>,
    pub(super) throttle: Throttle,
    /// A follower that is about to catch up: commits wait for it, so that it can (R13).
    pub(super) joining: Option<Joining>,
    /// R35: a member that would be dropped if enough were left without it.
    pub(super) kept: Option<Member>,
}

/// A follower on its way into the in-sync set.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Joining {
    /// Who.
    pub member: Member,
    /// How long commits wait for it at the most.
    pub until: Instant,
    /// How far it was when the wait began: one that has not moved since is not waited for again.
    pub from: Option<Offset>,
}

impl Primary {
    /// Begins an epoch whose first record is at `start`. R4: nothing of an earlier one is remembered.
    pub fn new(now: Instant, (epoch, start): (Epoch, Offset), timing: &Timing) -> Self {
        Self {
            epoch,
            start,
            since: now,
            heartbeat_at: now,
            serving: false,
            silent: false,
            followers: Followers::default(),
            probes: Probes::new(timing),
            delivery: Delivery::new(timing.client_heartbeat),
            head_reads: HeadReads::default(),
            publishers: BTreeMap::new(),
            opens: BTreeMap::new(),
            expiry: Box::new(Expiry::new(now)),
            trim: None,
            throttle: Throttle::default(),
            joining: None,
            kept: None,
        }
    }

    /// Its epoch.
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Offset of its epoch's first record.
    pub const fn start(&self) -> Offset {
        self.start
    }

    /// Since when absent members are waited for.
    pub const fn since(&self) -> Instant {
        self.since
    }

    /// What it puts on frames to followers.
    pub const fn sender(&self, identity: BrokerIdentity) -> Sender {
        Sender { identity, epoch: self.epoch }
    }

    /// Everyone gets a fresh term: this process itself was not running.
    pub fn forgive(&mut self, now: Instant) {
        self.since = now;
        self.followers.forgive(now);
        if !sabotage!(SleepCountsForExpiry) {
            self.expiry.forgive(now);
        }
    }

    /// A link's status: a follower or client is gone, or a probe has an answer.
    pub fn handle_link<E>(
        &mut self,
        now: Instant,
        (link, status): (LinkId, LinkStatus),
        out: &mut Outbox<E>,
    ) {
        self.probes.handle_link(now, (link, status), out);
        if status != LinkStatus::Up {
            self.followers.detach(link);
            self.delivery.drop_link(link);
            self.expiry.unlink(link);
            self.head_reads.drop_link(link);
            self.publishers.retain(|_, other| *other != link);
            self.opens.retain(|_, open| open.link != link);
        }
    }

    /// Whether heartbeats are due; if so, when the next ones are is noted.
    pub fn heartbeat_due(&mut self, now: Instant, timing: &Timing) -> bool {
        let due = self.heartbeat_at <= now;
        if due {
            self.heartbeat_at = now + timing.heartbeat;
        }
        due
    }

    /// When it has to do something. Everything that waits for silence is looked at with each heartbeat.
    pub fn deadline(&self) -> Instant {
        let streams = self.delivery.deadline().filter(|_| !self.silent || sabotage!(SilentBeats));
        let others = earliest(self.probes.deadline(), earliest(streams, self.head_reads.deadline()));
        others.map_or(self.heartbeat_at, |other| other.min(self.heartbeat_at))
    }
}
