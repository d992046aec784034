//! SubPrefix: what a subscriber delivered is the matching committed records from its start on, in
//! order, without gap or repetition; or the gap was reported, once, and a committed decision had trimmed
//! what was missing, or the frame that brought it was damaged on its way (R31). It says that it has come to a head when nothing below is due any more (R19).

use super::{Check, ClientId, Fact, Kind, Ledger, Loss};
use std::collections::BTreeMap;
use steadfast_core::filter::Filter;
use steadfast_core::id::Offset;
use steadfast_core::log::{BatchHeader, EntryKind};
use steadfast_core::message::{History, Start};

#[derive(Clone, Debug)]
struct Subscriber {
    filters: Vec<Filter>,
    /// Everything that matches below was delivered or reported. `None`: it began at the end of the log,
    /// wherever that was.
    next: Option<Offset>,
    history: Option<History>,
}

impl Subscriber {
    fn matches(&self, header: &BatchHeader) -> bool {
        self.filters.iter().any(|filter| filter.matches(&header.topic))
    }

    /// The first record from `offset` on that it must deliver.
    fn due(&self, ledger: &Ledger, history: History, offset: Offset) -> Option<Offset> {
        let log = &ledger.committed(history).log;
        let first = log.get(offset)?.offset;
        let due = log.from(first).iter().find(
            |held| matches!(&held.entry.kind, EntryKind::Batch(batch) if self.matches(&batch.header)),
        )?;
        Some(due.entry.offset.max(offset))
    }
}

/// The property.
#[derive(Clone, Debug, Default)]
pub struct SubPrefix {
    subscribers: BTreeMap<ClientId, Subscriber>,
}

impl SubPrefix {
    fn delivered(&mut self, ledger: &Ledger, fact: &Fact<'_>) -> Result<(), String> {
        let Fact::Delivered { subscriber, history, offset, payloads, .. } = fact else { return Ok(()) };
        let Some(state) = self.subscribers.get_mut(subscriber) else {
            return Err(format!("{subscriber} delivers and never began"));
        };
        if state.history.is_some_and(|before| before != *history) {
            return Err(format!("{subscriber} delivers from {history:?} unannounced"));
        }
        state.history = Some(*history);
        let next = state.next.unwrap_or(*offset);
        if state.due(ledger, *history, next) != Some(*offset) {
            let due = state.due(ledger, *history, next);
            return Err(format!("subscriber {subscriber} delivers {offset}, {due:?} is due"));
        }
        let end = offset + payloads.len() as Offset;
        state.next = Some(end);
        same_records(ledger, fact)
    }

    fn missed(
        &mut self,
        ledger: &Ledger,
        subscriber: ClientId,
        (from, to): (Offset, Offset),
        because: Loss,
    ) -> Result<(), String> {
        let Some(state) = self.subscribers.get_mut(&subscriber) else {
            return Err(format!("{subscriber} misses records and never began"));
        };
        let next = state.next.unwrap_or(from);
        if to <= from || from < next {
            return Err(format!("{subscriber} reports {from}..{to} as missing, which it has passed"));
        }
        if let Some(history) = state.history {
            let due = state.due(ledger, history, next);
            if due.is_some_and(|due| due < from) {
                return Err(format!("{subscriber} reports {from}..{to} as missing, {due:?} is due before"));
            }
            match because {
                Loss::Trimmed => trimmed(ledger, history, to)?,
                Loss::Unreadable { damaged } => {
                    one_batch(ledger, history, (from, to))?;
                    if !damaged {
                        return Err(format!(
                            "{subscriber} cannot read {from}..{to}, which came as it was sent"
                        ));
                    }
                }
            }
        }
        state.next = Some(to);
        Ok(())
    }

    fn reached(
        &self,
        ledger: &Ledger,
        subscriber: ClientId,
        head: Option<(History, Offset)>,
    ) -> Result<(), String> {
        let state = self.subscribers.get(&subscriber);
        let (Some(state), Some((history, head))) = (state, head) else {
            return Err(format!("{subscriber} has come to a head that it was not told"));
        };
        if state.history != Some(history) {
            return Err(format!("{subscriber} has come to a head of {history:?} in {:?}", state.history));
        }
        match state.next.and_then(|next| state.due(ledger, history, next)).filter(|due| *due < head) {
            None => Ok(()),
            Some(due) => Err(format!("{subscriber} has come to the head at {head}, {due} is due before")),
        }
    }

    /// From now on it is known where it begins (`history_cut.rs` judges that).
    fn began(&mut self, subscriber: ClientId, history: History, at: Offset) {
        if let Some(state) = self.subscribers.get_mut(&subscriber)
            && state.history.is_none()
        {
            state.next = Some(at);
            state.history = Some(history);
        }
    }
}

