//! What can be set, with its default, its environment variable and its description. The reference
//! page and the default file are made from this.

use super::values;
use crate::transport::Kind;
use confique::Config;
use std::path::PathBuf;
use std::time::Duration;
use steadfast_core::broker::retention;
use steadfast_core::compression::Codecs;
use steadfast_core::id::{Address, NodeName};
use steadfast_core::limits::Timing;
use tracing_subscriber::filter::Targets;

pub use crate::logs::{Format, Rotation};
pub use steadfast_core::broker::OnTotalLoss;

/// How much longer than the coordination session's timeout a primary waits for a silent member: a
/// sick primary loses its own session first (R12).
pub const LAG_MARGIN: Duration = Duration::from_millis(500);

/// Configuration of Steadfast.
///
/// Command line flags come first, then environment variables, then this file, then the defaults.
/// Times are written as "250ms", "2s", "1m" or "1h", sizes as "64KiB", "512MiB" or "1GiB".
#[derive(Clone, Debug, Config)]
pub struct Settings {
    /// Which cluster this is, and where its clients find it.
    #[config(nested)]
    pub cluster: Cluster,
    /// Where brokers and discovery replicas coordinate: ZooKeeper, or an embedded service.
    #[config(nested)]
    pub coordination: Coordination,
    /// A broker: `steadfast broker`.
    #[config(nested)]
    pub broker: Broker,
    /// A discovery replica: `steadfast discovery`.
    #[config(nested)]
    pub discovery: Discovery,
    /// How failures are noticed and what is tried again. Give all brokers the same values.
    #[config(nested)]
    pub recovery: Recovery,
    /// What the connections of this process are made of. Each process may choose for itself.
    #[config(nested)]
    pub transport: Transport,
    /// Metrics for InfluxDB. Nothing is sent without `url`.
    #[config(nested)]
    pub metrics: Metrics,
    /// Log lines of brokers and discovery replicas. The other commands log to standard error.
    #[config(nested)]
    pub logging: Logging,
}

/// `[cluster]`
#[derive(Clone, Debug, Config)]
pub struct Cluster {
    /// The cluster's name. It lives under /steadfast/NAME in the coordination tree.
    #[config(env = "STEADFAST_CLUSTER_NAME", default = "main", deserialize_with = values::cluster)]
    pub name: String,
    /// Addresses of discovery replicas, for publishers, subscribers, `status` and `drain`. The default is
    /// where `steadfast serve` has them.
    #[config(
        env = "STEADFAST_CLUSTER_DISCOVERY",
        default = ["127.0.0.1:7401", "127.0.0.1:7402"],
        deserialize_with = values::addresses
    )]
    pub discovery: Vec<Address>,
}

/// `[coordination]`
#[derive(Clone, Debug, Config)]
pub struct Coordination {
    /// The ZooKeeper ensemble, for example "zk1:2181,zk2:2181,zk3:2181", or a list of addresses. A
    /// chroot may follow the last one: "zk1:2181,zk2:2181/apps". Either this or `embedded`.
    #[config(env = "STEADFAST_COORDINATION_ZOOKEEPER", deserialize_with = values::servers)]
    pub zookeeper: Option<Servers>,
    /// An embedded coordination service, for development: where `steadfast coordination` listens.
    #[config(env = "STEADFAST_COORDINATION_EMBEDDED", deserialize_with = values::address)]
    pub embedded: Option<Address>,
    /// The node of ZooKeeper's tree that holds everything, for example "/apps". It is created if it
    /// does not exist. May also stand at the end of `zookeeper`.
    #[config(env = "STEADFAST_COORDINATION_CHROOT", deserialize_with = values::chroot)]
    pub chroot: Option<String>,
    /// How long the coordination service waits for a silent node before it counts as dead. ZooKeeper
    /// has the last word: what it grants is what counts.
    #[config(
        env = "STEADFAST_COORDINATION_SESSION_TIMEOUT",
        default = "2s",
        deserialize_with = values::duration
    )]
    pub session_timeout: Duration,
    /// How long to look for the coordination service at the start, before giving up.
    #[config(
        env = "STEADFAST_COORDINATION_CONNECT_TIMEOUT",
        default = "10s",
        deserialize_with = values::duration
    )]
    pub connect_timeout: Duration,
    /// How to authenticate at ZooKeeper where there is a credential: a scheme of the ensemble.
    #[config(
        env = "STEADFAST_COORDINATION_AUTH_SCHEME",
        default = "digest",
        deserialize_with = values::word
    )]
    pub auth_scheme: String,
    /// A file that holds the credential, for "digest" USER:PASSWORD. With a credential only those who
    /// have it can read or change what is created in ZooKeeper's tree.
    #[config(env = "STEADFAST_COORDINATION_CREDENTIAL_FILE", deserialize_with = values::path)]
    pub credential_file: Option<PathBuf>,
}

