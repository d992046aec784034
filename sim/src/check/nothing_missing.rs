//! NothingMissing, the promise itself: when all is calm again, every acknowledged record was delivered to
//! every lossless subscriber whose filters match, or lies before the place where it began, or is covered
//! by exactly one word of its loss.

use super::records::{Record, RecordId, Table};
use super::{Check, ClientId, Fact, Kind, Ledger};
use crate::render::Payload;
use std::collections::{BTreeMap, BTreeSet};
use steadfast_core::filter::{Filter, Topic};
use steadfast_core::id::{Lineage, Offset};
use steadfast_core::log::EntryKind;
use steadfast_core::message::{History, Start};

/// Where a record is committed.
#[derive(Clone, Debug)]
struct Place {
    history: History,
    offset: Offset,
    topic: Topic,
}

#[derive(Clone, Debug)]
struct Subscriber {
    filters: Vec<Filter>,
    /// Where it began; everything before is not for it. `None`: it has not been told yet.
    began: Option<(Lineage, Offset)>,
    lineage: Lineage,
    /// Which records were delivered to it.
    delivered: Table<bool>,
    /// What it was told is lost, in which lineage.
    lost: Vec<(Lineage, Offset, Offset)>,
    /// The same of its lives before this one: a position that is old may lead to the same words again.
    heard: Vec<(Lineage, Offset, Offset)>,
    /// Lineages that it was told are over.
    given_up: BTreeSet<Lineage>,
}

impl Subscriber {
    fn owes(&self, record: RecordId, place: &Place, kept: Offset) -> Option<String> {
        if !self.filters.iter().any(|filter| filter.matches(&place.topic)) {
            return None;
        }
        let (lineage, offset) = (place.history.lineage, place.offset);
        let told =
            |(of, from, to): &&(Lineage, Offset, Offset)| *of == lineage && (*from..*to).contains(&offset);
        let words = self.lost.iter().filter(told).count() + usize::from(self.given_up.contains(&lineage));
        // It will begin with what is kept.
        let Some(began) = self.began else { return (offset >= kept).then(|| "never began".to_owned()) };
        if (lineage, offset) < began || self.delivered.of(record) == Some(&true) {
            return None;
        }
        match words {
            0 if self.heard.iter().any(|of| told(&of)) => None,
            0 => Some("was not delivered, and nothing was said of it".to_owned()),
            // Given up is the end of a lineage: what was lost in it before may have been said as well.
            _ if self.given_up.contains(&lineage) => None,
            1 => None,
            more => Some(format!("is covered by {more} words of its loss")),
        }
    }
}

/// The property.
#[derive(Clone, Debug, Default)]
pub struct NothingMissing {
    places: Table<Option<Place>>,
    acknowledged: Table<bool>,
    subscribers: BTreeMap<ClientId, Subscriber>,
    /// Up to where each history was looked at.
    read: BTreeMap<History, Offset>,
}

impl NothingMissing {
    fn read(&mut self, ledger: &Ledger, history: History) {
        let log = &ledger.committed(history).log;
        let read = self.read.insert(history, log.end()).unwrap_or(0);
        for held in log.from(read) {
            let EntryKind::Batch(batch) = &held.entry.kind else { continue };
            for (offset, record) in (held.entry.offset..).zip(held.records().into_iter().flatten()) {
                let topic = batch.header.topic.clone();
                *self.places.of_mut(*record) = Some(Place { history, offset, topic });
            }
        }
    }

    fn subscribed(&mut self, subscriber: ClientId, filters: &[Filter], start: Start) {
        let known = self.subscribers.get_mut(&subscriber);
        // Who goes on at its position has what was delivered to it before.
        if let (Some(known), Start::At(_)) = (known, start) {
            known.heard.append(&mut known.lost);
            return;
        }
        let state = Subscriber {
            filters: filters.to_vec(),
            began: None,
            lineage: 0,
            delivered: Table::default(),
            lost: Vec::new(),
            heard: Vec::new(),
            given_up: BTreeSet::new(),
        };
        self.subscribers.insert(subscriber, state);
    }

