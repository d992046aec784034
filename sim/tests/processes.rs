//! What happens to processes: clocks that drift and jump, slow ones, ones that need too much memory, and
//! ones that are back before their session is over.

mod toy;

use steadfast_core::coordination::{Create, CreateMode, Operation, Request};
use steadfast_core::link::LinkId;
use steadfast_core::node::{Node as _, Output};
use steadfast_core::time::{Duration, Instant};
use steadfast_sim::fault::{Fault, cures};
use steadfast_sim::network::ProcessId;
use steadfast_sim::world::{Config, World};
use toy::{Do, Play as _, Toy, world};

const A: ProcessId = ProcessId(0);
const B: ProcessId = ProcessId(1);
const OUT: LinkId = LinkId::dialled(1);
const SECOND: u64 = 1_000_000_000;

/// What the clock of a toy shows, as the toy learns by being asked something.
fn clock(world: &mut World<Toy>, toy: u32) -> Instant {
    world.command(world.now(), ProcessId(toy), Do::WakeAt(Instant::default()));
    world.run(0);
    let node = world.node(ProcessId(toy)).expect("it lives");
    assert_eq!(node.poll_timeout(), None);
    node.began() + node.seen.last().expect("the timeout").0
}

/// How far each toy's clock goes in ten seconds, in nanoseconds.
fn ten_seconds(world: &mut World<Toy>, toys: u32) -> Vec<u64> {
    let before: Vec<_> = (0..toys).map(|toy| clock(world, toy)).collect();
    world.run(10_000);
    (0..toys).map(|toy| clock(world, toy).since(before[toy as usize]).as_nanos() as u64).collect()
}

#[test]
fn clocks_drift_within_the_bound_of_the_run() {
    let spread = |drift| ten_seconds(&mut world(Config { drift, ..Config::default() }, 3, 20), 20);
    assert!(spread(0).iter().all(|&time| time == 10 * SECOND));
    let drifted = spread(500);
    let bound = 10 * SECOND / 1_000_000 * 500;
    assert!(drifted.iter().all(|time| time.abs_diff(10 * SECOND) <= bound), "{drifted:?}");
    assert!(drifted.iter().any(|&time| time > 10 * SECOND + bound / 3), "{drifted:?}");
    assert!(drifted.iter().any(|&time| time < 10 * SECOND - bound / 3), "{drifted:?}");
}

#[test]
fn a_clock_that_runs_faster_or_slower_moves_its_deadlines() {
    for (rate, expected) in [(100_000, 909), (-100_000, 1_111), (0, 1_000)] {
        let mut world = world(Config::default(), 1, 1);
        let deadline = clock(&mut world, 0) + Duration::from_secs(1);
        world.command(0, A, Do::WakeAt(deadline));
        world.run(0);
        assert_eq!(world.strike(Fault::ClockRate(A, rate)).is_some(), rate != 0);
        let (begin, handled) = (world.now(), world.node(A).expect("it lives").seen.len());
        while world.node(A).expect("it lives").seen.len() == handled {
            world.step(u64::MAX).expect("the deadline comes");
        }
        assert_eq!((world.now() - begin) / 1_000_000, expected, "{rate}");
    }
}

#[test]
fn a_clock_jumps_ahead_at_once() {
    let mut world = world(Config::default(), 1, 2);
    let (a, b) = (clock(&mut world, 0), clock(&mut world, 1));
    world.command(0, A, Do::WakeAt(a + Duration::from_secs(60)));
    world.run(1_000);
    world.strike(Fault::ClockJump(A, Duration::from_secs(59)));
    world.run(0);
    assert_eq!(world.seen(0), ["timeout", "timeout"], "the deadline has come");
    assert_eq!(clock(&mut world, 0).since(a), Duration::from_secs(60));
    assert_eq!(clock(&mut world, 1).since(b), Duration::from_secs(1), "the other clock is another one");
}

/// A and B with a link that A has dialled and said hello on.
fn linked(config: Config) -> World<Toy> {
    let mut world = world(config, 1, 2);
    world.dial(0, 1, 1);
    world.run(10);
    world.send(0, OUT, "hello");
    world.run(10);
    world
}

#[test]
fn a_slow_process_takes_its_time_for_each_input_and_gets_all_of_them() {
    let mut world = linked(Config::default());
    world.strike(Fault::Slow(B, Duration::from_millis(10)));
    let begin = world.now() / 1_000_000;
    (0..10).for_each(|number| world.send(0, OUT, &number.to_string()));
    world.run(45);
    assert_eq!(world.seen(1).len(), 1 + 5);
    world.run(100);
    let expected: Vec<_> = (0..10).map(|number| format!("<1 {number}")).collect();
    assert_eq!(world.seen(1)[1..], expected);
    let last = world.when(1, "<1 9") - begin;
    assert!((90..=92).contains(&last), "{last}");
    // In the middle of its work it is as fast as before.
    (0..10).for_each(|_| world.send(0, OUT, "x"));
    world.run(15);
    world.strike(Fault::Slow(B, Duration::ZERO));
    world.run(10);
    assert_eq!(world.seen(1).len(), 1 + 20);
}

