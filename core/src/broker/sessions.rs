//! Publishers' sessions: a fold of the log, kept twice. The base is the fold of the committed prefix,
//! the overlay that of the whole log (R28). Acknowledgements come from the base, the decision what
//! to append comes from the overlay.

use crate::id::{Nonce, PublisherId, Sequence};
use crate::log::{Entry, EntryKind, Log};
use alloc::collections::BTreeMap;
use serde::{Deserialize, Serialize};

/// One publisher's session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Which of the group's sessions: the offset at which it was opened.
    pub incarnation: u64,
    /// The request that opened it.
    pub nonce: Nonce,
    /// The last record's number, also of the session that it continued; 0 when there is none.
    pub last_sequence: Sequence,
}

/// The fold of a prefix of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionTable(BTreeMap<PublisherId, Session>);

impl SessionTable {
    /// The publisher's session.
    pub fn get(&self, publisher: PublisherId) -> Option<&Session> {
        self.0.get(&publisher)
    }

    /// All sessions, by publisher.
    pub fn iter(&self) -> impl Iterator<Item = (&PublisherId, &Session)> {
        self.0.iter()
    }

    /// Number of sessions.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each publisher and its session, from this publisher on.
    pub fn from(&self, publisher: PublisherId) -> impl Iterator<Item = (PublisherId, &Session)> {
        self.0.range(publisher..).map(|(publisher, session)| (*publisher, session))
    }

    /// The publisher with the highest identity.
    pub(super) fn last(&self) -> Option<PublisherId> {
        self.0.last_key_value().map(|(publisher, _)| *publisher)
    }

    /// Enters a session as it is.
    pub(super) fn insert(&mut self, publisher: PublisherId, session: Session) {
        self.0.insert(publisher, session);
    }

    /// Whether the entry continues this fold: a batch its session, and what is expired is there. R28: a
    /// session is numbered by its place in the log, so that a late frame of one that has expired never
    /// passes for one of its successor.
    pub fn admits(&self, entry: &Entry) -> bool {
        match &entry.kind {
            EntryKind::EpochStart | EntryKind::Trim { .. } => true,
            EntryKind::SessionOpen { incarnation, .. } => *incarnation == entry.offset && *incarnation > 0,
            EntryKind::SessionExpire { publisher, incarnation } => {
                self.get(*publisher).is_some_and(|session| session.incarnation == *incarnation)
            }
            EntryKind::Batch(batch) => self.get(batch.header.publisher).is_some_and(|session| {
                let (expected, first) = (session.last_sequence + 1, batch.header.first_sequence);
                (session.incarnation == batch.header.incarnation || sabotage!(NobodyFenced))
                    && (expected == first
                        || sabotage!(GapsAccepted) && expected < first
                        || sabotage!(DuplicatesAppended) && expected > first)
            }),
        }
    }

    /// Folds one more entry in.
    fn apply(&mut self, entry: &Entry) {
        match &entry.kind {
            EntryKind::EpochStart | EntryKind::Trim { .. } => {}
            EntryKind::SessionOpen { publisher, incarnation, nonce } => {
                // R28: the numbers go on where the session that this one continues has stopped.
                let before = self.get(*publisher).filter(|_| !sabotage!(NumbersBeginAnew));
                let last_sequence = before.map_or(0, |session| session.last_sequence);
                self.0
                    .insert(*publisher, Session { incarnation: *incarnation, nonce: *nonce, last_sequence });
            }
            EntryKind::SessionExpire { publisher, .. } => {
                self.0.remove(publisher);
            }
            EntryKind::Batch(batch) => {
                let session = self.0.get_mut(&batch.header.publisher);
                session.expect("only admitted entries are appended").last_sequence =
                    batch.header.last_sequence();
            }
        }
    }
}

/// Both folds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Sessions {
    base: SessionTable,
    overlay: SessionTable,
}

impl Sessions {
    /// Both are this fold: nothing is uncommitted.
    pub fn settled(table: SessionTable) -> Self {
        Self { overlay: table.clone(), base: table }
    }

    /// The fold of the committed prefix.
    pub const fn base(&self) -> &SessionTable {
        &self.base
    }

    /// The fold of the whole log.
    pub const fn overlay(&self) -> &SessionTable {
        &self.overlay
    }

    /// An entry was appended.
    pub fn appended(&mut self, entry: &Entry) {
        self.overlay.apply(entry);
    }

    /// An entry was committed.
    pub fn committed(&mut self, entry: &Entry) {
        self.base.apply(entry);
    }

    /// The log was cut: the overlay is folded anew from the commit offset on.
    pub fn truncated(&mut self, log: &Log, commit: u64) {
        self.overlay = self.base.clone();
        for entry in log.iter_from(commit) {
            self.overlay.apply(entry);
        }
    }
}