/// Whether a committed decision has trimmed everything below.
fn trimmed(ledger: &Ledger, history: History, below: Offset) -> Result<(), String> {
    let start = ledger.committed(history).log_start();
    if below <= start { Ok(()) } else { Err(format!("{below} is passed over, and {start} is kept")) }
}

/// Whether these are the records of one committed batch, or its last ones.
fn one_batch(ledger: &Ledger, history: History, (from, to): (Offset, Offset)) -> Result<(), String> {
    match ledger.committed(history).log.get(from).map(|entry| entry.end()) {
        Some(end) if end == to => Ok(()),
        end => Err(format!("{from}..{to} cannot be read, and the batch there ends at {end:?}")),
    }
}

/// Whether the records are those that were committed there.
fn same_records(ledger: &Ledger, fact: &Fact<'_>) -> Result<(), String> {
    let Fact::Delivered { history, offset, topic, publisher, first_sequence, .. } = *fact else {
        return Ok(());
    };
    let held = ledger.committed(history).log.held(offset);
    let Some((held, EntryKind::Batch(batch))) = held.map(|held| (held, &held.entry.kind)) else {
        return Err(format!("no batch is committed at {offset}"));
    };
    let header = &batch.header;
    let skip = offset - held.entry.offset;
    let same = header.topic == *topic
        && header.publisher == publisher
        && header.first_sequence + skip == first_sequence
        && held.records()?.get(skip as usize..) == Some(ledger.named());
    if same {
        Ok(())
    } else {
        Err(format!("other records than the committed ones were delivered at {offset}"))
    }
}

