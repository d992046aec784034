//! Many clients in one process: publishers that publish whole batches as fast as they are allowed to, or
//! subscribers of all that they publish.

use super::super::args::ClientArgs;
use super::super::attached::Parent;
use super::super::failure::Failure;
use super::super::publish::{connect_failure, discovery};
use super::super::text;
use super::idle::{connect_all, publisher_options, subscriber_options};
use super::report::{Report, Tally};
use super::{Orders, not_attached, say};
use clap::Args;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;
use steadfast_core::filter::Topic;
use steadfast_core::id::{PublisherId, Sequence};
use steadfast_runtime::configuration::Configuration;
use steadfast_tokio::client::{PublishError, Publisher, Subscriber};
use tokio::sync::mpsc::error::TryRecvError;
use tokio::task::spawn_local;
use tokio::time::{interval, timeout};

/// Between two reports: what publishers are allowed to depends on how far subscribers are.
const REPORT_PERIOD: Duration = Duration::from_millis(20);
/// How long the last acknowledgements may take.
const DRAIN: Duration = Duration::from_secs(12);
/// More than a record takes in a batch beside its payload.
const OVERHEAD: usize = 4;

/// `steadfast worker crowd`
#[derive(Debug, Args)]
pub struct CrowdArgs {
    #[command(flatten)]
    pub client: ClientArgs,
    /// How many publishers, or none.
    #[arg(long, default_value_t = 0)]
    publishers: u32,
    /// How many subscribers, or none.
    #[arg(long, default_value_t = 0)]
    subscribers: u32,
    /// Topics are this one and a number below it.
    #[arg(long, value_parser = text::topic)]
    topic: Topic,
    #[arg(long, default_value_t = 1)]
    topics: u32,
    /// Bytes of a record.
    #[arg(long, default_value_t = 16)]
    size: u32,
    /// Records of a batch.
    #[arg(long, default_value_t = 1)]
    batch: u32,
}

/// Connects, says how many are connected, and does what the parent says until it ends this process.
///
/// # Errors
/// When there is no cluster, a record cannot be published, or the parent is gone.
pub async fn run(args: CrowdArgs, configuration: &Configuration, parent: &Parent) -> Result<(), Failure> {
    let orders = parent.take().ok_or_else(not_attached)?;
    match args.publishers {
        0 => subscribe(&args, configuration).await,
        _ => publish(&args, configuration, orders).await,
    }
}

async fn publish(args: &CrowdArgs, configuration: &Configuration, mut orders: Orders) -> Result<(), Failure> {
    let discovery = &discovery(configuration);
    let publishers = connect_all(args.publishers, || async {
        let mut options = publisher_options(configuration);
        options.config.batch_bytes = args.batch as usize * (args.size as usize + OVERHEAD);
        Publisher::connect(discovery, options).await.map_err(connect_failure)
    });
    let source = Source {
        publishers: publishers.await?,
        topics: (0..args.topics).map(|number| topic(&args.topic, number)).collect(),
        payload: vec![b'x'; args.size as usize],
        batch: args.batch.into(),
    };
    tokio::select! {
        result = source.publish_all(&mut orders) => result.map_err(Failure::complete)?,
        result = source.report_all() => match result? {},
    }
    for publisher in &source.publishers {
        // What is not acknowledged by then counts as failed.
        let _ = timeout(DRAIN, publisher.flush()).await;
    }
    say(&Report::Tally(Tally { is_last: true, ..source.tally() }))
}

fn topic(parent: &Topic, number: u32) -> Topic {
    Topic::new(&format!("{parent}.{number}")).expect("a topic and a number are a topic")
}

struct Source {
    publishers: Vec<Publisher>,
    topics: Vec<Topic>,
    payload: Vec<u8>,
    /// Records in a row of one publisher on one topic.
    batch: u64,
}

