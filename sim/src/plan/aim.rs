//! Aims at the cells of the matrix (`matrix.rs`), in turn: a plan brings some process into a role, its
//! session into a state, and then a few troubles upon it. Which, its seed decides: chance alone would leave
//! what is rare (a learner without a session, a discovery leader that is cut off) to a few of the troubles.

use super::generate::{Dice, happens, trouble};
use super::kinds::{Amount, kind, known};
use super::{Action, Plan, Target};
use crate::coordination::Standing;
use crate::matrix::{Cell, Role, troubles};
use std::time::Duration;

/// How many troubles a plan aims.
const AIMS: usize = 5;
/// What ends the state that a trouble aims at: it comes last.
const LAST: [&str; 7] =
    ["crash", "power-loss", "restart", "resume", "heal-coordination", "shutdown", "total-loss"];

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The cells that this seed is to reach: of one role and one state of its session.
fn cells(seed: u64) -> Vec<Cell> {
    let places: Vec<_> = Role::ALL
        .iter()
        .flat_map(|role| Standing::ALL.iter().map(|session| (*role, *session)))
        .filter(|&(role, session)| {
            troubles().any(|trouble| Cell { trouble, role, session }.unreachable().is_none())
        })
        .collect();
    let (turn, place) = (seed / places.len() as u64, (seed % places.len() as u64) as usize);
    let (role, session) = places[place];
    let cells = troubles().map(|trouble| Cell { trouble, role, session });
    let cells: Vec<_> = cells.filter(|cell| cell.unreachable().is_none()).collect();
    // Neighbours in the table are alike: those that are struck together stand far apart.
    let apart = cells.len().div_ceil(AIMS);
    let mut aimed: Vec<_> = (0..AIMS).map(|aim| cells[(turn as usize + aim * apart) % cells.len()]).collect();
    aimed.dedup();
    aimed.sort_by_key(|cell| LAST.contains(&cell.trouble));
    aimed
}

/// Adds what it takes, from about this time on.
pub(super) fn add(dice: &mut Dice, plan: &mut Plan, at: Duration) {
    let cells = cells(plan.knobs.seed);
    let Some(Cell { role, session, .. }) = cells.first().copied() else { return };
    let victim = victim(dice, plan, role);
    let stage = match role {
        Role::Learner => learner(dice, plan, victim, at),
        Role::Dead => {
            happens(
                plan,
                at,
                trouble(dice.of(&["crash", "power-loss"]), &[victim], Some(dice.ms(700, 3_000))),
            );
            at + ms(1)
        }
        _ => at,
    };
    let open = window(dice, plan, victim, (role, session), stage);
    let width = (open.to.saturating_sub(open.from)).as_micros() as u64;
    let mut moments: Vec<_> =
        cells.iter().map(|_| open.from + Duration::from_micros(dice.below(width + 1))).collect();
    moments.sort_unstable();
    for (cell, moment) in cells.iter().zip(moments) {
        let everybody = kind(cell.trouble).is_some_and(|kind| kind.processes == 0);
        let moment = if everybody { open.all + Duration::from_micros(dice.below(8_000)) } else { moment };
        aim(dice, plan, (victim, cell.trouble), moment);
    }
    let end = open.to.max(open.all) + ms(500);
    plan.knobs.duration = plan.knobs.duration.max(end);
}

/// Who is in this role, or will be.
fn victim(dice: &mut Dice, plan: &mut Plan, role: Role) -> Target {
    let broker = Target::Broker(dice.between(1, u64::from(plan.knobs.brokers)) as u32);
    let publisher = Target::Publisher(dice.between(1, plan.publishers.len() as u64) as u32);
    let subscriber = Target::Subscriber(dice.between(1, plan.subscribers.len() as u64) as u32);
    match role {
        Role::Primary => Target::Primary,
        Role::Backup => Target::Backup,
        Role::Learner => broker,
        Role::Leader => Target::Leader,
        Role::Follower => {
            plan.knobs.discoveries = plan.knobs.discoveries.max(2);
            Target::Follower
        }
        Role::Publisher => publisher,
        Role::Subscriber => subscriber,
        // If it lives after all, it is one that every trouble may strike.
        Role::Dead => dice.of(&[broker, Target::Discovery(1)]),
    }
}

