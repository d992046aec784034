//! A cluster with a publisher and subscribers at work, under observation: what they report, how long
//! each was without records around a fault, and what the whole run adds up to.

use super::cluster::Cluster;
use super::display::{Display, Goal, grouped};
use super::failure::Failure;
use super::process::{Output, Process, next_of};
use super::worker::payload::now;
use super::worker::report::{Progress, Published, Received, Report, Silence};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::time::Duration;
use steadfast_core::group::GroupState;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

/// Between two looks at everything.
const TICK: Duration = Duration::from_millis(100);
/// How long the last records may take to arrive.
const DRAIN: Duration = Duration::from_secs(15);

/// The work to be done.
#[derive(Clone, Debug)]
pub struct Work {
    /// The topic; every subscriber has a filter that matches it.
    pub topic: String,
    /// One subscriber each.
    pub filters: Vec<String>,
    /// Bytes of a record.
    pub size: u32,
    /// Records per second; 0: as fast as possible.
    pub rate: u32,
    /// The publisher stops by itself after this many.
    pub records: Option<u64>,
}

/// A worker and what it has said.
#[derive(Debug)]
struct Worker {
    process: Process,
    progress: Progress,
    /// The count and the time of the report before.
    before: (u64, Instant),
    rate: f64,
    /// Seconds since the worker's start, and the count of each report.
    counts: Vec<(f64, u64)>,
    started: Instant,
    /// Since the last fault began.
    silences: Vec<Silence>,
    /// The latest primary that it was connected to.
    epoch: u64,
    published: Option<Published>,
    received: Option<Received>,
}

/// What was done to a broker.
#[derive(Clone, Debug)]
pub struct Fault {
    /// The name of the report.
    pub cause: &'static str,
    /// The broker.
    pub victim: String,
    epoch: u64,
    at: u64,
}

/// What a fault led to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What was done.
    pub fault: Fault,
    /// The primary afterwards and its epoch.
    pub successor: Option<(String, u64)>,
    /// The longest silence at the worst subscriber.
    pub outage: Duration,
    /// The longest time without an acknowledgement.
    pub publisher_outage: Duration,
}

impl Outcome {
    /// Whether another broker is primary, in a higher epoch.
    pub fn is_failover(&self) -> bool {
        self.successor
            .as_ref()
            .is_some_and(|(name, epoch)| *name != self.fault.victim && *epoch > self.fault.epoch)
    }
}

/// The end of a run.
#[derive(Clone, Debug)]
pub struct Results {
    /// What the publisher did.
    pub published: Published,
    /// What each subscriber saw.
    pub received: Vec<Received>,
}

/// The observation.
#[derive(Debug)]
pub struct Trial<'a> {
    /// The cluster.
    pub cluster: &'a mut Cluster,
    /// Progress for people.
    pub display: Display,
    /// What is to be done.
    pub goal: Goal,
    publisher: Worker,
    subscribers: Vec<Worker>,
    /// What was done to brokers, for the display.
    marks: BTreeMap<String, &'static str>,
    /// Epoch of the last primary that was shown.
    shown_epoch: u64,
    fault: Option<Fault>,
}

impl<'a> Trial<'a> {
    /// Starts the workers: subscribers first, and the publisher when they are connected.
    ///
    /// # Errors
    /// When a worker does not start.
    pub async fn start(cluster: &'a mut Cluster, work: &Work, display: Display) -> Result<Self, Failure> {
        let mut subscribers = Vec::new();
        for (index, filter) in work.filters.iter().enumerate() {
            let args = ["subscriber", "--filter", filter].map(str::to_owned);
            let mut worker = Worker::start(cluster, &format!("subscriber-{}", index + 1), &args)?;
            worker.wait_connected().await?;
            subscribers.push(worker);
        }
        let mut args = ["publisher", "--topic", &work.topic].map(str::to_owned).to_vec();
        args.extend(["--size".into(), work.size.to_string(), "--rate".into(), work.rate.to_string()]);
        args.extend(work.records.iter().flat_map(|count| ["--records".into(), count.to_string()]));
        args.extend_from_slice(cluster.metrics());
        let publisher = Worker::start(cluster, "publisher", &args)?;
        let (marks, shown_epoch, fault) = (BTreeMap::new(), 0, None);
        let goal = work.records.map_or(Goal::Open, Goal::Records);
        Ok(Self { cluster, display, goal, publisher, subscribers, marks, shown_epoch, fault })
    }

