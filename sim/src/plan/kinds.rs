//! What can go wrong in a plan, by name: one line of a table each.

use crate::fault::Fault;
use crate::network::ProcessId;
use std::fmt;

/// Whom a trouble strikes, as the run has found it.
#[derive(Clone, Copy, Debug)]
pub struct Cast<'a> {
    /// The first process named.
    pub who: ProcessId,
    /// The second one; the first where only one is named.
    pub whom: ProcessId,
    /// Everybody.
    pub all: &'a [ProcessId],
}

impl Cast<'_> {
    fn others(&self) -> impl Iterator<Item = ProcessId> {
        self.all.iter().copied().filter(|other| *other != self.who)
    }
}

/// One kind of trouble.
pub struct Kind {
    /// Its name.
    pub name: &'static str,
    /// How many processes are named with it.
    pub processes: usize,
    /// Whether it ends the process.
    pub is_fatal: bool,
    /// What happens.
    pub faults: fn(&Cast<'_>) -> Vec<Fault>,
    /// What puts that right.
    pub cures: fn(&Cast<'_>) -> Vec<Fault>,
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Kind {}

const fn one(
    name: &'static str,
    is_fatal: bool,
    faults: fn(&Cast<'_>) -> Vec<Fault>,
    cures: fn(&Cast<'_>) -> Vec<Fault>,
) -> Kind {
    Kind { name, processes: 1, is_fatal, faults, cures }
}

const fn two(
    name: &'static str,
    faults: fn(&Cast<'_>) -> Vec<Fault>,
    cures: fn(&Cast<'_>) -> Vec<Fault>,
) -> Kind {
    Kind { name, processes: 2, is_fatal: false, faults, cures }
}

const fn nothing(_: &Cast<'_>) -> Vec<Fault> {
    Vec::new()
}

fn both(cut: fn(ProcessId, ProcessId) -> Fault, cast: &Cast<'_>) -> Vec<Fault> {
    vec![cut(cast.who, cast.whom), cut(cast.whom, cast.who)]
}

/// Every kind.
pub static KINDS: &[Kind] = &[
    one("crash", true, |c| vec![Fault::Crash(c.who)], |c| vec![Fault::Restart(c.who)]),
    one("power-loss", true, |c| vec![Fault::PowerLoss(c.who)], |c| vec![Fault::Restart(c.who)]),
    one("restart", false, |c| vec![Fault::Restart(c.who)], nothing),
    one("pause", false, |c| vec![Fault::Pause(c.who)], |c| vec![Fault::Resume(c.who)]),
    one("resume", false, |c| vec![Fault::Resume(c.who)], nothing),
    two("cut", |c| vec![Fault::Cut(c.who, c.whom)], |c| vec![Fault::Heal(c.who, c.whom)]),
    two("heal", |c| vec![Fault::Heal(c.who, c.whom)], nothing),
    two("part", |c| both(Fault::Cut, c), |c| both(Fault::Heal, c)),
    two("reset", |c| vec![Fault::Reset(c.who, c.whom)], nothing),
    // Nobody hears the process any more.
    one(
        "mute",
        false,
        |c| c.others().map(|other| Fault::Cut(c.who, other)).collect(),
        |c| c.others().map(|other| Fault::Heal(c.who, other)).collect(),
    ),
    // The process hears nobody any more.
    one(
        "deafen",
        false,
        |c| c.others().map(|other| Fault::Cut(other, c.who)).collect(),
        |c| c.others().map(|other| Fault::Heal(other, c.who)).collect(),
    ),
    one(
        "isolate",
        false,
        |c| c.others().flat_map(|other| both(Fault::Cut, &Cast { whom: other, ..*c })).collect(),
        |c| c.others().flat_map(|other| both(Fault::Heal, &Cast { whom: other, ..*c })).collect(),
    ),
    one(
        "cut-to-coordination",
        false,
        |c| vec![Fault::CutToCoordination(c.who)],
        |c| vec![Fault::HealCoordination(c.who)],
    ),
    one(
        "cut-from-coordination",
        false,
        |c| vec![Fault::CutFromCoordination(c.who)],
        |c| vec![Fault::HealCoordination(c.who)],
    ),
    one(
        "cut-coordination",
        false,
        |c| vec![Fault::CutToCoordination(c.who), Fault::CutFromCoordination(c.who)],
        |c| vec![Fault::HealCoordination(c.who)],
    ),
    one("heal-coordination", false, |c| vec![Fault::HealCoordination(c.who)], nothing),
    one("drop-coordination", false, |c| vec![Fault::DropCoordination(c.who)], nothing),
];

/// The kind of this name.
pub fn kind(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name)
}

/// A kind that is known to exist.
///
/// # Panics
/// When it does not.
pub fn known(name: &str) -> &'static Kind {
    kind(name).unwrap_or_else(|| panic!("there is no trouble called {name:?}"))
}
