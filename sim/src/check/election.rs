//! What a replica of discovery does as the leader of its kind, and on which grounds.

use super::ClientId;
use steadfast_core::coordination::SessionId;

/// It begins to lead.
#[derive(Clone, Copy, Debug)]
pub struct Accession<'a> {
    /// Which replica.
    pub replica: ClientId,
    /// Its candidate in the election, as it has read.
    pub own: Option<&'a str>,
    /// How many stand before that.
    pub before: usize,
    /// The session that owns it, as it has read.
    pub owner: Option<SessionId>,
    /// Its session.
    pub session: Option<SessionId>,
}

/// It creates the group.
#[derive(Clone, Copy, Debug)]
pub struct Creation {
    /// Which replica.
    pub replica: ClientId,
    /// Only if nobody has led discovery since.
    pub guarded: bool,
    /// Only if the broker that it begins with is still there.
    pub present: bool,
    /// For the broker that has registered first.
    pub first: bool,
}
