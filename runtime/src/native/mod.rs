//! Links over TCP with our own ZMTP ([`steadfast_core::zmtp`]): the native transport, without the sockets
//! themselves. An adapter brings those as a [`Network`].
//!
//! Everything happens in [`Links::poll`], in the task of the node: what was queued since the last turn is
//! written with one system call per link, and only links on which something can be done are looked at.

mod ready;
#[cfg(test)]
mod tests;
mod wire;

use crate::address::{ListenError, host_and_port};
use crate::batch::Batch;
use crate::transport::{DIAL_TIMEOUT, MAX_DIALLED};
use bytes::BytesMut;
use futures::future::BoxFuture;
use ready::{Bell, Ready};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::io::{self, ErrorKind, IoSlice};
use std::net::TcpListener;
use std::sync::Arc;
use std::task::{Context, Poll, Wake as _, Waker};
use steadfast_core::id::Address;
use steadfast_core::link::{Frame, LinkCommand, LinkId, LinkStatus};
use steadfast_core::time::{Duration, Instant};
use steadfast_core::zmtp::{Connection, Limits, SocketType, Spares};
use tracing::{debug, warn};
use wire::{End, Wire};

/// Most connections that a node has accepted at a time. One more is closed at once: what the system has
/// left of the 16,384 descriptors that the program asks for is for those whom the node itself dials.
pub const MAX_ACCEPTED: usize = 16_000;
/// Connections that wait to be accepted. When a primary has died all its clients come at once: beyond this
/// one has to try again a second later. The system may allow fewer.
const BACKLOG: i32 = 4_096;
/// Most frames taken in one turn.
const FRAMES: usize = 256;
/// Most connections accepted in one turn.
const ACCEPTS: usize = 64;
/// After the system has refused to accept, for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A byte stream that an adapter owns.
pub trait Stream: Send + 'static {
    /// Reads what has come into the buffer's spare room. 0: nothing will come any more.
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut BytesMut) -> Poll<io::Result<usize>>;
    /// Writes as much of the pieces as goes. How many bytes.
    fn poll_write(&mut self, cx: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>>;
}

/// An adapter's sockets.
pub trait Network: 'static {
    /// A connection.
    type Stream: Stream;
    /// Takes connections.
    type Listener: Send;
    /// The next connection that somebody has made.
    fn poll_accept(listener: &mut Self::Listener, cx: &mut Context<'_>) -> Poll<io::Result<Self::Stream>>;
    /// Makes a connection.
    fn connect(address: Address) -> BoxFuture<'static, io::Result<Self::Stream>>;
}

/// Listens at this address, without waiting for anybody; port 0 lets the system choose. Where that is.
///
/// # Errors
/// When the address cannot be bound, with the cause and what to do.
pub fn listen(address: &Address) -> Result<(TcpListener, Address), ListenError> {
    let failed = |error: io::Error| ListenError::system(address, &error);
    let invalid = |error: &dyn std::error::Error| ListenError::library(address, error);
    let target = host_and_port(address).map_err(|error| invalid(&error))?;
    let listener = TcpListener::bind(target).map_err(failed)?;
    rustix::net::listen(&listener, BACKLOG).map_err(|error| failed(error.into()))?;
    listener.set_nonblocking(true).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    let bound = Address::new(&format!("tcp://{bound}")).map_err(|error| invalid(&error))?;
    Ok((listener, bound))
}

/// A dial under way.
struct Dialling<S> {
    connecting: BoxFuture<'static, io::Result<S>>,
    bell: Arc<Bell>,
    /// When it is given up, once it has begun.
    until: Option<Instant>,
}

/// All links of one node.
pub struct Links<N: Network> {
    dial_timeout: Duration,
    listener: Option<(Address, N::Listener)>,
    /// Connections accepted so far.
    accepted: u64,
    /// Not before this time is anybody accepted.
    accept_at: Instant,
    dialling: BTreeMap<LinkId, Dialling<N::Stream>>,
    wires: BTreeMap<LinkId, Wire<N::Stream>>,
    ready: Arc<Ready>,
    /// What is read into.
    spares: Spares,
    /// Links for which something was queued.
    unwritten: Vec<LinkId>,
    /// When somebody has to look at a link, or at the listener; not always its present deadline.
    timers: BinaryHeap<Reverse<(Instant, Option<LinkId>)>>,
    /// What was found out while sending, for the next turn.
    reports: VecDeque<(LinkId, LinkStatus)>,
}

