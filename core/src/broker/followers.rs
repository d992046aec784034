//! The primary's view of the brokers that follow it: who has acknowledged what, what is on its way,
//! and who is silent (R7–R9, R12, R13, R17).

use super::replica::Replica;
use super::snapshot::Transfer;
use crate::group::GroupState;
use crate::id::{BrokerIdentity, Epoch, Member, Offset};
use crate::limits::{
    MAX_FRAME_ENTRIES, REPLICATION_WINDOW_BYTES, REPLICATION_WINDOW_FRAMES, SEND_FRAME_BYTES,
};
use crate::link::LinkId;
use crate::log::Entry;
use crate::message::{Message, Replicate, SnapshotPart};
use crate::node::Outbox;
use crate::time::{Duration, Instant};
use crate::trace::Trace;
use crate::wire;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// One broker that follows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Follower {
    identity: BrokerIdentity,
    /// `None` while it is not connected.
    link: Option<LinkId>,
    /// End of the prefix that it has verified in this epoch; `None` before its first acknowledgement.
    matched: Option<Offset>,
    /// What to send next.
    next: Offset,
    /// A snapshot under way; then nothing else is sent.
    transfer: Option<Transfer>,
    /// Snapshots begun so far.
    snapshots: u64,
    /// Ends and sizes of the frames under way.
    in_flight: VecDeque<(Offset, u64)>,
    in_flight_bytes: u64,
    /// Body bytes acknowledged so far.
    delivered: u64,
    heard: Instant,
    progressed: Instant,
    spoke: Instant,
    /// When sending last began anew.
    rewound: Instant,
}

/// All of them, by member: an acknowledgement counts for a node with its storage (R8).
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Followers(BTreeMap<Member, Follower>);

/// What the primary puts on every frame to a follower.
#[derive(Clone, Debug)]
pub struct Sender {
    /// The primary.
    pub identity: BrokerIdentity,
    /// Its epoch.
    pub epoch: Epoch,
}

impl Follower {
    /// Its process.
    pub const fn identity(&self) -> &BrokerIdentity {
        &self.identity
    }

    /// When it was last heard in this epoch.
    pub const fn heard(&self) -> Instant {
        self.heard
    }

    /// When it last took a step forward, or had nothing left to do.
    pub const fn progressed(&self) -> Instant {
        self.progressed
    }

    /// Whether it is connected.
    pub const fn is_attached(&self) -> bool {
        self.link.is_some()
    }

    /// The link to it, while it is connected.
    pub const fn link(&self) -> Option<LinkId> {
        self.link
    }

    /// End of what it has verified in this epoch, if it has acknowledged anything.
    pub const fn matched(&self) -> Option<Offset> {
        self.matched
    }

    /// Body bytes under way to it.
    pub const fn in_flight_bytes(&self) -> u64 {
        self.in_flight_bytes
    }

    /// Body bytes that it has acknowledged so far.
    pub const fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Whether everything up to the log's end is on its way or acknowledged.
    pub const fn has_been_sent(&self, end: Offset) -> bool {
        self.next == end && self.transfer.is_none()
    }

    fn has_room(&self) -> bool {
        self.in_flight.len() < REPLICATION_WINDOW_FRAMES && self.in_flight_bytes < REPLICATION_WINDOW_BYTES
    }

    fn rewind(&mut self, to: Offset) {
        self.next = to;
        self.transfer = None;
        self.in_flight.clear();
        self.in_flight_bytes = 0;
    }

    /// R16: below the log's start there is nothing to send; a snapshot takes its place.
    fn begin_transfer<E>(&mut self, replica: &Replica, out: &mut Outbox<E>) {
        let overtaken = self.next < replica.log().start() && self.transfer.is_none();
        if overtaken && self.link.is_some() {
            self.rewind(self.next);
            self.snapshots += 1;
            self.transfer = Some(Transfer::new(self.snapshots));
            out.trace(Trace::SnapshotBegun { member: self.identity.member.clone() });
        }
    }

