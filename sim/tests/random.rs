//! Generated plans: everything that can go wrong under traffic, from calm to violent. Every property is
//! checked after every input, and when the faults end everything is well again.

use std::time::Duration;
use steadfast_sim::coverage::Coverage;
use steadfast_sim::plan::generate::generate;
use steadfast_sim::plan::run::{self, Outcome};
use steadfast_sim::render::Renderer;

const SEEDS: std::ops::Range<u64> = 0..400;

/// Runs a plan, and where it fails again with a timeline.
fn checked(seed: u64) -> Outcome {
    let plan = generate(seed);
    let outcome = run::run(&plan);
    let Err(failure) = &outcome.result else { return outcome };
    let again = run::render(&plan, Renderer::default());
    again.lines.iter().for_each(|line| println!("{line}"));
    assert_eq!((again.result, again.fingerprint), (outcome.result.clone(), outcome.fingerprint));
    panic!("seed {seed}: {failure}\n{plan}");
}

/// What runs must come to, and in how many of a thousand at least: everything that this file is for.
const EXPECTED: [(&str, usize); 27] = [
    ("strike(crash)", 300),
    ("strike(pause)", 200),
    ("strike(shutdown)", 150),
    ("strike(total-loss)", 15),
    ("cued", 150),
    ("copied", 20),
    ("closed", 100),
    ("drained", 40),
    ("fenced", 15),
    ("HandoverBegan", 60),
    ("Leaves(HandedOver)", 40),
    ("Leaves(Left)", 40),
    ("Leaves(GaveUp)", 2),
    ("Trimmed", 300),
    ("SnapshotBegun", 150),
    ("Installed", 150),
    ("SessionExpired", 50),
    ("Session(Expired)", 100),
    ("Busy(UncommittedBytes)", 20),
    ("Busy(LogBytes)", 10),
    ("Proposed(Replace)", 20),
    ("Proposed(Reset)", 20),
    ("Kept", 50),
    ("lost", 50),
    ("unknown", 20),
    ("FellSilent", 10),
    ("compressed", 150),
];

#[test]
fn generated_plans_hold_every_property() {
    let outcomes: Vec<_> = SEEDS.map(checked).collect();
    let (steps, time) = outcomes.iter().fold((0, Duration::ZERO), |(steps, time), outcome| {
        (steps + outcome.steps, time + Duration::from_nanos(outcome.time))
    });
    println!("{} plans, {} simulated minutes, {steps} inputs", outcomes.len(), time.as_secs() / 60);
    let mut coverage = Coverage::default();
    outcomes.iter().for_each(|outcome| coverage.add(&outcome.coverage));
    coverage.iter().for_each(|(mark, count)| println!("{count:>8} {mark}"));
    let mut missing = Vec::new();
    for (mark, of_a_thousand) in EXPECTED {
        let runs = outcomes.iter().filter(|outcome| outcome.coverage.count(mark) > 0).count();
        println!("{:>4} of 1000 {mark}", runs * 1_000 / outcomes.len());
        if runs * 1_000 < of_a_thousand * outcomes.len() {
            missing.push(format!("{mark}: {runs}"));
        }
    }
    assert!(missing.is_empty(), "too few runs come to this: {missing:?}");
    let excused = outcomes.iter().filter(|outcome| outcome.excuse.is_some()).count();
    assert!(excused * 20 < outcomes.len(), "{excused} runs are excused");
}

/// Where the plan spares the last holder, data is given up only where a change that was under way had
/// excluded the one that was spared.
#[test]
fn sparing_plans_seldom_give_data_up() {
    let sparing = |seed: &u64| {
        let plan = generate(*seed);
        !plan.knobs.unsparing && !plan.to_string().contains("total-loss")
    };
    let outcomes: Vec<_> = (1_000..1_100).filter(sparing).map(checked).collect();
    let given_up = outcomes.iter().filter(|outcome| outcome.lineage > 1).count();
    assert!(given_up * 10 < outcomes.len(), "{given_up} of {} runs gave the data up", outcomes.len());
}

#[test]
fn the_same_plan_gives_the_same_history() {
    for seed in 0..10 {
        assert_eq!(checked(seed), checked(seed), "seed {seed}");
    }
}
