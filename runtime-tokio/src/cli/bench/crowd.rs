//! Many clients at work, in few processes. Publishers are as fast as they may be, but stay within a
//! window ahead of the slowest subscriber: so nobody is measured at a rate that is not delivered.

use super::super::cluster::Cluster;
use super::super::display::{Display, Goal, grouped};
use super::super::failure::Failure;
use super::super::process::{Output, Process, next_of};
use super::super::worker::report::{Report, Tally};
use super::usage::processor_seconds;
use std::time::Duration;
use steadfast_runtime::identity;
use tokio::time::{Instant, timeout, timeout_at};

/// How long a thousand clients may take to connect.
const CONNECT: Duration = Duration::from_secs(300);
/// How long the last records may take to arrive.
const DRAIN: Duration = Duration::from_secs(60);
/// Bytes of records that are published and not delivered to everyone, at most.
const WINDOW_BYTES: u64 = 8 << 20;
/// The same as deliveries: what many subscribers have not got.
const WINDOW_DELIVERIES: u64 = 500_000;
/// Between two looks at the processes' progress on a terminal.
const LOOK: Duration = Duration::from_millis(100);

/// Who is there, and what is published.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// How many publishers.
    pub publishers: u32,
    /// How many subscribers of everything.
    pub subscribers: u32,
    /// How many topics.
    pub topics: u32,
    /// Bytes of a record.
    pub size: u32,
    /// Records of a batch.
    pub batch: u32,
    /// Each client is a process of its own; otherwise each kind is one.
    pub apart: bool,
}

impl Shape {
    /// Records of a batch that is full.
    pub fn full_batch(size: u32) -> u32 {
        (60_000 / size).max(1)
    }

    /// Records that are published and not delivered to everyone, at most.
    fn window(&self) -> u64 {
        let deliveries = WINDOW_DELIVERIES / u64::from(self.subscribers.max(1));
        let records = deliveries.min(WINDOW_BYTES / u64::from(self.size));
        let processes = if self.apart { u64::from(self.publishers) } else { 1 };
        records.max(2 * u64::from(self.batch) * processes)
    }
}

/// How far everybody is, at a time.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// When.
    pub at: Instant,
    /// Records acknowledged.
    pub acknowledged: u64,
    /// Records delivered, each as often as there are subscribers.
    pub delivered: u64,
    /// Processor time of all brokers, in seconds; of somebody else's cluster it is not known.
    pub processor: Option<f64>,
}

/// What happened between two samples.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Records acknowledged a second.
    pub acknowledged: f64,
    /// Records delivered a second.
    pub delivered: f64,
    /// Microseconds of processor time of all brokers for an acknowledged record.
    pub per_record: Option<f64>,
    /// And for a delivered one.
    pub per_delivery: Option<f64>,
}

impl Pace {
    /// From one sample to the next.
    pub fn between(before: &Sample, after: &Sample) -> Self {
        let seconds = (after.at - before.at).as_secs_f64();
        let (acknowledged, delivered) =
            (after.acknowledged - before.acknowledged, after.delivered - before.delivered);
        let cost = |records: u64| {
            let micros = (after.processor? - before.processor?) * 1e6;
            (records > 0).then(|| micros / records as f64)
        };
        Self {
            acknowledged: acknowledged as f64 / seconds,
            delivered: delivered as f64 / seconds,
            per_record: cost(acknowledged),
            per_delivery: cost(delivered),
        }
    }
}

/// A process with clients, and what they have said.
#[derive(Debug)]
struct Member {
    process: Process,
    tally: Tally,
}

/// The clients.
#[derive(Debug)]
pub struct Crowd<'a> {
    cluster: &'a Cluster,
    shape: Shape,
    publishers: Vec<Member>,
    subscribers: Vec<Member>,
    /// How many records each process of publishers may have published.
    allowed: u64,
}

