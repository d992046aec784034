//! DeadSession (R29): when all is calm, the session is over of every publisher that the primary has not heard
//! of for much longer than a session's term.

use super::{Check, Fact, Kind, Ledger};
use std::collections::BTreeMap;
use std::time::Duration;
use steadfast_core::id::{Epoch, PublisherId};

/// After its term a session is noticed to be over within this time, and that is committed.
const SLACK: Duration = Duration::from_secs(1);

/// The property.
#[derive(Clone, Debug)]
pub struct DeadSession {
    term: Duration,
    /// When each publisher was last heard of, in nanoseconds of the world's time.
    heard: BTreeMap<PublisherId, u64>,
    /// The latest epoch in which a primary spoke, when it began to, and when it last did.
    reign: (Epoch, u64, u64),
}

impl DeadSession {
    /// A session is over when its publisher was not heard of for so long.
    pub const fn after(term: Duration) -> Self {
        Self { term, heard: BTreeMap::new(), reign: (0, 0, 0) }
    }

    fn settled(&self, ledger: &Ledger) -> Result<(), String> {
        let Some(state) = ledger.states().last() else { return Ok(()) };
        let (_, since, now) = self.reign;
        for publisher in ledger.committed(state.history).publishers() {
            let heard = self.heard.get(&publisher).copied().unwrap_or(0).max(since);
            let quiet = Duration::from_nanos(now.saturating_sub(heard));
            if quiet > self.term * 2 + SLACK {
                return Err(format!(
                    "nothing was heard of {publisher:?} for {quiet:?}, and its session stands"
                ));
            }
        }
        Ok(())
    }
}

impl Check for DeadSession {
    fn name(&self) -> &'static str {
        "DeadSession"
    }

    fn hears(&self) -> &'static [Kind] {
        &[Kind::SessionHeard, Kind::Settled, Kind::Spoke]
    }

    fn check(&mut self, ledger: &Ledger, fact: &Fact<'_>) -> Result<(), String> {
        match *fact {
            Fact::SessionHeard { publisher, at, .. } => {
                self.heard.insert(publisher, at);
            }
            Fact::Spoke { epoch, at, .. } => match self.reign {
                (known, since, _) if known == epoch => self.reign = (epoch, since, at),
                (known, ..) if known < epoch => self.reign = (epoch, at, at),
                _ => {}
            },
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

    const SECOND: u64 = 1_000_000_000;

    /// A primary that has been in office since the first second and speaks last in the tenth.
    fn settled(drafts: &[Draft], heard: u64) -> Story<DeadSession> {
        let mut story = Story::new(DeadSession::after(Duration::from_secs(2)));
        let process = process("a");
        story.append("a", drafts).state(1, Some("a"), &["a"]).commit("a", drafts.len() as u64);
        story.tell(&Fact::SessionHeard { process: &process, publisher: PUBLISHER, at: heard * SECOND });
        for at in [1, 10] {
            story.tell(&Fact::Spoke {
                process: &process,
                epoch: 1,
                at: at * SECOND,
                since: 0,
                answers: true,
            });
        }
        story.tell(&Fact::Settled);
        story
    }

    #[test]
    fn a_publisher_that_was_heard_of_has_its_session() {
        settled(&[start(1), session(1, 1)], 9).accepted();
    }

    #[test]
    fn one_that_is_gone_has_none() {
        settled(&[start(1), session(1, 1), expire(1, 1)], 2).accepted();
        settled(&[start(1), session(1, 1)], 2).rejected("its session stands");
    }
}