impl<N: Network> Default for Links<N> {
    fn default() -> Self {
        Self {
            dial_timeout: DIAL_TIMEOUT,
            listener: None,
            accepted: 0,
            accept_at: Instant::default(),
            dialling: BTreeMap::new(),
            wires: BTreeMap::new(),
            ready: Arc::default(),
            spares: Spares::default(),
            unwritten: Vec::new(),
            timers: BinaryHeap::new(),
            reports: VecDeque::new(),
        }
    }
}

impl<N: Network> Links<N> {
    /// For a node that listens there, with the port that the system chose.
    pub fn listening(address: Address, listener: N::Listener) -> Self {
        Self { listener: Some((address, listener)), ..Self::default() }
    }

    /// For a node that accepts no links. A dial may take so long.
    pub fn dialling(timeout: Duration) -> Self {
        Self { dial_timeout: timeout, ..Self::default() }
    }

    /// Where the node listens.
    pub fn address(&self) -> Option<&Address> {
        self.listener.as_ref().map(|(address, _)| address)
    }

    /// Queues a frame: it is written in the next turn. On a link that is gone it vanishes; a link whose
    /// queue is full is lost.
    pub fn transmit(&mut self, link: LinkId, frame: Frame) {
        let Some(wire) = self.wires.get_mut(&link).filter(|wire| wire.is_open()) else { return };
        let was_flushed = wire.is_flushed();
        if !wire.send(frame) {
            debug!(%link, "given up: its queue is full");
            self.wires.remove(&link);
            self.reports.push_back((link, LinkStatus::Lost));
        } else if was_flushed {
            self.unwritten.push(link);
        }
    }

    /// Dials or closes.
    pub fn command(&mut self, command: LinkCommand) {
        match command {
            LinkCommand::Close { link } => {
                self.dialling.remove(&link);
                if let Some(mut wire) = self.wires.remove(&link) {
                    // What fits into the system's buffer still leaves.
                    wire.write();
                }
                self.reports.retain(|(reported, _)| *reported != link);
            }
            LinkCommand::Dial { link, .. } if self.dialled() >= MAX_DIALLED => {
                self.reports.push_back((link, LinkStatus::Lost));
            }
            LinkCommand::Dial { link, address } => {
                let bell = self.ready.bell(link);
                bell.wake_by_ref();
                let dialling = Dialling { connecting: N::connect(address), bell, until: None };
                self.dialling.insert(link, dialling);
            }
        }
    }

    fn dialled(&self) -> usize {
        // Numbers of dialled links are below those of accepted ones.
        self.dialling.len() + self.wires.range(..LinkId::accepted(0)).count()
    }

    /// When [`Self::poll`] is due although nothing comes.
    pub fn deadline(&self) -> Option<Instant> {
        self.timers.peek().map(|Reverse((at, _))| *at)
    }

    /// Writes what was queued, and adds what has come to the batch. When that is nothing, the task is
    /// woken by what comes next.
    pub fn poll<C>(&mut self, cx: &mut Context<'_>, now: Instant, batch: &mut Batch<C>) {
        self.ready.listen(cx.waker());
        self.write();
        for (link, status) in self.reports.drain(..) {
            batch.link(link, status);
        }
        self.accept(cx, now);
        batch.open(FRAMES);
        self.look_at_the_time(now, batch);
        // Who has more than fits comes again in the next turn, after the others.
        for _ in 0..self.ready.len() {
            if batch.is_full() {
                // Those that wait have woken the task already, and it has come.
                cx.waker().wake_by_ref();
                break;
            }
            let Some(link) = self.ready.pop() else { break };
            self.connect(link, now, batch);
            let Some(wire) = self.wires.get_mut(&link) else { continue };
            match wire.turn(now, batch, &mut self.spares) {
                Ok(()) => self.timers.extend(wire.arm().map(|at| Reverse((at, Some(link))))),
                Err(end) => self.ends(link, &end, batch),
            }
        }
    }