impl Check for SubPrefix {
    fn name(&self) -> &'static str {
        "SubPrefix"
    }

    fn hears(&self) -> &'static [Kind] {
        &[
            Kind::Began,
            Kind::Delivered,
            Kind::HeadReached,
            Kind::LineageChanged,
            Kind::Missed,
            Kind::Subscribed,
        ]
    }

    fn check(&mut self, ledger: &Ledger, fact: &Fact<'_>) -> Result<(), String> {
        match *fact {
            Fact::Subscribed { subscriber, filters, start } => {
                let next = match start {
                    Start::Earliest => Some(0),
                    Start::Latest => None,
                    Start::At(position) => Some(position.offset),
                };
                let state = Subscriber { filters: filters.to_vec(), next, history: None };
                self.subscribers.insert(subscriber, state);
                Ok(())
            }
            Fact::Delivered { .. } => self.delivered(ledger, fact),
            Fact::Began { subscriber, history, at, .. } => {
                self.began(subscriber, history, at);
                Ok(())
            }
            Fact::HeadReached { subscriber, head } => self.reached(ledger, subscriber, head),
            Fact::Missed { subscriber, from, to, because } => {
                self.missed(ledger, subscriber, (from, to), because)
            }
            Fact::LineageChanged { subscriber, to } => {
                if let Some(state) = self.subscribers.get_mut(&subscriber) {
                    state.history = Some(to);
                    state.next = Some(0);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::*;
    use steadfast_core::message::Position;

    /// Offsets: 0 epoch, 1–2 t, 3–4 u, 5 epoch, 6–8 t, and 9 t that is not committed.
    fn story(filter: &str, start_at: Start) -> Story<SubPrefix> {
        let mut story = Story::new(SubPrefix::default());
        let log =
            [start(1), batch(1, 1, 2), batch_on("u", 1, 1, 3, 2), start(2), batch(2, 5, 3), batch(2, 8, 1)];
        story.append("a", &log).commit("a", 9).subscribe(filter, start_at);
        story
    }

    fn at(offset: Offset) -> Start {
        Start::At(Position { lineage: 1, epoch: 1, offset })
    }

    #[test]
    fn the_matching_records_in_order_are_accepted() {
        story("t", Start::Earliest).deliver(1, 1, 2).deliver(6, 5, 3).accepted();
        story("t", Start::Latest).deliver(6, 5, 3).accepted();
        story("t", at(3)).deliver(6, 5, 3).accepted();
    }

    #[test]
    fn a_start_inside_a_batch_gets_the_rest_of_it() {
        story("t", at(2)).deliver(2, 2, 1).deliver(6, 5, 3).accepted();
        story("t", at(2)).deliver(1, 1, 2).rejected("delivers 1, Some(2) is due");
    }

    #[test]
    fn a_gap_is_rejected_unless_it_is_reported() {
        story("t", Start::Earliest).deliver(6, 5, 3).rejected("Some(1) is due");
        let mut reported = trimmed_story(5);
        reported.deliver(1, 1, 2).tell(&missed(3, 5)).deliver(6, 5, 3).accepted();
    }

    /// The story, with a committed decision at 9 to start the log at `to`.
    fn trimmed_story(to: Offset) -> Story<SubPrefix> {
        let mut story = story("t", Start::Earliest);
        story.truncate("a", 9).append("a", &[trim(2, to)]).commit("a", 10);
        story
    }

    fn missed(from: Offset, to: Offset) -> Fact<'static> {
        Fact::Missed { subscriber: 1, from, to, because: Loss::Trimmed }
    }

    #[test]
    fn a_report_of_records_that_are_kept_is_rejected() {
        trimmed_story(5).deliver(1, 1, 2).tell(&missed(3, 6)).rejected("6 is passed over, and 5 is kept");
    }

    #[test]
    fn a_report_that_leaves_a_record_out_is_rejected() {
        let mut story = trimmed_story(5);
        story.begin(1, 0);
        story.tell(&missed(3, 5)).rejected("Some(1) is due before");
    }

    #[test]
    fn reporting_the_same_twice_is_rejected() {
        let mut story = trimmed_story(5);
        story.deliver(1, 1, 2).tell(&missed(3, 5)).tell(&missed(3, 5)).rejected("has passed");
    }

    fn reached(head: Offset) -> Fact<'static> {
        Fact::HeadReached { subscriber: 1, head: Some((HISTORY, head)) }
    }

    #[test]
    fn the_head_is_reached_when_nothing_below_is_due() {
        for (head, count) in [(1, 0), (6, 1), (9, 2)] {
            let mut story = story("t", Start::Earliest);
            story.begin(1, 0);
            let deliveries = [(1, 1, 2), (6, 5, 3)].into_iter().take(count);
            for (offset, first, records) in deliveries {
                story.deliver(offset, first, records);
            }
            story.tell(&reached(head)).accepted();
        }
    }

    #[test]
    fn a_head_above_what_is_due_is_not_reached() {
        story("t", Start::Earliest).begin(1, 0).tell(&reached(2)).rejected("1 is due before");
        story("t", Start::Earliest).deliver(1, 1, 2).tell(&reached(7)).rejected("6 is due before");
    }

    #[test]
    fn a_head_that_nobody_told_or_of_another_history_is_not_reached() {
        let mut unasked = story("t", Start::Latest);
        unasked.tell(&Fact::HeadReached { subscriber: 1, head: None }).rejected("was not told");
        let of = History { lineage: 2, ..HISTORY };
        let mut other = story("t", Start::Earliest);
        let foreign = Fact::HeadReached { subscriber: 1, head: Some((of, 1)) };
        other.begin(1, 0).tell(&foreign).rejected("has come to a head of");
    }

    #[test]
    fn a_subscriber_begins_where_the_log_was_trimmed_to() {
        trimmed_story(5).begin(1, 5).deliver(6, 5, 3).accepted();
    }

    #[test]
    fn a_subscriber_of_the_end_misses_nothing_once_it_knows_where_that_was() {
        story("t", Start::Latest).begin(2, 6).deliver(6, 5, 3).accepted();
        story("t", Start::Latest).begin(1, 1).deliver(6, 5, 3).rejected("Some(1) is due");
    }

    #[test]
    fn a_repetition_is_rejected() {
        story("t", Start::Earliest).deliver(1, 1, 2).deliver(1, 1, 2).rejected("delivers 1");
    }

    #[test]
    fn a_record_that_does_not_match_is_rejected() {
        story("u", Start::Earliest).deliver(1, 1, 2).rejected("Some(3) is due");
    }

    #[test]
    fn a_record_that_is_not_committed_is_rejected() {
        story("t", at(9)).deliver(9, 8, 1).rejected("None is due");
    }

    #[test]
    fn other_records_than_the_committed_are_rejected() {
        story("t", Start::Earliest).deliver(1, 2, 2).rejected("other records");
        story("t", Start::Earliest).deliver(1, 1, 1).rejected("other records");
    }

    #[test]
    fn reporting_what_was_delivered_as_missing_is_rejected() {
        let mut story = story("t", Start::Earliest);
        story.deliver(1, 1, 2).tell(&missed(0, 2)).rejected("has passed");
    }

    #[test]
    fn a_batch_that_was_damaged_on_its_way_may_be_reported() {
        let unreadable = |from, to, damaged| {
            let because = Loss::Unreadable { damaged };
            Fact::Missed { subscriber: 1, from, to, because }
        };
        let all = || story("t", Start::Earliest);
        let mut begun = all();
        begun.begin(1, 0).tell(&unreadable(1, 3, true)).deliver(6, 5, 3).accepted();
        all().begin(1, 0).tell(&unreadable(1, 3, false)).rejected("came as it was sent");
        all().begin(1, 0).tell(&unreadable(1, 5, true)).rejected("the batch there ends at Some(3)");
        all().begin(1, 0).tell(&unreadable(3, 5, true)).rejected("Some(1) is due before");
    }

    #[test]
    fn another_history_must_be_announced() {
        let other = History { lineage: 2, ..HISTORY };
        let mut story = story("t", Start::Earliest);
        story.deliver(1, 1, 2).tell(&Fact::LineageChanged { subscriber: 1, to: other });
        story.deliver(6, 5, 3).rejected("unannounced");
    }
}
