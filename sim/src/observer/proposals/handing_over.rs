//! To whom a primary that leaves hands over.

use super::{Mind, ago, live};
use crate::check::handover::Handover;
use crate::check::{Checks, Fact, Violation};
use std::time::Duration;
use steadfast_core::broker::Broker;
use steadfast_core::id::{Member, NodeName};

/// Who was heard so lately was heard, whatever the suspicion time.
const JUST_NOW: Duration = Duration::from_millis(100);

impl Mind {
    /// Hands over to this node.
    pub(super) fn begins(
        &mut self,
        broker: &Broker,
        at: u64,
        node: &NodeName,
        checks: &mut Checks,
    ) -> Result<(), Violation> {
        self.handover = Some(at);
        let rested = self.gave_up.take().map(|failed| Duration::from_nanos(at - failed));
        let Some((state, _)) = &broker.registry().view().state else { return Ok(()) };
        self.target = state.in_sync.iter().find(|member| member.node == *node).cloned();
        let failed = self.target.as_ref().is_some_and(|target| self.failed.contains(target));
        let untried = state.in_sync.iter().find(|member| {
            Some(*member) != self.target.as_ref()
                && !self.failed.contains(member)
                && self.could_lead(broker, at, member)
        });
        let handover = Handover { process: broker.id(), rested, failed, untried };
        checks.observe(&Fact::HandoverBegan(&handover))?;
        // When all have failed, all are asked again.
        if failed {
            self.failed.clear();
        }
        Ok(())
    }

    /// Goes on without this node, which it had asked, perhaps in an earlier reign.
    pub(super) fn fails(&mut self, broker: &Broker, at: u64, node: &NodeName) {
        self.gave_up = Some(at);
        let state = broker.registry().view().state.as_ref();
        let named = state.and_then(|(state, _)| state.in_sync.iter().find(|member| member.node == *node));
        self.failed.extend(self.target.take().or(named.cloned()));
    }

    /// Hands over no more.
    pub(super) fn ends(&mut self, broker: &Broker, at: u64, checks: &mut Checks) -> Result<(), Violation> {
        self.target = None;
        self.handover.take().map_or(Ok(()), |began| {
            let began = began.max(self.running.max(0) as u64).max(self.awake);
            let time = Duration::from_nanos(at.saturating_sub(began));
            checks.observe(&Fact::HandoverTook { process: broker.id(), time })
        })
    }

    /// Whether nobody can doubt that a member may take over: it has everything, is attached, and was heard just now.
    fn could_lead(&self, broker: &Broker, at: u64, member: &Member) -> bool {
        let of_node = || live(broker).filter(|live| live.node.id.member.node == member.node);
        let end = broker.replica().log().end();
        *member != broker.id().member
            && self.seen.get(member).is_some_and(|seen| ago(at, *seen) < JUST_NOW)
            // Who has only just attached may have been silent for too long before.
            && self.attached.get(member) < self.seen.get(member)
            && self.links.values().any(|attached| attached == member)
            && broker.matched().any(|(other, matched)| other == member && matched == end)
            && of_node().count() == 1
            && of_node()
                .all(|live| live.node.id.member == *member && !self.refused.contains_key(&live.node.address))
    }
}
