//! A publisher's outbox: what is kept in durable storage, so that another process can go on with the
//! same identity, and send again what was not acknowledged (R28, R29).
//!
//! The driver makes the changes in the order they are asked for, each wholly or not at all. A batch
//! leaves the publisher only after the completion of its change has come back in.

use crate::id::{Nonce, PublisherId, Sequence};
use crate::log::Batch;
use crate::message::History;
use crate::node::Outbox as Outputs;
use crate::storage::{Operation, Request, Ticket};
use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// The session of an outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavedSession {
    /// The history that it belongs to.
    pub history: History,
    /// Its number; 0 while none was opened.
    pub incarnation: u64,
    /// The request that is under way to continue it; its answer was not seen.
    pub attempt: Option<Nonce>,
    /// Number of the next record that was never stored.
    pub next: Sequence,
}

/// Everything that an outbox holds of a publisher.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Saved {
    /// Its session; `None` before the first and after the end of one.
    pub session: Option<SavedSession>,
    /// Batches of that session, in the order of their numbers. The first may be acknowledged already.
    pub batches: Vec<Batch>,
}

impl Saved {
    /// Whether this is what a publisher of this identity has stored: contiguous batches up to the last
    /// number that was given.
    pub fn is_sound(&self, publisher: PublisherId) -> bool {
        let Some(session) = self.session else { return self.batches.is_empty() };
        let mut numbers = self.batches.iter().map(|batch| batch.header.first_sequence).skip(1);
        let ends = self.batches.iter().map(|batch| batch.header.last_sequence() + 1);
        let last = ends.clone().next_back().unwrap_or(session.next);
        let contiguous = ends.zip(numbers.by_ref()).all(|(end, first)| end == first);
        let own = self.batches.iter().all(|batch| batch.header.publisher == publisher);
        let opened = session.incarnation > 0 || self.batches.is_empty();
        own && opened && contiguous && session.next > 0 && last == session.next
    }

    /// Makes a change. Returns what it sets aside.
    pub fn apply(&mut self, change: &Change) -> Vec<Batch> {
        match change {
            Change::Session(session) => self.session = Some(*session),
            Change::Append { batches, acknowledged, .. } => {
                self.drop_acknowledged(*acknowledged);
                if let (Some(session), Some(last)) = (&mut self.session, batches.last()) {
                    session.next = last.header.last_sequence() + 1;
                }
                self.batches.extend(batches.iter().cloned());
            }
            Change::SetAside { acknowledged } => {
                self.drop_acknowledged(*acknowledged);
                self.session = None;
                return core::mem::take(&mut self.batches);
            }
            Change::Finish => self.batches.clear(),
        }
        Vec::new()
    }

    fn drop_acknowledged(&mut self, last: Sequence) {
        self.batches.retain(|batch| batch.header.last_sequence() > last);
    }

    /// Number of records in its batches.
    pub fn records(&self) -> u64 {
        self.batches.iter().map(|batch| u64::from(batch.header.count)).sum()
    }
}

/// A change of an outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The session is this.
    Session(SavedSession),
    /// Adds batches that continue the session's numbers, and drops those that are acknowledged.
    Append {
        /// The session's history.
        history: History,
        /// The batches.
        batches: Vec<Batch>,
        /// The last number that is acknowledged.
        acknowledged: Sequence,
    },
    /// R29: the session is over. Batches that are not acknowledged are set aside: they may be stored in
    /// the cluster or not. There is no session any more.
    SetAside {
        /// The last number that is acknowledged.
        acknowledged: Sequence,
    },
    /// Everything was acknowledged and the publisher closes: there are no batches any more.
    Finish,
}

/// What a pending change makes durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Batches(Sequence),
    Attempt(Nonce, History),
    Finish,
    Other,
}

/// Changes under way, and what is durable.
#[derive(Clone, Debug)]
pub(super) struct Outbox {
    last_ticket: Ticket,
    pending: VecDeque<(Ticket, Mark)>,
    /// Batches up to this number are durable.
    durable: Sequence,
    /// The request to open a session that is durable.
    attempt: Option<(Nonce, History)>,
    /// Of an earlier process, its fate unknown: to be asked for before the session is continued.
    pub(super) unresolved: bool,
    finished: bool,
}

impl Outbox {
    pub(super) fn new(saved: Option<SavedSession>) -> Self {
        let attempt = saved.and_then(|saved| Some((saved.attempt?, saved.history)));
        Self {
            last_ticket: 0,
            pending: VecDeque::new(),
            durable: saved.map_or(0, |saved| saved.next - 1),
            unresolved: attempt.is_some(),
            attempt,
            finished: false,
        }
    }

    pub(super) const fn durable(&self) -> Sequence {
        self.durable
    }

    pub(super) const fn is_finished(&self) -> bool {
        self.finished
    }

    /// Whether the request may be made: otherwise it is to be stored first, which this asks for once.
    pub(super) fn may_attempt<E>(&mut self, session: SavedSession, out: &mut Outputs<E>) -> bool {
        let Some(nonce) = session.attempt else { return true };
        let attempt = (nonce, session.history);
        if self.attempt == Some(attempt) {
            return true;
        }
        let mark = Mark::Attempt(nonce, session.history);
        if !self.pending.iter().any(|(_, pending)| *pending == mark) {
            self.request(Change::Session(session), mark, out);
        }
        false
    }

    /// The session is open.
    pub(super) fn opened<E>(&mut self, session: SavedSession, out: &mut Outputs<E>) {
        self.attempt = None;
        self.unresolved = false;
        self.durable = self.durable.max(session.next - 1);
        self.request(Change::Session(session), Mark::Other, out);
    }

    pub(super) fn append<E>(&mut self, change: Change, last: Sequence, out: &mut Outputs<E>) {
        self.request(change, Mark::Batches(last), out);
    }

    /// The session is over: what is still under way concerns nobody.
    pub(super) fn set_aside<E>(&mut self, acknowledged: Sequence, out: &mut Outputs<E>) {
        if sabotage!(NothingSetAside) {
            return;
        }
        self.pending.clear();
        (self.durable, self.attempt, self.unresolved) = (0, None, false);
        self.request(Change::SetAside { acknowledged }, Mark::Other, out);
    }

    /// Asks for the end, once. Acknowledged batches go, and the count of what was taken begins anew.
    pub(super) fn finish<E>(&mut self, out: &mut Outputs<E>) {
        if !self.pending.iter().any(|(_, mark)| *mark == Mark::Finish) {
            self.request(Change::Finish, Mark::Finish, out);
        }
    }

    /// This change and all before it are durable.
    pub(super) fn done(&mut self, ticket: Ticket) {
        while let Some((_, mark)) = self.pending.pop_front_if(|(pending, _)| *pending <= ticket) {
            match mark {
                Mark::Batches(last) => self.durable = self.durable.max(last),
                Mark::Attempt(nonce, history) => self.attempt = Some((nonce, history)),
                Mark::Finish => self.finished = true,
                Mark::Other => {}
            }
        }
    }

    fn request<E>(&mut self, change: Change, mark: Mark, out: &mut Outputs<E>) {
        self.last_ticket += 1;
        self.pending.push_back((self.last_ticket, mark));
        out.store(Request { ticket: self.last_ticket, operation: Operation::Outbox(change) });
    }
}
