//! A backup's connection to its primary, and its judgement whether the primary is alive.

use super::oversize::Oversize;
use super::snapshot::Staging;
use crate::group::PrimaryId;
use crate::id::{Address, Epoch, Offset};
use crate::limits::{REFUSALS_FOR_PROOF, Timing};
use crate::link::{Dialler, LinkCommand, LinkId, LinkStatus};
use crate::node::Outbox;
use crate::rng::{Backoff, Rng};
use crate::time::{Instant, earliest, is_due};
use crate::trace::Suspicion;
use alloc::boxed::Box;
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Connection {
    /// Not connected; dial at this time.
    Idle(Option<Instant>),
    Dialling(LinkId),
    /// Since then.
    Up(LinkId, Instant),
}

/// What a backup knows of the primary that it follows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Backup {
    /// Whom it follows, in which epoch; `None` while there is no primary.
    primary: Option<PrimaryId>,
    /// Where the primary listens; `None` while it is not live.
    address: Option<Address>,
    epoch: Epoch,
    connection: Connection,
    /// Where the primary's frames come from: acknowledgements go there.
    source: Option<LinkId>,
    backoff: Backoff,
    /// Consecutive refusals, with no frame between.
    refusals: u32,
    /// When the primary was last heard, or when following began.
    heard: Instant,
    /// What the tree says against the primary.
    verdict: Option<Suspicion>,
    /// What this broker itself has against it.
    finding: Option<Suspicion>,
    /// A snapshot that is under way. It is dropped with the epoch, and with the connection.
    pub(super) staging: Option<Box<Staging>>,
    /// Snapshots that this broker has no room for.
    pub(super) oversize: Box<Oversize>,
    /// R7: end of the prefix that fits the primary's log, in this epoch.
    verified: Offset,
}

impl Backup {
    /// Follows this primary, or waits for one.
    pub fn new(now: Instant, (epoch, primary): (Epoch, Option<PrimaryId>), timing: &Timing) -> Self {
        Self {
            primary,
            address: None,
            epoch,
            connection: Connection::Idle(Some(now)),
            source: None,
            backoff: Backoff::new(timing.backoff, timing.backoff_cap),
            refusals: 0,
            heard: now,
            verdict: None,
            finding: None,
            staging: None,
            oversize: Box::default(),
            verified: 0,
        }
    }

    /// The epoch that it follows.
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The primary that it follows.
    pub const fn primary(&self) -> Option<&PrimaryId> {
        self.primary.as_ref()
    }

    /// Where the primary listens, by the latest view.
    pub fn locate(&mut self, address: Option<Address>) {
        self.address = address;
    }

    /// When the primary was heard last, or its silence was forgiven.
    pub const fn heard(&self) -> Instant {
        self.heard
    }

    /// Whether there is anything against the primary.
    pub const fn suspects(&self) -> bool {
        self.verdict.is_some() || self.finding.is_some()
    }

    /// Whether the primary has asked this broker to take its place (R34).
    pub fn is_asked(&self) -> bool {
        self.finding == Some(Suspicion::Leaving)
    }

    /// Whether there is no primary, or one that is suspected.
    pub const fn is_bereft(&self) -> bool {
        self.primary.is_none() || self.suspects()
    }

    /// The same, and there is more against the primary than its silence.
    pub fn is_orphaned(&self) -> bool {
        let silence_only = self.verdict.is_none() && self.finding == Some(Suspicion::Silence);
        self.is_bereft() && !silence_only
    }

    /// End of the verified prefix.
    pub const fn verified(&self) -> Offset {
        self.verified
    }

    /// The link to the primary, if it is up.
    pub const fn link(&self) -> Option<LinkId> {
        match self.connection {
            Connection::Up(link, _) => Some(link),
            Connection::Idle(_) | Connection::Dialling(_) => None,
        }
    }

    /// The link that the primary's latest frame came on.
    pub const fn source(&self) -> Option<LinkId> {
        self.source
    }

    /// The primary has sent entries or a heartbeat. R2: what the tree says against it stands.
    pub fn hear(&mut self, now: Instant, link: LinkId) {
        self.source = Some(link);
        self.heard = now;
        self.refusals = 0;
        self.backoff.reset();
        self.forget(&[Suspicion::Silence, Suspicion::Refused]);
        if sabotage!(FramesAcquit) {
            self.absolve();
        }
    }

