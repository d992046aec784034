//! What a broker wants the group's state to be, and what it knew when it asked for it. Checkers of reasons
//! judge by that, not by what was true elsewhere: no broker can know more.

use std::time::Duration;
use steadfast_core::coordination::Zxid;
use steadfast_core::group::{GroupState, PrimaryId};
use steadfast_core::id::{Member, Offset};

/// A write of the group's state.
#[derive(Clone, Copy, Debug)]
pub struct Proposal<'a> {
    /// Whose.
    pub process: &'a PrimaryId,
    /// What is to be written.
    pub wanted: &'a GroupState,
    /// Only over this version.
    pub version: Option<i32>,
    /// Whether the same was written before, and nothing is known of what became of it.
    pub again: bool,
    /// Whether the fate of another one of this process is open.
    pub busy: bool,
    /// The state as this process knows it, with its version.
    pub known: (&'a GroupState, i32),
    /// The live nodes as it knows them, each with the transaction that made it.
    pub live: &'a [(PrimaryId, Zxid)],
    /// Whether its own is among them, and belongs to its session.
    pub registered: bool,
    /// What it has seen of the process that this is about, and of its own log.
    pub evidence: Evidence,
}

/// What a broker has seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Evidence {
    /// For so long, while it was running, a candidate has taken nothing from its primary, or a primary has
    /// seen the member not move.
    pub quiet: Duration,
    /// So many connections to it were refused, and nothing came in between.
    pub refusals: u32,
    /// The process itself was asked to leave.
    pub leaving: bool,
    /// For so long a candidate has had its reason, by its own clock; `None`: that is not known.
    pub waited: Option<Duration>,
    /// It has led so often since it last learnt of a commit.
    pub barren: u32,
    /// The primary has begun to hand over to this candidate.
    pub asked: bool,
    /// A read of the tree that began after there was a reason is complete.
    pub read: bool,
    /// Somebody who is not in sync is attached and has moved lately.
    pub learner: bool,
    /// For so long every in-sync node has been known to be another storage.
    pub lost_for: Duration,
    /// How far the primary counts the member that it takes in.
    pub matched: Option<Offset>,
    /// How long ago the primary has heard of that member.
    pub heard: Duration,
    /// The first record of the primary's epoch.
    pub start: Offset,
    /// The commit offset, and the end of the log.
    pub log: (Offset, Offset),
}

impl Proposal<'_> {
    /// Whom a primary wants to drop.
    pub fn dropped(&self) -> Option<&Member> {
        let reign = self.wanted.epoch == self.known.0.epoch;
        let mut members = self.known.0.in_sync.iter();
        members.find(|member| reign && !self.wanted.in_sync.contains(member))
    }

    /// Whom a primary wants to take in.
    pub fn taken_in(&self) -> Option<&Member> {
        let reign = self.wanted.epoch == self.known.0.epoch;
        let mut members = self.wanted.in_sync.iter();
        members.find(|member| reign && !self.known.0.in_sync.contains(member))
    }

    /// Whether the process wants to lead the group, with its data.
    pub fn promotes(&self) -> bool {
        self.wanted.primary.is_some() && self.wanted.epoch != self.known.0.epoch
    }

    /// Whether the process wants to give the group's data up.
    pub const fn gives_up(&self) -> bool {
        self.wanted.primary.is_none()
    }

    /// Whether a member's process has a live node.
    pub fn is_live(&self, member: &Member) -> bool {
        self.live.iter().any(|(id, _)| id.member == *member)
    }

    /// Whether a process with a later live node than the member's bears the name of its node (R32).
    pub fn is_replaced(&self, member: &Member) -> bool {
        let own = self.live.iter().filter(|(id, _)| id.member == *member).map(|(_, made)| *made).max();
        let later = |made: &Zxid| own.is_none_or(|own| own < *made);
        self.live.iter().any(|(id, made)| {
            id.member.node == member.node && id.member.generation != member.generation && later(made)
        })
    }
}

#[cfg(test)]
pub(super) mod testing {
    use super::*;
    use crate::check::testing::*;
    use crate::check::{Check, Fact};

    /// Everything that a proposal is made of.
    pub struct Draft {
        pub process: PrimaryId,
        pub wanted: GroupState,
        pub version: Option<i32>,
        pub again: bool,
        pub busy: bool,
        pub known: GroupState,
        pub live: Vec<(PrimaryId, Zxid)>,
        pub registered: bool,
        pub evidence: Evidence,
    }

    /// `by` wants to go from one state to another, and knows that everybody is live and well.
    pub fn wants(by: &str, known: GroupState, wanted: GroupState) -> Draft {
        Draft {
            process: process(by),
            wanted,
            version: Some(3),
            again: false,
            busy: false,
            known,
            live: ["a", "b", "c"].iter().zip(1..).map(|(name, made)| (process(name), made)).collect(),
            registered: true,
            evidence: Evidence { read: true, ..Evidence::default() },
        }
    }

    impl Draft {
        /// The live node of this name is gone.
        pub fn without(mut self, name: &str) -> Self {
            self.live.retain(|(id, _)| *id != process(name));
            self
        }

        /// A later process of this name is live.
        pub fn with_another(mut self, name: &str) -> Self {
            let mut other = process(name);
            other.member.generation.0 += 1;
            other.incarnation.0 += 1;
            self.live.push((other, 9));
            self
        }

        /// Tells it to a checker that knows nothing else.
        pub fn told<C: Check>(&self, check: C) -> Story<C> {
            let mut story = Story::new(check);
            self.tell(&mut story);
            story
        }

        /// Tells it.
        pub fn tell<C: Check>(&self, story: &mut Story<C>) {
            story.tell(&Fact::Proposed(&Proposal {
                process: &self.process,
                wanted: &self.wanted,
                version: self.version,
                again: self.again,
                busy: self.busy,
                known: (&self.known, 3),
                live: &self.live,
                registered: self.registered,
                evidence: self.evidence,
            }));
        }
    }
}
