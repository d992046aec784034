//! A publisher's disk: what of its outbox survives a crash, and what was ever stored on it.

use crate::check::Violation;
use crate::fault::Fault;
use crate::random::{Draws, Purpose};
use crate::world::{Cause, Step};
use bytes::Bytes;
use std::collections::{BTreeSet, VecDeque};
use steadfast_core::log::Batch;
use steadfast_core::node::Output;
use steadfast_core::publisher::outbox::{Change, Saved};
use steadfast_core::publisher::{self, Error};
use steadfast_core::storage::{Operation, Request, Ticket};
use steadfast_core::wire::records::Records;

/// One publisher's disk.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    saved: Saved,
    /// Changes that are not complete.
    pending: VecDeque<(Ticket, Change)>,
    stored: BTreeSet<Bytes>,
    aside: BTreeSet<Bytes>,
    /// Records that the present process found here, and how many of them have come to an end.
    found: (u64, u64),
    crashes: u64,
    /// Whether another process has a copy.
    copied: bool,
    /// Whether its process was told that the other one goes on.
    fenced: bool,
}

fn payloads(batch: &Batch) -> Vec<Bytes> {
    Records::decode(&batch.header, batch.body.clone()).expect("a publisher's own batch").collect()
}

impl Disk {
    /// A copy as it stands: two processes have it from now on.
    pub fn copy(&mut self) -> Self {
        self.copied = true;
        let (saved, stored) = (self.saved.clone(), self.saved.batches.iter().flat_map(payloads).collect());
        Self { saved, stored, copied: true, ..Self::default() }
    }

    /// Whether its process was told that another one goes on with it. What it holds is in that one's hands.
    pub const fn is_fenced(&self) -> bool {
        self.fenced
    }

    /// What a process finds when it starts.
    pub fn read(&mut self) -> Saved {
        self.found = (self.saved.records(), 0);
        self.saved.clone()
    }

    /// Payloads that were ever stored.
    pub const fn stored(&self) -> &BTreeSet<Bytes> {
        &self.stored
    }

    /// Payloads that were set aside.
    pub const fn aside(&self) -> &BTreeSet<Bytes> {
        &self.aside
    }

    /// Times that its process died.
    pub const fn crashes(&self) -> u64 {
        self.crashes
    }

    /// Whether everything that the present process found here has come to an end.
    pub const fn is_settled(&self) -> bool {
        self.found.0 == self.found.1
    }

