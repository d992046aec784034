//! The simulated ensemble and its clients behave as a ZooKeeper ensemble and its client do, faults
//! included.

mod toy;

use bytes::Bytes;
use steadfast_core::coordination::{Create, CreateMode, Operation, Request};
use steadfast_core::node::Output;
use steadfast_sim::fault::Fault;
use steadfast_sim::network::ProcessId;
use steadfast_sim::world::{Config, World};
use toy::{Play as _, Toy, world};

const A: ProcessId = ProcessId(0);
/// Session timeout and tick, in milliseconds.
const T: u64 = 2_000;
const TICK: u64 = 100;

fn create(path: &str, mode: CreateMode) -> Operation {
    Operation::Create(Create { path: path.to_owned(), data: Bytes::new(), mode })
}

fn exists(path: &str) -> Operation {
    Operation::Exists { path: path.to_owned(), watch: false }
}

/// Two toys with a session each: 0 owns the ephemeral `/e`, 1 watches it for ever.
fn sessions(seed: u64) -> World<Toy> {
    let mut world = world(Config::default(), seed, 2);
    for toy in 0..2 {
        world.put(toy, Output::Coordinate(Request::OpenSession));
    }
    world.run(20);
    world.call(1, 1, Operation::Watch { path: "/e".to_owned(), recursive: false });
    world.run(20);
    world.call(0, 1, create("/e", CreateMode::Ephemeral));
    world.run(60);
    assert_eq!(world.seen(0)[1..], ["reply 1 ok"]);
    assert_eq!(world.seen(1)[1..], ["reply 1 ok", "/e Created"]);
    world
}

/// Time from now to the deletion of `/e` as toy 1 sees it.
fn until_deleted(world: &mut World<Toy>) -> u64 {
    let from = world.now() / 1_000_000;
    world.run(2 * T);
    world.when(1, "/e Deleted") - from
}

#[test]
fn a_session_expires_a_timeout_and_at_most_a_tick_after_its_process_died() {
    let times: Vec<_> = (0..20)
        .map(|seed| {
            let mut world = sessions(seed);
            world.strike(Fault::Crash(A));
            until_deleted(&mut world)
        })
        .collect();
    // A few milliseconds for the way, and for a follower that is behind.
    assert!(times.iter().all(|&time| (T..=T + TICK + 25).contains(&time)), "{times:?}");
}

#[test]
fn a_closed_session_is_gone_at_once() {
    let mut world = sessions(1);
    world.put(0, Output::Coordinate(Request::CloseSession));
    assert!(until_deleted(&mut world) < 30);
}

#[test]
fn a_short_pause_is_not_noticed_and_a_long_one_ends_the_session() {
    let mut world = sessions(1);
    world.strike(Fault::Pause(A));
    world.run(T / 4);
    world.strike(Fault::Resume(A));
    world.run(2 * T);
    assert_eq!(world.seen(0).len(), 2, "{:?}", world.seen(0));

    world.strike(Fault::Pause(A));
    world.run(2 * T);
    assert_eq!(world.seen(1).last(), Some(&"/e Deleted"), "others see it before the owner does");
    assert_eq!(world.seen(0).len(), 2);
    world.strike(Fault::Resume(A));
    world.run(500);
    assert_eq!(world.seen(0)[2..], ["Suspended", "Expired"]);
}

#[test]
fn a_client_that_is_cut_off_is_suspended_and_then_gives_up() {
    for fault in [Fault::CutToCoordination(A), Fault::CutFromCoordination(A)] {
        let mut world = sessions(1);
        let start = world.now() / 1_000_000;
        world.strike(fault);
        world.run(2 * T);
        assert_eq!(world.when(0, "Suspended") - start, T * 2 / 5, "{fault:?}");
        assert_eq!(world.when(0, "Expired") - start, T * 7 / 5, "{fault:?}");
    }
}

#[test]
fn a_client_that_comes_back_in_time_keeps_its_session() {
    let mut world = sessions(1);
    world.strike(Fault::CutToCoordination(A));
    world.run(T * 3 / 5);
    world.strike(Fault::HealCoordination(A));
    world.run(2 * T);
    assert_eq!(world.seen(0)[2..], ["Suspended", world.seen(0)[0]]);
    assert_eq!(world.seen(1).last(), Some(&"/e Created"));
}

#[test]
fn calls_made_while_disconnected_wait_for_the_connection() {
    let mut world = sessions(1);
    world.strike(Fault::DropCoordination(A));
    world.call(0, 2, exists("/"));
    world.run(500);
    assert_eq!(world.seen(0)[2..], ["Suspended", world.seen(0)[0], "reply 2 ok"]);
}

/// What became of a create whose connection broke right after it was sent: whether it was done, and
/// whether that was after the client was connected again.
fn fate(seed: u64) -> (bool, bool) {
    let mut world = sessions(seed);
    world.call(1, 2, Operation::Watch { path: "/p".to_owned(), recursive: false });
    world.run(50);
    world.call(0, 2, create("/p", CreateMode::Persistent));
    world.run(0);
    world.strike(Fault::DropCoordination(A));
    world.run(2 * T);
    let seen = world.seen(0);
    assert!(seen.contains(&"reply 2 Unknown"), "{seen:?}");
    let done = world.seen(1).contains(&"/p Created");
    (done, done && world.when(1, "/p Created") > world.when(0, "Suspended") + 25)
}

#[test]
fn a_request_under_way_when_the_connection_breaks_is_lost_or_done_or_done_late() {
    let fates: Vec<_> = (0..60).map(fate).collect();
    for wanted in [(false, false), (true, false), (true, true)] {
        assert!(fates.contains(&wanted), "{wanted:?}");
    }
}

#[test]
fn what_a_watch_would_have_seen_while_disconnected_is_lost() {
    let mut world = sessions(1);
    let other = ProcessId(1);
    world.strike(Fault::CutToCoordination(other));
    world.run(T / 2);
    world.put(0, Output::Coordinate(Request::CloseSession));
    world.run(20);
    world.strike(Fault::HealCoordination(other));
    world.run(2 * T);
    let seen = world.seen(1);
    assert_eq!(seen[3..], ["Suspended", seen[0]]);
}

#[test]
fn a_read_may_be_stale_and_after_a_sync_it_is_not() {
    let found = |synced: bool| {
        (0..40).any(|seed| {
            let mut world = sessions(seed);
            world.call(0, 2, create("/p", CreateMode::Persistent));
            while !world.seen(0).contains(&"reply 2 ok") {
                world.step(u64::MAX);
            }
            if synced {
                world.call(1, 2, Operation::Sync { path: "/".to_owned() });
            }
            world.call(1, 3, Operation::Get { path: "/p".to_owned(), watch: false });
            world.run(50);
            world.seen(1).contains(&"reply 3 NoNode")
        })
    };
    assert!(found(false), "some session is on a server that is behind");
    assert!(!found(true), "and a sync waits for it");
}
