//! The storage interface: of a broker's log, and of a publisher's outbox. Requests complete in the order
//! they were made. An acknowledgement leaves a broker, and a batch a publisher with an outbox, only after
//! the completion has come back in.

use crate::id::Offset;
use crate::log::Entry;
use crate::publisher::outbox;
use alloc::vec::Vec;

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
    /// Drop everything (a new lineage).
    Wipe,
    /// Change a publisher's outbox.
    Outbox(outbox::Change),
}

/// What storage says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The request with this ticket, and every one before it, is as durable as the storage promises.
    Done(Ticket),
    /// No request that is not complete will ever be: nothing more is stored.
    Failed,
}
