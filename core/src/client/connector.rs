//! The link to the primary, and what keeps it.

use crate::client::finder::Finder;
use crate::client::pulse::{Beat, Pulse};
use crate::client::routes::{Routes, Target, Verdict};
use crate::coordination::Context;
use crate::id::{Address, Endpoint, Epoch, Group, GroupId};
use crate::limits::Timing;
use crate::link::{Dialler, Frame, LinkCommand, LinkId, LinkStatus};
use crate::message::{History, Message, Route};
use crate::rng::{Backoff, Rng};
use crate::time::{Instant, earliest};
use crate::trace::{Detachment, Rejection, Trace};
use crate::wire;
use alloc::vec::Vec;

/// What its owner learns from a [`Connector`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The link to the primary can carry frames: say who you are.
    Attached,
    /// The link to the primary is gone. Another attempt follows by itself.
    Detached(Detachment),
    /// From the primary.
    Received(Message),
}

/// Finds a group's primary and keeps a link to it.
#[derive(Clone, Debug)]
pub struct Connector {
    timing: Timing,
    dialler: Dialler,
    finder: Finder,
    routes: Routes,
    backoff: Backoff,
    state: State,
    /// Whom the last attempt was made with: a new target is dialled at once, a known one after a while.
    tried: Option<Endpoint>,
}

#[derive(Clone, Debug)]
enum State {
    /// Nobody to dial.
    Idle,
    Waiting {
        until: Instant,
    },
    Dialling {
        link: LinkId,
        target: Target,
        until: Instant,
    },
    Up {
        link: LinkId,
        target: Target,
        pulse: Pulse,
    },
    Closed,
}

impl Connector {
    /// Asks the replicas of discovery at these addresses, beginning with a random one.
    ///
    /// # Panics
    /// When there is no address.
    pub fn new(discovery: Vec<Address>, group: Group, timing: Timing, rng: &mut Rng) -> Self {
        assert!(!discovery.is_empty(), "a client needs at least one address of discovery");
        Self {
            dialler: Dialler::default(),
            finder: Finder::new(discovery, group, timing.clone(), rng),
            routes: Routes::default(),
            backoff: Backoff::new(timing.backoff, timing.backoff_cap),
            timing,
            state: State::Idle,
            tried: None,
        }
    }

    /// Begins.
    pub fn start<E>(&mut self, cx: &mut Context<'_, E>) {
        self.finder.start(&mut self.dialler, cx);
    }

    /// The history that discovery names; `None` until it was heard.
    pub fn history(&self) -> Option<History> {
        self.routes.history()
    }

    /// Who is at the other end, and in which epoch; `None` while detached.
    pub fn primary(&self) -> Option<(&Endpoint, Epoch)> {
        match &self.state {
            State::Up { target, .. } => Some((&target.endpoint, target.epoch)),
            _ => None,
        }
    }

    /// The link to the primary; `None` while detached.
    pub const fn link(&self) -> Option<LinkId> {
        match self.state {
            State::Up { link, .. } => Some(link),
            _ => None,
        }
    }

    /// Sends a frame to the primary; drops it while detached.
    pub fn send<E>(&self, message: &Message, cx: &mut Context<'_, E>) {
        if let State::Up { link, .. } = &self.state {
            cx.out.transmit(*link, wire::encode(message));
        }
    }

    /// The primary does its work: the next failure is answered with a short delay again, and the replica of
    /// discovery that named it is right.
    pub const fn confirm(&mut self) {
        self.backoff.reset();
        self.finder.served();
    }

    /// Whether a broker's word that another history holds may be believed: a later lineage always,
    /// an earlier one never (R27), another group log once discovery has confirmed it by a read with a
    /// sync (R26), which this asks for.
    pub fn believes<E>(&mut self, own: History, other: History, cx: &mut Context<'_, E>) -> bool {
        if own.group_id == other.group_id {
            self.routes.raise(other);
            return other.lineage > own.lineage;
        }
        let confirmed = self.routes.confirms(other);
        match confirmed {
            true => self.routes.raise(other),
            false => self.finder.ask_fresh(cx),
        }
        confirmed
    }

    /// The broker is not the primary. A hint counts if it names a higher epoch.
    pub fn not_primary<E>(&mut self, hint: Option<Endpoint>, epoch: Epoch, cx: &mut Context<'_, E>) {
        let hinted = hint.is_some_and(|endpoint| self.routes.hint(endpoint, epoch));
        self.detach(Detachment::Refused, cx);
        if hinted {
            self.retarget(cx);
        }
    }

