//! ZMTP 3.1, the wire protocol of ZeroMQ, with the NULL mechanism, as a state machine: bytes in, messages
//! out. Whoever owns the TCP stream reads into [`Connection::buffer`], takes events, and writes what
//! [`Connection::outgoing`] says.
//!
//! A stranger on the other end costs no more than [`Limits`] says: what is not ZMTP, too long, endless or
//! late ends its own connection with a [`Fault`], and nothing is allocated because a header claims it.
//! Bodies are handed out as slices of the buffer they were read into, and written from where they are.
//!
//! The specification is ZeroMQ's RFC 37 (<https://rfc.zeromq.org/spec/37/>); its sections are named where
//! they are obeyed. Identities are ignored: who speaks is said in the messages.

mod command;
mod connection;
mod greeting;
mod inbound;
mod outbound;
mod spares;

pub use connection::{Connection, Event};
pub use spares::Spares;

use crate::limits::{MAX_BATCH_LEN, MAX_ENVELOPE_LEN, MAX_FRAME_ENTRIES, MAX_FRAME_LEN};
use crate::time::Duration;
use core::fmt;

/// Kinds of sockets, as the handshake names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketType {
    /// Whoever dials.
    Dealer,
    /// Whoever accepts.
    Router,
}

impl SocketType {
    const fn name(self) -> &'static [u8] {
        match self {
            Self::Dealer => b"DEALER",
            Self::Router => b"ROUTER",
        }
    }

    /// Who may be on the other end ("The Socket-Type Property").
    fn suits(self, peer: &[u8]) -> bool {
        match self {
            Self::Dealer => matches!(peer, b"DEALER" | b"ROUTER" | b"REP"),
            Self::Router => matches!(peer, b"DEALER" | b"ROUTER" | b"REQ"),
        }
    }
}

/// What a peer may ask of this process's memory and patience.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From the beginning of a connection to the end of its handshake.
    pub handshake: Duration,
    /// Bytes in one part of a message.
    pub part_bytes: usize,
    /// Bytes in all parts of a message together.
    pub message_bytes: usize,
    /// Parts of a message.
    pub message_parts: usize,
    /// Bytes that wait to be written.
    pub queued_bytes: usize,
    /// Silence of the peer after which it is asked for a sign of life.
    pub ping: Duration,
    /// Silence of the peer after which the connection is given up.
    pub silence: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(5),
            part_bytes: if MAX_BATCH_LEN > MAX_ENVELOPE_LEN { MAX_BATCH_LEN } else { MAX_ENVELOPE_LEN },
            message_bytes: MAX_FRAME_LEN + MAX_ENVELOPE_LEN,
            message_parts: 1 + MAX_FRAME_ENTRIES,
            // A node may hand out several full frames in one turn, before the socket can take any.
            queued_bytes: 8 * MAX_FRAME_LEN,
            ping: Duration::from_secs(10),
            silence: Duration::from_secs(30),
        }
    }
}

/// Why a connection is of no more use. Close it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// What came is no ZMTP, or breaks its grammar in the way that is named.
    Malformed(&'static str),
    /// The peer speaks a version below 3.
    Version(u8),
    /// The peer wants another mechanism than NULL.
    Mechanism,
    /// The peer's socket is of a kind that does not go with this one.
    Unsuitable,
    /// The peer has refused the handshake.
    Refused,
    /// A part, or a message, is announced with more bytes than the limit.
    TooLong {
        /// As announced.
        bytes: u64,
        /// At most so many.
        limit: usize,
    },
    /// A message has more parts than the limit.
    TooManyParts(usize),
    /// The handshake took longer than the limit.
    HandshakeTimeout,
    /// Nothing came for longer than the limit, or than the peer itself had announced.
    Silent,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(what) => write!(f, "this is no ZMTP 3: {what}"),
            Self::Version(major) => write!(f, "the peer speaks ZMTP {major}; 3.0 or later is needed"),
            Self::Mechanism => write!(f, "the peer wants another security mechanism than NULL"),
            Self::Unsuitable => write!(f, "the peer's type of socket does not go with this one"),
            Self::Refused => write!(f, "the peer has refused the handshake"),
            Self::TooLong { bytes, limit } => write!(f, "{bytes} bytes were announced; the limit is {limit}"),
            Self::TooManyParts(limit) => write!(f, "a message has more than {limit} parts"),
            Self::HandshakeTimeout => write!(f, "the handshake was not finished in time"),
            Self::Silent => write!(f, "the peer has fallen silent"),
        }
    }
}

impl core::error::Error for Fault {}
