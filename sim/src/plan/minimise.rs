//! Cuts a plan down to what it takes to violate a property: delta debugging over its lines, then fewer
//! nodes, rounder times and smaller numbers. Because a run's draws do not depend on what is left out,
//! most of a plan can go without changing what is left. Who leads does depend on who takes part: a smaller
//! cluster is therefore tried with a few seeds.
//!
//! What comes after a violation does not matter: no candidate runs for much longer than the best plan so far
//! takes to get there.

use super::kinds::Amount;
use super::{Action, Again, Knobs, Plan, Target, run};
use std::time::Duration;

/// A smaller plan may come to its violation so much later.
const LATER: Duration = Duration::from_secs(1);
/// Seeds that a smaller cluster is tried with, besides the plan's own.
const SEEDS: u64 = 20;

/// The smallest plan found that still violates `property`; `plan` itself where it does not. Each plan
/// that is tried costs a run: `go_on` says whether there may be another one.
pub fn minimise(plan: &Plan, property: &str, mut go_on: impl FnMut() -> bool) -> Plan {
    let mut end = u64::MAX;
    let mut violates = |candidate: &Plan| {
        if !go_on() {
            return false;
        }
        match run::run_until(candidate, end).result {
            Err(failure) if failure.violation.property == property => {
                end = failure.at + LATER.as_nanos() as u64;
                true
            }
            _ => false,
        }
    };
    let mut best = plan.clone();
    if !violates(&best) {
        return best;
    }
    best = fewer_kinds(best, &mut violates);
    best = fewer_lines(best, &mut violates);
    best = fewer_nodes(best, &mut violates);
    loop {
        let before = best.clone();
        best = fewer_lines(best, &mut violates);
        best = simpler(best, &mut violates);
        best = fewer_kinds(best, &mut violates);
        if best == before {
            return best;
        }
    }
}

/// Takes every change that works, each once.
fn take(plan: Plan, changes: &[fn(&mut Plan)], violates: &mut impl FnMut(&Plan) -> bool) -> Plan {
    changes.iter().fold(plan, |best, change| {
        let mut candidate = best.clone();
        change(&mut candidate);
        if candidate != best && violates(&candidate) { candidate } else { best }
    })
}

/// Leaves out whole kinds of things: that goes fast, and makes every later run shorter.
fn fewer_kinds(plan: Plan, violates: &mut impl FnMut(&Plan) -> bool) -> Plan {
    let changes: [fn(&mut Plan); 8] = [
        |plan| plan.subscribers.clear(),
        |plan| plan.publishers.truncate(1),
        |plan| plan.subscribers.truncate(1),
        |plan| plan.publishers.clear(),
        |plan| at_most(plan, 2, 3),
        |plan| at_most(plan, 3, 3),
        |plan| at_most(plan, 5, 1),
        |plan| {
            let Knobs { seed, duration, brokers, discoveries, .. } = plan.knobs;
            plan.knobs = Knobs { seed, duration, brokers, discoveries, ..Knobs::default() };
        },
    ];
    take(plan, &changes, violates)
}

/// The smallest cluster that will do, with one seed or another.
fn fewer_nodes(plan: Plan, violates: &mut impl FnMut(&Plan) -> bool) -> Plan {
    for mut candidate in smaller_clusters(&plan) {
        for seed in [plan.knobs.seed].into_iter().chain(0..SEEDS) {
            candidate.knobs.seed = seed;
            if violates(&candidate) {
                return candidate;
            }
        }
    }
    plan
}

/// The same with fewer nodes, the smallest cluster first.
fn smaller_clusters(plan: &Plan) -> Vec<Plan> {
    let (publishers, subscribers) = (plan.publishers.len(), plan.subscribers.len());
    let clients = || (0..=publishers).flat_map(|some| (0..=subscribers).map(move |others| (some, others)));
    let servers = (1..=plan.knobs.brokers)
        .flat_map(|brokers| (1..=plan.knobs.discoveries).map(move |discoveries| (brokers, discoveries)));
    let clusters = servers.flat_map(|(brokers, discoveries)| {
        clients().map(move |(publishers, subscribers)| {
            let mut smaller = plan.clone();
            at_most(&mut smaller, brokers, discoveries);
            smaller.publishers.truncate(publishers);
            smaller.subscribers.truncate(subscribers);
            smaller
        })
    });
    let mut smaller: Vec<_> = clusters.filter(|smaller| nodes(smaller) < nodes(plan)).collect();
    smaller.sort_by_key(nodes);
    smaller
}

