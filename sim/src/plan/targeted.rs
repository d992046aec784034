//! Schedules that aim at what uniform faults seldom hit: each is a few events that belong together.

use super::generate::{Dice, happens, within};
use super::kinds::{Amount, known};
use super::{Action, Again, Cue, Event, Plan, Target, reigns};
use crate::random::Span;
use std::time::Duration;
use steadfast_core::filter::{Filter, Topic};

type Schedule = fn(&mut Dice, &mut Plan, Duration);

/// All of them.
const SCHEDULES: [Schedule; 38] = [
    crash_after_a_write,
    cut_off_after_a_write,
    restart_faster_than_the_session,
    pause_past_the_session,
    hold_a_link_past_two_elections,
    one_way_only,
    kill_during_a_snapshot,
    handover_under_a_partition,
    bootstrap_with_a_crash,
    rolling_restart,
    total_loss,
    everybody_leaves,
    crash_in_turns,
    ask_a_deposed_primary,
    die_while_the_other_leaves,
    words_of_the_dead,
    acknowledgements_past_two_elections,
    late_hello,
    alone_with_a_client,
    coordination_outage,
    asks_again,
    records_past_their_session,
    request_past_its_session,
    gives_its_session_up,
    loss_beside_a_witness,
    leaves_while_copied,
    damaged_frames,
    damaged_grants,
    taken_up_within_a_batch,
    reigns::alone_with_a_newcomer,
    reigns::deaf_successor,
    reigns::gone_behind_the_silent,
    reigns::pairs_apart,
    reigns::records_before_their_end,
    reigns::leaves_with_the_only_copy,
    reigns::second_process,
    reigns::stalled_member,
    reigns::unaware_backup,
];

/// Adds one or a few of them.
pub(super) fn add(dice: &mut Dice, plan: &mut Plan) {
    for _ in 0..dice.between(1, 3) {
        let schedule = dice.of(&SCHEDULES);
        let at = within(dice, plan);
        schedule(dice, plan, at);
    }
}

pub(super) fn trouble(kind: &str, who: Target, whom: Option<Target>, lasts: Option<Duration>) -> Action {
    let (kind, with) = (known(kind), [who].into_iter().chain(whom).collect());
    Action::Trouble { kind, with, amount: kind.amount, lasts }
}

pub(super) fn between(
    kind: &str,
    who: Target,
    whom: Target,
    amount: Amount,
    lasts: Option<Duration>,
) -> Action {
    Action::Trouble { kind: known(kind), with: vec![who, whom], amount, lasts }
}

pub(super) fn strikes(plan: &mut Plan, at: Duration, kind: &str, who: Target, lasts: Option<Duration>) {
    happens(plan, at, trouble(kind, who, None, lasts));
}

/// Something strikes when somebody has come to `mark`.
pub(super) fn when(plan: &mut Plan, at: Duration, (mark, after): (&str, Duration), action: Action) {
    plan.events.push(Event { at, on: Some(Cue { mark: mark.to_owned(), after }), action });
}

/// How long after a write: before it can have been answered, mostly.
pub(super) fn soon(dice: &mut Dice) -> Duration {
    Duration::from_micros(dice.of(&[0, 0, 200, 700, 1_500, 4_000]))
}

/// Scenarios 4 and 18: who has sent a change dies before it knows the answer, and is back soon.
fn crash_after_a_write(dice: &mut Dice, plan: &mut Plan, at: Duration) {
    // Something has to call for a change.
    strikes(plan, at, dice.of(&["crash", "pause", "isolate"]), Target::Backup, Some(dice.ms(300, 4_000)));
    for _ in 0..dice.between(1, 3) {
        let cue =
            (dice.of(&["Proposed", "Proposed(Shrink)", "Proposed(Expand)", "Proposed(Promote)"]), soon(dice));
        when(plan, at, cue, trouble("crash", Target::It, None, Some(dice.ms(1, 1_000))));
    }
}

