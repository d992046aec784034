//! How a broker that was asked to leave has ended, and what it knew then.

use std::time::Duration;
use steadfast_core::group::{GroupState, PrimaryId};

/// The end of a broker that was asked to leave.
#[derive(Clone, Copy, Debug)]
pub struct Leaving<'a> {
    /// Which process.
    pub process: &'a PrimaryId,
    /// So long after it was asked.
    pub after: Duration,
    /// The group's state as it knew it.
    pub known: Option<&'a GroupState>,
    /// Whether a read of the tree that began since is complete, or nothing that it holds counts any more.
    pub read: bool,
    /// Whether it has followed the primary since.
    pub heard: bool,
    /// Whether the first record of the primary's epoch is not committed, as far as it knows.
    pub awaited: bool,
    /// Whether it has known for long that its primary has no live node, and has not put its own back.
    pub forsaken: bool,
}
