//! Limits and timings of the nodes. What crosses the wire is bounded by `steadfast_proto::limits`.

use crate::time::Duration;

use serde::{Deserialize, Serialize};
pub use steadfast_proto::limits::*;

/// Refused connections that prove the death of a process, with no frame between (R32).
pub const REFUSALS_FOR_PROOF: u32 = 2;
/// Most publishers' sessions of a group.
pub const MAX_SESSIONS: usize = 100_000;
/// How long a publisher's session is remembered of which nothing is heard, unless configured.
pub const SESSION_EXPIRY: Duration = Duration::from_secs(24 * 60 * 60);
/// Most sessions that a primary takes into view, and most that it expires, in one step.
pub const EXPIRY_STEP: usize = 256;
/// Most topics whose heads a broker knows.
pub const MAX_TOPICS: usize = 16_384;
/// Most sessions in one part of a snapshot.
pub const MAX_FOLD_SESSIONS: usize = 1_024;
/// Most topics in one part of a snapshot.
pub const MAX_FOLD_TOPICS: usize = 256;
/// Most streams that a broker serves.
pub const MAX_STREAMS: usize = 20_000;
/// Most reads of the group's head that wait at a primary.
pub const MAX_HEAD_READS: usize = 1_024;
/// Reads of the head that come within this time share one read of the coordination tree.
pub const HEAD_READ_PACE: Duration = Duration::from_millis(5);
/// How long a read of the head may wait for the coordination service.
pub const HEAD_READ_DEADLINE: Duration = Duration::from_secs(1);
/// Most entries that are looked at for one stream in one step; the rest waits for the next.
pub const MAX_SCAN: usize = 4_096;
/// Most body bytes in one frame that a broker sends; one batch may exceed it.
pub const SEND_FRAME_BYTES: usize = 256 << 10;
/// Most body bytes sent to a backup and not yet acknowledged; one frame may exceed it.
pub const REPLICATION_WINDOW_BYTES: u64 = 4 << 20;
/// Most frames sent to a backup and not yet acknowledged.
pub const REPLICATION_WINDOW_FRAMES: usize = 256;
/// Most topics that a process counts by name; later ones are counted together.
pub const MAX_COUNTED_TOPICS: usize = 64;
/// Most offsets whose wait is being measured; beyond it the oldest is forgotten.
pub const MAX_TIMED_OFFSETS: usize = 256;
/// Most measured waits that are kept until they are read; beyond it none is measured.
pub const MAX_SAMPLES: usize = 1_024;
/// Most operators that are told how a broker leaves.
pub const MAX_DRAIN_REQUESTS: usize = 16;
/// When a client tries again after a refusal that is over in a moment: commits free memory, an election
/// ends, a handover is done or has failed.
pub const RETRY_SOON: Duration = Duration::from_millis(20);
/// When a backup asks again for a snapshot that was too large for it; twice as long after each time.
pub const OVERSIZE_PAUSE: Duration = Duration::from_secs(10);
/// The longest time after which it asks again.
pub const OVERSIZE_PAUSE_CAP: Duration = Duration::from_secs(600);
/// How long a broker that was asked to leave may look for one that takes over, or wait for the
/// coordination service.
pub const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(5);
/// How long a broker that was asked to leave, and that alone holds the group's data, waits for followers
/// that are copying it. Then it still has [`SHUTDOWN_DEADLINE`] to give the data up.
pub const LEARNER_DEADLINE: Duration = Duration::from_secs(60);

/// Timings for failure detection and recovery. Liveness depends on them, safety never does (R21).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timing {
    /// Between signs of life on a link that has nothing else to say.
    pub heartbeat: Duration,
    /// Silence after which a backup suspects its primary.
    pub suspicion: Duration,
    /// Between signs of life of a primary to a client. Longer than between brokers: there are many
    /// clients, and they learn of a failover from discovery.
    pub client_heartbeat: Duration,
    /// Silence after which a client looks elsewhere.
    pub client_suspicion: Duration,
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
            client_heartbeat: Duration::from_millis(150),
            client_suspicion: Duration::from_millis(600),
            lag: Duration::from_millis(2_500),
            step_down: Duration::from_millis(2_500),
            backoff: Duration::from_millis(10),
            backoff_cap: Duration::from_millis(500),
        }
    }
}
