//! Publishes for a while, at a rate or as fast as it may.

use super::super::super::failure::Failure;
use super::super::super::print;
use super::super::super::publish::connect_failure;
use super::super::super::worker::payload::now;
use super::super::super::worker::publisher::pace;
use super::HEADER;
use super::counters::Counters;
use super::settings::Settings;
use super::tally::{Latencies, dump, processor_seconds};
use bytes::BufMut as _;
use futures::FutureExt as _;
use serde_json::json;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::BufRead as _;
use std::ops::Range;
use std::task::{Context, Poll, ready};
use std::thread;
use std::time::Duration;
use steadfast_core::filter::Topic;
use steadfast_core::publisher;
use steadfast_runtime::configuration::Transport;
use steadfast_tokio::client::{Publisher, PublisherOptions, Receipt};
use tokio::time::timeout;

/// Records in a row before the sockets get their turn.
const BURST: u64 = 512;
/// As fast as may be, records are stamped together: the clock costs as much as a record.
const STAMPED: u64 = 16;
/// How long it sleeps when subscribers are too far behind.
const PAUSE: Duration = Duration::from_micros(50);
/// How long after its time it still waits for them, in nanoseconds.
const PATIENCE: u64 = 2_000_000_000;
/// A record that is sent so late counts from when it should have been sent, in nanoseconds.
const LATE: u64 = 1_000_000;

/// Connects, waits for its word, publishes, reports, and stays until its standard input ends.
///
/// # Errors
/// As [`super::run`].
pub async fn run(settings: &Settings, transport: &Transport) -> Result<(), Failure> {
    let config = publisher::Config { compression: settings.compression, ..publisher::Config::default() };
    let options = PublisherOptions {
        transport: transport.kind,
        busy_poll: transport.busy_poll,
        config,
        ..PublisherOptions::default()
    };
    let publisher = Publisher::connect(&settings.discovery, options).await.map_err(connect_failure)?;
    let topic = Topic::new(&format!("t{}", settings.id)).expect("a letter and a number");
    let counters = Counters::open(&settings.counters)?;
    print("READY")?;
    line().await;
    let mut source = Source {
        settings,
        publisher,
        topic,
        counters,
        payload: vec![b'x'; settings.size],
        start: now(),
        next: 0,
        allowance: 0,
        receipts: VecDeque::new(),
        acknowledged: Vec::new(),
        latencies: Latencies::new(),
        last: 0,
        longest_gap: 0,
    };
    source.publish_all().await?;
    let all = poll_fn(|cx| source.poll_receipts(cx));
    // What is not acknowledged by then is counted as open.
    let _ = timeout(settings.drain, all).await;
    source.counters.done()?;
    if let Some(path) = &settings.dump {
        let mut records = source.acknowledged.clone();
        records.resize(source.next as usize, 0);
        dump(path, &records)?;
    }
    print(&source.summary())?;
    while line().await {}
    Ok(())
}

/// Waits for a line of the standard input. No: it has ended.
async fn line() -> bool {
    let read = || std::io::stdin().lock().read_line(&mut String::new());
    matches!(tokio::task::spawn_blocking(read).await, Ok(Ok(1..)))
}

async fn pause() {
    // The runtime's own timer counts milliseconds.
    let _ = tokio::task::spawn_blocking(|| thread::sleep(PAUSE)).await;
}

/// Records that were sent at the same time. They are of one topic: when the last one is completed, all are.
struct Sent {
    numbers: Range<u64>,
    at: u64,
    last: Receipt,
}

struct Source<'a> {
    settings: &'a Settings,
    publisher: Publisher,
    topic: Topic,
    counters: Counters,
    /// The next record; its header changes.
    payload: Vec<u8>,
    start: u64,
    /// Number of the next record.
    next: u64,
    /// So many may be sent before the counters are looked at again.
    allowance: u64,
    /// What is not completed.
    receipts: VecDeque<Sent>,
    /// A byte for each record: 1 is acknowledged.
    acknowledged: Vec<u8>,
    latencies: Latencies,
    /// Time of the last acknowledgement.
    last: u64,
    longest_gap: u64,
}