    fn settled(&self, ledger: &Ledger) -> Result<(), String> {
        let current = ledger.states().last().map(|state| state.history);
        for (record, _) in self.acknowledged.iter().filter(|(_, acknowledged)| **acknowledged) {
            let Some(Some(place)) = self.places.of(record) else { continue };
            // Of a log that has ended nothing is kept.
            let over = current.is_some_and(|current| current != place.history);
            let kept = if over { Offset::MAX } else { ledger.committed(place.history).log_start() };
            for (subscriber, state) in &self.subscribers {
                if let Some(owed) = state.owes(record, place, kept) {
                    let (offset, lineage) = (place.offset, place.history.lineage);
                    let Record { publisher, payload } = ledger.record(record);
                    let payload = Payload(payload);
                    return Err(format!(
                        "{payload:?} of {publisher:?}, acknowledged, at {offset} of lineage {lineage}: to \
                         subscriber {subscriber} it {owed}"
                    ));
                }
            }
        }
        Ok(())
    }

    fn told(&mut self, ledger: &Ledger, fact: &Fact<'_>) {
        match *fact {
            Fact::Began { subscriber, history, at, .. } => {
                if let Some(state) = self.subscribers.get_mut(&subscriber) {
                    state.began.get_or_insert((history.lineage, at));
                    state.lineage = history.lineage;
                }
            }
            Fact::Delivered { subscriber, history, .. } => {
                if let Some(state) = self.subscribers.get_mut(&subscriber) {
                    state.lineage = history.lineage;
                    ledger.named().iter().for_each(|record| *state.delivered.of_mut(*record) = true);
                }
            }
            Fact::Missed { subscriber, from, to, .. } => {
                if let Some(state) = self.subscribers.get_mut(&subscriber) {
                    state.lost.push((state.lineage, from, to));
                }
            }
            Fact::LineageChanged { subscriber, to } => {
                if let Some(state) = self.subscribers.get_mut(&subscriber) {
                    state.given_up.extend(state.lineage..to.lineage);
                    state.lineage = to.lineage;
                }
            }
            _ => {}
        }
    }
}

