//! ExactlyOnceInLog: in the committed log every publisher's sequence numbers are contiguous from 1, each
//! there once, until its session expires; and PubFencing: no record of an incarnation after the session of a
//! later one, and no session has the number of an earlier one.

use super::{Check, Fact, Kind, Ledger};
use std::collections::BTreeMap;
use steadfast_core::id::{Offset, PublisherId, Sequence};
use steadfast_core::log::EntryKind;
use steadfast_core::message::History;

#[derive(Clone, Debug, Default)]
struct Publisher {
    incarnation: u64,
    last: Sequence,
    /// That session has expired.
    expired: bool,
}

/// The property.
#[derive(Clone, Debug, Default)]
pub struct ExactlyOnceInLog {
    publishers: BTreeMap<(History, PublisherId), Publisher>,
    read: BTreeMap<History, Offset>,
}

impl ExactlyOnceInLog {
    fn entry(&mut self, history: History, kind: &EntryKind) -> Result<(), String> {
        match kind {
            EntryKind::EpochStart | EntryKind::Trim { .. } => Ok(()),
            EntryKind::SessionOpen { publisher, incarnation, .. } => {
                let known = self.publishers.entry((history, *publisher)).or_default();
                if *incarnation <= known.incarnation {
                    return Err(format!("{publisher:?} opens {incarnation} after {}", known.incarnation));
                }
                (known.incarnation, known.expired) = (*incarnation, false);
                Ok(())
            }
            EntryKind::SessionExpire { publisher, incarnation } => {
                let known = self.publishers.entry((history, *publisher)).or_default();
                if *incarnation != known.incarnation || known.expired {
                    return Err(format!("{publisher:?}'s session {incarnation} expires after {known:?}"));
                }
                (known.last, known.expired) = (0, true);
                Ok(())
            }
            EntryKind::Batch(batch) => {
                let header = &batch.header;
                let known = self.publishers.entry((history, header.publisher)).or_default();
                let open = header.incarnation == known.incarnation && !known.expired;
                if !open || header.first_sequence != known.last + 1 {
                    return Err(format!(
                        "{:?} has {}..={} of incarnation {} committed after {} of incarnation {}",
                        header.publisher,
                        header.first_sequence,
                        header.last_sequence(),
                        header.incarnation,
                        known.last,
                        known.incarnation
                    ));
                }
                known.last = header.last_sequence();
                Ok(())
            }
        }
    }
}

impl Check for ExactlyOnceInLog {
    fn name(&self) -> &'static str {
        "ExactlyOnceInLog"
    }

    fn hears(&self) -> &'static [Kind] {
        &[Kind::Committed]
    }

    fn check(&mut self, ledger: &Ledger, fact: &Fact<'_>) -> Result<(), String> {
        let Fact::Committed { history, .. } = fact else { return Ok(()) };
        let log = &ledger.committed(*history).log;
        let read = self.read.insert(*history, log.end()).unwrap_or(0);
        log.from(read).iter().try_for_each(|held| self.entry(*history, &held.entry.kind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::*;

    fn story(drafts: &[Draft], commit: Offset) -> Story<ExactlyOnceInLog> {
        let mut story = Story::new(ExactlyOnceInLog::default());
        story.append("a", drafts).commit("a", commit);
        story
    }

    #[test]
    fn contiguous_records_are_accepted() {
        let log = [
            session(1, 1),
            batch(1, 1, 2),
            start(2),
            batch(2, 3, 1),
            session(2, 2),
            batch_on("u", 2, 2, 4, 1),
        ];
        story(&log, 7).accepted();
    }

    #[test]
    fn a_repeated_record_is_rejected_once_it_is_committed() {
        let mut story = story(&[session(1, 1), batch(1, 1, 2), batch(1, 2, 1)], 3);
        story.accepted();
        story.commit("a", 4).rejected("2..=2 of incarnation 1 committed after 2");
    }

    #[test]
    fn numbers_begin_anew_after_an_expiry_only() {
        let log = [session(1, 1), batch(1, 1, 2), expire(1, 1), session(1, 5), batch_on("t", 1, 5, 1, 2)];
        story(&log, 7).accepted();
        story(&[session(1, 1), batch(1, 1, 2), session(1, 4), batch_on("t", 1, 4, 1, 1)], 5)
            .rejected("1..=1");
    }

    #[test]
    fn a_record_of_an_expired_session_is_rejected() {
        story(&[session(1, 1), batch(1, 1, 2), expire(1, 1), batch(1, 3, 1)], 5).rejected("3..=3");
        story(&[session(1, 1), expire(1, 1), session(1, 1)], 3).rejected("opens 1 after 1");
        story(&[session(1, 1), session(1, 2), expire(1, 1)], 3).rejected("expires after");
    }

    #[test]
    fn a_hole_is_rejected() {
        story(&[session(1, 1), batch(1, 1, 2), batch(1, 4, 1)], 4).rejected("4..=4");
    }

    #[test]
    fn a_straddling_batch_is_rejected() {
        story(&[session(1, 1), batch(1, 1, 2), batch(1, 2, 2)], 5).rejected("2..=3");
    }

    #[test]
    fn records_without_a_session_are_rejected() {
        story(&[batch(1, 1, 1)], 1).rejected("of incarnation 0");
    }

    #[test]
    fn a_record_of_an_incarnation_that_was_fenced_is_rejected() {
        story(&[session(1, 1), session(1, 2), batch_on("t", 1, 1, 1, 1)], 3).rejected("incarnation 2");
    }

    #[test]
    fn a_session_that_goes_back_is_rejected() {
        story(&[session(1, 2), session(1, 1)], 2).rejected("opens 1 after 2");
    }
}
