//! LeadsByRight: a replica of discovery leads whose candidate its own present session owns, and before which
//! nobody stands, by the list that it has read. What it does as a leader fails once another one has led. A group begins
//! with the broker that has registered first (R26).

use super::election::{Accession, Creation};
use super::{Check, Fact, Kind, Ledger};

/// The property.
#[derive(Clone, Debug)]
pub struct LeadsByRight;

impl Check for LeadsByRight {
    fn name(&self) -> &'static str {
        "LeadsByRight"
    }

    fn hears(&self) -> &'static [Kind] {
        &[Kind::CountsReigns, Kind::CreatesGroup, Kind::LeadsAlone, Kind::LeadsDiscovery]
    }

    fn check(&mut self, _: &Ledger, fact: &Fact<'_>) -> Result<(), String> {
        match *fact {
            Fact::CreatesGroup(Creation { replica, guarded: false, .. }) => {
                Err(format!("replica {replica} creates the group whoever leads"))
            }
            Fact::CreatesGroup(Creation { replica, present: false, .. }) => {
                Err(format!("replica {replica} creates the group for a broker that may be gone"))
            }
            Fact::CreatesGroup(Creation { replica, first: false, .. }) => {
                Err(format!("replica {replica} creates the group for a broker that was not the first"))
            }
            Fact::CountsReigns { replica, guarded: false } => {
                Err(format!("replica {replica} raises the epoch whoever has done so"))
            }
            Fact::LeadsAlone { replica } => Err(format!("replica {replica} leads and has no session")),
            Fact::LeadsDiscovery(accession) => by_right(accession),
            _ => Ok(()),
        }
    }
}

/// Whether a replica may lead from now on.
fn by_right(accession: Accession<'_>) -> Result<(), String> {
    let Accession { replica, own, before, owner, session } = accession;
    match own {
        None => Err(format!("replica {replica} leads and does not stand")),
        Some(own) if before > 0 => Err(format!("replica {replica} leads as {own}, behind {before}")),
        Some(own) if owner.is_none() || owner != session => {
            Err(format!("replica {replica} leads as {own}, which is {owner:?}'s and not {session:?}'s"))
        }
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::*;

    fn leads(own: Option<&str>, before: usize, owner: Option<u64>) -> Story<LeadsByRight> {
        let mut story = Story::new(LeadsByRight);
        story.tell(&Fact::LeadsDiscovery(Accession { replica: 1, own, before, owner, session: Some(5) }));
        story
    }

    #[test]
    fn the_first_candidate_leads() {
        leads(Some("a-n_1"), 0, Some(5)).accepted();
    }

    #[test]
    fn a_leader_acts_under_guard() {
        let mut story = Story::new(LeadsByRight);
        let creates =
            |guarded, present, first| Fact::CreatesGroup(Creation { replica: 1, guarded, present, first });
        story.tell(&creates(true, true, true)).accepted();
        story.tell(&creates(false, true, true)).rejected("whoever leads");
        Story::new(LeadsByRight).tell(&creates(true, false, true)).rejected("may be gone");
        Story::new(LeadsByRight).tell(&creates(true, true, false)).rejected("was not the first");
    }

    #[test]
    fn a_leader_has_raised_the_epoch_and_has_a_session() {
        let mut story = Story::new(LeadsByRight);
        story.tell(&Fact::CountsReigns { replica: 1, guarded: true }).accepted();
        story.tell(&Fact::CountsReigns { replica: 1, guarded: false }).rejected("whoever has done so");
        Story::new(LeadsByRight).tell(&Fact::LeadsAlone { replica: 1 }).rejected("no session");
    }

    #[test]
    fn nobody_else_does() {
        leads(None, 0, None).rejected("does not stand");
        leads(Some("a-n_1"), 1, Some(5)).rejected("behind 1");
        leads(Some("a-n_1"), 0, Some(4)).rejected("Some(4)'s");
        leads(Some("a-n_1"), 0, None).rejected("None's");
    }
}
