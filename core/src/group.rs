//! A group's state in the coordination tree, and the only ways in which it may change. Every change
//! is one conditional write at the version just read (R1); the functions here build what to write.

use crate::id::{Address, Epoch, GroupId, Incarnation, Member, Nonce};
use crate::message::History;
use alloc::vec::Vec;

/// The process that acts as primary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrimaryId {
    /// The node and its storage.
    pub member: Member,
    /// The process: only it acts in the epoch (R3).
    pub incarnation: Incarnation,
}

/// What the coordination tree holds of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupState {
    /// The group's log.
    pub history: History,
    /// +1 with every change of primary.
    pub epoch: Epoch,
    /// +1 with every write.
    pub config: u64,
    /// `None` at the beginning and after a loss.
    pub primary: Option<PrimaryId>,
    /// The members that hold every committed record. Empty only after a loss.
    pub in_sync: Vec<Member>,
    /// Commits need this many in-sync members.
    pub min_in_sync: u32,
    /// New with every write: tells one's own write from another's.
    pub nonce: Nonce,
    /// Epoch at which data was last given up; 0 before any loss.
    pub lost_epoch: Epoch,
}

/// What a broker says of itself in the coordination tree, once per session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveNode {
    /// The process.
    pub id: PrimaryId,
    /// Where it listens.
    pub address: Address,
}

/// Why a group's state may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// A member becomes primary (R2), or any broker where nobody holds data (R26, R27).
    Promote,
    /// The primary drops a member that does not keep up (R12).
    Shrink,
    /// The primary takes a member in (R13).
    Expand,
    /// The last member leaves and gives its data up (R27a).
    GiveUp,
    /// Every member's data is gone (R27b).
    Reset,
}

/// Why an operator may not give a group's data up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unforced {
    /// This process holds the data and is alive: it can lead.
    HolderAlive(LiveNode),
    /// Nobody holds any data: any broker can begin anew.
    NothingHeld,
}

impl GroupState {
    /// A new group: the first registered broker may promote itself (R26).
    pub fn bootstrap(group_id: GroupId, first: Member, min_in_sync: u32, nonce: Nonce) -> Self {
        Self {
            history: History { group_id, lineage: 1 },
            epoch: 0,
            config: 0,
            primary: None,
            in_sync: alloc::vec![first],
            min_in_sync,
            nonce,
            lost_epoch: 0,
        }
    }

    /// Whether this process is the primary of this epoch (R3).
    pub fn is_led_by(&self, id: &PrimaryId) -> bool {
        self.primary.as_ref() == Some(id)
    }

    /// Whether the member holds every committed record. Where nobody holds anything, everybody does.
    pub fn may_lead(&self, member: &Member) -> bool {
        self.in_sync.is_empty() || self.in_sync.contains(member)
    }

    /// R2: the candidate becomes primary; one write both elects it and removes the one before.
    pub fn promote(&self, candidate: &PrimaryId, nonce: Nonce) -> Self {
        let deposed = self.primary.as_ref().map(|primary| &primary.member);
        let mut in_sync: Vec<_> =
            self.in_sync.iter().filter(|member| Some(*member) != deposed).cloned().collect();
        if !in_sync.contains(&candidate.member) {
            in_sync.push(candidate.member.clone());
        }
        Self { epoch: self.epoch + 1, primary: Some(candidate.clone()), in_sync, ..self.next(nonce) }
    }

    /// R12: the primary drops a member.
    pub fn shrink(&self, member: &Member, nonce: Nonce) -> Self {
        let mut next = self.next(nonce);
        next.in_sync.retain(|other| other != member);
        next
    }

    /// R13: the primary takes a member in.
    pub fn expand(&self, member: &Member, nonce: Nonce) -> Self {
        let mut next = self.next(nonce);
        next.in_sync.push(member.clone());
        next
    }

    /// R27: the data is given up; any broker may begin anew.
    pub fn give_up(&self, nonce: Nonce) -> Self {
        let history = History { lineage: self.history.lineage + 1, ..self.history };
        Self {
            history,
            epoch: self.epoch + 1,
            primary: None,
            in_sync: Vec::new(),
            lost_epoch: self.epoch,
            ..self.next(nonce)
        }
    }

    /// R24, R27c: an operator gives the data up, which is allowed only where nobody that holds it is
    /// alive, as far as the live nodes tell.
    ///
    /// # Errors
    /// When somebody alive holds the data, or there is none to give up.
    pub fn force<'a>(
        &self,
        live: impl IntoIterator<Item = &'a LiveNode>,
        nonce: Nonce,
    ) -> Result<Self, Unforced> {
        if self.in_sync.is_empty() {
            return Err(Unforced::NothingHeld);
        }
        match live.into_iter().find(|live| self.in_sync.contains(&live.id.member)) {
            Some(holder) => Err(Unforced::HolderAlive(holder.clone())),
            None => Ok(self.give_up(nonce)),
        }
    }

    fn next(&self, nonce: Nonce) -> Self {
        Self { config: self.config + 1, nonce, ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Generation, NodeName};

    fn live(name: &str, generation: u128) -> LiveNode {
        let node = NodeName::new(name).expect("a name");
        let member = Member { node, generation: Generation(generation) };
        let address = Address::new("tcp://a:1").expect("an address");
        LiveNode { id: PrimaryId { member, incarnation: Incarnation(generation) }, address }
    }

    fn led_by(name: &str) -> GroupState {
        let id = live(name, 1).id;
        GroupState::bootstrap(GroupId(7), id.member.clone(), 1, Nonce(1)).promote(&id, Nonce(2))
    }

    #[test]
    fn data_that_somebody_alive_holds_is_not_given_up() {
        let state = led_by("a");
        let (holder, other) = (live("a", 1), live("b", 2));
        let refused = state.force([&other, &holder], Nonce(3));
        assert_eq!(refused, Err(Unforced::HolderAlive(holder)));
    }

    #[test]
    fn data_that_nobody_alive_holds_is_given_up_in_a_new_lineage() {
        let state = led_by("a");
        // The same node with another storage holds nothing.
        let forced = state.force([&live("a", 2), &live("b", 2)], Nonce(3)).expect("nobody holds the data");
        assert_eq!(forced, state.give_up(Nonce(3)));
        assert_eq!((forced.history.lineage, forced.epoch, forced.lost_epoch), (2, 2, 1));
        assert!(forced.primary.is_none() && forced.in_sync.is_empty());
    }

    #[test]
    fn what_was_given_up_is_not_given_up_again() {
        let state = led_by("a").give_up(Nonce(3));
        assert_eq!(state.force([], Nonce(4)), Err(Unforced::NothingHeld));
    }
}
