//! Schedules that provoke what faults alone seldom lead to: an outcome of a change of the group's state, a
//! refusal, a limit. Each arranges the settings that it needs.

use super::generate::{Dice, happens, trouble};
use super::kinds::{Amount, known};
use super::knobs::Knobs;
use super::{Action, Cue, Event, Plan, Target};
use std::time::Duration;
use steadfast_core::broker::OnTotalLoss;
use steadfast_core::filter::Topic;
use steadfast_core::log::Codec;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Adds one of them.
pub(super) fn add(dice: &mut Dice, plan: &mut Plan, at: Duration) {
    // The group stands by then, mostly.
    let at = at.max(ms(700));
    match dice.below(20) {
        0..=6 => answer_lost(dice, plan, at),
        7..=9 => replacement_overtaken(dice, plan, at),
        10..=12 => loss_overtaken(dice, plan, at),
        13 | 14 => expired_session_asked_for_twice(dice, plan, at),
        15 | 16 => primary_alone(dice, plan, at),
        17 | 18 => sick_primary(dice, plan, at),
        _ => learner_under_load(dice, plan, at),
    }
    plan.knobs.duration = plan.knobs.duration.max(at + ms(5_000));
}

/// Something strikes whoever comes to this mark, so long after.
fn when(plan: &mut Plan, at: Duration, (mark, after): (&str, Duration), kind: &str, lasts: Duration) {
    let on = Some(Cue { mark: mark.to_owned(), after });
    plan.events.push(Event { at, on, action: trouble(kind, &[Target::It], Some(lasts)) });
}

/// Scenario 4: a change of each kind, and its answer does not come.
fn answer_lost(dice: &mut Dice, plan: &mut Plan, at: Duration) {
    let crash = |who, lasts| trouble("crash", &[who], Some(lasts));
    let mark = match dice.below(6) {
        0 => {
            let kind = dice.of(&["pause", "isolate", "crash"]);
            happens(plan, at, trouble(kind, &[Target::Primary], Some(ms(3_000))));
            "Proposed(Promote)"
        }
        1 => {
            happens(plan, at, crash(Target::Backup, ms(3_000)));
            "Proposed(Shrink)"
        }
        2 => {
            happens(plan, at, crash(Target::Backup, dice.ms(1, 300)));
            "Proposed(Expand)"
        }
        3 => {
            (plan.knobs.min_in_sync, plan.knobs.brokers) = (2, 2);
            happens(plan, at, crash(Target::Backup, dice.ms(1, 20)));
            "Proposed(Replace)"
        }
        4 => {
            plan.knobs.unsparing = true;
            for broker in 1..=plan.knobs.brokers {
                let back = Some(dice.ms(500, 2_000));
                happens(plan, at, Action::Shutdown { who: Target::Broker(broker), back });
            }
            "Proposed(GiveUp)"
        }
        _ => {
            plan.knobs.on_total_loss = OnTotalLoss::Reset;
            happens(plan, at, Action::TotalLoss { lasts: Some(dice.ms(1, 500)) });
            "Proposed(Reset)"
        }
    };
    let after = Duration::from_micros(dice.below(500));
    when(plan, at, (mark, after), "drop-coordination", ms(1));
}

/// R35: a backup that has asked for the lead dies and is back at once. Its new process is to take the old
/// one's place, but that one's own write is still under way, and comes first.
fn replacement_overtaken(dice: &mut Dice, plan: &mut Plan, at: Duration) {
    (plan.knobs.min_in_sync, plan.knobs.brokers) = (2, 2);
    happens(plan, at, trouble("deafen", &[Target::Backup], Some(plan.knobs.suspicion + ms(60))));
    when(plan, at, ("Proposed(Promote)", Duration::ZERO), "crash", dice.ms(1, 20));
    when(plan, at, ("Proposed(Replace)", Duration::ZERO), "cut-to-coordination", ms(1_500));
}

