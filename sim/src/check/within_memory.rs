//! WithinMemory (R36): a primary takes no batch while its log is full, or too much of it waits for in-sync
//! members; and no broker takes what it has cut for something that waits.

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
        &[Kind::Accepted, Kind::Weighed]
    }

    fn check(&mut self, _: &Ledger, fact: &Fact<'_>) -> Result<(), String> {
        if let Fact::Weighed { process, uncommitted, is } = *fact
            && uncommitted != is
        {
            return Err(format!("{process:?} reckons with {uncommitted} bytes not committed: it holds {is}"));
        }
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
    fn what_is_cut_weighs_nothing() {
        let weighed = |is| {
            let mut story = Story::new(WithinMemory::of(100, 50));
            story.tell(&Fact::Weighed { process: &process("a"), uncommitted: 5, is });
            story
        };
        weighed(5).accepted();
        weighed(4).rejected("5 bytes not committed: it holds 4");
    }

    #[test]
    fn a_full_one_does_not() {
        accepts((100, 49)).rejected("on top of 100");
        accepts((99, 50)).rejected("50 of them");
    }
}
