//! A snapshot under way (R16): how the primary sends it, and what the backup has of it. The entries
//! come first and the fold last: so the fold is that of the commit offset at which the entries end, and
//! what is trimmed while they are sent is left out (R36).

use super::followers::Sender;
use super::replica::Replica;
use super::sessions::{Session, SessionTable};
use super::topics::{TopicHead, Topics};
use crate::filter::Topic;
use crate::id::{Epoch, Offset, PublisherId, Sequence};
use crate::limits::{
    MAX_FOLD_SESSIONS, MAX_FOLD_TOPICS, MAX_FRAME_ENTRIES, MAX_SESSIONS, MAX_TOPICS,
    REPLICATION_WINDOW_BYTES, REPLICATION_WINDOW_FRAMES, SEND_FRAME_BYTES,
};
use crate::link::LinkId;
use crate::log::{Entry, EntryKind, Log};
use crate::message::{Message, SnapshotFold, SnapshotPart, SnapshotRecords};
use crate::node::Outbox;
use crate::trace::Rejection;
use crate::wire;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// What a part of the fold counts for in the window, in bytes: about what it takes on the wire.
const FOLD_PART_BYTES: u64 = 64 << 10;

/// The fold of the log below a commit offset, as far as it is still to be sent.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Fold {
    cut: Offset,
    log_start: Offset,
    sessions: VecDeque<(PublisherId, Session)>,
    topics: VecDeque<(Topic, TopicHead)>,
    sent: bool,
}

impl Fold {
    fn of(replica: &Replica) -> Self {
        let sessions = replica.sessions();
        let sessions = sabotage!(SnapshotFoldsUncommitted => sessions.overlay(); sessions.base());
        let sessions = sessions.iter().map(|(id, session)| (*id, *session));
        let topics = replica.topics().iter().filter(|_| !sabotage!(SnapshotWithoutTopics));
        let topics = topics.map(|(topic, head)| (topic.clone(), *head));
        Self {
            cut: replica.commit(),
            log_start: replica.log().start(),
            sessions: sessions.collect(),
            topics: topics.collect(),
            sent: false,
        }
    }
}

/// A snapshot on its way to a backup.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Transfer {
    id: u64,
    /// Entries below were sent.
    next: Offset,
    fold: Option<Fold>,
    /// Parts sent.
    parts: u64,
    /// Sizes of the parts under way, the last of those sent.
    in_flight: VecDeque<u64>,
    in_flight_bytes: u64,
}

impl Transfer {
    /// Nothing is sent yet.
    pub const fn new(id: u64) -> Self {
        Self { id, next: 0, fold: None, parts: 0, in_flight: VecDeque::new(), in_flight_bytes: 0 }
    }

    /// The first part goes alone: it says how large the log is, and may be refused for that.
    fn has_room(&self) -> bool {
        let taken = self.parts == 0 || self.parts > self.in_flight.len() as u64;
        taken
            && self.in_flight.len() < REPLICATION_WINDOW_FRAMES
            && self.in_flight_bytes < REPLICATION_WINDOW_BYTES
    }

    fn is_sent(&self) -> bool {
        self.fold.as_ref().is_some_and(|fold| fold.sent)
    }

    /// Where ordinary replication goes on, once everything has arrived.
    pub fn completed(&self) -> Option<Offset> {
        let ends = !sabotage!(SnapshotsNeverEnd);
        self.fold.as_ref().filter(|fold| ends && fold.sent && self.in_flight.is_empty()).map(|fold| fold.cut)
    }

    /// So many parts have arrived. Returns the bytes of those that are new.
    pub fn acknowledge(&mut self, snapshot: u64, parts: u64) -> u64 {
        let before = self.in_flight_bytes;
        let under_way = self.parts.saturating_sub(parts) as usize;
        while snapshot == self.id && self.in_flight.len() > under_way {
            self.in_flight_bytes -= self.in_flight.pop_front().unwrap_or(0);
        }
        before - self.in_flight_bytes
    }

    /// Sends as much as the window allows.
    pub fn send<E>(&mut self, link: LinkId, (replica, sender): (&Replica, &Sender), out: &mut Outbox<E>) {
        while self.has_room() && !self.is_sent() {
            // R36: what was trimmed meanwhile is skipped.
            self.next = self.next.max(replica.log().start());
            let (message, bytes) = if self.fold.is_none() && self.next < replica.commit() {
                self.records(replica, sender)
            } else {
                (self.fold(replica, sender), FOLD_PART_BYTES)
            };
            out.transmit(link, wire::encode(&message));
            self.parts += 1;
            self.in_flight.push_back(bytes);
            self.in_flight_bytes += bytes;
        }
    }

