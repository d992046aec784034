//! The link to discovery: one replica at a time, one look-up in flight.

use crate::client::pulse::{Beat, Pulse};
use crate::coordination::Context;
use crate::id::{Address, Group};
use crate::limits::Timing;
use crate::link::{Dialler, LinkCommand, LinkId, LinkStatus};
use crate::message::{Lookup, Message, Route};
use crate::rng::{Backoff, Rng};
use crate::time::{Instant, earliest, is_due};
use crate::wire;
use alloc::vec::Vec;

/// Asks the replicas of discovery, one after the other.
#[derive(Clone, Debug)]
pub(super) struct Finder {
    replicas: Vec<Address>,
    /// Index of the replica asked now, or next.
    current: usize,
    group: Group,
    timing: Timing,
    backoff: Backoff,
    state: State,
    lookup: Option<InFlight>,
    /// An answer read with a sync is wanted.
    want_fresh: bool,
    /// The owner has no link to a primary: asks again and again.
    searching: bool,
    /// When to ask again.
    ask_at: Option<Instant>,
    /// How much later than it must: more and more, for a change is told without being asked for.
    asking: Backoff,
    /// Since when no primary has done its work for the owner on the word of this replica.
    unserved_since: Option<Instant>,
}

#[derive(Clone, Debug)]
enum State {
    Idle,
    Waiting { until: Instant },
    Dialling { link: LinkId, until: Instant },
    Up { link: LinkId, pulse: Pulse },
}

#[derive(Clone, Copy, Debug)]
struct InFlight {
    fresh: bool,
    until: Instant,
}

/// Quiet time after which an otherwise idle replica is pinged, in suspicion timeouts, and again until
/// it counts as silent.
const IDLE_ROUNDS: u32 = 2;
/// How long one replica's word is trusted while it leads to no primary that does its work, in suspicion timeouts.
/// R26: one that is cut off from the coordination service goes on naming a primary that is dead, or deposed.
const PATIENCE_ROUNDS: u32 = 4;
/// The same while there is a link to that primary: it may wait itself, for members or for memory, and all its clients
/// with it.
const WAITING_ROUNDS: u32 = 16;

impl Finder {
    pub(super) fn new(replicas: Vec<Address>, group: Group, timing: Timing, rng: &mut Rng) -> Self {
        let current = rng.below(replicas.len() as u64) as usize;
        let backoff = Backoff::new(timing.backoff, timing.backoff_cap);
        let asking = Backoff::new(timing.heartbeat, timing.backoff_cap);
        Self {
            replicas,
            current,
            group,
            timing,
            backoff,
            state: State::Idle,
            lookup: None,
            want_fresh: false,
            searching: false,
            ask_at: None,
            asking,
            unserved_since: None,
        }
    }

    pub(super) fn start<E>(&mut self, dialler: &mut Dialler, cx: &mut Context<'_, E>) {
        self.searching = true;
        self.unserved_since = Some(cx.now);
        self.dial(dialler, cx);
    }

    pub(super) fn owns(&self, link: LinkId) -> bool {
        self.link() == Some(link)
    }

    fn link(&self) -> Option<LinkId> {
        match self.state {
            State::Idle | State::Waiting { .. } => None,
            State::Dialling { link, .. } | State::Up { link, .. } => Some(link),
        }
    }

    /// The owner has lost its primary: asks now, and again until [`Self::found`].
    pub(super) fn search<E>(&mut self, cx: &mut Context<'_, E>) {
        self.searching = true;
        self.unserved_since.get_or_insert(cx.now);
        self.ask(cx);
    }

    /// The owner has a link to a primary, which may be none any more: whether it does its work is to be seen.
    pub(super) fn found(&mut self) {
        self.searching = false;
        self.ask_at = None;
        self.asking.reset();
        self.unserved_since = self.unserved_since.filter(|_| !sabotage!(LinksAreService));
    }

    /// The primary does its work.
    pub(super) const fn served(&mut self) {
        self.unserved_since = None;
    }

    /// Asks for an answer that was read with a sync.
    pub(super) fn ask_fresh<E>(&mut self, cx: &mut Context<'_, E>) {
        self.want_fresh = true;
        self.ask(cx);
    }

    /// One look-up in flight per group: what is wanted beyond it is asked when it is answered.
    fn ask<E>(&mut self, cx: &mut Context<'_, E>) {
        let State::Up { link, .. } = self.state else { return };
        if self.lookup.is_some() {
            return;
        }
        self.ask_at = None;
        let fresh = self.want_fresh;
        self.lookup = Some(InFlight { fresh, until: cx.now + self.timing.suspicion });
        let lookup = Lookup { group: self.group, watch: true, fresh };
        cx.out.transmit(link, wire::encode(&Message::Lookup(lookup)));
    }

