//! Silenced (L8): a primary whose reign is over in the tree, and that cannot learn of it, stops talking to
//! clients within the step-down time. It has its time from when it was last in touch with everybody whom it counts:
//! its successor may be among them, and not know of its own reign yet. One that has fallen silent may speak again
//! when it is in touch. Until then it answers no clients, and takes nothing from them (R20); what is committed
//! meanwhile they may hear, for then everybody is heard who counts. A primary alone in its set never falls silent: only
//! where all data counts as lost does another one follow.

use super::{Check, Fact, Kind, Ledger};
use std::collections::BTreeMap;
use std::time::Duration;
use steadfast_core::group::PrimaryId;
use steadfast_core::id::{Epoch, Incarnation};

/// Who talks to clients does so much more often.
const SILENCE: u64 = 1_000_000_000;

/// The property.
#[derive(Clone, Debug)]
pub struct Silenced {
    /// So long after the end of its reign a primary may go on at the most.
    patience: Duration,
    /// When the tree went on from each epoch, in nanoseconds of the world's time.
    over: BTreeMap<Epoch, u64>,
    /// Epoch of the latest state.
    epoch: Epoch,
    /// Since when each process has been talking, and when it last said something.
    talk: BTreeMap<Incarnation, (u64, u64)>,
    /// Who has fallen silent, in which epoch.
    silent: BTreeMap<Incarnation, Epoch>,
}

impl Silenced {
    /// A primary may go on for so long after the end of its reign.
    pub const fn within(patience: Duration) -> Self {
        Self { patience, over: BTreeMap::new(), epoch: 0, talk: BTreeMap::new(), silent: BTreeMap::new() }
    }
}