/// Scenario 4: the answer to a change does not come, or the change itself is under way for long.
fn cut_off_after_a_write(dice: &mut Dice, plan: &mut Plan, at: Duration) {
    strikes(plan, at, dice.of(&["crash", "pause", "isolate"]), Target::Backup, Some(dice.ms(300, 4_000)));
    let kind =
        dice.of(&["cut-to-coordination", "cut-from-coordination", "cut-coordination", "drop-coordination"]);
    let cue =
        (dice.of(&["Proposed", "Proposed(Shrink)", "Proposed(Expand)", "Proposed(Promote)"]), soon(dice));
    when(plan, at, cue, trouble(kind, Target::It, None, Some(dice.ms(50, 5_000))));
    if dice.one_in(2) {
        when(
            plan,
            at,
            ("Proposed", dice.ms(0, 300)),
            trouble("pause", Target::It, None, Some(dice.outage())),
        );
    }
}

/// Scenarios 15 and 18: nobody has noticed that the process died when it is back.
fn restart_faster_than_the_session(dice: &mut Dice, plan: &mut Plan, at: Duration) {
    let mut at = at;
    for _ in 0..dice.between(1, 5) {
        let who = dice.of(&[Target::Primary, Target::Primary, Target::Backup]);
        strikes(plan, at, "crash", who, Some(dice.ms(0, 60)));
        at += dice.ms(20, 1_500);
    }
}

/// Scenario 3: a primary sleeps past its session, in the middle of commits, and wakes up.
fn pause_past_the_session(dice: &mut Dice, plan: &mut Plan, at: Duration) {
    let session = plan.knobs.session_timeout.as_millis() as u64;
    let lasts = Some(dice.ms(session, 3 * session));
    strikes(plan, at, "pause", dice.of(&[Target::Primary, Target::Primary, Target::Backup]), lasts);
}

/// Scenario 12: what a primary has sent arrives after two elections.
fn hold_a_link_past_two_elections(dice: &mut Dice, plan: &mut Plan, at: Duration) {
    let (held, brokers) = (dice.ms(1_500, 7_000), u64::from(plan.knobs.brokers));
    let whom = Target::Broker(dice.between(1, brokers) as u32);
    happens(plan, at, trouble("cut", Target::Primary, Some(whom), Some(held)));
    let first = at + dice.ms(10, 600);
    strikes(plan, first, dice.of(&["pause", "crash", "isolate"]), Target::Primary, Some(dice.outage()));
    let second = first + dice.ms(300, 2_500);
    strikes(plan, second, dice.of(&["pause", "crash", "isolate"]), Target::Primary, Some(dice.outage()));
}

/// Scenarios 26 and 37: one hears and is not heard, or the other way round, with some or all others.
fn one_way_only(dice: &mut Dice, plan: &mut Plan, at: Duration) {
    let who = dice.of(&[Target::Primary, Target::Primary, Target::Backup]);
    let lasts = Some(dice.ms(500, 9_000));
    match dice.below(4) {
        0 => strikes(plan, at, "mute", who, lasts),
        1 => strikes(plan, at, "deafen", who, lasts),
        2 => happens(plan, at, trouble("cut", Target::Primary, Some(Target::Backup), lasts)),
        _ => happens(plan, at, trouble("cut", Target::Backup, Some(Target::Primary), lasts)),
    }
    if dice.one_in(2) {
        let kind = dice.of(&["cut-to-coordination", "cut-from-coordination"]);
        strikes(plan, at + dice.ms(0, 1_000), kind, who, lasts);
    }
}

/// Scenarios 23 and 24: a backup was away for so long that it needs a snapshot, and something fails
/// while that is on its way.
fn kill_during_a_snapshot(dice: &mut Dice, plan: &mut Plan, at: Duration) {
    plan.knobs.retention_records = plan.knobs.retention_records.min(dice.between(40, 100));
    // So large that it takes several parts, and so slow that they are under way for a while.
    plan.knobs.payload = dice.between(12, 24) as usize * 1_024;
    plan.knobs.latency = Span::new(Duration::from_millis(1), dice.ms(5, 25));
    strikes(plan, at, "crash", Target::Backup, Some(dice.ms(500, 4_000)));
    let kind = dice.of(&["crash", "power-loss", "pause", "isolate", "drop-coordination"]);
    let cue = (dice.of(&["SnapshotBegun", "SnapshotBegun", "Installed"]), soon(dice));
    let who = dice.of(&[Target::It, Target::Backup, Target::Primary]);
    when(plan, at, cue, trouble(kind, who, None, Some(dice.outage())));
    if dice.one_in(2) {
        when(
            plan,
            at,
            ("SnapshotBegun", soon(dice)),
            trouble("reset", Target::It, Some(Target::Backup), None),
        );
    }
}

