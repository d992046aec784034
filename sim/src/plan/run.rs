//! Carries a plan out: the cluster that it describes, its events at their times, and the verdict.
//!
//! Faults that would kill a broker spare the last process that holds all committed data and stays,
//! unless the plan is unsparing: data is then given up only by a total loss, or by a change of the
//! in-sync set that was under way. The properties hold in either case; see `verdict.rs`.

use super::kinds::{Amount, Cast, Kind};
use super::{Action, Event, Plan, Target, epilogue, panics, verdict};
use crate::check::Violation;
use crate::cluster::{Cluster, Config, Core, Failure};
use crate::coverage::{Coverage, is_mark, mark};
use crate::diagram::Diagram;
use crate::fault::Fault;
use crate::matrix::{Cell, Role};
use crate::network::ProcessId;
use crate::plan::Again;
use crate::queue::Queue;
use crate::reader::Reader;
use crate::render::Renderer;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use steadfast_core::filter::Topic;
use steadfast_core::id::Incarnation;
use steadfast_core::subscriber::Start;

/// How long it may take at most, after the faults have ended, until all is well.
const RECOVERY: Duration = Duration::from_secs(30);
/// Records that each publisher that was put right publishes then.
const LAST_WORDS: u64 = 3;

/// What came of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The property that did not hold, if any.
    pub result: Result<(), Failure>,
    /// Why liveness was not required in the end, by the name of the excuse; `None`: it was.
    pub excuse: Option<&'static str>,
    /// What the run came to.
    pub coverage: Coverage,
    /// How often which trouble struck whom, and how that one's session stood.
    pub strikes: BTreeMap<Cell, u64>,
    /// Inputs handled.
    pub steps: u64,
    /// Virtual time that has passed, in nanoseconds.
    pub time: u64,
    /// Hash of the history.
    pub fingerprint: u64,
    /// Lineage of the group in the end; 0 when there is no group.
    pub lineage: u64,
    /// The history as text, if it was asked for.
    pub lines: Vec<String>,
}

/// Carries a plan out.
pub fn run(plan: &Plan) -> Outcome {
    conclude(&mut Run::new(plan))
}

/// Carries a plan out, up to this time at the most, in nanoseconds: what is to hold in the end is left open
/// where that comes before it.
pub fn run_until(plan: &Plan, end: u64) -> Outcome {
    conclude(&mut Run { end, ..Run::new(plan) })
}

/// Carries a plan out and keeps its history as text.
pub fn render(plan: &Plan, renderer: Renderer) -> Outcome {
    let mut run = Run::new(plan);
    run.cluster.render(renderer);
    conclude(&mut run)
}

/// Carries a plan out and keeps its history as a diagram.
pub fn depict(plan: &Plan) -> (Outcome, Diagram) {
    let mut run = Run::new(plan);
    run.cluster.depict();
    let outcome = conclude(&mut run);
    (outcome, run.cluster.take_diagram().unwrap_or_default())
}

fn conclude(run: &mut Run<'_>) -> Outcome {
    let result = panics::catch(|| run.go())
        .unwrap_or_else(|detail| Err(run.cluster.failure(Violation { property: "Panic", detail })));
    let cluster = &mut run.cluster;
    let mut coverage = cluster.coverage().clone();
    coverage.add(&run.marks);
    Outcome {
        result,
        excuse: run.excuse,
        coverage,
        strikes: std::mem::take(&mut run.strikes),
        steps: cluster.world().steps(),
        time: cluster.world().now(),
        fingerprint: cluster.fingerprint().value(),
        lineage: cluster.state().map_or(0, |state| state.history.lineage),
        lines: cluster.take_lines(),
    }
}

