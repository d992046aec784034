//! WithinMemory (R36): a primary takes no batch while its log is full, or too much of it waits for in-sync
//! members.

use super::{Check, Fact, Kind, Ledger};

/// The property.
#[derive(Clone, Debug)]
pub struct WithinMemory {
    log: u64,
    uncommitted: u64,
}

impl WithinMemory {
    /// A log of so many bytes is full, and so many that are not committed are too much.
    pub const fn of(log: u64, uncommitted: u64) -> Self {
        Self { log, uncommitted }
    }
}

impl Check for WithinMemory {
    fn name(&self) -> &'static str {
        "WithinMemory"
    }

    fn hears(&self) -> &'static [Kind] {
        &[Kind::Accepted]
    }

    fn check(&mut self, _: &Ledger, fact: &Fact<'_>) -> Result<(), String> {
        let Fact::Accepted { process, held: (log, uncommitted) } = *fact else { return Ok(()) };
        match log < self.log && uncommitted < self.uncommitted {
            true => Ok(()),
            false => Err(format!(
                "{process:?} takes a batch on top of {log} bytes, {uncommitted} of them not committed"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::*;

    fn accepts(held: (u64, u64)) -> Story<WithinMemory> {
        let mut story = Story::new(WithinMemory::of(100, 50));
        story.tell(&Fact::Accepted { process: &process("a"), held });
        story
    }

    #[test]
    fn a_log_with_room_takes_batches() {
        accepts((99, 49)).accepted();
    }

    #[test]
    fn a_full_one_does_not() {
        accepts((100, 49)).rejected("on top of 100");
        accepts((99, 50)).rejected("50 of them");
    }
}
