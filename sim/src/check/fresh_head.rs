//! FreshHead (R19): the head that a client is told lies at or above everything that was committed
//! when it asked, and the primary has proved it by a linearizable round that began since.

use super::{Check, ClientId, Fact, Kind, Ledger};
use std::collections::BTreeMap;
use steadfast_core::id::Offset;
use steadfast_core::message::History;

/// The property.
#[derive(Clone, Debug, Default)]
pub struct FreshHead {
    /// What was committed when each client asked last.
    asked: BTreeMap<ClientId, BTreeMap<History, Offset>>,
}

impl Check for FreshHead {
    fn name(&self) -> &'static str {
        "FreshHead"
    }

    fn hears(&self) -> &'static [Kind] {
        &[Kind::AnsweredHead, Kind::ClientStarted, Kind::HeadAsked, Kind::HeadTold]
    }

    fn check(&mut self, ledger: &Ledger, fact: &Fact<'_>) -> Result<(), String> {
        match fact {
            Fact::HeadAsked { client } => {
                let ends = ledger.histories().map(|(history, committed)| (history, committed.log.end()));
                self.asked.insert(*client, ends.collect());
                Ok(())
            }
            Fact::ClientStarted { client } => {
                self.asked.remove(client);
                Ok(())
            }
            Fact::AnsweredHead { process, asked, read } if *read < Some(*asked) => Err(format!(
                "{process:?} answers a read of the head of {asked} ns by what it has read of the tree at {read:?} ns"
            )),
            Fact::HeadTold { client, history, head } => {
                let Some(asked) = self.asked.get(client) else {
                    return Err(format!("client {client} was told a head and has not asked"));
                };
                let least = asked.get(history).copied().unwrap_or(0);
                let newest = asked.keys().map(|history| history.lineage).max().unwrap_or(0);
                if *head >= least && history.lineage >= newest {
                    return Ok(());
                }
                Err(format!("client {client} was told {head} of {history:?}; it asked when {asked:?} was"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::*;

    fn story() -> Story<FreshHead> {
        let mut story = Story::new(FreshHead::default());
        story.append("a", &[start(1), batch(1, 1, 2)]).commit("a", 3);
        story.tell(&Fact::HeadAsked { client: 1 });
        story.append("a", &[batch(1, 3, 1)]).commit("a", 4);
        story
    }

    fn told(story: &mut Story<FreshHead>, client: ClientId, head: Offset) {
        story.tell(&Fact::HeadTold { client, history: HISTORY, head });
    }

    #[test]
    fn what_was_committed_at_the_question_or_later_is_accepted() {
        for head in [3, 4] {
            let mut story = story();
            told(&mut story, 1, head);
            story.accepted();
        }
    }

    #[test]
    fn a_head_below_what_was_committed_is_rejected() {
        let mut story = story();
        told(&mut story, 1, 2);
        story.rejected("was told 2");
    }

    #[test]
    fn a_head_of_a_lineage_that_was_over_is_rejected() {
        let mut story = Story::new(FreshHead::default());
        story.append("a", &[start(1)]).commit("a", 1);
        story.tell(&Fact::HeadAsked { client: 1 });
        let history = History { lineage: 0, ..HISTORY };
        story.tell(&Fact::HeadTold { client: 1, history, head: 9 });
        story.rejected("it asked when");
    }

    #[test]
    fn what_was_read_before_the_question_proves_nothing() {
        let answered = |read| {
            let mut story = story();
            story.tell(&Fact::AnsweredHead { process: &process("a"), asked: 7, read });
            story
        };
        answered(Some(7)).accepted();
        answered(Some(6)).rejected("by what it has read");
        answered(None).rejected("by what it has read");
    }

    #[test]
    fn an_answer_without_a_question_is_rejected() {
        let mut story = story();
        told(&mut story, 2, 4);
        story.rejected("has not asked");
    }
}
