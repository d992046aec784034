//! A primary knocks at the doors of in-sync members that are silent: a connection refused twice, with
//! no frame between, proves that the process is dead (R32).

use crate::id::{Address, Member};
use crate::limits::{REFUSALS_FOR_PROOF, Timing};
use crate::link::{Dialler, LinkCommand, LinkId, LinkStatus};
use crate::node::Outbox;
use crate::time::{Duration, Instant};
use alloc::collections::BTreeMap;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Probe {
    link: Option<LinkId>,
    knock_at: Instant,
    refusals: u32,
}

/// One probe for each silent member.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Probes {
    probes: BTreeMap<Member, Probe>,
    /// Between two attempts that were refused.
    quickly: Duration,
    /// Between two attempts otherwise.
    slowly: Duration,
}

impl Probes {
    /// No probes yet.
    pub const fn new(timing: &Timing) -> Self {
        Self { probes: BTreeMap::new(), quickly: timing.backoff, slowly: timing.heartbeat }
    }

    /// Knocks at the doors of the members that are silent now, when it is time, and at no others.
    pub fn knock<E>(
        &mut self,
        now: Instant,
        doors: &BTreeMap<&Member, &Address>,
        dialler: &mut Dialler,
        out: &mut Outbox<E>,
    ) {
        let others = self.probes.extract_if(.., |member, _| !doors.contains_key(member));
        hang_up(others.map(|(_, probe)| probe), out);
        for (member, address) in doors {
            let new = Probe { link: None, knock_at: now, refusals: 0 };
            let probe = self.probes.entry((*member).clone()).or_insert(new);
            if probe.link.is_none() && probe.knock_at <= now {
                let link = dialler.next_link();
                out.link(LinkCommand::Dial { link, address: (*address).clone() });
                probe.link = Some(link);
            }
        }
    }

    /// The member was heard: what its door said before counts no more.
    pub fn heard<E>(&mut self, member: &Member, out: &mut Outbox<E>) {
        hang_up(self.probes.remove(member), out);
    }

    /// Whether the member's process is proved dead.
    pub fn proves_death(&self, member: &Member) -> bool {
        self.probes
            .get(member)
            .is_some_and(|probe| probe.refusals >= sabotage!(OneRefusalProves => 1; REFUSALS_FOR_PROOF))
    }

    /// A status of a link, if it is a probe's.
    pub fn handle_link<E>(
        &mut self,
        now: Instant,
        (link, status): (LinkId, LinkStatus),
        out: &mut Outbox<E>,
    ) {
        let Some(probe) = self.probes.values_mut().find(|probe| probe.link == Some(link)) else {
            return;
        };
        probe.link = None;
        match status {
            LinkStatus::Refused => {
                probe.refusals += 1;
                probe.knock_at = now + self.quickly;
            }
            LinkStatus::Lost => probe.knock_at = now + self.slowly,
            LinkStatus::Up => {
                // Somebody listens: no proof. Silence alone waits for the lag threshold.
                out.link(LinkCommand::Close { link });
                probe.refusals = 0;
                probe.knock_at = now + self.slowly;
            }
        }
    }

    /// When to knock next.
    pub fn deadline(&self) -> Option<Instant> {
        self.probes.values().filter(|probe| probe.link.is_none()).map(|probe| probe.knock_at).min()
    }

    /// Ends all probes.
    pub fn clear<E>(&mut self, out: &mut Outbox<E>) {
        hang_up(core::mem::take(&mut self.probes).into_values(), out);
    }
}

fn hang_up<E>(probes: impl IntoIterator<Item = Probe>, out: &mut Outbox<E>) {
    for link in probes.into_iter().filter_map(|probe| probe.link) {
        out.link(LinkCommand::Close { link });
    }
}
