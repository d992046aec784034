//! How a primary that leaves has begun to hand over, and to whom.

use std::time::Duration;
use steadfast_core::group::PrimaryId;
use steadfast_core::id::Member;

/// The beginning of a handover.
#[derive(Clone, Copy, Debug)]
pub struct Handover<'a> {
    /// Which process hands over.
    pub process: &'a PrimaryId,
    /// So long after it failed with it before.
    pub rested: Option<Duration>,
    /// Whether the one that it has chosen has failed before.
    pub failed: bool,
    /// Another one that has not failed, and could take over as well.
    pub untried: Option<&'a Member>,
}
