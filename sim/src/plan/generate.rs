//! Makes plans: swarm testing. The seed draws which features and which faults a plan has at all, every
//! knob of them, and how violent it is; beside the uniform mix stand schedules that aim at something
//! (see `targeted.rs`). What is drawn here is written into the plan: a run draws nothing of it again.

use super::kinds::{Amount, KINDS, Kind, known};
use super::knobs::least_log;
use super::{
    Action, Again, Event, Knobs, Plan, Publisher, Subscriber, Target, aim, clients, provoked, targeted,
};
use crate::random::Span;
use std::time::Duration;
use steadfast_core::broker::OnTotalLoss;
use steadfast_core::filter::{Filter, Topic};
use steadfast_core::log::Codec;
use steadfast_core::rng::Rng;

/// Most publishers and subscribers of a generated plan.
const CLIENTS: u64 = 4;
/// Topics that are published to, and filters that some of them match.
const TOPICS: [&str; 4] = ["a.b", "a.c", "b", "rare.one"];
const FILTERS: [&str; 6] = [">", "a.*", "a.b", "b", "rare.>", "a.>"];
/// Most records that a generated plan publishes: what a run takes is bounded.
const RECORDS: u64 = 900;

/// What is drawn from.
#[derive(Debug)]
pub(super) struct Dice(Rng);

impl Dice {
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0.below(bound)
    }

    /// One time out of so many.
    pub(super) fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    pub(super) fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.below(most - least + 1)
    }

    /// Milliseconds, both ends included.
    pub(super) fn ms(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(self.between(least, most))
    }

    pub(super) fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }

    /// How long a fault lasts: from a hiccup to past every timeout.
    pub(super) fn outage(&mut self) -> Duration {
        if self.one_in(3) { self.ms(600, 8_000) } else { self.ms(1, 600) }
    }

    /// A primary half of the time, otherwise discovery's leader, or any broker or discovery replica.
    pub(super) fn server(&mut self, knobs: &Knobs) -> Target {
        if self.one_in(2) {
            return Target::Primary;
        }
        if self.one_in(8) {
            return Target::Leader;
        }
        let number = 1 + self.below(u64::from(knobs.brokers + knobs.discoveries)) as u32;
        match number.checked_sub(knobs.brokers) {
            None | Some(0) => Target::Broker(number),
            Some(rest) => Target::Discovery(rest),
        }
    }
}

/// The plan of a seed.
pub fn generate(seed: u64) -> Plan {
    let mut dice = Dice(Rng::new(seed ^ 0x706c_616e));
    let mut plan = Plan { knobs: knobs(&mut dice, seed), ..Plan::default() };
    // Drawn apart, so that the other draws of a seed are what they were.
    let mut apart = Dice(Rng::new(seed ^ 0x636f_6465));
    plan.knobs.compression = apart.of(&[Codec::None, Codec::None, Codec::Lz4, Codec::Zstd]);
    publishers(&mut dice, &mut plan);
    subscribers(&mut dice, &mut plan);
    // From calm to violent.
    let faults = match dice.below(8) {
        0 => 0,
        1 | 2 => dice.between(1, 4),
        3..=6 => dice.between(5, 14),
        _ => dice.between(15, 30),
    };
    uniform(&mut dice, &mut plan, faults);
    if faults > 0 {
        let at = within(&mut dice, &plan);
        aim::add(&mut dice, &mut plan, at);
    }
    if dice.one_in(4) {
        let at = within(&mut dice, &plan);
        provoked::add(&mut dice, &mut plan, at);
    }
    if faults == 0 || dice.one_in(2) {
        targeted::add(&mut dice, &mut plan);
    }
    // Who has to try more addresses needs more time, by a few terms of suspicion.
    plan.knobs.stranger = plan.knobs.suspicion <= Knobs::default().suspicion && apart.one_in(4);
    if apart.one_in(5) {
        let at = within(&mut apart, &plan);
        clients::add(&mut apart, &mut plan, at);
    }
    if apart.one_in(4) {
        applications_close(&mut apart, &mut plan);
    }
    // It takes as long as three others.
    if apart.one_in(400) {
        clients::joins_behind_a_backlog(&mut apart, &mut plan);
    }
    many_at_once(&mut plan.knobs);
    plan.events.sort_by_key(|event| event.at);
    plan
}