    /// Gives the primary up, asks discovery again and dials after a while. Its owner knows: no notice.
    pub fn detach<E>(&mut self, cause: Detachment, cx: &mut Context<'_, E>) {
        if let State::Up { link, .. } = self.state {
            cx.out.link(LinkCommand::Close { link });
            self.fail(cause, cx);
        }
    }

    /// Gives both links up for good.
    pub fn close<E>(&mut self, cx: &mut Context<'_, E>) {
        self.finder.close(cx);
        if let State::Dialling { link, .. } | State::Up { link, .. } = self.state {
            cx.out.link(LinkCommand::Close { link });
        }
        self.state = State::Closed;
    }

    /// A link's state has changed.
    pub fn handle_link<E>(
        &mut self,
        link: LinkId,
        status: LinkStatus,
        cx: &mut Context<'_, E>,
    ) -> Option<Notice> {
        if self.finder.owns(link) {
            self.finder.handle_link(status, cx);
            return None;
        }
        match (&self.state, status) {
            (State::Dialling { link: own, target, .. }, LinkStatus::Up) if *own == link => {
                let pulse = Pulse::new(cx.now, self.timing.client_heartbeat, self.timing.client_suspicion);
                self.state = State::Up { link, target: target.clone(), pulse };
                self.finder.found();
                cx.out.trace(Trace::Attached { link });
                Some(Notice::Attached)
            }
            (State::Dialling { link: own, .. }, LinkStatus::Refused | LinkStatus::Lost) if *own == link => {
                self.fail(Detachment::Lost, cx)
            }
            (State::Up { link: own, .. }, LinkStatus::Refused | LinkStatus::Lost) if *own == link => {
                self.fail(Detachment::Lost, cx)
            }
            _ => None,
        }
    }

    /// A frame has arrived. What the primary says beyond pings and pongs is for the owner.
    pub fn handle_frame<E>(&mut self, link: LinkId, frame: Frame, cx: &mut Context<'_, E>) -> Option<Notice> {
        let from_discovery = self.finder.owns(link);
        let from_primary = matches!(&self.state, State::Up { link: own, .. } if *own == link);
        if !from_discovery && !from_primary {
            return None;
        }
        let message = match wire::decode(frame) {
            Ok(message) => message,
            Err(reason) => {
                cx.out.trace(Trace::Rejected { link, reason });
                return None;
            }
        };
        if let Message::Ping { token } = message {
            cx.out.transmit(link, wire::encode(&Message::Pong { token }));
        }
        if from_discovery { self.discovery_says(link, message, cx) } else { self.primary_says(message, cx) }
    }

    fn discovery_says<E>(
        &mut self,
        link: LinkId,
        message: Message,
        cx: &mut Context<'_, E>,
    ) -> Option<Notice> {
        match message {
            Message::Route(route) => {
                let verdict = self.routes.offer(&route);
                self.finder.handle_message(Some(&route), cx);
                self.handle_verdict(verdict, &route, cx)
            }
            Message::Ping { .. } | Message::Pong { .. } => {
                self.finder.handle_message(None, cx);
                None
            }
            _ => {
                cx.out.trace(Trace::Rejected { link, reason: Rejection::Unexpected });
                None
            }
        }
    }

    fn handle_verdict<E>(
        &mut self,
        verdict: Verdict,
        route: &Route,
        cx: &mut Context<'_, E>,
    ) -> Option<Notice> {
        match verdict {
            Verdict::Ignored => None,
            Verdict::NeedsFresh => {
                self.finder.ask_fresh(cx);
                None
            }
            Verdict::Accepted => {
                let lineage = route.history.map_or(0, |history| history.lineage);
                let primary = route.primary.clone();
                cx.out.trace(Trace::Routed { lineage, epoch: route.epoch, primary });
                self.retarget(cx)
            }
        }
    }

    fn primary_says<E>(&mut self, message: Message, cx: &mut Context<'_, E>) -> Option<Notice> {
        if let State::Up { pulse, .. } = &mut self.state {
            pulse.heard(cx.now);
        }
        match message {
            Message::Ping { .. } | Message::Pong { .. } => None,
            message => Some(Notice::Received(message)),
        }
    }

