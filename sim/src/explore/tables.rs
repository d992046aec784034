//! Everything that was ever met, once: processes, frames, trees, what the checkers know; and what one
//! leads to under the other, so that no node handles the same input in the same state twice.

use super::canonical::{Digest, Hashing};
use super::client;
use super::own::Own;
use super::process::{Parts, Process, Seen, Step, Stimulus, identity};
use super::state::Id;
use super::tree::Tree;
use crate::actor::Event;
use crate::check::{Checks, Fact, Violation};
use crate::observer;
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;
use steadfast_core::node::Output;
use steadfast_core::publisher;
use steadfast_core::trace::Trace;
use steadfast_core::wire;

/// A table of things that are told apart by their digests.
struct Table<T> {
    all: Vec<Rc<T>>,
    ids: HashMap<u128, Id, Hashing>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { all: Vec::new(), ids: HashMap::default() }
    }
}

impl<T> Table<T> {
    fn insert(&mut self, digest: u128, make: impl FnOnce() -> T) -> Id {
        let next = Id::try_from(self.all.len()).expect("fewer than 2³² things");
        *self.ids.entry(digest).or_insert_with(|| {
            self.all.push(Rc::new(make()));
            next
        })
    }

    fn get(&self, id: Id) -> &Rc<T> {
        &self.all[id as usize]
    }
}

/// What a stimulus makes of a process.
pub struct Outcome {
    stimulus: Stimulus,
    /// Whether there is anything in it for the checkers.
    shows: bool,
    /// The process afterwards.
    pub after: Id,
    /// How it came to that.
    pub step: Step,
    /// The tree afterwards, where it is another one.
    pub tree: Option<Id>,
    number: u32,
}

/// All tables.
#[derive(Default)]
pub struct Tables {
    processes: Table<Process>,
    frames: Table<Parts>,
    trees: Table<Tree>,
    checks: Table<Checks>,
    /// By process, stimulus, and the tree where it matters.
    outcomes: HashMap<(Id, Stimulus, Option<Id>), Known, Hashing>,
    verdicts: HashMap<(Id, Shown), Result<Id, Violation>, Hashing>,
    marks: BTreeSet<String>,
    made: u32,
    /// The tree where the exploration begins.
    beginning: Option<Id>,
}

/// What came of a stimulus. `Err`: an assertion of the node failed.
type Known = Result<Rc<Outcome>, String>;

/// What the checkers are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Shown {
    /// The step of a broker, by its outcome's number.
    Step(u32),
    /// A state of the group, by its tree.
    State(Id),
    /// The loss of a storage, by its broker and life.
    Loss(u8, u8),
    /// Another process of a client, by the digest of what it begins with.
    Revival(u128),
}

impl Tables {
    /// A process' number.
    pub fn process_id(&mut self, process: Process) -> Id {
        self.processes.insert(process.digest(), || process)
    }

    /// A process.
    pub fn process(&self, id: Id) -> &Rc<Process> {
        self.processes.get(id)
    }

    /// The number of a frame, or of anything else made of bytes.
    pub fn frame_id(&mut self, frame: &Parts) -> Id {
        self.frames.insert(Digest::of(frame), || frame.clone())
    }

    /// A frame.
    pub fn frame(&self, id: Id) -> &Rc<Parts> {
        self.frames.get(id)
    }

    /// A tree's number.
    pub fn tree_id(&mut self, tree: Tree) -> Id {
        self.trees.insert(Digest::of(&tree), || tree)
    }

    /// A tree.
    pub fn tree(&self, id: Id) -> &Rc<Tree> {
        self.trees.get(id)
    }

    /// The number of what the checkers know.
    pub fn checks_id(&mut self, checks: Checks) -> Id {
        let digest = Digest::of_text(&format!("{checks:?}"));
        self.checks.insert(digest, || checks)
    }

    /// What the checkers know.
    pub fn checks(&self, id: Id) -> &Rc<Checks> {
        self.checks.get(id)
    }

    /// An exploration begins with this tree.
    pub const fn begin(&mut self, tree: Id) {
        self.beginning = Some(tree);
    }

    /// The tree with which the exploration began.
    pub fn beginning(&self) -> &Rc<Tree> {
        self.tree(self.beginning.expect("an exploration has begun"))
    }

    /// Processes met, outcomes computed, and states of the checkers' knowledge.
    pub fn sizes(&self) -> [usize; 3] {
        [self.processes.all.len(), self.outcomes.len(), self.checks.all.len()]
    }

    /// What a stimulus makes of a process.
    pub fn outcome(&mut self, process: Id, stimulus: Stimulus, tree: Id) -> Known {
        for key in [(process, stimulus, None), (process, stimulus, Some(tree))] {
            if let Some(known) = self.outcomes.get(&key) {
                return known.clone();
            }
        }
        let parts = match stimulus {
            Stimulus::Frame(_, frame) | Stimulus::First(_, frame) => self.frame(frame),
            _ => &Rc::default(),
        };
        let step = self.process(process).step(stimulus, parts, self.tree(tree));
        let consulted = !matches!(&step, Ok(step) if !step.consulted);
        let outcome = step.map(|step| {
            self.made += 1;
            self.mark(&step);
            let shows = shows(self.process(process), stimulus, &step);
            let tree = step.tree.clone().map(|tree| self.tree_id(tree));
            let after = self.process_id(step.after.clone());
            Rc::new(Outcome { stimulus, shows, after, step, tree, number: self.made })
        });
        self.outcomes.insert((process, stimulus, consulted.then_some(tree)), outcome.clone());
        outcome
    }

