//! The simulated network, storage and clocks keep what `link.rs`, `storage.rs` and `node.rs` promise to
//! nodes, and fail as real ones do.

mod toy;

use steadfast_core::link::{LinkCommand, LinkId};
use steadfast_core::node::Output;
use steadfast_core::storage;
use steadfast_core::time::{Duration, Instant};
use steadfast_sim::fault::Fault;
use steadfast_sim::network::{ProcessId, Tail};
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
    linked_with(Config::default(), seed)
}

fn linked_with(config: Config, seed: u64) -> World<Toy> {
    let mut world = world(config, seed, 2);
    world.dial(0, 1, 1);
    world.run(100);
    world.send(0, OUT, "hello");
    world.run(100);
    world.send(1, IN, "welcome");
    world.run(100);
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

/// Three toys; A has dialled B (link 1) and C (link 2), and each has heard a word.
fn three(config: Config, seed: u64) -> World<Toy> {
    let mut world = world(config, seed, 3);
    (1..3).for_each(|to| world.dial(0, to as u64, to));
    world.run(100);
    (1..3).for_each(|link| world.send(0, LinkId::dialled(link), "hello"));
    world.run(100);
    assert_eq!((world.seen(1), world.seen(2)), (vec!["<1 hello"], vec!["<1 hello"]));
    world
}

/// How long each of a number of frames takes from A to B, in microseconds.
fn times(config: Config, seed: u64) -> Vec<u128> {
    let mut world = linked_with(config, seed);
    let sent: Vec<_> = (0..200)
        .map(|number| {
            let at = world.now();
            world.send(0, OUT, &number.to_string());
            world.run(50);
            at
        })
        .collect();
    let node = world.node(B).expect("it lives");
    node.seen[1..]
        .iter()
        .zip(sent)
        .map(|((seen, _), sent)| (seen.as_nanos() - u128::from(sent)) / 1_000)
        .collect()
}

#[test]
fn latencies_have_a_distance_of_each_direction_and_a_long_tail() {
    let ms = Duration::from_millis;
    let mut config = Config::default();
    config.network.latency = Span::new(ms(1), ms(2));
    let near = times(config, 1);
    assert!(near.iter().all(|time| (1_000..=2_000).contains(time)), "{near:?}");

    config.network.distance = Span::new(ms(3), ms(20));
    let far = times(config, 1);
    let least = *far.iter().min().expect("some");
    assert!(least >= 4_000 && far.iter().all(|time| *time <= least + 1_000), "{far:?}");
    let elsewhere = times(config, 2).into_iter().min().expect("some");
    assert!(least.abs_diff(elsewhere) > 100, "it is drawn: {least} {elsewhere}");

    config.network.distance = Span::ZERO;
    config.network.tail = Tail { permille: 50, extra: Span::new(ms(10), ms(30)) };
    let tailed = times(config, 1);
    let late = tailed.iter().filter(|time| **time >= 11_000).count();
    assert!((3..30).contains(&late), "{late} of 200");
    assert!(tailed.iter().all(|time| (1_000..=2_000).contains(time) || (11_000..=32_000).contains(time)));
}

#[test]
fn a_lag_lasts_until_it_is_put_right() {
    let mut world = linked(1);
    world.strike(Fault::Lag(A, B, Duration::from_millis(30)));
    assert!(world.strike(Fault::Lag(A, B, Duration::from_millis(30))).is_none(), "that changes nothing");
    world.send(0, OUT, "late");
    world.send(1, IN, "at once");
    world.run(20);
    assert_eq!((world.seen(1).len(), world.seen(0).last()), (1, Some(&">1 at once")));
    world.run(20);
    assert_eq!(world.seen(1).last(), Some(&"<1 late"));
    world.strike(Fault::Lag(A, B, Duration::ZERO));
    world.send(0, OUT, "soon");
    world.run(2);
    assert_eq!(world.seen(1).last(), Some(&"<1 soon"));
}

#[test]
fn frames_of_different_links_overtake_each_other() {
    let overtakes = |seed| {
        let mut world = linked(seed);
        world.dial(0, 2, 1);
        world.run(10);
        world.send(0, OUT, "first");
        world.send(0, LinkId::dialled(2), "second");
        world.run(10);
        world.seen(1)[1] == "<2 second"
    };
    let count = (0..40).filter(|&seed| overtakes(seed)).count();
    assert!((5..35).contains(&count), "{count} of 40");
}

#[test]
fn a_half_open_link_still_brings_what_was_sent_and_is_noticed_by_sending() {
    let mut world = linked(1);
    world.send(0, OUT, "last words");
    world.run(0);
    world.strike(Fault::HalfOpen(A, B));
    world.run(5_000);
    assert_eq!(world.seen(0).last(), Some(&">1 Lost"));
    assert_eq!(world.seen(1).last(), Some(&"<1 last words"), "and no more, however long it waits");
    world.send(1, IN, "are you there?");
    world.run(10);
    assert_eq!((world.seen(0).len(), world.seen(1).last()), (3, Some(&"<1 Lost")));
}

#[test]
fn a_forgotten_connection_is_a_black_hole_and_a_new_one_is_not() {
    let mut world = linked(1);
    world.strike(Fault::Vanish(A, B));
    world.send(0, OUT, "into the void");
    world.send(1, IN, "so is this");
    world.run(60_000);
    assert_eq!((world.seen(0).len(), world.seen(1).len()), (2, 1));
    world.dial(0, 2, 1);
    world.run(10);
    world.send(0, LinkId::dialled(2), "here");
    world.run(10);
    assert_eq!((world.seen(0).last(), world.seen(1).last()), (Some(&">2 Up"), Some(&"<2 here")));
}

#[test]
fn a_damaged_frame_is_another_one_in_its_place() {
    let mut world = linked(1);
    world.strike(Fault::Damage(A, B, 1_000));
    world.send(0, OUT, "damaged");
    world.send(1, IN, "whole");
    world.run(10);
    assert_eq!(world.seen(0).last(), Some(&">1 whole"), "the other way is as before");
    assert_eq!(world.seen(1).last(), Some(&"<1 \u{fffd}amaged"));
    world.strike(Fault::Damage(A, B, 0));
    world.send(0, OUT, "and whole again");
    world.run(10);
    assert_eq!((world.seen(1).len(), world.seen(1).last()), (3, Some(&"<1 and whole again")));
}

#[test]
fn a_delayed_frame_of_an_old_connection_comes_after_its_copy_on_the_new_one() {
    let mut world = linked(1);
    world.send(0, OUT, "once");
    world.run(0);
    world.strike(Fault::Delay(A, B, Duration::from_millis(500)));
    world.strike(Fault::HalfOpen(A, B));
    world.dial(0, 2, 1);
    world.run(10);
    world.send(0, LinkId::dialled(2), "once");
    world.run(1_000);
    assert_eq!(world.seen(1)[1..], ["<2 once", "<1 once"]);
}

#[test]
fn a_delay_and_a_cut_hold_back_together() {
    let mut world = linked(1);
    world.send(0, OUT, "1");
    world.run(0);
    world.strike(Fault::Delay(A, B, Duration::from_millis(100)));
    world.strike(Fault::Delay(A, B, Duration::from_millis(300)));
    world.send(0, OUT, "2");
    world.run(200);
    world.strike(Fault::Cut(A, B));
    world.run(200);
    assert_eq!(world.seen(1).len(), 1);
    world.strike(Fault::Heal(A, B));
    world.run(10);
    assert_eq!(world.seen(1)[1..], ["<1 1", "<1 2"]);
}

#[test]
fn a_partial_partition_leaves_a_third_one_in_touch_with_both() {
    let mut world = three(Config::default(), 1);
    world.strike(Fault::Cut(A, B));
    world.strike(Fault::Cut(B, A));
    (1..3).for_each(|link| world.send(0, LinkId::dialled(link), "hear me"));
    world.dial(1, 1, 2);
    world.run(10);
    world.send(1, OUT, "and me");
    world.run(100);
    assert_eq!(world.seen(1), ["<1 hello", ">1 Up"]);
    assert_eq!(world.seen(2), ["<1 hello", "<1 hear me", "<2 and me"]);
}

#[test]
fn a_peer_that_does_not_read_fills_its_links_by_frames_or_by_bytes() {
    for (frames, bytes) in [(10, usize::MAX), (usize::MAX, 45)] {
        let mut config = Config::default();
        (config.network.link_frames, config.network.link_bytes) = (frames, bytes);
        let mut world = three(config, 1);
        world.strike(Fault::StopReading(B));
        for _ in 0..11 {
            (1..3).for_each(|link| world.send(0, LinkId::dialled(link), "12345"));
            world.run(10);
        }
        assert_eq!(world.seen(0)[2..], [">1 Lost"]);
        assert_eq!((world.seen(1).len(), world.seen(2).len()), (1, 12));
    }
}

#[test]
fn a_process_that_does_not_read_still_sends_and_dials_and_finds_everything_later() {
    let mut world = linked(1);
    world.strike(Fault::StopReading(B));
    world.send(0, OUT, "1");
    world.send(0, OUT, "2");
    world.put(0, Output::Link(LinkCommand::Close { link: OUT }));
    world.send(1, IN, "I talk");
    world.dial(1, 1, 0);
    world.run(100);
    assert_eq!(world.seen(1), ["<1 hello", ">1 Up"]);
    world.strike(Fault::ReadAgain(B));
    world.run(10);
    assert_eq!(world.seen(1)[2..], ["<1 1", "<1 2", "<1 Lost"]);
    assert!(world.strike(Fault::ReadAgain(B)).is_none(), "it does already");
}

#[test]
fn what_waits_in_a_paused_process_fills_its_links() {
    let mut config = Config::default();
    config.network.link_frames = 10;
    let mut world = linked_with(config, 1);
    world.strike(Fault::Pause(B));
    for _ in 0..11 {
        world.send(0, OUT, "x");
        world.run(10);
    }
    assert_eq!(world.seen(0).last(), Some(&">1 Lost"));
    world.strike(Fault::Resume(B));
    world.run(10);
    assert_eq!((world.seen(1).len(), world.seen(1).last()), (12, Some(&"<1 Lost")));
}
