//! SleepersAsk (R29): a publisher that was not running, and has nothing in flight, asks for its session before it sends
//! anything: it may be over, and then what is sent is unknown for no reason.

use super::{Check, Fact, Kind, Ledger};

/// The property.
#[derive(Clone, Debug)]
pub struct SleepersAsk;

impl Check for SleepersAsk {
    fn name(&self) -> &'static str {
        "SleepersAsk"
    }

    fn hears(&self) -> &'static [Kind] {
        &[Kind::SentAfterSleep]
    }

    fn check(&mut self, _: &Ledger, fact: &Fact<'_>) -> Result<(), String> {
        match *fact {
            Fact::SentAfterSleep { client, asked: false } => {
                Err(format!("publisher {client} was not running, and sends before it asks for its session"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::*;

    fn woke(asked: bool) -> Story<SleepersAsk> {
        let mut story = Story::new(SleepersAsk);
        story.tell(&Fact::SentAfterSleep { client: 1, asked });
        story
    }

    #[test]
    fn who_asks_first_is_accepted() {
        woke(true).accepted();
    }

    #[test]
    fn who_sends_first_is_rejected() {
        woke(false).rejected("before it asks");
    }
}
