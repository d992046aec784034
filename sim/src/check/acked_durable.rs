//! AckedDurable: what a publisher was told is committed is committed, and there exactly once.
//! (That every in-sync member holds what is committed is CandidateComplete's to say.)

use super::records::Table;
use super::{Check, Fact, Kind, Ledger};
use crate::render::Payload;
use smallvec::SmallVec;
use std::collections::BTreeMap;
use steadfast_core::id::Offset;
use steadfast_core::message::History;

/// The property.
#[derive(Clone, Debug, Default)]
pub struct AckedDurable {
    /// Where each record was committed, in any lineage: nearly always once.
    committed: Table<SmallVec<[(History, Offset); 1]>>,
    /// Up to where that is known.
    read: BTreeMap<History, Offset>,
}

impl AckedDurable {
    fn read(&mut self, ledger: &Ledger) -> Result<(), String> {
        for (history, committed) in ledger.histories() {
            let read = self.read.entry(history).or_default();
            for held in committed.log.from(*read) {
                for (offset, record) in (held.entry.offset..).zip(held.records()?) {
                    self.committed.of_mut(*record).push((history, offset));
                }
            }
            *read = committed.log.end();
        }
        Ok(())
    }
}

impl Check for AckedDurable {
    fn name(&self) -> &'static str {
        "AckedDurable"
    }

    fn hears(&self) -> &'static [Kind] {
        &[Kind::AckSent, Kind::Acknowledged, Kind::Committed]
    }

    fn check(&mut self, ledger: &Ledger, fact: &Fact<'_>) -> Result<(), String> {
        match fact {
            Fact::Committed { .. } => self.read(ledger),
            Fact::AckSent { history, publisher, incarnation, last_sequence, .. } => {
                // A primary of long ago may say what is true of a session that has expired since.
                let committed = ledger.committed(*history).reached(*publisher, *incarnation);
                if committed >= *last_sequence {
                    return Ok(());
                }
                Err(format!("{publisher:?} was told that {last_sequence} is committed, {committed} is"))
            }
            Fact::Acknowledged { publisher, payload } => {
                let places = ledger.named().first().and_then(|record| self.committed.of(*record));
                let places = places.map_or(&[][..], SmallVec::as_slice);
                let lineages: Vec<_> = places.iter().map(|(history, _)| history).collect();
                let once = lineages.windows(2).all(|pair| pair[0] != pair[1]);
                if !places.is_empty() && once {
                    return Ok(());
                }
                Err(format!(
                    "the acknowledged record {:?} of {publisher:?} is committed at {places:?}",
                    Payload(payload)
                ))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::*;

    fn acknowledged(story: &mut Story<AckedDurable>, sequence: u64) {
        story.tell(&Fact::Acknowledged { publisher: PUBLISHER, payload: &payload(sequence) });
    }

    fn ack_sent(story: &mut Story<AckedDurable>, last_sequence: u64) {
        story.tell(&Fact::AckSent {
            process: &process("a"),
            history: HISTORY,
            epoch: 1,
            publisher: PUBLISHER,
            incarnation: 1,
            last_sequence,
        });
    }

    fn one_batch() -> Story<AckedDurable> {
        let mut story = Story::new(AckedDurable::default());
        story.append("a", &[start(1), batch(1, 1, 2), batch(1, 3, 1)]).commit("a", 3);
        story
    }

    #[test]
    fn acknowledgements_of_committed_records_are_accepted() {
        let mut story = one_batch();
        ack_sent(&mut story, 2);
        acknowledged(&mut story, 1);
        acknowledged(&mut story, 2);
        story.accepted();
    }

    #[test]
    fn an_ack_of_a_record_that_is_only_appended_is_rejected() {
        let mut story = one_batch();
        ack_sent(&mut story, 3);
        story.rejected("told that 3 is committed, 2 is");
    }

    #[test]
    fn an_ack_of_a_session_that_has_expired_since_is_accepted() {
        let mut story = one_batch();
        story
            .truncate("a", 3)
            .append("a", &[expire(1, 1), session(1, 2), batch_on("t", 1, 2, 1, 1)])
            .commit("a", 6);
        ack_sent(&mut story, 2);
        story.accepted();
        ack_sent(&mut story, 3);
        story.rejected("told that 3 is committed, 2 is");
    }

    #[test]
    fn a_receipt_for_a_record_that_is_only_appended_is_rejected() {
        let mut story = one_batch();
        acknowledged(&mut story, 3);
        story.rejected("is committed at []");
    }

    #[test]
    fn a_receipt_for_a_record_that_is_there_twice_is_rejected() {
        let mut story = one_batch();
        story.append("a", &[batch(1, 1, 2)]).commit("a", 6);
        acknowledged(&mut story, 1);
        story.rejected("is committed at [");
    }
}
