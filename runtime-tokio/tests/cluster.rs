//! Whole clusters in one process, over real sockets, by the client library: what a publisher was told
//! is acknowledged is what subscribers get, whoever dies.

mod support;

use futures::StreamExt;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use steadfast_core::broker;
use steadfast_core::coordination::service;
use steadfast_core::discovery;
use steadfast_core::id::{Address, Incarnation, NodeName};
use steadfast_core::status::BrokerAt;
use steadfast_runtime::address::parse;
use steadfast_runtime::zookeeper::Config as ZooKeeper;
use steadfast_tokio::client::{
    CloseError, ConnectError, DrainError, Notice, Publisher, PublisherOptions, Start, Subscriber,
    SubscriberOptions, drain, survey, survey_discovery,
};
use steadfast_tokio::coordination::Coordination;
use steadfast_tokio::nodes::{
    BrokerOptions, DiscoveryOptions, RunningBroker, RunningDiscovery, RunningService, start_broker,
    start_discovery, start_service,
};
use steadfast_tokio::transport::{BUSY_POLL, Kind};
use support::zookeeper::Ensemble;
use tokio::time::{sleep, timeout};

const PATIENCE: Duration = Duration::from_secs(60);

struct Cluster {
    /// Of discovery and of every second broker.
    transport: Kind,
    coordination: Coordination,
    _service: Option<RunningService>,
    discovery: Vec<RunningDiscovery>,
    brokers: Vec<Option<RunningBroker>>,
}

impl Cluster {
    async fn embedded(transport: Kind, brokers: usize) -> Self {
        let listen = parse("127.0.0.1:0").unwrap();
        let service = start_service(transport, &listen, service::Config::default()).await.unwrap();
        let session_timeout = Duration::from_secs(2);
        let coordination = Coordination::Embedded { address: service.address().clone(), session_timeout };
        Self::start(transport, coordination, Some(service), brokers).await
    }

    async fn start(
        transport: Kind,
        coordination: Coordination,
        service: Option<RunningService>,
        brokers: usize,
    ) -> Self {
        let (discovery, _service) = (Vec::new(), service);
        let mut cluster = Self { transport, coordination, _service, discovery, brokers: Vec::new() };
        for _ in 0..2 {
            let options = DiscoveryOptions {
                transport,
                listen: parse("127.0.0.1:0").unwrap(),
                coordination: cluster.coordination.clone(),
                root: "/steadfast/test".into(),
                config: discovery::Config::default(),
            };
            cluster.discovery.push(start_discovery(options).await.unwrap());
        }
        for n in 0..brokers {
            cluster.brokers.push(None);
            cluster.start_broker(n).await;
        }
        cluster
    }

    async fn start_broker(&mut self, n: usize) {
        let transport = if n.is_multiple_of(2) { self.transport } else { other(self.transport) };
        let options = BrokerOptions {
            transport,
            busy_poll: BUSY_POLL,
            node: NodeName::new(&format!("broker-{n}")).unwrap(),
            group: 0,
            listen: parse("127.0.0.1:0").unwrap(),
            advertise: None,
            coordination: self.coordination.clone(),
            root: "/steadfast/test".into(),
            config: broker::Config::default(),
        };
        self.brokers[n] = Some(start_broker(options).await.unwrap());
    }

    fn addresses(&self) -> String {
        let addresses: Vec<_> = self.discovery.iter().map(|node| node.address().to_string()).collect();
        addresses.join(",")
    }

    fn discovery(&self) -> Vec<Address> {
        self.discovery.iter().map(|node| node.address().clone()).collect()
    }

    /// Waits until every broker is in sync: who is killed before that takes the only copy along.
    async fn in_sync(&self) {
        let discovery = self.discovery();
        let all = async {
            while !survey(self.transport, &discovery, PATIENCE).await.missing(self.brokers.len()).is_empty() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, all).await.expect("every broker is in sync");
    }

