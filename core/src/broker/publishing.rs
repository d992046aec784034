//! Publishers at the primary: sessions, batches, acknowledgements (R28, R29).

use super::primary::PendingOpen;
use super::sessions::{SessionTable, Sessions};
use super::{Broker, Role};
use crate::id::{Offset, PublisherId, Sequence};
use crate::limits::{MAX_SESSIONS, RETRY_SOON};
use crate::link::LinkId;
use crate::log::{Batch, Entry, EntryKind};
use crate::message::{History, Message, OpenSession, Publish, PublishAck, Refusal, SessionOpened};
use crate::time::{Duration, Instant};
use crate::trace::{Limit, Trace};
use alloc::collections::BTreeSet;
use alloc::vec;
use alloc::vec::Vec;

/// When it tries again after a limit that only retention or an operator can lift.
const RETRY_LATER: Duration = Duration::from_millis(500);

impl Broker {
    /// Begins or resumes a session. The answer waits until the session is committed.
    pub(super) fn handle_open_session(&mut self, now: Instant, link: LinkId, request: &OpenSession) {
        if let Some(reason) = self.unfit(request.history) {
            return self.refuse(link, reason);
        }
        let publisher = request.publisher;
        let session = self.replica.sessions().overlay().get(publisher).copied();
        match session {
            // The same nonce is the same request, come again, or the session that it opened.
            Some(session) if session.nonce == request.nonce && !sabotage!(OpensAgain) => {
                self.await_commit(now, link, publisher);
            }
            // R29: it knows of a session that came after the one that is there.
            Some(session) if session.incarnation < request.incarnation => {
                self.miss(now, link, publisher, request.incarnation);
            }
            // R28: only who names the session that is there continues it. A request that was under way
            // for long never ends a session that began after it.
            Some(session)
                if session.incarnation != request.incarnation && !sabotage!(LateRequestsContinue) =>
            {
                self.fence(link, publisher, session.incarnation);
            }
            None if request.incarnation > 0 => self.miss(now, link, publisher, request.incarnation),
            _ if let Some(limit) = self.limit_reached(0) => {
                self.refuse_busy(link, publisher, (1, RETRY_LATER), limit);
            }
            None if !self.has_room_for_a_session(now) => {
                self.refuse_busy(link, publisher, (1, RETRY_LATER), Limit::Sessions);
            }
            _ => {
                // One answer at a time is due to a publisher: that for the session which is there.
                if let (Some(before), Role::Primary(primary)) = (session, &mut self.role) {
                    primary.opens.remove(&before.incarnation);
                }
                let incarnation = self.replica.log().end();
                let nonce = request.nonce;
                self.append(now, vec![EntryKind::SessionOpen { publisher, incarnation, nonce }]);
                self.await_commit(now, link, publisher);
            }
        }
    }

    /// Names the session that is in the way. R10: one that is not committed may never have been.
    fn fence(&mut self, link: LinkId, publisher: PublisherId, incarnation: u64) {
        let committed = self.replica.sessions().base().get(publisher);
        let committed = committed.is_some_and(|session| session.incarnation == incarnation);
        let reason = match committed || sabotage!(FencesUncommitted) {
            true => Refusal::Fenced { publisher, incarnation },
            false => Refusal::Electing { retry_after: RETRY_SOON },
        };
        self.refuse(link, reason);
    }

    /// Says that there is no such session. R10: its end holds when it is committed.
    fn miss(&mut self, now: Instant, link: LinkId, publisher: PublisherId, incarnation: u64) {
        let there = self.replica.sessions().base().get(publisher);
        let ends = there.is_some_and(|session| session.incarnation == incarnation);
        // R11: whoever names it was told of it when it was committed, by another primary. Only the tree knows.
        let behind = self.replica.commit() <= incarnation;
        if behind {
            self.registry.refresh(&mut self.io.context(now));
        }
        let reason = match (ends || behind) && !sabotage!(MissesUncommitted) {
            true => Refusal::Electing { retry_after: RETRY_SOON },
            false => Refusal::UnknownSession { publisher },
        };
        self.refuse(link, reason);
    }