/// A broker that has to start anew and is kept from the others: it stays out of sync.
fn learner(dice: &mut Dice, plan: &mut Plan, victim: Target, at: Duration) -> Duration {
    happens(plan, at, trouble("crash", &[victim], Some(ms(20))));
    let lasts = Some(plan.knobs.session_timeout * 3);
    for other in (1..=plan.knobs.brokers).map(Target::Broker).filter(|other| *other != victim) {
        happens(plan, at + ms(1), trouble("part", &[victim, other], lasts));
    }
    at + dice.ms(150, 300)
}

/// When the victim's session stands as it should.
struct Window {
    from: Duration,
    to: Duration,
    /// When it does for what strikes the whole coordination service: that must run.
    all: Duration,
}

/// Brings the victim's session into this state.
fn window(
    dice: &mut Dice,
    plan: &mut Plan,
    victim: Target,
    (role, session): (Role, Standing),
    at: Duration,
) -> Window {
    // A client takes its connection for broken after two fifths of the timeout, and gives its session up
    // after seven.
    let timeout = plan.knobs.session_timeout;
    let (silence, gives_up) = (timeout * 2 / 5, timeout * 7 / 5);
    match (role, session) {
        (Role::Publisher | Role::Subscriber | Role::Dead, _) | (_, Standing::Connected) => {
            Window { from: at, to: at + ms(200), all: at }
        }
        // It leads until it notices.
        (Role::Leader, Standing::Suspended) => {
            cut_off(dice, plan, victim, at, timeout);
            Window { from: at + ms(1), to: at + silence * 4 / 5, all: at + silence / 2 }
        }
        // It is so slow that it has not come to notice.
        (Role::Leader, Standing::None) => {
            let slow = timeout * 11 / 5 + ms(500);
            let cut = at + ms(400);
            let (kind, lasts) = (known("slow"), Some(timeout * 3));
            let amount = Amount::Time(slow);
            happens(plan, at, Action::Trouble { kind, with: vec![victim], amount, lasts });
            happens(plan, cut, trouble("cut-coordination", &[victim], Some(timeout * 3)));
            let from = cut + gives_up + ms(50);
            Window { from, to: from + timeout / 2, all: from }
        }
        (Role::Learner, Standing::None) => {
            // It never has one: it was cut off when it started.
            let start = at.saturating_sub(ms(400));
            happens(plan, start, trouble("cut-coordination", &[victim], Some(timeout * 2)));
            Window { from: at, to: at + timeout / 2, all: at }
        }
        (_, Standing::Suspended) => {
            let lasts = timeout * 4 / 5;
            if dice.one_in(2) && role != Role::Follower {
                cut_off(dice, plan, victim, at, lasts);
                return Window { from: at + ms(1), to: at + silence * 4 / 5, all: at + silence / 2 };
            }
            happens(plan, at, trouble("stop-coordination", &[], Some(lasts)));
            Window { from: at + ms(150), to: at + lasts, all: at + lasts }
        }
        // Nobody's session expires while the service is down, but they are given up.
        (_, Standing::None) => {
            let lasts = gives_up + timeout / 2;
            happens(plan, at, trouble("stop-coordination", &[], Some(lasts)));
            Window { from: at + gives_up + ms(150), to: at + lasts, all: at + lasts }
        }
    }
}

fn cut_off(dice: &mut Dice, plan: &mut Plan, victim: Target, at: Duration, lasts: Duration) {
    let kind = dice.of(&["cut-coordination", "cut-to-coordination", "cut-from-coordination"]);
    happens(plan, at, trouble(kind, &[victim], Some(lasts)));
}

/// The trouble itself, and before it what makes it more than nothing.
fn aim(dice: &mut Dice, plan: &mut Plan, (victim, name): (Target, &'static str), at: Duration) {
    let lasts = Some(dice.ms(20, 600));
    let Some(this) = kind(name) else {
        let action = match name {
            "shutdown" => Action::Shutdown { who: victim, back: lasts },
            _ => Action::TotalLoss { lasts },
        };
        return happens(plan, at, action);
    };
    let other = dice.of(&[Target::Publisher(1), Target::Subscriber(1), Target::Discovery(1)]);
    let with = [victim, other];
    let before = match name {
        "resume" => Some("pause"),
        "heal" => Some("cut"),
        "heal-coordination" => Some("cut-coordination"),
        _ => None,
    };
    if let Some(before) = before.map(known) {
        let with = &with[..before.processes];
        happens(plan, at.saturating_sub(ms(5)), trouble(before.name, with, Some(ms(700))));
    }
    if name == "limit-memory" {
        // Memory that runs out spares nobody.
        plan.knobs.unsparing = true;
    }
    happens(plan, at, trouble(name, &with[..this.processes], lasts));
}
