//! PubFencing: once a publisher's session has been continued by another one, no log takes a record of
//! the earlier session any more.

use super::{Check, Fact, Kind, Ledger};
use std::collections::BTreeMap;
use steadfast_core::id::{Member, Offset, PublisherId};
use steadfast_core::log::{Entry, EntryKind};

/// The property.
#[derive(Clone, Debug, Default)]
pub struct PubFencing {
    /// For each log, where each publisher's sessions were opened, and their numbers.
    opened: BTreeMap<Member, BTreeMap<PublisherId, Vec<(Offset, u64)>>>,
}

impl PubFencing {
    fn appended(&mut self, member: &Member, entry: &Entry) -> Result<(), String> {
        let opened = self.opened.entry(member.clone()).or_default();
        match &entry.kind {
            EntryKind::SessionOpen { publisher, incarnation, .. } => {
                opened.entry(*publisher).or_default().push((entry.offset, *incarnation));
            }
            EntryKind::Batch(batch) => {
                let (publisher, incarnation) = (batch.header.publisher, batch.header.incarnation);
                let latest = opened.get(&publisher).and_then(|sessions| sessions.last());
                if let Some((at, latest)) = latest.filter(|(_, latest)| *latest > incarnation) {
                    return Err(format!(
                        "{member:?} appends a record of {publisher:?}'s session {incarnation} at {}; session \
                         {latest} was opened at {at}",
                        entry.offset
                    ));
                }
            }
            EntryKind::EpochStart | EntryKind::SessionExpire { .. } | EntryKind::Trim { .. } => {}
        }
        Ok(())
    }

    fn cut(&mut self, member: &Member, end: Offset) {
        for sessions in self.opened.entry(member.clone()).or_default().values_mut() {
            sessions.retain(|(at, _)| *at < end);
        }
    }
}

impl Check for PubFencing {
    fn name(&self) -> &'static str {
        "PubFencing"
    }

    fn hears(&self) -> &'static [Kind] {
        &[Kind::Appended, Kind::Installed, Kind::StorageLost, Kind::Truncated, Kind::Wiped]
    }

    fn check(&mut self, _: &Ledger, fact: &Fact<'_>) -> Result<(), String> {
        match *fact {
            Fact::Appended { member, entry, .. } => return self.appended(member, entry),
            Fact::Truncated { member, to } => self.cut(member, to),
            Fact::Wiped(member) | Fact::StorageLost(member) => self.cut(member, 0),
            Fact::Installed { member, entries, .. } => {
                self.cut(member, 0);
                return entries.iter().try_for_each(|entry| self.appended(member, entry));
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

    fn story(drafts: &[Draft]) -> Story<PubFencing> {
        let mut story = Story::new(PubFencing::default());
        story.append("a", drafts);
        story
    }

    #[test]
    fn records_of_the_latest_session_are_accepted() {
        story(&[session(1, 1), batch(1, 1, 2), session(1, 4), batch_on("t", 1, 4, 3, 1)]).accepted();
    }

    #[test]
    fn a_record_of_a_session_that_was_continued_is_rejected_before_it_is_committed() {
        story(&[session(1, 1), session(1, 2), batch_on("t", 1, 1, 1, 1)])
            .rejected("session 2 was opened at 1");
    }

    #[test]
    fn a_session_that_was_cut_off_fences_nobody() {
        let mut story = story(&[session(1, 1), session(1, 2)]);
        story.truncate("a", 1).append("a", &[batch(2, 1, 1)]).accepted();
    }

    #[test]
    fn another_log_may_hold_what_this_one_does_not() {
        let mut story = story(&[session(1, 1), session(1, 2)]);
        story.append("b", &[session(1, 1), batch(1, 1, 1)]).accepted();
    }

    #[test]
    fn a_snapshot_brings_no_record_of_a_session_that_was_continued() {
        let story = story(&[session(1, 1), session(1, 2), batch_on("t", 1, 1, 1, 1)]);
        let entries = story.entries("a");
        story.rejected("session 2");
        let mut other = Story::new(PubFencing::default());
        let (member, history) = (member("b"), HISTORY);
        other.judge(&Fact::Installed { member: &member, history, start: 0, entries: &entries });
        other.rejected("session 2");
    }
}
