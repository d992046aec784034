//! Schedules that aim at clients: what only two processes with one outbox show, or a client that hears a part of
//! what it is told.

use super::generate::{self, Dice, happens};
use super::kinds::Amount;
use super::targeted::{between, soon, strikes, trouble, when, with_outbox};
use super::{Action, Again, Knobs, Plan, Target};
use crate::random::Span;
use std::time::Duration;
use steadfast_core::broker::OnTotalLoss;
use steadfast_core::filter::{Filter, Topic};
use steadfast_core::limits::MAX_SCAN;

/// The first number of a process that begins with a copy of another one's outbox.
const FIRST_COPY: u32 = 9;

/// Adds one of them.
pub(super) fn add(dice: &mut Dice, plan: &mut Plan, at: Duration) {
    match dice.below(14) {
        0 | 1 => copied_outbox(dice, plan, at),
        2 => deaf_to_the_end(dice, plan, at),
        3 => expires_uncommitted(dice, plan, at),
        4 => sent_away_in_silence(dice, plan, at),
        5 | 13 => copy_in_two_histories(dice, plan, at),
        6 => look_ups_in_vain(dice, plan, at),
        7 | 8 => closes_in_a_failover(dice, plan, at),
        9 | 10 => grants_in_silence(dice, plan, at),
        _ => word_of_the_cut_off(dice, plan, at),
    }
}

/// R26: what a client asks discovery first cannot be read there. Their connection lives on.
fn look_ups_in_vain(dice: &mut Dice, plan: &mut Plan, at: Duration) {
    let clients = plan.clients();
    if clients.is_empty() {
        return;
    }
    let (who, back) = (dice.of(&clients), dice.ms(1, 50));
    strikes(plan, at, "crash", who, Some(back));
    let lasts = Some(back + dice.ms(10, 60));
    for replica in 1..=plan.knobs.discoveries {
        let unread = between("damage", who, Target::Discovery(replica), Amount::Number(1_000), lasts);
        happens(plan, at, unread);
    }
}

/// R30: a subscriber joins when its broker has more for it to look at than in one step, and nothing is committed after
/// that which would have it go on.
pub(super) fn joins_behind_a_backlog(dice: &mut Dice, plan: &mut Plan) {
    let (Some(publisher), Some(subscriber)) = (plan.publishers.first(), plan.subscribers.first_mut()) else {
        return;
    };
    let (publisher, at) = (publisher.number, plan.knobs.duration);
    subscriber.filters = vec![Filter::new("rare").expect("a valid filter")];
    (subscriber.joins, subscriber.latest) = (at + Duration::from_secs(3), false);
    let (number, both) =
        (subscriber.number, [Target::Publisher(publisher), Target::Subscriber(subscriber.number)]);
    // Both are there, and nothing is wrong with them.
    plan.events.retain(|event| match &event.action {
        Action::Close { who } => !both.contains(who),
        Action::Trouble { with, .. } => with.iter().all(|who| !both.contains(who)),
        Action::Pace { subscriber, .. } => *subscriber != number,
        _ => true,
    });
    let default = Knobs::default();
    plan.knobs = Knobs {
        duration: at + Duration::from_millis(4_500),
        // With more of them it would be too much for a second.
        brokers: plan.knobs.brokers.min(2),
        payload: 20,
        batch_bytes: 1,
        window_frames: 512,
        queue_records: default.queue_records,
        uncommitted_bytes: default.uncommitted_bytes,
        retention_bytes: default.retention_bytes,
        retention_records: default.retention_records,
        retention_age: default.retention_age,
        latency: default.latency,
        ..plan.knobs.clone()
    };
    let topic = |text| Topic::new(text).expect("a valid topic");
    let (count, every) = (MAX_SCAN as u64 + 200, Duration::from_micros(400));
    happens(plan, at, Action::Publish { publisher, topic: topic("often"), count, every });
    let rare = Action::Publish { publisher, topic: topic("rare"), count: 1, every };
    happens(plan, at + dice.ms(2_000, 2_500), rare);
}

