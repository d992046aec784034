//! Receives until everything that was sent has come.

use super::super::super::failure::Failure;
use super::super::super::print;
use super::super::super::publish::connect_failure;
use super::super::super::worker::payload::now;
use super::counters::Counters;
use super::settings::{MOST_ROLES, Settings};
use super::tally::{Latencies, dump, processor_seconds};
use serde_json::json;
use std::time::Duration;
use steadfast_runtime::configuration::Transport;
use steadfast_tokio::client::{Subscriber, SubscriberOptions};
use tokio::time::interval;

/// How often it looks whether the run is over.
const LOOK: Duration = Duration::from_millis(20);
/// Most gaps that are reported.
const MOST_GAPS: usize = 1_000;

/// Connects, receives and reports.
///
/// # Errors
/// As [`super::run`].
pub async fn run(settings: &Settings, transport: &Transport) -> Result<(), Failure> {
    let options = SubscriberOptions {
        transport: transport.kind,
        busy_poll: transport.busy_poll,
        ..SubscriberOptions::default()
    };
    let mut subscriber =
        Subscriber::connect(&settings.discovery, [">"], options).await.map_err(connect_failure)?;
    let counters = Counters::open(&settings.counters)?;
    print("READY")?;
    let mut sink = Sink::new(settings.gap);
    let mut looks = interval(LOOK);
    let mut watch = Watch { settings, counters: &counters, began: now(), done: None };
    let finished = loop {
        tokio::select! {
            _ = looks.tick() => if let Some(finished) = watch.is_over(&sink)? {
                break finished;
            },
            batch = subscriber.next_batch() => {
                let Some(batch) = batch else { break false };
                let batch = batch.map_err(|gap| Failure::new(gap.to_string(), "repeat the run"))?;
                let now = now();
                batch.payloads().for_each(|payload| sink.take(payload, now));
                counters.received(settings.id, sink.unique)?;
            }
        }
    };
    if let Some(path) = &settings.dump {
        dump(path, sink.publishers.first().map_or(&[], |first| &first.seen))?;
    }
    print(&sink.summary(counters.all_sent(settings.publishers)?, finished))
}

/// Whether the run is over.
struct Watch<'a> {
    settings: &'a Settings,
    counters: &'a Counters,
    began: u64,
    /// When the last publisher was done.
    done: Option<u64>,
}

impl Watch<'_> {
    /// `Some(false)`: it takes too long.
    fn is_over(&mut self, sink: &Sink) -> Result<Option<bool>, Failure> {
        let now = now();
        if self.done.is_none() && self.counters.publishers_done()? >= self.settings.publishers as u64 {
            self.done = Some(now);
        }
        if let Some(done) = self.done {
            let idle = self.settings.idle.as_nanos() as u64;
            let all = sink.unique >= self.counters.all_sent(self.settings.publishers)?;
            if all || now > sink.last.max(done) + idle {
                return Ok(Some(true));
            }
        }
        let longest = (self.settings.time + self.settings.drain).as_nanos() as u64;
        Ok((now > self.began + longest).then_some(false))
    }
}

/// What has come of one publisher.
#[derive(Clone, Debug, Default)]
struct FromOne {
    /// How often each record has come.
    seen: Vec<u8>,
    /// The record after the last one that was in order.
    next: u64,
}

struct Sink {
    publishers: Vec<FromOne>,
    received: u64,
    unique: u64,
    duplicates: u64,
    out_of_order: u64,
    bytes: u64,
    first: u64,
    last: u64,
    /// A longer time without a record is a gap, in nanoseconds.
    gap: u64,
    gaps: Vec<[u64; 2]>,
    latencies: Latencies,
    /// A latency that is not noted yet, and how many records in a row have it.
    run: (u64, u64),
}

impl Sink {
    fn new(gap: u64) -> Self {
        Self {
            publishers: Vec::new(),
            received: 0,
            unique: 0,
            duplicates: 0,
            out_of_order: 0,
            bytes: 0,
            first: 0,
            last: 0,
            gap,
            gaps: Vec::new(),
            latencies: Latencies::new(),
            run: (0, 0),
        }
    }