/// Something that is due.
#[derive(Clone, Debug)]
enum Due {
    /// An event of the plan, by its number.
    Event(usize),
    /// An event of the plan whose cue this process has given.
    Cued(usize, ProcessId),
    /// A broker or a discovery replica is asked to leave.
    Shutdown(ProcessId, Duration),
    /// A publisher publishes so many records, the first now.
    Publish { publisher: ProcessId, topic: Topic, left: u64, every: Duration },
    /// A subscriber reads the head so often, the first time now.
    ReadHead { subscriber: ProcessId, left: u64, every: Duration },
}

struct Run<'a> {
    plan: &'a Plan,
    config: Config,
    cluster: Cluster,
    agenda: Queue<Due>,
    /// Events that wait for their cue.
    waiting: Vec<usize>,
    /// Brokers that were told to leave.
    leaving: BTreeSet<Incarnation>,
    marks: Coverage,
    strikes: BTreeMap<Cell, u64>,
    excuse: Option<&'static str>,
    /// Nothing is of interest after this time.
    end: u64,
}

const fn nanos(time: Duration) -> u64 {
    time.as_nanos() as u64
}

impl<'a> Run<'a> {
    fn new(plan: &'a Plan) -> Self {
        let config = plan.knobs.config();
        let mut cluster = plan.knobs.cluster();
        // In the order of their numbers, whatever the order of the lines.
        let mut publishers: Vec<_> = plan.publishers.iter().collect();
        publishers.sort_by_key(|publisher| publisher.number);
        for publisher in publishers {
            cluster.add_publisher(&config, publisher.number, publisher.outbox);
        }
        for (of, number) in plan.copies() {
            cluster.reserve_copy(&config, of, number);
        }
        let mut subscribers: Vec<_> = plan.subscribers.iter().collect();
        subscribers.sort_by_key(|subscriber| subscriber.number);
        for subscriber in subscribers {
            let first = if subscriber.latest { Start::Latest } else { Start::Earliest };
            let behind = match subscriber.again {
                Again::Anew => None,
                Again::Behind(behind) => Some(behind),
            };
            let reader = Reader::starting(subscriber.filters.clone(), first, behind);
            cluster.add_subscriber(&config, subscriber.number, reader, subscriber.joins);
        }
        let seconds = plan.events.iter().filter_map(|event| match event.action {
            Action::SecondProcess { broker, .. } => Some(broker),
            _ => None,
        });
        for broker in seconds.collect::<BTreeSet<_>>() {
            cluster.add_second_process(&config, broker);
        }
        if config.stranger {
            cluster.add_stranger();
        }
        if plan.events.iter().any(|event| matches!(event.action, Action::Drain { .. })) {
            cluster.add_operator();
        }
        cluster.keep_traces();
        let mut agenda = Queue::default();
        for (number, event) in plan.events.iter().enumerate() {
            agenda.push(nanos(event.at), Due::Event(number));
        }
        let (waiting, leaving, marks) = (Vec::new(), BTreeSet::new(), Coverage::default());
        let strikes = BTreeMap::new();
        let end = u64::MAX;
        Self { plan, config, cluster, agenda, waiting, leaving, marks, strikes, excuse: None, end }
    }

    fn go(&mut self) -> Result<(), Failure> {
        let duration = nanos(self.plan.knobs.duration);
        self.act_until(duration.min(self.end))?;
        if self.end <= duration {
            return Ok(());
        }
        self.waiting.clear();
        for process in self.cluster.second_processes().to_vec() {
            self.cluster.strike(Fault::Crash(process))?;
        }
        let core = match self.plan.knobs.core_only {
            true => Core::survivable(&self.cluster),
            false => Core::everybody(&self.cluster),
        };
        if core != Core::everybody(&self.cluster) {
            self.marks.note("core".to_owned());
        }
        self.cluster.heal(&core)?;
        for publisher in self.cluster.publishers().to_vec() {
            if core.has(publisher) {
                self.last_words(publisher);
            }
        }
        match self.cluster.recover(&core, RECOVERY) {
            Err(failure) if failure.violation.property == "Liveness" => {
                self.excuse = self.cluster.excuse(&core, &self.config);
                if self.excuse.is_some() { Ok(()) } else { Err(failure) }
            }
            result => {
                result?;
                let verdict = verdict::judge(&self.cluster, self.plan, &core);
                let verdict = match core == Core::everybody(&self.cluster) {
                    true => verdict.and_then(|()| epilogue::judge(&mut self.cluster, self.plan.knobs.seed)),
                    false => verdict,
                };
                verdict.map_err(|violation| self.cluster.failure(violation))
            }
        }
    }

