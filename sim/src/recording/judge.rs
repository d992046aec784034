//! The checkers of one process: those that need no more than what it was told and what it has said.

use super::acked::AckedCommitted;
use crate::check::candidate_complete::CandidateComplete;
use crate::check::commit_monotone::CommitMonotone;
use crate::check::committed_stable::CommittedStable;
use crate::check::config_intent::is_allowed;
use crate::check::counts_verified::CountsVerified;
use crate::check::exactly_once_in_log::ExactlyOnceInLog;
use crate::check::floor_monotone::FloorMonotone;
use crate::check::log_matching::LogMatching;
use crate::check::no_premature_visibility::NoPrematureVisibility;
use crate::check::one_primary_per_epoch::OnePrimaryPerEpoch;
use crate::check::pub_fencing::PubFencing;
use crate::check::session_fold::SessionFold;
use crate::check::superset_quorum::SupersetQuorum;
use crate::check::trim_safe::TrimSafe;
use crate::check::{Check, Checks, Fact, Ledger, Violation};
use crate::observer::{Seen, Snapshot};
use std::collections::BTreeMap;
use std::sync::Arc;
use steadfast_core::broker::{Broker, Command, Event};
use steadfast_core::coordination::{Operation, Request};
use steadfast_core::group::GroupState;
use steadfast_core::message::Message;
use steadfast_core::node::{Input, Output};
use steadfast_core::storage::{self, Operation as Storing};
use steadfast_core::trace::Rejection;
use steadfast_core::wire;

/// Versions of the group's state that are remembered.
const VERSIONS: usize = 64;
/// Sessions beyond which their fold is not compared any more: each comparison looks at all of them.
const MOST_SESSIONS: usize = 1_000;

/// Watches one broker.
pub(super) struct Judge {
    /// What concerns its own log and words.
    own: Checks,
    /// Whom and what it counts as primary.
    counts: Checks,
    seen: Seen,
    /// Whether bodies may be missing: those that the broker had before the recording began.
    blank: bool,
    /// The group's state, by version, as the broker has seen it.
    versions: BTreeMap<i32, Arc<GroupState>>,
    /// The latest of them.
    latest: Option<Arc<GroupState>>,
}

/// Properties for which the broker's present log is enough.
fn of_the_present() -> Vec<Box<dyn Check>> {
    vec![
        Box::new(CommittedStable),
        Box::new(CandidateComplete),
        Box::new(AckedCommitted),
        Box::<LogMatching>::default(),
        Box::<OnePrimaryPerEpoch>::default(),
        Box::<FloorMonotone>::default(),
        Box::<NoPrematureVisibility>::default(),
        Box::<CommitMonotone>::default(),
        Box::<PubFencing>::default(),
        Box::new(TrimSafe),
    ]
}

/// The same, and those that need the history from its first record on.
fn of_everything() -> Vec<Box<dyn Check>> {
    let mut checks = of_the_present();
    checks.push(Box::<ExactlyOnceInLog>::default());
    checks.push(Box::<SessionFold>::default());
    checks
}

fn unexpected(detail: String) -> Violation {
    Violation { property: "Unexpected", detail }
}

impl Judge {
    /// The broker has just booted, or is in the middle of its life.
    pub(super) fn new(broker: &Broker, booted: bool) -> Self {
        let (ledger, checks) = match booted {
            true => (Ledger::default(), of_everything()),
            false => (Ledger::of(&broker.id().member, broker.replica()), of_the_present()),
        };
        let counts: [Box<dyn Check>; 2] =
            [Box::<CountsVerified>::default(), Box::<SupersetQuorum>::default()];
        let seen = Seen::resume(broker.id(), Snapshot::of(broker)).awaiting(broker.replica().storing());
        let mut judge = Self {
            own: Checks::knowing(ledger, checks),
            counts: Checks::of(counts.into()),
            seen,
            blank: !booted,
            versions: BTreeMap::new(),
            latest: None,
        };
        if !booted {
            judge.remember(broker).expect("what is known at first contradicts nothing");
        }
        judge
    }

    /// What is true of the broker before anything has happened.
    fn remember(&mut self, broker: &Broker) -> Result<(), Violation> {
        self.view(broker)?;
        let (process, replica) = (broker.id(), broker.replica());
        let (history, commit) = (replica.history(), replica.commit());
        self.own.observe(&Fact::Committed { process, history, commit })?;
        self.verified_before(broker)
    }