#[test]
fn a_slow_process_is_not_told_of_one_deadline_twice() {
    let mut world = linked(Config::default());
    world.strike(Fault::Slow(B, Duration::from_millis(10)));
    (0..20).for_each(|_| world.send(0, OUT, "x"));
    world.run(2);
    world.command(world.now(), B, Do::WakeAt(Instant::default()));
    world.run(1_000);
    assert_eq!(world.seen(1).iter().filter(|seen| **seen == "timeout").count(), 1);
}

#[test]
fn a_process_that_needs_too_much_memory_is_killed() {
    let mut world = linked(Config::default());
    world.strike(Fault::LimitMemory(B, 4_000));
    world.strike(Fault::Pause(B));
    (0..30).for_each(|_| world.send(0, OUT, "x"));
    world.run(10);
    assert!(world.node(B).is_some());
    (0..3).for_each(|_| world.send(0, OUT, &"x".repeat(1_000)));
    world.run(10);
    assert!(world.node(B).is_none());
    assert_eq!((world.out_of_memory(), world.seen(0).last()), (1, Some(&">1 Lost")));
    // It comes back, and without a limit it lives.
    world.strike(Fault::LimitMemory(B, u64::MAX));
    world.strike(Fault::Restart(B));
    world.dial(0, 2, 1);
    world.run(10);
    (0..100).for_each(|_| world.send(0, LinkId::dialled(2), &"x".repeat(1_000)));
    world.run(10);
    assert_eq!((world.seen(1).len(), world.out_of_memory()), (100, 1));
}

#[test]
fn what_nobody_takes_from_a_process_counts_as_its_memory() {
    let mut world = linked(Config { memory: 10_000, ..Config::default() });
    world.strike(Fault::StopReading(B));
    for number in 1..=10 {
        world.send(0, OUT, &"x".repeat(1_100));
        world.run(10);
        assert_eq!(world.node(A).is_some(), number < 10, "{number}");
    }
    assert!(world.node(B).is_some());
}

#[test]
fn a_process_that_is_back_before_its_session_is_over_finds_its_own_ephemeral() {
    let mut world = world(Config::default(), 1, 1);
    let own = |call| {
        let (path, mode) = ("/e".to_owned(), CreateMode::Ephemeral);
        let operation = Operation::Create(Create { path, data: Default::default(), mode });
        Output::Coordinate(Request::Call { call, operation })
    };
    world.put(0, Output::Coordinate(Request::OpenSession));
    world.put(0, own(1));
    world.run(100);
    let session = world.seen(0)[0].to_owned();
    world.strike(Fault::Crash(A));
    world.strike(Fault::Restart(A));
    world.put(0, Output::Coordinate(Request::OpenSession));
    world.put(0, own(1));
    world.run(1_000);
    world.put(0, own(2));
    world.run(1_500);
    world.put(0, own(3));
    world.run(100);
    assert_ne!(world.seen(0)[0], session);
    assert_eq!(world.seen(0)[1..], ["reply 1 NodeExists", "reply 2 NodeExists", "reply 3 ok"]);
}

#[test]
fn every_life_has_its_own_identities() {
    let mut world = world(Config::default(), 1, 1);
    let mut identities = Vec::new();
    for _ in 0..3 {
        identities.push(world.node(A).expect("it lives").identity);
        world.strike(Fault::Crash(A));
        world.strike(Fault::Restart(A));
    }
    assert!(identities[0] != identities[1] && identities[1] != identities[2], "{identities:?}");
}

#[test]
fn the_cures_put_every_fault_right() {
    let all = [A, B];
    let ms = Duration::from_millis;
    let faults = [
        Fault::Crash(A),
        Fault::PowerLoss(A),
        Fault::Pause(A),
        Fault::Slow(A, ms(100)),
        Fault::ClockRate(A, 100_000),
        Fault::LimitMemory(A, 0),
        Fault::Cut(A, B),
        Fault::Cut(B, A),
        Fault::Lag(A, B, ms(5_000)),
        Fault::Lag(B, A, ms(5_000)),
        Fault::StopReading(A),
        Fault::StopReading(B),
        Fault::StopStoring(A),
        Fault::CutToCoordination(A),
        Fault::CutFromCoordination(A),
        Fault::StopCoordination,
        Fault::CutFollower,
    ];
    for fault in faults {
        for seed in 0..4 {
            let mut world = world(Config::default(), seed, 2);
            world.strike(fault);
            world.run(100);
            cures(&all).into_iter().for_each(|cure| drop(world.strike(cure)));
            assert!(cures(&all).into_iter().all(|cure| world.strike(cure).is_none()), "{fault:?}");
            world.dial(0, 1, 1);
            world.put(0, Output::Coordinate(Request::OpenSession));
            world.run(20);
            world.send(0, OUT, "hello");
            world.run(20);
            assert_eq!(world.seen(1), ["<1 hello"], "{fault:?}");
            assert_eq!(world.seen(0).len(), 2, "{fault:?}: {:?}", world.seen(0));
        }
    }
}