    /// Lets what is due happen, up to this time.
    fn act_until(&mut self, end: u64) -> Result<(), Failure> {
        loop {
            let due = self.agenda.next_at().filter(|at| *at <= end);
            let until = due.unwrap_or(end);
            if self.cluster.step(until)? {
                self.hear();
            } else {
                self.cluster.world_mut().advance(until);
                self.agenda.advance(until);
                match due.and_then(|_| self.agenda.pop()) {
                    Some(due) => self.act(due)?,
                    None => return Ok(()),
                }
            }
        }
    }

    /// Events whose cue was just given come next, or so much later: the first that waits for it, together with
    /// those that wait since the same time for the same.
    fn hear(&mut self) {
        let traces = self.cluster.take_traces();
        if self.waiting.is_empty() {
            return;
        }
        for (process, trace) in traces {
            let mark = mark(&trace);
            let events = &self.plan.events;
            let cue = |number: usize| events[number].on.as_ref().filter(|cue| is_mark(&mark, &cue.mark));
            let first = self.waiting.iter().find_map(|&number| Some((events[number].at, cue(number)?)));
            let Some((at, given)) = first else { continue };
            let due = self.cluster.world().now() + nanos(given.after);
            let together =
                |number: &mut usize| events[*number].at == at && events[*number].on.as_ref() == Some(given);
            for number in self.waiting.extract_if(.., together) {
                self.agenda.push(due, Due::Cued(number, process));
            }
        }
    }

    fn act(&mut self, due: Due) -> Result<(), Failure> {
        let events: &'a [Event] = &self.plan.events;
        match due {
            Due::Event(number) if events[number].on.is_some() => {
                self.waiting.push(number);
                Ok(())
            }
            Due::Event(number) => self.perform(&events[number].action, None),
            Due::Cued(number, it) => {
                self.marks.note("cued".to_owned());
                self.perform(&events[number].action, Some(it))
            }
            Due::Shutdown(process, back) => self.shut_down(process, Some(back)),
            Due::Publish { publisher, topic, left, every } => {
                if self.cluster.world().node(publisher).is_some() {
                    self.cluster.publish(publisher, topic.as_str(), 1, Duration::ZERO);
                }
                self.again(every, left, |left| Due::Publish { publisher, topic, left, every });
                Ok(())
            }
            Due::ReadHead { subscriber, left, every } => {
                if self.cluster.world().node(subscriber).is_some() {
                    self.cluster.read_heads(subscriber, 1, Duration::ZERO);
                }
                self.again(every, left, |left| Due::ReadHead { subscriber, left, every });
                Ok(())
            }
        }
    }

    /// The same once more after a while, if there is any left.
    fn again(&mut self, every: Duration, left: u64, next: impl FnOnce(u64) -> Due) {
        if left > 1 {
            self.agenda.push(self.cluster.world().now() + nanos(every), next(left - 1));
        }
    }

