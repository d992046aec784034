//! Exhaustive exploration of a small scope: the real brokers, publisher and subscriber, with everything that
//! could happen next as a choice. All choices are taken, breadth first, and every property is checked on
//! the way.
//!
//! What is real: [`steadfast_core::broker::Broker`], with its registry, log and sessions,
//! [`steadfast_core::publisher::Publisher`] and [`steadfast_core::subscriber::Subscriber`], frame by frame
//! and byte for byte. What is chosen: which frame arrives next, which connection breaks, when
//! time passes for whom (so failure detection is arbitrary), when the tree carries a write out and
//! when its answer comes or gets lost, when a broker hears of a change, who dies and who comes back.
//! What is simplified: reads of the tree, storage and answers of discovery take no time, and time passes in
//! units that are longer than a heartbeat.
//!
//! A state of the whole is a handful of numbers into tables, and a node in the same state is never given
//! the same input twice. When two states are the same is `canonical`'s to say.

mod canonical;
mod client;
mod own;
mod process;
mod state;
mod step;
mod tables;
mod tree;

use crate::check::{self, Check, Checks, Fact, Violation};
use own::Own;
use process::{Process, identity};
use state::State;
pub use state::{Action, Budget};
use std::collections::{BTreeSet, HashSet, VecDeque};
use std::fmt;
use steadfast_core::group::GroupState;
use steadfast_core::id::{GroupId, Nonce};
use steadfast_core::publisher;
use steadfast_core::wire;
use step::{Blocked, Stepper};
use tables::Tables;
use tree::Tree;

/// What is explored.
#[derive(Clone, Copy, Debug)]
pub struct Scope {
    /// Number of brokers.
    pub brokers: usize,
    /// Commits need this many in-sync members.
    pub min_in_sync: u32,
    /// Records that the publisher is given, each a batch of its own; 0: there is no publisher.
    pub records: u64,
    /// Whether there is a subscriber.
    pub subscriber: bool,
    /// Whether the publisher has an outbox. Without one no other process can take its place.
    pub outbox: bool,
    /// Writes of the group's state: elections and changes of the in-sync set.
    pub writes: i32,
    /// Frames under way in one direction of a connection.
    pub channel: usize,
    /// Connections between brokers at a time, those included that one side has not missed yet.
    pub connections: usize,
    /// Whether all brokers are in sync and all clients connected at the beginning; otherwise none has
    /// started.
    pub settled: bool,
    /// Faults, and what else may happen so often.
    pub budget: Budget,
}

/// What a [stated scope](Scope::stated) may meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// One broker dies, and its node comes back empty.
    Crash,
    /// One broker stops for a while, longer than any threshold.
    Pause,
    /// Nothing happens, and yet the brokers suspect each other twice. There are no clients.
    Doubts,
    /// Two frames cannot be read when they arrive, and a client has once had enough of waiting. The publisher has one
    /// batch more.
    Damage,
    /// The publisher's process dies three times, and others go on with its outbox. There is no subscriber.
    Revivals,
    /// A broker's session ends while it lives, and a client's process dies. The one that goes on with what that has
    /// kept may be told of the old primary and no other. The publisher has an outbox and one batch.
    Astray,
}

impl Scope {
    /// Two brokers in sync, a publisher with two batches, a subscriber, and one trouble.
    pub const fn stated(trouble: Trouble, min_in_sync: u32) -> Self {
        let budget = Budget { retries: 4, ..Budget::NONE };
        let scope = Self {
            brokers: 2,
            min_in_sync,
            records: 2,
            subscriber: true,
            outbox: false,
            writes: 6,
            channel: 3,
            connections: 2,
            settled: true,
            budget,
        };
        match trouble {
            Trouble::Crash => Self { budget: Budget { crashes: 1, ..budget }, ..scope },
            Trouble::Pause => Self { budget: Budget { pauses: 1, ..budget }, ..scope },
            Trouble::Doubts => {
                let budget = Budget { ticks: 2, ..budget };
                Self { records: 0, subscriber: false, connections: 3, budget, ..scope }
            }
            Trouble::Damage => {
                Self { records: 3, budget: Budget { damages: 2, timeouts: 1, ..budget }, ..scope }
            }
            Trouble::Revivals => {
                let budget = Budget { revivals: 3, ..budget };
                Self { subscriber: false, outbox: true, budget, ..scope }
            }
            Trouble::Astray => {
                let budget = Budget { expiries: 1, revivals: 1, ..budget };
                Self { records: 1, outbox: true, budget, ..scope }
            }
        }
    }

    /// Number of processes: brokers, then the publisher, then the subscriber.
    fn processes(&self) -> usize {
        self.brokers + usize::from(self.records > 0) + usize::from(self.subscriber)
    }

    const fn is_broker(&self, process: usize) -> bool {
        process < self.brokers
    }

    const fn is_publisher(&self, process: usize) -> bool {
        self.records > 0 && process == self.brokers
    }

    fn name(&self, process: usize) -> String {
        if self.is_broker(process) {
            format!("b{}", process + 1)
        } else {
            if self.is_publisher(process) { "publisher" } else { "subscriber" }.to_owned()
        }
    }

