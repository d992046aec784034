//! SessionFold: what a replica has folded from its log is the fold of the whole history, whatever was
//! trimmed, cut or installed: the sessions of the committed prefix and of the whole log, and the heads of
//! topics.

use super::{Check, Fact, Kind, Ledger};
use std::collections::BTreeMap;
use steadfast_core::broker::sessions::SessionTable;
use steadfast_core::broker::topics::Topics;
use steadfast_core::filter::Topic;
use steadfast_core::id::{Member, Nonce, Offset, PublisherId, Sequence};
use steadfast_core::limits::MAX_TOPICS;
use steadfast_core::log::{Entry, EntryKind};
use steadfast_core::message::History;

/// The fold as it should be, made independently of the brokers'.
#[derive(Clone, Debug, Default)]
struct Fold {
    upto: Offset,
    sessions: BTreeMap<PublisherId, (u64, Nonce, Sequence)>,
    /// End and number of records.
    topics: BTreeMap<Topic, (Offset, u64)>,
}

impl Fold {
    fn apply(&mut self, entry: &Entry) {
        self.upto = entry.end();
        match &entry.kind {
            EntryKind::EpochStart | EntryKind::Trim { .. } => {}
            EntryKind::SessionOpen { publisher, incarnation, nonce } => {
                let last = self.sessions.get(publisher).map_or(0, |(_, _, last)| *last);
                self.sessions.insert(*publisher, (*incarnation, *nonce, last));
            }
            EntryKind::SessionExpire { publisher, .. } => {
                self.sessions.remove(publisher);
            }
            EntryKind::Batch(batch) => {
                let header = &batch.header;
                if let Some((_, _, last)) = self.sessions.get_mut(&header.publisher) {
                    *last = header.last_sequence();
                }
                let (end, records) = self.topics.entry(header.topic.clone()).or_default();
                (*end, *records) = (entry.end(), *records + entry.count());
                if self.topics.len() > MAX_TOPICS {
                    let oldest = self.topics.iter().min_by_key(|(_, (end, _))| *end);
                    let oldest = oldest.map(|(topic, _)| topic.clone());
                    oldest.and_then(|oldest| self.topics.remove(&oldest));
                }
            }
        }
    }

    fn has_sessions(&self, table: &SessionTable) -> bool {
        let told = table.iter().map(|(id, one)| (*id, (one.incarnation, one.nonce, one.last_sequence)));
        told.eq(self.sessions.iter().map(|(id, session)| (*id, *session)))
    }

    fn has_topics(&self, topics: &Topics) -> bool {
        let told = topics.iter().map(|(topic, head)| (topic, (head.end, head.records)));
        told.eq(self.topics.iter().map(|(topic, head)| (topic, *head)))
    }
}

/// The property.
#[derive(Clone, Debug, Default)]
pub struct SessionFold {
    /// The fold of what each member has committed.
    folds: BTreeMap<(Member, History), Fold>,
}

impl Check for SessionFold {
    fn name(&self) -> &'static str {
        "SessionFold"
    }

    fn hears(&self) -> &'static [Kind] {
        &[Kind::Folded]
    }

    fn check(&mut self, ledger: &Ledger, fact: &Fact<'_>) -> Result<(), String> {
        let Fact::Folded { member, history, commit, base, overlay, topics } = fact else { return Ok(()) };
        let fold = self.folds.entry(((*member).clone(), *history)).or_default();
        let committed = ledger.committed(*history).log.from(fold.upto).iter();
        committed.take_while(|held| held.entry.end() <= *commit).for_each(|held| fold.apply(&held.entry));
        let mut whole = Fold { upto: fold.upto, sessions: fold.sessions.clone(), topics: BTreeMap::new() };
        if let Some(replica) = ledger.replica(member).filter(|replica| replica.history == *history) {
            replica.log.from(*commit).iter().for_each(|held| whole.apply(&held.entry));
        }
        let wrong = match () {
            () if !fold.has_sessions(base) => format!("committed sessions {base:?}, not {:?}", fold.sessions),
            () if !whole.has_sessions(overlay) => format!("sessions {overlay:?}, not {:?}", whole.sessions),
            () if !fold.has_topics(topics) => format!("topics {topics:?}, not {:?}", fold.topics),
            () => return Ok(()),
        };
        Err(format!("{member:?} with {commit} of {} committed has {wrong}", whole.upto))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::*;
    use steadfast_core::broker::replica::Replica;
    use steadfast_core::node::Outbox;

    fn log() -> Vec<Draft> {
        vec![start(1), session(1, 1), batch(1, 1, 2), trim(1, 2), batch_on("u", 1, 1, 3, 1)]
    }

    /// A real replica that holds some of these entries and has committed some of those.
    fn replica(drafts: &[Draft], commit: Offset) -> Replica {
        let (mut replica, mut out) = (Replica::default(), Outbox::<()>::default());
        for (epoch, kind) in drafts {
            let offset = replica.log().end();
            let entry = Entry { offset, epoch: *epoch, kind: kind.clone() };
            assert!(replica.append(vec![entry], &mut out));
        }
        replica.advance_commit(commit, &mut out);
        replica
    }

    /// What `replica` has folded, told of a member that holds the whole log.
    fn story(commit: Offset, replica: &Replica) -> Story<SessionFold> {
        let mut story = Story::new(SessionFold::default());
        story.append("a", &log()).commit("a", commit);
        story.tell(&Fact::Folded {
            member: &member("a"),
            history: HISTORY,
            commit,
            base: replica.sessions().base(),
            overlay: replica.sessions().overlay(),
            topics: replica.topics(),
        });
        story
    }

    #[test]
    fn a_replica_that_trims_has_the_fold_of_the_whole_history() {
        let whole = replica(&log(), 6);
        assert_eq!(whole.log().start(), 2, "the session's entry is gone");
        story(6, &whole).accepted();
        story(4, &replica(&log(), 4)).accepted();
    }

    #[test]
    fn a_committed_session_that_lags_is_rejected() {
        story(6, &replica(&log(), 2)).rejected("has committed sessions");
    }

    #[test]
    fn a_session_that_does_not_know_the_tail_is_rejected() {
        story(4, &replica(&log()[..3], 4)).rejected("has sessions");
    }

    #[test]
    fn a_head_that_is_missing_is_rejected() {
        let (whole, short) = (replica(&log(), 6), replica(&log()[..4], 4));
        let mut story = Story::new(SessionFold::default());
        story.append("a", &log()).commit("a", 6);
        story.tell(&Fact::Folded {
            member: &member("a"),
            history: HISTORY,
            commit: 6,
            base: whole.sessions().base(),
            overlay: whole.sessions().overlay(),
            topics: short.topics(),
        });
        story.rejected("has topics");
    }
}