    /// Says that the primary is there.
    pub fn heartbeat<E>(&self, link: LinkId, replica: &Replica, sender: &Sender, out: &mut Outbox<E>) {
        let part = self.part(replica, sender);
        let log_bytes = replica.log().bytes();
        let beat = SnapshotRecords { part, from: 0, previous_epoch: 0, entries: Vec::new(), log_bytes };
        out.transmit(link, wire::encode(&Message::SnapshotRecords(Box::new(beat))));
    }

    fn part(&self, replica: &Replica, sender: &Sender) -> SnapshotPart {
        SnapshotPart {
            sender: sender.identity.clone(),
            history: replica.history(),
            epoch: sender.epoch,
            snapshot: self.id,
            part: self.parts,
        }
    }

    fn records(&mut self, replica: &Replica, sender: &Sender) -> (Message, u64) {
        let (from, mut entries, mut bytes) = (self.next, Vec::new(), 0);
        for entry in replica.log().iter_from(from).take_while(|entry| entry.end() <= replica.commit()) {
            self.next = entry.end();
            bytes += entry.body_len();
            entries.push(entry.clone());
            if bytes >= SEND_FRAME_BYTES || entries.len() == MAX_FRAME_ENTRIES {
                break;
            }
        }
        let previous_epoch = replica.log().epoch_before(from);
        let previous_epoch = previous_epoch.expect("a snapshot is sent from the log's start on");
        let part = self.part(replica, sender);
        let log_bytes = replica.log().bytes();
        let records = SnapshotRecords { part, from, previous_epoch, entries, log_bytes };
        (Message::SnapshotRecords(Box::new(records)), bytes as u64)
    }

    fn fold(&mut self, replica: &Replica, sender: &Sender) -> Message {
        let part = self.part(replica, sender);
        let fold = self.fold.get_or_insert_with(|| Fold::of(replica));
        let sessions: Vec<_> = fold.sessions.drain(..fold.sessions.len().min(MAX_FOLD_SESSIONS)).collect();
        let topics: Vec<_> = fold.topics.drain(..fold.topics.len().min(MAX_FOLD_TOPICS)).collect();
        fold.sent = fold.sessions.is_empty() && fold.topics.is_empty();
        let (cut, log_start, last) = (fold.cut, fold.log_start, fold.sent);
        let fold = SnapshotFold { part, cut, log_start, sessions, topics, last };
        Message::SnapshotFold(Box::new(fold))
    }
}

/// What has come of a snapshot. Nothing of it counts before it is complete.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Staging {
    snapshot: u64,
    parts: u64,
    log: Log,
    /// Cut and log start, as the first part of the fold had them.
    bounds: Option<(Offset, Offset)>,
    sessions: SessionTable,
    topics: Topics,
}

/// A complete snapshot: the fold at the log's end, which is committed.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The entries that are kept.
    pub log: Log,
    /// The sessions.
    pub sessions: SessionTable,
    /// The heads of topics.
    pub topics: Topics,
}

/// What entries say of a session.
#[derive(Clone, Copy, Debug)]
struct Lead {
    incarnation: u64,
    /// `None` where its numbers go on from a session that was opened before the entries.
    last_sequence: Option<Sequence>,
}

impl Lead {
    fn fits(self, incarnation: u64, last_sequence: Sequence) -> bool {
        self.incarnation == incarnation && self.last_sequence.is_none_or(|known| known == last_sequence)
    }
}

impl Staging {
    /// Of this snapshot, nothing yet.
    pub fn new(snapshot: u64) -> Self {
        Self {
            snapshot,
            parts: 0,
            log: Log::default(),
            bounds: None,
            sessions: SessionTable::default(),
            topics: Topics::default(),
        }
    }

    /// Which snapshot.
    pub const fn snapshot(&self) -> u64 {
        self.snapshot
    }

    /// How many parts have come.
    pub const fn parts(&self) -> u64 {
        self.parts
    }

    /// Takes a part's entries. Returns whether they replace all that came before.
    ///
    /// # Errors
    /// When they do not continue what is there, or would exceed `limit` bytes of memory.
    pub fn take_records(
        &mut self,
        (from, previous_epoch): (Offset, Epoch),
        entries: &[Entry],
        limit: u64,
    ) -> Result<bool, Rejection> {
        let anew = self.parts == 0 || from > self.log.end();
        let continues = from == self.log.end() && previous_epoch == self.log.last_epoch();
        if self.bounds.is_some() || !(anew || continues) {
            return Err(Rejection::Unexpected);
        }
        if anew {
            self.log = Log::starting_at(from, previous_epoch);
        }
        for entry in entries {
            self.log.append(entry.clone());
            // R36: all this is committed. What the group keeps no longer takes no memory here either, or
            // a transfer under load would never fit.
            if let EntryKind::Trim { to } = entry.kind {
                self.log.trim(to);
            }
        }
        if self.log.bytes() > limit {
            return Err(Rejection::TooLarge);
        }
        self.parts += 1;
        Ok(anew)
    }