/// Scenario 39: who hands over, or who takes over, is cut off in the middle of it.
fn handover_under_a_partition(dice: &mut Dice, plan: &mut Plan, at: Duration) {
    happens(plan, at, Action::Shutdown { who: Target::Primary, back: Some(dice.ms(1, 1_500)) });
    let lasts = Some(dice.outage());
    let cue =
        (dice.of(&["HandoverBegan", "HandoverBegan", "Proposed(Promote)", "BecamePrimary"]), soon(dice));
    let kind = dice.of(&["isolate", "mute", "deafen", "pause", "crash", "cut-coordination"]);
    when(plan, at, cue, trouble(kind, dice.of(&[Target::It, Target::Backup, Target::Primary]), None, lasts));
}

/// R26: processes die while the group comes into being.
fn bootstrap_with_a_crash(dice: &mut Dice, plan: &mut Plan, _: Duration) {
    let begin = Duration::ZERO;
    let marks = [
        "GroupCreated",
        "Registered",
        "Proposed(Promote)",
        "BecamePrimary",
        "EpochCommitted",
        "Proposed(Expand)",
    ];
    for _ in 0..dice.between(1, 3) {
        let cue = (dice.of(&marks), soon(dice));
        let kind = dice.of(&["crash", "crash", "pause", "cut-coordination", "isolate"]);
        when(plan, begin, cue, trouble(kind, Target::It, None, Some(dice.ms(1, 2_000))));
    }
}

fn rolling_restart(dice: &mut Dice, plan: &mut Plan, at: Duration) {
    let action = Action::RollingRestart { back: dice.ms(1, 500), every: dice.ms(200, 2_500) };
    happens(plan, at, action);
}

/// R27: everything is gone at once.
fn total_loss(dice: &mut Dice, plan: &mut Plan, at: Duration) {
    happens(plan, at, Action::TotalLoss { lasts: Some(dice.ms(0, 4_000)) });
    if dice.one_in(2) {
        // A process of before, or one after the other of those that begin anew.
        strikes(plan, at.saturating_sub(dice.ms(0, 500)), "pause", Target::Primary, Some(dice.outage()));
    }
    if dice.one_in(3) {
        when(
            plan,
            at,
            ("Proposed(Reset)", soon(dice)),
            trouble("crash", Target::It, None, Some(dice.ms(1, 800))),
        );
    }
}

/// R27a: all brokers are told to leave; who is last gives the data up, if that may be.
fn everybody_leaves(dice: &mut Dice, plan: &mut Plan, at: Duration) {
    plan.knobs.unsparing = true;
    let mut at = at;
    for broker in 1..=plan.knobs.brokers {
        let back = Some(dice.ms(1, 3_000));
        happens(plan, at, Action::Shutdown { who: Target::Broker(broker), back });
        at += dice.ms(0, 700);
    }
}

/// Scenario 14: one after the other dies, with just enough time for the next to take over, or too little.
fn crash_in_turns(dice: &mut Dice, plan: &mut Plan, at: Duration) {
    let mut at = at;
    for _ in 0..dice.between(2, 6) {
        let kind = dice.of(&["crash", "power-loss"]);
        strikes(plan, at, kind, Target::Primary, Some(dice.ms(1, 2_500)));
        at += dice.ms(50, 1_200);
    }
}

/// R19: others do not hear a primary that clients still reach, and the coordination leader is late to show
/// it that another one has followed.
fn ask_a_deposed_primary(dice: &mut Dice, plan: &mut Plan, at: Duration) {
    plan.knobs.leader_late_permille = dice.between(100, 1_000) as u32;
    plan.knobs.leader_late = Span::new(Duration::ZERO, dice.ms(20, 80));
    happens(plan, at, trouble("cut", Target::Primary, Some(Target::Backup), Some(dice.ms(500, 2_000))));
    let every = dice.ms(1, 8);
    happens(plan, at, Action::ReadHeads { subscriber: 1, count: 200, every });
}