/// R20: a primary has more committed than its subscriber can read at once, and falls silent, alone with it: what
/// discovery says of the successor does not come either.
fn grants_in_silence(dice: &mut Dice, plan: &mut Plan, at: Duration) {
    let (Some(publisher), Some(subscriber)) = (plan.publishers.first(), plan.subscribers.first_mut()) else {
        return;
    };
    let (publisher, number) = (publisher.number, subscriber.number);
    let topic = Topic::new("a.b").expect("a valid topic");
    subscriber.filters = vec![Filter::new(">").expect("a valid filter")];
    (subscriber.joins, subscriber.latest) = (Duration::ZERO, false);
    (plan.knobs.brokers, plan.knobs.min_in_sync) = (2, 1);
    plan.knobs.session_timeout = dice.ms(800, 1_500);
    plan.knobs.payload = dice.between(1_000, 4_000) as usize;
    plan.knobs.credit_bytes = dice.between(500, 4_000);
    let Knobs { retention_bytes, retention_records, retention_age, .. } = Knobs::default();
    plan.knobs = Knobs { retention_bytes, retention_records, retention_age, ..plan.knobs.clone() };
    let at = at.clamp(Duration::from_millis(1_500), Duration::from_secs(4));
    let before = at - Duration::from_millis(1_200);
    happens(plan, before, Action::Publish { publisher, topic, count: 110, every: dice.ms(5, 20) });
    happens(plan, before, Action::Pace { subscriber: number, late: Some(dice.ms(80, 250)) });
    let lasts = Some(plan.knobs.session_timeout + dice.ms(4_000, 7_000));
    for replica in 1..=plan.knobs.discoveries {
        strikes(plan, at, "cut-coordination", Target::Discovery(replica), lasts);
    }
    strikes(plan, at, "cut-coordination", Target::Primary, lasts);
    plan.knobs.duration = plan.knobs.duration.max(at + Duration::from_secs(8));
}

/// R29, R30, R34: applications close while what they have published is under way, and the primary is asked to leave
/// by a frame, or dies.
fn closes_in_a_failover(dice: &mut Dice, plan: &mut Plan, at: Duration) {
    let at = at.clamp(Duration::from_millis(700), Duration::from_secs(4));
    let back = Some(dice.ms(1, 1_500));
    match dice.below(3) {
        0 => happens(plan, at, Action::Drain { who: Target::Primary, back }),
        1 => strikes(plan, at, "crash", Target::Primary, back),
        _ => when(plan, at, ("HandoverBegan", soon(dice)), Action::Drain { who: Target::Backup, back }),
    }
    if let Some(publisher) = plan.publishers.first().map(|publisher| publisher.number) {
        let topic = Topic::new("last").expect("a valid topic");
        let before = at.saturating_sub(dice.ms(0, 100));
        happens(plan, before, Action::Publish { publisher, topic, count: 60, every: dice.ms(1, 10) });
        happens(plan, at + dice.ms(0, 300), Action::Close { who: Target::Publisher(publisher) });
        // With an outbox the next process goes on with what is left.
        if dice.one_in(2) {
            let dies = at + dice.ms(0, 400);
            strikes(plan, dies, "crash", Target::Publisher(publisher), Some(dice.ms(1, 200)));
        }
    }
    if let Some(subscriber) = plan.subscribers.first().map(|subscriber| subscriber.number) {
        let who = Target::Subscriber(subscriber);
        match dice.one_in(2) {
            true => happens(plan, at + dice.ms(0, 300), Action::Close { who }),
            false => when(plan, at, ("StreamOpened", soon(dice)), Action::Close { who }),
        }
    }
    plan.knobs.duration = plan.knobs.duration.max(at + Duration::from_secs(2));
}

/// R28: a publisher begins anew and is then not heard of for so long that the session it has asked for expires before
/// it is committed; it asks again, and all of that is committed at once.
fn expires_uncommitted(dice: &mut Dice, plan: &mut Plan, at: Duration) {
    let Some(publisher) = plan.publishers.first().map(|publisher| publisher.number) else { return };
    let who = Target::Publisher(publisher);
    plan.knobs.brokers = plan.knobs.brokers.max(2);
    plan.knobs.session_expiry = dice.ms(300, 500);
    // Its link lives on, and the request that it repeats arrives when the other one has expired.
    plan.knobs.client_suspicion = plan.knobs.client_suspicion.max(Duration::from_secs(2));
    plan.knobs.ack_timeout = dice.ms(150, 350);
    let at = at.clamp(Duration::from_millis(700), Duration::from_secs(4));
    let topic = Topic::new("late").expect("a valid topic");
    happens(plan, at, Action::Publish { publisher, topic, count: 40, every: Duration::from_millis(50) });
    let uncommitted = Some(dice.ms(1_300, 1_800));
    happens(plan, at, trouble("cut", Target::Backup, Some(Target::Primary), uncommitted));
    strikes(plan, at + dice.ms(1, 50), "crash", who, Some(dice.ms(1, 50)));
    strikes(plan, at + dice.ms(150, 250), "isolate", who, Some(plan.knobs.session_expiry + dice.ms(50, 250)));
    plan.knobs.duration = plan.knobs.duration.max(at + Duration::from_secs(4));
}