/// One record after another over a slow way, to publish or to hear, takes too long for a run.
fn many_at_once(knobs: &mut Knobs) {
    let Knobs { batch_bytes, latency, window_bytes, window_frames, .. } = Knobs::default();
    if knobs.latency != latency {
        knobs.credit_bytes = knobs.credit_bytes.max(4 * knobs.payload as u64);
        if knobs.batch_bytes != batch_bytes {
            (knobs.window_bytes, knobs.window_frames) = (window_bytes, window_frames);
        }
    }
}

fn knobs(dice: &mut Dice, seed: u64) -> Knobs {
    let brokers = dice.of(&[2, 2, 2, 3, 3, 3, 4, 5]);
    let mut knobs = Knobs {
        seed,
        duration: dice.ms(4_000, 14_000),
        unsparing: dice.one_in(6),
        brokers,
        discoveries: dice.of(&[1, 2, 2, 3]),
        min_in_sync: dice.of(&[1, 1, 2]),
        ..Knobs::default()
    };
    knobs.core_only = dice.one_in(3);
    if dice.one_in(4) {
        knobs.stagger = dice.ms(1, 800);
    }
    if dice.one_in(5) {
        knobs.on_total_loss = OnTotalLoss::Wait;
    }
    if dice.one_in(3) {
        knobs.session_expiry = dice.ms(300, 3_000);
    }
    retention(dice, &mut knobs);
    world(dice, &mut knobs);
    timing(dice, &mut knobs);
    publishing(dice, &mut knobs);
    knobs
}

/// How publishers cut what waits into batches, and how much of it may be under way: by default a batch holds
/// whatever waits, and no window is ever full.
fn publishing(dice: &mut Dice, knobs: &mut Knobs) {
    // A log of a few small batches takes too long for a run.
    let roomy = knobs.uncommitted_bytes == Knobs::default().uncommitted_bytes;
    if dice.one_in(3) && roomy {
        knobs.batch_bytes = dice.between(1, 200) as usize;
    }
    if dice.one_in(4) {
        knobs.window_frames = dice.between(1, 3);
    }
    if dice.one_in(6) {
        knobs.window_bytes = dice.between(1, 1_000) as usize;
    }
    if dice.one_in(8) {
        knobs.queue_records = dice.between(1, 40) as usize;
    }
    if dice.one_in(5) {
        knobs.ack_timeout = dice.ms(100, 4_000);
    }
}

/// How much is kept: much more than is written, or so little that every run trims and whoever was away
/// needs a snapshot; and sometimes no more memory than that takes.
fn retention(dice: &mut Dice, knobs: &mut Knobs) {
    let kind = dice.below(6);
    if kind == 0 || kind == 3 {
        knobs.retention_records = dice.between(10, 80);
    }
    if kind == 1 || kind == 3 {
        knobs.retention_bytes = dice.between(4 << 10, 24 << 10);
    }
    if kind == 2 || kind == 3 {
        knobs.retention_age = dice.ms(200, 2_500);
    }
    // Also with a log so small that commits which wait fill it.
    if dice.one_in(4) {
        knobs.uncommitted_bytes = dice.between(512, 8 << 10);
    } else if dice.one_in(3) {
        knobs.retention_bytes = knobs.retention_bytes.min(dice.between(3 << 10, 12 << 10));
        knobs.uncommitted_bytes = least_log(knobs.retention_bytes, 0);
        knobs.log_spare = dice.between(0, 1 << 10);
    }
    if dice.one_in(6) {
        knobs.payload = dice.between(100, 4_000) as usize;
    }
    if dice.one_in(6) {
        knobs.credit_bytes = dice.between(64, 2_000);
    }
}