    fn perform(&mut self, action: &Action, it: Option<ProcessId>) -> Result<(), Failure> {
        let now = self.cluster.world().now();
        match action {
            Action::Trouble { kind, with, amount, lasts } => {
                let Some(with) = with.iter().map(|target| self.find(*target, it)).collect() else {
                    return Ok(());
                };
                self.trouble(kind, with, *amount, *lasts)
            }
            Action::Shutdown { who, back } => {
                self.find(*who, it).map_or(Ok(()), |process| self.shut_down(process, *back))
            }
            Action::Drain { who, back } => {
                if let Some(process) = self.find(*who, it) {
                    self.drain(process, *back);
                }
                Ok(())
            }
            Action::Close { who } => {
                if let Some(client) = self.find(*who, it) {
                    self.cluster.close(client);
                }
                Ok(())
            }
            Action::RollingRestart { back, every } => {
                let everybody = self.cluster.brokers().iter().chain(self.cluster.discoveries());
                for (number, process) in (0..).zip(everybody) {
                    self.agenda.push(now + number * nanos(*every), Due::Shutdown(*process, *back));
                }
                Ok(())
            }
            Action::TotalLoss { lasts } => self.lose_everything(*lasts),
            Action::SecondProcess { broker, lasts } => {
                let Some(process) = self.cluster.find(&format!("b{broker}-again")) else { return Ok(()) };
                self.marks.note("second-process".to_owned());
                self.cluster.strike(Fault::Restart(process))?;
                self.cluster.world_mut().schedule(now + nanos(*lasts), Fault::Crash(process));
                Ok(())
            }
            Action::Publish { publisher, topic, count, every } => {
                // It may begin later.
                if let Some(publisher) = self.cluster.find(&format!("p{publisher}")) {
                    let (topic, left, every) = (topic.clone(), *count, *every);
                    self.agenda.push(now, Due::Publish { publisher, topic, left, every });
                }
                Ok(())
            }
            Action::CopyOutbox { to, .. } => {
                let copy = self.cluster.find(&format!("p{to}"));
                if copy.is_some_and(|copy| self.cluster.copy_outbox(copy)) {
                    self.marks.note("copied".to_owned());
                }
                Ok(())
            }
            Action::ReadHeads { subscriber, count, every } => {
                if let Some(subscriber) = self.find(Target::Subscriber(*subscriber), None) {
                    self.agenda.push(now, Due::ReadHead { subscriber, left: *count, every: *every });
                }
                Ok(())
            }
            Action::Pace { subscriber, late } => {
                if let Some(subscriber) = self.find(Target::Subscriber(*subscriber), None) {
                    self.cluster.pace(subscriber, *late);
                }
                Ok(())
            }
        }
    }

    fn trouble(
        &mut self,
        kind: &'static Kind,
        with: Vec<ProcessId>,
        amount: Amount,
        lasts: Option<Duration>,
    ) -> Result<(), Failure> {
        let who = with.first().copied().unwrap_or(ProcessId(0));
        if kind.is_fatal && self.spares(who) {
            return Ok(());
        }
        let all: Vec<_> = self.cluster.world().processes().collect();
        let (time, number) = match amount {
            Amount::Plain => (Duration::ZERO, 0),
            Amount::Time(time) => (time, 0),
            Amount::Number(number) => (Duration::ZERO, number),
        };
        let cast = Cast { who, whom: with.last().copied().unwrap_or(who), all: &all, time, number };
        self.marks.note(format!("strike({})", kind.name));
        let cells = self.cells(kind.name, &with);
        let before = self.cluster.world().steps();
        for fault in (kind.faults)(&cast) {
            self.cluster.strike(fault)?;
        }
        // What makes no sense where it strikes does nothing.
        if self.cluster.world().steps() > before {
            self.struck(cells);
        }
        if let Some(lasts) = lasts {
            let until = self.cluster.world().now() + nanos(lasts);
            for cure in (kind.cures)(&cast) {
                self.cluster.world_mut().schedule(until, cure);
            }
        }
        Ok(())
    }

    /// Where a trouble strikes: its victims, or everybody who uses what it strikes.
    fn cells(&self, trouble: &'static str, with: &[ProcessId]) -> BTreeSet<Cell> {
        let servers = || self.cluster.brokers().iter().chain(self.cluster.discoveries());
        let victims: Vec<_> = if with.is_empty() { servers().collect() } else { with.iter().collect() };
        victims.into_iter().map(|victim| Cell::of(&self.cluster, trouble, *victim)).collect()
    }

