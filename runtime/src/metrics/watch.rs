//! The observers of brokers, discovery replicas and publishers: every failover becomes a log line and a
//! point, and every interval the node's counters and state become points.

use super::exporter::{Sink, wall_clock};
use super::failover::{Cause, FAILOVER, Failover, Progress, Tracker};
use super::latency::Latencies;
use super::measurements::{BrokerView, DiscoveryView, of_broker, of_discovery, of_publisher};
use super::schema::Origin;
use crate::completions::Completions;
use crate::observer::Observer;
use std::sync::Arc;
use steadfast_core::broker::Broker;
use steadfast_core::discovery::Discovery;
use steadfast_core::publisher::Publisher;
use steadfast_core::time::{Instant, earliest};
use steadfast_core::trace::{Suspicion, Trace};
use tracing::{info, warn};

/// Where a node's points go, and when the next ones are due.
#[derive(Debug)]
struct Export {
    sink: Sink,
    origin: Origin,
    next: Instant,
}

impl Export {
    fn new(sink: Sink, node: &str) -> Self {
        let origin = Origin { cluster: sink.cluster().into(), node: node.into() };
        Self { sink, origin, next: Instant::default() }
    }

    /// Whether points are due; if so, the next ones are an interval later.
    fn is_due(&mut self, now: Instant) -> bool {
        let due = self.next <= now;
        if due {
            self.next = now + self.sink.interval();
        }
        due
    }
}

/// Looks at a broker.
#[derive(Debug)]
pub struct BrokerWatch {
    node: String,
    tracker: Tracker,
    latencies: Latencies,
    export: Option<Export>,
}

impl BrokerWatch {
    /// Logs failovers; with a sink, also sends points.
    pub fn new(node: &str, sink: Option<Sink>) -> Self {
        Self {
            node: node.into(),
            tracker: Tracker::default(),
            latencies: Latencies::default(),
            export: sink.map(|sink| Export::new(sink, node)),
        }
    }

    fn report(&self, now: Instant, failover: Option<Failover>) {
        let Some(failover) = failover else { return };
        let node = self.node.as_str();
        match failover.cause {
            Cause::Takeover | Cause::Suspected(Suspicion::Leaving) => {
                info!(target: "steadfast", node, "{failover}")
            }
            Cause::Suspected(_) | Cause::Vacancy => warn!(target: "steadfast", node, "{failover}"),
        }
        if let Some(Export { sink, origin, .. }) = &self.export {
            let ago = i64::try_from((now - failover.began).as_nanos()).unwrap_or(i64::MAX);
            let at = wall_clock().saturating_sub(ago);
            sink.push([FAILOVER.point(origin, [failover.cause.name()], &failover, at)]);
        }
    }

    fn export(&mut self, now: Instant, broker: &Broker) {
        let Some(Export { sink, origin, .. }) = &self.export else { return };
        let (stats, figures) = (broker.stats().clone(), broker.figures(now));
        let view = BrokerView { stats, figures, waits: self.latencies.take() };
        sink.push(of_broker(origin, &view, wall_clock()));
    }
}

impl Observer<Broker> for BrokerWatch {
    fn traced(&mut self, now: Instant, trace: &Trace) {
        let failover = self.tracker.traced(now, trace);
        self.report(now, failover);
    }

    fn turned(&mut self, now: Instant, broker: &mut Broker) {
        let stats = broker.stats();
        let (delivered, acked) = (stats.delivered.batches, stats.publisher_acks);
        let (commit, suspects) = (broker.replica().commit(), broker.suspects());
        let progress = Progress { commit, delivered, acked, suspects };
        let failover = self.tracker.turned(now, progress);
        self.report(now, failover);
        let Some(export) = &mut self.export else { return };
        let due = export.is_due(now);
        broker.stats_mut().take_samples().for_each(|sample| self.latencies.record(sample));
        if due {
            self.export(now, broker);
        }
    }

    fn ended(&mut self, now: Instant, broker: &mut Broker) {
        let failover = self.tracker.finish();
        self.report(now, failover);
        self.export(now, broker);
    }

    fn deadline(&self) -> Option<Instant> {
        earliest(self.tracker.deadline(), self.export.as_ref().map(|export| export.next))
    }
}

/// Looks at a discovery replica.
#[derive(Debug)]
pub struct DiscoveryWatch(Option<Export>);

impl DiscoveryWatch {
    /// With a sink, sends points.
    pub fn new(node: &str, sink: Option<Sink>) -> Self {
        Self(sink.map(|sink| Export::new(sink, node)))
    }
}

impl Observer<Discovery> for DiscoveryWatch {
    fn turned(&mut self, now: Instant, discovery: &mut Discovery) {
        if self.0.as_mut().is_some_and(|export| export.is_due(now)) {
            self.ended(now, discovery);
        }
    }

    fn ended(&mut self, now: Instant, discovery: &mut Discovery) {
        let Some(Export { sink, origin, .. }) = &self.0 else { return };
        let view = DiscoveryView { stats: discovery.stats().clone(), figures: discovery.figures(now) };
        sink.push(of_discovery(origin, &view, wall_clock()));
    }

    fn deadline(&self) -> Option<Instant> {
        self.0.as_ref().map(|export| export.next)
    }
}

/// Looks at how long a publisher's acknowledgements take.
#[derive(Debug)]
pub struct PublisherWatch {
    completions: Arc<Completions>,
    export: Option<Export>,
}

impl PublisherWatch {
    /// With a sink, measures and sends points, under this name: not the publisher's identity, which is
    /// another one in each process.
    pub fn new(completions: Arc<Completions>, measured: Option<(String, Sink)>) -> Self {
        if measured.is_some() {
            completions.measure();
        }
        Self { completions, export: measured.map(|(name, sink)| Export::new(sink, &name)) }
    }
}

impl Observer<Publisher> for PublisherWatch {
    fn turned(&mut self, now: Instant, publisher: &mut Publisher) {
        if self.export.as_mut().is_some_and(|export| export.is_due(now)) {
            self.ended(now, publisher);
        }
    }

    fn ended(&mut self, _: Instant, _: &mut Publisher) {
        if let (Some(Export { sink, origin, .. }), Some(waits)) =
            (&self.export, self.completions.take_latency())
        {
            sink.push(of_publisher(origin, waits, wall_clock()));
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.export.as_ref().map(|export| export.next)
    }
}
