//! One connection: a stream, and the protocol on it.

use super::Stream;
use super::ready::Bell;
use crate::batch::Batch;
use std::io::{self, ErrorKind, IoSlice};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use steadfast_core::link::{Frame, LinkId, LinkStatus};
use steadfast_core::time::Instant;
use steadfast_core::zmtp::{Connection, Event, Fault, Spares};

/// Most pieces that are handed to the system at once.
const PIECES: usize = 64;
/// Most reads of one link in a turn, before it is another one's.
const READS: usize = 4;

/// Why a connection is over.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    /// The peer has closed it.
    #[error("the peer has closed the connection")]
    Closed,
    /// The system says so.
    #[error(transparent)]
    System(#[from] io::Error),
    /// The peer does not keep to the protocol.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// One connection.
pub(super) struct Wire<S> {
    link: LinkId,
    stream: S,
    connection: Connection,
    bell: Arc<Bell>,
    waker: Waker,
    /// Whether the node knows of the link.
    known: bool,
    /// Why nothing can be written any more. What the peer has sent before is still read.
    broken: Option<io::Error>,
    /// When somebody looks at the time.
    alarm: Option<Instant>,
}

impl<S: Stream> Wire<S> {
    pub(super) fn new(link: LinkId, stream: S, connection: Connection, bell: Arc<Bell>) -> Self {
        let waker = Waker::from(Arc::clone(&bell));
        // A node knows what it has dialled; an accepted link begins with its first frame.
        let known = !link.is_accepted();
        Self { link, stream, connection, bell, waker, known, broken: None, alarm: None }
    }

    /// Whether the node knows of the link, and is to hear of its end.
    pub(super) const fn is_known(&self) -> bool {
        self.known
    }

    /// The link has something to do.
    pub(super) fn ring(&self) {
        self.bell.wake_by_ref();
    }

    /// Whether the handshake is done.
    pub(super) fn is_open(&self) -> bool {
        self.connection.is_open()
    }

    /// Queues a frame, if there is room.
    pub(super) fn send(&mut self, frame: Frame) -> bool {
        self.connection.send(frame)
    }

    /// Whether nothing is to be written, or can be.
    pub(super) fn is_flushed(&self) -> bool {
        self.broken.is_some() || self.connection.is_flushed()
    }

    /// Sets the alarm anew, if it would ring too late. When, if it did.
    pub(super) fn arm(&mut self) -> Option<Instant> {
        let at = self.connection.poll_timeout().filter(|at| self.alarm.is_none_or(|alarm| *at < alarm))?;
        self.alarm = Some(at);
        self.alarm
    }

    /// An alarm that was set for this time rings. Whether it is still the one.
    pub(super) fn rings(&mut self, at: Instant) -> bool {
        let is_set = self.alarm == Some(at);
        if is_set {
            self.alarm = None;
        }
        is_set
    }

    /// Looks at the time after a turn, and asks the peer for a sign of life where one is due.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Result<(), End> {
        self.connection.handle_timeout(now)?;
        self.write();
        Ok(())
    }

    /// Reads what has come, into the buffers that all links share, and writes what that calls for.
    pub(super) fn turn<C>(
        &mut self,
        now: Instant,
        batch: &mut Batch<C>,
        spares: &mut Spares,
    ) -> Result<(), End> {
        let result = self.read(now, batch, spares);
        self.connection.give_back(spares);
        result
    }

    fn read<C>(&mut self, now: Instant, batch: &mut Batch<C>, spares: &mut Spares) -> Result<(), End> {
        for _ in 0..READS {
            while !batch.is_full() {
                let Some(event) = self.connection.poll_event()? else { break };
                self.pass_on(event, batch);
            }
            if batch.is_full() {
                break;
            }
            let mut cx = Context::from_waker(&self.waker);
            match self.stream.poll_read(&mut cx, self.connection.buffer(spares))? {
                Poll::Ready(0) => return Err(End::Closed),
                Poll::Ready(_) => self.connection.received(now),
                Poll::Pending => {
                    self.write();
                    return self.broken.take().map_or(Ok(()), |error| Err(error.into()));
                }
            }
        }
        // There may be more, behind what the others have.
        self.ring();
        self.write();
        Ok(())
    }

    fn pass_on<C>(&mut self, event: Event, batch: &mut Batch<C>) {
        match event {
            Event::Open if !self.link.is_accepted() => batch.link(self.link, LinkStatus::Up),
            Event::Open => {}
            Event::Message(frame) => {
                self.known = true;
                batch.received(self.link, frame);
            }
        }
    }

    /// Writes as much as goes. The rest follows when there is room.
    pub(super) fn write(&mut self) {
        while self.broken.is_none() && !self.connection.is_flushed() {
            let mut pieces = [IoSlice::new(&[]); PIECES];
            let mut count = 0;
            for (piece, bytes) in pieces.iter_mut().zip(self.connection.outgoing()) {
                *piece = IoSlice::new(bytes);
                count += 1;
            }
            let mut cx = Context::from_waker(&self.waker);
            match self.stream.poll_write(&mut cx, &pieces[..count]) {
                Poll::Ready(Ok(written)) if written > 0 => self.connection.written(written),
                Poll::Ready(result) => {
                    // The peer's last words may have come before this.
                    self.broken = Some(result.err().unwrap_or_else(|| ErrorKind::WriteZero.into()));
                    self.ring();
                }
                Poll::Pending => return,
            }
        }
    }
}