impl Source {
    /// Publishes in turn, until it is told to stop, as much as it is told: whole batches.
    async fn publish_all(&self, orders: &mut Orders) -> Result<(), PublishError> {
        let turns = self.publishers.iter().cycle().zip(self.topics.iter().cycle());
        let (mut sent, mut allowed) = (0, 0);
        for (publisher, topic) in turns {
            while sent + self.batch > allowed {
                let Some(order) = orders.recv().await else { return Ok(()) };
                let Ok(number) = order.parse() else { return Ok(()) };
                allowed = number;
            }
            for _ in 0..self.batch {
                publisher.publish(topic, &self.payload).await?;
            }
            sent += self.batch;
            tokio::task::yield_now().await;
            match orders.try_recv().map(|order| order.parse()) {
                Ok(Ok(number)) => allowed = number,
                Ok(Err(_)) | Err(TryRecvError::Disconnected) => return Ok(()),
                Err(TryRecvError::Empty) => {}
            }
        }
        Ok(())
    }

    async fn report_all(&self) -> Result<Infallible, Failure> {
        let mut period = interval(REPORT_PERIOD);
        loop {
            period.tick().await;
            say(&Report::Tally(self.tally()))?;
        }
    }

    fn tally(&self) -> Tally {
        let (mut total, mut faults) = (0, 0);
        for progress in self.publishers.iter().map(Publisher::progress) {
            total += progress.acknowledged;
            faults += progress.published - progress.acknowledged;
        }
        Tally { total, least: total, faults, is_last: false }
    }
}

async fn subscribe(args: &CrowdArgs, configuration: &Configuration) -> Result<(), Failure> {
    let (discovery, filter) = (&discovery(configuration), &format!("{}.>", args.topic));
    let subscribers = connect_all(args.subscribers, || async {
        let options = subscriber_options(configuration);
        Subscriber::connect(discovery, [filter], options).await.map_err(connect_failure)
    });
    let sinks: Vec<_> = subscribers
        .await?
        .into_iter()
        .map(|subscriber| {
            let sink = Rc::new(Sink::default());
            spawn_local(Rc::clone(&sink).take_all(subscriber));
            sink
        })
        .collect();
    let mut period = interval(REPORT_PERIOD);
    loop {
        period.tick().await;
        let counts = sinks.iter().map(|sink| sink.count.get());
        let tally = Tally {
            total: counts.clone().sum(),
            least: counts.min().unwrap_or(0),
            faults: sinks.iter().map(|sink| sink.faults.get()).sum(),
            is_last: false,
        };
        say(&Report::Tally(tally))?;
    }
}

/// What one subscriber has seen.
#[derive(Default)]
struct Sink {
    count: Cell<u64>,
    /// Records again or out of order, and gaps.
    faults: Cell<u64>,
    /// The last one of each publisher. It numbers its records in the order in which they come.
    last: RefCell<HashMap<PublisherId, Sequence>>,
}

impl Sink {
    async fn take_all(self: Rc<Self>, mut subscriber: Subscriber) {
        while let Some(batch) = subscriber.next_batch().await {
            match batch {
                Ok(batch) => self.take(batch.publisher, batch.sequence, batch.len() as u64),
                Err(_) => self.faults.set(self.faults.get() + 1),
            }
        }
    }

    /// So many records of a publisher have come, numbered from `first` on.
    fn take(&self, publisher: PublisherId, first: Sequence, count: u64) {
        self.count.set(self.count.get() + count);
        let last = self.last.borrow_mut().insert(publisher, first + count - 1).unwrap_or(0);
        let again = (last + 1).saturating_sub(first).min(count);
        self.faults.set(self.faults.get() + again);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_again_or_late_is_a_fault() {
        let (sink, [one, two]) = (Sink::default(), [1, 2].map(PublisherId));
        for (publisher, first, count) in
            [(one, 1, 3), (two, 1, 1), (one, 4, 2), (one, 5, 2), (two, 4, 1), (two, 3, 1)]
        {
            sink.take(publisher, first, count);
        }
        assert_eq!((sink.count.get(), sink.faults.get()), (10, 2));
    }
}
