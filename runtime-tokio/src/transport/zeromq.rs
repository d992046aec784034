//! Links over the `zeromq` crate: one ROUTER for all accepted links, one DEALER for each dialled link.
//!
//! What the `zeromq` crate does not contain is contained here:
//! - A peer that does not read must not hold the others up. No send is ever awaited: one that is not
//!   done at once, or that exceeds the link's [`Outbound`] queue, means that the link is lost.
//! - A DEALER does not reconnect. A lost one is reported and dropped; the node dials again.
//! - Sockets set no identity, because a second connection would take the first one's place.
//! - A server that accepts and stays silent is given up after the dial timeout.
//! - There is no keep-alive. Silence is for the nodes to notice, by heartbeats.

use futures::channel::mpsc;
use futures::future::{BoxFuture, FutureExt};
use futures::stream::StreamExt;
use std::collections::{BTreeMap, VecDeque};
use std::io::ErrorKind;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use steadfast_core::id::Address;
use steadfast_core::link::{Frame, LinkCommand, LinkId, LinkStatus};
use steadfast_runtime::address::{ListenError, host_and_port};
use steadfast_runtime::batch::Batch;
use steadfast_runtime::outbound::Outbound;
use steadfast_runtime::peers::Peers;
use steadfast_runtime::transport::{DIAL_TIMEOUT, MAX_DIALLED, refuse_itself};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tracing::debug;
use zeromq::util::PeerIdentity;
use zeromq::{
    DealerSocket, MultiPeerBackend, RouterSocket, Socket, SocketEvent, SocketOptions, SocketRecv, SocketSend,
    ZmqError, ZmqMessage, ZmqResult,
};

/// Most frames taken from the listening socket in one turn.
const ACCEPTED_FRAMES: usize = 64;
/// Most frames taken from one dialled link in one turn.
const DIALLED_FRAMES: usize = 32;

/// All links of one node.
pub struct ZeroMq {
    dial_timeout: Duration,
    listener: Option<Listener>,
    dialled: BTreeMap<LinkId, Dialled>,
    /// What was found out while sending, for the next turn.
    reports: VecDeque<(LinkId, LinkStatus)>,
}

/// The accepting side.
struct Listener {
    address: Address,
    socket: RouterSocket,
    backend: Arc<dyn MultiPeerBackend>,
    events: mpsc::Receiver<SocketEvent>,
    peers: Peers,
}

/// A dialled link.
enum Dialled {
    /// On its way. Dropped, it is given up.
    Dialling(BoxFuture<'static, Result<Dealer, LinkStatus>>),
    /// Carries frames.
    Up(Box<Dealer>),
}

/// A connected DEALER.
struct Dealer {
    socket: DealerSocket,
    events: mpsc::Receiver<SocketEvent>,
    outbound: Outbound,
}

impl ZeroMq {
    /// For a node that accepts no links. A dial may take so long.
    pub const fn dialling(timeout: Duration) -> Self {
        Self { dial_timeout: timeout, listener: None, dialled: BTreeMap::new(), reports: VecDeque::new() }
    }

    /// For a node that listens at this address. Port 0 lets the system choose.
    ///
    /// # Errors
    /// When the address cannot be bound, with the cause and what to do.
    pub async fn listen(address: &Address) -> Result<Self, ListenError> {
        let mut socket = RouterSocket::new();
        let events = socket.monitor();
        let bound = socket.bind(address.as_str()).await.map_err(|error| match error {
            ZmqError::Network(error) => ListenError::system(address, &error),
            error => ListenError::library(address, &error),
        })?;
        let bound =
            Address::new(&bound.to_string()).map_err(|error| ListenError::library(address, &error))?;
        let backend = socket.backend();
        let listener = Listener { address: bound, socket, backend, events, peers: Peers::default() };
        Ok(Self { listener: Some(listener), ..Self::dialling(DIAL_TIMEOUT) })
    }

    /// Where the node listens: with the port that the system chose.
    pub fn address(&self) -> Option<&Address> {
        self.listener.as_ref().map(|listener| &listener.address)
    }