    /// The tree has nothing against the primary. Returns whether it had.
    pub const fn absolve(&mut self) -> bool {
        self.verdict.take().is_some()
    }

    fn forget(&mut self, causes: &[Suspicion]) {
        self.finding = self.finding.filter(|cause| !causes.contains(cause));
    }

    /// R7: the prefix up to here fits the log of this epoch's primary.
    pub fn verify(&mut self, end: Offset) {
        self.verified = self.verified.max(end);
    }

    /// Begins to wait for the primary anew: this process itself was not running.
    pub fn forgive(&mut self, now: Instant) {
        self.heard = now;
        self.forget(&[Suspicion::Silence]);
    }

    /// Notes why the primary is suspected. Of what the broker has against it itself the first reason stays,
    /// unless it is mere silence. Returns whether there was nothing before.
    pub fn suspect(&mut self, cause: Suspicion) -> bool {
        let new = !self.suspects();
        match cause {
            Suspicion::NotLive | Suspicion::Replaced => self.verdict = Some(cause),
            _ if matches!(self.finding, None | Some(Suspicion::Silence)) => self.finding = Some(cause),
            _ => {}
        }
        new
    }

    /// A status of a link. Returns `Some(link)` when the link to the primary has come up.
    pub fn handle_link(
        &mut self,
        now: Instant,
        (link, status): (LinkId, LinkStatus),
        rng: &mut Rng,
    ) -> Option<LinkId> {
        match (self.connection, status) {
            (Connection::Dialling(dialled), LinkStatus::Up) if dialled == link => {
                self.connection = Connection::Up(link, now);
                return Some(link);
            }
            (Connection::Dialling(dialled), LinkStatus::Refused) if dialled == link => {
                self.refusals += 1;
            }
            (Connection::Dialling(other) | Connection::Up(other, _), LinkStatus::Lost) if other == link => {}
            _ => return None,
        }
        self.connection = Connection::Idle(Some(now + self.backoff.next(rng)));
        None
    }

    /// Hangs up and dials again after a pause.
    pub fn redial<E>(&mut self, now: Instant, rng: &mut Rng, out: &mut Outbox<E>) {
        self.hang_up(out);
        self.connection = Connection::Idle(Some(now + self.backoff.next(rng)));
    }

    /// Closes the connection for good.
    pub fn hang_up<E>(&mut self, out: &mut Outbox<E>) {
        if let Connection::Dialling(link) | Connection::Up(link, _) = self.connection {
            out.link(LinkCommand::Close { link });
        }
        self.connection = Connection::Idle(None);
    }

    /// When to dial, or to ask for a snapshot again, or when silence becomes suspicious or the link hopeless.
    pub fn deadline(&self, timing: &Timing) -> Option<Instant> {
        let link = match self.connection {
            Connection::Idle(at) => at.filter(|_| self.address.is_some()),
            Connection::Dialling(_) => None,
            Connection::Up(_, since) => Some(since.max(self.heard) + timing.suspicion),
        };
        let silence = self.primary.is_some() && !self.suspects();
        let silence = silence.then(|| self.heard + timing.suspicion);
        earliest(self.oversize.deadline(), earliest(link, silence))
    }

    /// Dials when it is time, gives up a link on which nothing comes, and says whether there is a new
    /// reason to suspect the primary.
    pub fn handle_timeout<E>(
        &mut self,
        now: Instant,
        (timing, dialler, rng): (&Timing, &mut Dialler, &mut Rng),
        out: &mut Outbox<E>,
    ) -> Option<Suspicion> {
        self.primary.as_ref()?;
        if let Connection::Up(_, since) = self.connection
            && since.max(self.heard) + timing.suspicion <= now
        {
            self.redial(now, rng, out);
        }
        if let (Connection::Idle(at), Some(address)) = (self.connection, &self.address)
            && is_due(at, now)
        {
            let link = dialler.next_link();
            out.link(LinkCommand::Dial { link, address: address.clone() });
            self.connection = Connection::Dialling(link);
        }
        // What the tree says is enough, and this may be found out again when it says so no more.
        if self.verdict.is_some() {
            return None;
        }
        let enough = sabotage!(OneRefusalProves => 1; REFUSALS_FOR_PROOF);
        let cause = if self.refusals >= enough {
            Suspicion::Refused
        } else if self.heard + timing.suspicion <= now {
            Suspicion::Silence
        } else {
            return None;
        };
        self.suspect(cause).then_some(cause)
    }
}
