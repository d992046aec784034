//! Situations that no transition of a node shows, and that runs should come to now and then: without them
//! the rules that are there for them would be checked by nothing.

use super::Cluster;
use crate::actor::Event;
use crate::fault::Fault;
use crate::world::{Cause, Step};
use steadfast_core::broker::Broker;
use steadfast_core::group::GroupState;

/// All of them, as marks.
pub const SITUATIONS: [&str; 6] = [
    // A primary acts on in an epoch that is over in the tree.
    "sometimes(deposed)",
    // It does so right after it was paused.
    "sometimes(wakes-deposed)",
    // The tree names as primary a process that has died before its write was carried out.
    "sometimes(posthumous)",
    // One process alone is in sync.
    "sometimes(alone)",
    // Fewer are in sync than commits need.
    "sometimes(frozen)",
    // A promotion leaves the deposed primary in the set, because too few would be left.
    "sometimes(kept-deposed)",
];

/// What has been seen of a run.
#[derive(Debug, Default)]
pub struct Sometimes {
    /// So many states of the group.
    states: usize,
}

impl Cluster {
    /// Notes the situations that a step has led to.
    pub(super) fn note_situations(&mut self, step: &Step<Event>) {
        let states = self.checks.ledger().states();
        let seen = std::mem::replace(&mut self.sometimes.states, states.len());
        let new = if states.len() > seen { states.last().cloned() } else { None };
        let epoch = states.last().map_or(0, |state| state.epoch);
        if self.broker(step.process).and_then(Broker::leads).is_some_and(|leads| leads < epoch) {
            self.observer.note(SITUATIONS[0]);
            if matches!(step.cause, Cause::Fault(Fault::Resume(_))) {
                self.observer.note(SITUATIONS[1]);
            }
        }
        if let Some(state) = new {
            self.note_state(&state);
        }
    }

    fn note_state(&mut self, state: &GroupState) {
        let states = self.checks.ledger().states();
        let before = states.len().checked_sub(2).map(|before| &states[before]);
        let promoted = before.filter(|before| before.epoch < state.epoch);
        let kept = |before: &GroupState| {
            let deposed = before.primary.as_ref().filter(|deposed| Some(*deposed) != state.primary.as_ref());
            deposed.is_some_and(|deposed| state.in_sync.contains(&deposed.member))
        };
        let situations = [
            (SITUATIONS[2], state.primary.is_some() && self.primary().is_none()),
            (SITUATIONS[3], state.in_sync.len() == 1),
            (SITUATIONS[4], !state.in_sync.is_empty() && state.is_frozen()),
            (SITUATIONS[5], promoted.is_some_and(kept)),
        ];
        situations.iter().filter(|(_, is)| *is).for_each(|(name, _)| self.observer.note(name));
    }
}
