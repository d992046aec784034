//! The publisher: numbered records at a steady rate, or as fast as they are taken.

use super::super::attached::Parent;
use super::super::failure::Failure;
use super::super::metrics::{measured, prepare, start_exporter};
use super::super::publish::{connect_failure, discovery};
use super::args::PublisherWorkerArgs;
use super::payload::{Factory, now};
use super::pulse::Pulse;
use super::report::{NumberSet, Published, Report};
use super::{Orders, REPORT_PERIOD, not_attached, observer, say};
use futures::FutureExt as _;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Context, Poll, ready};
use std::thread;
use std::time::{Duration, Instant};
use steadfast_core::filter::Topic;
use steadfast_runtime::configuration::Configuration;
use steadfast_tokio::client::{PublishError, Publisher, PublisherOptions, Receipt};
use tokio::sync::{Notify, mpsc};
use tokio::time::{interval, timeout};

/// What it is called in metrics.
const NAME: &str = "publisher";
/// How long the last acknowledgements may take.
const DRAIN: Duration = Duration::from_secs(12);
/// Shortest time between two wake-ups of the pacing thread.
const SHORTEST_STEP: Duration = Duration::from_micros(100);
/// A record that is sent so much later than planned is late, in nanoseconds.
const LATE: u64 = 1_000_000;
/// Records in a row before the sockets get their turn.
const BURST: u64 = 1_024;

/// When records should be sent, in nanoseconds.
#[derive(Clone, Copy, Debug)]
struct Plan {
    start: u64,
    step: u64,
}

impl Plan {
    /// What a record says of when it was sent. One that is late counts from when it should have been
    /// sent: while the cluster holds up the publisher, those that wait behind it are held up too.
    const fn sent_at(self, number: u64, now: u64) -> u64 {
        let planned = self.start + self.step * (number + 1);
        if now > planned + LATE { planned } else { now }
    }
}

/// What the worker's tasks share.
struct Work {
    publisher: Publisher,
    topic: Topic,
    records: u64,
    factory: RefCell<Factory>,
    next: Cell<u64>,
    receipts: RefCell<VecDeque<(u64, u64, Receipt)>>,
    published: Notify,
    acknowledged: RefCell<NumberSet>,
    failed: Cell<u64>,
    pulse: RefCell<Pulse>,
}

/// Publishes until it is told to stop, or until the number of records is reached, and then until
/// everything has its outcome.
///
/// # Errors
/// When there is no cluster, or the parent is gone.
pub async fn run(
    args: PublisherWorkerArgs,
    configuration: &Configuration,
    parent: &Parent,
) -> Result<(), Failure> {
    let mut orders = parent.take().ok_or_else(not_attached)?;
    let exporter = start_exporter(prepare(configuration, &configuration.settings.cluster.name)?, NAME)?;
    let options = PublisherOptions {
        transport: configuration.settings.transport.kind,
        busy_poll: configuration.settings.transport.busy_poll,
        observer: Some(observer()),
        metrics: measured(exporter.as_ref(), NAME),
        ..PublisherOptions::default()
    };
    let publisher = Publisher::connect(&discovery(configuration), options).await.map_err(connect_failure)?;
    let work = Work {
        publisher,
        topic: args.topic,
        records: args.records.unwrap_or(u64::MAX),
        factory: RefCell::new(Factory::new(args.size as usize)),
        next: Cell::new(0),
        receipts: RefCell::default(),
        published: Notify::new(),
        acknowledged: RefCell::default(),
        failed: Cell::new(0),
        pulse: RefCell::new(Pulse::new(now())),
    };
    let start = Instant::now();
    let all = async {
        tokio::select! {
            result = work.publish_all(args.rate) => result.map_err(Failure::complete)?,
            () = stop(&mut orders) => {}
        }
        // What is not acknowledged by then counts as failed.
        let _ = timeout(DRAIN, work.publisher.flush()).await;
        Ok(())
    };
    tokio::select! {
        result = all => result?,
        result = work.report_all() => result?,
        never = work.acknowledge_all() => match never {},
    }
    // The last ones may have resolved together with the flush.
    let _ = poll_fn(|cx| work.poll_receipts(cx)).now_or_never();
    say(&Report::Published(work.summary(start.elapsed())))
}