    /// A client's process that has not started yet.
    fn client(&self, process: usize, own: Own) -> Process {
        if self.is_publisher(process) { client::publisher(own) } else { client::subscriber(own) }
    }

    /// A process that has not started yet.
    fn process(&self, process: usize, life: u8) -> Process {
        if self.is_broker(process) {
            Process::broker(process, life)
        } else {
            self.client(process, client::first(self.outbox && self.is_publisher(process)))
        }
    }
}

/// How far an exploration may go.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// Distinct states.
    pub states: usize,
}

/// A history that violates a property: one of the shortest.
#[derive(Clone, Debug)]
pub struct Counterexample {
    /// What does not hold.
    pub violation: Violation,
    /// The choices that lead there.
    pub actions: Vec<Action>,
    /// The choices and what the brokers said of them.
    pub lines: Vec<String>,
}

/// What came of an exploration.
#[derive(Clone, Debug)]
pub struct Report {
    /// Distinct states met.
    pub states: usize,
    /// Choices taken.
    pub transitions: u64,
    /// Choices that lead out of the scope.
    pub bounded: u64,
    /// Length of the longest shortest history.
    pub depth: u32,
    /// Whether everything within the scope was seen.
    pub exhausted: bool,
    /// Distinct states of a node, inputs handled by nodes, distinct states of the checkers.
    pub tables: [usize; 3],
    /// Trace records and fates of changes that occurred, by name.
    pub marks: BTreeSet<String>,
    /// The first violation.
    pub counterexample: Option<Counterexample>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = if self.exhausted { "exhausted" } else { "not exhausted" };
        let [nodes, inputs, checks] = self.tables;
        write!(
            f,
            "{} states, {} transitions, depth {}, {end}; {} choices out of scope; {nodes} node states, \
             {inputs} inputs handled, {checks} states of the checkers",
            self.states, self.transitions, self.depth, self.bounded
        )
    }
}

/// The properties that hold for every history of a scope. Those of time have no place here, as it passes in
/// units; nor has what was trimmed or how far a head was read, as nothing is.
fn checks(more: Vec<Box<dyn Check>>) -> Checks {
    let publisher = publisher::Config::default();
    let mut all: Vec<Box<dyn Check>> = vec![
        Box::new(check::committed_stable::CommittedStable),
        Box::new(check::candidate_complete::CandidateComplete),
        Box::<check::acked_durable::AckedDurable>::default(),
        Box::<check::log_matching::LogMatching>::default(),
        Box::<check::one_primary_per_epoch::OnePrimaryPerEpoch>::default(),
        Box::<check::floor_monotone::FloorMonotone>::default(),
        Box::<check::no_premature_visibility::NoPrematureVisibility>::default(),
        Box::<check::commit_monotone::CommitMonotone>::default(),
        Box::<check::exactly_once_in_log::ExactlyOnceInLog>::default(),
        Box::<check::pub_fencing::PubFencing>::default(),
        Box::<check::no_phantom::NoPhantom>::default(),
        Box::<check::sub_prefix::SubPrefix>::default(),
        Box::<check::history_cut::HistoryCut>::default(),
        Box::<check::superset_quorum::SupersetQuorum>::default(),
        Box::<check::counts_verified::CountsVerified>::default(),
        Box::<check::session_fold::SessionFold>::default(),
        Box::<check::config_intent::ConfigIntent>::default(),
        Box::<check::enough_copies::EnoughCopies>::default(),
        Box::new(check::outcomes::Outcomes::with_queue_of(publisher.queue_records, publisher.queue_bytes)),
    ];
    all.extend(more);
    Checks::of(all)
}

/// An exploration under way.
pub struct Explorer {
    scope: Scope,
    /// Where it begins, unless a property does not hold on the way there.
    initial: Result<State, Violation>,
    tables: Tables,
    seen: HashSet<u128, canonical::Hashing>,
    /// For each state met: the one before, how deep it is, and the choice that led to it.
    origins: Vec<(u32, u32, Action)>,
    frontier: VecDeque<(u32, State)>,
    transitions: u64,
    bounded: u64,
}

impl Explorer {
    /// All brokers are about to start in a new group.
    pub fn new(scope: Scope) -> Self {
        Self::with(scope, Vec::new())
    }

    /// The same, and these properties are checked besides.
    pub fn with(scope: Scope, more: Vec<Box<dyn Check>>) -> Self {
        let mut tables = Tables::default();
        let checks = checks(more);
        let initial = initial(&scope, &mut tables, checks);
        let seen = initial.iter().map(step::digest).collect();
        let origins = vec![(0, 0, Action::Start(0))];
        let frontier = initial.iter().map(|state| (0, state.clone())).collect();
        Self { scope, initial, tables, seen, origins, frontier, transitions: 0, bounded: 0 }
    }

