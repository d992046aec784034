//! What was last seen of a broker's process, and what one input has changed in it.

use super::unexpected;
use crate::check::{Checks, Fact, Violation};
use std::collections::{BTreeMap, VecDeque};
use steadfast_core::broker::Broker;
use steadfast_core::group::PrimaryId;
use steadfast_core::id::{Epoch, Member, Offset};
use steadfast_core::link::{Frame, LinkId};
use steadfast_core::log::{Entry, EntryKind};
use steadfast_core::message::{History, Message, Refusal};
use steadfast_core::node::Output;
use steadfast_core::storage::{Operation, Request, Ticket};
use steadfast_core::wire;

/// Messages, each with the link that it was sent on.
pub(crate) type Said = Vec<(LinkId, Message)>;

/// What shows of a broker between two inputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Snapshot {
    history: History,
    commit: Offset,
    /// End of the log.
    end: Offset,
    leads: Option<Epoch>,
}

impl Snapshot {
    pub(crate) fn of(broker: &Broker) -> Self {
        let replica = broker.replica();
        let (history, commit, end) = (replica.history(), replica.commit(), replica.log().end());
        Self { history, commit, end, leads: broker.leads() }
    }
}

/// What was last seen of a broker's process.
#[derive(Debug)]
pub(crate) struct Seen {
    process: PrimaryId,
    committed: (History, Offset),
    leads: Option<(History, Epoch)>,
    /// Storage requests that are not complete: each with the end of the log after it.
    pending: VecDeque<(Ticket, Offset)>,
    /// End of the log as requested.
    end: Offset,
    /// Entries of a snapshot, kept aside.
    staged: Vec<Entry>,
    /// History, commit offset and end of what was last folded.
    folded: (History, Offset, Offset),
    /// Whom its commits wait for.
    counted: (Epoch, Vec<Member>),
    /// How far it counts each of its followers.
    matched: BTreeMap<Member, Offset>,
    /// Its commit offset when that was last looked at.
    advanced: Offset,
}

impl Seen {
    /// Which member it is.
    pub(crate) const fn member(&self) -> &Member {
        &self.process.member
    }

    pub(super) fn new(process: &PrimaryId) -> Self {
        Self::resume(process, Snapshot::default())
    }

    /// As if the process had been seen like this, with nothing under way to its storage.
    pub(crate) fn resume(process: &PrimaryId, at: Snapshot) -> Self {
        Self {
            process: process.clone(),
            committed: (at.history, at.commit),
            leads: at.leads.map(|epoch| (at.history, epoch)),
            pending: VecDeque::new(),
            end: at.end,
            staged: Vec::new(),
            folded: Default::default(),
            counted: Default::default(),
            matched: BTreeMap::new(),
            advanced: at.commit,
        }
    }

    /// These requests to its storage are under way, each with the end of the log after it.
    pub(crate) fn awaiting(mut self, pending: impl Iterator<Item = (Ticket, Offset)>) -> Self {
        self.pending = pending.collect();
        self
    }

    /// Shows to the checkers what one input has led to. Returns what the broker has said.
    pub(crate) fn observe<E>(
        &mut self,
        now: Snapshot,
        stored: Option<Ticket>,
        outputs: &[Output<E>],
        checks: &mut Checks,
    ) -> Result<Said, Violation> {
        let history = now.history;
        if let Some(ticket) = stored {
            self.stored(ticket, checks)?;
        }
        for output in outputs {
            if let Output::Store(request) = output {
                self.request(history, request, checks)?;
            }
        }
        if self.end != now.end {
            return Err(unexpected(format!("{:?}'s log is not what it stored", self.process.member)));
        }
        if self.committed != (history, now.commit) {
            self.committed = (history, now.commit);
            checks.observe(&Fact::Committed { process: &self.process, history, commit: now.commit })?;
        }
        if now.leads.is_some() {
            self.decide(now.commit, outputs, checks)?;
        }
        let leads = now.leads.map(|epoch| (history, epoch));
        if self.leads != leads {
            self.leads = leads;
            if let Some((history, epoch)) = leads {
                checks.observe(&Fact::Acts { process: &self.process, history, epoch })?;
            }
        }
        let mut said = Vec::new();
        for output in outputs {
            if let Output::Transmit { link, frame } = output {
                let message = read(&self.process, frame)?;
                claim(&self.process, history, &message, checks)?;
                said.push((*link, message));
            }
        }
        Ok(said)
    }

    /// Where the log is to start, if a primary has decided that.
    fn decide<E>(&self, commit: Offset, outputs: &[Output<E>], checks: &mut Checks) -> Result<(), Violation> {
        let process = &self.process;
        for output in outputs {
            let Output::Store(Request { operation: Operation::Append(entries), .. }) = output else {
                continue;
            };
            for entry in entries {
                if let EntryKind::Trim { to } = entry.kind {
                    checks.observe(&Fact::Decided { process, to, commit })?;
                }
            }
        }
        Ok(())
    }

