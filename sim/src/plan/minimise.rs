//! Cuts a plan down to what it takes to violate a property: delta debugging over its lines, then fewer
//! nodes, rounder times and smaller numbers. Because a run's draws do not depend on what is left out,
//! most of a plan can go without changing what is left.

use super::kinds::Amount;
use super::{Action, Plan, run};
use std::time::Duration;

/// The smallest plan found that still violates `property`; `plan` itself where it does not. Each plan
/// that is tried costs a run: `go_on` says whether there may be another one.
pub fn minimise(plan: &Plan, property: &str, mut go_on: impl FnMut() -> bool) -> Plan {
    let mut violates = |candidate: &Plan| {
        go_on() && run::run(candidate).result.is_err_and(|failure| failure.violation.property == property)
    };
    let mut best = plan.clone();
    loop {
        let before = best.clone();
        best = fewer_lines(best, &mut violates);
        best = simpler(best, &mut violates);
        if best == before {
            return best;
        }
    }
}

/// Leaves out runs of lines, long ones first, as long as that works.
fn fewer_lines(plan: Plan, violates: &mut impl FnMut(&Plan) -> bool) -> Plan {
    let mut best = plan;
    let mut lines = best.lines();
    let mut size = lines.len().div_ceil(2);
    while size > 0 {
        let mut from = 0;
        while from < lines.len() {
            let to = (from + size).min(lines.len());
            let rest = [&lines[..from], &lines[to..]].concat();
            let candidate: Plan =
                rest.join("\n").parse().expect("a plan without some of its lines is a plan");
            if violates(&candidate) {
                (best, lines) = (candidate, rest);
            } else {
                from = to;
            }
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

/// Plans that are simpler in one point.
fn simplifications(plan: &Plan) -> Vec<Plan> {
    let mut simpler = Vec::new();
    let mut with = |change: &dyn Fn(&mut Plan)| {
        let mut candidate = plan.clone();
        change(&mut candidate);
        if candidate != *plan {
            simpler.push(candidate);
        }
    };
    with(&|plan| plan.knobs.brokers = 2);
    with(&|plan| plan.knobs.brokers = plan.knobs.brokers.min(3));
    with(&|plan| plan.knobs.discoveries = 1);
    let last = plan.events.iter().map(|event| event.at).max().unwrap_or_default();
    with(&|plan| plan.knobs.duration = plan.knobs.duration.min(last + Duration::from_secs(1)));
    with(&|plan| plan.knobs.duration = rounder(plan.knobs.duration));
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
        | Action::Pace { late: Some(time), .. }
        | Action::Publish { every: time, .. }
        | Action::ReadHeads { every: time, .. }
        | Action::RollingRestart { every: time, .. } => *time = rounder(*time),
        _ => {}
    }
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
    fn numbers_and_times_become_simple() {
        let text = "brokers 5\non-total-loss wait\n@1234ms crash b1 for 17ms\n@2s publish p1 a 5 every 1s\n";
        let plan: Plan = text.parse().expect("a plan");
        let simple = simpler(plan, &mut |plan: &Plan| violates(plan));
        let expected = "duration 3s\nbrokers 2\ndiscoveries 1\non-total-loss wait\n@1s crash b1 for 10ms\n@2s publish p1 a 1 every 1s\n";
        assert_eq!(simple.to_string(), expected);
    }
}