/// R34: the primary dies while a backup that was told to leave is still counted.
fn die_while_the_other_leaves(dice: &mut Dice, plan: &mut Plan, at: Duration) {
    happens(plan, at, Action::Shutdown { who: Target::Backup, back: Some(dice.ms(1, 1_500)) });
    let kind = dice.of(&["crash", "power-loss", "pause", "isolate"]);
    let after = Duration::from_micros(dice.of(&[100, 1_000, 3_000, 60_000, 300_000]));
    strikes(plan, at + after, kind, Target::Primary, Some(dice.outage()));
}

/// R8, R28: what a process has sent before it died, or gave its connection up, comes after the words of its
/// successor, or late enough for two elections.
fn words_of_the_dead(dice: &mut Dice, plan: &mut Plan, at: Duration) {
    let who = match plan.publishers.first_mut().filter(|_| !dice.one_in(3)) {
        // Only one that has an outbox goes on under its name.
        Some(publisher) => {
            publisher.outbox = true;
            Target::Publisher(publisher.number)
        }
        None => Target::Backup,
    };
    let lag = dice.between(30, 300);
    let far = Amount::Time(Duration::from_millis(lag));
    happens(plan, at, between("lag", who, Target::Primary, far, Some(dice.ms(2_000, 5_000))));
    let mut at = at + dice.ms(300, 900);
    for _ in 0..dice.between(1, 3) {
        let late = Amount::Time(dice.ms(lag, 5 * lag));
        happens(plan, at, between("delay", who, Target::Primary, late, None));
        let dies = at + dice.ms(0, lag);
        match dice.below(3) {
            0 => happens(plan, dies, between("half-open", who, Target::Primary, Amount::Plain, None)),
            _ => strikes(plan, dies, "crash", who, Some(dice.ms(0, 40))),
        }
        at += dice.ms(600, 1_500);
    }
}

/// R8: a backup's acknowledgements come so late that its primary was deposed meanwhile, leads again, and has just
/// let the backup attach. Whoever is deposed stays in the set of two, so that the lead can change fast.
fn acknowledgements_past_two_elections(dice: &mut Dice, plan: &mut Plan, at: Duration) {
    (plan.knobs.brokers, plan.knobs.min_in_sync) = (2, 2);
    plan.knobs.session_timeout = plan.knobs.session_timeout.max(Duration::from_secs(2));
    plan.knobs.suspicion = dice.ms(500, 800);
    let (at, asleep) = (at.min(dice.ms(800, 2_000)), plan.knobs.suspicion + dice.ms(200, 350));
    // Each time the other one takes the lead, and whoever wakes up follows it.
    let first = at + dice.ms(1, 100);
    let second = first + asleep + dice.ms(500, 800);
    strikes(plan, first, "pause", Target::Primary, Some(asleep));
    strikes(plan, second, "pause", Target::Primary, Some(asleep));
    // The backup has closed the connection that its acknowledgements are late on, and dials another one.
    let awake = second + asleep;
    let late = Amount::Time(awake - at + dice.ms(250, 600));
    happens(plan, at, between("delay", Target::Backup, Target::Primary, late, None));
    // It cannot say anything of the new epoch before it has heard of it.
    let cut = trouble("cut", Target::It, Some(Target::Backup), Some(plan.knobs.suspicion));
    when(plan, awake + Duration::from_millis(10), ("FollowerAttached", Duration::ZERO), cut);
    plan.knobs.duration = plan.knobs.duration.max(awake + Duration::from_secs(1));
}

/// R32: a process has died when its request to follow arrives, and the next one of its node is there.
fn late_hello(dice: &mut Dice, plan: &mut Plan, at: Duration) {
    let lag = dice.between(100, 500);
    let far = Amount::Time(Duration::from_millis(lag));
    happens(plan, at, between("lag", Target::Backup, Target::Primary, far, Some(dice.ms(2_500, 5_000))));
    let mut at = at + dice.ms(50, 300);
    for _ in 0..dice.between(1, 3) {
        strikes(plan, at, "crash", Target::Backup, Some(dice.ms(0, 20)));
        // The connection takes a while to come, and so does what is said on it first.
        let cue = ("Registered", dice.ms(lag + 10, 2 * lag - 10));
        when(plan, at, cue, trouble("crash", Target::It, None, Some(dice.ms(0, 20))));
        at += dice.ms(2 * lag + 100, 1_800);
    }
}

