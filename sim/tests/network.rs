//! The simulated network, storage and clocks keep what `link.rs`, `storage.rs` and `node.rs` promise to
//! nodes, and fail as real ones do.

mod toy;

use steadfast_core::link::{LinkCommand, LinkId};
use steadfast_core::node::Output;
use steadfast_core::storage;
use steadfast_core::time::{Duration, Instant};
use steadfast_sim::fault::Fault;
use steadfast_sim::network::ProcessId;
use steadfast_sim::random::Span;
use steadfast_sim::world::{Config, World};
use toy::{Do, Play as _, Toy, world};

const A: ProcessId = ProcessId(0);
const B: ProcessId = ProcessId(1);
/// The link that A dials.
const OUT: LinkId = LinkId::dialled(1);
/// The same link as B accepts it.
const IN: LinkId = LinkId::accepted(1);

/// Two toys with a link that has carried a frame each way.
fn linked(seed: u64) -> World<Toy> {
    let mut world = world(Config::default(), seed, 2);
    world.dial(0, 1, 1);
    world.run(10);
    world.send(0, OUT, "hello");
    world.run(10);
    world.send(1, IN, "welcome");
    world.run(10);
    assert_eq!(world.seen(0), [">1 Up", ">1 welcome"]);
    assert_eq!(world.seen(1), ["<1 hello"]);
    world
}

#[test]
fn frames_keep_their_order_whatever_their_latencies() {
    for seed in 0..20 {
        let mut world = linked(seed);
        (0..50).for_each(|number| world.send(0, OUT, &number.to_string()));
        world.run(100);
        let expected: Vec<_> = (0..50).map(|number| format!("<1 {number}")).collect();
        assert_eq!(world.seen(1)[1..], expected);
    }
}

#[test]
fn a_dead_process_refuses_a_paused_one_accepts_a_dead_machine_is_silent() {
    let mut world = world(Config::default(), 1, 4);
    world.strike(Fault::Crash(ProcessId(1)));
    world.strike(Fault::Pause(ProcessId(2)));
    world.strike(Fault::PowerLoss(ProcessId(3)));
    (1..4).for_each(|other| world.dial(0, other as u64, other));
    world.dial(0, 9, 9);
    world.run(500);
    let mut seen = world.seen(0);
    seen.sort_unstable();
    assert_eq!(seen, [">1 Refused", ">2 Up", ">9 Refused"]);
    world.run(1_000);
    assert_eq!(world.seen(0).last(), Some(&">3 Lost"));
}

#[test]
fn a_paused_process_finds_everything_in_its_inbox() {
    let mut world = linked(1);
    world.strike(Fault::Pause(B));
    ["1", "2", "3"].iter().for_each(|text| world.send(0, OUT, text));
    world.run(1_000);
    assert_eq!(world.seen(1), ["<1 hello"]);
    world.strike(Fault::Resume(B));
    world.send(0, OUT, "4");
    world.run(10);
    assert_eq!(world.seen(1)[1..], ["<1 1", "<1 2", "<1 3", "<1 4"]);
}

#[test]
fn a_cut_holds_frames_back_one_way_until_it_heals() {
    let mut world = linked(1);
    world.strike(Fault::Cut(A, B));
    world.send(0, OUT, "1");
    world.send(0, OUT, "2");
    world.send(1, IN, "still there");
    world.run(5_000);
    assert_eq!((world.seen(1).len(), world.seen(0).last()), (1, Some(&">1 still there")));
    world.strike(Fault::Heal(A, B));
    world.send(0, OUT, "3");
    world.run(10);
    assert_eq!(world.seen(1)[1..], ["<1 1", "<1 2", "<1 3"]);
}

