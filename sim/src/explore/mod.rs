//! Exhaustive exploration of a small scope: the real brokers, with everything that could happen next as
//! a choice. All choices are taken, breadth first, and every property is checked on the way.
//!
//! What is real: [`steadfast_core::broker::Broker`], with its registry, log and sessions, frame by
//! frame and byte for byte. What is chosen: which frame arrives next, which connection breaks, when
//! time passes for whom (so failure detection is arbitrary), when the tree carries a write out and
//! when its answer comes or gets lost, when a broker hears of a change, who dies and who comes back.
//! What is simplified: reads of the tree and storage take no time, a client may send any record to
//! any primary at any moment, and time passes in units that are longer than a heartbeat.
//!
//! A state of the whole is a handful of numbers into tables, and a broker in the same state is
//! never given the same input twice. When two states are the same is `canonical`'s to say.

mod broker;
mod canonical;
mod state;
mod step;
mod tables;
mod tree;

use crate::check::{self, Check, Checks, Fact, Violation};
use state::State;
pub use state::{Action, Budget};
use std::collections::{BTreeSet, HashSet, VecDeque};
use std::fmt;
use steadfast_core::group::GroupState;
use steadfast_core::id::{GroupId, Nonce, Sequence};
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
    /// Records that the client publishes.
    pub records: Sequence,
    /// Writes of the group's state: elections and changes of the in-sync set.
    pub writes: i32,
    /// Frames under way in one direction of a connection.
    pub channel: usize,
    /// Connections at a time, those included that one side has not missed yet.
    pub connections: usize,
    /// Whether all brokers are in sync at the beginning; otherwise none has started.
    pub settled: bool,
    /// Faults.
    pub budget: Budget,
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
    /// Distinct states of a broker, inputs handled by brokers, distinct states of the checkers.
    pub tables: [usize; 3],
    /// Trace records and fates of changes that occurred, by name.
    pub marks: BTreeSet<String>,
    /// The first violation.
    pub counterexample: Option<Counterexample>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = if self.exhausted { "exhausted" } else { "not exhausted" };
        let [brokers, inputs, checks] = self.tables;
        write!(
            f,
            "{} states, {} transitions, depth {}, {end}; {} choices out of scope; {brokers} broker states, \
             {inputs} inputs handled, {checks} states of the checkers",
            self.states, self.transitions, self.depth, self.bounded
        )
    }
}

/// The properties that hold for every history of brokers and a client that publishes.
fn checks(more: Vec<Box<dyn Check>>) -> Checks {
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
        Box::<check::config_intent::ConfigIntent>::default(),
        Box::<check::enough_copies::EnoughCopies>::default(),
    ];
    all.extend(more);
    Checks::of(all)
}

/// An exploration under way.
pub struct Explorer {
    scope: Scope,
    /// What the checkers know at the beginning.
    checks: Checks,
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
        let initial = initial(&scope, &mut tables, &checks);
        let seen = HashSet::from_iter([step::digest(&initial)]);
        let origins = vec![(0, 0, Action::Restart(0))];
        let frontier = VecDeque::from([(0, initial)]);
        Self { scope, checks, tables, seen, origins, frontier, transitions: 0, bounded: 0 }
    }

    /// Takes every choice everywhere, until all is seen, a property is violated or a limit is reached.
    /// `progress` is told of the report so far, each time that many more states are known.
    pub fn run(mut self, limit: Limit, every: usize, mut progress: impl FnMut(&Report)) -> Report {
        let mut told = 0;
        while let Some((origin, state)) = self.frontier.pop_front() {
            if self.seen.len() >= limit.states {
                self.frontier.push_front((origin, state));
                break;
            }
            if let Err((action, violation)) = self.expand(origin, &state) {
                let counterexample = self.explain(origin, action, violation);
                return Report { counterexample: Some(counterexample), ..self.report() };
            }
            if self.seen.len() >= told + every {
                told = self.seen.len();
                progress(&self.report());
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
        for action in state.choices() {
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
        let mut state = initial(&self.scope, &mut self.tables, &self.checks);
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

/// Where an exploration begins.
fn initial(scope: &Scope, tables: &mut Tables, checks: &Checks) -> State {
    let mut state = nothing(scope, tables, checks.clone());
    // Without faults: whatever can happen happens, the first choice first, until nothing more does.
    let calm = Scope { records: 0, budget: Budget::default(), ..*scope };
    state.budget = calm.budget;
    let mut next = Some(state.clone()).filter(|_| scope.settled);
    while let Some(before) = next {
        next = before.choices().into_iter().find_map(|action| {
            let next = Stepper::new(&calm, tables, before.clone()).take(action).ok();
            next.filter(|next| *next != before)
        });
        state = before;
    }
    if scope.settled {
        let group = wire::decode_group_state(tables.tree(state.tree).state()).expect("brokers wrote it");
        assert_eq!(group.in_sync.len(), scope.brokers, "the scope has room for a group that settles");
    }
    state.budget = scope.budget;
    state
}

/// Nobody has started.
fn nothing(scope: &Scope, tables: &mut Tables, mut checks: Checks) -> State {
    let first = broker::identity(0, 1).member;
    let group = GroupState::bootstrap(GroupId(9 << 96), first, scope.min_in_sync, Nonce(1 << 96));
    checks.observe(&Fact::State(&group)).expect("a group begins");
    let tree = tables.tree_id(Tree::new(wire::encode_group_state(&group)));
    let checks = tables.checks_id(checks);
    State::new(scope, tree, checks)
}
