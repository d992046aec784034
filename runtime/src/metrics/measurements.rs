//! The measurements of brokers and discovery replicas.

use super::exporter::EXPORTER;
use super::failover::FAILOVER;
use super::latency::Percentiles;
use super::point::{Point, Value};
use super::schema::{Description, Measurement, Origin, count, fields, flag, milliseconds};
use steadfast_core::broker::figures::{Figures, FollowerFigures};
use steadfast_core::discovery;
use steadfast_core::stats::{Stats, TopicTraffic, Traffic};
use steadfast_core::trace::{Limit, Rejection, Suspicion};

/// What a broker shows at one moment.
#[derive(Clone, Debug, Default)]
pub struct BrokerView {
    /// What it has counted.
    pub stats: Stats,
    /// Its state.
    pub figures: Figures,
    /// Waits since the last time: from append to commit, and from commit to the first delivery.
    pub waits: (Option<Percentiles>, Option<Percentiles>),
}

/// What a broker or a publishing client shows of the way of records at one moment.
#[derive(Clone, Debug, Default)]
pub struct DeliveryView {
    /// Subscribers; a client knows of none.
    pub streams: Option<StreamsView>,
    /// Waits since the last time, from append to commit.
    pub commit: Option<Percentiles>,
    /// From commit to the first subscriber's frame.
    pub send: Option<Percentiles>,
    /// From publishing to the acknowledgement, at a publishing client.
    pub acknowledgement: Option<Percentiles>,
}

/// Subscribers at a broker.
#[derive(Clone, Copy, Debug, Default)]
pub struct StreamsView {
    /// How many streams.
    pub streams: usize,
    /// How many are behind without credit.
    pub slow: usize,
    /// How far the last one is behind, in records.
    pub lag: u64,
    /// What was sent to them.
    pub sent: Traffic,
}

impl From<&BrokerView> for DeliveryView {
    fn from(view: &BrokerView) -> Self {
        let (figures, (commit, send)) = (&view.figures, view.waits);
        let streams = StreamsView {
            streams: figures.streams,
            slow: figures.slow_streams,
            lag: figures.stream_lag,
            sent: view.stats.delivered,
        };
        Self { streams: Some(streams), commit, send, acknowledgement: None }
    }
}

/// What a discovery replica shows at one moment.
#[derive(Clone, Debug, Default)]
pub struct DiscoveryView {
    /// What it has counted.
    pub stats: Stats,
    /// Its state.
    pub figures: discovery::Figures,
}