    pub(super) fn handle_link<E>(&mut self, status: LinkStatus, cx: &mut Context<'_, E>) {
        match (status, &self.state) {
            (LinkStatus::Up, State::Dialling { link, .. }) => {
                let interval = self.timing.suspicion;
                let pulse = Pulse::new(cx.now, interval, interval * IDLE_ROUNDS);
                self.state = State::Up { link: *link, pulse };
                self.unserved_since = self.unserved_since.map(|_| cx.now);
                self.ask(cx);
            }
            (LinkStatus::Refused | LinkStatus::Lost, _) => self.move_on(cx),
            (LinkStatus::Up, _) => {}
        }
    }

    /// Any decoded frame is a sign of life; a route answers the look-up it fits.
    pub(super) fn handle_message<E>(&mut self, route: Option<&Route>, cx: &mut Context<'_, E>) {
        let State::Up { pulse, .. } = &mut self.state else { return };
        pulse.heard(cx.now);
        let Some(route) = route else { return };
        self.backoff.reset();
        let answers = self.lookup.is_some_and(|lookup| route.fresh || !lookup.fresh);
        if answers {
            self.lookup = None;
        }
        self.want_fresh &= !route.fresh;
        if self.want_fresh {
            self.ask(cx);
        }
        if self.searching && answers && self.lookup.is_none() {
            let after = route.retry_after.min(self.timing.backoff_cap).max(self.timing.heartbeat);
            self.ask_at = Some(cx.now + after + self.asking.next(cx.rng));
        }
    }

    pub(super) fn handle_timeout<E>(&mut self, dialler: &mut Dialler, cx: &mut Context<'_, E>) {
        match &mut self.state {
            State::Idle => {}
            State::Waiting { until } => {
                if *until <= cx.now {
                    self.dial(dialler, cx);
                }
            }
            State::Dialling { until, .. } => {
                if *until <= cx.now {
                    self.close_and_move_on(cx);
                }
            }
            State::Up { link, pulse } => {
                let (link, beat) = (*link, pulse.check(cx.now));
                let unanswered =
                    is_due(self.lookup.map(|lookup| lookup.until), cx.now) && !sabotage!(LookupsWaitForEver);
                if beat == Beat::Silent || unanswered || is_due(self.distrust_at(), cx.now) {
                    self.close_and_move_on(cx);
                } else if beat == Beat::Ping {
                    cx.out.transmit(link, wire::encode(&Message::Ping { token: 0 }));
                }
                if is_due(self.ask_at, cx.now) {
                    self.ask_at = None;
                    self.ask(cx);
                }
            }
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Idle => None,
            State::Waiting { until } | State::Dialling { until, .. } => Some(*until),
            State::Up { pulse, .. } => {
                let lookup = self.lookup.filter(|_| !sabotage!(LookupsWaitForEver));
                let asking = earliest(lookup.map(|lookup| lookup.until), self.ask_at);
                earliest(earliest(Some(pulse.deadline()), asking), self.distrust_at())
            }
        }
    }

    pub(super) fn close<E>(&mut self, cx: &mut Context<'_, E>) {
        self.drop_link(cx);
        self.state = State::Idle;
    }

    fn distrust_at(&self) -> Option<Instant> {
        let since = self.unserved_since.filter(|_| self.replicas.len() > 1)?;
        let rounds = if self.searching { PATIENCE_ROUNDS } else { WAITING_ROUNDS };
        Some(since + self.timing.suspicion * rounds)
    }

    fn dial<E>(&mut self, dialler: &mut Dialler, cx: &mut Context<'_, E>) {
        let Some(address) = self.replicas.get(self.current).cloned() else { return };
        let link = dialler.next_link();
        cx.out.link(LinkCommand::Dial { link, address });
        self.state = State::Dialling { link, until: cx.now + self.timing.suspicion * 2 };
    }

    fn drop_link<E>(&mut self, cx: &mut Context<'_, E>) {
        if let Some(link) = self.link() {
            cx.out.link(LinkCommand::Close { link });
        }
    }

    fn close_and_move_on<E>(&mut self, cx: &mut Context<'_, E>) {
        self.drop_link(cx);
        self.move_on(cx);
    }

    /// The next replica, after a while. A look-up in flight is asked there again.
    fn move_on<E>(&mut self, cx: &mut Context<'_, E>) {
        self.current = (self.current + 1) % self.replicas.len().max(1);
        self.lookup = None;
        self.ask_at = None;
        self.state = State::Waiting { until: cx.now + self.backoff.next(cx.rng) };
    }
}