    /// What the checkers know after they were shown a process' step.
    pub fn judge(&mut self, checks: Id, before: Id, outcome: &Outcome) -> Result<Id, Violation> {
        if !outcome.shows {
            return Ok(checks);
        }
        let (before, after) = (Rc::clone(self.process(before)), Rc::clone(self.process(outcome.after)));
        let (Some(was), Some(is)) = (before.node(), after.node()) else {
            return self.judge_client(checks, outcome);
        };
        let at = observer::Snapshot::of(was);
        let mut observer = observer::Seen::resume(was.id(), at);
        self.show(checks, Shown::Step(outcome.number), |checks| {
            let mut seen = outcome.step.seen.iter();
            seen.try_for_each(|seen| {
                observer.observe(seen.after, seen.stored, &seen.outputs, checks).map(drop)
            })?;
            observer.fold(is, checks)?;
            observer.count(is, checks)
        })
    }

    fn judge_client(&mut self, checks: Id, outcome: &Outcome) -> Result<Id, Violation> {
        self.show(checks, Shown::Step(outcome.number), |checks| {
            if let Stimulus::Publish(number) = outcome.stimulus {
                client::published(number, checks)?;
            }
            let mut outputs = outcome.step.seen.iter().flat_map(|seen| &seen.outputs);
            outputs.try_for_each(|output| client::observe(output, checks))
        })
    }

    /// What the checkers know after the group's state was written.
    pub fn judge_state(&mut self, checks: Id, tree: Id) -> Result<Id, Violation> {
        let data = self.tree(tree).state().clone();
        self.show(checks, Shown::State(tree), |checks| match wire::decode_group_state(&data) {
            Ok(state) => checks.observe(&Fact::State(&state)),
            Err(_) => checks.observe(&Fact::StateDeleted),
        })
    }

    /// What the checkers know after a broker's memory is gone.
    pub fn judge_loss(&mut self, checks: Id, broker: u8, life: u8) -> Result<Id, Violation> {
        let member = identity(broker.into(), life).member;
        self.show(checks, Shown::Loss(broker, life), |checks| checks.observe(&Fact::StorageLost(&member)))
    }

    /// What the checkers know after another process of a client began with this.
    pub fn judge_revival(&mut self, checks: Id, own: &Own) -> Result<Id, Violation> {
        let shown = Shown::Revival(Digest::of_text(&format!("{own:?}")));
        self.show(checks, shown, |checks| client::revived(own, checks))
    }

    fn show(
        &mut self,
        checks: Id,
        shown: Shown,
        tell: impl FnOnce(&mut Checks) -> Result<(), Violation>,
    ) -> Result<Id, Violation> {
        if let Some(verdict) = self.verdicts.get(&(checks, shown)) {
            return verdict.clone();
        }
        let mut after = (**self.checks(checks)).clone();
        let verdict = tell(&mut after).map(|()| self.checks_id(after));
        self.verdicts.insert((checks, shown), verdict.clone());
        verdict
    }

    /// What has happened at all, so that a scope in which nothing happens shows.
    fn mark(&mut self, step: &Step) {
        for output in step.seen.iter().flat_map(|seen| &seen.outputs) {
            match output {
                Output::Trace(Trace::Resolved { change, outcome }) => {
                    self.marks.insert(format!("{change:?} {outcome:?}"));
                }
                Output::Trace(trace) => {
                    let text = format!("{trace:?}");
                    let name = text.split([' ', '(']).next().unwrap_or_default();
                    self.marks.insert(name.to_owned());
                }
                Output::Event(Event::Publisher(publisher::Event::Recovered { result, .. })) => {
                    self.marks.insert(format!("Recovered {}", if result.is_ok() { "Ok" } else { "Err" }));
                }
                _ => {}
            }
        }
    }

    /// What has happened at all: trace records and what became of changes, by name.
    pub const fn marks(&self) -> &BTreeSet<String> {
        &self.marks
    }
}

/// Whether there is anything in a step for the checkers: a node said or stored something, or what shows of a
/// broker is another now.
fn shows(before: &Process, stimulus: Stimulus, step: &Step) -> bool {
    let (Some(was), Some(is)) = (before.node(), step.after.node()) else {
        let told = |output: &_| matches!(output, Output::Event(_));
        return matches!(stimulus, Stimulus::Publish(_))
            || step.seen.iter().flat_map(|seen| &seen.outputs).any(told);
    };
    let at = observer::Snapshot::of(was);
    let says = |output: &_| matches!(output, Output::Transmit { .. } | Output::Store(_));
    let changes = |seen: &Seen| seen.after != at || seen.outputs.iter().any(says);
    !(was.counted().eq(is.counted()) && was.matched().eq(is.matched())) || step.seen.iter().any(changes)
}