    /// Takes the batches that continue the session, and refuses what does not fit.
    pub(super) fn handle_publish(&mut self, now: Instant, link: LinkId, publish: Publish) {
        if let Some(reason) = self.unfit(publish.history) {
            return self.refuse(link, reason);
        }
        let Some(header) = publish.batches.first().map(|batch| batch.header.clone()) else { return };
        let publisher = header.publisher;
        let session = self.replica.sessions().overlay().get(publisher).copied();
        let Some(session) = session.filter(|session| session.incarnation >= header.incarnation) else {
            return self.miss(now, link, publisher, header.incarnation);
        };
        if session.incarnation > header.incarnation && !sabotage!(NobodyFenced) {
            return self.fence(link, publisher, session.incarnation);
        }
        let Role::Primary(primary) = &mut self.role else { return };
        primary.publishers.insert(publisher, link);
        primary.expiry.heard(now, publisher, link);
        let before = publish.batches.len();
        let fresh = fresh(publish.batches, session.last_sequence);
        let repeated = fresh.len() < before;
        self.io.out.count().repeated += (before - fresh.len()) as u64;
        if let Some(batch) = fresh.first()
            && batch.header.first_sequence != session.last_sequence + 1
            && !sabotage!(GapsAccepted)
            && !sabotage!(DuplicatesAppended)
        {
            return self.refuse(link, Refusal::Gap { publisher, expect: session.last_sequence + 1 });
        }
        if !fresh.is_empty() {
            self.take_batches(now, link, publisher, fresh);
        }
        if repeated {
            // A duplicate is acknowledged only as far as it is committed (R10): from the base fold.
            let fold = sabotage!(DuplicatesAcknowledged => Sessions::overlay; Sessions::base);
            self.acknowledge_publisher(publisher, fold);
        }
    }

    /// Appends as many batches as the limits allow and refuses the others with `Busy` (R36).
    fn take_batches(&mut self, now: Instant, link: LinkId, publisher: PublisherId, batches: Vec<Batch>) {
        let mut refused: Option<(Sequence, Limit)> = None;
        let (mut taken, mut more) = (Vec::with_capacity(batches.len()), 0);
        for batch in batches {
            if let Some(limit) = self.limit_reached(more) {
                refused = Some((batch.header.first_sequence, limit));
                break;
            }
            more += batch.body.len() as u64;
            taken.push(EntryKind::Batch(batch));
        }
        if !taken.is_empty() {
            if let Role::Primary(primary) = &mut self.role {
                primary.throttle.spend(more);
            }
            self.append(now, taken);
        }
        if let Some((expect, limit)) = refused {
            let retry_after = if limit == Limit::LogBytes { RETRY_LATER } else { RETRY_SOON };
            self.refuse_busy(link, publisher, (expect, retry_after), limit);
        }
    }

    /// Which limit forbids another entry, with `more` bytes on top of what the log holds.
    fn limit_reached(&self, more: u64) -> Option<Limit> {
        if sabotage!(NeverBusy) {
            None
        } else if self.replica.log().bytes() + more >= self.config.log_bytes {
            Some(Limit::LogBytes)
        } else if self.replica.uncommitted_bytes() + more >= self.config.uncommitted_bytes {
            Some(Limit::UncommittedBytes)
        } else if matches!(&self.role, Role::Primary(primary) if primary.throttle.is_exhausted(more)) {
            Some(Limit::Learner)
        } else {
            None
        }
    }

    /// Stamps offsets and the epoch on new entries, appends and replicates them.
    pub(super) fn append(&mut self, now: Instant, kinds: Vec<EntryKind>) {
        let Some(epoch) = self.leads() else { return };
        let from: Offset = self.replica.log().end();
        let mut offset = from;
        let batches = kinds.iter().any(|kind| matches!(kind, EntryKind::Batch(_)));
        let stamp = |kind| {
            let entry = Entry { offset, epoch, kind };
            offset = entry.end();
            entry
        };
        let entries: Vec<Entry> = kinds.into_iter().map(stamp).collect();
        self.io.out.count().appended(now, &entries);
        let all = self.replica.append(entries, &mut self.io.out);
        assert!(all, "R28: only entries that continue their session are stamped");
        if batches {
            self.note_age(now, from);
        }
        self.replicate(now);
    }

