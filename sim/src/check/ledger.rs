//! What all facts so far amount to: every member's log, what was ever committed, and the states that
//! the group went through. Prefixes are compared by chained hashes, so that no check walks a log.

use super::Fact;
use super::records::{Record, RecordId, Register};
use crate::fingerprint::Fingerprint;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hash as _;
use std::sync::Arc;
use steadfast_core::broker;
use steadfast_core::group::GroupState;
use steadfast_core::id::{Epoch, Member, Offset, PublisherId, Sequence};
use steadfast_core::log::{BatchHeader, Entry, EntryKind};
use steadfast_core::message::History;
use steadfast_core::wire::records::{Records, Undecodable};

/// A log entry with the hash of the whole prefix that it ends.
#[derive(Clone, Debug)]
pub struct Held {
    /// The entry.
    pub entry: Arc<Entry>,
    /// Where it ends.
    end: Offset,
    /// Hash of all entries up to and including this one.
    pub chain: u64,
    /// Its records, if it is committed.
    records: Result<Vec<RecordId>, Undecodable>,
}

impl Held {
    /// The same, committed.
    fn read(&self, register: &mut Register) -> Self {
        let records = match &self.entry.kind {
            EntryKind::Batch(batch) => Records::decode(&batch.header, batch.body.clone()).map(|records| {
                records.map(|payload| register.number(batch.header.publisher, &payload)).collect()
            }),
            _ => Ok(Vec::new()),
        };
        Self { records, ..self.clone() }
    }

    /// The records of a committed batch.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn records(&self) -> Result<&[RecordId], String> {
        let unreadable =
            |error| format!("the committed batch at {} cannot be read: {error}", self.entry.offset);
        self.records.as_deref().map_err(unreadable)
    }
}

/// A prefix of a log. What was trimmed stays in it; what a snapshot left out is known by its hash.
#[derive(Clone, Debug, Default)]
pub struct Prefix {
    /// Where the entries begin, and the hash of everything below.
    base: (Offset, u64),
    entries: Vec<Held>,
}

impl Prefix {
    /// A prefix whose entries begin at `start`, behind others of this hash.
    fn behind(start: Offset, chain: u64) -> Self {
        Self { base: (start, chain), entries: Vec::new() }
    }

    /// The next offset.
    pub fn end(&self) -> Offset {
        self.tip().0
    }

    /// Where it ends, and its hash.
    fn tip(&self) -> (Offset, u64) {
        self.entries.last().map_or(self.base, |held| (held.end, held.chain))
    }

    /// Its entries.
    pub fn entries(&self) -> &[Held] {
        &self.entries
    }

    /// Hash of the prefix that ends at `end`; `None` where no entry ends there.
    pub fn chain_at(&self, end: Offset) -> Option<u64> {
        // Nearly always it is asked for the end.
        if let Some((_, chain)) = [self.tip(), self.base].into_iter().find(|(at, _)| *at == end) {
            return Some(chain);
        }
        let index = self.entries.binary_search_by_key(&end, |held| held.end).ok()?;
        Some(self.entries[index].chain)
    }

    /// Entries that begin at or after `offset`.
    pub fn from(&self, offset: Offset) -> &[Held] {
        let rest = self.last_around(offset);
        &rest[rest.partition_point(|held| held.entry.offset < offset)..]
    }

    /// The entry that holds `offset`.
    pub fn get(&self, offset: Offset) -> Option<&Entry> {
        self.held(offset).map(|held| &*held.entry)
    }

    /// The same, with what is known of it.
    pub fn held(&self, offset: Offset) -> Option<&Held> {
        let rest = self.last_around(offset);
        rest.get(rest.partition_point(|held| held.end <= offset))
    }

    /// The last entries, with at least one that ends at or below `offset`, if any does. Nearly always it is asked
    /// for the last few: looking back from the end, twice as far each time, finds those soonest.
    fn last_around(&self, offset: Offset) -> &[Held] {
        let mut few = 4;
        while self.entries.len().checked_sub(few).is_some_and(|first| self.entries[first].end > offset) {
            few *= 2;
        }
        &self.entries[self.entries.len().saturating_sub(few)..]
    }

    fn push(&mut self, entry: Arc<Entry>) {
        let mut hash = Fingerprint::default();
        hash.word(self.tip().1);
        digest(&mut hash, &entry);
        self.entries.push(Held { end: entry.end(), entry, chain: hash.value(), records: Ok(Vec::new()) });
    }

    fn truncate(&mut self, to: Offset) {
        let keep = self.entries.partition_point(|held| held.end <= to);
        self.entries.truncate(keep);
    }
}

fn digest(hash: &mut Fingerprint, entry: &Entry) {
    hash.word(entry.offset);
    hash.word(entry.epoch);
    match &entry.kind {
        EntryKind::Batch(batch) => {
            let BatchHeader {
                topic,
                publisher,
                incarnation,
                first_sequence,
                count,
                raw_length,
                codec,
                checksum,
            } = &batch.header;
            (topic, publisher, incarnation, first_sequence).hash(hash);
            (count, raw_length, checksum).hash(hash);
            codec.hash(hash);
            hash.bytes(&batch.body);
        }
        other => hash.debug(other),
    }
}