fn world(dice: &mut Dice, knobs: &mut Knobs) {
    if dice.one_in(2) {
        knobs.storage = Span::new(Duration::ZERO, dice.ms(1, 20));
    }
    if dice.one_in(4) {
        knobs.latency = Span::new(Duration::from_micros(dice.between(10, 900)), dice.ms(1, 25));
    }
    if dice.one_in(4) {
        knobs.coordination = Span::new(Duration::from_micros(dice.between(50, 900)), dice.ms(1, 40));
    }
    if dice.one_in(4) {
        knobs.follower_lag = Span::new(Duration::ZERO, dice.ms(20, 400));
    }
    // Every real leader is late now and then, and the syncs of its own sessions do not wait for it.
    knobs.leader_late_permille = dice.between(1, 100) as u32;
    knobs.leader_late = Span::new(Duration::ZERO, dice.ms(1, 60));
    if dice.one_in(5) {
        knobs.session_timeout = dice.ms(800, 3_000);
    }
    if dice.one_in(5) {
        knobs.distance = Span::new(Duration::ZERO, dice.ms(1, 15));
    }
    if dice.one_in(5) {
        knobs.tail_permille = dice.between(1, 30) as u32;
        knobs.tail = Span::new(Duration::from_millis(5), dice.ms(6, 90));
    }
    if dice.one_in(4) {
        knobs.drift = dice.between(50, 5_000) as u32;
    }
    if dice.one_in(4) {
        knobs.ping = dice.ms(10, 400);
    }
    if dice.one_in(6) {
        knobs.link_frames = dice.between(20, 100) as usize;
    }
}

fn timing(dice: &mut Dice, knobs: &mut Knobs) {
    if dice.one_in(5) {
        knobs.heartbeat = dice.ms(20, 80);
    }
    if dice.one_in(5) {
        knobs.suspicion = dice.ms(220, 1_500);
    }
    if dice.one_in(6) {
        knobs.client_suspicion = dice.ms(500, 2_000);
    }
    if dice.one_in(6) {
        knobs.lag_margin = dice.ms(200, 1_500);
    }
}

fn publishers(dice: &mut Dice, plan: &mut Plan) {
    let count = dice.between(1, CLIENTS) as u32;
    let outboxes = dice.one_in(3);
    for number in 1..=count {
        plan.publishers.push(Publisher { number, outbox: outboxes && !dice.one_in(4) });
        let topics = dice.between(1, 2);
        for _ in 0..topics {
            let every = Duration::from_micros(dice.between(2_000, 60_000));
            let most = (plan.knobs.duration.as_nanos() / every.as_nanos()).max(1) as u64;
            let share = RECORDS / (u64::from(count) * topics);
            let topic = Topic::new(dice.of(&TOPICS)).expect("a valid topic");
            let action = Action::Publish { publisher: number, topic, count: most.min(share), every };
            happens(plan, dice.ms(0, 300), action);
        }
    }
    if dice.one_in(2) {
        for _ in 0..dice.between(1, 4) {
            let who = Target::Publisher(dice.between(1, u64::from(count)) as u32);
            let lasts = Some(dice.outage());
            let at = within(dice, plan);
            let action = client_trouble(dice, plan, who, lasts);
            happens(plan, at, action);
        }
    }
}

fn subscribers(dice: &mut Dice, plan: &mut Plan) {
    let count = dice.between(1, CLIENTS) as u32;
    for number in 1..=count {
        let mut filters = vec![Filter::new(dice.of(&FILTERS)).expect("a valid filter")];
        if dice.one_in(4) {
            filters.push(Filter::new(dice.of(&FILTERS)).expect("a valid filter"));
        }
        let joins = if dice.one_in(4) { within(dice, plan) } else { Duration::ZERO };
        let again = match dice.below(4) {
            0 => Again::Anew,
            1 => Again::Behind(dice.between(1, 40) as u32),
            _ => Again::Behind(0),
        };
        let latest = dice.one_in(5);
        plan.subscribers.push(Subscriber { number, filters, latest, joins, again });
        let at = within(dice, plan);
        match dice.below(8) {
            0 => happens(plan, at, Action::Pace { subscriber: number, late: Some(dice.ms(1, 500)) }),
            1 => happens(plan, at, Action::Pace { subscriber: number, late: None }),
            2 | 3 => {
                let lasts = (!dice.one_in(4)).then(|| dice.outage());
                let action = client_trouble(dice, plan, Target::Subscriber(number), lasts);
                happens(plan, at, action);
            }
            _ => {}
        }
        if dice.one_in(2) {
            let every = dice.ms(20, 400);
            let action = Action::ReadHeads { subscriber: number, count: dice.between(1, 30), every };
            happens(plan, dice.ms(0, 2_000), action);
        }
    }
}