/// The parent's only order to a publisher.
async fn stop(orders: &mut Orders) {
    while orders.recv().await.is_some_and(|order| order != "stop") {}
}

impl Work {
    async fn publish_all(&self, rate: u32) -> Result<(), PublishError> {
        if rate == 0 {
            while self.next.get() < self.records {
                self.publish(BURST, None).await?;
                tokio::task::yield_now().await;
            }
            return Ok(());
        }
        let step = Duration::from_secs(1) / rate;
        let plan = Plan { start: now(), step: step.as_nanos() as u64 };
        let mut steps = pace(step);
        while let (Some(due), true) = (steps.recv().await, self.next.get() < self.records) {
            self.publish(due.saturating_sub(self.next.get()), Some(plan)).await?;
        }
        Ok(())
    }

    async fn publish(&self, count: u64, plan: Option<Plan>) -> Result<(), PublishError> {
        for _ in 0..count.min(self.records - self.next.get()) {
            let number = self.next.get();
            let at = plan.map_or_else(now, |plan| plan.sent_at(number, now()));
            let payload = self.factory.borrow_mut().make(number, at);
            let receipt = self.publisher.publish(&self.topic, payload).await?;
            self.next.set(number + 1);
            self.receipts.borrow_mut().push_back((number, at, receipt));
            self.published.notify_one();
        }
        Ok(())
    }

    async fn acknowledge_all(&self) -> std::convert::Infallible {
        loop {
            poll_fn(|cx| self.poll_receipts(cx)).await;
            self.published.notified().await;
        }
    }

    /// Takes receipts as they resolve, in order. One that is open stays in the queue: at the end of
    /// the run it is there to be counted. Ready when there is none.
    fn poll_receipts(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut receipts = self.receipts.borrow_mut();
        while let Some((number, at, receipt)) = receipts.front_mut() {
            let result = ready!(receipt.poll_unpin(cx));
            self.note(*number, *at, result);
            receipts.pop_front();
        }
        Poll::Ready(())
    }

    fn note(&self, number: u64, sent_at: u64, result: Result<(), PublishError>) {
        if result.is_err() {
            return self.failed.set(self.failed.get() + 1);
        }
        let now = now();
        self.acknowledged.borrow_mut().insert(number);
        let mut pulse = self.pulse.borrow_mut();
        pulse.beat(now, 1);
        pulse.latency(now, sent_at);
    }

    async fn report_all(&self) -> Result<(), Failure> {
        let mut period = interval(REPORT_PERIOD);
        loop {
            period.tick().await;
            let progress = self.pulse.borrow_mut().report(now());
            say(&Report::Progress(progress))?;
        }
    }

    fn summary(&self, time: Duration) -> Published {
        let open = self.receipts.borrow().len() as u64;
        Published {
            acknowledged: self.acknowledged.borrow().clone(),
            failed: self.failed.get() + open,
            seconds: time.as_secs_f64(),
        }
    }
}

/// Says how many records are due, at every step. A thread: the runtime's own timer counts
/// milliseconds, and a step may be shorter.
pub fn pace(step: Duration) -> mpsc::Receiver<u64> {
    let (sender, receiver) = mpsc::channel(1);
    thread::spawn(move || {
        let start = Instant::now();
        let mut next = step;
        loop {
            thread::sleep(next.saturating_sub(start.elapsed()).max(SHORTEST_STEP));
            let due = start.elapsed().as_nanos() / step.as_nanos();
            if sender.blocking_send(u64::try_from(due).unwrap_or(u64::MAX)).is_err() {
                return;
            }
            next = step * u32::try_from(due + 1).unwrap_or(u32::MAX);
        }
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_record_counts_from_when_it_was_due() {
        let plan = Plan { start: 1_000, step: 200_000 };
        assert_eq!(plan.sent_at(0, 201_500), 201_500, "a little late is the clock's own");
        assert_eq!(plan.sent_at(9, 2_001_000 + LATE + 1), 2_001_000);
        assert_eq!(plan.sent_at(10, 2_001_000 + LATE + 1), 2_001_000 + LATE + 1, "not late yet");
    }
}