/// Leaves so many brokers and discovery replicas. What was to happen to others happens to one of these.
fn at_most(plan: &mut Plan, brokers: u32, discoveries: u32) {
    plan.knobs.brokers = plan.knobs.brokers.min(brokers);
    plan.knobs.discoveries = plan.knobs.discoveries.min(discoveries);
    for event in &mut plan.events {
        let targets = match &mut event.action {
            Action::SecondProcess { broker, .. } => {
                *broker = (*broker - 1) % plan.knobs.brokers + 1;
                continue;
            }
            Action::Trouble { with, .. } => with.as_mut_slice(),
            Action::Shutdown { who, .. } => std::slice::from_mut(who),
            _ => continue,
        };
        for target in targets {
            match target {
                Target::Broker(number) => *number = (*number - 1) % plan.knobs.brokers + 1,
                Target::Discovery(number) => *number = (*number - 1) % plan.knobs.discoveries + 1,
                _ => {}
            }
        }
    }
}

/// Leaves out runs of lines, long ones first, as long as that works. One line stays: without any it is no plan.
fn fewer_lines(plan: Plan, violates: &mut impl FnMut(&Plan) -> bool) -> Plan {
    let mut best = plan;
    let mut lines = best.lines();
    let mut size = lines.len().div_ceil(2);
    while size > 0 {
        // From the end: what comes last is most often of no importance.
        let mut to = lines.len();
        while to > 0 {
            let from = to.saturating_sub(size);
            let rest = [&lines[..from], &lines[to..]].concat();
            if rest.is_empty() {
                break;
            }
            let candidate: Plan =
                rest.join("\n").parse().expect("a plan with some of its lines left is a plan");
            // A default may stand for more nodes than the line that is left out.
            if nodes(&candidate) <= nodes(&best) && violates(&candidate) {
                (best, lines) = (candidate, rest);
            }
            to = from;
        }
        size /= 2;
    }
    best
}

/// Takes every simplification that works.
fn simpler(plan: Plan, violates: &mut impl FnMut(&Plan) -> bool) -> Plan {
    let mut best = plan;
    let mut tried = 0;
    // A list of simplifications shrinks with what it is made from.
    while let Some(candidate) = simplifications(&best).into_iter().nth(tried) {
        if violates(&candidate) {
            best = candidate;
        } else {
            tried += 1;
        }
    }
    best
}

/// Plans that are simpler in one point, and have no more lines.
fn simplifications(plan: &Plan) -> Vec<Plan> {
    let mut simpler = Vec::new();
    let mut with = |change: &dyn Fn(&mut Plan)| {
        let mut candidate = plan.clone();
        change(&mut candidate);
        if candidate != *plan {
            simpler.push(candidate);
        }
    };
    if plan.knobs.duration != Knobs::default().duration {
        let last = plan.events.iter().map(|event| event.at).max().unwrap_or_default();
        with(&|plan| plan.knobs.duration = plan.knobs.duration.min(last + Duration::from_secs(1)));
        with(&|plan| plan.knobs.duration = rounder(plan.knobs.duration));
    }
    for number in 0..plan.publishers.len() {
        with(&|plan| plan.publishers[number].outbox = false);
    }
    for number in 0..plan.subscribers.len() {
        with(&|plan| plan.subscribers[number].filters.truncate(1));
        with(&|plan| plan.subscribers[number].again = Again::Behind(0));
        with(&|plan| plan.subscribers[number].joins = Duration::ZERO);
        with(&|plan| plan.subscribers[number].latest = false);
    }
    for number in 0..plan.events.len() {
        with(&|plan| plan.events[number].at = rounder(plan.events[number].at));
        with(&|plan| {
            if let Some(cue) = &mut plan.events[number].on {
                cue.after = Duration::ZERO;
            }
        });
        with(&|plan| numbers(&mut plan.events[number].action));
        with(&|plan| times(&mut plan.events[number].action));
    }
    simpler
}

/// The next time that takes a digit less to write.
fn rounder(time: Duration) -> Duration {
    let nanos = time.as_nanos() as u64;
    let units = [10, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000];
    let rounded = units.iter().map(|unit| nanos - nanos % unit).find(|rounded| *rounded != nanos);
    // What has one digit of seconds is round.
    rounded.filter(|rounded| *rounded > 0).map_or(time, Duration::from_nanos)
}

