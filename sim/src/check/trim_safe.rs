//! TrimSafe: where a log starts is a committed decision. Every replica that has applied the same prefix
//! starts at the same offset, and nobody drops what nobody has decided to drop.

use super::{Check, Fact, Kind, Ledger};
use steadfast_core::id::{Member, Offset};
use steadfast_core::log::EntryKind;
use steadfast_core::message::History;

/// The property.
#[derive(Clone, Debug)]
pub struct TrimSafe;

fn decided(ledger: &Ledger, member: &Member, to: Offset) -> Result<(), String> {
    let log = ledger.replica(member).map(|replica| replica.log.entries());
    let decides = |kind: &EntryKind| matches!(kind, EntryKind::Trim { to: decided } if *decided == to);
    match log.is_some_and(|log| log.iter().rev().any(|held| decides(&held.entry.kind))) {
        true => Ok(()),
        false => Err(format!("{member:?} drops everything below {to}, which no entry of its log decides")),
    }
}

fn agrees(ledger: &Ledger, member: &Member, history: History, commit: Offset) -> Result<(), String> {
    let start = ledger.replica(member).map_or(0, |replica| replica.start);
    let expected = ledger.committed(history).log_start_at(commit);
    match start == expected {
        true => Ok(()),
        false => Err(format!("{member:?} starts at {start} with {commit} applied, {expected} is decided")),
    }
}

impl Check for TrimSafe {
    fn name(&self) -> &'static str {
        "TrimSafe"
    }

    fn hears(&self) -> &'static [Kind] {
        &[Kind::Committed, Kind::Trimmed]
    }

    fn check(&mut self, ledger: &Ledger, fact: &Fact<'_>) -> Result<(), String> {
        match *fact {
            Fact::Trimmed { member, to } => decided(ledger, member, to),
            Fact::Committed { process, history, commit } => agrees(ledger, &process.member, history, commit),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::*;

    /// Offsets: 0 epoch, 1–2 t, 3 a decision for 1, 4 a decision for 3.
    fn story() -> Story<TrimSafe> {
        let mut story = Story::new(TrimSafe);
        story.append("a", &[start(1), batch(1, 1, 2), trim(1, 1), trim(1, 3)]);
        story
    }

    fn trimmed(story: &mut Story<TrimSafe>, to: Offset) -> &mut Story<TrimSafe> {
        story.tell(&Fact::Trimmed { member: &member("a"), to })
    }

    #[test]
    fn trims_that_follow_the_committed_decisions_are_accepted() {
        let mut story = story();
        story.commit("a", 3);
        trimmed(&mut story, 1).commit("a", 4);
        trimmed(&mut story, 3).commit("a", 5).accepted();
    }

    #[test]
    fn a_snapshot_starts_where_its_cut_decides() {
        let install = |start| {
            let mut story = story();
            trimmed(story.commit("a", 3), 1);
            trimmed(story.commit("a", 4), 3).commit("a", 5);
            let entries: Vec<_> = story.entries("a").split_off(2);
            let fact = Fact::Installed { member: &member("b"), history: HISTORY, start, entries: &entries };
            story.tell(&fact).commit("b", 5);
            story
        };
        install(3).accepted();
        install(4).rejected("starts at 4 with 5 applied, 3 is decided");
    }

    #[test]
    fn a_trim_that_no_entry_decides_is_rejected() {
        let mut story = story();
        trimmed(story.commit("a", 3), 2).rejected("drops everything below 2");
    }

    #[test]
    fn a_trim_ahead_of_its_decision_is_rejected() {
        let mut story = story();
        trimmed(&mut story, 3).commit("a", 4).rejected("starts at 3 with 4 applied, 1 is decided");
    }

    #[test]
    fn a_decision_that_is_not_carried_out_is_rejected() {
        story().commit("a", 4).rejected("starts at 0 with 4 applied, 1 is decided");
    }
}