/// A member's log.
#[derive(Clone, Debug, Default)]
pub struct Replica {
    /// Which history it holds.
    pub history: History,
    /// What it holds.
    pub log: Prefix,
    /// What of it is durable.
    pub durable: Offset,
    /// Where it starts: everything below was dropped.
    pub start: Offset,
}

/// What was ever committed of one history.
#[derive(Clone, Debug, Default)]
pub struct Committed {
    /// The entries.
    pub log: Prefix,
    /// The epochs whose first record is committed.
    pub epochs: BTreeSet<Epoch>,
    /// Every publisher's session: its incarnation and last sequence number.
    sessions: BTreeMap<PublisherId, (u64, Sequence)>,
    /// The last sequence number that each incarnation of a session has come to, expired ones included.
    reached: BTreeMap<(PublisherId, u64), Sequence>,
    /// Decisions to trim: the offset after each, and where the log starts from then on.
    trims: Vec<(Offset, Offset)>,
}

impl Committed {
    fn push(&mut self, held: Held) {
        match &held.entry.kind {
            EntryKind::Batch(batch) => {
                let (publisher, last) = (batch.header.publisher, batch.header.last_sequence());
                let incarnation =
                    self.sessions.get(&publisher).map_or(batch.header.incarnation, |held| held.0);
                self.session(publisher, incarnation, last);
            }
            EntryKind::EpochStart => {
                self.epochs.insert(held.entry.epoch);
            }
            EntryKind::Trim { to } => self.trims.push((held.end, self.log_start().max(*to))),
            EntryKind::SessionOpen { publisher, incarnation, .. } => {
                let last = self.sessions.get(publisher).map_or(0, |held| held.1);
                self.session(*publisher, *incarnation, last);
            }
            EntryKind::SessionExpire { publisher, .. } => {
                self.sessions.remove(publisher);
            }
        }
        self.log.entries.push(held);
    }

    fn session(&mut self, publisher: PublisherId, incarnation: u64, last: Sequence) {
        self.sessions.insert(publisher, (incarnation, last));
        self.reached.insert((publisher, incarnation), last);
    }

    /// Whoever has a session.
    pub fn publishers(&self) -> impl Iterator<Item = PublisherId> {
        self.sessions.keys().copied()
    }

    /// The last sequence number that an incarnation of a publisher's session has come to; 0 when it was
    /// never open.
    pub fn reached(&self, publisher: PublisherId, incarnation: u64) -> Sequence {
        self.reached.get(&(publisher, incarnation)).copied().unwrap_or(0)
    }

    /// Where the log starts for whoever has applied everything below `commit`.
    pub fn log_start_at(&self, commit: Offset) -> Offset {
        let decided = self.trims.partition_point(|(end, _)| *end <= commit);
        self.trims[..decided].last().map_or(0, |(_, start)| *start)
    }

    /// Whether the log starts there, or did before a later decision.
    pub fn has_started_at(&self, offset: Offset) -> bool {
        offset == 0 || self.trims.iter().any(|(_, start)| *start == offset)
    }

    /// Where the log starts now.
    pub fn log_start(&self) -> Offset {
        self.log_start_at(Offset::MAX)
    }
}

/// Everything that is known.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    replicas: BTreeMap<Member, Replica>,
    committed: BTreeMap<History, Committed>,
    states: Vec<GroupState>,
    nothing: Committed,
    register: Register,
    named: Vec<RecordId>,
}

impl Ledger {
    /// What is known to one who looks at a broker in the middle of its life: its log, and what of that is
    /// committed. Everything below the log's start counts as the same, whatever it was.
    pub(crate) fn of(member: &Member, held: &broker::replica::Replica) -> Self {
        let (history, log, commit) = (held.history(), held.log(), held.commit());
        let mut committed = Committed { log: Prefix::behind(log.start(), 0), ..Committed::default() };
        committed.trims.push((log.start(), log.start()));
        committed.epochs.extend(log.epoch_before(log.start()));
        let mut replica =
            Replica { history, log: committed.log.clone(), durable: held.durable_end(), start: log.start() };
        let mut register = Register::default();
        for entry in log.iter_from(log.start()) {
            replica.log.push(Arc::new(entry.clone()));
        }
        for held in replica.log.entries.iter().take_while(|held| held.end <= commit) {
            committed.epochs.insert(held.entry.epoch);
            committed.push(held.read(&mut register));
        }
        for (publisher, session) in held.sessions().base().iter() {
            committed.session(*publisher, session.incarnation, session.last_sequence);
        }
        Self {
            replicas: BTreeMap::from([(member.clone(), replica)]),
            committed: BTreeMap::from([(history, committed)]),
            register,
            ..Self::default()
        }
    }

