//! Stories for the checkers' own tests: facts in a few words, and what the checker says to them.

use super::{Check, Fact, Ledger};
use bytes::Bytes;
use steadfast_core::filter::{Filter, Topic};
use steadfast_core::group::{GroupState, PrimaryId};
use steadfast_core::id::{
    Epoch, Generation, GroupId, Incarnation, Member, NodeName, Nonce, Offset, PublisherId,
};
use steadfast_core::log::{Entry, EntryKind};
use steadfast_core::message::{History, Start};
use steadfast_core::wire::records::RecordsBuilder;

/// The history of every story.
pub const HISTORY: History = History { group_id: GroupId(7), lineage: 1 };
/// The publisher of every batch.
pub const PUBLISHER: PublisherId = PublisherId(1 << 96);

/// An entry's epoch and kind; the story finds its place.
pub type Draft = (Epoch, EntryKind);

/// The start of an epoch.
pub fn start(epoch: Epoch) -> Draft {
    (epoch, EntryKind::EpochStart)
}

/// A batch of the first incarnation on topic `t`, whose payloads are the sequence numbers.
pub fn batch(epoch: Epoch, first_sequence: u64, count: u32) -> Draft {
    batch_on("t", epoch, 1, first_sequence, count)
}

/// A batch.
pub fn batch_on(topic: &str, epoch: Epoch, incarnation: u64, first_sequence: u64, count: u32) -> Draft {
    let mut body = RecordsBuilder::default();
    for sequence in first_sequence..first_sequence + u64::from(count) {
        body.push(&payload(sequence));
    }
    let topic = Topic::new(topic).expect("a topic");
    (epoch, EntryKind::Batch(body.seal(topic, PUBLISHER, incarnation, first_sequence)))
}

/// The payload of the record with this sequence number.
pub fn payload(sequence: u64) -> Bytes {
    Bytes::from(sequence.to_string())
}

/// A session begins.
pub fn session(epoch: Epoch, incarnation: u64) -> Draft {
    (epoch, EntryKind::SessionOpen { publisher: PUBLISHER, incarnation, nonce: Nonce(0) })
}

/// The publisher's session expires.
pub fn expire(epoch: Epoch, incarnation: u64) -> Draft {
    (epoch, EntryKind::SessionExpire { publisher: PUBLISHER, incarnation })
}

/// A decision to trim.
pub fn trim(epoch: Epoch, to: Offset) -> Draft {
    (epoch, EntryKind::Trim { to })
}

/// The member that this name stands for.
pub fn member(name: &str) -> Member {
    Member { node: NodeName::new(name).expect("a name"), generation: Generation(1) }
}

/// The process that this name stands for.
pub fn process(name: &str) -> PrimaryId {
    PrimaryId { member: member(name), incarnation: Incarnation(1) }
}

/// Facts told to one checker. After a violation nothing more is told.
pub struct Story<C> {
    ledger: Ledger,
    check: C,
    verdict: Result<(), String>,
}

impl<C: Check> Story<C> {
    /// Nothing has happened.
    pub fn new(check: C) -> Self {
        Self { ledger: Ledger::default(), check, verdict: Ok(()) }
    }

    /// Any fact.
    pub fn tell(&mut self, fact: &Fact<'_>) -> &mut Self {
        if self.verdict.is_ok() {
            self.ledger.take(fact).expect("a story that the ledger can follow");
            self.judge(fact);
        }
        self
    }

    /// A fact that the checker judges by itself, whatever the ledger would make of it.
    pub fn judge(&mut self, fact: &Fact<'_>) -> &mut Self {
        if self.verdict.is_ok() {
            let before = format!("{:?}", self.check);
            self.verdict = self.check.check(&self.ledger, fact);
            let after = format!("{:?}", self.check);
            let unmoved = self.verdict.is_ok() && before == after;
            assert!(
                unmoved || self.check.hears().contains(&fact.into()),
                "it does not say that it hears {fact:?}"
            );
        }
        self
    }

