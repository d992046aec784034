//! NothingMissing: in the end each acknowledged record was delivered to each subscriber that wants it, or
//! was reported to it: as lost to retention, or with the whole history that was given up. (That what is
//! reported is so, and is reported once, is SubPrefix's to say.)

use super::{Check, ClientId, Fact, Ledger};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use steadfast_core::filter::Filter;
use steadfast_core::id::{Offset, PublisherId};
use steadfast_core::log::{Batch, EntryKind};
use steadfast_core::message::{History, Start};
use steadfast_core::wire::records::Records;

/// What a subscriber's application knows.
#[derive(Clone, Debug, Default)]
struct Told {
    filters: Vec<Filter>,
    /// Ranges that were delivered or reported, or lie before the beginning, in the order in which it was
    /// told.
    ranges: BTreeMap<History, Vec<(Offset, Offset)>>,
    /// Where it is.
    history: Option<History>,
    /// It begins with the earliest or the next record, and does not know yet where that is.
    begins: bool,
}

impl Told {
    fn cover(&mut self, history: History, from: Offset, to: Offset) {
        let ranges = self.ranges.entry(history).or_default();
        match ranges.last_mut() {
            Some(last) if last.0 <= from && from <= last.1 => last.1 = last.1.max(to),
            _ => ranges.push((from, to)),
        }
    }

    fn knows(&self, history: History, offset: Offset) -> bool {
        // A history that was given up before this one was reported as a whole, or was never met.
        self.history.is_some_and(|now| now.lineage > history.lineage)
            || self
                .ranges
                .get(&history)
                .is_some_and(|ranges| ranges.iter().any(|(from, to)| (*from..*to).contains(&offset)))
    }
}

/// The property.
#[derive(Clone, Debug, Default)]
pub struct NothingMissing {
    acknowledged: BTreeSet<(PublisherId, Bytes)>,
    subscribers: BTreeMap<ClientId, Told>,
}

impl NothingMissing {
    fn began(&mut self, subscriber: ClientId, history: History, at: Offset) {
        let Some(told) = self.subscribers.get_mut(&subscriber) else { return };
        told.history = Some(history);
        if std::mem::take(&mut told.begins) {
            told.cover(history, 0, at);
        }
    }

    fn settled(&self, ledger: &Ledger) -> Result<(), String> {
        for (history, committed) in ledger.histories() {
            for held in committed.log.entries() {
                let EntryKind::Batch(batch) = &held.entry.kind else { continue };
                self.batch(history, held.entry.offset, batch)?;
            }
        }
        Ok(())
    }

    fn batch(&self, history: History, first: Offset, batch: &Batch) -> Result<(), String> {
        let header = &batch.header;
        let records = Records::decode(header, batch.body.clone())
            .map_err(|error| format!("a committed batch cannot be read: {error}"))?;
        for (offset, payload) in (first..).zip(records) {
            let record = (header.publisher, payload);
            let wants = |told: &Told| told.filters.iter().any(|filter| filter.matches(&header.topic));
            let mut uninformed =
                self.subscribers.iter().filter(|(_, told)| wants(told) && !told.knows(history, offset));
            if let Some((subscriber, _)) = uninformed.next()
                && self.acknowledged.contains(&record)
            {
                let (publisher, payload) = record;
                return Err(format!(
                    "subscriber {subscriber} has not heard of {payload:?} of {publisher:?}, acknowledged, at {offset} of {history:?}"
                ));
            }
        }
        Ok(())
    }
}

impl Check for NothingMissing {
    fn name(&self) -> &'static str {
        "NothingMissing"
    }

    fn check(&mut self, ledger: &Ledger, fact: &Fact<'_>) -> Result<(), String> {
        match *fact {
            Fact::Acknowledged { publisher, payload } => {
                self.acknowledged.insert((publisher, payload.clone()));
            }
            Fact::Subscribed { subscriber, filters, start } => {
                let told = self.subscribers.entry(subscriber).or_default();
                told.filters = filters.to_vec();
                told.begins = !matches!(start, Start::At(_));
            }
            Fact::Began { subscriber, history, at } => self.began(subscriber, history, at),
            Fact::Delivered { subscriber, history, offset, payloads, .. } => {
                let told = self.subscribers.entry(subscriber).or_default();
                told.history = Some(history);
                told.cover(history, offset, offset + payloads.len() as Offset);
            }
            Fact::Missed { subscriber, from, to } => {
                let told = self.subscribers.entry(subscriber).or_default();
                if let Some(history) = told.history {
                    told.cover(history, from, to);
                }
            }
            Fact::LineageChanged { subscriber, to } => {
                self.subscribers.entry(subscriber).or_default().history = Some(to);
            }
            Fact::Settled => return self.settled(ledger),
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::*;

    /// Offsets: 0 epoch, 1–2 t, 3 u, 4–5 t; the records on t are acknowledged.
    fn story(filter: &str, start_at: Start) -> Story<NothingMissing> {
        let mut story = Story::new(NothingMissing::default());
        let log = [start(1), batch(1, 1, 2), batch_on("u", 1, 1, 3, 1), batch(1, 4, 2)];
        story.append("a", &log).commit("a", 6).subscribe(filter, start_at);
        for sequence in [1, 2, 4, 5] {
            story.tell(&Fact::Acknowledged { publisher: PUBLISHER, payload: &payload(sequence) });
        }
        story
    }

    fn began(at: Offset) -> Fact<'static> {
        Fact::Began { subscriber: 1, history: HISTORY, at }
    }

    #[test]
    fn what_was_delivered_to_all_who_want_it_is_accepted() {
        story("t", Start::Earliest).deliver(1, 1, 2).deliver(4, 4, 2).tell(&Fact::Settled).accepted();
    }

    #[test]
    fn what_was_reported_is_accepted() {
        let missed = Fact::Missed { subscriber: 1, from: 1, to: 3 };
        story("t", Start::Earliest)
            .tell(&began(0))
            .tell(&missed)
            .deliver(4, 4, 2)
            .tell(&Fact::Settled)
            .accepted();
        let to = History { lineage: 2, ..HISTORY };
        let changed = Fact::LineageChanged { subscriber: 1, to };
        story("t", Start::Earliest).deliver(1, 1, 2).tell(&changed).tell(&Fact::Settled).accepted();
    }

    #[test]
    fn what_lies_before_the_beginning_is_not_missing() {
        story("t", Start::Latest).tell(&began(3)).deliver(4, 4, 2).tell(&Fact::Settled).accepted();
    }

    #[test]
    fn a_record_that_was_skipped_is_rejected() {
        story("t", Start::Earliest).deliver(4, 4, 2).tell(&Fact::Settled).rejected("has not heard of b\"1\"");
        story("t", Start::Latest).tell(&began(1)).deliver(4, 4, 2).tell(&Fact::Settled).rejected("b\"1\"");
    }

    #[test]
    fn a_record_that_never_comes_is_rejected() {
        story("t", Start::Earliest).deliver(1, 1, 2).tell(&Fact::Settled).rejected("b\"4\"");
    }

    #[test]
    fn what_is_not_acknowledged_may_be_missing() {
        story("u", Start::Earliest).tell(&Fact::Settled).accepted();
    }
}