/// A ZooKeeper ensemble.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Servers {
    /// Where its servers are.
    pub addresses: Vec<Address>,
    /// The node that holds everything, where it was named with them.
    pub chroot: Option<String>,
}

/// `[broker]`
#[derive(Clone, Debug, Config)]
pub struct Broker {
    /// The broker's name, for example "one": the same after a restart, unique in the cluster. A broker
    /// does not start without one.
    #[config(env = "STEADFAST_BROKER_NAME", deserialize_with = values::node_name)]
    pub name: Option<NodeName>,
    /// Where to listen; with port 0 the system chooses one.
    #[config(
        env = "STEADFAST_BROKER_LISTEN",
        default = "127.0.0.1:0",
        deserialize_with = values::address
    )]
    pub listen: Address,
    /// Where brokers and clients reach it, for example "10.0.0.11:7411". Not given: where it listens.
    #[config(env = "STEADFAST_BROKER_ADVERTISE", deserialize_with = values::address)]
    pub advertise: Option<Address>,
    /// Memory for the log. Retention keeps it below; one that is full all the same refuses records.
    #[config(
        env = "STEADFAST_BROKER_LOG_LIMIT",
        default = "1GiB",
        deserialize_with = values::bytes
    )]
    pub log_limit: u64,
    /// Memory of records that wait for in-sync brokers; beyond it publishers are told to wait.
    #[config(
        env = "STEADFAST_BROKER_UNCOMMITTED_LIMIT",
        default = "32MiB",
        deserialize_with = values::bytes
    )]
    pub uncommitted_limit: u64,
    /// What to do when no process holds the acknowledged records any more: "reset" begins anew and
    /// tells publishers and subscribers, "wait" waits for an operator.
    #[config(
        env = "STEADFAST_BROKER_ON_TOTAL_LOSS",
        default = "reset",
        deserialize_with = values::on_total_loss
    )]
    pub on_total_loss: OnTotalLoss,
    /// After this long without a sign of life the session of a publisher is dropped, for example "24h".
    #[config(
        env = "STEADFAST_BROKER_SESSION_EXPIRY",
        default = "24h",
        deserialize_with = values::age
    )]
    pub session_expiry: Duration,
    /// How publishers may compress: "lz4", "zstd" or both. Not given: not at all. Allow only what every
    /// subscriber of the group can read. What was compressed before stays so.
    #[config(env = "STEADFAST_BROKER_COMPRESSION", deserialize_with = values::codecs)]
    pub compression: Option<Codecs>,
    /// Record what goes into the broker in this file and one beside it, for `steadfast-sim replay`.
    /// Messages are in it. Not given: nothing is recorded.
    #[config(env = "STEADFAST_BROKER_RECORD", deserialize_with = values::path)]
    pub record: Option<PathBuf>,
    /// How much is recorded, about: the oldest inputs go when the limit is exceeded.
    #[config(
        env = "STEADFAST_BROKER_RECORD_LIMIT",
        default = "256MiB",
        deserialize_with = values::bytes
    )]
    pub record_limit: u64,
    /// How much of the log is kept: the oldest records go when any limit is exceeded.
    #[config(nested)]
    pub retention: Retention,
}

/// `[broker.retention]`
#[derive(Clone, Debug, Config)]
pub struct Retention {
    /// Keep at most this much, for example "256MiB". At most seven eighths of `broker.log_limit`. Not
    /// given: half of it.
    #[config(env = "STEADFAST_BROKER_RETENTION_BYTES", deserialize_with = values::bytes)]
    pub bytes: Option<u64>,
    /// Keep at most this many records, for example 1000000.
    #[config(env = "STEADFAST_BROKER_RETENTION_RECORDS", deserialize_with = values::count)]
    pub records: Option<u64>,
    /// Keep records for at most this long, for example "7d".
    #[config(env = "STEADFAST_BROKER_RETENTION_AGE", deserialize_with = values::age)]
    pub age: Option<Duration>,
}

