//! The path from publisher to subscriber: one primary, one backup, one publisher, one subscriber, each
//! on a thread and current-thread runtime of its own, over loopback ZeroMQ. Prints throughput with
//! full batches and latency at a steady rate; nothing is asserted about either.
//!
//! `cargo bench -p steadfast-tokio --bench path -- [RECORDS] [RATE]`

use futures::StreamExt;
use std::future::Future;
use std::sync::mpsc;
use std::time::{Duration, Instant};
use steadfast_core::coordination::service;
use steadfast_core::id::{Address, NodeName};
use steadfast_core::{broker, discovery};
use steadfast_runtime::address::parse;
use steadfast_tokio::client::{Publisher, PublisherOptions, Start, Subscriber, SubscriberOptions, Topic};
use steadfast_tokio::coordination::Coordination;
use steadfast_tokio::nodes::{BrokerOptions, DiscoveryOptions, start_broker, start_discovery, start_service};

const ROOT: &str = "/steadfast/bench";
const PAYLOAD: usize = 100;

/// Runs the future on a new thread with a runtime of its own.
fn on_thread<F: Future<Output = ()>>(
    make: impl FnOnce() -> F + Send + 'static,
) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(make());
    })
}

fn any_port() -> Address {
    parse("127.0.0.1:0").expect("an address")
}

/// Starts the cluster on threads that run as long as the process. Returns discovery's address.
fn cluster() -> String {
    let (sender, addresses) = mpsc::channel();
    let services = sender.clone();
    on_thread(move || async move {
        let mut node = start_service(&any_port(), service::Config::default()).await.expect("a service");
        services.send(node.address().clone()).expect("main waits");
        node.ended().await;
    });
    let address = addresses.recv().expect("a service");
    let coordination = Coordination::Embedded { address, session_timeout: Duration::from_secs(2) };
    for n in 0..2 {
        let coordination = coordination.clone();
        on_thread(move || async move {
            let options = BrokerOptions {
                node: NodeName::new(&format!("broker-{n}")).expect("a name"),
                group: 0,
                listen: any_port(),
                advertise: None,
                coordination,
                root: ROOT.into(),
                config: broker::Config { log_bytes: 8 << 30, ..broker::Config::default() },
            };
            start_broker(options).await.expect("a broker").ended().await;
        });
    }
    on_thread(move || async move {
        let config = discovery::Config::default();
        let options = DiscoveryOptions { listen: any_port(), coordination, root: ROOT.into(), config };
        let mut node = start_discovery(options).await.expect("a replica");
        sender.send(node.address().clone()).expect("main waits");
        node.ended().await;
    });
    addresses.recv().expect("a replica").to_string()
}

/// A subscriber that takes `count` records; sends each record's latency by its embedded time stamp.
fn subscribe(discovery: String, count: u64, epoch: Instant, done: mpsc::Sender<Vec<u64>>) {
    on_thread(move || async move {
        let options = SubscriberOptions { start: Start::Latest, ..SubscriberOptions::default() };
        let mut stream = Subscriber::connect(&discovery, ["bench.>"], options).await.expect("a stream");
        done.send(Vec::new()).expect("main waits");
        let mut latencies = Vec::new();
        for _ in 0..count {
            let message = stream.next().await.expect("open").expect("no gap");
            let sent = u64::from_le_bytes(message.payload[..8].try_into().expect("eight bytes"));
            if sent > 0 {
                latencies.push(nanos(epoch) - sent);
            }
        }
        done.send(latencies).expect("main waits");
    });
}

fn nanos(epoch: Instant) -> u64 {
    u64::try_from(epoch.elapsed().as_nanos()).expect("a short run")
}

fn payload(stamp: u64) -> Vec<u8> {
    let mut payload = vec![b'x'; PAYLOAD];
    payload[..8].copy_from_slice(&stamp.to_le_bytes());
    payload
}

/// Publishes `count` records, at `rate` a second if that is not zero.
async fn publish(discovery: &str, count: u64, rate: u64, epoch: Instant) {
    let publisher = Publisher::connect(discovery, PublisherOptions::default()).await.expect("a primary");
    let topic = Topic::new("bench.path").expect("a topic");
    let template = bytes::Bytes::from(payload(0));
    if rate == 0 {
        for _ in 0..count {
            publisher.publish(&topic, template.clone()).await.expect("taken");
        }
        return publisher.close(Duration::from_secs(60)).await.expect("acknowledged");
    }
    // The runtime's timer has a resolution of a millisecond: a thread keeps the pace.
    let (sender, paced) = futures::channel::oneshot::channel();
    std::thread::spawn(move || {
        let start = Instant::now();
        for n in 0..count {
            let due = start + Duration::from_nanos(n * 1_000_000_000 / rate);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let taken = publisher.publish(&topic, payload(nanos(epoch)));
            futures::executor::block_on(taken).expect("taken");
        }
        sender.send(publisher).expect("main waits");
    });
    let publisher = paced.await.expect("paced");
    publisher.close(Duration::from_secs(60)).await.expect("acknowledged");
}

fn main() {
    // Cargo adds `--bench`.
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse::<u64>().ok());
    let records = numbers.next().unwrap_or(5_000_000);
    let rate = numbers.next().unwrap_or(5_000);
    let epoch = Instant::now();
    let discovery = cluster();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (sender, received) = mpsc::channel();

    // One record shows that there is a primary.
    runtime.block_on(publish(&discovery, 1, 0, epoch));
    subscribe(discovery.clone(), records, epoch, sender.clone());
    received.recv().expect("a stream");
    let start = Instant::now();
    runtime.block_on(publish(&discovery, records, 0, epoch));
    let acknowledged = start.elapsed();
    received.recv().expect("all records");
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "throughput: {records} records of {PAYLOAD} B acknowledged in {:.2} s, delivered in {seconds:.2} s: \
         {:.0} records/s",
        acknowledged.as_secs_f64(),
        records as f64 / seconds
    );

    let count = rate * 5;
    subscribe(discovery.clone(), count, epoch, sender);
    received.recv().expect("a stream");
    runtime.block_on(publish(&discovery, count, rate, epoch));
    let mut latencies = received.recv().expect("all records");
    latencies.sort_unstable();
    let at = |percent: usize| latencies[latencies.len() * percent / 1_000] / 1_000;
    println!("latency at {rate} records/s: p50 {} us, p99 {} us, p99.9 {} us", at(500), at(990), at(999));
}