/// R27a: who leaves last declares the data lost and does not hear that it has; another one, which could
/// not copy anything, begins anew before it does.
fn loss_overtaken(dice: &mut Dice, plan: &mut Plan, at: Duration) {
    plan.knobs.unsparing = true;
    (plan.knobs.min_in_sync, plan.knobs.brokers) = (1, 2);
    happens(plan, at, trouble("crash", &[Target::Backup], Some(ms(300))));
    let ways = [Target::Broker(1), Target::Broker(2)];
    happens(plan, at + ms(100), trouble("part", &ways, Some(ms(3_000))));
    let back = Some(dice.ms(1, 2_000));
    happens(plan, at + ms(700), Action::Shutdown { who: Target::Primary, back });
    when(plan, at, ("Proposed(GiveUp)", Duration::ZERO), "cut-from-coordination", dice.ms(1_000, 1_500));
}

/// R29: a publisher names its session, which expires before the request arrives; it has asked again by
/// then, and is refused twice.
fn expired_session_asked_for_twice(dice: &mut Dice, plan: &mut Plan, at: Duration) {
    plan.knobs.session_expiry = dice.ms(300, 1_000);
    plan.knobs.client_suspicion = ms(4_000);
    happens(plan, at, trouble("reset", &[Target::Publisher(1), Target::Primary], None));
    let on = Some(Cue { mark: "Attached".to_owned(), after: Duration::ZERO });
    let held = trouble("cut", &[Target::It, Target::Primary], Some(dice.ms(2_100, 2_600)));
    plan.events.push(Event { at, on, action: held });
}

/// Scenario 1: a primary has clients, and neither a backup nor the coordination service.
fn primary_alone(dice: &mut Dice, plan: &mut Plan, at: Duration) {
    let lasts = Some(dice.ms(300, 6_000));
    let kind = dice.of(&["cut-coordination", "cut-to-coordination", "cut-from-coordination"]);
    happens(plan, at, trouble(kind, &[Target::Primary], lasts));
    // By number: once another one is primary, the name means that one.
    for broker in (1..=plan.knobs.brokers).map(Target::Broker) {
        happens(plan, at + dice.ms(0, 20), trouble("part", &[Target::Primary, broker], lasts));
    }
}

/// Scenario 9: a primary that hears nobody drops its backups when they have been silent for long enough,
/// and then dies.
fn sick_primary(dice: &mut Dice, plan: &mut Plan, at: Duration) {
    let lag = plan.knobs.session_timeout + plan.knobs.lag_margin;
    let kind = dice.of(&["deafen", "stop-reading"]);
    let lasts = lag + dice.ms(0, 1_000);
    happens(plan, at, trouble(kind, &[Target::Primary], Some(lasts)));
    happens(plan, at + lasts, trouble("crash", &[Target::Primary], Some(dice.ms(1, 2_000))));
}

/// R17, scenario 25: a broker comes back that copies more slowly than is published.
fn learner_under_load(dice: &mut Dice, plan: &mut Plan, at: Duration) {
    let Knobs { retention_bytes, retention_records, retention_age, uncommitted_bytes, log_spare, .. } =
        Knobs::default();
    // What a publisher sends by itself, one at a time, is no load; and what a subscriber takes by itself takes too long.
    let Knobs { batch_bytes, window_bytes, window_frames, credit_bytes, .. } = Knobs::default();
    plan.knobs = Knobs {
        batch_bytes,
        window_bytes,
        window_frames,
        credit_bytes,
        retention_bytes,
        retention_records,
        retention_age,
        uncommitted_bytes,
        log_spare,
        payload: 60 << 10,
        compression: Codec::None,
        ..plan.knobs.clone()
    };
    let learner = Target::Broker(dice.between(1, u64::from(plan.knobs.brokers)) as u32);
    happens(plan, at, trouble("crash", &[learner], Some(ms(50))));
    let (kind, amount, lasts) = (known("slow"), Amount::Time(dice.ms(30, 60)), Some(ms(5_000)));
    happens(plan, at + ms(60), Action::Trouble { kind, with: vec![learner], amount, lasts });
    let topic = Topic::new("load").expect("a valid topic");
    let load = Action::Publish { publisher: 1, topic, count: 450, every: ms(8) };
    happens(plan, at.saturating_sub(ms(200)), load);
}
