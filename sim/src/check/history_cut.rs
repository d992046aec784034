//! HistoryCut (I14): who joins gets everything from a cut on, and nothing from below. The cut is where the log
//! starts, for who asks for the beginning; for who asks for the end it lies within what is committed of the
//! epoch that serves it. Neither says what is *now*: a primary that was deposed and has not heard of it serves
//! from where it is. From the cut on `sub_prefix.rs` judges.

use super::ledger::Committed;
use super::{Check, ClientId, Fact, Kind, Ledger};
use std::collections::BTreeMap;
use steadfast_core::id::{Epoch, Offset};
use steadfast_core::message::Start;

#[derive(Clone, Copy, Debug)]
struct Joiner {
    start: Start,
    /// `None`: it was not told where it begins.
    cut: Option<Offset>,
}

/// The property.
#[derive(Clone, Debug, Default)]
pub struct HistoryCut {
    joiners: BTreeMap<ClientId, Joiner>,
}

/// Whether a committed decision has made the log start there.
fn beginning(committed: &Committed, at: Offset) -> Result<(), String> {
    let start = committed.log_start();
    match committed.has_started_at(at) {
        true => Ok(()),
        false if at > start => Err(format!("{at} is passed over, and {start} is kept")),
        false => Err(format!("begins at {at}, where the log has never started")),
    }
}

/// Whether everything below is committed, the first record of this epoch included, and nothing of a later one.
fn end(committed: &Committed, epoch: Epoch, at: Offset) -> Result<(), String> {
    let last = at.checked_sub(1).and_then(|last| committed.log.get(last));
    match last.filter(|last| last.end() == at) {
        Some(last) if last.epoch == epoch => Ok(()),
        Some(last) => {
            Err(format!("begins at {at}, behind a record of epoch {}: {epoch} serves it", last.epoch))
        }
        None => Err(format!("begins at {at}, {} is committed", committed.log.end())),
    }
}

impl HistoryCut {
    fn got(&self, subscriber: ClientId, from: Offset) -> Result<(), String> {
        match self.joiners.get(&subscriber).and_then(|joiner| joiner.cut) {
            Some(cut) if from >= cut => Ok(()),
            Some(cut) => Err(format!("subscriber {subscriber} hears of {from}, it has begun at {cut}")),
            None => Err(format!("subscriber {subscriber} hears of {from} and never began")),
        }
    }
}

