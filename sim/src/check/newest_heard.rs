//! NewestHeard (R32): a primary lets no process attach that a later one of the same node has followed, by the
//! live nodes that it knows.

use super::{Check, Fact, Kind, Ledger};

/// The property.
#[derive(Clone, Debug)]
pub struct NewestHeard;

impl Check for NewestHeard {
    fn name(&self) -> &'static str {
        "NewestHeard"
    }

    fn hears(&self) -> &'static [Kind] {
        &[Kind::Attached]
    }

    fn check(&mut self, _: &Ledger, fact: &Fact<'_>) -> Result<(), String> {
        let Fact::Attached { process, member, live } = fact else { return Ok(()) };
        let of_node = live.iter().filter(|(id, _)| id.member.node == member.node);
        match of_node.max_by_key(|(_, made)| *made) {
            Some((latest, _)) if latest.member != **member => {
                Err(format!("{process:?} lets {member:?} attach, which {latest:?} has followed"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::*;
    use steadfast_core::id::{Generation, Member};

    /// Storage 1 of `b` is live since transaction 5, storage 2 since transaction 7.
    fn attaches(generation: u128) -> Story<NewestHeard> {
        let (mut earlier, mut later) = (process("b"), process("b"));
        earlier.member.generation = Generation(1);
        later.member.generation = Generation(2);
        let live = [(earlier, 5), (later, 7), (process("c"), 9)];
        let member = Member { generation: Generation(generation), ..member("b") };
        let mut story = Story::new(NewestHeard);
        story.tell(&Fact::Attached { process: &process("a"), member: &member, live: &live });
        story
    }

    #[test]
    fn the_latest_process_of_a_node_may_attach() {
        attaches(2).accepted();
    }

    #[test]
    fn the_one_before_may_not() {
        attaches(1).rejected("has followed");
    }
}