    /// Ready when everything that was queued is with the system, or its link is gone.
    pub fn poll_flushed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.ready.listen(cx.waker());
        self.unwritten.extend(self.wires.keys());
        self.write();
        // Whoever has room again has rung.
        while self.ready.pop().is_some() {}
        if self.wires.values().all(Wire::is_flushed) { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Writes what was queued since the last turn.
    fn write(&mut self) {
        for link in std::mem::take(&mut self.unwritten) {
            if let Some(wire) = self.wires.get_mut(&link) {
                wire.write();
            }
        }
    }

    /// Goes on with a dial.
    fn connect<C>(&mut self, link: LinkId, now: Instant, batch: &mut Batch<C>) {
        let Some(dialling) = self.dialling.get_mut(&link) else { return };
        if dialling.until.is_none() {
            dialling.until = Some(now + self.dial_timeout);
            self.timers.push(Reverse((now + self.dial_timeout, Some(link))));
        }
        let waker = Waker::from(Arc::clone(&dialling.bell));
        let status = match dialling.connecting.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Pending => return,
            Poll::Ready(Ok(stream)) => {
                self.dialling.remove(&link);
                let limits = Limits { handshake: self.dial_timeout, ..Limits::default() };
                return self.begin(link, stream, Connection::new(now, SocketType::Dealer, limits));
            }
            // Evidence of death (R32), unlike every other failure.
            Poll::Ready(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => LinkStatus::Refused,
            Poll::Ready(Err(_)) => LinkStatus::Lost,
        };
        self.dialling.remove(&link);
        batch.link(link, status);
    }

    /// Takes those in who have connected.
    fn accept(&mut self, cx: &mut Context<'_>, now: Instant) {
        if self.listener.is_none() || now < self.accept_at {
            return;
        }
        for _ in 0..ACCEPTS {
            let Some((_, listener)) = &mut self.listener else { return };
            match N::poll_accept(listener, cx) {
                Poll::Pending => return,
                Poll::Ready(Ok(stream)) if self.wires.len() < MAX_ACCEPTED => {
                    self.accepted += 1;
                    let link = LinkId::accepted(self.accepted);
                    self.begin(link, stream, Connection::new(now, SocketType::Router, Limits::default()));
                }
                Poll::Ready(Ok(_)) => debug!("a connection is closed at once: there are {MAX_ACCEPTED}"),
                Poll::Ready(Err(error)) if error.kind() == ErrorKind::ConnectionAborted => {}
                Poll::Ready(Err(error)) => {
                    // No descriptors, or no memory: those who have a connection go on meanwhile.
                    warn!(%error, "a connection could not be accepted");
                    self.accept_at = now + ACCEPT_PAUSE;
                    self.timers.push(Reverse((self.accept_at, None)));
                    return;
                }
            }
        }
        cx.waker().wake_by_ref();
    }

    fn begin(&mut self, link: LinkId, stream: N::Stream, connection: Connection) {
        let mut wire = Wire::new(link, stream, connection, self.ready.bell(link));
        self.timers.extend(wire.arm().map(|at| Reverse((at, Some(link)))));
        // The greeting is to be written, and whoever wakes the link has to be told first.
        wire.ring();
        self.wires.insert(link, wire);
    }

    /// Asks silent peers for a sign of life, and gives up what has taken too long.
    fn look_at_the_time<C>(&mut self, now: Instant, batch: &mut Batch<C>) {
        while let Some(Reverse((at, link))) = self.timers.peek().copied().filter(|_| !batch.is_full()) {
            if at > now {
                return;
            }
            self.timers.pop();
            let Some(link) = link else { continue };
            if self.dialling.remove(&link).is_some() {
                batch.link(link, LinkStatus::Lost);
            }
            let Some(wire) = self.wires.get_mut(&link) else { continue };
            if !wire.rings(at) {
                continue;
            }
            match wire.turn(now, batch, &mut self.spares).and_then(|()| wire.handle_timeout(now)) {
                Ok(()) => self.timers.extend(wire.arm().map(|at| Reverse((at, Some(link))))),
                Err(end) => self.ends(link, &end, batch),
            }
        }
    }

    /// A link is over, after everything that came on it.
    fn ends<C>(&mut self, link: LinkId, end: &End, batch: &mut Batch<C>) {
        debug!(%link, %end, "lost");
        if self.wires.remove(&link).is_some_and(|wire| wire.is_known()) {
            batch.link(link, LinkStatus::Lost);
        }
    }
}