impl Check for HistoryCut {
    fn name(&self) -> &'static str {
        "HistoryCut"
    }

    fn hears(&self) -> &'static [Kind] {
        &[Kind::Began, Kind::Delivered, Kind::LineageChanged, Kind::Missed, Kind::Subscribed]
    }

    fn check(&mut self, ledger: &Ledger, fact: &Fact<'_>) -> Result<(), String> {
        match *fact {
            Fact::Subscribed { subscriber, start, .. } => {
                self.joiners.insert(subscriber, Joiner { start, cut: None });
                Ok(())
            }
            Fact::Began { subscriber, history, epoch, at } => {
                // Where it has begun is where it goes on after a failover, too.
                let joiner = self.joiners.get_mut(&subscriber).filter(|joiner| joiner.cut.is_none());
                let Some(joiner) = joiner else { return Ok(()) };
                joiner.cut = Some(at);
                let committed = ledger.committed(history);
                let judged = match joiner.start {
                    Start::Earliest => beginning(committed, at),
                    Start::Latest => end(committed, epoch, at),
                    Start::At(_) => Ok(()),
                };
                judged.map_err(|detail| format!("subscriber {subscriber}: {detail}"))
            }
            // A new history is delivered from its beginning on.
            Fact::LineageChanged { subscriber, .. } => {
                if let Some(joiner) = self.joiners.get_mut(&subscriber) {
                    joiner.cut = Some(0);
                }
                Ok(())
            }
            Fact::Delivered { subscriber, offset, .. } => self.got(subscriber, offset),
            Fact::Missed { subscriber, from, .. } => self.got(subscriber, from),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Loss;
    use crate::check::testing::*;
    use steadfast_core::message::{History, Position};

    /// Offsets: 0 epoch, 1–2 t, 3 a decision for 1, 4 epoch, 5–7 t, 8 a decision for 3, and 9 t that is not
    /// committed.
    fn story(start_at: Start) -> Story<HistoryCut> {
        let mut story = Story::new(HistoryCut::default());
        let log =
            [start(1), batch(1, 1, 2), trim(1, 1), start(2), batch(2, 3, 3), trim(2, 3), batch(2, 6, 1)];
        story.append("a", &log).commit("a", 9).subscribe("t", start_at);
        story
    }

    #[test]
    fn the_beginning_is_where_the_log_starts_or_has_started() {
        story(Start::Earliest).begin(2, 3).deliver(5, 3, 3).accepted();
        // Served by one that was deposed.
        story(Start::Earliest).begin(1, 1).deliver(1, 1, 2).accepted();
        story(Start::Earliest).begin(1, 0).accepted();
    }

    #[test]
    fn a_beginning_that_passes_over_what_is_kept_is_rejected() {
        story(Start::Earliest).begin(2, 4).rejected("4 is passed over, and 3 is kept");
    }

    #[test]
    fn a_beginning_where_no_log_has_started_is_rejected() {
        story(Start::Earliest).begin(2, 2).rejected("where the log has never started");
    }

    #[test]
    fn the_end_is_within_what_is_committed_of_the_epoch() {
        story(Start::Latest).begin(2, 9).accepted();
        story(Start::Latest).begin(2, 5).deliver(5, 3, 3).accepted();
        story(Start::Latest).begin(1, 4).deliver(5, 3, 3).accepted();
    }

    #[test]
    fn an_end_that_is_not_committed_is_rejected() {
        story(Start::Latest).begin(2, 10).rejected("begins at 10, 9 is committed");
    }

    #[test]
    fn an_end_before_the_epoch_is_rejected() {
        story(Start::Latest).begin(2, 4).rejected("behind a record of epoch 1: 2 serves it");
        story(Start::Latest).begin(1, 0).rejected("begins at 0");
    }

    #[test]
    fn an_end_in_a_later_epoch_is_rejected() {
        story(Start::Latest).begin(1, 5).rejected("behind a record of epoch 2: 1 serves it");
    }

    #[test]
    fn an_end_within_a_batch_is_rejected() {
        story(Start::Latest).begin(2, 6).rejected("begins at 6");
    }

    #[test]
    fn what_lies_below_the_cut_is_rejected() {
        story(Start::Latest).begin(2, 9).deliver(5, 3, 3).rejected("hears of 5, it has begun at 9");
        let missed = Fact::Missed { subscriber: 1, from: 1, to: 3, because: Loss::Trimmed };
        story(Start::Earliest).begin(2, 3).tell(&missed).rejected("hears of 1, it has begun at 3");
    }

    #[test]
    fn a_record_before_the_cut_is_known_is_rejected() {
        story(Start::Latest).deliver(5, 3, 3).rejected("never began");
    }

    #[test]
    fn the_first_cut_holds_after_a_failover() {
        story(Start::Latest).begin(1, 4).begin(2, 9).deliver(5, 3, 3).accepted();
    }

    #[test]
    fn a_place_of_its_own_is_no_cut_of_the_group() {
        let at = Start::At(Position { lineage: 1, epoch: 1, offset: 2 });
        story(at).begin(1, 2).deliver(2, 2, 1).deliver(5, 3, 3).accepted();
    }

    #[test]
    fn a_new_history_is_delivered_from_its_beginning_on() {
        let to = History { lineage: 2, ..HISTORY };
        let mut story = story(Start::Latest);
        story.begin(2, 9).tell(&Fact::LineageChanged { subscriber: 1, to }).deliver(1, 1, 2).accepted();
    }
}
