//! Schedules about who leads, and who is to know of it: each is a few events that belong together.

use super::generate::{Dice, happens};
use super::kinds::Amount;
use super::targeted::{between, soon, strikes, trouble, when, with_outbox};
use super::{Action, Plan, Target};
use crate::random::Span;
use std::time::Duration;
use steadfast_core::filter::Topic;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// R14, R20: a primary that is alone in its set takes a member in and does not hear that it has. It hears of nobody
/// from then on but of clients, who hear of nobody else.
pub(super) fn alone_with_a_newcomer(dice: &mut Dice, plan: &mut Plan, at: Duration) {
    let Some(subscriber) = plan.subscribers.first().map(|subscriber| subscriber.number) else { return };
    (plan.knobs.brokers, plan.knobs.min_in_sync) = (2, 1);
    plan.knobs.session_timeout = dice.ms(800, 1_200);
    plan.knobs.lag_margin = dice.ms(200, 400);
    let (at, lasts) = (at.min(dice.ms(700, 3_000)), dice.ms(5_000, 7_000));
    plan.knobs.duration = plan.knobs.duration.max(at + lasts + ms(1_500));
    strikes(plan, at, "crash", Target::Backup, Some(dice.ms(100, 1_000)));
    let cue = ("Proposed(Expand)", Duration::ZERO);
    let mut cut = |kind, who, whom| when(plan, at, cue, trouble(kind, who, whom, Some(lasts)));
    cut("cut-from-coordination", Target::It, None);
    for broker in 1..=2 {
        cut("part", Target::It, Some(Target::Broker(broker)));
    }
    for replica in 1..=plan.knobs.discoveries {
        let whom = Some(Target::Discovery(replica));
        when(plan, at, cue, trouble("part", Target::Subscriber(subscriber), whom, Some(lasts)));
    }
}

/// R2: a broker takes the lead and hears nobody from then on, but reaches the tree. It stays in the set where too
/// few would be left without it, and for good where only a core is put right.
pub(super) fn deaf_successor(dice: &mut Dice, plan: &mut Plan, at: Duration) {
    (plan.knobs.brokers, plan.knobs.min_in_sync) = (3, 2);
    plan.knobs.core_only = true;
    let at = at.min(dice.ms(700, 3_000));
    let back = dice.ms(1, 500);
    match dice.below(2) {
        0 => happens(plan, at, Action::Shutdown { who: Target::Primary, back: Some(back) }),
        _ => strikes(plan, at, "crash", Target::Primary, Some(back)),
    }
    let lasts = dice.ms(5_000, 8_000);
    when(plan, at, ("Proposed(Promote)", soon(dice)), trouble("deafen", Target::It, None, Some(lasts)));
    plan.knobs.duration = at + dice.ms(1_000, 4_000);
}

/// R2: two pairs of brokers do not hear each other, the tree hears all of them, and a fifth one as well. Where only a
/// core is put right, some of that lasts for good.
pub(super) fn pairs_apart(dice: &mut Dice, plan: &mut Plan, at: Duration) {
    (plan.knobs.brokers, plan.knobs.min_in_sync) = (5, dice.of(&[1, 2]));
    plan.knobs.core_only = true;
    let at = at.max(ms(700)).min(dice.ms(700, 3_000));
    let bridge = dice.between(1, 5) as u32;
    let others: Vec<_> = (1..=5).filter(|broker| *broker != bridge).map(Target::Broker).collect();
    for (one, another) in [(0, 1), (0, 2), (3, 1), (3, 2)] {
        let kind = dice.of(&["part", "part", "cut"]);
        let whom = Some(others[another]);
        let moment = at + dice.ms(0, 300);
        happens(plan, moment, trouble(kind, others[one], whom, None));
    }
    plan.knobs.duration = at + dice.ms(500, 6_000);
}

/// R10, R28: records of a session come when its successor is in the log and cannot be committed: the backup sleeps.
pub(super) fn records_before_their_end(dice: &mut Dice, plan: &mut Plan, at: Duration) {
    let Some(publisher) = with_outbox(plan) else { return };
    let who = Target::Publisher(publisher);
    plan.knobs.brokers = plan.knobs.brokers.max(2);
    let mut at = at.max(ms(700));
    for _ in 0..dice.between(1, 3) {
        let topic = Topic::new("late").expect("a valid topic");
        happens(plan, at, Action::Publish { publisher, topic, count: 20, every: ms(5) });
        let late = dice.between(150, 400);
        happens(plan, at, between("delay", who, Target::Primary, Amount::Time(ms(late)), None));
        let dies = at + dice.ms(20, 100);
        strikes(plan, dies, "crash", who, Some(dice.ms(0, 20)));
        strikes(plan, dies, "pause", Target::Backup, Some(ms(late + 100)));
        at += ms(late) + dice.ms(1_000, 2_000);
    }
    plan.knobs.duration = plan.knobs.duration.max(at);
}