    /// The primary and its epoch.
    pub fn primary(&self) -> Option<(String, u64)> {
        let state = self.cluster.state()?;
        state.primary.map(|primary| (primary.member.node.to_string(), state.epoch))
    }

    /// Watches for this long.
    ///
    /// # Errors
    /// When a process ends that should not.
    pub async fn run_for(&mut self, time: Duration) -> Result<(), Failure> {
        self.run_until(time, |_| false).await.map(drop)
    }

    /// Watches until this holds, but not longer than the limit. Returns whether it holds.
    ///
    /// # Errors
    /// When a process ends that should not.
    pub async fn run_until(
        &mut self,
        limit: Duration,
        done: impl Fn(&Self) -> bool,
    ) -> Result<bool, Failure> {
        let end = Instant::now() + limit;
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !done(self) {
            tokio::select! {
                biased;
                () = sleep_until(end) => return Ok(done(self)),
                _ = tick.tick() => self.look()?,
                (index, output) = self.next() => self.handle(index, output)?,
            }
        }
        Ok(true)
    }

    /// Whether records have come to every subscriber and acknowledgements to the publisher.
    pub fn is_flowing(&self) -> bool {
        self.workers().all(|worker| worker.progress.count > 0)
    }

    /// Whether everybody is connected to the primary of this epoch, or of a later one.
    pub fn has_moved_to(&self, epoch: u64) -> bool {
        self.workers().all(|worker| worker.epoch >= epoch)
    }

    /// Whether the publisher has stopped by itself.
    pub fn has_published(&self) -> bool {
        self.publisher.published.is_some()
    }

    /// How fast records were delivered to the first subscriber: seconds since its start, and records a second.
    pub fn rates(&self) -> Vec<(f64, f64)> {
        let counts = self.subscribers.first().map_or(&[][..], |worker| &worker.counts);
        let rate = |pair: &[(f64, u64)]| match pair {
            [(before, earlier), (now, count)] if now > before => {
                Some(((before + now) / 2.0, (count - earlier) as f64 / (now - before)))
            }
            _ => None,
        };
        counts.windows(2).filter_map(rate).collect()
    }

    /// How many records were acknowledged, as last reported.
    pub const fn acknowledged(&self) -> u64 {
        self.publisher.progress.count
    }

    /// Does something to a broker.
    pub fn strike(&mut self, cause: &'static str, victim: &str, signal: Signal) {
        let mark = if signal == Signal::KILL { "KILLED" } else { "PAUSED" };
        self.begin(cause, victim, mark, &format!("gets {}", signal_name(signal)));
        self.cluster.signal(victim, signal);
    }

    /// Tells a broker to leave, as an operator does. Returns the process that tells it, and waits.
    ///
    /// # Errors
    /// When that process does not start.
    pub fn drain(&mut self, cause: &'static str, victim: &str) -> Result<Process, Failure> {
        self.begin(cause, victim, "LEAVES", "is told to leave");
        self.cluster.start_drain(victim)
    }

    fn begin(&mut self, cause: &'static str, victim: &str, mark: &'static str, what: &str) {
        let epoch = self.cluster.state().map_or(0, |state| state.epoch);
        self.marks.insert(victim.to_owned(), mark);
        self.publisher.silences.clear();
        self.subscribers.iter_mut().for_each(|worker| worker.silences.clear());
        self.display.event(&format!("{cause}: {victim} {what}"));
        self.fault = Some(Fault { cause, victim: victim.to_owned(), epoch, at: now() });
    }