/// A broker as a process.
pub const BROKER: Measurement<BrokerView> = Measurement {
    name: "steadfast_broker",
    about: "A broker: its role, its log, its publishers. Each broker, each interval.",
    tags: &[],
    fields: fields! {
        "leads", "0/1", "whether it acts as primary" => |v| flag(v.figures.leads);
        "serving", "0/1", "whether it is a primary that serves clients" => |v| flag(v.figures.serving);
        "epoch", "", "the group's epoch, as this broker read it last" => |v| count(v.figures.epoch);
        "lineage", "", "generation of the group's data" => |v| count(v.figures.lineage);
        "log_start", "offset", "first offset held" => |v| count(v.figures.log_start);
        "log_end", "offset", "next offset" => |v| count(v.figures.log_end);
        "commit", "offset", "everything below is committed, as far as this broker knows" => |v| count(v.figures.commit);
        "log_bytes", "bytes", "memory of the log" => |v| count(v.figures.log_bytes);
        "log_limit_bytes", "bytes", "how much the log may take" => |v| count(v.figures.log_limit);
        "uncommitted_bytes", "bytes", "memory of what is not committed" => |v| count(v.figures.uncommitted_bytes);
        "sessions", "", "publishers' sessions in the log" => |v| count(v.figures.sessions);
        "publishers", "", "publishers that are attached (on a primary)" => |v| count(v.figures.publishers);
        "frames_in_total", "", "frames that came in" => |v| count(v.stats.received.count);
        "bytes_in_total", "bytes", "their bytes" => |v| count(v.stats.received.bytes);
        "frames_out_total", "", "frames that went out" => |v| count(v.stats.sent.count);
        "bytes_out_total", "bytes", "their bytes" => |v| count(v.stats.sent.bytes);
        "published_batches_total", "", "batches taken from publishers" => |v| count(v.stats.published.batches);
        "published_records_total", "records", "records in them" => |v| count(v.stats.published.records);
        "published_bytes_total", "bytes", "bytes of their bodies" => |v| count(v.stats.published.bytes);
        "repeated_batches_total", "", "batches that publishers sent although the log had them" => |v| count(v.stats.repeated);
        "publisher_acks_total", "", "acknowledgements sent to publishers" => |v| count(v.stats.publisher_acks);
        "busy_total", "", "refusals at any limit" => |v| count(v.stats.all_busy());
        "busy_log_bytes_total", "", "refusals because the log was full" => |v| count(v.stats.busy(Limit::LogBytes));
        "busy_uncommitted_bytes_total", "", "refusals because too much waited for in-sync members" => |v| count(v.stats.busy(Limit::UncommittedBytes));
        "busy_learner_total", "", "refusals because a follower was catching up and could not otherwise (R17)" => |v| count(v.stats.busy(Limit::Learner));
        "busy_sessions_total", "", "refusals because there were too many sessions" => |v| count(v.stats.busy(Limit::Sessions));
        "busy_streams_total", "", "refusals because there were too many streams" => |v| count(v.stats.busy(Limit::Streams));
        "busy_head_reads_total", "", "refusals because there were too many reads of the head" => |v| count(v.stats.busy(Limit::HeadReads));
        "rejected_total", "", "frames dropped for any reason" => |v| count(v.stats.all_rejected());
        "rejected_malformed_total", "", "frames dropped: not of this protocol, or cut off" => |v| count(v.stats.rejected(Rejection::Malformed));
        "rejected_version_total", "", "frames dropped: of another version" => |v| count(v.stats.rejected(Rejection::Version));
        "rejected_too_large_total", "", "frames dropped: over a limit" => |v| count(v.stats.rejected(Rejection::TooLarge));
        "rejected_checksum_total", "", "frames dropped: a body did not match its checksum" => |v| count(v.stats.rejected(Rejection::Checksum));
        "rejected_unexpected_total", "", "frames dropped: of no use to this node" => |v| count(v.stats.rejected(Rejection::Unexpected));
        "rejected_wrong_history_total", "", "frames dropped: of another group, lineage or epoch" => |v| count(v.stats.rejected(Rejection::WrongHistory));
        "suspected_silence_total", "", "suspicions: nothing was heard" => |v| count(v.stats.suspicions(Suspicion::Silence));
        "suspected_refused_total", "", "suspicions: connections were refused" => |v| count(v.stats.suspicions(Suspicion::Refused));
        "suspected_not_live_total", "", "suspicions: the live node was gone" => |v| count(v.stats.suspicions(Suspicion::NotLive));
        "suspected_replaced_total", "", "suspicions: a later process of the node was there" => |v| count(v.stats.suspicions(Suspicion::Replaced));
        "suspected_leaving_total", "", "no suspicion: a primary that left has asked this broker to take over" => |v| count(v.stats.suspicions(Suspicion::Leaving));
        "epochs_led_total", "", "epochs in which it has led" => |v| count(v.stats.epochs_led);
        "step_downs_total", "", "times that it stepped down" => |v| count(v.stats.step_downs);
    },
};

/// Traffic of one topic.
pub const TOPIC: Measurement<TopicTraffic> = Measurement {
    name: "steadfast_topic",
    about: "Traffic of one topic at one broker, each interval. The first 64 topics that a process sees are counted by name, all later ones together without the tag `topic`.",
    tags: &[("topic", "the topic; absent: all topics that are not counted by name")],
    fields: fields! {
        "published_batches_total", "", "batches taken from publishers" => |t| count(t.published.batches);
        "published_records_total", "records", "records in them" => |t| count(t.published.records);
        "published_bytes_total", "bytes", "bytes of their bodies" => |t| count(t.published.bytes);
        "delivered_batches_total", "", "batches sent to subscribers, each stream for itself" => |t| count(t.delivered.batches);
        "delivered_records_total", "records", "records in them, before subscribers drop what they did not ask for" => |t| count(t.delivered.records);
        "delivered_bytes_total", "bytes", "bytes of their bodies" => |t| count(t.delivered.bytes);
    },
};

fn percentile(of: Option<Percentiles>, pick: fn(Percentiles) -> u64) -> Option<Value> {
    of.map(pick).and_then(count)
}

