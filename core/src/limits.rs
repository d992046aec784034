//! Limits and timings of the nodes. What crosses the wire is bounded by `steadfast_proto::limits`.

use crate::time::Duration;

pub use steadfast_proto::limits::*;

/// Most entries handled by one input before the rest waits for the next.
pub const MAX_ENTRIES_PER_STEP: usize = MAX_FRAME_ENTRIES;
/// Bodies below this size are copied when they are kept: they would pin a larger receive buffer (R36).
pub const COPY_BODY_BELOW: usize = 1 << 10;

/// Timings for failure detection and recovery. Liveness depends on them, safety never does (R21).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Between signs of life on a link that has nothing else to say.
    pub heartbeat: Duration,
    /// Silence after which a backup suspects its primary, and a client looks elsewhere.
    pub suspicion: Duration,
    /// Silence of an in-sync member after which the primary drops it. Not below the session timeout (R12).
    pub lag: Duration,
    /// Isolation after which a primary falls silent (R20).
    pub step_down: Duration,
    /// Shortest delay before something is tried again.
    pub backoff: Duration,
    /// Longest delay before something is tried again.
    pub backoff_cap: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(50),
            suspicion: Duration::from_millis(250),
            lag: Duration::from_millis(2_500),
            step_down: Duration::from_millis(2_500),
            backoff: Duration::from_millis(10),
            backoff_cap: Duration::from_millis(500),
        }
    }
}