impl Check for Silenced {
    fn name(&self) -> &'static str {
        "Silenced"
    }

    fn hears(&self) -> &'static [Kind] {
        &[Kind::Accepted, Kind::Acts, Kind::FellSilent, Kind::Spoke, Kind::SpokeAgain]
    }

    fn check(&mut self, ledger: &Ledger, fact: &Fact<'_>) -> Result<(), String> {
        match *fact {
            Fact::Spoke { process, epoch, answers: true, .. }
                if self.silent.get(&process.incarnation) == Some(&epoch) =>
            {
                Err(format!("{process:?} answers clients in epoch {epoch}, in which it has fallen silent"))
            }
            Fact::Spoke { process, epoch, at, since, .. } => self.spoke(ledger, (process, epoch), at, since),
            Fact::Accepted { process, .. } if self.silent.contains_key(&process.incarnation) => {
                Err(format!("{process:?} takes batches and has fallen silent"))
            }
            Fact::FellSilent { process, epoch, .. } => {
                self.silent.insert(process.incarnation, epoch);
                Ok(())
            }
            Fact::SpokeAgain(process) | Fact::Acts { process, .. } => {
                self.silent.remove(&process.incarnation);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl Silenced {
    fn spoke(
        &mut self,
        ledger: &Ledger,
        (process, epoch): (&PrimaryId, Epoch),
        at: u64,
        since: u64,
    ) -> Result<(), String> {
        // The tree is looked at before anybody speaks: what it holds now is as old as this moment at most.
        let now = ledger.states().last().map_or(0, |state| state.epoch);
        let last = |epoch| ledger.states().iter().rfind(|state| state.epoch == epoch);
        let alone = |epoch| last(epoch).is_some_and(|state| state.in_sync.len() == 1);
        for over in (self.epoch..now).filter(|epoch| !alone(*epoch)) {
            self.over.entry(over).or_insert(at);
        }
        self.epoch = self.epoch.max(now);
        let talk = self.talk.entry(process.incarnation).or_insert((at, at));
        let begun = if at > talk.1 + SILENCE { at } else { talk.0 };
        *talk = (begun, at);
        let over = self.over.get(&epoch).map(|over| *over.max(&since).max(&begun));
        match over.filter(|over| over + (self.patience.as_nanos() as u64) < at) {
            None => Ok(()),
            Some(over) => Err(format!(
                "{process:?} still talks to clients in epoch {epoch}, which ended {} ms ago",
                (at - over) / 1_000_000
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::*;

    const SECOND: u64 = 1_000_000_000;

    fn says(story: &mut Story<Silenced>, at: u64, since: u64, answers: bool) {
        let (process, at, since) = (&process("a"), at * SECOND, since * SECOND);
        story.tell(&Fact::Spoke { process, epoch: 1, at, since, answers });
    }

    fn speaks(story: &mut Story<Silenced>, at: u64, since: u64) {
        says(story, at, since, true);
    }

    /// Speaks every second up to this one.
    fn goes_on(story: &mut Story<Silenced>, from: u64, to: u64, since: u64) {
        (from..=to).for_each(|at| speaks(story, at, since));
    }

    #[test]
    fn who_is_alone_in_the_set_never_falls_silent() {
        let mut story = Story::new(Silenced::within(Duration::from_secs(5)));
        story.state(1, Some("a"), &["a"]);
        speaks(&mut story, 1, 0);
        story.state(2, None, &[]);
        goes_on(&mut story, 2, 9, 0);
        story.accepted();
    }

    fn deposed() -> Story<Silenced> {
        let mut story = Story::new(Silenced::within(Duration::from_secs(5)));
        story.state(1, Some("a"), &["a", "b"]);
        speaks(&mut story, 1, 0);
        story.state(2, Some("b"), &["b"]);
        speaks(&mut story, 2, 0);
        story
    }

    #[test]
    fn a_primary_may_talk_in_its_reign_and_for_a_while_after() {
        let mut story = deposed();
        goes_on(&mut story, 3, 7, 0);
        story.accepted();
    }

    #[test]
    fn who_goes_on_for_longer_is_rejected() {
        let mut story = deposed();
        goes_on(&mut story, 3, 8, 0);
        story.rejected("ended 6000 ms ago");
    }

    #[test]
    fn who_has_only_woken_up_or_was_in_touch_has_its_time() {
        let mut story = deposed();
        goes_on(&mut story, 30, 33, 28);
        story.accepted();
        goes_on(&mut story, 34, 36, 28);
        story.rejected("ended 6000 ms ago");
    }

    #[test]
    fn who_was_silent_has_its_time() {
        let mut story = deposed();
        goes_on(&mut story, 3, 6, 0);
        goes_on(&mut story, 20, 25, 0);
        story.accepted();
        speaks(&mut story, 26, 0);
        story.rejected("ended 6000 ms ago");
    }

    fn silent() -> Story<Silenced> {
        let mut story = Story::new(Silenced::within(Duration::from_secs(5)));
        story.state(1, Some("a"), &["a", "b"]);
        speaks(&mut story, 1, 0);
        story.tell(&Fact::FellSilent { process: &process("a"), epoch: 1, unheard: None });
        story
    }

    fn takes(story: &mut Story<Silenced>) {
        story.tell(&Fact::Accepted { process: &process("a"), held: (0, 0) });
    }

    #[test]
    fn who_has_fallen_silent_answers_and_takes_nothing() {
        let mut story = silent();
        says(&mut story, 2, 0, false);
        story.accepted();
        speaks(&mut story, 2, 0);
        story.rejected("in which it has fallen silent");
        let mut story = silent();
        takes(&mut story);
        story.rejected("takes batches");
    }

    #[test]
    fn who_is_heard_again_or_leads_again_speaks() {
        let process = &process("a");
        for again in [Fact::SpokeAgain(process), Fact::Acts { process, history: HISTORY, epoch: 3 }] {
            let mut story = silent();
            story.tell(&again);
            speaks(&mut story, 2, 0);
            takes(&mut story);
            story.accepted();
        }
    }
}