    /// A member's log, unless its storage is gone.
    pub fn replica(&self, member: &Member) -> Option<&Replica> {
        self.replicas.get(member)
    }

    /// What was ever committed of a history.
    pub fn committed(&self, history: History) -> &Committed {
        self.committed.get(&history).unwrap_or(&self.nothing)
    }

    /// All histories of which something was committed.
    pub fn histories(&self) -> impl Iterator<Item = (History, &Committed)> {
        self.committed.iter().map(|(history, committed)| (*history, committed))
    }

    /// Every state of the group, in order.
    pub fn states(&self) -> &[GroupState] {
        &self.states
    }

    /// The records that the fact names which was taken in last, in its order.
    pub fn named(&self) -> &[RecordId] {
        &self.named
    }

    /// The record that has a number.
    pub fn record(&self, id: RecordId) -> &Record {
        self.register.record(id)
    }

    /// What the last fact has named is no part of what is known.
    pub(super) fn forget_names(&mut self) {
        self.named.clear();
    }

    fn name(&mut self, publisher: PublisherId, payloads: &[Bytes]) {
        let Self { named, register, .. } = self;
        named.clear();
        named.extend(payloads.iter().map(|payload| register.number(publisher, payload)));
    }

    /// Takes a fact in.
    pub(super) fn take(&mut self, fact: &Fact<'_>) -> Result<(), String> {
        match *fact {
            Fact::Published { publisher, payload, .. } | Fact::Acknowledged { publisher, payload } => {
                self.name(publisher, std::slice::from_ref(payload));
            }
            Fact::Delivered { publisher, payloads, .. } => self.name(publisher, payloads),
            Fact::State(state) => self.states.push(state.clone()),
            Fact::StorageLost(member) => {
                self.replicas.remove(member);
            }
            Fact::Appended { member, history, entry } => self.append(member, history, entry)?,
            Fact::Truncated { member, to } => {
                let replica = self.replicas.entry(member.clone()).or_default();
                replica.log.truncate(to);
                replica.durable = replica.durable.min(replica.log.end());
            }
            Fact::Trimmed { member, to } => {
                self.replicas.entry(member.clone()).or_default().start = to;
            }
            Fact::Installed { member, history, start, entries } => {
                self.install(member, history, start, entries)?;
            }
            Fact::Wiped(member) => {
                self.replicas.insert(member.clone(), Replica::default());
            }
            Fact::Durable { member, end } => {
                let replica = self.replicas.entry(member.clone()).or_default();
                replica.durable = end.min(replica.log.end());
            }
            Fact::Committed { process, history, commit } => self.commit(&process.member, history, commit)?,
            _ => {}
        }
        Ok(())
    }

    fn append(&mut self, member: &Member, history: History, entry: &Entry) -> Result<(), String> {
        let replica = self.replicas.entry(member.clone()).or_default();
        if replica.log.end() != entry.offset {
            return Err(format!("{member:?} appends at {}, its end is {}", entry.offset, replica.log.end()));
        }
        if entry.offset == 0 {
            replica.history = history;
        } else if replica.history != history {
            return Err(format!("{member:?} appends an entry of {history:?} to {:?}", replica.history));
        }
        replica.log.push(Arc::new(entry.clone()));
        Ok(())
    }

    /// The log is now what was committed below these entries, and the entries.
    fn install(
        &mut self,
        member: &Member,
        history: History,
        start: Offset,
        entries: &[Entry],
    ) -> Result<(), String> {
        let first = entries.first().map_or(start, |entry| entry.offset);
        let Some(chain) = self.committed(history).log.chain_at(first) else {
            return Err(format!("{member:?} installs a snapshot from {first} on, where no record begins"));
        };
        let mut replica = Replica { history, log: Prefix::behind(first, chain), durable: 0, start };
        entries.iter().for_each(|entry| replica.log.push(Arc::new(entry.clone())));
        self.replicas.insert(member.clone(), replica);
        Ok(())
    }

    /// Extends what is committed by what the member holds. Where the member's log contradicts what was
    /// committed before, nothing changes: that is for a checker to say.
    fn commit(&mut self, member: &Member, history: History, commit: Offset) -> Result<(), String> {
        if commit == 0 {
            return Ok(());
        }
        let replica = self.replicas.get(member).filter(|replica| replica.history == history);
        let Some(replica) = replica.filter(|replica| replica.log.chain_at(commit).is_some()) else {
            return Err(format!(
                "{member:?} takes {commit} of {history:?} for committed and does not hold it"
            ));
        };
        let committed = self.committed.entry(history).or_default();
        let end = committed.log.end();
        if commit > end && replica.log.chain_at(end) == committed.log.chain_at(end) {
            for held in replica.log.from(end).iter().take_while(|held| held.end <= commit) {
                committed.push(held.read(&mut self.register));
            }
        }
        Ok(())
    }
}
