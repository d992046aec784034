//! The one change of the group's state that may be under way (R1, R14).

use crate::coordination::registry::GroupView;
use crate::coordination::{CallId, Context, Error, Operation, Reply, Set};
use crate::group::{Change, GroupState};
use crate::id::Member;
use crate::rng::Backoff;
use crate::time::{Instant, is_due};
use crate::trace::{Outcome, Trace};
use crate::wire;
use alloc::string::String;
use serde::{Deserialize, Serialize};

/// A conditional write whose fate is not known yet.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Proposal {
    change: Change,
    subject: Member,
    state: GroupState,
    version: i32,
    call: CallId,
    retry_at: Option<Instant>,
}

/// What became of a proposal.
#[derive(Clone, Debug)]
pub enum Resolution {
    /// It holds, at this version.
    Applied(GroupState, i32),
    /// Another write came first.
    Superseded,
    /// Another version is there: a read will tell whether an earlier attempt made it.
    Conflict,
}

/// Changes of the group's state, one at a time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Configuration {
    path: String,
    proposal: Option<Proposal>,
    backoff: Backoff,
}

impl Configuration {
    /// Changes are written to this path.
    pub const fn new(path: String, backoff: Backoff) -> Self {
        Self { path, proposal: None, backoff }
    }

    /// Whether the fate of a change is open.
    pub const fn is_busy(&self) -> bool {
        self.proposal.is_some()
    }

    /// R9, R13: the member that a change under way may already have taken in. Whom it replaces counts as
    /// well, because the tree still names it (R35).
    pub fn pending_member(&self) -> Option<&Member> {
        let proposal = self.proposal.as_ref()?;
        matches!(proposal.change, Change::Expand | Change::Replace).then_some(&proposal.subject)
    }

    /// The state that a change of this kind under way would lead to.
    #[cfg(feature = "bugs")]
    pub fn wanted(&self, change: Change) -> Option<&GroupState> {
        let wanted = self.proposal.as_ref().filter(|proposal| proposal.change == change);
        wanted.map(|proposal| &proposal.state)
    }

    /// Whether this broker may have been made primary without knowing it yet.
    pub fn is_promoting(&self) -> bool {
        self.proposal.as_ref().is_some_and(|proposal| proposal.change == Change::Promote)
    }

    /// R1: writes `state` if the tree still has `version`.
    ///
    /// # Panics
    /// When another change is under way (R14).
    pub fn propose<E>(
        &mut self,
        change: Change,
        subject: Member,
        (state, version): (GroupState, i32),
        cx: &mut Context<'_, E>,
    ) {
        assert!(!self.is_busy() || sabotage!(TwoChangesAtOnce), "R14: one change at a time");
        cx.out.trace(Trace::Proposed { change, epoch: state.epoch, config: state.config });
        let call = write(&self.path, &state, version, cx);
        self.proposal = Some(Proposal { change, subject, state, version, call, retry_at: None });
    }

    /// The outcome of a call, if it is the proposal's.
    pub fn handle_reply<E>(
        &mut self,
        call: CallId,
        result: &Result<Reply, Error>,
        cx: &mut Context<'_, E>,
    ) -> Option<Resolution> {
        let proposal = self.proposal.as_mut().filter(|proposal| proposal.call == call)?;
        match result {
            Ok(Reply::Set(stat)) => {
                let state = proposal.state.clone();
                Some(self.resolve(Resolution::Applied(state, stat.version), cx))
            }
            Err(Error::BadVersion) if sabotage!(ConflictMeansNever) => {
                Some(self.resolve(Resolution::Superseded, cx))
            }
            Err(Error::BadVersion | Error::NoNode) => Some(Resolution::Conflict),
            Err(_) if sabotage!(UnknownMeansNever) => Some(self.resolve(Resolution::Superseded, cx)),
            // R14: the union stays until a read or BadVersion tells.
            _ => {
                let outcome = Outcome::Unknown;
                cx.out.trace(Trace::Resolved { change: proposal.change, outcome });
                proposal.retry_at = Some(cx.now + self.backoff.next(cx.rng));
                None
            }
        }
    }

    /// R14: a read that shows another version settles the proposal: it was applied, or never will be. A lower one is
    /// believed only of a tree that was restored, which has no memory of what was written before (R25).
    pub fn handle_view<E>(&mut self, view: &GroupView, cx: &mut Context<'_, E>) -> Option<Resolution> {
        let proposal = self.proposal.as_ref()?;
        let (state, version) = view.state.as_ref().filter(|(_, version)| *version != proposal.version)?;
        let resolution = match state.nonce == proposal.state.nonce {
            true => Resolution::Applied((**state).clone(), *version),
            false => Resolution::Superseded,
        };
        Some(self.resolve(resolution, cx))
    }

    /// When an unknown outcome is tried again.
    pub fn deadline(&self) -> Option<Instant> {
        self.proposal.as_ref()?.retry_at
    }

    /// The same write again: whichever attempt comes first makes the other one fail.
    pub fn handle_timeout<E>(&mut self, cx: &mut Context<'_, E>) {
        if !is_due(self.deadline(), cx.now) {
            return;
        }
        if let Some(proposal) = &mut self.proposal {
            proposal.retry_at = None;
            proposal.call = write(&self.path, &proposal.state, proposal.version, cx);
        }
    }

    fn resolve<E>(&mut self, resolution: Resolution, cx: &mut Context<'_, E>) -> Resolution {
        self.backoff.reset();
        let outcome = match resolution {
            Resolution::Applied(..) => Outcome::Applied,
            Resolution::Superseded | Resolution::Conflict => Outcome::Superseded,
        };
        if let Some(proposal) = self.proposal.take() {
            cx.out.trace(Trace::Resolved { change: proposal.change, outcome });
        }
        resolution
    }
}

fn write<E>(path: &str, state: &GroupState, version: i32, cx: &mut Context<'_, E>) -> CallId {
    let data = wire::encode_group_state(state);
    let version = if sabotage!(WritesUnconditionally) { None } else { Some(version) };
    cx.call(Operation::Set(Set { path: path.into(), data, version }))
}