    /// Takes a part of the fold.
    ///
    /// # Errors
    /// When it does not continue what is there.
    pub fn take_fold(&mut self, fold: SnapshotFold) -> Result<(), Rejection> {
        let (cut, log_start) = *self.bounds.get_or_insert((fold.cut, fold.log_start));
        let fits = (cut, log_start) == (fold.cut, fold.log_start)
            && cut == self.log.end()
            && (self.log.start()..cut).contains(&log_start)
            && self.log.boundary(log_start) == log_start;
        if !fits || self.parts == 0 {
            return Err(Rejection::Unexpected);
        }
        for (publisher, session) in fold.sessions {
            if self.sessions.last().is_some_and(|last| last >= publisher) {
                return Err(Rejection::Unexpected);
            }
            self.sessions.insert(publisher, session);
        }
        for (topic, head) in fold.topics {
            if self.topics.iter().next_back().is_some_and(|(last, _)| *last >= topic)
                || self.topics.ends_at(head.end)
            {
                return Err(Rejection::Unexpected);
            }
            self.topics.insert(topic, head);
        }
        if self.sessions.len() > MAX_SESSIONS || self.topics.len() > MAX_TOPICS {
            return Err(Rejection::TooLarge);
        }
        self.parts += 1;
        Ok(())
    }

    /// The snapshot, after its last part.
    ///
    /// # Errors
    /// When the fold contradicts the entries.
    pub fn complete(mut self) -> Result<Snapshot, Rejection> {
        let Some((_, log_start)) = self.bounds else { return Err(Rejection::Unexpected) };
        self.check_sessions()?;
        self.check_topics()?;
        self.log.trim(log_start);
        Ok(Snapshot { log: self.log, sessions: self.sessions, topics: self.topics })
    }

    /// Whoever has opened, written or expired within the entries has the session that they lead to.
    fn check_sessions(&self) -> Result<(), Rejection> {
        let mut seen: BTreeMap<PublisherId, Option<Lead>> = BTreeMap::new();
        for entry in self.log.iter_from(self.log.start()) {
            match &entry.kind {
                EntryKind::Batch(batch) => {
                    let header = &batch.header;
                    let (incarnation, before) = (header.incarnation, header.first_sequence - 1);
                    let now = Lead { incarnation, last_sequence: Some(header.last_sequence()) };
                    let known = seen.insert(header.publisher, Some(now));
                    if known.is_some_and(|known| !known.is_some_and(|lead| lead.fits(incarnation, before))) {
                        return Err(Rejection::Unexpected);
                    }
                }
                EntryKind::SessionOpen { publisher, incarnation, .. } => {
                    // R28: a session is numbered by its place and goes on where the one before has stopped.
                    let last_sequence = match seen.get(publisher) {
                        None => None,
                        Some(None) => Some(0),
                        Some(Some(lead)) => lead.last_sequence,
                    };
                    seen.insert(*publisher, Some(Lead { incarnation: *incarnation, last_sequence }));
                }
                EntryKind::SessionExpire { publisher, .. } => {
                    seen.insert(*publisher, None);
                }
                EntryKind::EpochStart | EntryKind::Trim { .. } => {}
            }
        }
        let agree = seen.into_iter().all(|(publisher, lead)| match (lead, self.sessions.get(publisher)) {
            (None, session) => session.is_none(),
            (Some(_), None) => false,
            (Some(lead), Some(session)) => lead.fits(session.incarnation, session.last_sequence),
        });
        if agree { Ok(()) } else { Err(Rejection::Unexpected) }
    }

    /// A topic within the entries ends where they say, unless a full table has forgotten it.
    fn check_topics(&self) -> Result<(), Rejection> {
        let mut ends: BTreeMap<&Topic, Offset> = BTreeMap::new();
        for entry in self.log.iter_from(self.log.start()) {
            if let EntryKind::Batch(batch) = &entry.kind {
                ends.insert(&batch.header.topic, entry.end());
            }
        }
        let full = self.topics.len() == MAX_TOPICS;
        let agree = ends.into_iter().all(|(topic, end)| match self.topics.get(topic) {
            Some(head) => head.end == end,
            None => full,
        });
        if agree { Ok(()) } else { Err(Rejection::Unexpected) }
    }
}