    /// Sends a frame. On a link that is gone it vanishes; a link that cannot take it is lost.
    pub fn transmit(&mut self, link: LinkId, frame: Frame) {
        let sent = if link.is_accepted() {
            self.listener.as_mut().is_none_or(|listener| listener.send(link, frame))
        } else {
            match self.dialled.get_mut(&link) {
                Some(Dialled::Up(dealer)) => dealer.send(frame),
                _ => true,
            }
        };
        if !sent {
            debug!(%link, "given up: its queue is full or its connection gone");
            self.close(link);
            self.reports.push_back((link, LinkStatus::Lost));
        }
    }

    /// Dials or closes.
    pub fn command(&mut self, command: LinkCommand) {
        match command {
            LinkCommand::Close { link } => {
                self.close(link);
                self.reports.retain(|(reported, _)| *reported != link);
            }
            LinkCommand::Dial { link, .. } if self.dialled.len() >= MAX_DIALLED => {
                self.reports.push_back((link, LinkStatus::Lost));
            }
            LinkCommand::Dial { link, address } => {
                let dialling = dial(address, self.dial_timeout).boxed();
                self.dialled.insert(link, Dialled::Dialling(dialling));
            }
        }
    }

    /// Adds what has come to the batch. When that is nothing, the task is woken by what comes next.
    pub fn poll<C>(&mut self, cx: &mut Context<'_>, batch: &mut Batch<C>) {
        for (link, status) in self.reports.drain(..) {
            batch.link(link, status);
        }
        if let Some(listener) = &mut self.listener {
            batch.open(ACCEPTED_FRAMES);
            listener.poll(cx, batch);
        }
        self.dialled.retain(|&link, dialled| {
            batch.open(DIALLED_FRAMES);
            let status = dialled.poll(cx, link, batch);
            if let Poll::Ready(status) = status {
                batch.link(link, status);
            }
            !matches!(status, Poll::Ready(LinkStatus::Refused | LinkStatus::Lost))
        });
    }

    /// Waits until every queued frame was handed to the system, but not longer than this.
    pub async fn flush(&mut self, limit: Duration) {
        let end = Instant::now() + limit;
        while !self.is_flushed() {
            if Instant::now() >= end {
                debug!("some peers did not take their last frames");
                return;
            }
            sleep(Duration::from_millis(1)).await;
        }
    }

    fn is_flushed(&self) -> bool {
        let dialled = self.dialled.values().all(|dialled| match dialled {
            Dialled::Dialling(_) => true,
            Dialled::Up(dealer) => dealer.outbound.is_empty(),
        });
        dialled && self.listener.as_ref().is_none_or(|listener| listener.peers.is_flushed())
    }

    fn close(&mut self, link: LinkId) {
        self.dialled.remove(&link);
        if let Some(listener) = &mut self.listener
            && let Some(identity) = listener.peers.remove(link)
        {
            listener.disconnect(&identity);
        }
    }
}

impl Listener {
    /// Whether the frame was queued, or its link is gone already.
    fn send(&mut self, link: LinkId, frame: Frame) -> bool {
        let Some((identity, outbound)) = self.peers.get(link) else { return true };
        let Some(mut parts) = outbound.admit(frame) else { return false };
        parts.push_front(identity.clone());
        send_now(&mut self.socket, parts)
    }

    fn poll<C>(&mut self, cx: &mut Context<'_>, batch: &mut Batch<C>) {
        while !batch.is_full() {
            match poll_recv(&mut self.socket, cx) {
                Poll::Ready(Ok(message)) => self.received(message, batch),
                Poll::Ready(Err(error)) => {
                    // One peer's error is not the socket's; look again in the next turn.
                    debug!(%error, "receiving failed");
                    cx.waker().wake_by_ref();
                    break;
                }
                Poll::Pending => break,
            }
        }
        // After the frames, so that a peer's last words come before its end. The crate drops events
        // when too many wait; a peer lost that way falls silent and ages out of the table.
        while let Poll::Ready(Some(event)) = self.events.poll_next_unpin(cx) {
            if let SocketEvent::Disconnected(identity) = event
                && let Some(link) = self.peers.disconnected(&identity)
            {
                batch.link(link, LinkStatus::Lost);
            }
        }
    }