    /// Ends a broker as a crash does.
    fn kill(&mut self, name: &NodeName) {
        let n: usize = name.as_str().strip_prefix("broker-").unwrap().parse().unwrap();
        assert!(self.brokers[n].take().is_some(), "{name} was alive");
    }
}

/// The kind that this one is not: every cluster here has both.
fn other(kind: Kind) -> Kind {
    Kind::ALL.into_iter().find(|one| *one != kind).unwrap()
}

/// Who serves a client, as it is told.
#[derive(Clone, Default)]
struct Primaries(Arc<Mutex<Vec<NodeName>>>);

impl Primaries {
    fn observer(&self) -> Arc<dyn Fn(Notice) + Send + Sync> {
        let primaries = Arc::clone(&self.0);
        Arc::new(move |notice| {
            if let Notice::Connected { endpoint, .. } = notice {
                primaries.lock().unwrap().push(endpoint.node);
            }
        })
    }

    fn last(&self) -> NodeName {
        self.0.lock().unwrap().last().expect("connected").clone()
    }
}

async fn subscriber(transport: Kind, cluster: &Cluster, start: Start) -> Subscriber {
    let connect_timeout = Some(PATIENCE);
    let options = SubscriberOptions { transport, start, connect_timeout, ..SubscriberOptions::default() };
    Subscriber::connect(&cluster.addresses(), ["numbers.>"], options).await.unwrap()
}

async fn publisher(cluster: &Cluster, primaries: &Primaries) -> Publisher {
    let options = PublisherOptions {
        transport: cluster.transport,
        connect_timeout: Some(PATIENCE),
        observer: Some(primaries.observer()),
        ..PublisherOptions::default()
    };
    Publisher::connect(&cluster.addresses(), options).await.unwrap()
}

/// Takes numbers from the stream and checks that they are 0, 1, 2, ... without a gap.
async fn count_to(subscriber: &mut Subscriber, from: u64, to: u64) {
    for n in from..to {
        let message = timeout(PATIENCE, subscriber.next()).await.expect("in time").expect("open");
        let message = message.expect("no gap");
        assert_eq!(message.payload, n.to_string());
        assert_eq!(message.sequence, n + 1);
        assert_eq!(message.topic.as_str(), "numbers.all");
    }
}

async fn publish(publisher: &Publisher, from: u64, to: u64) {
    for n in from..to {
        publisher.publish("numbers.all", n.to_string()).await.unwrap();
    }
}

async fn a_killed_primary_loses_nothing(mut cluster: Cluster) {
    cluster.in_sync().await;
    let primaries = Primaries::default();
    let publisher = publisher(&cluster, &primaries).await;
    let mut early = subscriber(other(cluster.transport), &cluster, Start::Earliest).await;
    publish(&publisher, 0, 20_000).await;
    timeout(PATIENCE, publisher.flush()).await.unwrap().unwrap();
    count_to(&mut early, 0, 10_000).await;
    let midway = early.position().expect("it has read");

    let first = primaries.last();
    let kill = async {
        publish(&publisher, 20_000, 30_000).await;
        cluster.kill(&first);
        publish(&publisher, 30_000, 50_000).await;
        timeout(PATIENCE, publisher.flush()).await.unwrap().unwrap();
    };
    tokio::join!(kill, count_to(&mut early, 10_000, 50_000));
    assert_ne!(primaries.last(), first, "another serves");

    // What was acknowledged before is there, from the beginning and from a position.
    count_to(&mut subscriber(cluster.transport, &cluster, Start::Earliest).await, 0, 50_000).await;
    count_to(&mut subscriber(cluster.transport, &cluster, Start::At(midway)).await, 10_000, 50_000).await;
    let progress = publisher.progress();
    assert_eq!((progress.published, progress.acknowledged, progress.failed), (50_000, 50_000, 0));
    publisher.close(PATIENCE).await.unwrap();
    early.close();
    assert!(timeout(PATIENCE, early.next()).await.unwrap().is_none(), "a closed stream ends");
}