    /// Takes every choice everywhere, until all is seen, a property is violated or a limit is reached.
    /// `progress` is told of the report so far, each time that `every` states were expanded, and says whether to go on.
    pub fn run(
        mut self,
        limit: Limit,
        every: usize,
        mut progress: impl FnMut(&dyn Fn() -> Report) -> bool,
    ) -> Report {
        let mut expanded = 0;
        if let Err(violation) = self.initial.clone() {
            let counterexample = Counterexample { violation, actions: Vec::new(), lines: Vec::new() };
            return Report { counterexample: Some(counterexample), ..self.report() };
        }
        while let Some((origin, state)) = self.frontier.pop_front() {
            if self.seen.len() >= limit.states {
                self.frontier.push_front((origin, state));
                break;
            }
            if let Err((action, violation)) = self.expand(origin, &state) {
                let counterexample = self.explain(origin, action, violation);
                return Report { counterexample: Some(counterexample), ..self.report() };
            }
            expanded += 1;
            if expanded % every == 0 && !progress(&|| self.report()) {
                break;
            }
        }
        self.report()
    }

    fn report(&self) -> Report {
        Report {
            states: self.seen.len(),
            transitions: self.transitions,
            bounded: self.bounded,
            depth: self.origins.last().map_or(0, |(_, depth, _)| *depth),
            exhausted: self.frontier.is_empty(),
            tables: self.tables.sizes(),
            marks: self.tables.marks().clone(),
            counterexample: None,
        }
    }

    fn expand(&mut self, origin: u32, state: &State) -> Result<(), (Action, Violation)> {
        let depth = self.origins[origin as usize].1 + 1;
        for action in state.choices(&self.scope) {
            match Stepper::new(&self.scope, &mut self.tables, state.clone()).take(action) {
                Ok(next) => {
                    self.transitions += 1;
                    if self.seen.insert(step::digest(&next)) {
                        let number = u32::try_from(self.origins.len()).expect("fewer than 2³² states");
                        self.origins.push((origin, depth, action));
                        self.frontier.push_back((number, next));
                    }
                }
                Err(Blocked::Idle) => {}
                Err(Blocked::Bound) => self.bounded += 1,
                Err(Blocked::Violation(violation)) => return Err((action, violation)),
            }
        }
        Ok(())
    }

    /// Goes the way to a violation again, and takes down what the brokers say.
    fn explain(&mut self, mut origin: u32, last: Action, violation: Violation) -> Counterexample {
        let mut actions = vec![last];
        while origin != 0 {
            let (before, _, action) = self.origins[origin as usize];
            actions.push(action);
            origin = before;
        }
        actions.reverse();
        let mut state = self.initial.clone().expect("a history begins somewhere");
        let mut lines = Vec::new();
        for (number, action) in (1..).zip(&actions) {
            lines.push(format!("{number}. {action:?}"));
            let stepper = Stepper::new(&self.scope, &mut self.tables, state.clone()).tell(&mut lines);
            if let Ok(next) = stepper.take(*action) {
                state = next;
            }
        }
        Counterexample { violation, actions, lines }
    }
}

/// Where an exploration begins. `Err`: a property that does not hold even without faults.
fn initial(scope: &Scope, tables: &mut Tables, checks: Checks) -> Result<State, Violation> {
    let calm = Scope { budget: Budget::default(), ..*scope };
    let mut state = nothing(&calm, tables, checks);
    if scope.settled {
        state = settle(&calm, tables, state)?;
        let group = wire::decode_group_state(tables.tree(state.tree).state()).expect("brokers wrote it");
        if group.in_sync.len() < scope.brokers {
            let detail = format!("without faults only {:?} are in sync", group.in_sync);
            return Err(Violation { property: "Unexpected", detail });
        }
    }
    state.budget = scope.budget;
    tables.begin(state.tree);
    if scope.settled && scope.records > 0 {
        state = Stepper::new(scope, tables, state).publish().map_err(|blocked| match blocked {
            Blocked::Violation(violation) => violation,
            other => {
                Violation { property: "Unexpected", detail: format!("no room for the records: {other:?}") }
            }
        })?;
    }
    Ok(state)
}

/// Whatever can happen happens, the first choice first, until nothing more does. Brokers come before clients.
fn settle(calm: &Scope, tables: &mut Tables, mut state: State) -> Result<State, Violation> {
    loop {
        let mut next = None;
        for action in state.choices(calm) {
            match Stepper::new(calm, tables, state.clone()).take(action) {
                Ok(after) => next = Some(after).filter(|after| *after != state),
                Err(Blocked::Violation(violation)) => return Err(violation),
                Err(Blocked::Idle | Blocked::Bound) => {}
            }
            if next.is_some() {
                break;
            }
        }
        let Some(after) = next else { return Ok(state) };
        state = after;
    }
}

/// Nobody has started.
fn nothing(scope: &Scope, tables: &mut Tables, mut checks: Checks) -> State {
    let first = identity(0, 1).member;
    let group = GroupState::bootstrap(GroupId(9 << 96), first, scope.min_in_sync, Nonce(1 << 96));
    checks.observe(&Fact::State(&group)).expect("a group begins");
    if scope.subscriber {
        client::subscribed(&mut checks).expect("a subscriber begins");
    }
    let tree = tables.tree_id(Tree::new(wire::encode_group_state(&group)));
    let checks = tables.checks_id(checks);
    State::new(scope, tree, checks)
}