/// `[discovery]`
#[derive(Clone, Debug, Config)]
pub struct Discovery {
    /// Where to listen; with port 0 the system chooses one.
    #[config(
        env = "STEADFAST_DISCOVERY_LISTEN",
        default = "127.0.0.1:0",
        deserialize_with = values::address
    )]
    pub listen: Address,
    /// Where clients reach it, for example "10.0.0.21:7401". Not given: where it listens.
    #[config(env = "STEADFAST_DISCOVERY_ADVERTISE", deserialize_with = values::address)]
    pub advertise: Option<Address>,
    /// In-sync brokers that an acknowledgement needs, 1 to 8: below that nothing is acknowledged. It is
    /// fixed when the group is created; give it to all replicas.
    #[config(env = "STEADFAST_DISCOVERY_MIN_IN_SYNC", default = 1, deserialize_with = values::copies)]
    pub min_in_sync: u32,
}

/// `[recovery]`
#[derive(Clone, Debug, Config)]
pub struct Recovery {
    /// Between signs of life of brokers to each other. Not given: 50ms, or a fifth of `suspicion` where
    /// that is shorter.
    #[config(env = "STEADFAST_RECOVERY_HEARTBEAT", deserialize_with = values::duration)]
    pub heartbeat: Option<Duration>,
    /// Silence after which a backup suspects its primary. At least twice `heartbeat`.
    #[config(
        env = "STEADFAST_RECOVERY_SUSPICION",
        default = "250ms",
        deserialize_with = values::duration
    )]
    pub suspicion: Duration,
    /// Between signs of life of a primary to its clients.
    #[config(
        env = "STEADFAST_RECOVERY_CLIENT_HEARTBEAT",
        default = "150ms",
        deserialize_with = values::duration
    )]
    pub client_heartbeat: Duration,
    /// Silence after which a client looks elsewhere. At least twice `client_heartbeat`.
    #[config(
        env = "STEADFAST_RECOVERY_CLIENT_SUSPICION",
        default = "600ms",
        deserialize_with = values::duration
    )]
    pub client_suspicion: Duration,
    /// Silence of an in-sync broker after which the primary drops it. Above the session timeout. Not
    /// given: the session timeout that was granted, and 500ms.
    #[config(env = "STEADFAST_RECOVERY_LAG", deserialize_with = values::duration)]
    pub lag: Option<Duration>,
    /// Isolation after which a primary falls silent. Not given: as `lag`.
    #[config(env = "STEADFAST_RECOVERY_STEP_DOWN", deserialize_with = values::duration)]
    pub step_down: Option<Duration>,
    /// Shortest delay before something is tried again.
    #[config(
        env = "STEADFAST_RECOVERY_BACKOFF",
        default = "10ms",
        deserialize_with = values::duration
    )]
    pub backoff: Duration,
    /// Longest delay before something is tried again.
    #[config(
        env = "STEADFAST_RECOVERY_BACKOFF_CAP",
        default = "500ms",
        deserialize_with = values::duration
    )]
    pub backoff_cap: Duration,
}

/// `[transport]`
#[derive(Clone, Debug, Config)]
pub struct Transport {
    /// "native", this project's own implementation of ZMTP, or "zeromq", the library of that name. Both
    /// speak the same protocol.
    #[config(
        env = "STEADFAST_TRANSPORT_KIND",
        default = "native",
        deserialize_with = values::transport
    )]
    pub kind: Kind,
    /// So long after each thing it does, a broker or client keeps its thread awake and looks for more: waking a
    /// processor takes longer than a hop over the network. It costs at most that much processor time each time.
    /// Ends as soon as others need the processor. "0" lets it sleep at once. Up to 10ms.
    #[config(
        env = "STEADFAST_TRANSPORT_BUSY_POLL",
        default = "100us",
        deserialize_with = values::busy_poll
    )]
    pub busy_poll: Duration,
}