    /// Shows what the broker has folded from its log.
    pub(crate) fn fold(&mut self, broker: &Broker, checks: &mut Checks) -> Result<(), Violation> {
        let replica = broker.replica();
        let history = replica.history();
        let folded = (history, replica.commit(), replica.log().end());
        if std::mem::replace(&mut self.folded, folded) == folded {
            return Ok(());
        }
        checks.observe(&Fact::Folded {
            member: &self.process.member,
            history,
            commit: replica.commit(),
            base: replica.sessions().base(),
            overlay: replica.sessions().overlay(),
            topics: replica.topics(),
        })
    }

    /// Whom and what a primary counts.
    pub(crate) fn count(&mut self, broker: &Broker, checks: &mut Checks) -> Result<(), Violation> {
        let Some(epoch) = broker.leads() else {
            self.advanced = broker.replica().commit();
            return Ok(());
        };
        let process = &self.process;
        if self.counted.0 != epoch {
            self.matched.clear();
        }
        for (member, matched) in broker.matched() {
            if self.matched.get(member) != Some(&matched) {
                self.matched.insert(member.clone(), matched);
                checks.observe(&Fact::Matched { process, epoch, member, matched })?;
            }
        }
        if self.counted.0 != epoch || !self.counted.1.iter().eq(broker.counted()) {
            self.counted = (epoch, broker.counted().cloned().collect());
            checks.observe(&Fact::Counts { process, epoch, members: &self.counted.1 })?;
        }
        let commit = broker.replica().commit();
        if std::mem::replace(&mut self.advanced, commit) >= commit {
            return Ok(());
        }
        checks.observe(&Fact::Advanced { process, epoch, commit })
    }

    fn request(&mut self, history: History, request: &Request, checks: &mut Checks) -> Result<(), Violation> {
        let member = &self.process.member;
        match &request.operation {
            Operation::Append(entries) => {
                for entry in entries {
                    checks.observe(&Fact::Appended { member, history, entry })?;
                    self.end = entry.end();
                }
            }
            Operation::Truncate(to) => {
                checks.observe(&Fact::Truncated { member, to: *to })?;
                self.end = checks.ledger().replica(member).map_or(0, |replica| replica.log.end());
            }
            Operation::Trim(to) => checks.observe(&Fact::Trimmed { member, to: *to })?,
            Operation::Stage { anew, entries } => {
                if *anew {
                    self.staged.clear();
                }
                self.staged.extend_from_slice(entries);
            }
            Operation::Install(fold) => {
                let entries = &std::mem::take(&mut self.staged);
                checks.observe(&Fact::Installed { member, history, start: fold.start, entries })?;
                self.end = fold.end;
                self.pending.iter_mut().for_each(|(_, end)| *end = 0);
            }
            Operation::Wipe => {
                checks.observe(&Fact::Wiped(member))?;
                self.end = 0;
            }
            Operation::Outbox(_) => return Err(unexpected(format!("{member:?} has an outbox"))),
        }
        for (_, end) in &mut self.pending {
            *end = (*end).min(self.end);
        }
        self.pending.push_back((request.ticket, self.end));
        Ok(())
    }

    fn stored(&mut self, ticket: Ticket, checks: &mut Checks) -> Result<(), Violation> {
        while let Some((_, end)) = self.pending.pop_front_if(|(pending, _)| *pending <= ticket) {
            checks.observe(&Fact::Durable { member: &self.process.member, end })?;
        }
        Ok(())
    }
}

fn read(process: &PrimaryId, frame: &Frame) -> Result<Message, Violation> {
    wire::decode(frame.clone())
        .map_err(|reason| unexpected(format!("{process:?} sent a frame that is rejected: {reason:?}")))
}

/// What a broker's message says to its receiver. The broker holds this history.
fn claim(
    process: &PrimaryId,
    history: History,
    message: &Message,
    checks: &mut Checks,
) -> Result<(), Violation> {
    match message {
        Message::ReplicateAck(ack) => checks.observe(&Fact::Verified {
            member: &process.member,
            history: ack.history,
            epoch: ack.epoch,
            matched: ack.matched,
        }),
        Message::PublishAck(ack) => checks.observe(&Fact::AckSent {
            process,
            history: ack.history,
            epoch: ack.epoch,
            publisher: ack.publisher,
            incarnation: ack.incarnation,
            last_sequence: ack.last_sequence,
        }),
        Message::SessionOpened(opened) => checks.observe(&Fact::AckSent {
            process,
            history: opened.history,
            epoch: opened.epoch,
            publisher: opened.publisher,
            incarnation: opened.incarnation,
            last_sequence: opened.last_sequence,
        }),
        Message::StreamOpened(opened) => checks.observe(&Fact::Shown {
            process,
            history: opened.history,
            epoch: opened.epoch,
            upto: opened.start.offset,
        }),
        Message::Head(head) => checks.observe(&Fact::Shown {
            process,
            history: head.history,
            epoch: head.epoch,
            upto: head.position.offset,
        }),
        Message::Deliver(deliver) => checks.observe(&Fact::Shown {
            process,
            history: deliver.history,
            epoch: deliver.epoch,
            upto: deliver.upto.offset,
        }),
        Message::Refusal { reason: Refusal::Fenced { publisher, incarnation }, .. } => {
            let (publisher, incarnation) = (*publisher, *incarnation);
            checks.observe(&Fact::Fenced { process, history, publisher, incarnation })
        }
        _ => Ok(()),
    }
}
