//! Plans as data: their text, what leaving a line out does, plans from proptest, and those that were once
//! found to break something.

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest::test_runner::FileFailurePersistence;
use std::fs;
use std::path::Path;
use std::time::Duration;
use steadfast_core::broker::OnTotalLoss;
use steadfast_core::filter::{Filter, Topic};
use steadfast_sim::coverage::transitions;
use steadfast_sim::plan::generate::generate;
use steadfast_sim::plan::kinds::{Amount, KINDS};
use steadfast_sim::plan::{Action, Again, Cue, Event, Knobs, Plan, Publisher, Subscriber, Target, run};
use steadfast_sim::random::Span;

fn time() -> impl Strategy<Value = Duration> {
    (0_u64..100_000, prop_oneof![Just(1), Just(1_000), Just(1_000_000)])
        .prop_map(|(count, unit)| Duration::from_nanos(count * unit))
}

fn target() -> impl Strategy<Value = Target> {
    prop_oneof![
        (1_u32..=5).prop_map(Target::Broker),
        (1_u32..=3).prop_map(Target::Discovery),
        (1_u32..=16).prop_map(Target::Publisher),
        (1_u32..=32).prop_map(Target::Subscriber),
        Just(Target::Primary),
        Just(Target::Backup),
        Just(Target::Leader),
        Just(Target::Follower),
        Just(Target::It),
    ]
}

fn client() -> impl Strategy<Value = Target> {
    prop_oneof![
        (1_u32..=16).prop_map(Target::Publisher),
        (1_u32..=32).prop_map(Target::Subscriber),
        Just(Target::It),
    ]
}

fn trouble() -> impl Strategy<Value = Action> {
    (0..KINDS.len(), [target(), target()], time(), any::<i64>(), prop::option::of(time())).prop_map(
        |(kind, targets, time, number, lasts)| {
            let kind = &KINDS[kind];
            let amount = match kind.amount {
                Amount::Plain => Amount::Plain,
                Amount::Time(_) => Amount::Time(time),
                Amount::Number(_) => Amount::Number(number),
            };
            Action::Trouble { kind, with: targets[..kind.processes].to_vec(), amount, lasts }
        },
    )
}

fn action() -> impl Strategy<Value = Action> {
    let topic = "[a-z]{1,3}(\\.[a-z#@+]{1,3})?".prop_map(|topic| Topic::new(&topic).expect("a topic"));
    prop_oneof![
        4 => trouble(),
        1 => (target(), prop::option::of(time())).prop_map(|(who, back)| Action::Shutdown { who, back }),
        1 => (target(), prop::option::of(time())).prop_map(|(who, back)| Action::Drain { who, back }),
        1 => client().prop_map(|who| Action::Close { who }),
        1 => (time(), time()).prop_map(|(back, every)| Action::RollingRestart { back, every }),
        1 => prop::option::of(time()).prop_map(|lasts| Action::TotalLoss { lasts }),
        1 => (1_u32..=5, time()).prop_map(|(broker, lasts)| Action::SecondProcess { broker, lasts }),
        1 => (1_u32..=16, topic, 1_u64..1_000, time())
            .prop_map(|(publisher, topic, count, every)| Action::Publish { publisher, topic, count, every }),
        1 => (1_u32..=16, 1_u32..=16).prop_map(|(publisher, to)| Action::CopyOutbox { publisher, to }),
        1 => (1_u32..=32, 1_u64..1_000, time())
            .prop_map(|(subscriber, count, every)| Action::ReadHeads { subscriber, count, every }),
        1 => (1_u32..=32, prop::option::of(time()))
            .prop_map(|(subscriber, late)| Action::Pace { subscriber, late }),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let cue = (select(transitions()), time()).prop_map(|(mark, after)| Cue { mark, after });
    (time(), prop::option::of(cue), action()).prop_map(|(at, on, action)| Event { at, on, action })
}

fn subscriber() -> impl Strategy<Value = Subscriber> {
    let filter = prop_oneof![Just(">"), Just("a.*"), Just("or"), Just("latest"), Just("joins.>")]
        .prop_map(|filter| Filter::new(filter).expect("a filter"));
    let again = prop_oneof![Just(Again::Anew), any::<u32>().prop_map(Again::Behind)];
    (1_u32..=32, prop::collection::vec(filter, 1..4), any::<bool>(), time(), again).prop_map(
        |(number, filters, latest, joins, again)| Subscriber { number, filters, latest, joins, again },
    )
}

fn knobs() -> impl Strategy<Value = Knobs> {
    let span = (0_u64..9_999, 0_u64..9_999)
        .prop_map(|(min, more)| Span::new(Duration::from_micros(min), Duration::from_micros(min + more)));
    let large = (any::<u64>(), any::<bool>(), 1_u64..u64::MAX, 0_u64..(1 << 40));
    (large, span, 2_u32..=5, 500_u64..=10_000, any::<bool>()).prop_map(
        |((seed, unsparing, records, spare), latency, brokers, session, wait)| Knobs {
            seed,
            unsparing,
            retention_records: records,
            log_spare: spare,
            latency,
            brokers,
            session_timeout: Duration::from_millis(session),
            on_total_loss: if wait { OnTotalLoss::Wait } else { OnTotalLoss::Reset },
            ..Knobs::default()
        },
    )
}

fn plan() -> impl Strategy<Value = Plan> {
    let publisher = (1_u32..=16, any::<bool>()).prop_map(|(number, outbox)| Publisher { number, outbox });
    let publishers = prop::collection::vec(publisher, 0..4);
    let subscribers = prop::collection::vec(subscriber(), 0..4);
    (knobs(), publishers, subscribers, prop::collection::vec(event(), 0..12)).prop_map(
        |(knobs, mut publishers, mut subscribers, events)| {
            publishers.sort_by_key(|publisher| publisher.number);
            publishers.dedup_by_key(|publisher| publisher.number);
            subscribers.sort_by_key(|subscriber| subscriber.number);
            subscribers.dedup_by_key(|subscriber| subscriber.number);
            Plan { knobs, publishers, subscribers, events }
        },
    )
}

/// Some of a generated plan's lines. It shrinks to fewer of them.
fn part_of_a_generated_plan() -> impl Strategy<Value = Plan> {
    any::<u64>().prop_flat_map(|seed| {
        let lines = generate(seed).lines();
        let most = lines.len();
        subsequence(lines, most / 2..=most)
            .prop_map(|lines| lines.join("\n").parse().expect("a plan without some of its lines is a plan"))
    })
}

proptest! {
    #[test]
    fn reading_what_was_written_gives_the_same_plan(plan in plan()) {
        prop_assert_eq!(plan.counted().parse::<Plan>(), Ok(plan));
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "(@?[a-z0-9>.+-]{0,9}[ \n]){0,20}") {
        let _ = text.parse::<Plan>();
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 60,
        max_shrink_iters: 400,
        // Beside the sources, where proptest looks for it by default, no test of this folder has a place.
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("regressions/proptest.txt"))),
        ..ProptestConfig::default()
    })]
    #[test]
    fn generated_plans_with_lines_left_out_hold_every_property(plan in part_of_a_generated_plan()) {
        let failure = run::run(&plan).result.err().map(|failure| failure.to_string());
        prop_assert_eq!(failure, None, "{}", plan);
    }
}