/// R19, R20: a primary is cut off from all servers, and a client or two from all but this primary. One asks how
/// far the group is, and others go on elsewhere.
fn alone_with_a_client(dice: &mut Dice, plan: &mut Plan, at: Duration) {
    let Some(subscriber) = plan.subscribers.first().map(|subscriber| subscriber.number) else { return };
    // The sooner it falls silent, the shorter is the run.
    plan.knobs.session_timeout = dice.ms(800, 1_200);
    plan.knobs.lag_margin = dice.ms(200, 400);
    let (at, lasts) = (at.min(dice.ms(500, 3_000)), dice.ms(4_000, 7_000));
    plan.knobs.duration = plan.knobs.duration.max(at + lasts);
    // What a publisher says to it meanwhile can never be committed.
    let publisher = plan.publishers.first().filter(|_| dice.one_in(2)).map(|publisher| publisher.number);
    for replica in 1..=plan.knobs.discoveries {
        let cut = |who| between("part", who, Target::Discovery(replica), Amount::Plain, Some(lasts));
        happens(plan, at, cut(Target::Subscriber(subscriber)));
        publisher.into_iter().for_each(|number| happens(plan, at, cut(Target::Publisher(number))));
        happens(plan, at, cut(Target::Primary));
    }
    // What happens at the same time is listed in this order: the primary is one process for all of it.
    for broker in 1..=plan.knobs.brokers {
        let other = Target::Broker(broker);
        happens(plan, at, between("part", Target::Primary, other, Amount::Plain, Some(lasts)));
    }
    if dice.one_in(3) {
        // Where the primary is with that follower, it reads on, and what it reads is old.
        plan.knobs.sync_limit = plan.knobs.session_timeout * 2;
        let cut = known("cut-coordination-follower");
        happens(
            plan,
            at,
            Action::Trouble {
                kind: cut,
                with: vec![],
                amount: Amount::Plain,
                lasts: Some(dice.ms(600, 2_000)),
            },
        );
    } else {
        strikes(plan, at, "cut-coordination", Target::Primary, Some(lasts));
    }
    let every = dice.ms(20, 150);
    let count = (lasts.as_millis() / every.as_millis()) as u64;
    // When a successor may have committed something, and silence has not begun.
    happens(plan, at + dice.ms(0, 1_200), Action::ReadHeads { subscriber, count, every });
}

/// R20: the coordination service is away for longer than everything, and the brokers are not.
fn coordination_outage(dice: &mut Dice, plan: &mut Plan, at: Duration) {
    plan.knobs.session_timeout = dice.ms(800, 1_500);
    plan.knobs.lag_margin = dice.ms(200, 500);
    let (at, lasts) = (at.min(dice.ms(500, 3_000)), dice.ms(3_000, 6_000));
    plan.knobs.duration = plan.knobs.duration.max(at + lasts);
    let stop = known("stop-coordination");
    happens(
        plan,
        at,
        Action::Trouble { kind: stop, with: vec![], amount: Amount::Plain, lasts: Some(lasts) },
    );
    if dice.one_in(2) {
        let kind = dice.of(&["crash", "pause", "isolate"]);
        strikes(plan, at + dice.ms(0, 2_000), kind, Target::Backup, Some(dice.outage()));
    }
}

/// R28: a publisher that goes on after its death asks for its session, and has died or given up when the
/// answer comes; or the earlier request comes last.
fn asks_again(dice: &mut Dice, plan: &mut Plan, at: Duration) {
    let Some(publisher) = plan.publishers.first_mut() else { return };
    publisher.outbox = true;
    let who = Target::Publisher(publisher.number);
    // What it asks its storage for is not done at once.
    plan.knobs.storage = Span::new(Duration::ZERO, dice.ms(1, 25));
    let mut at = at;
    for _ in 0..dice.between(1, 4) {
        strikes(plan, at, "crash", who, Some(dice.ms(0, 20)));
        if dice.one_in(2) {
            // The next who attaches is most likely this one.
            let cue = ("Attached", soon(dice));
            when(plan, at, cue, trouble("crash", Target::It, None, Some(dice.ms(0, 40))));
            at += dice.ms(300, 1_000);
            continue;
        }
        let lag = dice.between(20, 300);
        let far = Amount::Time(Duration::from_millis(lag));
        happens(plan, at, between("lag", who, Target::Primary, far, Some(dice.ms(lag, 4 * lag))));
        let again = at + dice.ms(lag, 3 * lag);
        match dice.below(3) {
            0 => happens(plan, again, between("half-open", who, Target::Primary, Amount::Plain, None)),
            _ => strikes(plan, again, "crash", who, Some(dice.ms(0, 40))),
        }
        at = again + dice.ms(300, 1_000);
    }
}

