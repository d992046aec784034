//! The examination of the simulator, in little: bugs that a few seeds show, or a short exploration, planted one after
//! the other by the program itself. All of them take hours (`docs/sensitivity.md`); this shows that planting and
//! noticing work.

#![cfg(feature = "bugs")]

use serde_json::Value;
use std::process::{Command, Output};
use steadfast_core::sabotage::{Bug, plant};
use steadfast_sim::plan::Plan;
use steadfast_sim::plan::run::run;

/// Each breaks another rule, and nearly every seed shows it.
const EASY: [&str; 10] = [
    "WritesUnconditionally",
    "EpochNotRaised",
    "FloorForgotten",
    "AcksUndurable",
    "CountsItselfUndurable",
    "DeliversUncommitted",
    "HelloCountsAsAck",
    "TwoChangesAtOnce",
    "GenerationKept",
    "OutsidersPromote",
];

/// Of those that take seeds long the explorer finds these, each in a stated scope.
const LATE: [(&str, &str); 5] = [
    ("astray", "StreamsBeyondCommit"),
    ("revivals", "AttemptsUnstored"),
    ("damage", "GapsAcknowledge"),
    ("doubts", "AcksOfAnyEpoch"),
    ("revivals", "SendsUnstored"),
];

/// Plans that show a bug of which generated ones seldom do, and what notices it.
const KEPT: [(&str, Bug, &str); 2] = [
    (include_str!("../regressions/backlog-of-a-stream.plan"), Bug::BacklogForgotten, "DeliveryDue"),
    (include_str!("../regressions/gone-behind-the-silent.plan"), Bug::SilentHideTheGone, "RemovalDue"),
];

/// Calls `bugs` with these arguments. Returns its status and its result, the only line on standard output.
fn bugs(args: &[&str]) -> (Option<i32>, Value) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_steadfast-sim"));
    let Output { status, stdout, .. } = command
        .args(["bugs", "--json", "--detections", "1"])
        .args(args)
        .output()
        .expect("the program starts");
    (status.code(), serde_json::from_slice(&stdout).expect("one line of JSON"))
}

#[test]
fn planted_bugs_are_noticed_within_a_few_seeds() {
    let (status, result) = bugs(&[&["--seeds", "30"], &EASY[..]].concat());
    let found = result["bugs"].as_array().expect("a list");
    let missed: Vec<_> = found.iter().filter(|bug| bug["detected"] != true).collect();
    assert!(missed.is_empty(), "not noticed: {missed:?}");
    let names: Vec<_> = found.iter().map(|bug| bug["name"].as_str().expect("a name")).collect();
    assert_eq!((status, names), (Some(0), EASY.to_vec()));
    assert!(found.iter().all(|bug| bug["property"].is_string() && bug["median"].is_u64()));
}

#[test]
fn bugs_that_few_seeds_show_are_noticed_by_the_plans_that_are_kept_for_them() {
    for (plan, bug, property) in KEPT {
        let plan: Plan = plan.parse().expect("a plan");
        plant([bug]);
        let failure = run(&plan).result.expect_err("the plan was kept for this");
        plant(None);
        assert!(failure.to_string().contains(property), "{bug:?}: {failure}");
    }
}

#[test]
fn the_exploration_finds_bugs_that_take_seeds_long() {
    for (scope, bug) in LATE {
        let mut command = Command::new(env!("CARGO_BIN_EXE_steadfast-sim"));
        let explore = command.args(["explore", "--scope", scope, "--bug", bug]).output();
        let Output { status, stdout, .. } = explore.expect("the program starts");
        assert!(status.success(), "{bug}: {}", String::from_utf8_lossy(&stdout));
    }
}

#[test]
fn a_bug_that_is_not_noticed_is_a_failure() {
    // Seldom noticed within a thousand seeds.
    let (status, result) = bugs(&["--seeds", "1", "ConflictMeansNever"]);
    assert_eq!((status, &result["bugs"][0]["detected"]), (Some(1), &Value::Bool(false)));
}