    /// Sends what it has not got, as far as its window goes.
    fn send_entries<E>(&mut self, now: Instant, from: (&Replica, &Sender), out: &mut Outbox<E>) {
        self.begin_transfer(from.0, out);
        if let (Some(transfer), Some(link)) = (&mut self.transfer, self.link) {
            transfer.send(link, from, out);
            return;
        }
        while self.link.is_some() && self.next < from.0.log().end() && self.has_room() {
            let (mut entries, mut bytes) = (Vec::new(), 0);
            for entry in from.0.log().iter_from(self.next) {
                entries.push(entry.clone());
                bytes += entry.body_len();
                if bytes >= SEND_FRAME_BYTES || entries.len() == MAX_FRAME_ENTRIES {
                    break;
                }
            }
            let end = entries.last().map_or(self.next, Entry::end);
            self.send(now, from, entries, out);
            self.next = end;
            self.in_flight.push_back((end, bytes as u64));
            self.in_flight_bytes += bytes as u64;
        }
    }

    fn send<E>(
        &mut self,
        now: Instant,
        (replica, sender): (&Replica, &Sender),
        entries: Vec<Entry>,
        out: &mut Outbox<E>,
    ) {
        let Some(link) = self.link else { return };
        out.count().replicated_out(&entries);
        self.begin_transfer(replica, out);
        self.spoke = now;
        if let Some(transfer) = &self.transfer {
            return transfer.heartbeat(link, replica, sender, out);
        }
        let previous_epoch = replica.log().epoch_before(self.next);
        let replicate = Replicate {
            sender: sender.identity.clone(),
            history: replica.history(),
            epoch: sender.epoch,
            previous_offset: self.next,
            previous_epoch: previous_epoch.expect("a follower is never sent what the log has not got"),
            commit: replica.commit(),
            entries,
        };
        out.transmit(link, wire::encode(&Message::Replicate(replicate)));
    }

    fn acknowledge(&mut self, now: Instant, matched: Offset, end: Offset) {
        self.heard = now;
        // A forged or confused acknowledgement cannot go beyond what was sent.
        let matched = matched.min(self.next);
        let moves = self.matched.is_none_or(|before| before < matched) || matched == end;
        if moves || sabotage!(AcksAreProgress) {
            self.progressed = now;
        }
        self.matched = Some(self.matched.map_or(matched, |before| before.max(matched)));
        while let Some((_, bytes)) = self.in_flight.pop_front_if(|(end, _)| *end <= matched) {
            self.in_flight_bytes -= bytes;
            self.delivered += bytes;
        }
    }
}

impl Followers {
    /// A follower has attached, or has attached again: it is sent everything from `common` on.
    pub fn attach<E>(
        &mut self,
        now: Instant,
        identity: BrokerIdentity,
        (link, common): (LinkId, Offset),
        from: (&Replica, &Sender),
        out: &mut Outbox<E>,
    ) {
        let member = identity.member.clone();
        let before = self.0.remove(&member);
        let mut follower = Follower {
            identity,
            link: Some(link),
            matched: before
                .as_ref()
                .and_then(|before| before.matched)
                .or_else(|| sabotage!(HelloCountsAsAck).then_some(common)),
            next: common,
            transfer: None,
            snapshots: before.as_ref().map_or(0, |before| before.snapshots),
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            delivered: before.as_ref().map_or(0, |before| before.delivered),
            heard: now,
            progressed: before.map_or(now, |before| before.progressed),
            spoke: now,
            rewound: Instant::default(),
        };
        follower.send(now, from, Vec::new(), out);
        follower.send_entries(now, from, out);
        self.0.insert(member, follower);
    }

    /// Nobody's silence counts until now: this process itself was not running.
    pub fn forgive(&mut self, now: Instant) {
        for follower in self.0.values_mut() {
            follower.heard = now;
            follower.progressed = now;
        }
    }

    /// Forgets those that `keep` does not want.
    pub fn retain(&mut self, keep: impl Fn(&Member, &Follower) -> bool) {
        self.0.retain(|member, follower| keep(member, follower));
    }

    /// The follower, if this member has attached.
    pub fn get(&self, member: &Member) -> Option<&Follower> {
        self.0.get(member)
    }

