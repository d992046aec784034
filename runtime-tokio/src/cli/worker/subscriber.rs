//! The subscriber: checks that every record comes once, in order and unchanged.

use super::super::attached::Parent;
use super::super::failure::Failure;
use super::super::publish::{connect_failure, discovery};
use super::args::SubscriberWorkerArgs;
use super::payload::{self, now};
use super::pulse::Pulse;
use super::report::{Received, Report};
use super::{Orders, REPORT_PERIOD, not_attached, observer, say};
use futures::StreamExt as _;
use std::time::Duration;
use steadfast_runtime::configuration::Configuration;
use steadfast_tokio::client::{Gap, Message, Subscriber, SubscriberOptions};
use tokio::time::{Instant, interval, sleep_until};

/// How long the last records may take.
const DRAIN: Duration = Duration::from_secs(10);
/// Records that are looked at together.
const CHUNK: usize = 1_024;

/// Subscribes until it is told to finish, and then until every acknowledged record has come.
///
/// # Errors
/// When there is no cluster, or the parent is gone.
pub async fn run(
    args: SubscriberWorkerArgs,
    configuration: &Configuration,
    parent: &Parent,
) -> Result<(), Failure> {
    let mut orders = parent.take().ok_or_else(not_attached)?;
    let options = SubscriberOptions {
        transport: configuration.settings.transport.kind,
        busy_poll: configuration.settings.transport.busy_poll,
        observer: Some(observer()),
        ..SubscriberOptions::default()
    };
    let filters = [args.filter.as_str()];
    let subscriber =
        Subscriber::connect(&discovery(configuration), filters, options).await.map_err(connect_failure)?;
    let mut records = subscriber.ready_chunks(CHUNK);
    let mut check = Check { pulse: Pulse::new(now()), received: Received::default() };
    let mut period = interval(REPORT_PERIOD);
    // When everything below this number has come, or at this time, it is over.
    let mut end: Option<(u64, Instant)> = None;
    while end.is_none_or(|(number, _)| check.received.delivered.end() < number) {
        tokio::select! {
            _ = period.tick() => say(&Report::Progress(check.pulse.report(now())))?,
            number = finish(&mut orders), if end.is_none() => end = Some((number, Instant::now() + DRAIN)),
            () = sleep_until(end.map_or_else(Instant::now, |(_, at)| at)), if end.is_some() => break,
            chunk = records.next() => match chunk {
                Some(chunk) => check.take(chunk),
                None => break,
            },
        }
    }
    say(&Report::Received(check.summary()))
}

/// The parent's only order to a subscriber: up to which number records were acknowledged.
async fn finish(orders: &mut Orders) -> u64 {
    while let Some(order) = orders.recv().await {
        if let Some(number) = order.strip_prefix("finish ").and_then(|number| number.parse().ok()) {
            return number;
        }
    }
    // The end of the orders is the end of this process.
    std::future::pending().await
}

struct Check {
    pulse: Pulse,
    received: Received,
}

impl Check {
    fn take(&mut self, chunk: Vec<Result<Message, Gap>>) {
        let now = now();
        self.pulse.beat(now, chunk.len() as u64);
        for record in chunk {
            match record.map(|message| payload::read(&message.payload)) {
                Ok(Some((number, sent_at))) => {
                    self.pulse.latency(now, sent_at);
                    self.received.note(number);
                }
                Ok(None) => self.received.corrupt += 1,
                Err(_) => self.received.reported_missing += 1,
            }
        }
    }

    fn summary(mut self) -> Received {
        self.received.seconds = self.pulse.seconds();
        self.received.latency = self.pulse.whole_latency();
        self.received.percentiles = self.pulse.percentiles();
        self.received
    }
}

impl Received {
    /// A record has come.
    fn note(&mut self, number: u64) {
        let end = self.delivered.end();
        if !self.delivered.insert(number) {
            self.duplicated += 1;
        } else if number < end {
            self.out_of_order += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicates_and_late_records_are_told_apart() {
        let mut received = Received::default();
        [0, 1, 3, 2, 1, 4].into_iter().for_each(|number| received.note(number));
        assert_eq!((received.duplicated, received.out_of_order), (1, 1));
        assert_eq!((received.delivered.len(), received.delivered.end()), (5, 5));
    }
}
