//! The receiving side: from bytes to messages and commands ("Framing").

use super::command::MAX_COMMAND_LEN;
use super::{Fault, Limits, Spares};
use crate::link::Frame;
use alloc::vec::Vec;
use bytes::{Buf, Bytes, BytesMut};

/// Flag: another part of the same message follows.
pub(super) const MORE: u8 = 1;
/// Flag: the length takes eight bytes instead of one.
pub(super) const LONG: u8 = 2;
/// Flag: a command.
pub(super) const COMMAND: u8 = 4;

/// Room for the first read of a connection: idle ones stay small.
const LEAST_READ: usize = 8 << 10;
/// Most room that a read is given. Measured: more makes the cache useless, less costs system calls.
const MOST_READ: usize = 256 << 10;

/// What comes whole out of the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// A command's body.
    Command(Bytes),
    /// All parts of a message.
    Message(Frame),
}

/// Bytes that were received, and what they are put together to.
#[derive(Debug)]
pub(super) struct Inbound {
    buffer: BytesMut,
    /// How much room the next read gets.
    room: usize,
    /// How much was there before the last read.
    before: usize,
    /// The parts of a message that is not whole yet.
    parts: Vec<Bytes>,
    /// Their bytes.
    bytes: usize,
}

impl Default for Inbound {
    fn default() -> Self {
        Self { buffer: BytesMut::new(), room: LEAST_READ, before: 0, parts: Vec::new(), bytes: 0 }
    }
}

/// A frame's header: its flags, its own length, and the length of what follows.
struct Header {
    flags: u8,
    len: usize,
    body: u64,
}

impl Inbound {
    /// Keeps what is not whole yet, and gives the room behind it to others.
    pub(super) fn give_back(&mut self, spares: &mut Spares) {
        // A slice of nothing would keep the buffer from being used again.
        let half = if self.buffer.is_empty() { BytesMut::new() } else { self.buffer.split() };
        spares.put(core::mem::replace(&mut self.buffer, half));
    }

    /// Where the next bytes are read to, with room for some. Room grows with what comes, never with what a
    /// header promises.
    pub(super) fn buffer(&mut self, spares: &mut Spares) -> &mut BytesMut {
        if !self.buffer.try_reclaim(self.room) {
            let mut next = spares.take(self.buffer.len() + self.room);
            next.extend_from_slice(&self.buffer);
            spares.put(core::mem::replace(&mut self.buffer, next));
        }
        self.before = self.buffer.len();
        &mut self.buffer
    }

    /// Bytes were read.
    pub(super) fn grown(&mut self) {
        // A read that fills its room means that there is more.
        if self.buffer.len() == self.buffer.capacity() {
            self.room = (2 * self.room).min(MOST_READ);
        } else if self.buffer.len() - self.before < self.room / 8 {
            self.room = (self.room / 2).max(LEAST_READ);
        }
    }

    /// Nothing has come for a while: what is kept for the next read is small again.
    pub(super) fn rest(&mut self) {
        self.room = LEAST_READ;
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
    }

    /// What was received and not taken yet.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer
    }

    /// Takes bytes off that were read otherwise.
    pub(super) fn skip(&mut self, len: usize) {
        self.buffer.advance(len);
    }

    /// The next command or message that is whole.
    pub(super) fn next(&mut self, limits: &Limits) -> Result<Option<Item>, Fault> {
        loop {
            let Some(header) = self.header()? else { return Ok(None) };
            let is_command = header.flags & COMMAND != 0;
            let body = if is_command { command_len(&header)? } else { self.part_len(&header, limits)? };
            if self.buffer.len() < header.len + body {
                return Ok(None);
            }
            self.buffer.advance(header.len);
            let bytes = self.buffer.split_to(body).freeze();
            // Commands may stand between the parts of a message: libzmq sends its PINGs there.
            if is_command {
                return Ok(Some(Item::Command(bytes)));
            }
            self.bytes += body;
            self.parts.push(bytes);
            if header.flags & MORE == 0 {
                self.bytes = 0;
                return Ok(Some(Item::Message(Frame { parts: core::mem::take(&mut self.parts) })));
            }
        }
    }

    fn header(&self) -> Result<Option<Header>, Fault> {
        let Some(&flags) = self.buffer.first() else { return Ok(None) };
        if flags & !(MORE | LONG | COMMAND) != 0 || flags & (MORE | COMMAND) == MORE | COMMAND {
            return Err(Fault::Malformed("a frame has flags that mean nothing"));
        }
        let long = self.buffer.get(1..9).and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes);
        let short = self.buffer.get(1).map(|byte| u64::from(*byte));
        let (len, body) = if flags & LONG != 0 { (9, long) } else { (2, short) };
        Ok(body.map(|body| Header { flags, len, body }))
    }

    /// The length of a part, if the message may have it.
    fn part_len(&self, header: &Header, limits: &Limits) -> Result<usize, Fault> {
        if self.parts.len() >= limits.message_parts {
            return Err(Fault::TooManyParts(limits.message_parts));
        }
        let part = within(header.body, limits.part_bytes)?;
        within((self.bytes + part) as u64, limits.message_bytes)?;
        Ok(part)
    }
}

fn command_len(header: &Header) -> Result<usize, Fault> {
    within(header.body, MAX_COMMAND_LEN)
}

fn within(bytes: u64, limit: usize) -> Result<usize, Fault> {
    usize::try_from(bytes).ok().filter(|len| *len <= limit).ok_or(Fault::TooLong { bytes, limit })
}