impl Source<'_> {
    async fn publish_all(&mut self) -> Result<(), Failure> {
        let end = self.start + self.settings.time.as_nanos() as u64;
        match self.settings.rate {
            Some(rate) => self.publish_at(rate, end).await,
            None => self.publish_fast(end).await,
        }
    }

    async fn publish_fast(&mut self, end: u64) -> Result<(), Failure> {
        while now() < end {
            let open = self.receipts.front().map_or(0, |sent| self.next - sent.numbers.start);
            if open >= self.settings.unacknowledged {
                poll_fn(|cx| self.poll_some_receipts(cx)).await;
                continue;
            }
            let room = self.room()?.min(self.settings.unacknowledged - open).min(BURST);
            if room == 0 {
                self.wait_for_room().await;
                continue;
            }
            let end = self.next + room;
            while self.next < end {
                self.publish(now(), STAMPED.min(end - self.next)).await?;
            }
            self.counters.sent(self.settings.id, self.next)?;
            let _ = poll_fn(|cx| self.poll_receipts(cx)).now_or_never();
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Subscribers are too far behind: until something of what is under way has come to them, probably.
    async fn wait_for_room(&mut self) {
        match self.receipts.is_empty() {
            true => pause().await,
            false => poll_fn(|cx| self.poll_some_receipts(cx)).await,
        }
    }

    async fn publish_at(&mut self, rate: f64, end: u64) -> Result<(), Failure> {
        let step = Duration::from_secs_f64(1.0 / rate);
        let mut steps = pace(step);
        loop {
            let due = tokio::select! {
                due = steps.recv() => due.unwrap_or(0),
                () = poll_fn(|cx| self.poll_receipts(cx)), if !self.receipts.is_empty() => continue,
            };
            while self.next < due {
                let intended = self.start + (self.next as f64 * step.as_secs_f64() * 1e9) as u64;
                if intended >= end {
                    return Ok(());
                }
                while self.room()? == 0 && now() < end + PATIENCE {
                    pause().await;
                }
                let now = now();
                self.publish(if now > intended + LATE { intended } else { now }, 1).await?;
                self.counters.sent(self.settings.id, self.next)?;
            }
        }
    }

    /// How many records may be sent now without being too far ahead of a subscriber.
    fn room(&mut self) -> Result<u64, Failure> {
        if self.settings.window == 0 {
            return Ok(u64::MAX);
        }
        if self.allowance == 0 {
            let received = self.counters.least_received(self.settings.subscribers)?;
            let ahead = self.counters.all_sent(self.settings.publishers)?.saturating_sub(received);
            // All publishers may think so at the same time.
            let others = self.settings.publishers.max(1) as u64;
            self.allowance = self.settings.window.saturating_sub(ahead) / others;
        }
        Ok(self.allowance)
    }

    /// Publishes so many records, at least one, as of this time.
    async fn publish(&mut self, at: u64, count: u64) -> Result<(), Failure> {
        let numbers = self.next..self.next + count;
        let mut last = None;
        for number in numbers.clone() {
            let mut header = &mut self.payload[..HEADER];
            header.put_u64_le(at);
            header.put_u32_le(self.settings.id as u32);
            header.put_u64_le(number);
            let published = self.publisher.publish(&self.topic, &self.payload).await;
            last = Some(published.map_err(Failure::complete)?);
        }
        self.receipts.extend(last.map(|last| Sent { numbers, at, last }));
        self.next += count;
        self.allowance = self.allowance.saturating_sub(count);
        Ok(())
    }

    /// Takes receipts as they resolve, in order. Ready when there is none.
    fn poll_receipts(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Some(sent) = self.receipts.front_mut() {
            let result = ready!(sent.last.poll_unpin(cx));
            let (numbers, at) = (sent.numbers.clone(), sent.at);
            self.receipts.pop_front();
            self.acknowledged.resize(numbers.end as usize, u8::from(result.is_ok()));
            if result.is_ok() {
                self.note(at, numbers.end - numbers.start);
            }
        }
        Poll::Ready(())
    }

    /// Ready when at least one more has resolved, or there is none.
    fn poll_some_receipts(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let before = self.receipts.len();
        match self.poll_receipts(cx) {
            Poll::Pending if self.receipts.len() == before => Poll::Pending,
            _ => Poll::Ready(()),
        }
    }

    /// Records that were sent at this time are acknowledged.
    fn note(&mut self, at: u64, count: u64) {
        let now = now();
        if self.last > 0 {
            self.longest_gap = self.longest_gap.max(now - self.last);
        }
        self.last = now;
        self.latencies.note(now.saturating_sub(at), count);
    }

    fn summary(&self) -> String {
        let progress = self.publisher.progress();
        json!({
            "sent": self.next,
            "acked": progress.acknowledged,
            "start": self.start,
            "end": now(),
            "errors": progress.failed,
            "resent": 0,
            "ack_p50": self.latencies.quantile(0.5),
            "ack_p99": self.latencies.quantile(0.99),
            "ack_max": self.latencies.longest(),
            "ack_gap_ms": self.longest_gap as f64 / 1e6,
            "cpu": processor_seconds(),
        })
        .to_string()
    }
}