    /// Sees a step of its process.
    ///
    /// # Errors
    /// When the publisher stops though nobody else has a copy, and the disk does not fail; or goes on in a session
    /// that holds what it has never stored (R28).
    pub fn observe<E>(
        &mut self,
        step: &Step<E>,
        draws: Draws,
        event: impl Fn(&E) -> Option<&publisher::Event>,
    ) -> Result<(), Violation> {
        match step.cause {
            Cause::Stored(ticket) => self.complete(|pending| pending <= ticket)?,
            Cause::Fault(Fault::Crash(_) | Fault::PowerLoss(_)) => {
                // Some of what was under way has reached the disk, in order.
                self.crashes += 1;
                let bound = self.pending.len() as u64 + 1;
                let kept = draws.below(Purpose::Storage, step.process.entity() << 32, self.crashes, bound);
                let upto = kept.checked_sub(1).and_then(|last| self.pending.get(last as usize));
                if let Some(upto) = upto.map(|(ticket, _)| *ticket) {
                    self.complete(|pending| pending <= upto)?;
                }
                self.drop_pending();
            }
            _ => {}
        }
        for output in &step.outputs {
            match output {
                Output::Store(request) => self.request(request),
                Output::Event(output) => event(output).map_or(Ok(()), |event| self.hear(event))?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Its process asks for a change.
    pub fn request(&mut self, request: &Request) {
        if let Operation::Outbox(change) = &request.operation {
            self.pending.push_back((request.ticket, change.clone()));
        }
    }

    /// The change that is made next.
    pub fn next(&self) -> Option<Ticket> {
        self.pending.front().map(|(ticket, _)| *ticket)
    }

    /// Its process is gone, and what is pending with it.
    pub fn drop_pending(&mut self) {
        self.pending.clear();
    }

    /// Its process tells its application something.
    ///
    /// # Errors
    /// When it stops though nobody else has a copy, and the disk does not fail (R28).
    pub fn hear(&mut self, event: &publisher::Event) -> Result<(), Violation> {
        use publisher::Event::{Completed, Recovered, Stopped};
        if let Recovered { records, .. } = event {
            self.found.1 += records;
        }
        let (Completed { result: Err(error), .. } | Recovered { result: Err(error), .. } | Stopped { error }) =
            event
        else {
            return Ok(());
        };
        match error {
            // Of two processes with copies of one outbox at most one goes on.
            Error::Fenced { .. } if self.copied => {
                self.fenced |= matches!(event, Stopped { .. });
                Ok(())
            }
            Error::Fenced { .. } | Error::OutboxFailed => {
                Err(violation(format!("the publisher stopped: {error}")))
            }
            _ => Ok(()),
        }
    }

    /// Changes are made, in their order.
    ///
    /// # Errors
    /// When the publisher goes on in a session that holds what it has never stored (R28).
    pub fn complete(&mut self, is_done: impl Fn(Ticket) -> bool) -> Result<(), Violation> {
        while let Some((_, change)) = self.pending.pop_front_if(|(ticket, _)| is_done(*ticket)) {
            if let (Some(before), Change::Session(after)) = (self.saved.session, &change)
                && before.incarnation > 0
                && before.history == after.history
                && before.next != after.next
            {
                return Err(violation(format!(
                    "the session goes on at {}, and this process has stored up to {}: another one has it",
                    after.next, before.next
                )));
            }
            if let Change::Append { batches, .. } = &change {
                self.stored.extend(batches.iter().flat_map(payloads));
            }
            let aside = self.saved.apply(&change);
            self.aside.extend(aside.iter().flat_map(payloads));
        }
        Ok(())
    }
}

fn violation(detail: String) -> Violation {
    Violation { property: "Outbox", detail }
}

#[cfg(test)]
mod tests {
    use super::*;
    use steadfast_core::id::{GroupId, Nonce, Sequence};
    use steadfast_core::message::History;
    use steadfast_core::publisher::Event::{Completed, Stopped};
    use steadfast_core::publisher::outbox::SavedSession;

    const FENCED: Error = Error::Fenced { incarnation: 9 };

    /// A session that is open in a lineage, and continues there or not; everything below `next` was stored.
    fn session(lineage: u64, incarnation: u64, next: Sequence) -> Change {
        let history = History { group_id: GroupId(1), lineage };
        let attempt = (incarnation == 0).then_some(Nonce(1));
        Change::Session(SavedSession { history, incarnation, attempt, next })
    }

    /// A disk on which these changes were made, one after the other.
    fn made(changes: &[Change]) -> Result<Disk, Violation> {
        let mut disk = Disk::default();
        for (ticket, change) in (1..).zip(changes) {
            disk.request(&Request { ticket, operation: Operation::Outbox(change.clone()) });
        }
        disk.complete(|_| true).map(|()| disk)
    }

    #[test]
    fn a_session_goes_on_where_it_was() {
        assert!(made(&[session(1, 0, 1), session(1, 5, 1), session(1, 8, 1)]).is_ok());
    }

    #[test]
    fn a_session_that_goes_on_with_what_was_never_stored_is_another_ones() {
        let violation = made(&[session(1, 5, 1), session(1, 8, 4)]).expect_err("three records too many");
        assert!(violation.detail.contains("goes on at 4"), "{violation}");
    }

    #[test]
    fn another_history_counts_anew() {
        assert!(made(&[session(1, 5, 4), session(2, 8, 1)]).is_ok());
    }

    #[test]
    fn what_is_pending_does_not_outlive_its_process() {
        let mut disk = made(&[session(1, 5, 1)]).expect("one session");
        let operation = Operation::Outbox(session(1, 8, 1));
        disk.request(&Request { ticket: 2, operation });
        assert_eq!(disk.next(), Some(2));
        disk.drop_pending();
        assert_eq!((disk.next(), disk.read().session.map(|session| session.incarnation)), (None, Some(5)));
    }

    #[test]
    fn who_has_an_outbox_for_itself_goes_on() {
        let alone = || Disk::default();
        assert!(alone().hear(&Completed { tickets: 1..2, result: Ok(()) }).is_ok());
        assert!(alone().hear(&Completed { tickets: 1..2, result: Err(Error::QueueFull) }).is_ok());
        assert!(alone().hear(&Stopped { error: FENCED }).is_err());
        assert!(alone().hear(&Completed { tickets: 1..2, result: Err(FENCED) }).is_err());
        assert!(alone().hear(&Stopped { error: Error::OutboxFailed }).is_err());
    }

    #[test]
    fn of_two_with_copies_one_may_stop() {
        let mut original = Disk::default();
        let mut copy = original.copy();
        assert!(original.hear(&Stopped { error: FENCED }).is_ok() && original.is_fenced());
        assert!(copy.hear(&Completed { tickets: 1..2, result: Err(FENCED) }).is_ok() && !copy.is_fenced());
        assert!(copy.hear(&Stopped { error: Error::OutboxFailed }).is_err());
    }
}