/// Subscribers, and how long records wait.
pub const DELIVERY: Measurement<DeliveryView> = Measurement {
    name: "steadfast_delivery",
    about: "The way of records. Each broker, each interval: its subscribers, and how long batches waited in it, by its own clock, which is read once in a turn, of at most 1,024 waits in a turn. Each publishing client that is told to, each interval in which there was any: how long acknowledgements took, by its own clock, of every 64th record at least. Times are of that interval alone, and absent when there were none.",
    tags: &[],
    fields: fields! {
        "streams", "", "subscribers' streams" => |v| v.streams.and_then(|s| count(s.streams));
        "slow_streams", "", "streams that are behind and have no credit left: their subscribers do not keep up" => |v| v.streams.and_then(|s| count(s.slow));
        "stream_lag_records", "records", "how far the last stream is behind the commit offset" => |v| v.streams.and_then(|s| count(s.lag));
        "batches_total", "", "batches sent to subscribers, each stream for itself" => |v| v.streams.and_then(|s| count(s.sent.batches));
        "records_total", "records", "records in them" => |v| v.streams.and_then(|s| count(s.sent.records));
        "bytes_total", "bytes", "bytes of their bodies" => |v| v.streams.and_then(|s| count(s.sent.bytes));
        "commit_count", "", "waits measured from append to commit" => |v| percentile(v.commit, |p| p.count);
        "commit_p50_us", "us", "from append to commit, median" => |v| percentile(v.commit, |p| p.p50);
        "commit_p95_us", "us", "95th percentile" => |v| percentile(v.commit, |p| p.p95);
        "commit_p99_us", "us", "99th percentile" => |v| percentile(v.commit, |p| p.p99);
        "commit_max_us", "us", "longest" => |v| percentile(v.commit, |p| p.max);
        "send_count", "", "waits measured from commit to the first subscriber's frame" => |v| percentile(v.send, |p| p.count);
        "send_p50_us", "us", "from commit to the first subscriber's frame, median" => |v| percentile(v.send, |p| p.p50);
        "send_p95_us", "us", "95th percentile" => |v| percentile(v.send, |p| p.p95);
        "send_p99_us", "us", "99th percentile" => |v| percentile(v.send, |p| p.p99);
        "send_max_us", "us", "longest" => |v| percentile(v.send, |p| p.max);
        "ack_count", "", "waits measured from publishing to the acknowledgement (at a client)" => |v| percentile(v.acknowledgement, |p| p.count);
        "ack_p50_us", "us", "from publishing to the acknowledgement, median" => |v| percentile(v.acknowledgement, |p| p.p50);
        "ack_p95_us", "us", "95th percentile" => |v| percentile(v.acknowledgement, |p| p.p95);
        "ack_p99_us", "us", "99th percentile" => |v| percentile(v.acknowledgement, |p| p.p99);
        "ack_max_us", "us", "longest" => |v| percentile(v.acknowledgement, |p| p.max);
    },
};

/// The group's copies.
pub const REPLICATION: Measurement<BrokerView> = Measurement {
    name: "steadfast_replication",
    about: "The copies of the log, as a broker sees them. Each broker, each interval.",
    tags: &[],
    fields: fields! {
        "in_sync", "", "members in sync" => |v| count(v.figures.in_sync);
        "min_in_sync", "", "members that a commit needs" => |v| count(v.figures.min_in_sync);
        "live", "", "brokers that are live" => |v| count(v.figures.live);
        "followers", "", "brokers that are attached (on a primary)" => |v| count(v.figures.followers.iter().filter(|f| f.attached).count());
        "sent_batches_total", "", "batches sent to followers, repetitions included" => |v| count(v.stats.replicated_out.batches);
        "sent_records_total", "records", "records in them" => |v| count(v.stats.replicated_out.records);
        "sent_bytes_total", "bytes", "bytes of their bodies" => |v| count(v.stats.replicated_out.bytes);
        "taken_batches_total", "", "batches taken from a primary" => |v| count(v.stats.replicated_in.batches);
        "taken_records_total", "records", "records in them" => |v| count(v.stats.replicated_in.records);
        "taken_bytes_total", "bytes", "bytes of their bodies" => |v| count(v.stats.replicated_in.bytes);
        "rewinds_total", "", "times that a follower was sent its entries again, because its log did not fit" => |v| count(v.stats.rewinds);
        "truncations_total", "", "times that a conflicting end of this broker's log was cut" => |v| count(v.stats.truncations);
    },
};

/// One follower.
pub const FOLLOWER: Measurement<FollowerFigures> = Measurement {
    name: "steadfast_follower",
    about: "One follower, as the primary sees it. Each primary, for each of its followers, each interval.",
    tags: &[("follower", "the follower's name")],
    fields: fields! {
        "attached", "0/1", "whether it is connected" => |f| flag(f.attached);
        "in_sync", "0/1", "whether it is in sync" => |f| flag(f.in_sync);
        "lag_records", "records", "records that it has not acknowledged" => |f| count(f.lag_records);
        "lag_bytes", "bytes", "their bytes, by the mean weight of a record in the log" => |f| count(f.lag_bytes);
        "in_flight_bytes", "bytes", "body bytes under way to it" => |f| count(f.in_flight_bytes);
        "silence_ms", "ms", "since it was last heard" => |f| milliseconds(f.silence);
    },
};

