//! Why a record was not acknowledged, and what to do about it.

use crate::id::Lineage;
use core::fmt;

/// Why a record was not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The application is at fault: it publishes faster than the cluster takes. Not sent.
    QueueFull,
    /// The application is at fault: it published after closing. Not sent.
    Closed,
    /// The cluster is at fault: it gave up the data of this lineage after the record was sent and
    /// before it was acknowledged (R29). Whether a subscriber saw it is not known. Never sent again.
    Unknown {
        /// The lineage in which the record was sent.
        lineage: Lineage,
    },
    /// The deployment is at fault: another process uses this publisher's identity. The record may
    /// have been stored if it was sent. This publisher has stopped.
    Fenced {
        /// The other process's session incarnation.
        incarnation: u64,
    },
    /// The machine is at fault: the outbox cannot be written. The record may be in the outbox and in the
    /// cluster. This publisher has stopped.
    OutboxFailed,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::QueueFull => f.write_str(
                "not sent: the publisher's queue is full; wait for acknowledgements before publishing \
                 more, or raise its limit",
            ),
            Self::Closed => f.write_str("not sent: the publisher is closed; open a new one"),
            Self::Unknown { lineage } => write!(
                f,
                "unknown: the cluster gave up the data of lineage {lineage} before it acknowledged the \
                 record; publish it again only if a duplicate does no harm"
            ),
            Self::Fenced { incarnation } => write!(
                f,
                "stopped: another process uses this publisher's identity (session {incarnation}); give \
                 each process an identity of its own"
            ),
            Self::OutboxFailed => f.write_str(
                "stopped: the outbox cannot be written; put that right and start the publisher again with \
                 the same outbox: what is in it is sent then",
            ),
        }
    }
}

impl core::error::Error for Error {}