#[tokio::test]
async fn a_killed_primary_loses_nothing_on_the_embedded_service() {
    for transport in Kind::ALL {
        a_killed_primary_loses_nothing(Cluster::embedded(transport, 3).await).await;
    }
}

#[tokio::test]
async fn a_killed_primary_loses_nothing_on_zookeeper() {
    let ensemble = Ensemble::start(1);
    let coordination = Coordination::ZooKeeper(ZooKeeper::new(ensemble.connect_string()));
    a_killed_primary_loses_nothing(Cluster::start(Kind::Native, coordination, None, 2).await).await;
}

#[tokio::test]
async fn nodes_stop_when_they_are_asked_to() {
    let mut cluster = Cluster::embedded(Kind::Native, 2).await;
    let primaries = Primaries::default();
    let publisher = publisher(&cluster, &primaries).await;
    let receipt = publisher.publish("numbers.all", "0").await.unwrap();
    timeout(PATIENCE, receipt).await.unwrap().unwrap();
    for broker in cluster.brokers.iter_mut().flatten() {
        broker.stop();
        let ended = timeout(PATIENCE, broker.ended()).await.unwrap();
        assert_eq!(ended, Some(broker::Event::Stopped));
    }
    for replica in &mut cluster.discovery {
        replica.stop();
        let ended = timeout(PATIENCE, replica.ended()).await.unwrap();
        assert_eq!(ended, Some(discovery::Event::Stopped));
    }
    publisher.publish("numbers.all", "1").await.unwrap();
    let closed = publisher.close(Duration::from_millis(100)).await;
    assert_eq!(closed, Err(CloseError::Deadline { unacknowledged: 1 }));
}

/// A broker may have been started again since, or another one where it was: neither is asked to leave.
#[tokio::test]
async fn only_the_process_that_is_meant_is_drained() {
    let mut cluster = Cluster::embedded(Kind::Native, 2).await;
    cluster.in_sync().await;
    let brokers = survey_discovery(Kind::Native, &cluster.discovery(), PATIENCE).await.brokers_to_ask();
    let [one, two] = &brokers[..] else { panic!("two brokers: {brokers:?}") };
    let mut before = one.clone();
    before.identity.incarnation = Incarnation(one.identity.incarnation.0 ^ 1);
    let elsewhere = BrokerAt { address: two.address.clone(), ..one.clone() };
    for other in [before, elsewhere] {
        assert_eq!(drain(Kind::ZeroMq, &other).await, Err(DrainError::Other));
    }
    let replica = BrokerAt { address: cluster.discovery()[0].clone(), ..one.clone() };
    assert_eq!(drain(Kind::Native, &replica).await, Err(DrainError::Refused));
    cluster.in_sync().await;
    drain(Kind::Native, one).await.unwrap();
    let ended = |broker: &mut RunningBroker| broker.address() == &one.address;
    let left = cluster.brokers.iter_mut().flatten().find_map(|broker| ended(broker).then_some(broker));
    let event = timeout(PATIENCE, left.expect("it is there").ended()).await.unwrap();
    assert_eq!(event, Some(broker::Event::Stopped));
}

#[tokio::test]
async fn a_client_without_a_cluster_is_told_so() {
    let options =
        PublisherOptions { connect_timeout: Some(Duration::from_millis(50)), ..PublisherOptions::default() };
    let error = Publisher::connect("127.0.0.1:1", options).await.unwrap_err();
    assert!(matches!(error, ConnectError::Unreachable { .. }));
    assert!(error.to_string().contains("check that discovery and brokers run"), "{error}");
    let error = Subscriber::connect("127.0.0.1:1", ["a..b"], SubscriberOptions::default()).await.unwrap_err();
    assert_eq!(error.to_string(), "the filter \"a..b\" has an empty word: a dot at an end, or two in a row");
    let none: [&str; 0] = [];
    let error = Subscriber::connect("127.0.0.1:1", none, SubscriberOptions::default()).await.unwrap_err();
    assert!(matches!(error, ConnectError::Filters { count: 0 }));
}