/// A discovery replica, and the group as it sees it.
pub const DISCOVERY: Measurement<DiscoveryView> = Measurement {
    name: "steadfast_discovery",
    about: "A discovery replica, and the group as it sees it: this goes on when every broker is gone. Each replica, each interval.",
    tags: &[],
    fields: fields! {
        "leads", "0/1", "whether it leads discovery" => |v| flag(v.figures.leads);
        "elections_won_total", "", "times that it has begun to lead" => |v| count(v.stats.elections_won);
        "groups", "", "groups that exist" => |v| flag(v.figures.group);
        "groups_without_primary", "", "groups that exist and have no live primary" => |v| flag(v.figures.group && !v.figures.primary);
        "groups_under_replicated", "", "groups with a live broker that is not in sync, or fewer than two in sync" => |v| flag(v.figures.group && (v.figures.in_sync < 2 || v.figures.in_sync < v.figures.live));
        "epoch", "", "the group's epoch" => |v| count(v.figures.epoch);
        "in_sync", "", "members in sync" => |v| count(v.figures.in_sync);
        "live", "", "brokers that are live" => |v| count(v.figures.live);
        "lookups_total", "", "look-ups of clients" => |v| count(v.stats.lookups);
        "routes_total", "", "routes that clients were told, answers and news" => |v| count(v.stats.routes);
        "watchers", "", "clients that are told of changes" => |v| count(v.figures.watchers);
        "waiting", "", "look-ups that wait for a fresh read" => |v| count(v.figures.waiting);
        "age_ms", "ms", "how long the coordination service has been out of reach" => |v| milliseconds(v.figures.age);
        "frames_in_total", "", "frames that came in" => |v| count(v.stats.received.count);
        "frames_out_total", "", "frames that went out" => |v| count(v.stats.sent.count);
        "rejected_total", "", "frames that were dropped" => |v| count(v.stats.all_rejected());
    },
};

/// A node's use of the coordination service.
pub const COORDINATION: Measurement<Stats> = Measurement {
    name: "steadfast_coordination",
    about: "A node's session with the coordination service. Each broker and discovery replica, each interval.",
    tags: &[],
    fields: fields! {
        "connected", "0/1", "whether it is connected" => |s| flag(s.coordination.connected);
        "calls_total", "", "calls" => |s| count(s.coordination.calls);
        "replies_total", "", "replies" => |s| count(s.coordination.replies);
        "errors_total", "", "replies that were errors, expected ones included" => |s| count(s.coordination.errors);
        "watch_events_total", "", "watch events" => |s| count(s.coordination.watches);
        "connections_total", "", "times that it was connected, at first or again" => |s| count(s.coordination.connections);
        "suspensions_total", "", "times that the connection was lost" => |s| count(s.coordination.suspensions);
        "expirations_total", "", "sessions that expired" => |s| count(s.coordination.expirations);
    },
};

/// All measurements.
pub fn all() -> Vec<Description> {
    vec![
        BROKER.describe(),
        TOPIC.describe(),
        DELIVERY.describe(),
        REPLICATION.describe(),
        FOLLOWER.describe(),
        FAILOVER.describe(),
        DISCOVERY.describe(),
        COORDINATION.describe(),
        EXPORTER.describe(),
    ]
}

/// A broker's points.
pub fn of_broker(origin: &Origin, view: &BrokerView, at: i64) -> Vec<Point> {
    let mut points = vec![
        BROKER.point(origin, [], view, at),
        DELIVERY.point(origin, [], &view.into(), at),
        REPLICATION.point(origin, [], view, at),
        COORDINATION.point(origin, [], &view.stats, at),
    ];
    let topics = view.stats.topics.iter();
    points.extend(topics.map(|(topic, traffic)| TOPIC.point(origin, [topic.as_str()], traffic, at)));
    let other = view.stats.topics.other();
    if *other != TopicTraffic::default() {
        points.push(TOPIC.point(origin, [""], other, at));
    }
    let followers = view.figures.followers.iter();
    points.extend(followers.map(|other| FOLLOWER.point(origin, [other.node.as_str()], other, at)));
    points
}

/// A publishing client's points.
pub fn of_publisher(origin: &Origin, acknowledgement: Percentiles, at: i64) -> [Point; 1] {
    let view = DeliveryView { acknowledgement: Some(acknowledgement), ..DeliveryView::default() };
    [DELIVERY.point(origin, [], &view, at)]
}

/// A discovery replica's points.
pub fn of_discovery(origin: &Origin, view: &DiscoveryView, at: i64) -> Vec<Point> {
    vec![DISCOVERY.point(origin, [], view, at), COORDINATION.point(origin, [], &view.stats, at)]
}
