//! Publishers with an outbox die at any moment and start again, while the cluster suffers too, and
//! sessions expire early: every record that reached the outbox is in the log once, or was set aside and
//! reported as unknown.

use std::time::Duration;
use steadfast_core::filter::Topic;
use steadfast_sim::cluster::{Cluster, Config};
use steadfast_sim::fault::Fault;
use steadfast_sim::plan::generate::generate;
use steadfast_sim::plan::kinds::known;
use steadfast_sim::plan::{Action, Event, Plan, Target, run};

const SEEDS: std::ops::Range<u64> = 0..100;
/// Between two deaths of a publisher.
const PACE: u64 = 430;
const RECOVERY: Duration = Duration::from_secs(30);
/// An expiry that is reached in every run, and one that is not.
const EXPIRIES: [Duration; 2] = [Duration::from_millis(1_500), Duration::from_secs(1_000)];

/// A generated plan in which every publisher has an outbox and dies again and again, mostly for a moment,
/// sometimes for longer than the expiry.
fn plan(seed: u64) -> Plan {
    let mut plan = generate(seed);
    plan.knobs.session_expiry = EXPIRIES[(seed % 2) as usize];
    for publisher in &mut plan.publishers {
        publisher.outbox = true;
        let who = Target::Publisher(publisher.number);
        for turn in 1..plan.knobs.duration.as_millis() as u64 / PACE {
            let at = Duration::from_micros(
                turn * PACE * 1_000 + seed * 777 + u64::from(publisher.number) * 13_131,
            );
            let lasts = Some(Duration::from_millis(if turn % 7 == 0 { 2_000 } else { turn * 13 % 90 }));
            let kind = known(if turn % 2 == 0 { "crash" } else { "power-loss" });
            let action = Action::Trouble { kind, with: vec![who], amount: kind.amount, lasts };
            plan.events.push(Event { at, on: None, action });
        }
    }
    plan
}

#[test]
fn what_reached_the_outbox_is_stored_once_or_reported() {
    let outcomes: Vec<_> = SEEDS.map(|seed| (plan(seed), run::run(&plan(seed)))).collect();
    for (plan, outcome) in &outcomes {
        assert!(outcome.result.is_ok(), "{}\n{plan}", outcome.result.clone().expect_err("a failure"));
    }
    let with = |mark| outcomes.iter().filter(|(_, outcome)| outcome.coverage.count(mark) > 0).count();
    let (recovered, aside) = (with("recovered"), with("aside"));
    println!("{recovered} runs recover records, {aside} set some aside");
    assert!(recovered * 2 > outcomes.len() && aside > 5, "{recovered} recover, {aside} set aside");
}

/// Scenario 33: of processes with copies of one outbox at most one goes on, and what the others hold is reported.
#[test]
fn who_has_a_copy_of_an_outbox_goes_on_alone_or_is_fenced() {
    let copied = |seed| {
        let mut plan = generate(seed);
        plan.publishers[0].outbox = true;
        let topic = Topic::new("copied").expect("a topic");
        for (publisher, to) in [(1, 9), (9, 10)].into_iter().take(1 + (seed % 2) as usize) {
            let at = Duration::from_millis(1_000 + seed * 17 + u64::from(to) * 40);
            let every = Duration::from_millis(7);
            let action = Action::Publish { publisher: to, topic: topic.clone(), count: 100, every };
            plan.events.push(Event { at, on: None, action: Action::CopyOutbox { publisher, to } });
            plan.events.push(Event { at, on: None, action });
        }
        plan
    };
    let outcomes: Vec<_> = (0..40).map(|seed| (copied(seed), run::run(&copied(seed)))).collect();
    for (plan, outcome) in &outcomes {
        assert!(outcome.result.is_ok(), "{}\n{plan}", outcome.result.clone().expect_err("a failure"));
    }
    let with = |mark| outcomes.iter().filter(|(_, outcome)| outcome.coverage.count(mark) > 0).count();
    let (copied, fenced) = (with("copied"), with("fenced"));
    assert!(copied * 10 > outcomes.len() * 9 && fenced * 2 > copied, "{copied} copied, {fenced} fenced");
}

/// R29: nobody is told of the end of a session in which nothing was under way.
#[test]
fn an_idle_session_expires_and_the_publisher_goes_on() {
    let config = Config { session_expiry: Duration::from_millis(1_500), ..Config::default() };
    for outboxes in [false, true] {
        let mut cluster = Cluster::new(&Config { outboxes, ..config.clone() }, 5);
        let publisher = cluster.publishers()[0];
        cluster.publish(publisher, "a.b", 20, Duration::ZERO);
        assert!(cluster.run_until(Duration::from_secs(5), Cluster::is_settled).unwrap());
        // Longer than the expiry with the link up, then without.
        cluster.run_for(Duration::from_secs(5)).unwrap();
        assert_eq!(sessions(&cluster), 1, "a session with a link lives on");
        cluster.strike(Fault::Pause(publisher)).unwrap();
        cluster.run_for(Duration::from_secs(5)).unwrap();
        assert_eq!(sessions(&cluster), 0);
        cluster.strike(Fault::Resume(publisher)).unwrap();
        cluster.publish(publisher, "a.b", 20, Duration::ZERO);
        cluster.settle(RECOVERY).unwrap();
        let published = cluster.published(publisher);
        assert_eq!((published.acknowledged, published.unknown), (40, 0), "{published:?}");
    }
}

fn sessions(cluster: &Cluster) -> usize {
    let primary = cluster.primary().expect("a primary");
    let sessions = cluster.broker(primary).expect("it lives").replica().sessions();
    assert_eq!(sessions.base().len(), sessions.overlay().len());
    sessions.base().len()
}
