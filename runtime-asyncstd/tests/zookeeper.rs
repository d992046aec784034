//! A broker and a discovery replica under async-std, over real ZeroMQ, coordinated by a real ZooKeeper.

#[path = "../../runtime/tests/support/ports.rs"]
mod ports;
#[path = "../../runtime-tokio/tests/support/zookeeper.rs"]
#[allow(dead_code, reason = "every test file uses its part")]
mod zookeeper;

use async_std::future::timeout;
use async_std::task::{self, JoinHandle};
use std::ops::ControlFlow;
use std::time::Duration;
use steadfast_asyncstd::coordination::{self, spawner};
use steadfast_asyncstd::driver::{NodePorts, drive};
use steadfast_asyncstd::transport::{Kind, Transport};
use steadfast_core::broker::{self, Broker};
use steadfast_core::compression::{Codecs, Decompressor};
use steadfast_core::discovery::{self, Discovery};
use steadfast_core::filter::{Filter, Topic};
use steadfast_core::id::{Address, NodeName};
use steadfast_core::log::Codec;
use steadfast_core::node::Node;
use steadfast_core::publisher::{self, Publisher};
use steadfast_core::subscriber::{self, Start, Subscriber};
use steadfast_core::time::Instant;
use steadfast_runtime::address::parse;
use steadfast_runtime::clock::Clock;
use steadfast_runtime::identity;
use steadfast_runtime::inbox::{Receiver, Sender, inbox};
use steadfast_runtime::zookeeper::{Config, prepare};
use zookeeper::Ensemble;

const PATIENCE: Duration = Duration::from_secs(60);
const ROOT: &str = "/steadfast/async-std";

/// A node that runs.
struct Running<N: Node> {
    commands: Sender<N::Command>,
    events: Receiver<N::Event>,
    task: JoinHandle<()>,
}

impl<N: Node + Send + 'static> Running<N>
where
    N::Command: Send,
    N::Event: Send,
{
    fn start(
        name: &str,
        node: impl FnOnce(Instant) -> N,
        transport: Transport,
        zookeeper: Option<&Config>,
    ) -> Self {
        let clock = Clock::start();
        let node = node(clock.now());
        let (commands, receiver) = inbox();
        let (sender, events) = inbox();
        let on_event = move |event| match sender.send(event) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        };
        let opened = zookeeper.map(|config| coordination::zookeeper(config.clone()));
        let (port, backing) = opened.unzip();
        let name = name.to_owned();
        let ports =
            NodePorts { name, transport, commands: receiver, coordination: port, storage: None, on_event };
        let task = task::spawn(async move {
            drive(node, clock, ports).await;
            if let Some(backing) = backing {
                backing.close().await;
            }
        });
        Self { commands, events, task }
    }

    fn tell(&self, command: N::Command) {
        assert!(self.commands.send(command).is_ok(), "the driver runs");
    }

    async fn until<T>(&mut self, wanted: impl Fn(N::Event) -> Option<T>) -> T {
        let found = async {
            loop {
                if let Some(found) = wanted(self.events.next().await.expect("the driver runs")) {
                    return found;
                }
            }
        };
        timeout(PATIENCE, found).await.expect("in time")
    }
}

async fn listen() -> (Transport, Address) {
    let transport = Transport::listen(Kind::default(), &parse("127.0.0.1:0").unwrap()).await.unwrap();
    let address = transport.address().unwrap().clone();
    (transport, address)
}

async fn start_broker(zookeeper: &Config) -> Running<Broker> {
    let (transport, address) = listen().await;
    let boot = broker::Boot {
        seed: identity::seed(),
        node: NodeName::new("one").unwrap(),
        generation: identity::generation(),
        incarnation: identity::incarnation(),
        address,
        group: 0,
        root: ROOT.into(),
        config: broker::Config { compression: Codecs::ALL, ..broker::Config::default() },
    };
    Running::start("broker", |now| Broker::new(now, boot), transport, Some(zookeeper))
}

async fn start_discovery(zookeeper: &Config) -> (Running<Discovery>, Address) {
    let (transport, address) = listen().await;
    let (seed, replica, config) = (identity::seed(), identity::random(), discovery::Config::default());
    let boot = discovery::Boot { seed, replica, root: ROOT.into(), config };
    (Running::start("discovery", |now| Discovery::new(now, boot), transport, Some(zookeeper)), address)
}

/// Publishes one record.
async fn publish(discovery: &Address, compression: Codec, payload: &[u8]) {
    let boot = publisher::Boot {
        seed: identity::seed(),
        publisher: identity::publisher(),
        nonce: identity::nonce(),
        discovery: vec![discovery.clone()],
        group: 0,
        outbox: None,
        config: publisher::Config { compression, ..publisher::Config::default() },
    };
    let node = |now| Publisher::new(now, boot);
    let mut publisher = Running::start("publisher", node, Transport::dial_only(Kind::default()), None);
    publisher.tell(publisher::Command::publish(1, Topic::new("t").unwrap(), payload));
    let acknowledged = publisher.until(|event| match event {
        publisher::Event::Completed { result, .. } => Some(result),
        _ => None,
    });
    assert_eq!(acknowledged.await, Ok(()));
}

#[test]
fn records_go_through_a_cluster_on_zookeeper() {
    let ensemble = Ensemble::start(1);
    let zookeeper = Config::new(ensemble.connect_string());
    task::block_on(async {
        prepare(&zookeeper, ROOT, PATIENCE, &spawner()).await.unwrap();
        let (_discovery, address) = start_discovery(&zookeeper).await;
        let mut broker = start_broker(&zookeeper).await;
        let codecs = [Codec::None, Codec::Lz4, Codec::Zstd];
        let payload = bytes::Bytes::from("hello ".repeat(200));
        for compression in codecs {
            publish(&address, compression, &payload).await;
        }

        let boot = subscriber::Boot {
            seed: identity::seed(),
            discovery: vec![address],
            group: 0,
            filters: vec![Filter::new("t").unwrap()],
            start: Start::Earliest,
            config: subscriber::Config::default(),
        };
        let node = |now| Subscriber::new(now, boot);
        let mut subscriber = Running::start("subscriber", node, Transport::dial_only(Kind::default()), None);
        for codec in codecs {
            let delivered = subscriber.until(|event| match event {
                subscriber::Event::Delivered(delivery) => Some((false, delivery)),
                subscriber::Event::Packed(packed) => {
                    Some((true, packed.unpack(&mut Decompressor::default()).unwrap()))
                }
                _ => None,
            });
            let (was_packed, delivery) = delivered.await;
            assert_eq!(was_packed, codec != Codec::None, "{codec}");
            assert_eq!(delivery.records.collect::<Vec<_>>(), std::slice::from_ref(&payload));
        }

        broker.tell(broker::Command::Shutdown);
        assert_eq!(broker.until(Some).await, broker::Event::Stopped);
        drop(broker.commands);
        timeout(PATIENCE, broker.task).await.expect("a broker that has left ends");
    });
}
