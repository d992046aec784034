//! A primary's log that is larger than a backup has memory for: the backup says so once, stays attached,
//! takes no part of a snapshot, and asks again after ever longer pauses (R16).

use super::{Broker, Role};
use crate::limits::{MAX_BATCH_LEN, OVERSIZE_PAUSE, OVERSIZE_PAUSE_CAP};
use crate::link::LinkId;
use crate::time::{Duration, Instant, is_due};
use crate::trace::{Rejection, Trace};
use serde::{Deserialize, Serialize};

/// What a backup has refused for its size in this epoch.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Oversize {
    /// Until then nothing of a snapshot is taken.
    until: Option<Instant>,
    /// The last pause; zero before the first one.
    pause: Duration,
}

impl Oversize {
    /// Whether it waits before it asks again.
    pub const fn waits(&self) -> bool {
        self.until.is_some()
    }

    /// When it asks again.
    pub const fn deadline(&self) -> Option<Instant> {
        self.until
    }

    /// Refuses. Returns whether it is the first time.
    fn refuse(&mut self, now: Instant) -> bool {
        let first = self.pause.is_zero();
        self.pause = (self.pause * 2).clamp(OVERSIZE_PAUSE, OVERSIZE_PAUSE_CAP);
        self.until = Some(now + self.pause);
        first
    }

    fn take_due(&mut self, now: Instant) -> bool {
        let due = is_due(self.until, now);
        if due {
            self.until = None;
        }
        due
    }
}

impl Broker {
    /// Most memory that a snapshot may take here, in bytes. The primary's log may exceed its limit by what
    /// it has not refused in time, and by the batch that has reached the limit.
    pub(super) const fn snapshot_limit(&self) -> u64 {
        let beyond = self.config.uncommitted_bytes.saturating_add(MAX_BATCH_LEN as u64);
        self.config.log_bytes.saturating_add(beyond)
    }

    /// The primary's log does not fit in here. It is not acknowledged, so nothing more is sent, and a
    /// follower that does not move holds nobody up (R17).
    pub(super) fn refuse_snapshot(&mut self, now: Instant, link: LinkId, bytes: u64) {
        let limit = self.snapshot_limit();
        let Role::Backup(backup) = &mut self.role else { return };
        backup.staging = None;
        if backup.oversize.refuse(now) {
            self.io.out.trace(Trace::SnapshotRefused { bytes, limit });
        }
        self.reject(link, Rejection::TooLarge);
    }

    /// Asks for the log again when it is time: it may have become smaller.
    pub(super) fn retry_snapshot(&mut self, now: Instant) {
        if let Role::Backup(backup) = &mut self.role
            && backup.oversize.take_due(now)
            && let Some(link) = backup.link()
        {
            self.say_hello(link);
        }
    }
}
