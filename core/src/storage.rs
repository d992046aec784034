//! The storage interface: of a broker's log, and of a publisher's outbox. Requests complete in the order
//! they were made. An acknowledgement leaves a broker, and a batch a publisher with an outbox, only after
//! the completion has come back in.

use crate::broker::sessions::SessionTable;
use crate::broker::topics::Topics;
use crate::id::Offset;
use crate::log::Entry;
use crate::publisher::outbox;
use alloc::boxed::Box;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Number of a request; ascending.
pub type Ticket = u64;

/// What a node asks of its storage.
#[derive(Clone, Debug)]
pub struct Request {
    /// Comes back in the completion.
    pub ticket: Ticket,
    /// What to do.
    pub operation: Operation,
}

/// One storage operation.
#[derive(Clone, Debug)]
pub enum Operation {
    /// Append entries at the log's end.
    Append(Vec<Entry>),
    /// Drop everything from this offset on.
    Truncate(Offset),
    /// Drop everything below this offset, the boundary of an entry. A log on disk may do so later, or
    /// coarsely: the entry that decided it is in the log.
    Trim(Offset),
    /// Drop everything (a new lineage).
    Wipe,
    /// Change a publisher's outbox.
    Outbox(outbox::Change),
    /// Keep entries of a snapshot beside the log. They are not part of it, and are dropped at a restart.
    Stage {
        /// Drop those that were staged before.
        anew: bool,
        /// They continue those staged before.
        entries: Vec<Entry>,
    },
    /// The staged entries take the place of the log, and what was folded from the log becomes this: both
    /// or neither.
    Install(Box<Fold>),
}

/// What was folded from a group's log up to an offset; everything below that is committed.
#[derive(Clone, Debug)]
pub struct Fold {
    /// Start of the log: staged entries below it are dropped.
    pub start: Offset,
    /// End of the log.
    pub end: Offset,
    /// Publishers' sessions.
    pub sessions: SessionTable,
    /// Heads of topics.
    pub topics: Topics,
}

/// What storage says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// The request with this ticket, and every one before it, is as durable as the storage promises.
    Done(Ticket),
    /// No request that is not complete will ever be: nothing more is stored.
    Failed,
}