fn numbers(action: &mut Action) {
    if let Action::Publish { count, .. } | Action::ReadHeads { count, .. } = action {
        *count = (*count / 2).max(1);
    }
}

fn times(action: &mut Action) {
    if let Action::Trouble { amount: Amount::Time(time), .. } = action {
        *time = rounder(*time);
    }
    match action {
        Action::Trouble { lasts: Some(time), .. }
        | Action::Shutdown { back: Some(time), .. }
        | Action::TotalLoss { lasts: Some(time) }
        | Action::SecondProcess { lasts: time, .. }
        | Action::Pace { late: Some(time), .. }
        | Action::Publish { every: time, .. }
        | Action::ReadHeads { every: time, .. }
        | Action::RollingRestart { every: time, .. } => *time = rounder(*time),
        _ => {}
    }
}

/// How many brokers, replicas of discovery, publishers and subscribers take part.
pub fn nodes(plan: &Plan) -> usize {
    let servers = plan.knobs.brokers + plan.knobs.discoveries;
    servers as usize + plan.publishers.len() + plan.subscribers.len()
}

/// How long a plan is: its lines, and its characters.
pub fn size(plan: &Plan) -> (usize, usize) {
    (plan.lines().len(), plan.to_string().len())
}

#[cfg(test)]
mod tests {
    use super::super::value::Value;
    use super::*;

    #[test]
    fn times_are_rounded_step_by_step() {
        let mut time = Duration::from_nanos(1_234_567_891);
        let mut texts = Vec::new();
        while rounder(time) != time {
            time = rounder(time);
            texts.push(time.write());
        }
        assert_eq!(
            texts,
            ["1234567890ns", "1234567us", "1234560us", "1234500us", "1234ms", "1230ms", "1200ms", "1s"]
        );
    }

    /// A property that is violated by a plan with these two lines.
    fn violates(plan: &Plan) -> bool {
        let text = plan.to_string();
        text.contains("crash b1") && text.contains("on-total-loss wait")
    }

    #[test]
    fn lines_that_do_not_matter_go() {
        let text = "seed 4\nbrokers 5\non-total-loss wait\npublisher p1\nsubscriber s1 >\n@1s pause b2\n\
            @2s publish p1 a 5 every 1s\n@3s crash b1 for 1s\n@4s crash b3\n";
        let plan: Plan = text.parse().expect("a plan");
        let least = fewer_lines(plan, &mut |plan: &Plan| violates(plan));
        assert_eq!(least.to_string(), "on-total-loss wait\n@3s crash b1 for 1s\n");
    }

    #[test]
    fn whole_kinds_go_first() {
        let text = "brokers 5\ndiscoveries 3\non-total-loss wait\npublisher p1\npublisher p2\n\
            subscriber s1 >\nsubscriber s2 >\n@3s crash b1 for 1s\n";
        let plan: Plan = text.parse().expect("a plan");
        let least = fewer_kinds(plan, &mut |plan: &Plan| violates(plan));
        assert_eq!(least.to_string(), "brokers 2\ndiscoveries 1\non-total-loss wait\n@3s crash b1 for 1s\n");
    }

    #[test]
    fn a_smaller_cluster_may_need_another_seed() {
        let text = "seed 99\nbrokers 5\npublisher p1\nsubscriber s1 >\n@3s crash b5 for 1s\n";
        let plan: Plan = text.parse().expect("a plan");
        let shows = |plan: &Plan| plan.knobs.brokers == 5 || (plan.knobs.brokers, plan.knobs.seed) == (2, 7);
        let least = fewer_nodes(plan, &mut |plan: &Plan| !plan.publishers.is_empty() && shows(plan));
        assert_eq!(
            least.to_string(),
            "seed 7\nbrokers 2\ndiscoveries 1\npublisher p1\n@3s crash b1 for 1s\n"
        );
    }

    #[test]
    fn numbers_and_times_become_simple() {
        let text = "duration 7s\nbrokers 5\non-total-loss wait\n@1234ms crash b1 for 17ms\n@2s publish p1 a 5 every 1s\n";
        let plan: Plan = text.parse().expect("a plan");
        let simple = simpler(plan, &mut |plan: &Plan| violates(plan));
        let expected = "duration 3s\nbrokers 5\non-total-loss wait\n@1s crash b1 for 10ms\n@2s publish p1 a 1 every 1s\n";
        assert_eq!(simple.to_string(), expected);
    }
}