    fn received<C>(&mut self, message: ZmqMessage, batch: &mut Batch<C>) {
        let mut parts = message.into_vecdeque();
        let Some(identity) = parts.pop_front() else { return };
        let heard = self.peers.heard(&identity);
        if let Some((evicted, identity)) = heard.evicted {
            self.disconnect(&identity);
            batch.link(evicted, LinkStatus::Lost);
        }
        batch.received(heard.link, Frame { parts: parts.into() });
    }

    fn disconnect(&self, identity: &[u8]) {
        if let Ok(identity) = PeerIdentity::try_from(identity) {
            self.backend.peer_disconnected(&identity);
        }
    }
}

impl Dialled {
    /// Adds frames to the batch. Ready with the link's status when it changes.
    fn poll<C>(&mut self, cx: &mut Context<'_>, link: LinkId, batch: &mut Batch<C>) -> Poll<LinkStatus> {
        match self {
            Self::Dialling(dialling) => match dialling.poll_unpin(cx) {
                Poll::Ready(Ok(dealer)) => {
                    *self = Self::Up(Box::new(dealer));
                    // It is polled for frames in the next turn.
                    cx.waker().wake_by_ref();
                    Poll::Ready(LinkStatus::Up)
                }
                Poll::Ready(Err(status)) => Poll::Ready(status),
                Poll::Pending => Poll::Pending,
            },
            Self::Up(dealer) => dealer.poll(cx, link, batch),
        }
    }
}

impl Dealer {
    /// Whether the frame was queued.
    fn send(&mut self, frame: Frame) -> bool {
        self.outbound.admit(frame).is_some_and(|parts| send_now(&mut self.socket, parts))
    }

    fn poll<C>(&mut self, cx: &mut Context<'_>, link: LinkId, batch: &mut Batch<C>) -> Poll<LinkStatus> {
        while !batch.is_full() {
            match poll_recv(&mut self.socket, cx) {
                Poll::Ready(Ok(message)) => batch.received(link, Frame { parts: message.into_vec() }),
                Poll::Ready(Err(_)) => return Poll::Ready(LinkStatus::Lost),
                Poll::Pending => break,
            }
        }
        // A connection that ends without an error is reported here only.
        while let Poll::Ready(Some(event)) = self.events.poll_next_unpin(cx) {
            if matches!(event, SocketEvent::Disconnected(_)) {
                return Poll::Ready(LinkStatus::Lost);
            }
        }
        Poll::Pending
    }
}

/// One attempt to connect, to the end of the handshake.
async fn dial(address: Address, limit: Duration) -> Result<Dealer, LinkStatus> {
    probe(&address, limit).await?;
    let mut options = SocketOptions::default();
    options.connect_timeout(limit);
    let mut socket = DealerSocket::with_options(options);
    let events = socket.monitor();
    match socket.connect(address.as_str()).await {
        Ok(()) => Ok(Dealer { socket, events, outbound: Outbound::default() }),
        Err(error) => {
            debug!(%address, %error, "dialling failed");
            Err(LinkStatus::Lost)
        }
    }
}

/// Tells a refused connection, which is evidence of death (R32), from every other failure: the crate
/// itself retries a refused connection until its timeout and then reports only the timeout.
async fn probe(address: &Address, limit: Duration) -> Result<(), LinkStatus> {
    let target = host_and_port(address).map_err(|_| LinkStatus::Lost)?;
    match timeout(limit, TcpStream::connect(target)).await.map(|dialled| dialled.and_then(refuse_itself)) {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => Err(LinkStatus::Refused),
        Ok(Err(_)) | Err(_) => Err(LinkStatus::Lost),
    }
}

/// Polls for one message. The future holds nothing that its drop would lose.
fn poll_recv(socket: &mut impl SocketRecv, cx: &mut Context<'_>) -> Poll<ZmqResult<ZmqMessage>> {
    socket.recv().poll_unpin(cx)
}

/// Sends at once or not at all: whether it was done.
fn send_now(socket: &mut impl SocketSend, parts: VecDeque<bytes::Bytes>) -> bool {
    let Ok(message) = ZmqMessage::try_from(parts) else { return false };
    matches!(socket.send(message).now_or_never(), Some(Ok(())))
}