    /// A broker runs again.
    pub fn heal(&mut self, victim: &str, how: &str) {
        self.marks.remove(victim);
        self.display.event(&format!("{victim} {how}"));
    }

    /// What the last fault has led to so far.
    pub fn outcome(&self) -> Option<Outcome> {
        let fault = self.fault.clone()?;
        let until = now();
        let longest = |worker: &Worker| {
            let around = worker.silences.iter().filter(|silence| silence.overlaps(fault.at, until));
            around.map(Silence::length).max().unwrap_or_default()
        };
        Some(Outcome {
            successor: self.primary(),
            outage: self.subscribers.iter().map(longest).max().unwrap_or_default(),
            publisher_outage: longest(&self.publisher),
            fault,
        })
    }

    /// Stops the publisher, waits until everything acknowledged is delivered, or time is up, and
    /// collects what everybody has seen.
    ///
    /// # Errors
    /// When a worker does not report.
    pub async fn finish(mut self) -> Result<(Results, Display), Failure> {
        self.publisher.process.tell("stop").await;
        if !self.run_until(DRAIN, |trial| trial.publisher.published.is_some()).await? {
            return Err(self.publisher.silent());
        }
        let published = self.publisher.published.clone().unwrap_or_default();
        for worker in &mut self.subscribers {
            worker.process.tell(&format!("finish {}", published.acknowledged.end())).await;
        }
        let reported = |trial: &Self| trial.subscribers.iter().all(|worker| worker.received.is_some());
        if !self.run_until(DRAIN, reported).await? {
            let missing = self.subscribers.iter().find(|worker| worker.received.is_none());
            return Err(missing.unwrap_or(&self.publisher).silent());
        }
        self.look()?;
        self.display.end();
        let received = self.subscribers.iter_mut().filter_map(|worker| worker.received.take()).collect();
        Ok((Results { published, received }, self.display))
    }

    fn workers(&self) -> impl Iterator<Item = &Worker> {
        std::iter::once(&self.publisher).chain(&self.subscribers)
    }

    async fn next(&mut self) -> (usize, Output) {
        let workers = std::iter::once(&mut self.publisher).chain(&mut self.subscribers);
        next_of(workers.map(|worker| &mut worker.process)).await
    }

    fn handle(&mut self, index: usize, output: Output) -> Result<(), Failure> {
        let worker = if index == 0 { &mut self.publisher } else { &mut self.subscribers[index - 1] };
        worker.handle(output)
    }

    /// Notices what has ended by itself and a new primary, and shows how things stand.
    fn look(&mut self) -> Result<(), Failure> {
        let nodes = self.cluster.brokers().iter().chain(self.cluster.discovery().map(|(process, _)| process));
        let ended =
            nodes.filter(|process| process.has_ended()).find(|node| !self.marks.contains_key(&node.name));
        if let Some(process) = ended {
            return Err(process.failure());
        }
        if let Some((name, epoch)) = self.primary()
            && epoch > self.shown_epoch
        {
            self.shown_epoch = epoch;
            self.display.event(&format!("{name} is primary in epoch {epoch}"));
        }
        self.display.status(&self.block(), &self.summary());
        Ok(())
    }

    fn summary(&self) -> String {
        let primary = self
            .primary()
            .map_or_else(|| "no primary".into(), |(name, epoch)| format!("{name} (epoch {epoch})"));
        let delivered: Vec<_> =
            self.subscribers.iter().map(|worker| grouped(worker.progress.count)).collect();
        let latency = self.subscribers.first().map_or_else(String::new, Worker::latency);
        format!(
            "primary {primary}, acknowledged {}, delivered {}, {:.0}/s{latency}",
            grouped(self.publisher.progress.count),
            delivered.join(" and "),
            self.publisher.rate,
        )
    }

