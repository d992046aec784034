//! One end of a connection, from its first byte to its last.

use super::command::{self, Command};
use super::greeting::{self, GREETING_LEN};
use super::inbound::{Inbound, Item};
use super::outbound::Outbound;
use super::{Fault, Limits, SocketType, Spares};
use crate::link::Frame;
use crate::time::{Duration, Instant, earliest, is_due};
use bytes::{Bytes, BytesMut};

/// What a connection has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The handshake is done: messages may be sent.
    Open,
    /// A message is whole.
    Message(Frame),
}

/// How far the handshake is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The peer's greeting is awaited.
    Greeting,
    /// The peer's READY is awaited.
    Handshake,
    /// Messages go both ways.
    Open,
}

/// One end of a connection.
#[derive(Debug)]
pub struct Connection {
    limits: Limits,
    socket: SocketType,
    phase: Phase,
    inbound: Inbound,
    outbound: Outbound,
    began: Instant,
    /// When something came last.
    heard: Instant,
    /// Whether the peer can be asked for a sign of life.
    heartbeats: bool,
    /// When it was found silent, if nothing has come since.
    silent: Option<Instant>,
    /// So long a silence the peer itself holds for the end.
    ttl: Option<Duration>,
    /// The context of a PING that is to be answered. There is one at a time, however many come.
    pong: Option<Bytes>,
}

impl Connection {
    /// A TCP connection has been made. Our greeting waits to be written.
    pub fn new(now: Instant, socket: SocketType, limits: Limits) -> Self {
        let mut outbound = Outbound::default();
        outbound.push(&greeting::greeting());
        Self {
            limits,
            socket,
            phase: Phase::Greeting,
            inbound: Inbound::default(),
            outbound,
            began: now,
            heard: now,
            heartbeats: false,
            silent: None,
            ttl: None,
            pong: None,
        }
    }

    /// Where the next bytes are to be read to: it has room. Call [`Self::received`] afterwards.
    pub fn buffer(&mut self, spares: &mut Spares) -> &mut BytesMut {
        self.inbound.buffer(spares)
    }

    /// After its reads: gives the buffer back, except for what is not whole yet.
    pub fn give_back(&mut self, spares: &mut Spares) {
        self.inbound.give_back(spares);
    }

    /// Bytes were added to the buffer. [`Self::poll_event`] says what they come to.
    pub fn received(&mut self, now: Instant) {
        self.heard = now;
        self.silent = None;
        self.inbound.grown();
    }

    /// What has come, until `None`. Whoever cannot take more for now asks again later.
    ///
    /// # Errors
    /// The connection is of no more use.
    pub fn poll_event(&mut self) -> Result<Option<Event>, Fault> {
        if self.phase == Phase::Greeting {
            let Some(greeting) = greeting::check(self.inbound.bytes())? else { return Ok(None) };
            self.heartbeats = greeting.heartbeats;
            self.inbound.skip(GREETING_LEN);
            self.outbound.push(&command::ready(self.socket));
            self.phase = Phase::Handshake;
        }
        while let Some(item) = self.inbound.next(&self.limits)? {
            match (item, self.phase) {
                (Item::Message(frame), Phase::Open) => return Ok(Some(Event::Message(frame))),
                (Item::Message(_), _) => return Err(Fault::Malformed("a message comes before READY")),
                (Item::Command(body), _) => {
                    if self.obey(command::decode(body)?)? {
                        return Ok(Some(Event::Open));
                    }
                }
            }
        }
        Ok(None)
    }

    /// Does what the peer asks for. Whether that has opened the connection.
    fn obey(&mut self, command: Command) -> Result<bool, Fault> {
        match (command, self.phase) {
            (Command::Ready { socket_type }, Phase::Handshake) => {
                if !self.socket.suits(&socket_type) {
                    return Err(Fault::Unsuitable);
                }
                self.phase = Phase::Open;
                return Ok(true);
            }
            (Command::Error, Phase::Handshake) => return Err(Fault::Refused),
            (_, Phase::Greeting | Phase::Handshake) => {
                return Err(Fault::Malformed("something else comes in place of READY"));
            }
            (Command::Ping { ttl, context }, Phase::Open) => {
                self.ttl = Some(ttl).filter(|ttl| !ttl.is_zero());
                self.pong = Some(context);
            }
            (Command::Ready { .. } | Command::Error | Command::Pong | Command::Other, Phase::Open) => {}
        }
        Ok(false)
    }

    /// Whether messages may be sent.
    pub fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Queues a message. `false`: the queue is full, or the connection is not open. The peer does not
    /// read; give the connection up, because what follows would have a gap.
    pub fn send(&mut self, frame: Frame) -> bool {
        self.is_open() && self.outbound.push_message(frame, self.limits.queued_bytes)
    }

    /// What is to be written, in order, piece by piece. Say with [`Self::written`] how much of it was.
    pub fn outgoing(&mut self) -> impl Iterator<Item = &[u8]> {
        // Behind everything else: whoever gets other bytes has its sign of life, and whoever does not read
        // has one PONG waiting, however often it asks.
        if self.outbound.is_empty()
            && let Some(context) = self.pong.take()
        {
            self.outbound.push(&command::encode(b"PONG", &[&context]));
        }
        self.outbound.pieces()
    }

    /// So many of the bytes that are to be written were.
    pub fn written(&mut self, len: usize) {
        self.outbound.written(len);
    }

    /// Whether nothing is to be written.
    pub fn is_flushed(&self) -> bool {
        self.pong.is_none() && self.outbound.is_empty()
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if !self.is_open() {
            return Some(self.began + self.limits.handshake);
        }
        earliest(self.next_step(), self.ttl.map(|ttl| self.heard + ttl))
    }

    /// When a silent peer is asked for a sign of life, or given up because it has not answered. The answer
    /// has its time from the question on: a process that was stopped meanwhile asks before it judges.
    fn next_step(&self) -> Option<Instant> {
        match self.silent {
            None => Some(self.heard + self.limits.ping),
            Some(at) => self.heartbeats.then_some(at + self.limits.silence.saturating_sub(self.limits.ping)),
        }
    }

    /// Looks at the time. Read what has come first: a peer is not silent because nobody has listened. Too
    /// early, it does nothing.
    ///
    /// # Errors
    /// The peer was silent, or unfinished, for too long.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), Fault> {
        if !is_due(self.poll_timeout(), now) {
            return Ok(());
        }
        if !self.is_open() {
            return Err(Fault::HandshakeTimeout);
        }
        let is_dead = self.silent.is_some() && is_due(self.next_step(), now);
        if is_dead || self.ttl.is_some_and(|ttl| now >= self.heard + ttl) {
            return Err(Fault::Silent);
        }
        self.silent = Some(now);
        self.inbound.rest();
        self.outbound.rest();
        if self.heartbeats {
            self.outbound.push(&command::ping(self.limits.silence));
        }
        Ok(())
    }
}
