//! Outcomes (R28, R29): a publisher tells its application what became of each record, once, and nothing worse
//! than it has to. *Unknown* it says of what was sent in a lineage that was given up, or in a session that some
//! primary has ended, or that a copy of its outbox has ended by another one under the same nonce. *Fenced* it is only where another process has a copy of its outbox, by a session that somebody
//! has opened. It turns records away only when as many wait as may, or when its application has told it to close before, and
//! it closes when it has said what became of all others. As no disk fails, it has no other excuse.

use super::{Check, ClientId, Fact, Kind, Ledger};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use steadfast_core::id::PublisherId;
use steadfast_core::log::EntryKind;
use steadfast_core::publisher::Error;

/// What a record takes in a queue besides its payload, in bytes, at the most.
const OVERHEAD: usize = 16;

/// Records of one publisher's application.
#[derive(Clone, Debug, Default)]
struct Asked {
    /// Tickets of whose records nothing was said yet, and the payloads in bytes. Those of a process that died
    /// stay.
    open: BTreeMap<u64, usize>,
    /// Tickets from here on were given to the present process.
    since: u64,
    last: u64,
    /// The last ticket before the present process was told to close, if it was.
    until: Option<u64>,
}

impl Asked {
    /// Whether an outcome fits: what the application asked for before it told its publisher to close was accepted,
    /// and nothing after it.
    fn fits(&self, tickets: &Range<u64>, error: Option<Error>) -> bool {
        match (error, self.until) {
            (Some(Error::Closed), until) => until.is_some_and(|until| tickets.start > until),
            (Some(Error::Fenced { .. }), _) => true,
            (_, until) => until.is_none_or(|until| tickets.end <= until + 1),
        }
    }

    /// Whether more waits at the present process. What was sent and waits for its acknowledgement is in it.
    fn exceeds(&self, (records, bytes): (usize, usize)) -> bool {
        let waiting = || self.open.range(self.since..);
        waiting().count() > records || waiting().map(|(_, bytes)| bytes + OVERHEAD).sum::<usize>() > bytes
    }
}

/// The property.
#[derive(Clone, Debug)]
pub struct Outcomes {
    /// So many records may wait at a publisher, of so many bytes.
    queue: (usize, usize),
    asked: BTreeMap<ClientId, Asked>,
    /// Whose sessions some primary has ended.
    expired: BTreeSet<PublisherId>,
    /// Identities that two processes have, and the sessions that were opened with them.
    copied: BTreeSet<PublisherId>,
    sessions: BTreeSet<(PublisherId, u64)>,
}

impl Outcomes {
    /// So many records may wait at a publisher, of so many bytes.
    pub const fn with_queue_of(records: usize, bytes: usize) -> Self {
        Self {
            queue: (records, bytes),
            asked: BTreeMap::new(),
            expired: BTreeSet::new(),
            copied: BTreeSet::new(),
            sessions: BTreeSet::new(),
        }
    }

    fn is_right(
        &self,
        ledger: &Ledger,
        publisher: PublisherId,
        waiting: Option<&Asked>,
        error: Error,
    ) -> bool {
        match error {
            Error::Unknown { lineage } => {
                let risen = |history: u64| history > lineage;
                let followed = || self.sessions.iter().filter(|(of, _)| *of == publisher).count() > 1;
                self.expired.contains(&publisher)
                    || self.copied.contains(&publisher) && followed()
                    || ledger.states().last().is_some_and(|state| risen(state.history.lineage))
            }
            Error::QueueFull => waiting.is_some_and(|asked| asked.exceeds(self.queue)),
            Error::Fenced { incarnation } => {
                self.copied.contains(&publisher) && self.sessions.contains(&(publisher, incarnation))
            }
            // Whether its ticket fits is asked of all.
            Error::Closed => true,
            Error::OutboxFailed => false,
        }
    }
}