/// R28: a publisher dies with records under way, and they come when its successor has opened a session and
/// has not sent the same records itself.
fn records_past_their_session(dice: &mut Dice, plan: &mut Plan, at: Duration) {
    let Some(publisher) = with_outbox(plan) else { return };
    let who = Target::Publisher(publisher);
    let mut at = at.max(Duration::from_millis(700));
    for _ in 0..dice.between(1, 2) {
        let topic = Topic::new("late").expect("a valid topic");
        let every = Duration::from_millis(5);
        happens(plan, at, Action::Publish { publisher, topic, count: 20, every });
        let late = dice.between(250, 500);
        let held = Amount::Time(Duration::from_millis(late));
        happens(plan, at, between("delay", who, Target::Primary, held, None));
        let dies = at + dice.ms(20, 120);
        let asleep = Some(Duration::from_millis(late));
        when(plan, dies, ("SessionOpened", Duration::ZERO), trouble("pause", who, None, asleep));
        strikes(plan, dies, "crash", who, Some(dice.ms(0, 20)));
        at += dice.ms(3 * late, 6 * late);
    }
    plan.knobs.duration = plan.knobs.duration.max(at);
}

/// R28: a publisher dies that has asked for its session, its successor asks for the same and continues what it
/// got, and then the first request comes.
fn request_past_its_session(dice: &mut Dice, plan: &mut Plan, at: Duration) {
    let Some(publisher) = with_outbox(plan) else { return };
    let who = Target::Publisher(publisher);
    let mut at = at.max(Duration::from_millis(700));
    for _ in 0..dice.between(1, 2) {
        strikes(plan, at, "crash", who, Some(dice.ms(0, 10)));
        // It has a link, and stores its request before it sends it.
        let late = dice.between(300, 700);
        let held = Amount::Time(Duration::from_millis(late));
        when(
            plan,
            at,
            ("Attached", Duration::ZERO),
            between("delay", Target::It, Target::Primary, held, None),
        );
        strikes(plan, at + dice.ms(40, 120), "crash", who, Some(dice.ms(0, 20)));
        at += dice.ms(2 * late, 4 * late);
    }
    plan.knobs.duration = plan.knobs.duration.max(at);
}

/// A publisher that goes on under its name when it has died: only one that has an outbox does.
pub(super) fn with_outbox(plan: &mut Plan) -> Option<u32> {
    let publisher = plan.publishers.first_mut()?;
    publisher.outbox = true;
    Some(publisher.number)
}

/// Scenario 8: a process hears nothing of the coordination service and gives its session up, which lives on for
/// a while, and so do its nodes.
fn gives_its_session_up(dice: &mut Dice, plan: &mut Plan, at: Duration) {
    let session = dice.between(800, 1_500);
    plan.knobs.session_timeout = Duration::from_millis(session);
    for _ in 0..dice.between(1, 3) {
        let discovery = dice.between(1, u64::from(plan.knobs.discoveries)) as u32;
        let who = dice.of(&[Target::Discovery(discovery), Target::Primary, Target::Backup]);
        let lasts = Duration::from_millis(dice.between(13 * session / 10, 25 * session / 10));
        strikes(plan, at + dice.ms(0, 2_000), "cut-from-coordination", who, Some(lasts));
    }
}

