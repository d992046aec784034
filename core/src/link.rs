//! Links: numbered, ordered, lossy connections. Within one link frames keep their order; frames that
//! were queued when a link is lost vanish silently.

use crate::id::Address;
use alloc::vec::Vec;
use bytes::Bytes;
use core::fmt;
use serde::{Deserialize, Serialize};

/// One end of a connection, as its node numbers it. A number is never used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LinkId(u64);

const ACCEPTED: u64 = 1 << 63;

impl LinkId {
    /// The n-th link that this node dials.
    pub const fn dialled(n: u64) -> Self {
        Self(n & !ACCEPTED)
    }

    /// The n-th link that this node's driver has accepted.
    pub const fn accepted(n: u64) -> Self {
        Self(n | ACCEPTED)
    }

    /// Whether the peer dialled.
    pub const fn is_accepted(self) -> bool {
        self.0 & ACCEPTED != 0
    }
}

impl fmt::Display for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = if self.is_accepted() { '<' } else { '>' };
        write!(f, "{side}{}", self.0 & !ACCEPTED)
    }
}

impl fmt::Debug for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a driver says of a link. A dialled link gets exactly one of `Up`, `Refused` or `Lost` first,
/// and at most one `Lost` after `Up`; nothing comes after `Refused`, `Lost` or the node's own `Close`.
/// An accepted link begins with its first frame and ends with at most one `Lost`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LinkStatus {
    /// The dialled link can carry frames.
    Up,
    /// Nobody listens there (the peer's machine said so: evidence of death, R32).
    Refused,
    /// The link is gone, could not be made, or was given up because its queue was full.
    Lost,
}

/// What a node asks of its driver.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LinkCommand {
    /// Try once to connect. The node decides whether to try again.
    Dial {
        /// Chosen by the node, never used before.
        link: LinkId,
        /// Where to.
        address: Address,
    },
    /// Forget the link. Frames still queued may be lost.
    Close {
        /// A link that was dialled or accepted.
        link: LinkId,
    },
}

/// A ZeroMQ multipart message: an encoded envelope and the bodies that belong to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Frame {
    /// Part 1 is the envelope, parts 2..n are bodies.
    pub parts: Vec<Bytes>,
}

impl Frame {
    /// Bytes in all parts.
    pub fn len(&self) -> usize {
        self.parts.iter().map(Bytes::len).sum()
    }

    /// Whether there is not a single byte.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Hands out numbers for dialled links.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Dialler {
    next: u64,
}

impl Dialler {
    /// A number that was not used before.
    pub const fn next_link(&mut self) -> LinkId {
        self.next += 1;
        LinkId::dialled(self.next)
    }
}