    /// Why a publisher's request cannot be carried out here and now, whatever it is.
    fn unfit(&self, history: History) -> Option<Refusal> {
        let Role::Primary(primary) = &self.role else { return Some(self.not_primary()) };
        if primary.silent && !sabotage!(SilentTakesBatches) {
            return Some(Refusal::NotPrimary { primary: None, epoch: 0 });
        }
        if let Some(refusal) = self.withholds() {
            return Some(refusal);
        }
        if history != self.replica.history() {
            return Some(Refusal::LineageChanged { history: self.replica.history() });
        }
        let ready = primary.serving || sabotage!(SessionsBeforeEpochStart);
        (!ready).then_some(Refusal::Electing { retry_after: RETRY_SOON })
    }

    fn refuse_busy(
        &mut self,
        link: LinkId,
        publisher: PublisherId,
        (expect, retry_after): (Sequence, Duration),
        limit: Limit,
    ) {
        self.io.out.trace(Trace::Busy { limit });
        self.refuse(link, Refusal::Busy { publisher, expect, retry_after });
    }

    /// Answers as soon as the publisher's session, as it is in the log now, is committed.
    fn await_commit(&mut self, now: Instant, link: LinkId, publisher: PublisherId) {
        let sessions = self.replica.sessions();
        // R28: a session's number is its place in the log.
        let Some(offset) = sessions.overlay().get(publisher).map(|session| session.incarnation) else {
            return;
        };
        let committed = sessions.base().get(publisher).is_some_and(|session| session.incarnation == offset);
        let Role::Primary(primary) = &mut self.role else { return };
        primary.publishers.insert(publisher, link);
        primary.expiry.heard(now, publisher, link);
        if committed || sabotage!(OpensUncommitted) {
            self.answer_open(link, publisher);
        } else if primary.opens.len() >= MAX_SESSIONS && !primary.opens.contains_key(&offset) {
            self.refuse_busy(link, publisher, (1, RETRY_LATER), Limit::Sessions);
        } else {
            primary.opens.insert(offset, PendingOpen { link, publisher });
        }
    }

    fn answer_open(&mut self, link: LinkId, publisher: PublisherId) {
        let sessions = self.replica.sessions();
        let table = sabotage!(OpensUncommitted => sessions.overlay(); sessions.base());
        let (Some(session), Some(epoch)) = (table.get(publisher).copied(), self.leads()) else { return };
        let opened = SessionOpened {
            history: self.replica.history(),
            epoch,
            publisher,
            incarnation: session.incarnation,
            last_sequence: session.last_sequence,
            codecs: self.config.compression,
        };
        self.io.out.trace(Trace::SessionOpened { publisher, incarnation: session.incarnation });
        self.send(link, &Message::SessionOpened(opened));
    }

    /// The commit offset has moved: answers whoever waited for it.
    pub(super) fn answer_committed(&mut self, publishers: BTreeSet<PublisherId>) {
        let commit = self.replica.commit();
        let Role::Primary(primary) = &mut self.role else { return };
        let mut ready = Vec::new();
        while let Some(first) = primary.opens.first_entry().filter(|first| *first.key() < commit) {
            ready.push(first.remove());
        }
        for open in ready {
            self.answer_open(open.link, open.publisher);
        }
        let fold = sabotage!(AcksUncommitted => Sessions::overlay; Sessions::base);
        for publisher in publishers {
            self.acknowledge_publisher(publisher, fold);
        }
    }

    /// R10: cumulative, from the fold of the committed prefix.
    fn acknowledge_publisher(&mut self, publisher: PublisherId, fold: fn(&Sessions) -> &SessionTable) {
        let Role::Primary(primary) = &self.role else { return };
        let Some(link) = primary.publishers.get(&publisher).copied() else { return };
        let Some(session) = fold(self.replica.sessions()).get(publisher) else { return };
        let ack = PublishAck {
            history: self.replica.history(),
            epoch: primary.epoch(),
            publisher,
            incarnation: session.incarnation,
            last_sequence: session.last_sequence,
        };
        self.io.out.count().publisher_acks += 1;
        self.send(link, &Message::PublishAck(ack));
    }
}

/// The batches that are not wholly known already. One that is known in part stays, and is a gap.
fn fresh(batches: Vec<Batch>, last: Sequence) -> Vec<Batch> {
    let known = |batch: &Batch| batch.header.last_sequence() <= last && !sabotage!(DuplicatesAppended);
    batches.into_iter().skip_while(known).collect()
}