    fn struck(&mut self, cells: BTreeSet<Cell>) {
        for cell in cells {
            *self.strikes.entry(cell).or_default() += 1;
        }
    }

    fn find(&self, target: Target, it: Option<ProcessId>) -> Option<ProcessId> {
        let cluster = &self.cluster;
        match target {
            Target::Broker(number) => cluster.find(&format!("b{number}")),
            Target::Discovery(number) => cluster.find(&format!("d{number}")),
            Target::Publisher(number) => {
                let begun = |publisher: &ProcessId| cluster.publishers().contains(publisher);
                cluster.find(&format!("p{number}")).filter(begun)
            }
            Target::Subscriber(number) => cluster.find(&format!("s{number}")),
            Target::Primary => cluster.primary(),
            Target::Backup => {
                let state = cluster.state()?;
                let primary = cluster.primary();
                let in_sync = |process: &ProcessId| {
                    cluster.broker(*process).is_some_and(|broker| state.in_sync.contains(&broker.id().member))
                };
                cluster
                    .brokers()
                    .iter()
                    .copied()
                    .find(|process| Some(*process) != primary && in_sync(process))
            }
            Target::Leader => self.discovery(Role::Leader),
            Target::Follower => self.discovery(Role::Follower),
            Target::It => it,
        }
    }

    /// The first discovery replica in this role.
    fn discovery(&self, role: Role) -> Option<ProcessId> {
        let mut replicas = self.cluster.discoveries().iter().copied();
        replicas.find(|replica| Role::of(&self.cluster, *replica) == role)
    }

    /// Whether a process may not be killed: no other one holds all committed data and stays.
    fn spares(&self, process: ProcessId) -> bool {
        let cluster = &self.cluster;
        let Some(state) = cluster.state().filter(|_| !self.plan.knobs.unsparing) else { return false };
        let mut others = cluster.brokers().iter().filter(|&&other| other != process);
        let holds = |process: &ProcessId| {
            cluster.broker(*process).is_some_and(|broker| {
                state.in_sync.contains(&broker.id().member)
                    && !self.leaving.contains(&broker.id().incarnation)
            })
        };
        cluster.brokers().contains(&process) && !others.any(holds)
    }

    fn shut_down(&mut self, process: ProcessId, back: Option<Duration>) -> Result<(), Failure> {
        let serves =
            self.cluster.brokers().contains(&process) || self.cluster.discoveries().contains(&process);
        if serves && !self.spares(process) {
            self.marks.note("strike(shutdown)".to_owned());
            if self.cluster.world().node(process).is_some() {
                self.struck(self.cells("shutdown", &[process]));
            }
            self.leaving.extend(self.cluster.broker(process).map(|broker| broker.id().incarnation));
            self.cluster.shut_down(process, back);
        }
        Ok(())
    }

    fn drain(&mut self, process: ProcessId, back: Option<Duration>) {
        if self.cluster.brokers().contains(&process) && !self.spares(process) {
            self.leaving.extend(self.cluster.broker(process).map(|broker| broker.id().incarnation));
            self.cluster.drain(process, back);
        }
    }

    fn lose_everything(&mut self, lasts: Option<Duration>) -> Result<(), Failure> {
        self.marks.note("strike(total-loss)".to_owned());
        for broker in self.cluster.brokers().to_vec() {
            if self.cluster.world().node(broker).is_some() {
                self.struck(self.cells("total-loss", &[broker]));
            }
            self.cluster.strike(Fault::Crash(broker))?;
            if let Some(lasts) = lasts {
                let until = self.cluster.world().now() + nanos(lasts);
                self.cluster.world_mut().schedule(until, Fault::Restart(broker));
            }
        }
        Ok(())
    }

    /// When it was put right, publishing works.
    fn last_words(&mut self, publisher: ProcessId) {
        self.cluster.publish(publisher, "last.words", LAST_WORDS, Duration::from_millis(1));
    }
}