/// R29: a publisher is away for almost as long as its session lives, and then comes to a primary that has fallen silent
/// and sends it away. When that one speaks again the time is up.
fn sent_away_in_silence(dice: &mut Dice, plan: &mut Plan, at: Duration) {
    let Some(publisher) = with_outbox(plan) else { return };
    (plan.knobs.brokers, plan.knobs.min_in_sync) = (2, 1);
    let expiry = dice.ms(2_600, 3_500);
    plan.knobs.session_expiry = expiry;
    let at = at.clamp(Duration::from_millis(700), Duration::from_secs(4));
    let again = expiry + dice.ms(200, 500);
    let outage = Some(again + Duration::from_millis(500));
    happens(plan, at, generate::trouble("stop-coordination", &[], outage));
    happens(plan, at, trouble("part", Target::Primary, Some(Target::Backup), Some(again)));
    let away = expiry.saturating_sub(dice.ms(100, 400));
    strikes(plan, at + dice.ms(50, 150), "crash", Target::Publisher(publisher), Some(away));
    plan.knobs.duration = plan.knobs.duration.max(at + again + Duration::from_secs(2));
}

/// R27, R28, R19: of two processes with one outbox one has begun a session in a new history, and the other is about to
/// continue it, when that history is given up as well; a subscriber waits for what it has read of it.
fn copy_in_two_histories(dice: &mut Dice, plan: &mut Plan, at: Duration) {
    let Some(publisher) = with_outbox(plan) else { return };
    (plan.knobs.brokers, plan.knobs.on_total_loss) = (plan.knobs.brokers.min(3), OnTotalLoss::default());
    plan.knobs.storage = Span::new(Duration::ZERO, dice.ms(5, 25));
    let at = at.clamp(Duration::from_millis(700), Duration::from_secs(3));
    if let Some(subscriber) = plan.subscribers.first().map(|subscriber| subscriber.number) {
        let before = at - Duration::from_millis(500);
        let topic = Topic::new("a.b").expect("a valid topic");
        plan.knobs.credit_bytes = dice.between(64, 600);
        happens(plan, before, Action::Publish { publisher, topic, count: 80, every: dice.ms(3, 8) });
        happens(plan, before, Action::Pace { subscriber, late: Some(dice.ms(20, 300)) });
        happens(plan, before, Action::ReadHeads { subscriber, count: 400, every: dice.ms(2, 10) });
    }
    happens(plan, at, Action::TotalLoss { lasts: Some(dice.ms(50, 300)) });
    happens(plan, at + dice.ms(1, 50), Action::CopyOutbox { publisher, to: FIRST_COPY });
    let again = Action::TotalLoss { lasts: Some(dice.ms(50, 300)) };
    when(plan, at, ("SessionOpened", dice.ms(0, 60)), again);
    plan.knobs.duration = plan.knobs.duration.max(at + Duration::from_secs(4));
}

/// R26: a replica of discovery and the primary are cut off from everybody but clients, for good: the one goes on naming
/// the other, which accepts links and does nothing. Clients of its successor begin anew, and may come to it (R10, R11, R29).
fn word_of_the_cut_off(dice: &mut Dice, plan: &mut Plan, at: Duration) {
    (plan.knobs.discoveries, plan.knobs.core_only) = (plan.knobs.discoveries.max(2), true);
    (plan.knobs.brokers, plan.knobs.min_in_sync) = (plan.knobs.brokers.max(2), 1);
    let at = at.clamp(Duration::from_millis(700), Duration::from_secs(4));
    let replica = Target::Discovery(dice.between(1, u64::from(plan.knobs.discoveries)) as u32);
    strikes(plan, at, "cut-coordination", replica, None);
    strikes(plan, at, "cut-coordination", Target::Primary, None);
    for broker in 1..=plan.knobs.brokers {
        happens(plan, at, trouble("part", Target::Primary, Some(Target::Broker(broker)), None));
    }
    // Some of its last records it has sent and never hears to be committed; somewhere there the subscriber goes on.
    if let Some(last) = plan.publishers.last().map(|publisher| publisher.number) {
        // Each of them stands for itself, and has room.
        let Knobs { retention_bytes, uncommitted_bytes, .. } = Knobs::default();
        (plan.knobs.retention_bytes, plan.knobs.uncommitted_bytes) = (retention_bytes, uncommitted_bytes);
        (plan.knobs.batch_bytes, plan.knobs.window_frames) = (1, 64);
        let before = at - Duration::from_millis(60);
        let topic = Topic::new("last").expect("a valid topic");
        let every = Duration::from_micros(1_500);
        happens(plan, before, Action::Publish { publisher: last, topic, count: 40, every });
        for broker in 1..=plan.knobs.brokers {
            let cut = trouble("cut", Target::Broker(broker), Some(Target::Primary), None);
            happens(plan, before + dice.ms(10, 50), cut);
        }
    }
    let subscriber = plan.subscribers.first_mut().map(|subscriber| {
        subscriber.filters = vec![Filter::new("last").expect("a valid filter")];
        (subscriber.joins, subscriber.again) = (Duration::ZERO, Again::Behind(dice.between(0, 20) as u32));
        Target::Subscriber(subscriber.number)
    });
    let publisher = with_outbox(plan).map(Target::Publisher);
    for client in publisher.into_iter().chain(subscriber) {
        for _ in 0..dice.between(1, 4) {
            let dies = at + dice.ms(300, 3_000);
            strikes(plan, dies, "crash", client, Some(dice.ms(1, 20)));
        }
    }
    plan.knobs.duration = plan.knobs.duration.max(at + plan.knobs.session_timeout + Duration::from_secs(4));
}