impl Check for Outcomes {
    fn name(&self) -> &'static str {
        "Outcomes"
    }

    fn hears(&self) -> &'static [Kind] {
        &[
            Kind::Appended,
            Kind::Asked,
            Kind::ClientStarted,
            Kind::ClientClosed,
            Kind::ToldToClose,
            Kind::Copied,
            Kind::Told,
        ]
    }

    fn check(&mut self, ledger: &Ledger, fact: &Fact<'_>) -> Result<(), String> {
        match *fact {
            Fact::Appended { entry, .. } => match entry.kind {
                EntryKind::SessionExpire { publisher, .. } => drop(self.expired.insert(publisher)),
                EntryKind::SessionOpen { publisher, .. } => {
                    self.sessions.insert((publisher, entry.offset));
                }
                _ => {}
            },
            Fact::Copied { publisher } => drop(self.copied.insert(publisher)),
            Fact::Asked { client, ticket, bytes } => {
                let asked = self.asked.entry(client).or_default();
                asked.open.insert(ticket, bytes);
                asked.last = ticket;
            }
            Fact::ClientStarted { client } => {
                if let Some(asked) = self.asked.get_mut(&client) {
                    (asked.since, asked.until) = (asked.last + 1, None);
                }
            }
            Fact::ToldToClose(client) => {
                let asked = self.asked.entry(client).or_default();
                asked.until = Some(asked.last);
            }
            Fact::ClientClosed(client) => {
                let asked = self.asked.entry(client).or_default();
                let until = asked.until.map_or(asked.since, |until| asked.since.max(until + 1));
                if let Some((ticket, _)) = asked.open.range(asked.since..until).next() {
                    return Err(format!(
                        "publisher {client} closes and has not said what became of {ticket}"
                    ));
                }
            }
            Fact::Told { client, publisher, tickets, result } => {
                let asked = self.asked.get(&client);
                if let Some(error) = result.filter(|error| !self.is_right(ledger, publisher, asked, *error)) {
                    return Err(format!(
                        "publisher {client} gives {tickets:?} up and has no reason: {error}"
                    ));
                }
                let asked = self.asked.entry(client).or_default();
                if !asked.fits(tickets, result) {
                    return Err(format!(
                        "publisher {client} was told to close after {:?}, and says of {tickets:?}: {result:?}",
                        asked.until
                    ));
                }
                if let Some(ticket) = tickets.clone().find(|ticket| asked.open.remove(ticket).is_none()) {
                    return Err(format!("publisher {client} says twice what became of {ticket}"));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::*;

    const UNKNOWN: Error = Error::Unknown { lineage: 1 };

    /// Five records of ten bytes are asked for; two may wait, of 60 bytes.
    fn story() -> Story<Outcomes> {
        let mut story = Story::new(Outcomes::with_queue_of(2, 60));
        for ticket in 1..=5 {
            story.tell(&Fact::Asked { client: 1, ticket, bytes: 10 });
        }
        story.state(1, Some("a"), &["a"]).append("a", &[start(1), session(1, 1)]);
        story
    }

    fn told(story: &mut Story<Outcomes>, tickets: std::ops::Range<u64>, result: Option<Error>) {
        story.tell(&Fact::Told { client: 1, publisher: PUBLISHER, tickets: &tickets, result });
    }

    #[test]
    fn each_record_is_acknowledged_once() {
        let mut story = story();
        told(&mut story, 1..3, None);
        told(&mut story, 3..6, None);
        story.accepted();
        told(&mut story, 3..4, None);
        story.rejected("says twice what became of 3");
    }

    #[test]
    fn a_record_that_was_never_asked_for_is_rejected() {
        let mut story = story();
        told(&mut story, 5..7, None);
        story.rejected("what became of 6");
    }

    #[test]
    fn what_a_session_held_that_has_expired_is_unknown() {
        let mut story = story();
        story.append("a", &[expire(1, 1)]);
        told(&mut story, 1..3, Some(UNKNOWN));
        story.accepted();
    }

    #[test]
    fn what_was_sent_in_a_lineage_that_was_given_up_is_unknown() {
        let mut story = story();
        let mut state = state(2, 1, None, &[]);
        state.history.lineage = 2;
        story.tell(&Fact::State(&state));
        told(&mut story, 1..3, Some(UNKNOWN));
        story.accepted();
        told(&mut story, 3..4, Some(Error::Unknown { lineage: 2 }));
        story.rejected("has no reason: unknown");
    }

    #[test]
    fn unknown_without_a_reason_is_rejected() {
        let mut story = story();
        told(&mut story, 1..3, Some(UNKNOWN));
        story.rejected("has no reason: unknown");
    }

    #[test]
    fn what_a_copy_of_its_outbox_has_ended_may_be_unknown() {
        let mut alone = story();
        alone.tell(&Fact::Copied { publisher: PUBLISHER });
        told(&mut alone, 1..3, Some(UNKNOWN));
        alone.rejected("has no reason: unknown");
        let mut followed = story();
        followed.tell(&Fact::Copied { publisher: PUBLISHER }).append("a", &[session(1, 2)]);
        told(&mut followed, 1..3, Some(UNKNOWN));
        followed.accepted();
    }

    #[test]
    fn the_end_of_another_session_is_no_reason() {
        let mut story = story();
        story.append("a", &[expire(1, 1)]);
        let publisher = PublisherId(7);
        story.tell(&Fact::Told { client: 1, publisher, tickets: &(1..2), result: Some(UNKNOWN) });
        story.rejected("has no reason: unknown");
    }

    /// The application tells its publisher to close after the third of five records.
    fn closing() -> Story<Outcomes> {
        let mut story = Story::new(Outcomes::with_queue_of(9, 900));
        for ticket in 1..=5 {
            if ticket == 4 {
                story.tell(&Fact::ToldToClose(1));
            }
            story.tell(&Fact::Asked { client: 1, ticket, bytes: 10 });
        }
        story.state(1, Some("a"), &["a"]).append("a", &[start(1), session(1, 1)]);
        story
    }

    #[test]
    fn who_is_told_to_close_says_what_became_of_everything_and_takes_nothing_more() {
        let mut story = closing();
        told(&mut story, 4..6, Some(Error::Closed));
        told(&mut story, 1..4, None);
        story.tell(&Fact::ClientClosed(1)).accepted();
    }

    #[test]
    fn who_closes_too_early_is_rejected() {
        let mut story = closing();
        told(&mut story, 1..3, None);
        story.tell(&Fact::ClientClosed(1)).rejected("has not said what became of 3");
    }

    #[test]
    fn a_record_from_before_the_end_is_not_turned_away_nor_one_after_it_taken() {
        let mut early = closing();
        told(&mut early, 3..4, Some(Error::Closed));
        early.rejected("was told to close after Some(3)");
        let mut late = closing();
        told(&mut late, 3..5, None);
        late.rejected("was told to close after Some(3)");
        let mut never = story();
        told(&mut never, 1..2, Some(Error::Closed));
        never.rejected("was told to close after None");
    }

    #[test]
    fn the_next_process_takes_records_again() {
        let mut story = closing();
        story.tell(&Fact::ClientStarted { client: 1 });
        story.tell(&Fact::Asked { client: 1, ticket: 6, bytes: 10 });
        told(&mut story, 6..7, None);
        story.accepted();
    }

    #[test]
    fn a_full_queue_turns_records_away() {
        let mut story = story();
        told(&mut story, 5..6, Some(Error::QueueFull));
        story.accepted();
    }

    #[test]
    fn a_queue_with_room_turns_nothing_away() {
        let mut story = story();
        told(&mut story, 1..4, None);
        told(&mut story, 5..6, Some(Error::QueueFull));
        story.rejected("has no reason");
    }

    #[test]
    fn a_queue_without_room_for_the_bytes_turns_records_away() {
        let mut story = Story::new(Outcomes::with_queue_of(9, 60));
        for ticket in 1..=3 {
            story.tell(&Fact::Asked { client: 1, ticket, bytes: 10 });
        }
        told(&mut story, 3..4, Some(Error::QueueFull));
        story.accepted();
        told(&mut story, 2..3, Some(Error::QueueFull));
        story.rejected("has no reason");
    }

    #[test]
    fn what_a_process_held_that_died_does_not_wait() {
        let mut story = story();
        story.tell(&Fact::ClientStarted { client: 1 }).tell(&Fact::Asked { client: 1, ticket: 6, bytes: 10 });
        told(&mut story, 6..7, Some(Error::QueueFull));
        story.rejected("has no reason");
    }

    #[test]
    fn who_has_a_copy_of_another_outbox_may_be_fenced() {
        let mut story = story();
        story.tell(&Fact::Copied { publisher: PUBLISHER });
        told(&mut story, 1..2, Some(Error::Fenced { incarnation: 1 }));
        story.accepted();
        told(&mut story, 2..3, Some(Error::Fenced { incarnation: 9 }));
        story.rejected("has no reason");
    }

    #[test]
    fn nothing_excuses_the_other_errors() {
        for error in [Error::OutboxFailed, Error::Fenced { incarnation: 1 }] {
            let mut story = story();
            told(&mut story, 1..2, Some(error));
            story.rejected("has no reason");
        }
    }
}