#[test]
fn a_reset_loses_what_is_under_way_and_both_ends_hear_of_it_once() {
    let mut world = linked(1);
    world.strike(Fault::Cut(A, B));
    world.send(0, OUT, "vanishes");
    world.run(10);
    world.strike(Fault::Reset(A, B));
    world.strike(Fault::Heal(A, B));
    world.run(100);
    world.send(0, OUT, "nowhere to go");
    world.run(100);
    assert_eq!((world.seen(0).last(), world.seen(1).last()), (Some(&">1 Lost"), Some(&"<1 Lost")));
    assert_eq!((world.seen(0).len(), world.seen(1).len()), (3, 2));
}

#[test]
fn a_crash_is_heard_and_a_power_loss_is_not() {
    let mut crashed = linked(1);
    crashed.strike(Fault::Crash(B));
    crashed.run(10);
    assert_eq!(crashed.seen(0).last(), Some(&">1 Lost"));

    let mut silent = linked(1);
    silent.strike(Fault::PowerLoss(B));
    silent.run(10);
    silent.send(0, OUT, "into the void");
    silent.run(10_000);
    assert_eq!(silent.seen(0).last(), Some(&">1 welcome"));
    // The machine is on again and knows nothing of the connection.
    silent.strike(Fault::Restart(B));
    silent.send(0, OUT, "are you there?");
    silent.run(10);
    assert_eq!(silent.seen(0).last(), Some(&">1 Lost"));
    assert!(silent.seen(1).is_empty());
}

#[test]
fn an_accepted_link_begins_with_its_first_frame() {
    let mut world = world(Config::default(), 1, 2);
    world.dial(0, 1, 1);
    world.run(10);
    world.put(0, Output::Link(LinkCommand::Close { link: OUT }));
    world.run(10);
    assert!(world.seen(1).is_empty(), "B never knew of the link");
}

#[test]
fn nothing_comes_after_a_close() {
    let mut world = linked(1);
    world.strike(Fault::Pause(A));
    world.put(0, Output::Link(LinkCommand::Close { link: OUT }));
    // The command is first in A's inbox, the frames are behind it.
    world.run(1);
    world.send(1, IN, "too late");
    world.run(10);
    world.strike(Fault::Resume(A));
    world.run(10);
    assert_eq!(world.seen(0).last(), Some(&">1 welcome"));
    assert_eq!(world.seen(1).last(), Some(&"<1 Lost"));
}

#[test]
fn a_link_that_is_full_is_given_up() {
    let mut config = Config::default();
    config.network.link_frames = 10;
    let mut world = world(config, 1, 2);
    world.dial(0, 1, 1);
    world.run(10);
    world.strike(Fault::Cut(A, B));
    (0..11).for_each(|_| world.send(0, OUT, "x"));
    world.run(10);
    assert_eq!(world.seen(0), [">1 Up", ">1 Lost"]);
}

#[test]
fn storage_completes_in_order_and_only_for_the_life_that_asked() {
    let storage = Span::new(Duration::from_millis(1), Duration::from_millis(20));
    let mut world = world(Config { storage, ..Config::default() }, 1, 1);
    let wipe = |ticket| Output::Store(storage::Request { ticket, operation: storage::Operation::Wipe });
    (1..=5).for_each(|ticket| world.put(0, wipe(ticket)));
    world.run(50);
    assert_eq!(world.seen(0), ["Done(1)", "Done(2)", "Done(3)", "Done(4)", "Done(5)"]);
    world.put(0, wipe(6));
    world.run(0);
    world.strike(Fault::Crash(A));
    world.strike(Fault::Restart(A));
    world.run(50);
    assert!(world.seen(0).is_empty());
}

#[test]
fn a_deadline_on_the_nodes_own_clock_comes_exactly_then() {
    let mut world = world(Config::default(), 1, 1);
    // A deadline in the past of every clock comes at once.
    world.command(0, A, Do::WakeAt(Instant::default()));
    world.run(100);
    assert_eq!(world.seen(0), ["timeout"]);
    assert_eq!(world.when(0, "timeout"), 0);
}