    /// Entries are appended and durable.
    pub fn append(&mut self, name: &str, drafts: &[Draft]) -> &mut Self {
        self.append_volatile(name, drafts);
        let end = self.ledger.replica(&member(name)).map_or(0, |replica| replica.log.end());
        self.tell(&Fact::Durable { member: &member(name), end })
    }

    /// Entries are appended, not yet durable.
    pub fn append_volatile(&mut self, name: &str, drafts: &[Draft]) -> &mut Self {
        for (epoch, kind) in drafts {
            let offset = self.ledger.replica(&member(name)).map_or(0, |replica| replica.log.end());
            let entry = Entry { offset, epoch: *epoch, kind: kind.clone() };
            self.tell(&Fact::Appended { member: &member(name), history: HISTORY, entry: &entry });
        }
        self
    }

    /// What a member's log holds.
    pub fn entries(&self, name: &str) -> Vec<Entry> {
        let log = self.ledger.replica(&member(name)).map(|replica| replica.log.entries());
        log.into_iter().flatten().map(|held| (*held.entry).clone()).collect()
    }

    /// The log is cut.
    pub fn truncate(&mut self, name: &str, to: Offset) -> &mut Self {
        self.tell(&Fact::Truncated { member: &member(name), to })
    }

    /// The storage is gone.
    pub fn lose(&mut self, name: &str) -> &mut Self {
        self.tell(&Fact::StorageLost(&member(name)))
    }

    /// A broker takes records for committed.
    pub fn commit(&mut self, name: &str, commit: Offset) -> &mut Self {
        self.tell(&Fact::Committed { process: &process(name), history: HISTORY, commit })
    }

    /// The group's state is written, with the next configuration number.
    pub fn state(&mut self, epoch: Epoch, primary: Option<&str>, in_sync: &[&str]) -> &mut Self {
        let config = self.ledger.states().len() as u64;
        let state = state(epoch, config, primary, in_sync);
        self.tell(&Fact::State(&state))
    }

    /// A subscriber of everything begins.
    pub fn subscribe(&mut self, filter: &str, start: Start) -> &mut Self {
        let filters = [Filter::new(filter).expect("a filter")];
        self.tell(&Fact::Subscribed { subscriber: 1, filters: &filters, start })
    }

    /// The subscriber is told where it begins, in this epoch.
    pub fn begin(&mut self, epoch: Epoch, at: Offset) -> &mut Self {
        self.tell(&Fact::Began { subscriber: 1, history: HISTORY, epoch, at })
    }

    /// The subscriber delivers records on topic `t`.
    pub fn deliver(&mut self, offset: Offset, first_sequence: u64, count: u64) -> &mut Self {
        let payloads: Vec<_> = (first_sequence..first_sequence + count).map(payload).collect();
        self.tell(&Fact::Delivered {
            subscriber: 1,
            history: HISTORY,
            offset,
            topic: &Topic::new("t").expect("a topic"),
            publisher: PUBLISHER,
            first_sequence,
            payloads: &payloads,
        })
    }

    /// Nothing was violated.
    pub fn accepted(&self) {
        assert_eq!(self.verdict, Ok(()));
    }

    /// The last fact told was violating, with these words.
    pub fn rejected(&self, words: &str) {
        let detail = self.verdict.as_ref().expect_err("a violation");
        assert!(detail.contains(words), "{detail}");
    }
}

/// A group's state.
pub fn state(epoch: Epoch, config: u64, primary: Option<&str>, in_sync: &[&str]) -> GroupState {
    GroupState {
        history: HISTORY,
        epoch,
        config,
        primary: primary.map(process),
        in_sync: in_sync.iter().map(|name| member(name)).collect(),
        min_in_sync: 1,
        nonce: Nonce(u128::from(config)),
        lost_epoch: 0,
    }
}