/// R34: a backup was told to leave and has taken its live node away, its primary cannot drop it and dies.
pub(super) fn leaves_with_the_only_copy(dice: &mut Dice, plan: &mut Plan, at: Duration) {
    (plan.knobs.brokers, plan.knobs.min_in_sync, plan.knobs.unsparing) = (2, 1, true);
    plan.knobs.session_timeout = dice.ms(800, 1_200);
    let (at, lasts) = (at.min(dice.ms(700, 3_000)), dice.ms(6_000, 8_000));
    plan.knobs.duration = plan.knobs.duration.max(at + lasts);
    strikes(plan, at, "cut-coordination", Target::Primary, Some(lasts));
    let asked = at + dice.ms(1, 100);
    happens(plan, asked, Action::Shutdown { who: Target::Backup, back: Some(dice.ms(1, 1_500)) });
    let kind = dice.of(&["crash", "power-loss", "isolate"]);
    strikes(plan, asked + dice.ms(1, 300), kind, Target::Primary, Some(lasts));
}

/// R32, R35: somebody starts a second process of a broker's node. It counts, being later, and one of the two dies or
/// is cut off in the middle of that.
pub(super) fn second_process(dice: &mut Dice, plan: &mut Plan, at: Duration) {
    plan.knobs.brokers = plan.knobs.brokers.min(3);
    let broker = dice.between(1, u64::from(plan.knobs.brokers)) as u32;
    let at = at.max(ms(700));
    let lasts = dice.ms(300, 6_000);
    happens(plan, at, Action::SecondProcess { broker, lasts });
    plan.knobs.duration = plan.knobs.duration.max(at + lasts);
    if dice.one_in(2) {
        let who = dice.of(&[Target::Broker(broker), Target::Primary, Target::Backup]);
        let kind = dice.of(&["crash", "pause", "isolate", "cut-coordination"]);
        strikes(plan, at + dice.ms(0, 1_500), kind, who, Some(dice.outage()));
    }
}

/// R12, R13: a member acknowledges and does not move, because its storage completes nothing. Who goes on without it
/// is to do so for good where only a core is put right.
pub(super) fn stalled_member(dice: &mut Dice, plan: &mut Plan, at: Duration) {
    plan.knobs.session_timeout = dice.ms(800, 1_500);
    let (at, lasts) = (at.max(ms(700)), dice.ms(300, 9_000));
    let who = dice.of(&[Target::Backup, Target::Backup, Target::Primary, Target::Broker(1)]);
    match dice.below(3) {
        // On its way into the set, under load: commits wait for it, for a while.
        0 => {
            plan.knobs.core_only = true;
            plan.knobs.storage = Span::new(Duration::ZERO, dice.ms(5, 20));
            let topic = Topic::new("load").expect("a valid topic");
            happens(plan, at, Action::Publish { publisher: 1, topic, count: 200, every: ms(3) });
            strikes(plan, at, "crash", Target::Backup, Some(dice.ms(10, 300)));
            let cue = (dice.of(&["FollowerAttached", "BecameBackup"]), dice.ms(0, 100));
            let whom = dice.of(&[Target::It, Target::Backup, Target::Broker(2)]);
            when(plan, at, cue, trouble("stop-storing", whom, None, Some(lasts)));
        }
        _ => strikes(plan, at, "stop-storing", who, Some(lasts)),
    }
    plan.knobs.duration = plan.knobs.duration.max(at + dice.ms(500, 3_000));
}

/// R5: a backup hears nothing of the tree, and then of a primary of a reign that it does not know.
pub(super) fn unaware_backup(dice: &mut Dice, plan: &mut Plan, at: Duration) {
    plan.knobs.brokers = 3;
    plan.knobs.session_timeout = dice.ms(5_000, 10_000);
    let (at, lasts) = (at.clamp(ms(700), ms(3_000)), dice.ms(4_000, 8_000));
    strikes(plan, at, "cut-coordination", Target::Backup, Some(lasts));
    strikes(plan, at + dice.ms(50, 300), "pause", Target::Primary, Some(dice.ms(400, 1_500)));
    strikes(plan, at + dice.ms(1_500, 3_000), "crash", Target::Primary, Some(dice.ms(500, 4_000)));
    plan.knobs.duration = plan.knobs.duration.max(at + lasts + ms(1_000));
}

/// R12, R34: a primary that is told to leave hears no member of its set, and one of them dies.
pub(super) fn gone_behind_the_silent(dice: &mut Dice, plan: &mut Plan, at: Duration) {
    (plan.knobs.brokers, plan.knobs.min_in_sync) = (dice.of(&[3, 4]), 1);
    plan.knobs.session_timeout = dice.ms(800, 1_200);
    let (at, lasts) = (at.clamp(ms(1_000), ms(3_000)), dice.ms(6_000, 8_000));
    strikes(plan, at, "deafen", Target::Primary, Some(lasts));
    let asked = at + dice.ms(1, 300);
    happens(plan, asked, Action::Shutdown { who: Target::Primary, back: Some(dice.ms(1, 1_500)) });
    let dies = Target::Broker(dice.between(1, u64::from(plan.knobs.brokers)) as u32);
    strikes(plan, asked + dice.ms(0, 1_500), "crash", dies, Some(lasts));
    plan.knobs.duration = plan.knobs.duration.max(at + lasts);
}