    /// A deadline may have come.
    pub fn handle_timeout<E>(&mut self, cx: &mut Context<'_, E>) -> Option<Notice> {
        self.finder.handle_timeout(&mut self.dialler, cx);
        match &mut self.state {
            State::Waiting { until } if *until <= cx.now => {
                match self.routes.target() {
                    Some(target) => self.dial(target, cx),
                    None => self.state = State::Idle,
                }
                None
            }
            State::Dialling { link, until, .. } if *until <= cx.now => {
                cx.out.link(LinkCommand::Close { link: *link });
                self.fail(Detachment::Lost, cx)
            }
            State::Up { link, pulse, .. } => {
                let link = *link;
                match pulse.check(cx.now) {
                    Beat::Nothing => None,
                    Beat::Ping => {
                        cx.out.transmit(link, wire::encode(&Message::Ping { token: 0 }));
                        None
                    }
                    Beat::Silent => {
                        cx.out.link(LinkCommand::Close { link });
                        self.fail(Detachment::Silence, cx)
                    }
                }
            }
            _ => None,
        }
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        let own = match &self.state {
            State::Idle | State::Closed => None,
            State::Waiting { until } | State::Dialling { until, .. } => Some(*until),
            State::Up { pulse, .. } => Some(pulse.deadline()),
        };
        earliest(own, self.finder.deadline())
    }

    /// What kept the one before from answering says nothing of this one.
    fn dial_new<E>(&mut self, target: Target, cx: &mut Context<'_, E>) {
        self.backoff.reset();
        self.dial(target, cx);
    }

    fn dial<E>(&mut self, target: Target, cx: &mut Context<'_, E>) {
        let link = self.dialler.next_link();
        let address = target.endpoint.address.clone();
        cx.out.link(LinkCommand::Dial { link, address });
        self.tried = Some(target.endpoint.clone());
        self.state = State::Dialling { link, target, until: cx.now + self.timing.suspicion * 2 };
    }

    /// The link is gone, or was never made: discovery is asked, and the next attempt waits (a silent
    /// or refusing broker that the route still names is not dialled in a tight loop).
    fn fail<E>(&mut self, cause: Detachment, cx: &mut Context<'_, E>) -> Option<Notice> {
        let (link, endpoint, was_up) = match &self.state {
            State::Dialling { link, target, .. } => (*link, &target.endpoint, false),
            State::Up { link, target, .. } => (*link, &target.endpoint, true),
            State::Idle | State::Waiting { .. } | State::Closed => return None,
        };
        self.routes.forget_hint(endpoint);
        self.state = State::Waiting { until: cx.now + self.backoff.next(cx.rng) };
        self.finder.search(cx);
        if !was_up {
            return None;
        }
        cx.out.trace(Trace::Detached { link, cause });
        Some(Notice::Detached(cause))
    }

    /// Follows the best route: at once to a new target, not back to one already tried.
    fn retarget<E>(&mut self, cx: &mut Context<'_, E>) -> Option<Notice> {
        let target = self.routes.target()?;
        match &mut self.state {
            State::Closed => None,
            State::Up { target: current, .. } if current.endpoint == target.endpoint => {
                *current = target;
                None
            }
            State::Up { target: current, .. }
                if sabotage!(RoutesUnheeded) || !target.is_above(current.group_id, current.epoch) =>
            {
                None
            }
            State::Up { link, .. } => {
                let (link, cause) = (*link, Detachment::Rerouted);
                cx.out.link(LinkCommand::Close { link });
                cx.out.trace(Trace::Detached { link, cause });
                self.finder.search(cx);
                self.dial_new(target, cx);
                Some(Notice::Detached(cause))
            }
            State::Idle | State::Waiting { .. } => {
                if self.tried.as_ref() != Some(&target.endpoint) {
                    self.dial_new(target, cx);
                } else if matches!(self.state, State::Idle) {
                    self.state = State::Waiting { until: cx.now + self.backoff.next(cx.rng) };
                }
                None
            }
            State::Dialling { target: current, .. } if current.endpoint == target.endpoint => {
                *current = target;
                None
            }
            State::Dialling { link, .. } => {
                cx.out.link(LinkCommand::Close { link: *link });
                self.dial_new(target, cx);
                None
            }
        }
    }
}

impl Target {
    /// Whether it is of a later reign, or of another log: then discovery has confirmed it.
    fn is_above(&self, group_id: GroupId, epoch: Epoch) -> bool {
        self.group_id != group_id || self.epoch > epoch
    }
}