    fn block(&self) -> Vec<String> {
        let state = self.cluster.state();
        let mut lines: Vec<_> = self.goal.bar(self.acknowledged()).into_iter().collect();
        let discovery = self.cluster.discovery();
        lines.extend(discovery.map(|(process, address)| format!("  {:13} {address}", process.name)));
        for broker in self.cluster.brokers() {
            let role = self
                .marks
                .get(&broker.name)
                .map_or_else(|| role(state.as_ref(), &broker.name), |&mark| mark.into());
            lines.push(format!("  {:13} {role}  (pid {})", broker.name, broker.pid()));
        }
        for worker in self.workers() {
            let verb = if worker.process.name == "publisher" { "acknowledged" } else { "delivered" };
            let (count, rate) = (grouped(worker.progress.count), worker.rate);
            lines.push(format!(
                "  {:13} {count} {verb}, {rate:.0}/s{}",
                worker.process.name,
                worker.latency()
            ));
        }
        lines
    }
}

impl Worker {
    fn start(cluster: &Cluster, name: &str, args: &[String]) -> Result<Self, Failure> {
        Ok(Self {
            process: cluster.start_worker(name, args)?,
            progress: Progress::default(),
            before: (0, Instant::now()),
            rate: 0.0,
            counts: Vec::new(),
            started: Instant::now(),
            silences: Vec::new(),
            epoch: 0,
            published: None,
            received: None,
        })
    }

    async fn wait_connected(&mut self) -> Result<(), Failure> {
        let end = Instant::now() + DRAIN;
        while self.epoch == 0 {
            let output =
                timeout(end - Instant::now(), self.process.next()).await.map_err(|_| self.silent())?;
            self.handle(output)?;
        }
        Ok(())
    }

    fn handle(&mut self, output: Output) -> Result<(), Failure> {
        let Output::Line(line) = output else {
            let is_done = self.published.is_some() || self.received.is_some();
            return if is_done { Ok(()) } else { Err(self.process.failure()) };
        };
        let report = serde_json::from_str(&line).map_err(|_| self.process.failure())?;
        match report {
            Report::Connected { epoch, .. } => self.epoch = self.epoch.max(epoch),
            Report::Disconnected => {}
            Report::Progress(progress) => self.progressed(progress),
            Report::Tally(_) => return Err(self.process.failure()),
            Report::Published(published) => self.published = Some(published),
            Report::Received(received) => self.received = Some(received),
        }
        Ok(())
    }

    fn progressed(&mut self, progress: Progress) {
        let (count, at) = self.before;
        let seconds = at.elapsed().as_secs_f64();
        if seconds >= 0.5 {
            self.rate = progress.count.saturating_sub(count) as f64 / seconds;
            self.before = (progress.count, Instant::now());
        }
        self.counts.push((self.started.elapsed().as_secs_f64(), progress.count));
        self.silences.extend(progress.silence);
        self.progress = progress;
    }

    fn latency(&self) -> String {
        let millis = |micros: u64| micros as f64 / 1_000.0;
        self.progress.latency.map_or_else(String::new, |latency| {
            format!(", latency p50 {:.2} ms p99 {:.2} ms", millis(latency.p50_us), millis(latency.p99_us))
        })
    }

    fn silent(&self) -> Failure {
        Failure::new(
            format!("{} does not report in time", self.process.name),
            "try again with less load on the machine, or with --logs DIR",
        )
    }
}

fn role(state: Option<&GroupState>, broker: &str) -> String {
    let Some(state) = state else { return "no group yet".into() };
    let is_primary = state.primary.as_ref().is_some_and(|primary| primary.member.node.as_str() == broker);
    let in_sync = state.in_sync.iter().any(|member| member.node.as_str() == broker);
    match (is_primary, in_sync) {
        (true, _) => format!("PRIMARY in epoch {}", state.epoch),
        (false, true) => "backup, in sync".into(),
        (false, false) => "backup, catching up".into(),
    }
}

fn signal_name(signal: Signal) -> &'static str {
    match signal {
        Signal::KILL => "SIGKILL",
        Signal::STOP => "SIGSTOP",
        _ => "a signal",
    }
}