/// Scenario 33: another process begins with a copy of an outbox, and both publish on. The first one lives, or is
/// dead for a moment, so that both ask for its session.
fn copied_outbox(dice: &mut Dice, plan: &mut Plan, at: Duration) {
    let Some(publisher) = with_outbox(plan) else { return };
    let who = Target::Publisher(publisher);
    // What is asked of storage is not done at once: a copy is taken in the middle of it.
    plan.knobs.storage = Span::new(Duration::ZERO, dice.ms(1, 25));
    let mut at = at.max(Duration::from_millis(700));
    for copy in FIRST_COPY..FIRST_COPY + dice.between(1, 2) as u32 {
        let goes_on = |plan: &mut Plan, publisher, at, every| {
            let topic = Topic::new("copied").expect("a valid topic");
            happens(plan, at, Action::Publish { publisher, topic, count: 40, every });
        };
        goes_on(plan, publisher, at, dice.ms(1, 20));
        let copied = Action::CopyOutbox { publisher, to: copy };
        let taken = at + dice.ms(0, 300);
        match dice.below(4) {
            // Both live.
            0 => happens(plan, taken, copied),
            // Both begin at about the same time, with the same word of the session.
            1 => {
                strikes(plan, taken, "crash", who, Some(dice.ms(0, 5)));
                happens(plan, taken + dice.ms(0, 3), copied);
            }
            // The first one has asked for its session and not heard yet: both have that request.
            2 => {
                let lag = dice.between(60, 300);
                let far = Amount::Time(Duration::from_millis(lag));
                happens(plan, taken, between("lag", who, Target::Primary, far, Some(dice.ms(400, 900))));
                strikes(plan, taken, "crash", who, Some(dice.ms(0, 5)));
                when(plan, taken, ("Attached", dice.ms(0, lag)), copied);
            }
            // The first one has just got its session.
            _ => {
                strikes(plan, taken, "crash", who, Some(dice.ms(0, 5)));
                when(plan, taken, ("SessionOpened", soon(dice)), copied);
            }
        }
        goes_on(plan, copy, taken + dice.ms(0, 400), dice.ms(1, 20));
        if dice.one_in(2) {
            let either = dice.of(&[who, Target::Publisher(copy)]);
            let kind = dice.of(&["crash", "pause", "isolate"]);
            happens(plan, taken + dice.ms(0, 600), trouble(kind, either, None, Some(dice.outage())));
        }
        at = taken + dice.ms(500, 1_500);
    }
    plan.knobs.duration = plan.knobs.duration.max(at);
}

/// R30: a primary that steps down tells its subscribers so, and one does not hear it, nor what discovery says; the
/// next who leads is the same process again. The link lives, and no stream is on it any more.
fn deaf_to_the_end(dice: &mut Dice, plan: &mut Plan, at: Duration) {
    let Some(subscriber) = plan.subscribers.first().map(|subscriber| subscriber.number) else { return };
    let (who, ms) = (Target::Subscriber(subscriber), Duration::from_millis);
    // Whoever is deposed stays in the set of two, so that the lead can change fast.
    (plan.knobs.brokers, plan.knobs.min_in_sync) = (2, 2);
    plan.knobs.session_timeout = plan.knobs.session_timeout.max(ms(2_000));
    plan.knobs.suspicion = dice.ms(250, 400);
    // It waits for its primary for as long as that sleeps.
    plan.knobs.client_suspicion = ms(4_000);
    let (first, asleep) = (at.clamp(ms(1_000), ms(3_000)), plan.knobs.suspicion + dice.ms(200, 350));
    let second = first + asleep + dice.ms(400, 800);
    let end = second + asleep + ms(300);
    let all = Amount::Number(1_000);
    // What is only held back would tell it in the end.
    for replica in 1..=plan.knobs.discoveries {
        let unheard = between("damage", Target::Discovery(replica), who, all, Some(end - first));
        happens(plan, first, unheard);
    }
    happens(plan, first, between("damage", Target::Primary, who, all, Some(asleep + dice.ms(20, 250))));
    strikes(plan, first, "pause", Target::Primary, Some(asleep));
    strikes(plan, second, "pause", Target::Primary, Some(asleep));
    plan.knobs.duration = plan.knobs.duration.max(end);
}
