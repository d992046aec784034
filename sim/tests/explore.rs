//! Everything that can happen to two brokers and their clients in small scopes, with one least number of
//! in-sync members and with two. The stated scopes, which are larger: `cargo run --release -p steadfast-sim --
//! explore`.

use steadfast_sim::check::{Check, Fact, Kind, Ledger};
use steadfast_sim::explore::{Action, Budget, Explorer, Limit, Report, Scope};

/// Two brokers in sync and a publisher with one record.
const fn scope(min_in_sync: u32, budget: Budget) -> Scope {
    Scope {
        brokers: 2,
        min_in_sync,
        records: 1,
        subscriber: false,
        outbox: false,
        writes: 6,
        channel: 3,
        connections: 2,
        settled: true,
        budget: Budget { retries: 2, ..budget },
    }
}

/// The same without clients.
const fn brokers(min_in_sync: u32, budget: Budget) -> Scope {
    Scope { records: 0, ..scope(min_in_sync, budget) }
}

/// Takes every choice; what must have occurred on the way shows that the scope holds it.
fn explore(scope: Scope, occurs: &[&str]) -> Report {
    let report = Explorer::new(scope).run(Limit { states: 1_000_000 }, usize::MAX, |_| true);
    println!("{report}");
    if let Some(found) = &report.counterexample {
        panic!("{}\n{}", found.violation, found.lines.join("\n"));
    }
    assert!(report.exhausted, "{report}");
    for mark in occurs {
        assert!(report.marks.contains(*mark), "no {mark}: {:?}", report.marks);
    }
    report
}

#[test]
fn two_brokers_and_a_publisher_start() {
    let from_nothing = |min| Scope { settled: false, ..scope(min, Budget::NONE) };
    let occurs = ["Promote Applied", "Expand Applied", "EpochCommitted", "Attached", "SessionOpened"];
    explore(from_nothing(1), &occurs);
    explore(from_nothing(2), &occurs);
}

#[test]
fn a_broker_dies_and_comes_back_empty() {
    let crash = Budget { crashes: 1, ..Budget::NONE };
    explore(brokers(1, crash), &["Shrink Applied", "Expand Applied", "Promote Applied"]);
    explore(brokers(2, crash), &["Kept", "Replace Applied", "Promote Applied"]);
}

#[test]
fn a_publisher_goes_on_where_the_broker_that_is_left_leads() {
    let crash = Budget { crashes: 1, ..Budget::NONE };
    explore(scope(1, crash), &["Promote Applied", "Detached", "Attached", "SessionOpened"]);
    explore(scope(2, crash), &["Replace Applied", "Detached", "Attached", "SessionOpened"]);
}

#[test]
fn a_subscriber_goes_on_where_the_broker_that_is_left_leads() {
    let crash = Budget { crashes: 1, ..Budget::NONE };
    let subscribed = |min| Scope { subscriber: true, connections: 1, ..scope(min, crash) };
    explore(subscribed(1), &["Promote Applied", "Detached", "StreamOpened"]);
    explore(subscribed(2), &["Promote Applied", "Detached", "StreamOpened"]);
}

#[test]
fn a_broker_stops_for_a_while() {
    let pause = Budget { pauses: 1, ..Budget::NONE };
    explore(brokers(1, pause), &["Suspected", "Shrink Applied", "Promote Applied", "SteppedDown"]);
    explore(brokers(2, pause), &["Suspected", "Kept", "Promote Applied", "SteppedDown"]);
}

#[test]
fn a_broker_leaves() {
    let shutdown = Budget { shutdowns: 1, ..Budget::NONE };
    explore(brokers(1, shutdown), &["HandoverBegan", "Leaves", "Shrink Applied", "Promote Applied"]);
}

#[test]
fn a_broker_is_suspected_for_no_reason() {
    let tick = Budget { ticks: 1, ..Budget::NONE };
    explore(scope(1, tick), &["Suspected", "SteppedDown", "Truncated"]);
    explore(scope(2, tick), &["Suspected", "SteppedDown"]);
}

#[test]
fn an_answer_of_the_tree_is_lost() {
    let lost = Budget { lost_answers: 1, ..Budget::NONE };
    let from_nothing = |min| Scope { settled: false, ..brokers(min, lost) };
    explore(from_nothing(1), &["Expand Unknown", "Promote Unknown"]);
    explore(from_nothing(2), &["Expand Unknown", "Promote Unknown"]);
}

