//! LiveSession (R29): the session of a publisher that a primary has heard of within the term does not
//! expire; nor any session before the primary itself has been serving for the term, and not been silent (R20).

use super::{Check, Fact, Kind, Ledger};
use std::collections::BTreeMap;
use std::time::Duration;
use steadfast_core::id::{Incarnation, PublisherId};

/// The property.
#[derive(Clone, Debug)]
pub struct LiveSession {
    /// A session lives for so long at least after its publisher was heard of.
    term: Duration,
    /// When each process last heard of each publisher, in nanoseconds of the world's time.
    heard: BTreeMap<(Incarnation, PublisherId), u64>,
}

impl LiveSession {
    /// A session lives for so long at least after its publisher was heard of.
    pub const fn for_at_least(term: Duration) -> Self {
        Self { term, heard: BTreeMap::new() }
    }
}

impl Check for LiveSession {
    fn name(&self) -> &'static str {
        "LiveSession"
    }

    fn hears(&self) -> &'static [Kind] {
        &[Kind::ClockJumped, Kind::SessionExpired, Kind::SessionHeard]
    }

    fn check(&mut self, _: &Ledger, fact: &Fact<'_>) -> Result<(), String> {
        match *fact {
            Fact::SessionHeard { process, publisher, at } => {
                self.heard.insert((process.incarnation, publisher), at);
                Ok(())
            }
            // No two of its readings can be compared.
            Fact::ClockJumped(process) => {
                self.heard.retain(|(incarnation, _), _| *incarnation != process.incarnation);
                Ok(())
            }
            Fact::SessionExpired { process, publisher, at, since } => {
                let heard = self.heard.remove(&(process.incarnation, publisher)).max(since);
                match heard.filter(|heard| at < heard + self.term.as_nanos() as u64) {
                    None => Ok(()),
                    Some(heard) => Err(format!(
                        "{process:?} lets the session of {publisher:?} expire, of whom it could not hear or has heard {} ms ago",
                        (at - heard) / 1_000_000
                    )),
                }
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::*;

    const SECOND: u64 = 1_000_000_000;

    fn expires(story: &mut Story<LiveSession>, name: &str, at: u64, since: Option<u64>) {
        let (process, at, since) = (&process(name), at * SECOND, since.map(|since| since * SECOND));
        story.tell(&Fact::SessionExpired { process, publisher: PUBLISHER, at, since });
    }

    fn heard_and_expired(name: &str, at: u64) -> Story<LiveSession> {
        let mut story = Story::new(LiveSession::for_at_least(Duration::from_secs(3)));
        story.tell(&Fact::SessionHeard { process: &process("a"), publisher: PUBLISHER, at: SECOND });
        expires(&mut story, name, at, None);
        story
    }

    #[test]
    fn a_publisher_that_was_quiet_for_the_term_may_go() {
        heard_and_expired("a", 4).accepted();
    }

    #[test]
    fn a_publisher_that_was_heard_of_may_not() {
        heard_and_expired("a", 3).rejected("has heard 2000 ms ago");
    }

    #[test]
    fn after_a_jump_of_the_clock_nothing_is_known() {
        let mut story = Story::new(LiveSession::for_at_least(Duration::from_secs(3)));
        let process = process("a");
        story.tell(&Fact::SessionHeard { process: &process, publisher: PUBLISHER, at: SECOND });
        story.tell(&Fact::ClockJumped(&process));
        expires(&mut story, "a", 2, None);
        story.accepted();
    }

    #[test]
    fn a_primary_that_serves_only_now_lets_nobody_go() {
        let mut story = Story::new(LiveSession::for_at_least(Duration::from_secs(3)));
        expires(&mut story, "a", 9, Some(6));
        story.accepted();
        expires(&mut story, "a", 9, Some(7));
        story.rejected("has heard 2000 ms ago");
    }
}