impl<'a> Crowd<'a> {
    /// Connects everybody. Publishers wait for the first [`Crowd::run_until`].
    ///
    /// # Errors
    /// When somebody does not connect in time.
    pub async fn start(cluster: &'a Cluster, shape: Shape, display: &mut Display) -> Result<Self, Failure> {
        let topic = format!("bench.{:016x}", identity::seed());
        let common = ["crowd".to_owned(), "--topic".to_owned(), topic];
        let work = [("--topics", shape.topics), ("--size", shape.size), ("--batch", shape.batch)];
        let work = work.iter().flat_map(|(option, value)| [(*option).to_owned(), value.to_string()]);
        let work: Vec<_> = work.collect();
        let (mut publishers, mut subscribers) = (Vec::new(), Vec::new());
        let kinds = [
            ("subscribers", shape.subscribers, &[][..], &mut subscribers),
            ("publishers", shape.publishers, &work, &mut publishers),
        ];
        for (kind, count, own, members) in kinds {
            let (processes, each) = if shape.apart { (count, 1) } else { (count.min(1), count) };
            for number in 1..=processes {
                let who = [format!("--{kind}"), each.to_string()];
                let args = [&common[..], &who, own].concat();
                let mut process = cluster.start_worker(&format!("{kind}-{number}"), &args)?;
                connected(&mut process, display, (kind, each)).await?;
                members.push(Member { process, tally: Tally::default() });
            }
        }
        Ok(Self { cluster, shape, publishers, subscribers, allowed: 0 })
    }

    /// Lets everybody work until this holds, but not longer than the limit. Returns whether it holds.
    ///
    /// # Errors
    /// When a process ends.
    pub async fn run_until(
        &mut self,
        limit: Duration,
        done: impl Fn(&Self) -> bool,
    ) -> Result<bool, Failure> {
        let end = Instant::now() + limit;
        self.allow().await;
        while !done(self) {
            let members = self.publishers.iter_mut().chain(&mut self.subscribers);
            let next = next_of(members.map(|member| &mut member.process));
            let Ok((index, output)) = timeout_at(end, next).await else { return Ok(done(self)) };
            let member = self.publishers.iter_mut().chain(&mut self.subscribers).nth(index);
            member.expect("it has just spoken").hear(output)?;
            self.allow().await;
        }
        Ok(true)
    }

    /// Lets everybody work for this long, and shows it as a part of a goal.
    ///
    /// # Errors
    /// When a process ends.
    pub async fn run_for(
        &mut self,
        time: Duration,
        goal: Goal,
        display: &mut Display,
    ) -> Result<(), Failure> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.run_until(LOOK.min(end - Instant::now()), |_| false).await?;
            let status = format!(
                "{} acknowledged, {} delivered",
                grouped(self.acknowledged()),
                grouped(self.delivered())
            );
            let bar = goal.bar(self.acknowledged());
            display.status(&bar.into_iter().chain([format!("  {status}")]).collect::<Vec<_>>(), &status);
        }
        Ok(())
    }

    /// How far everybody is.
    ///
    /// # Errors
    /// When a broker has ended.
    pub fn sample(&self) -> Result<Sample, Failure> {
        let brokers = self.cluster.brokers();
        let processor =
            brokers.iter().map(|broker| processor_seconds(broker.pid())).sum::<Result<f64, _>>()?;
        Ok(Sample {
            at: Instant::now(),
            acknowledged: self.acknowledged(),
            delivered: self.delivered(),
            processor: (!brokers.is_empty()).then_some(processor),
        })
    }

    /// Records acknowledged, as last reported.
    pub fn acknowledged(&self) -> u64 {
        self.publishers.iter().map(|member| member.tally.total).sum()
    }

    fn delivered(&self) -> u64 {
        self.subscribers.iter().map(|member| member.tally.total).sum()
    }

    /// What the slowest subscriber has; without any, what is acknowledged.
    fn least(&self) -> u64 {
        let least = self.subscribers.iter().map(|member| member.tally.least).min();
        least.unwrap_or_else(|| self.acknowledged())
    }

    /// Tells publishers how far they may go, when it is worth the words.
    async fn allow(&mut self) {
        let (processes, window) = (self.publishers.len().max(1) as u64, self.shape.window());
        let allowed = (self.least() + window) / processes;
        if allowed >= self.allowed.saturating_add(window / processes / 8) {
            self.allowed = allowed;
            for member in &mut self.publishers {
                member.process.tell(&allowed.to_string()).await;
            }
        }
    }

    /// Stops the publishers, waits until everything has come, and ends everybody.
    ///
    /// # Errors
    /// When something was not acknowledged, or was lost, doubled or reordered.
    pub async fn finish(mut self) -> Result<(), Failure> {
        // Nothing more is allowed.
        self.allowed = u64::MAX;
        for member in &mut self.publishers {
            member.process.tell("stop").await;
        }
        let stopped = |crowd: &Self| crowd.publishers.iter().all(|member| member.tally.is_last);
        let all = |crowd: &Self| crowd.least() >= crowd.acknowledged();
        let complete = self.run_until(DRAIN, |crowd| stopped(crowd) && all(crowd)).await?;
        let faults = |members: &[Member]| members.iter().map(|member| member.tally.faults).sum::<u64>();
        let (open, wrong) = (faults(&self.publishers), faults(&self.subscribers));
        let missing = self.acknowledged().saturating_sub(self.least());
        let too_many = match self.subscribers.is_empty() {
            true => 0,
            false => self.delivered().saturating_sub(self.acknowledged() * u64::from(self.shape.subscribers)),
        };
        match complete && open + wrong + too_many == 0 {
            true => Ok(()),
            false => Err(Failure::new(
                format!(
                    "{open} records were not acknowledged; {missing} have not come to a subscriber; {} came again, out of order or not at all",
                    wrong + too_many
                ),
                "try again with less load on the machine; if it stays, report it with the logs of a run with --logs DIR",
            )),
        }
    }
}