#[test]
fn generated_plans_are_written_and_read_as_they_are() {
    for seed in 0..500 {
        let plan = generate(seed);
        assert_eq!(plan.to_string().parse::<Plan>().as_ref(), Ok(&plan), "seed {seed}");
    }
}

/// What concerns nobody who takes part, or comes too late, changes nothing in a run.
#[test]
fn lines_without_effect_change_no_draw() {
    let plan = generate(9);
    let before = run::run(&plan);
    let mut more = plan.clone();
    let idle = "@1s crash b5\n@1s pause s30\n@2s publish p16 a 9 every 1ms\n@3s on Halted crash b1\n\
        @3s crash it\n@600s crash primary\n@1s heal b1 b2\n@1s resume b1\n";
    more.events.extend(idle.parse::<Plan>().expect("a plan").events);
    assert!(more.knobs.brokers < 5, "b5 takes no part");
    assert_eq!(run::run(&more).fingerprint, before.fingerprint);
}

/// Nobody's draws depend on who else takes part: a broker that never starts is not missed.
#[test]
fn everybody_has_the_same_draws_whoever_takes_part() {
    let lines = |brokers: u32| {
        let text = format!(
            "seed 9\nbrokers {brokers}\nstagger 10s\nduration 9s\npublisher p1\nsubscriber s1 >\n@0s publish p1 a 9 every 9ms\n"
        );
        let plan: Plan = text.parse().expect("a plan");
        let lines = run::render(&plan, steadfast_sim::render::Renderer::default()).lines;
        // Until the other brokers start.
        lines.into_iter().take_while(|line| !line.trim_start().starts_with("9000.")).collect::<Vec<_>>()
    };
    let few = lines(2);
    assert!(few.len() > 20, "{few:?}");
    assert_eq!(few, lines(5));
}

/// The smallest cluster there is, also where commits are to wait for more members than it can have.
#[test]
fn a_broker_alone_is_a_cluster() {
    let text = "brokers 1\ndiscoveries 1\nmin-in-sync 2\nduration 2s\npublisher p1\nsubscriber s1 >\n\
        @0s publish p1 a 9 every 9ms\n@1s pause primary for 300ms\n";
    let plan: Plan = text.parse().expect("a plan");
    let outcome = run::run(&plan);
    assert_eq!((outcome.result, outcome.excuse), (Ok(()), None));
}

/// Every plan that once broke something. Each says at its top what it broke.
#[test]
fn what_was_once_found_stays_mended() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions");
    let mut plans = 0;
    for entry in fs::read_dir(&folder).expect("the folder of regressions") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "plan") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("a plan's text");
        let plan: Plan = text.parse().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(text.starts_with("# "), "{} does not say what it broke", path.display());
        let outcome = run::run(&plan);
        assert!(outcome.result.is_ok(), "{}: {:?}", path.display(), outcome.result);
        plans += 1;
    }
    assert!(plans > 0, "there are regressions");
}