/// R27: the data is lost while somebody sleeps who had a part of it, and sessions in it.
fn loss_beside_a_witness(dice: &mut Dice, plan: &mut Plan, at: Duration) {
    (plan.knobs.brokers, plan.knobs.min_in_sync, plan.knobs.unsparing) = (2, 1, true);
    plan.knobs.session_timeout = dice.ms(800, 1_200);
    plan.knobs.lag_margin = dice.ms(200, 400);
    let (at, lasts) = (at.min(dice.ms(800, 3_000)), dice.ms(4_000, 6_000));
    plan.knobs.duration = plan.knobs.duration.max(at + lasts);
    strikes(plan, at, "pause", Target::Backup, Some(lasts));
    // By then only the primary is in sync.
    strikes(plan, at + dice.ms(1_500, 2_500), "crash", Target::Primary, Some(dice.ms(1, 300)));
}

/// R27a: the last one in sync is told to leave while another one copies what it holds.
fn leaves_while_copied(dice: &mut Dice, plan: &mut Plan, at: Duration) {
    (plan.knobs.brokers, plan.knobs.min_in_sync, plan.knobs.unsparing) = (2, 1, true);
    plan.knobs.payload = dice.between(4, 16) as usize * 1_024;
    plan.knobs.latency = Span::new(Duration::from_millis(1), dice.ms(5, 25));
    strikes(plan, at, "crash", Target::Backup, Some(dice.ms(1, 200)));
    let action = Action::Shutdown { who: Target::It, back: Some(dice.ms(1, 2_000)) };
    when(plan, at, ("FollowerAttached", soon(dice)), action);
}

/// G8, R30, R31: frames that cannot be read are missing on a connection that lives. The last of what somebody has
/// to say may be among them, and nothing that follows shows it.
fn damaged_frames(dice: &mut Dice, plan: &mut Plan, at: Duration) {
    let client = match dice.below(3) {
        0 => Target::Backup,
        1 => Target::Publisher(1),
        _ => Target::Subscriber(1),
    };
    let mut at = at;
    for _ in 0..dice.between(1, 4) {
        let ways = dice.of(&[[client, Target::Primary], [Target::Primary, client]]);
        let share = Amount::Number(dice.between(20, 700) as i64);
        happens(plan, at, between("damage", ways[0], ways[1], share, Some(dice.ms(50, 1_500))));
        at += dice.ms(100, 1_500);
    }
    plan.knobs.duration = plan.knobs.duration.max(at);
}

/// R30: a subscriber's grants are lost for so long that its broker has no credit left, and nothing comes after that
/// would open another stream.
fn damaged_grants(dice: &mut Dice, plan: &mut Plan, _: Duration) {
    let (Some(subscriber), Some(publisher)) = (plan.subscribers.first_mut(), plan.publishers.first()) else {
        return;
    };
    subscriber.filters = vec![Filter::new(">").expect("a valid filter")];
    let (publisher, who) = (publisher.number, Target::Subscriber(subscriber.number));
    plan.knobs.credit_bytes = dice.between(64, 1_000);
    let (at, lasts) = (plan.knobs.duration, dice.ms(300, 1_500));
    let topic = Topic::new("granted").expect("a valid topic");
    let every = Duration::from_millis(5);
    happens(plan, at, Action::Publish { publisher, topic, count: 60, every });
    happens(plan, at, between("damage", who, Target::Primary, Amount::Number(1_000), Some(lasts)));
    plan.knobs.duration = at + lasts + Duration::from_millis(100);
}

/// R30: a subscriber dies again and again, and goes on in the middle of what it was sent as one batch.
fn taken_up_within_a_batch(dice: &mut Dice, plan: &mut Plan, at: Duration) {
    let (Some(subscriber), Some(publisher)) = (plan.subscribers.first_mut(), plan.publishers.first()) else {
        return;
    };
    let (publisher, who) = (publisher.number, Target::Subscriber(subscriber.number));
    subscriber.again = Again::Behind(dice.between(0, 3) as u32);
    subscriber.filters = vec![Filter::new(">").expect("a valid filter")];
    let mut at = at.max(Duration::from_millis(700));
    for _ in 0..dice.between(2, 6) {
        let topic = Topic::new("whole").expect("a valid topic");
        // What comes at the same time goes in one batch.
        let every = Duration::from_nanos(1);
        happens(plan, at, Action::Publish { publisher, topic, count: dice.between(2, 12), every });
        strikes(plan, at + dice.ms(1, 200), "crash", who, Some(dice.ms(0, 50)));
        at += dice.ms(100, 600);
    }
    plan.knobs.duration = plan.knobs.duration.max(at);
}
