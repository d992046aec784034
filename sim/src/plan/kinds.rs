//! What can go wrong in a plan, by name: one line of a table each.

use crate::clock::MAX_DRIFT;
use crate::fault::Fault;
use crate::network::ProcessId;
use std::fmt;
use std::time::Duration;

/// Whom a trouble strikes, as the run has found it, and how much.
#[derive(Clone, Copy, Debug)]
pub struct Cast<'a> {
    /// The first process named; nobody in particular where none is.
    pub who: ProcessId,
    /// The second one; the first where only one is named.
    pub whom: ProcessId,
    /// Everybody.
    pub all: &'a [ProcessId],
    /// How long, where that is asked for.
    pub time: Duration,
    /// How much, where that is asked for.
    pub number: i64,
}

impl Cast<'_> {
    fn others(&self) -> impl Iterator<Item = ProcessId> {
        self.all.iter().copied().filter(|other| *other != self.who)
    }
}

/// How much of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// There is no more or less of it.
    Plain,
    /// So long.
    Time(Duration),
    /// So much.
    Number(i64),
}

/// One kind of trouble.
pub struct Kind {
    /// Its name.
    pub name: &'static str,
    /// How many processes are named with it.
    pub processes: usize,
    /// Whether it ends the process.
    pub is_fatal: bool,
    /// An example of how much of it there may be.
    pub amount: Amount,
    /// What happens.
    pub faults: fn(&Cast<'_>) -> Vec<Fault>,
    /// What puts that right.
    pub cures: fn(&Cast<'_>) -> Vec<Fault>,
}

type Does = fn(&Cast<'_>) -> Vec<Fault>;

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

const fn of(processes: usize, name: &'static str, faults: Does, cures: Does) -> Kind {
    Kind { name, processes, is_fatal: false, amount: Amount::Plain, faults, cures }
}

const fn one(name: &'static str, faults: Does, cures: Does) -> Kind {
    of(1, name, faults, cures)
}

const fn two(name: &'static str, faults: Does, cures: Does) -> Kind {
    of(2, name, faults, cures)
}

impl Kind {
    const fn fatal(self) -> Self {
        Self { is_fatal: true, ..self }
    }

    /// Whether it strikes a process's way to the coordination service: clients have none.
    pub(super) fn is_of_coordination(&self) -> bool {
        self.name.contains("coordination")
    }

    const fn so_long(self, example: u64) -> Self {
        Self { amount: Amount::Time(Duration::from_millis(example)), ..self }
    }

    const fn so_much(self, example: i64) -> Self {
        Self { amount: Amount::Number(example), ..self }
    }
}

const fn nothing(_: &Cast<'_>) -> Vec<Fault> {
    Vec::new()
}

fn both(cut: fn(ProcessId, ProcessId) -> Fault, cast: &Cast<'_>) -> Vec<Fault> {
    vec![cut(cast.who, cast.whom), cut(cast.whom, cast.who)]
}

/// Every kind.
pub static KINDS: &[Kind] = &[
    one("crash", |c| vec![Fault::Crash(c.who)], |c| vec![Fault::Restart(c.who)]).fatal(),
    one("power-loss", |c| vec![Fault::PowerLoss(c.who)], |c| vec![Fault::Restart(c.who)]).fatal(),
    one("restart", |c| vec![Fault::Restart(c.who)], nothing),
    one("pause", |c| vec![Fault::Pause(c.who)], |c| vec![Fault::Resume(c.who)]),
    one("resume", |c| vec![Fault::Resume(c.who)], nothing),
    one("slow", |c| vec![Fault::Slow(c.who, c.time)], |c| vec![Fault::Slow(c.who, Duration::ZERO)])
        .so_long(1),
    one("clock-rate", |c| vec![Fault::ClockRate(c.who, drift(c))], |c| vec![Fault::ClockRate(c.who, 0)])
        .so_much(-400),
    one("clock-jump", |c| vec![Fault::ClockJump(c.who, c.time)], nothing).so_long(900),
    one(
        "limit-memory",
        |c| vec![Fault::LimitMemory(c.who, c.number.unsigned_abs())],
        |c| vec![Fault::LimitMemory(c.who, u64::MAX), Fault::Restart(c.who)],
    )
    .so_much(60_000)
    .fatal(),
    one("stop-reading", |c| vec![Fault::StopReading(c.who)], |c| vec![Fault::ReadAgain(c.who)]),
    one("stop-storing", |c| vec![Fault::StopStoring(c.who)], |c| vec![Fault::StoreAgain(c.who)]),
    two("cut", |c| vec![Fault::Cut(c.who, c.whom)], |c| vec![Fault::Heal(c.who, c.whom)]),
    two("heal", |c| vec![Fault::Heal(c.who, c.whom)], nothing),
    two("part", |c| both(Fault::Cut, c), |c| both(Fault::Heal, c)),
    two("reset", |c| vec![Fault::Reset(c.who, c.whom)], nothing),
    two("half-open", |c| vec![Fault::HalfOpen(c.who, c.whom)], nothing),
    two("vanish", |c| vec![Fault::Vanish(c.who, c.whom)], nothing),
    two("delay", |c| vec![Fault::Delay(c.who, c.whom, c.time)], nothing).so_long(700),
    two(
        "lag",
        |c| vec![Fault::Lag(c.who, c.whom, c.time)],
        |c| vec![Fault::Lag(c.who, c.whom, Duration::ZERO)],
    )
    .so_long(30),
    two(
        "damage",
        |c| vec![Fault::Damage(c.who, c.whom, permille(c))],
        |c| vec![Fault::Damage(c.who, c.whom, 0)],
    )
    .so_much(100),
    // Nobody hears the process any more.
    one(
        "mute",
        |c| c.others().map(|other| Fault::Cut(c.who, other)).collect(),
        |c| c.others().map(|other| Fault::Heal(c.who, other)).collect(),
    ),
    // The process hears nobody any more.
    one(
        "deafen",
        |c| c.others().map(|other| Fault::Cut(other, c.who)).collect(),
        |c| c.others().map(|other| Fault::Heal(other, c.who)).collect(),
    ),
    one(
        "isolate",
        |c| c.others().flat_map(|other| both(Fault::Cut, &Cast { whom: other, ..*c })).collect(),
        |c| c.others().flat_map(|other| both(Fault::Heal, &Cast { whom: other, ..*c })).collect(),
    ),
    one(
        "cut-to-coordination",
        |c| vec![Fault::CutToCoordination(c.who)],
        |c| vec![Fault::HealCoordination(c.who)],
    ),
    one(
        "cut-from-coordination",
        |c| vec![Fault::CutFromCoordination(c.who)],
        |c| vec![Fault::HealCoordination(c.who)],
    ),
    one(
        "cut-coordination",
        |c| vec![Fault::CutToCoordination(c.who), Fault::CutFromCoordination(c.who)],
        |c| vec![Fault::HealCoordination(c.who)],
    ),
    one("heal-coordination", |c| vec![Fault::HealCoordination(c.who)], nothing),
    one("drop-coordination", |c| vec![Fault::DropCoordination(c.who)], nothing),
    of(0, "new-coordination-leader", |_| vec![Fault::NewLeader], nothing),
    of(0, "stop-coordination", |_| vec![Fault::StopCoordination], |_| vec![Fault::StartCoordination]),
    of(0, "cut-coordination-follower", |_| vec![Fault::CutFollower], |_| vec![Fault::HealFollower]),
];

/// Millionths, as far as a clock may drift.
fn drift(cast: &Cast<'_>) -> i32 {
    let most = i64::from(MAX_DRIFT);
    i32::try_from(cast.number.clamp(-most, most)).expect("within the bound")
}

/// How many in a thousand.
fn permille(cast: &Cast<'_>) -> u32 {
    u32::try_from(cast.number.unsigned_abs().min(1_000)).expect("within the bound")
}

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
