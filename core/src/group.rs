//! A group's state in the coordination tree, and the only ways in which it may change. Every change
//! is one conditional write at the version just read (R1); the functions here build what to write.

use crate::id::{Address, Epoch, GroupId, Incarnation, Member, Nonce};
use crate::message::History;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// The process that acts as primary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrimaryId {
    /// The node and its storage.
    pub member: Member,
    /// The process: only it acts in the epoch (R3).
    pub incarnation: Incarnation,
}

/// What the coordination tree holds of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Commits need this many in-sync members. Never changed (R35).
    pub min_in_sync: u32,
    /// New with every write: tells one's own write from another's.
    pub nonce: Nonce,
    /// Epoch at which data was last given up; 0 before any loss.
    pub lost_epoch: Epoch,
}

/// What a broker says of itself in the coordination tree, once per session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveNode {
    /// The process.
    pub id: PrimaryId,
    /// Where it listens.
    pub address: Address,
}

/// Why a group's state may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Change {
    /// A member becomes primary (R2), or any broker where nobody holds data (R26, R27).
    Promote,
    /// The primary drops a member that does not keep up (R12).
    Shrink,
    /// The primary takes a member in (R13).
    Expand,
    /// The primary takes in another storage of a member's node, in that member's place (R35).
    Replace,
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
        if sabotage!(AnyProcessOfNodeLeads) {
            return self.primary.as_ref().is_some_and(|primary| primary.member.node == id.member.node);
        }
        self.primary.as_ref() == Some(id)
    }

    /// Whether the member holds every committed record. Where nobody holds anything, everybody does.
    pub fn may_lead(&self, member: &Member) -> bool {
        if sabotage!(AnyStorageLeads) && self.in_sync.iter().any(|other| other.node == member.node) {
            return true;
        }
        sabotage!(OutsidersPromote) || self.in_sync.is_empty() || self.in_sync.contains(member)
    }

    /// R35: whether commits stop because there are too few in-sync members.
    pub fn is_frozen(&self) -> bool {
        !sabotage!(NeverFrozen) && self.in_sync.len() < self.min_in_sync as usize
    }

    /// R2: the candidate becomes primary; one write both elects it and removes the one before, unless
    /// too few would be left: then that one stays in the set, and commits go on waiting for it (R35).
    pub fn promote(&self, candidate: &PrimaryId, nonce: Nonce) -> Self {
        let deposed = self.primary.as_ref().map(|primary| &primary.member);
        let without = |dropped: Option<&Member>| {
            let mut rest: Vec<_> =
                self.in_sync.iter().filter(|member| Some(*member) != dropped).cloned().collect();
            if !rest.contains(&candidate.member) {
                rest.push(candidate.member.clone());
            }
            rest
        };
        let smaller = without(deposed);
        let enough = smaller.len() >= self.in_sync.len().min(self.min_in_sync as usize);
        let drops = sabotage!(KeepsTheDeposed => false; enough) || sabotage!(PromotesBelowMinimum);
        let in_sync = if drops { smaller } else { without(None) };
        let epoch = sabotage!(EpochNotRaised => self.epoch.max(1); self.epoch + 1);
        Self { epoch, primary: Some(candidate.clone()), in_sync, ..self.next(nonce) }
    }

    /// R35: whether the set may become smaller. One that has reached the least number of members never
    /// falls below it again; one that has not reached it yet only grows.
    pub fn may_shrink(&self) -> bool {
        let least = if sabotage!(ShrinksBelowMinimum) { 1 } else { self.min_in_sync.max(1) };
        self.in_sync.len() > least as usize
    }

    /// R12: the primary drops a member. Only where [`GroupState::may_shrink`].
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

    /// R35: the primary takes in another storage of a node that is in sync, in place of the one there.
    /// `None`: the node is not in sync, or it is the primary's own.
    pub fn replace(&self, member: &Member, nonce: Nonce) -> Option<Self> {
        let place = self.in_sync.iter().position(|other| other.node == member.node)?;
        if self.primary.as_ref().is_some_and(|primary| primary.member.node == member.node) {
            return None;
        }
        let mut next = self.next(nonce);
        next.in_sync[place] = member.clone();
        Some(next)
    }

    /// R27: the data is given up; any broker may begin anew.
    pub fn give_up(&self, nonce: Nonce) -> Self {
        let lineage = sabotage!(LineageKept => self.history.lineage; self.history.lineage + 1);
        let history = History { lineage, ..self.history };
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

    fn member(name: &str, generation: u128) -> Member {
        Member { node: NodeName::new(name).expect("a valid name"), generation: Generation(generation) }
    }

    fn process(name: &str, generation: u128) -> PrimaryId {
        PrimaryId { member: member(name, generation), incarnation: Incarnation(generation) }
    }

    /// Led by the first of `names`, all of them in sync.
    fn state(min_in_sync: u32, names: &[&str]) -> GroupState {
        let first = member(names[0], 1);
        GroupState {
            epoch: 1,
            config: 5,
            primary: Some(process(names[0], 1)),
            in_sync: names.iter().map(|name| member(name, 1)).collect(),
            ..GroupState::bootstrap(GroupId(7), first, min_in_sync, Nonce(1))
        }
    }

    fn names(state: &GroupState) -> Vec<&str> {
        state.in_sync.iter().map(|member| member.node.as_str()).collect()
    }

    #[test]
    fn a_promotion_drops_the_primary_before_only_while_enough_are_left() {
        let cases: [(u32, &[&str], &[&str]); 6] = [
            (0, &["a", "b"], &["b"]),
            (1, &["a", "b"], &["b"]),
            (1, &["a", "b", "c"], &["b", "c"]),
            (2, &["a", "b"], &["a", "b"]),
            (2, &["a", "b", "c"], &["b", "c"]),
            (3, &["a", "b"], &["a", "b"]),
        ];
        for (min, before, after) in cases {
            let promoted = state(min, before).promote(&process("b", 1), Nonce(2));
            assert_eq!(names(&promoted), after, "min {min}, {before:?}");
            assert_eq!((promoted.epoch, promoted.config), (2, 6));
            assert_eq!(promoted.min_in_sync, min);
        }
    }

    #[test]
    fn the_first_promotion_needs_nobody_else() {
        let bootstrap = GroupState::bootstrap(GroupId(7), member("a", 1), 2, Nonce(1));
        let promoted = bootstrap.promote(&process("a", 1), Nonce(2));
        assert_eq!(names(&promoted), ["a"]);
        assert!(promoted.is_frozen());
        let given_up = promoted.give_up(Nonce(3));
        assert_eq!(names(&given_up.promote(&process("c", 1), Nonce(4))), ["c"]);
    }

    #[test]
    fn a_shrink_leaves_the_least_number() {
        let cases: [(u32, &[&str], bool); 6] = [
            (0, &["a"], false),
            (1, &["a", "b"], true),
            (2, &["a", "b", "c"], true),
            (2, &["a", "b"], false),
            (3, &["a", "b"], false),
            (3, &["a", "b", "c", "d"], true),
        ];
        for (min, before, allowed) in cases {
            assert_eq!(state(min, before).may_shrink(), allowed, "min {min}, {before:?}");
        }
        let shrunk = state(2, &["a", "b", "c"]).shrink(&member("b", 1), Nonce(2));
        assert_eq!((names(&shrunk), shrunk.epoch, shrunk.config), (["a", "c"].to_vec(), 1, 6));
    }

    #[test]
    fn another_storage_of_a_node_takes_its_place() {
        let before = state(2, &["a", "b"]);
        let after = before.replace(&member("b", 2), Nonce(2)).expect("b is in sync");
        assert_eq!(after.in_sync, [member("a", 1), member("b", 2)]);
        assert_eq!((after.epoch, after.config), (1, 6));
        assert_eq!(before.replace(&member("c", 1), Nonce(2)), None, "not in sync");
        assert_eq!(before.replace(&member("a", 2), Nonce(2)), None, "the primary itself");
    }

    #[test]
    fn commits_are_frozen_below_the_least_number() {
        assert!(!state(1, &["a"]).is_frozen());
        assert!(state(2, &["a"]).is_frozen());
        assert!(!state(2, &["a", "b"]).is_frozen());
    }

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
