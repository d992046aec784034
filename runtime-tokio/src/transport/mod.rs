//! Links of a node, over one of two transports that speak the same protocol on the wire: `native`, the
//! project's own ZMTP on plain TCP sockets, or `zeromq`, the crate of that name. `docs/operations.md` says
//! why the first is the default.

pub mod native;
pub mod zeromq;

use self::zeromq::ZeroMq;
use crate::driver::Alarm;
use native::Tcp;
use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;
use steadfast_core::id::Address;
use steadfast_core::link::{Frame, LinkCommand, LinkId};
use steadfast_core::time::Instant;
use steadfast_runtime::address::ListenError;
use steadfast_runtime::batch::Batch;
use steadfast_runtime::clock::Clock;
use steadfast_runtime::native::Links;
use steadfast_runtime::transport::DIAL_TIMEOUT;
pub use steadfast_runtime::transport::{BUSY_POLL, Kind, MAX_DIALLED};

/// All links of one node.
pub enum Transport {
    /// The project's own.
    Native(Links<Tcp>),
    /// The crate's.
    ZeroMq(ZeroMq),
}

impl Transport {
    /// For a node that accepts no links.
    pub fn dial_only(kind: Kind) -> Self {
        Self::dialling(kind, DIAL_TIMEOUT)
    }

    /// The same, with another limit on the duration of a dial.
    pub fn dialling(kind: Kind, timeout: Duration) -> Self {
        match kind {
            Kind::Native => Self::Native(Links::dialling(timeout)),
            Kind::ZeroMq => Self::ZeroMq(ZeroMq::dialling(timeout)),
        }
    }

    /// For a node that listens at this address. Port 0 lets the system choose.
    ///
    /// # Errors
    /// When the address cannot be bound, with the cause and what to do.
    pub async fn listen(kind: Kind, address: &Address) -> Result<Self, ListenError> {
        match kind {
            Kind::Native => native::listen(address).map(Self::Native),
            Kind::ZeroMq => ZeroMq::listen(address).await.map(Self::ZeroMq),
        }
    }

    /// Where the node listens: with the port that the system chose.
    pub fn address(&self) -> Option<&Address> {
        match self {
            Self::Native(links) => links.address(),
            Self::ZeroMq(sockets) => sockets.address(),
        }
    }

    /// Sends a frame. On a link that is gone it vanishes; a link that cannot take it is lost.
    pub fn transmit(&mut self, link: LinkId, frame: Frame) {
        match self {
            Self::Native(links) => links.transmit(link, frame),
            Self::ZeroMq(sockets) => sockets.transmit(link, frame),
        }
    }

    /// Dials or closes.
    pub fn command(&mut self, command: LinkCommand) {
        match self {
            Self::Native(links) => links.command(command),
            Self::ZeroMq(sockets) => sockets.command(command),
        }
    }

    /// When [`Self::poll`] is due although nothing comes.
    pub fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Native(links) => links.deadline(),
            Self::ZeroMq(_) => None,
        }
    }

    /// Adds what has come to the batch. When that is nothing, the task is woken by what comes next.
    pub fn poll<C>(&mut self, cx: &mut Context<'_>, now: Instant, batch: &mut Batch<C>) {
        match self {
            Self::Native(links) => links.poll(cx, now, batch),
            Self::ZeroMq(sockets) => sockets.poll(cx, batch),
        }
    }

    /// Waits until something has come, and adds it to the batch: for those who drive no node.
    pub async fn gather<C>(&mut self, clock: Clock, batch: &mut Batch<C>) {
        let mut alarm = Alarm::new(clock);
        poll_fn(|cx| {
            loop {
                self.poll(cx, clock.now(), batch);
                if !batch.is_empty() {
                    return Poll::Ready(());
                }
                if alarm.poll(cx, self.deadline()).is_pending() {
                    return Poll::Pending;
                }
            }
        })
        .await;
    }

    /// Waits until every queued frame was handed to the system, but not longer than this.
    pub async fn flush(&mut self, limit: Duration) {
        match self {
            Self::Native(links) => {
                let flushed = poll_fn(|cx| links.poll_flushed(cx));
                if tokio::time::timeout(limit, flushed).await.is_err() {
                    tracing::debug!("some peers did not take their last frames");
                }
            }
            Self::ZeroMq(sockets) => sockets.flush(limit).await,
        }
    }
}