/// Some applications close before the plan is over.
fn applications_close(dice: &mut Dice, plan: &mut Plan) {
    for who in plan.clients() {
        if dice.one_in(2) {
            let at = within(dice, plan);
            happens(plan, at, Action::Close { who });
        }
    }
}

/// What goes wrong with a client: mostly with its whole process, otherwise anything that can.
fn client_trouble(dice: &mut Dice, plan: &Plan, who: Target, lasts: Option<Duration>) -> Action {
    let kind = if dice.one_in(2) {
        known(dice.of(&["crash", "power-loss", "pause", "isolate"]))
    } else {
        let any: Vec<_> =
            KINDS.iter().filter(|kind| kind.processes > 0 && !kind.is_of_coordination()).collect();
        dice.of(&any)
    };
    let with = [who, dice.server(&plan.knobs)][..kind.processes].to_vec();
    Action::Trouble { kind, with, amount: amount(dice, kind), lasts }
}

/// Some moment of the plan.
pub(super) fn within(dice: &mut Dice, plan: &Plan) -> Duration {
    dice.ms(0, plan.knobs.duration.as_millis() as u64)
}

/// A trouble as strong as its kind's example.
pub(super) fn trouble(name: &str, with: &[Target], lasts: Option<Duration>) -> Action {
    let kind = known(name);
    Action::Trouble { kind, with: with.to_vec(), amount: kind.amount, lasts }
}

pub(super) fn happens(plan: &mut Plan, at: Duration, action: Action) {
    plan.events.push(Event { at, on: None, action });
}

/// So many faults, each at any time, of the kinds that this plan has.
fn uniform(dice: &mut Dice, plan: &mut Plan, faults: u64) {
    let chosen: Vec<_> = KINDS.iter().filter(|_| dice.one_in(2)).collect();
    let mut leaves = dice.one_in(3);
    leaves |= chosen.is_empty();
    for _ in 0..faults {
        let at = within(dice, plan);
        let mut who = dice.server(&plan.knobs);
        if leaves && (chosen.is_empty() || dice.one_in(5)) {
            let back = (!dice.one_in(5)).then(|| dice.ms(1, 1_500));
            // In one of two ways: by a signal, or by a frame.
            let leaves = match dice.one_in(3) {
                true => Action::Drain { who, back },
                false => Action::Shutdown { who, back },
            };
            happens(plan, at, leaves);
            continue;
        }
        let kind = dice.of(&chosen);
        if !kind.is_of_coordination() && dice.one_in(5) {
            who = client(dice);
        }
        // Memory that runs out spares nobody.
        if kind.name == "limit-memory" && !plan.knobs.unsparing {
            continue;
        }
        let with = [who, other(dice, &plan.knobs)][..kind.processes].to_vec();
        let amount = amount(dice, kind);
        let lasts = (!dice.one_in(20)).then(|| dice.outage());
        happens(plan, at, Action::Trouble { kind, with, amount, lasts });
    }
}

/// How much of a trouble: up to a few times the example.
fn amount(dice: &mut Dice, kind: &Kind) -> Amount {
    match kind.amount {
        Amount::Plain => Amount::Plain,
        Amount::Time(time) => {
            Amount::Time(Duration::from_micros(dice.between(1, 4 * time.as_micros() as u64)))
        }
        Amount::Number(number) => {
            let number = dice.between(1, 4 * number.unsigned_abs()) as i64;
            let negative = kind.name == "clock-rate" && dice.one_in(2);
            Amount::Number(if negative { -number } else { number })
        }
    }
}

/// Somebody at the other end of a link.
fn other(dice: &mut Dice, knobs: &Knobs) -> Target {
    match dice.below(6) {
        0 | 1 => client(dice),
        2 => Target::Backup,
        _ => dice.server(knobs),
    }
}

/// Any client that there may be.
fn client(dice: &mut Dice) -> Target {
    let number = dice.between(1, CLIENTS) as u32;
    if dice.one_in(2) { Target::Publisher(number) } else { Target::Subscriber(number) }
}