#[test]
fn a_connection_breaks_or_a_session_ends() {
    explore(scope(2, Budget { resets: 1, ..Budget::NONE }), &["FollowerAttached", "Detached"]);
    explore(brokers(2, Budget { expiries: 1, ..Budget::NONE }), &["Registered", "Suspected"]);
}

#[test]
fn a_frame_cannot_be_read() {
    let damaged = |min| Scope { subscriber: true, ..scope(min, Budget { damages: 1, ..Budget::NONE }) };
    explore(damaged(1), &["Rejected"]);
    explore(damaged(2), &["Rejected"]);
}

#[test]
fn a_publisher_goes_on_with_the_outbox_of_one_that_died() {
    let revived =
        |min| Scope { records: 2, outbox: true, ..scope(min, Budget { revivals: 2, ..Budget::NONE }) };
    explore(revived(1), &["SessionOpened", "Recovered Ok"]);
    explore(revived(2), &["SessionOpened", "Recovered Ok"]);
}

#[test]
fn a_client_begins_anew_and_is_told_of_an_old_primary() {
    let astray = Budget { expiries: 1, revivals: 1, ..Budget::NONE };
    let astray = |min| Scope { outbox: true, connections: 1, ..scope(min, astray) };
    explore(astray(1), &["Promote Applied", "SessionOpened", "Recovered Ok"]);
    let subscribed = Scope { subscriber: true, outbox: false, ..astray(2) };
    explore(subscribed, &["Promote Applied", "StreamOpened", "Detached"]);
}

/// A property that is wrong: nothing is ever committed after the group has lost its first primary.
#[derive(Clone, Debug)]
struct NothingAfterEpochOne;

impl Check for NothingAfterEpochOne {
    fn name(&self) -> &'static str {
        "NothingAfterEpochOne"
    }

    fn hears(&self) -> &'static [Kind] {
        &[Kind::Committed]
    }

    fn check(&mut self, ledger: &Ledger, fact: &Fact<'_>) -> Result<(), String> {
        let epoch = ledger.states().last().map_or(0, |state| state.epoch);
        match fact {
            Fact::Committed { commit: commit @ 1.., .. } if epoch > 1 => {
                Err(format!("{commit} is committed in {epoch}"))
            }
            _ => Ok(()),
        }
    }
}

#[test]
fn what_does_not_hold_is_found_with_a_shortest_history() {
    let scope = brokers(1, Budget { crashes: 1, ..Budget::NONE });
    let explorer = Explorer::with(scope, vec![Box::new(NothingAfterEpochOne)]);
    let report = explorer.run(Limit { states: 1_000_000 }, usize::MAX, |_| true);
    let found = report.counterexample.expect("a promotion commits");
    assert_eq!(found.violation.property, "NothingAfterEpochOne");
    let first = |wanted: fn(&Action) -> bool| found.actions.iter().position(wanted);
    assert!(
        first(|action| matches!(action, Action::Crash(_)))
            < first(|action| matches!(action, Action::Apply { .. }))
    );
    assert!(found.actions.len() < 10, "{:?}", found.actions);
    assert!(found.lines.iter().any(|line| line.contains("BecamePrimary { epoch: 2")), "{:?}", found.lines);
}

#[test]
fn the_same_scope_gives_the_same_report() {
    let scope = Scope { settled: false, ..scope(2, Budget::NONE) };
    let figures = |report: Report| (report.states, report.transitions, report.depth, report.tables);
    assert_eq!(figures(explore(scope, &[])), figures(explore(scope, &[])));
}

#[test]
fn a_limit_ends_an_exploration() {
    let scope = scope(2, Budget { crashes: 1, ..Budget::NONE });
    let report = Explorer::new(scope).run(Limit { states: 1_000 }, 100, |so_far| {
        let so_far = so_far();
        assert!(so_far.states < 1_100, "{so_far}");
        true
    });
    assert!(!report.exhausted && report.states >= 1_000, "{report}");
}

#[test]
fn an_exploration_ends_when_it_is_told_to() {
    let scope = scope(2, Budget { crashes: 1, ..Budget::NONE });
    let report = Explorer::new(scope).run(Limit { states: 1_000_000 }, 100, |_| false);
    assert!(!report.exhausted && report.states < 10_000, "{report}");
}