    fn verified_before(&mut self, broker: &Broker) -> Result<(), Violation> {
        let Some(epoch) = broker.leads() else { return Ok(()) };
        let history = broker.replica().history();
        let counts = &mut self.counts;
        broker.matched().try_for_each(|(member, matched)| {
            counts.observe(&Fact::Verified { member, history, epoch, matched })
        })
    }

    /// Looks at what an input has led to.
    pub(super) fn see(
        &mut self,
        broker: &Broker,
        input: Option<&Input<Command>>,
        outputs: &[Output<Event>],
    ) -> Result<(), Violation> {
        self.view(broker)?;
        let mut stored = None;
        match input {
            Some(Input::Storage(storage::Event::Done(ticket))) => stored = Some(*ticket),
            Some(Input::Received { frame, .. }) => {
                if let Ok(Message::ReplicateAck(ack)) = wire::decode(frame.clone()) {
                    let (member, history) = (&ack.sender.member, ack.history);
                    let (epoch, matched) = (ack.epoch, ack.matched);
                    self.counts.observe(&Fact::Verified { member, history, epoch, matched })?;
                }
            }
            _ => {}
        }
        for output in outputs {
            match output {
                Output::Coordinate(Request::Call { operation: Operation::Set(set), .. }) => {
                    self.proposed(broker, &set.path, &set.data, set.version)?;
                }
                Output::Event(Event::Halted(reason)) => {
                    return Err(unexpected(format!("the broker halted: {reason:?}")));
                }
                _ => {}
            }
        }
        if outputs.iter().any(is_install) {
            return self.installed(broker, outputs);
        }
        let now = Snapshot::of(broker);
        match self.blank {
            true => self.seen.observe(now, stored, &legible(outputs), &mut self.own)?,
            false => self.seen.observe(now, stored, outputs, &mut self.own)?,
        };
        if broker.replica().sessions().overlay().len() <= MOST_SESSIONS {
            self.seen.fold(broker, &mut self.own)?;
        }
        self.seen.count(broker, &mut self.counts)
    }

    /// A snapshot has taken the place of its log: what stood below is known to others only.
    fn installed(&mut self, broker: &Broker, outputs: &[Output<Event>]) -> Result<(), Violation> {
        let mut said = legible(outputs);
        said.retain(|output| !matches!(output, Output::Store(_)));
        let versions = std::mem::take(&mut self.versions);
        *self = Self::new(broker, false);
        self.versions.extend(versions);
        self.seen.observe(Snapshot::of(broker), None, &said, &mut self.own).map(drop)
    }

    /// The state as the broker has read it. It may have been another one in between, and what is read may
    /// be older than what was read before.
    fn view(&mut self, broker: &Broker) -> Result<(), Violation> {
        let Some((state, version)) = &broker.registry().view().state else { return Ok(()) };
        let place = |state: &GroupState| (state.history.lineage, state.config);
        if self.latest.as_ref().is_some_and(|latest| place(state) <= place(latest)) {
            return Ok(());
        }
        self.latest = Some(Arc::clone(state));
        self.versions.insert(*version, Arc::clone(state));
        if self.versions.len() > VERSIONS {
            self.versions.pop_first();
        }
        self.own.observe(&Fact::State(state))?;
        self.counts.observe(&Fact::State(state))
    }

    /// ConfigIntent, of what the broker wants to write.
    fn proposed(
        &self,
        broker: &Broker,
        path: &str,
        data: &[u8],
        version: Option<i32>,
    ) -> Result<(), Violation> {
        let Ok(after) = wire::decode_group_state(data) else {
            return Err(unexpected(format!("the broker writes something into {path} that nobody can read")));
        };
        let Some(before) = version.and_then(|version| self.versions.get(&version)) else { return Ok(()) };
        if is_allowed(before, &after) {
            return Ok(());
        }
        let node = &broker.id().member.node;
        let detail = format!("no rule leads from {before:?} to {after:?}, which {node} wants to write");
        Err(Violation { property: "ConfigIntent", detail })
    }
}

/// Without frames whose bodies are missing.
fn legible(outputs: &[Output<Event>]) -> Vec<Output<Event>> {
    let is_blank = |output: &&Output<Event>| match output {
        Output::Transmit { frame, .. } if frame.parts.len() > 1 => {
            wire::decode(frame.clone()) == Err(Rejection::Checksum)
        }
        _ => false,
    };
    outputs.iter().filter(|output| !is_blank(output)).cloned().collect()
}

fn is_install(output: &Output<Event>) -> bool {
    matches!(output, Output::Store(request) if matches!(request.operation, Storing::Install(_)))
}