impl Check for NothingMissing {
    fn name(&self) -> &'static str {
        "NothingMissing"
    }

    fn hears(&self) -> &'static [Kind] {
        &[
            Kind::Acknowledged,
            Kind::Began,
            Kind::Committed,
            Kind::Delivered,
            Kind::LineageChanged,
            Kind::Missed,
            Kind::Settled,
            Kind::Subscribed,
            Kind::Unsubscribed,
        ]
    }

    fn check(&mut self, ledger: &Ledger, fact: &Fact<'_>) -> Result<(), String> {
        match *fact {
            Fact::Committed { history, .. } => self.read(ledger, history),
            Fact::Acknowledged { .. } => {
                ledger.named().iter().for_each(|record| *self.acknowledged.of_mut(*record) = true);
            }
            Fact::Subscribed { subscriber, filters, start } => self.subscribed(subscriber, filters, start),
            Fact::Unsubscribed { subscriber } => {
                self.subscribers.remove(&subscriber);
            }
            Fact::Settled => return self.settled(ledger),
            _ => self.told(ledger, fact),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Loss;
    use crate::check::testing::*;
    use steadfast_core::group::GroupState;

    /// Offsets: 0 epoch, 1 session, 2–3 t, 4–5 u, 6–7 t; all acknowledged.
    fn story(filter: &str) -> Story<NothingMissing> {
        let mut story = Story::new(NothingMissing::default());
        let log = [start(1), session(1, 1), batch(1, 1, 2), batch_on("u", 1, 1, 3, 2), batch(1, 5, 2)];
        story.append("a", &log).commit("a", 8).subscribe(filter, Start::Earliest);
        for sequence in 1..=6 {
            story.tell(&Fact::Acknowledged { publisher: PUBLISHER, payload: &payload(sequence) });
        }
        story
    }

    fn began(at: Offset) -> Fact<'static> {
        Fact::Began { subscriber: 1, history: HISTORY, epoch: 1, at }
    }

    fn missed(from: Offset, to: Offset) -> Fact<'static> {
        Fact::Missed { subscriber: 1, from, to, because: Loss::Trimmed }
    }

    #[test]
    fn everything_that_matches_was_delivered() {
        story("t").tell(&began(0)).deliver(2, 1, 2).deliver(6, 5, 2).tell(&Fact::Settled).accepted();
    }

    #[test]
    fn what_lies_before_the_beginning_or_is_reported_once_is_accounted_for() {
        story("t").tell(&began(4)).deliver(6, 5, 2).tell(&Fact::Settled).accepted();
        story("t").tell(&began(0)).tell(&missed(0, 6)).deliver(6, 5, 2).tell(&Fact::Settled).accepted();
    }

    #[test]
    fn a_record_that_nobody_speaks_of_is_rejected() {
        story("t").tell(&began(0)).deliver(6, 5, 2).tell(&Fact::Settled).rejected("nothing was said");
        story("t").tell(&Fact::Settled).rejected("never began");
    }

    #[test]
    fn a_record_that_is_not_acknowledged_is_owed_to_nobody() {
        let mut story = Story::new(NothingMissing::default());
        story.append("a", &[start(1), session(1, 1), batch(1, 1, 2)]).commit("a", 4);
        story.subscribe("t", Start::Earliest).tell(&began(0)).tell(&Fact::Settled).accepted();
    }

    #[test]
    fn a_log_that_has_ended_is_owed_to_those_who_had_begun() {
        let next = History { lineage: HISTORY.lineage + 1, ..HISTORY };
        let over = GroupState { history: next, ..state(2, 9, None, &["a"]) };
        story("t")
            .tell(&began(0))
            .tell(&Fact::State(&over))
            .tell(&Fact::Settled)
            .rejected("nothing was said");
        story("t").tell(&Fact::State(&over)).tell(&Fact::Settled).accepted();
    }

    #[test]
    fn two_words_of_one_loss_are_rejected() {
        let mut story = story("t");
        story.tell(&began(0)).tell(&missed(0, 4)).tell(&missed(2, 6)).deliver(6, 5, 2);
        story.tell(&Fact::Settled).rejected("2 words");
    }

    #[test]
    fn a_lineage_that_was_given_up_is_accounted_for() {
        let to = History { lineage: 2, ..HISTORY };
        let mut story = story("t");
        story.tell(&began(0)).deliver(2, 1, 2).tell(&Fact::LineageChanged { subscriber: 1, to });
        story.tell(&Fact::Settled).accepted();
    }

    #[test]
    fn who_goes_on_at_its_position_keeps_what_it_had_and_who_begins_anew_does_not() {
        let at = Start::At(steadfast_core::message::Position { lineage: 1, epoch: 1, offset: 4 });
        let mut resumed = story("t");
        resumed.tell(&began(0)).deliver(2, 1, 2).subscribe("t", at).deliver(6, 5, 2);
        resumed.tell(&Fact::Settled).accepted();
        let mut anew = story("t");
        anew.tell(&began(0))
            .deliver(2, 1, 2)
            .subscribe("t", Start::Earliest)
            .tell(&began(0))
            .deliver(6, 5, 2);
        anew.tell(&Fact::Settled).rejected("nothing was said");
    }

    #[test]
    fn a_later_life_may_be_told_again_and_not_twice() {
        let at = Start::At(steadfast_core::message::Position { lineage: 1, epoch: 1, offset: 0 });
        let mut again = story("t");
        again.tell(&began(0)).tell(&missed(0, 6)).subscribe("t", at).tell(&missed(0, 6)).deliver(6, 5, 2);
        again.tell(&Fact::Settled).accepted();
        let mut twice = story("t");
        twice.tell(&began(0)).subscribe("t", at).tell(&missed(0, 6)).tell(&missed(0, 6)).deliver(6, 5, 2);
        twice.tell(&Fact::Settled).rejected("2 words");
    }

    #[test]
    fn who_has_gone_is_owed_nothing() {
        story("t").tell(&Fact::Unsubscribed { subscriber: 1 }).tell(&Fact::Settled).accepted();
    }
}