    /// All followers.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Member, &Follower)> {
        self.0.iter()
    }

    /// The link is gone. Returns whose it was; what the member has verified still counts.
    pub fn detach(&mut self, link: LinkId) -> Option<&Member> {
        let mut attached = self.0.iter_mut().filter(|(_, follower)| follower.link == Some(link));
        let (member, follower) = attached.next()?;
        follower.link = None;
        Some(member)
    }

    /// R8: counts an acknowledgement of this epoch. Returns whether the follower is known.
    pub fn acknowledge<E>(
        &mut self,
        now: Instant,
        (member, matched): (&Member, Offset),
        from: (&Replica, &Sender),
        out: &mut Outbox<E>,
    ) -> bool {
        let follower = sabotage!(
            AcksOfAnyStorage => self.0.values_mut().find(|other| other.identity.member.node == member.node);
            self.0.get_mut(member)
        );
        let Some(follower) = follower else { return false };
        follower.acknowledge(now, matched, from.0.log().end());
        follower.send_entries(now, from, out);
        true
    }

    /// Parts of a snapshot have arrived. After the last one ordinary replication goes on.
    pub fn acknowledge_part<E>(
        &mut self,
        now: Instant,
        (link, part): (LinkId, &SnapshotPart),
        from: (&Replica, &Sender),
        out: &mut Outbox<E>,
    ) {
        let follower = self.0.get_mut(&part.sender.member);
        let Some(follower) = follower.filter(|follower| follower.link == Some(link)) else { return };
        follower.heard = now;
        let Some(transfer) = &mut follower.transfer else { return };
        let bytes = transfer.acknowledge(part.snapshot, part.part);
        if bytes > 0 {
            follower.progressed = now;
            follower.delivered += bytes;
        }
        if let Some(cut) = transfer.completed() {
            follower.rewind(cut);
        }
        follower.send_entries(now, from, out);
    }

    /// The follower's log does not fit what it was sent: begin again where they part. Every frame under
    /// way is refused for the same reason, so one answer must do until the next heartbeat.
    pub fn rewind<E>(
        &mut self,
        (now, patience): (Instant, Duration),
        (link, sender): (LinkId, &BrokerIdentity),
        common: Offset,
        from: (&Replica, &Sender),
        out: &mut Outbox<E>,
    ) {
        let Some(follower) = self.0.get_mut(&sender.member) else { return };
        let current = follower.link == Some(link) && follower.identity.incarnation == sender.incarnation;
        if current && follower.rewound + patience <= now {
            out.count().rewinds += 1;
            follower.heard = now;
            follower.rewound = now;
            follower.rewind(common);
            follower.send_entries(now, from, out);
        }
    }

    /// The log has grown.
    pub fn send_entries<E>(&mut self, now: Instant, from: (&Replica, &Sender), out: &mut Outbox<E>) {
        for follower in self.0.values_mut() {
            follower.send_entries(now, from, out);
        }
    }

    /// Says something to every follower that has heard nothing since `since`.
    pub fn send_heartbeats<E>(
        &mut self,
        (now, since): (Instant, Instant),
        from: (&Replica, &Sender),
        out: &mut Outbox<E>,
    ) {
        for follower in self.0.values_mut().filter(|follower| follower.spoke <= since) {
            follower.send(now, from, Vec::new(), out);
        }
    }

    /// R9: what every member of the in-sync set, and those that are being taken in, have verified in this epoch. The primary itself counts what is durable.
    /// R35: nothing while the set in the tree is too small, whoever is being taken in.
    pub fn committable<'a>(
        &self,
        state: &'a GroupState,
        pending: impl Iterator<Item = &'a Member>,
        (me, durable_end): (&Member, Offset),
    ) -> Offset {
        if state.is_frozen() {
            return 0;
        }
        let pending = pending.filter(|_| !sabotage!(PendingNotCounted));
        let others = state.in_sync.iter().chain(pending).filter(|member| *member != me);
        let others = others.filter(|member| {
            !sabotage!(DetachedNotAwaited) || self.0.get(member).is_some_and(Follower::is_attached)
        });
        let matched = others.map(|member| self.0.get(member).and_then(|f| f.matched).unwrap_or(0));
        if sabotage!(FastestDecides) {
            return matched.max().unwrap_or(durable_end).min(durable_end);
        }
        matched.min().unwrap_or(durable_end).min(durable_end)
    }
}