impl Member {
    fn hear(&mut self, output: Output) -> Result<(), Failure> {
        let Output::Line(line) = output else {
            return if self.tally.is_last { Ok(()) } else { Err(self.process.failure()) };
        };
        match serde_json::from_str(&line) {
            Ok(Report::Tally(tally)) => self.tally = tally,
            _ => return Err(self.process.failure()),
        }
        Ok(())
    }
}

/// Waits until so many clients of a process are connected, by what it reports.
///
/// # Errors
/// When it takes too long, or the process ends.
pub async fn connected(
    process: &mut Process,
    display: &mut Display,
    (kind, count): (&str, u32),
) -> Result<(), Failure> {
    let end = Instant::now() + CONNECT;
    let mut connected = 0;
    while connected < u64::from(count) {
        match timeout(end - Instant::now(), process.next()).await {
            Ok(Output::Line(line)) => match serde_json::from_str(&line) {
                Ok(Report::Progress(progress)) => connected = progress.count,
                _ => return Err(process.failure()),
            },
            Ok(Output::Ended) => return Err(process.failure()),
            Err(_) => {
                let cause = format!("only {connected} of {count} {kind} are connected in time");
                return Err(Failure::new(cause, "try again with less load on the machine, or fewer of them"));
            }
        }
        let status = format!("{} of {} {kind} are connected", grouped(connected), grouped(count.into()));
        display.status(&[format!("  {status}")], &status);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_at_least_two_batches_of_each_process() {
        let shape = Shape { publishers: 4, subscribers: 1, topics: 1, size: 100, batch: 600, apart: true };
        assert_eq!(shape.window(), WINDOW_BYTES / 100);
        assert_eq!(Shape { subscribers: 1_000, ..shape }.window(), 2 * 600 * 4);
        assert_eq!(Shape { subscribers: 1_000, apart: false, ..shape }.window(), 2 * 600);
        assert_eq!(Shape { size: 1_000_000, batch: 1, subscribers: 0, ..shape }.window(), 8);
        assert_eq!((Shape::full_batch(100), Shape::full_batch(1_000_000)), (600, 1));
    }

    #[test]
    fn a_pace_is_what_lies_between_two_samples() {
        let at = Instant::now();
        let before = Sample { at, acknowledged: 100, delivered: 200, processor: Some(1.0) };
        let after = Sample {
            at: at + Duration::from_secs(2),
            acknowledged: 1_100,
            delivered: 4_200,
            processor: Some(1.001),
        };
        let pace = Pace::between(&before, &after);
        assert_eq!((pace.acknowledged, pace.delivered), (500.0, 2_000.0));
        assert!(
            (pace.per_record.unwrap() - 1.0).abs() < 1e-6 && (pace.per_delivery.unwrap() - 0.25).abs() < 1e-6
        );
        let unknown = Pace::between(&Sample { processor: None, ..before }, &after);
        assert_eq!(unknown.per_record, None);
    }
}