/// `[metrics]`
#[derive(Clone, Debug, Config)]
pub struct Metrics {
    /// Where InfluxDB is, for example "http://127.0.0.1:8086": no path, no user, no https.
    #[config(env = "STEADFAST_METRICS_URL", deserialize_with = values::word)]
    pub url: Option<String>,
    /// The organisation to write to, for example "steadfast".
    #[config(env = "STEADFAST_METRICS_ORG", deserialize_with = values::word)]
    pub org: Option<String>,
    /// The bucket to write to, for example "steadfast".
    #[config(env = "STEADFAST_METRICS_BUCKET", deserialize_with = values::word)]
    pub bucket: Option<String>,
    /// A file that holds the token.
    #[config(env = "STEADFAST_METRICS_TOKEN_FILE", deserialize_with = values::path)]
    pub token_file: Option<PathBuf>,
    /// Between two points of a series.
    #[config(
        env = "STEADFAST_METRICS_INTERVAL",
        default = "10s",
        deserialize_with = values::duration
    )]
    pub interval: Duration,
    /// Most points that wait for the server; beyond it the oldest are dropped.
    #[config(env = "STEADFAST_METRICS_QUEUE", default = 10_000, deserialize_with = values::count)]
    pub queue: u64,
    /// How long a request may take.
    #[config(
        env = "STEADFAST_METRICS_REQUEST_TIMEOUT",
        default = "5s",
        deserialize_with = values::duration
    )]
    pub request_timeout: Duration,
    /// How long points are tried again before they are given up.
    #[config(
        env = "STEADFAST_METRICS_RETRY_FOR",
        default = "5m",
        deserialize_with = values::duration
    )]
    pub retry_for: Duration,
    /// How long the last points may take when the process ends.
    #[config(
        env = "STEADFAST_METRICS_FLUSH_TIMEOUT",
        default = "2s",
        deserialize_with = values::duration
    )]
    pub flush_timeout: Duration,
}

/// `[logging]`
#[derive(Clone, Debug, Config)]
pub struct Logging {
    /// Lines of this level and above: error, warn, info, debug, trace. May name targets with levels of
    /// their own: "info,zookeeper_client=debug".
    #[config(env = "STEADFAST_LOGGING_LEVEL", default = "warn", deserialize_with = values::levels)]
    pub level: Targets,
    /// How lines look: "text" for people, "json" for one JSON object a line.
    #[config(env = "STEADFAST_LOGGING_FORMAT", default = "text", deserialize_with = values::format)]
    pub format: Format,
    /// Write lines to files in this directory, for example "/var/log/steadfast". Not given: to standard
    /// error. Each process has files of its own: steadfast.broker.NAME.log, steadfast.discovery.log.
    #[config(env = "STEADFAST_LOGGING_DIRECTORY", deserialize_with = values::path)]
    pub directory: Option<PathBuf>,
    /// Begin another file every "day" or every "hour" (UTC). Not given: one file.
    #[config(env = "STEADFAST_LOGGING_ROTATION", deserialize_with = values::rotation)]
    pub rotation: Option<Rotation>,
    /// How many files to keep, for example 14; older ones are removed. Not given: all.
    #[config(env = "STEADFAST_LOGGING_KEEP", deserialize_with = values::count)]
    pub keep: Option<u64>,
}

impl Settings {
    /// How much a broker keeps: by default half of what its log may take.
    pub fn retention(&self) -> retention::Retention {
        let Retention { bytes, records, age } = self.broker.retention;
        retention::Retention { bytes: bytes.or(Some(self.broker.log_limit / 2)), records, age }
    }

    /// The cluster's root in the coordination tree.
    pub fn root(&self) -> String {
        format!("/steadfast/{}", self.cluster.name)
    }

    /// Timings of a node with this session timeout. A primary must not drop a silent member before
    /// its own session could have ended (R12).
    pub fn timing(&self, session_timeout: Duration) -> Timing {
        let recovery = &self.recovery;
        let lag = recovery.lag.unwrap_or(session_timeout + LAG_MARGIN);
        Timing {
            heartbeat: recovery.heartbeat(),
            suspicion: recovery.suspicion,
            client_heartbeat: recovery.client_heartbeat,
            client_suspicion: recovery.client_suspicion,
            lag,
            step_down: recovery.step_down.unwrap_or(lag),
            backoff: recovery.backoff,
            backoff_cap: recovery.backoff_cap,
        }
    }
}

impl Recovery {
    /// Between signs of life of brokers to each other.
    pub fn heartbeat(&self) -> Duration {
        self.heartbeat.unwrap_or_else(|| Timing::default().heartbeat.min(self.suspicion / 5))
    }
}

impl Coordination {
    /// The node of ZooKeeper's tree that holds everything.
    pub fn chroot(&self) -> Option<&str> {
        let named = self.zookeeper.as_ref().and_then(|servers| servers.chroot.as_deref());
        self.chroot.as_deref().or(named)
    }
}
