//! The settings of a plan: each is one line, and one that is left out has its default.

use super::value::{LONGEST, Value, within};
use crate::clock::MAX_DRIFT;
use crate::cluster::{self, Cluster};
use crate::network::{self, Tail};
use crate::random::Span;
use crate::{coordination, world};
use std::time::Duration;
use steadfast_core::broker::OnTotalLoss;
use steadfast_core::broker::retention::Retention;
use steadfast_core::limits::{MAX_BATCH_LEN, MAX_FRAME_LEN, Timing};
use steadfast_core::log::Codec;
use steadfast_core::publisher;

/// Records of the least size that a broker has room for in any case.
const ROOM: u64 = 16;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const fn us(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

/// The least memory for a log that keeps so much, with so much besides that waits for in-sync members: the
/// first may take seven eighths of it, the second all.
pub(super) const fn least_log(retention: u64, uncommitted: u64) -> u64 {
    let kept = (retention * 8).div_ceil(7);
    if kept > uncommitted { kept } else { uncommitted }
}

macro_rules! knobs {
    ($($(#[$doc:meta])+ $name:ident $text:literal: $type:ty = $default:expr $(, within $range:expr)?;)*) => {
        /// Every setting. Values within their bounds make sense together, so that leaving one out never
        /// makes another one wrong.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Knobs {
            $($(#[$doc])+ pub $name: $type,)*
        }

        impl Default for Knobs {
            fn default() -> Self {
                Self { $($name: $default,)* }
            }
        }

        impl Knobs {
            /// The names of all settings.
            pub const NAMES: &[&str] = &[$($text),*];

            /// Changes one. `None`: there is no such setting.
            pub(super) fn set(&mut self, name: &str, value: &str) -> Option<Result<(), String>> {
                match name {
                    $($text => {
                        let read: fn(&str) -> Result<$type, String> = reader!($($range)?);
                        Some(read(value).map(|value| self.$name = value))
                    })*
                    _ => None,
                }
            }

            /// A line for each that has not its default.
            pub(super) fn lines(&self) -> Vec<String> {
                let default = Self::default();
                let mut lines = Vec::new();
                $(if self.$name != default.$name {
                    lines.push(format!("{} {}", $text, self.$name.write()));
                })*
                lines
            }
        }
    };
}

macro_rules! reader {
    () => {
        Value::read
    };
    ($range:expr) => {
        |text| within(text, $range)
    };
}

knobs! {
    /// Seed of all draws of the run.
    seed "seed": u64 = 0;
    /// How long the faults and the workload go on; then everything is put right, or what must suffice is.
    duration "duration": Duration = ms(10_000), within (Duration::ZERO, Duration::from_secs(86_400));
    /// Whether faults may hit the last process that holds all committed data. Otherwise those that would
    /// kill it do not strike.
    unsparing "unsparing": bool = false;
    /// Whether, when the faults end, only a core that must suffice is put right, and everybody else stays as
    /// they are (see `cluster/liveness.rs`).
    core_only "core-only": bool = false;
    /// Number of brokers.
    brokers "brokers": u32 = 3, within (1, 5);
    /// Between the starts of two brokers.
    stagger "stagger": Duration = Duration::ZERO, within (Duration::ZERO, ms(10_000));
    /// Number of discovery replicas.
    discoveries "discoveries": u32 = 2, within (1, 3);
    /// Whether clients have the address of a replica of another cluster, too (see `stranger.rs`).
    stranger "stranger": bool = false;
    /// Commits need so many in-sync members: no more than there are brokers.
    min_in_sync "min-in-sync": u32 = 1, within (1, 2);
    /// What the group does when its data is gone.
    on_total_loss "on-total-loss": OnTotalLoss = OnTotalLoss::Reset;
    /// When the session of a publisher that is not heard of is forgotten.
    session_expiry "session-expiry": Duration = Duration::from_secs(86_400), within (ms(200), LONGEST);
    /// Bytes that are kept. Here and below a broker has at least room for some records.
    retention_bytes "retention-bytes": u64 = 512 << 20, within (1_024, 1 << 40);
    /// Records that are kept; the largest number: any.
    retention_records "retention-records": u64 = u64::MAX, within (1, u64::MAX);
    /// How long records are kept; the longest time: for ever.
    retention_age "retention-age": Duration = LONGEST, within (ms(10), LONGEST);
    /// Memory for the log on top of the least that is allowed, in bytes.
    log_spare "log-spare": u64 = (1 << 30) - least_log(512 << 20, 32 << 20), within (0, 1 << 40);
    /// Memory of entries that may wait for in-sync members, in bytes.
    uncommitted_bytes "uncommitted-bytes": u64 = 32 << 20, within (256, 1 << 40);
    /// Payloads are at least so long, in bytes.
    payload "payload": usize = 0, within (0, 64 << 10);
    /// A publisher's batch of so many bytes is full.
    batch_bytes "batch-bytes": usize = 64 << 10, within (1, MAX_BATCH_LEN);
    /// How publishers compress, where a broker lets them.
    compression "compression": Codec = Codec::None;
    /// Body bytes that a publisher has in flight.
    window_bytes "window-bytes": usize = 4 << 20, within (1, 1 << 30);
    /// Frames that a publisher has in flight.
    window_frames "window-frames": u64 = 16, within (1, 1 << 10);
    /// Records that may wait at a publisher; beyond that it turns them away.
    queue_records "queue-records": usize = 1 << 20, within (1, 1 << 20);
    /// Without progress for so long a publisher sends everything in flight again.
    ack_timeout "ack-timeout": Duration = ms(2_000), within (ms(50), ms(10_000));
    /// Body bytes that may wait for a subscriber's application.
    credit_bytes "credit-bytes": u64 = 4 << 20, within (1, 1 << 40);
    /// Time that a storage request takes.
    storage "storage": Span = Span::ZERO;
    /// Time that a packet takes.
    latency "latency": Span = Span::new(us(100), ms(1));
    /// Each process is farther from each other one by a time drawn once, in each direction.
    distance "distance": Span = Span::ZERO;
    /// So many in a thousand packets take much longer.
    tail_permille "tail-permille": u32 = 0, within (0, 1_000);
    /// So much longer.
    tail "tail": Span = Span::ZERO;
    /// How long a dial waits for an answer.
    dial_timeout "dial-timeout": Duration = ms(1_000), within (ms(100), ms(10_000));
    /// How late an end notices that its connection was reset.
    half_open "half-open": Span = Span::new(Duration::ZERO, ms(5));
    /// Frames under way on a link before its sender gives it up.
    link_frames "link-frames": usize = 1_000, within (20, 1 << 20);
    /// The same in bytes.
    link_bytes "link-bytes": usize = 8 * MAX_FRAME_LEN, within (1 << 20, 8 * MAX_FRAME_LEN);
    /// Every process's clock runs up to so many millionths too fast or too slow.
    drift "drift": u32 = 0, within (0, MAX_DRIFT.unsigned_abs());
    /// The session timeout of the coordination service.
    session_timeout "session-timeout": Duration = ms(2_000), within (ms(500), ms(10_000));
    /// A session expires up to this long after its timeout.
    tick "tick": Duration = ms(100), within (Duration::ZERO, ms(2_000));
    /// Time that a coordination request or its reply takes.
    coordination "coordination": Span = Span::new(us(200), ms(1));
    /// Between a coordination client's attempts to connect.
    reconnect "reconnect": Span = Span::new(ms(10), ms(200));
    /// How far the coordination follower is behind.
    follower_lag "follower-lag": Span = Span::new(Duration::ZERO, ms(20));
    /// So many in a thousand writes the coordination leader applies late.
    leader_late_permille "leader-late-permille": u32 = 0, within (0, 1_000);
    /// So late.
    leader_late "leader-late": Span = Span::ZERO;
    /// A coordination client pings in these intervals.
    ping "ping": Duration = Duration::ZERO, within (Duration::ZERO, ms(1_000));
    /// How long the coordination service has no leader when one has died.
    election "election": Span = Span::new(ms(400), ms(1_400));
    /// How late a coordination client notices that its server has gone.
    notice "notice": Span = Span::new(ms(10), ms(110));
    /// How long a coordination follower serves its clients without its leader.
    sync_limit "sync-limit": Duration = ms(1_500), within (Duration::ZERO, ms(10_000));
    /// Between signs of life of brokers.
    heartbeat "heartbeat": Duration = ms(50), within (ms(10), ms(100));
    /// Silence after which a backup suspects its primary.
    suspicion "suspicion": Duration = ms(250), within (ms(200), ms(10_000));
    /// Between signs of life to a client.
    client_heartbeat "client-heartbeat": Duration = ms(150), within (ms(20), ms(250));
    /// Silence after which a client looks elsewhere.
    client_suspicion "client-suspicion": Duration = ms(600), within (ms(500), ms(10_000));
    /// A member that is silent for the session timeout and so much longer is dropped (R12).
    lag_margin "lag-margin": Duration = ms(500), within (ms(200), ms(10_000));
}

impl Knobs {
    /// A cluster with these settings, without clients.
    pub(super) fn cluster(&self) -> Cluster {
        Cluster::new(&self.config(), self.seed)
    }

    /// What clients and brokers are started with.
    pub(super) fn config(&self) -> cluster::Config {
        // A log that holds hardly one record is no log: production asks for much more.
        let room = ROOM * self.payload as u64;
        let uncommitted_bytes = self.uncommitted_bytes.max(room);
        cluster::Config {
            world: self.world(),
            brokers: self.brokers,
            stagger: self.stagger,
            discoveries: self.discoveries,
            stranger: self.stranger,
            publishers: 0,
            subscribers: Vec::new(),
            timing: self.timing(),
            min_in_sync: self.min_in_sync.min(self.brokers),
            on_total_loss: self.on_total_loss,
            session_expiry: self.session_expiry,
            outboxes: false,
            publisher: publisher::Config {
                batch_bytes: self.batch_bytes,
                window_bytes: self.window_bytes,
                window_frames: self.window_frames,
                queue_records: self.queue_records,
                ack_timeout: self.ack_timeout,
                compression: self.compression,
                ..publisher::Config::default()
            },
            codecs: [self.compression].into_iter().collect(),
            retention: Retention {
                bytes: Some(self.retention_bytes),
                records: Some(self.retention_records).filter(|records| *records < u64::MAX),
                age: Some(self.retention_age).filter(|age| *age < LONGEST),
            },
            log_bytes: least_log(self.retention_bytes, uncommitted_bytes) + self.log_spare + room,
            uncommitted_bytes,
            credit_bytes: self.credit_bytes,
            payload: self.payload,
        }
    }

    fn world(&self) -> world::Config {
        world::Config {
            network: network::Config {
                latency: self.latency,
                distance: self.distance,
                tail: Tail { permille: self.tail_permille, extra: self.tail },
                dial_timeout: self.dial_timeout,
                half_open: self.half_open,
                link_frames: self.link_frames,
                link_bytes: self.link_bytes,
            },
            coordination: coordination::Config {
                session_timeout: self.session_timeout,
                tick: self.tick,
                latency: self.coordination,
                reconnect: self.reconnect,
                follower_lag: self.follower_lag,
                leader_late: Tail { permille: self.leader_late_permille, extra: self.leader_late },
                ping: self.ping,
                election: self.election,
                notice: self.notice,
                sync_limit: self.sync_limit,
            },
            storage: self.storage,
            drift: self.drift,
            ..world::Config::default()
        }
    }

    fn timing(&self) -> Timing {
        let patience = self.session_timeout + self.lag_margin;
        Timing {
            heartbeat: self.heartbeat,
            suspicion: self.suspicion,
            client_heartbeat: self.client_heartbeat,
            client_suspicion: self.client_suspicion,
            lag: patience,
            step_down: patience,
            ..Timing::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_setting_a_cluster_is_the_default_one() {
        let config = Knobs::default().config();
        let default = cluster::Config::default();
        assert_eq!(config.timing, default.timing);
        assert_eq!(config.retention, default.retention);
        assert_eq!(config.publisher, default.publisher);
        assert_eq!(
            (config.log_bytes, config.uncommitted_bytes),
            (default.log_bytes, default.uncommitted_bytes)
        );
        assert_eq!(format!("{:?}", config.world), format!("{:?}", default.world));
    }

    #[test]
    fn settings_out_of_bounds_are_refused() {
        let mut knobs = Knobs::default();
        assert_eq!(knobs.set("brokers", "9"), Some(Err("9 is not between 1 and 5".to_owned())));
        assert_eq!(knobs.set("tick", "3s"), Some(Err("3s is not between 0s and 2s".to_owned())));
        assert_eq!(knobs.set("brokes", "3"), None);
        assert_eq!(knobs, Knobs::default());
    }
}
