//! What a cluster consists of.

use crate::world;
use std::time::Duration;
use steadfast_core::broker::retention::Retention;
use steadfast_core::broker::{self, OnTotalLoss};
use steadfast_core::compression::Codecs;
use steadfast_core::limits::{SESSION_EXPIRY, Timing};
use steadfast_core::{publisher, subscriber};

/// What a cluster consists of.
#[derive(Clone, Debug)]
pub struct Config {
    /// Everything around the nodes.
    pub world: world::Config,
    /// Number of brokers.
    pub brokers: u32,
    /// The brokers start one after the other, in these intervals: the first becomes primary if the
    /// others are late enough.
    pub stagger: Duration,
    /// Number of discovery replicas.
    pub discoveries: u32,
    /// Whether clients have the address of a replica of another cluster, too; see [`crate::stranger`].
    pub stranger: bool,
    /// Number of publishers.
    pub publishers: u32,
    /// The filter of each subscriber. Each begins at the earliest record.
    pub subscribers: Vec<&'static str>,
    /// Timings of all nodes.
    pub timing: Timing,
    /// Commits need this many in-sync members.
    pub min_in_sync: u32,
    /// What a group does when its data is gone.
    pub on_total_loss: OnTotalLoss,
    /// When the session of a publisher that is not heard of is forgotten.
    pub session_expiry: Duration,
    /// Whether publishers have an outbox.
    pub outboxes: bool,
    /// Settings of publishers; timings are those of all nodes.
    pub publisher: publisher::Config,
    /// How the first two brokers let publishers compress. Others allow nothing: brokers need not be set alike.
    pub codecs: Codecs,
    /// How much the brokers keep.
    pub retention: Retention,
    /// A broker's memory for the log, in bytes.
    pub log_bytes: u64,
    /// A broker's memory of entries that may wait for in-sync members, in bytes.
    pub uncommitted_bytes: u64,
    /// Body bytes that may wait for a subscriber's application.
    pub credit_bytes: u64,
    /// Payloads are at least so long, in bytes.
    pub payload: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            world: world::Config::default(),
            brokers: 3,
            stagger: Duration::ZERO,
            discoveries: 2,
            stranger: false,
            publishers: 1,
            subscribers: vec![">"],
            timing: Timing::default(),
            min_in_sync: 1,
            on_total_loss: OnTotalLoss::Reset,
            session_expiry: SESSION_EXPIRY,
            outboxes: false,
            publisher: publisher::Config::default(),
            codecs: Codecs::default(),
            retention: Retention::default(),
            log_bytes: broker::Config::default().log_bytes,
            uncommitted_bytes: broker::Config::default().uncommitted_bytes,
            credit_bytes: subscriber::Config::default().credit_bytes,
            payload: 0,
        }
    }
}