    /// A record has come. What has no header, or another one, is none of the run's.
    fn take(&mut self, payload: &[u8], now: u64) {
        let Some((sent_at, publisher, number)) = header(payload) else { return };
        if self.received == 0 {
            self.first = now;
        } else if now - self.last > self.gap && self.gaps.len() < MOST_GAPS {
            self.gaps.push([self.last, now]);
        }
        self.last = now;
        self.received += 1;
        self.bytes += payload.len() as u64;
        let latency = now.saturating_sub(sent_at);
        if self.run.0 != latency {
            self.note_run();
            self.run.0 = latency;
        }
        self.run.1 += 1;
        if self.publishers.len() <= publisher {
            self.publishers.resize(publisher + 1, FromOne::default());
        }
        let from = &mut self.publishers[publisher];
        let place = number as usize;
        if from.seen.len() <= place {
            from.seen.resize(place + 1, 0);
        }
        if from.seen[place] > 0 {
            self.duplicates += 1;
        } else if number < from.next {
            (self.unique, self.out_of_order) = (self.unique + 1, self.out_of_order + 1);
        } else {
            (self.unique, from.next) = (self.unique + 1, number + 1);
        }
        from.seen[place] = from.seen[place].saturating_add(1);
    }

    fn note_run(&mut self) {
        let (latency, count) = std::mem::take(&mut self.run);
        self.latencies.note(latency, count);
    }

    fn summary(&mut self, expected: u64, finished: bool) -> String {
        self.note_run();
        json!({
            "n": self.received,
            "uniq": self.unique,
            "dup": self.duplicates,
            "ooo": self.out_of_order,
            "bytes": self.bytes,
            "first": self.first,
            "last": self.last,
            "expected": expected,
            "p50": self.latencies.quantile(0.5),
            "p99": self.latencies.quantile(0.99),
            "p999": self.latencies.quantile(0.999),
            "max": self.latencies.longest(),
            "gaps": self.gaps,
            "finished": finished,
            "cpu": processor_seconds(),
        })
        .to_string()
    }
}

/// Time of sending, publisher and number. `None`: it is no record of a run.
fn header(payload: &[u8]) -> Option<(u64, usize, u64)> {
    /// More records than any run has.
    const MOST_RECORDS: u64 = 1 << 32;
    let (sent_at, rest) = payload.split_first_chunk()?;
    let (publisher, rest) = rest.split_first_chunk()?;
    let (number, _) = rest.split_first_chunk()?;
    let publisher = u32::from_le_bytes(*publisher) as usize;
    let number = u64::from_le_bytes(*number);
    let known = publisher < MOST_ROLES && number < MOST_RECORDS;
    known.then(|| (u64::from_le_bytes(*sent_at), publisher, number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(publisher: u32, number: u64) -> Vec<u8> {
        [&5_u64.to_le_bytes()[..], &publisher.to_le_bytes(), &number.to_le_bytes(), b"xx"].concat()
    }

    #[test]
    fn records_are_counted_by_publisher() {
        let mut sink = Sink::new(10);
        for (publisher, number, at) in [(0, 0, 10), (0, 2, 12), (1, 0, 30), (0, 1, 31), (0, 2, 32)] {
            sink.take(&payload(publisher, number), at);
        }
        assert_eq!((sink.received, sink.unique, sink.duplicates, sink.out_of_order), (5, 4, 1, 1));
        assert_eq!((sink.gaps.as_slice(), sink.first, sink.last), (&[[12, 30]][..], 10, 32));
    }

    #[test]
    fn what_is_no_record_of_a_run_is_left_alone() {
        let mut sink = Sink::new(10);
        for payload in [payload(100, 0), payload(0, u64::MAX), vec![0; 19]] {
            sink.take(&payload, 10);
        }
        assert_eq!(sink.received, 0);
    }
}
