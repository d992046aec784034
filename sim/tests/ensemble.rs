//! The simulated ensemble when its servers are in trouble, and what its clients can rely on even then.

mod toy;

use bytes::Bytes;
use steadfast_core::coordination::{Create, CreateMode, Delete, Operation, Request};
use steadfast_core::node::Output;
use steadfast_core::time::Duration;
use steadfast_sim::fault::Fault;
use steadfast_sim::network::{ProcessId, Tail};
use steadfast_sim::random::Span;
use steadfast_sim::world::{Config, World};
use toy::{Play as _, Toy, world};

const A: ProcessId = ProcessId(0);
const B: ProcessId = ProcessId(1);
/// Session timeout, tick, the time that an election takes and how late it is noticed, in milliseconds.
const T: u64 = 2_000;
const TICK: u64 = 100;
const ELECTION: std::ops::RangeInclusive<u64> = 400..=1_400;
const NOTICE: std::ops::RangeInclusive<u64> = 10..=110;
/// A few milliseconds for the way, and for a follower that is behind.
const SLACK: u64 = 25;

fn create(path: &str, mode: CreateMode) -> Operation {
    Operation::Create(Create { path: path.to_owned(), data: Bytes::new(), mode })
}

fn get(path: &str, watch: bool) -> Operation {
    Operation::Get { path: path.to_owned(), watch }
}

fn delete(path: &str) -> Operation {
    Operation::Delete(Delete { path: path.to_owned(), version: None })
}

fn sync() -> Operation {
    Operation::Sync { path: "/".to_owned() }
}

/// Two toys with a session each: A owns the ephemeral `/e`, B watches it and `/p` for ever.
fn sessions_with(config: Config, seed: u64) -> World<Toy> {
    let mut world = world(config, seed, 2);
    for toy in 0..2 {
        world.put(toy, Output::Coordinate(Request::OpenSession));
    }
    world.run(20);
    for (call, path) in [(1, "/e"), (2, "/p")] {
        world.call(1, call, Operation::Watch { path: path.to_owned(), recursive: false });
    }
    world.run(20);
    world.call(0, 1, create("/e", CreateMode::Ephemeral));
    world.run(60);
    assert_eq!(world.seen(1)[1..], ["reply 1 ok", "reply 2 ok", "/e Created"]);
    world
}

fn sessions(seed: u64) -> World<Toy> {
    sessions_with(Config::default(), seed)
}

fn ms(world: &World<Toy>) -> u64 {
    world.now() / 1_000_000
}

/// When a toy saw this last, in milliseconds since its start.
fn last(world: &World<Toy>, toy: u32, text: &str) -> u64 {
    let node = world.node(ProcessId(toy)).expect("it lives");
    let seen = node.seen.iter().rev().find(|(_, seen)| seen == text);
    seen.map(|(at, _)| at.as_millis() as u64).expect("it was seen")
}

/// A world in which A is connected to the follower and B to the leader, or the other way round.
fn apart(sync_limit: u64, on_follower: ProcessId) -> World<Toy> {
    let mut config = Config::default();
    config.coordination.sync_limit = Duration::from_millis(sync_limit);
    apart_with(config, on_follower)
}

fn apart_with(config: Config, on_follower: ProcessId) -> World<Toy> {
    let sync_limit = config.coordination.sync_limit.as_millis() as u64;
    let is_there = |seed: &u64| {
        let mut world = sessions_with(config, *seed);
        world.strike(Fault::CutFollower);
        world.run(sync_limit + 200);
        let suspended = |toy| world.seen(toy).contains(&"Suspended");
        (suspended(on_follower.0), suspended(1 - on_follower.0)) == (true, false)
    };
    let seed = (0..100).find(is_there).expect("one of four");
    sessions_with(config, seed)
}

#[test]
fn a_new_leader_disconnects_everybody_for_a_while_and_sessions_survive() {
    for seed in 0..20 {
        let mut world = sessions(seed);
        let begin = ms(&world);
        assert!(world.strike(Fault::NewLeader).is_some());
        assert!(world.strike(Fault::NewLeader).is_none(), "there is none to die");
        world.run(3 * T);
        for toy in 0..2 {
            let session = world.seen(toy)[0].to_owned();
            let (lost, back) = (last(&world, toy, "Suspended") - begin, last(&world, toy, &session) - begin);
            assert!(NOTICE.contains(&lost), "{lost}");
            assert!(back >= *ELECTION.start() && back <= ELECTION.end() + 200 + SLACK, "{back}");
        }
        assert!(!world.seen(1).contains(&"/e Deleted"));
    }
}

#[test]
fn a_new_leader_grants_a_full_timeout_again() {
    for seed in 0..20 {
        let mut world = sessions(seed);
        world.strike(Fault::Crash(A));
        world.run(T - 100);
        let begin = ms(&world);
        world.strike(Fault::NewLeader);
        world.run(3 * T);
        let gone = world.when(1, "/e Deleted") - begin;
        assert!(gone >= ELECTION.start() + T && gone <= ELECTION.end() + T + TICK + SLACK, "{gone}");
    }
}

#[test]
fn nothing_expires_while_all_servers_are_down() {
    let mut world = sessions(1);
    world.strike(Fault::Crash(A));
    world.run(500);
    world.strike(Fault::StopCoordination);
    assert!(world.strike(Fault::StopCoordination).is_none());
    assert!(world.strike(Fault::NewLeader).is_none());
    world.run(T * 6 / 5);
    let begin = ms(&world);
    world.strike(Fault::StartCoordination);
    assert!(world.strike(Fault::StartCoordination).is_none());
    world.run(2 * T);
    let gone = world.when(1, "/e Deleted") - begin;
    assert!((T..=T + TICK + SLACK).contains(&gone), "{gone}");
    assert_eq!(world.seen(1)[4..], ["Suspended", world.seen(1)[0], "/e Deleted"]);
}

#[test]
fn a_client_gives_up_in_a_long_outage_and_is_served_after_it() {
    let mut world = sessions(1);
    let begin = ms(&world);
    world.strike(Fault::StopCoordination);
    world.call(0, 2, get("/e", false));
    world.run(3 * T);
    let (lost, expired) = (last(&world, 0, "Suspended") - begin, last(&world, 0, "Expired") - begin);
    assert!(NOTICE.contains(&lost) && expired - lost == T * 7 / 5, "{lost} {expired}");
    world.put(0, Output::Coordinate(Request::OpenSession));
    world.call(0, 3, get("/e", false));
    world.run(T);
    assert_eq!(world.seen(0).last(), Some(&"Expired"));
    world.strike(Fault::StartCoordination);
    world.run(500);
    assert_eq!(world.seen(0).last(), Some(&"reply 3 ok"), "its old ephemeral is still there");
    assert!(world.seen(0).contains(&"reply 2 Unknown"));
}

/// What became of a create whose servers lost their leader while it was under way: what the client was
/// told, and whether it was done, and that while there was no leader.
fn fate(seed: u64) -> (String, bool, bool) {
    let mut world = sessions(seed);
    world.call(0, 2, create("/p", CreateMode::Persistent));
    // Half of them are still under way to the servers.
    world.run(seed % 2);
    world.strike(Fault::NewLeader);
    world.run(2 * T);
    world.call(1, 3, sync());
    world.call(1, 4, get("/p", false));
    world.run(100);
    let told = world.seen(0).iter().find(|seen| seen.starts_with("reply 2")).expect("an answer").to_string();
    let seen = world.seen(1);
    let known_at_once = seen.iter().position(|seen| *seen == "/p Created")
        < seen.iter().position(|seen| *seen == "Suspended");
    (told, seen.contains(&"reply 4 ok"), known_at_once)
}

#[test]
fn a_request_under_way_when_the_leader_dies_is_answered_or_lost_or_done_or_done_by_the_next() {
    let fates: Vec<_> = (0..100).map(fate).collect();
    assert!(fates.iter().all(|(told, done, _)| *done || told != "reply 2 ok"), "{fates:?}");
    let has = |told: &str, done, at_once| {
        fates.iter().any(|fate| (fate.0.as_str(), fate.1, fate.2) == (told, done, at_once))
    };
    assert!(has("reply 2 ok", true, true), "{fates:?}");
    assert!(has("reply 2 Unknown", false, true), "{fates:?}");
    assert!(has("reply 2 Unknown", true, true), "{fates:?}");
}

#[test]
fn after_attaching_again_and_a_sync_nothing_of_the_old_connection_lands_any_more() {
    let mut late = 0;
    for seed in 0..60 {
        let mut world = sessions(seed);
        world.call(0, 2, create("/p", CreateMode::Persistent));
        world.run(0);
        world.strike(if seed % 2 == 0 { Fault::DropCoordination(A) } else { Fault::NewLeader });
        world.call(0, 3, sync());
        world.call(0, 4, get("/p", false));
        while !world.seen(0).iter().any(|seen| seen.starts_with("reply 4")) {
            world.step(u64::MAX).expect("the client connects again");
        }
        let there = world.seen(0).contains(&"reply 4 ok");
        world.run(2 * T);
        world.call(1, 3, sync());
        world.call(1, 4, get("/p", false));
        world.run(100);
        let done = world.seen(1).contains(&"reply 4 ok");
        // Where the calls went out before the connection broke, nothing was promised.
        if !world.seen(0).contains(&"reply 4 Unknown") {
            assert_eq!(there, done, "seed {seed}");
            late += u32::from(!done);
        }
    }
    assert!(late > 0, "some were lost");
}

#[test]
fn a_client_of_a_cut_off_follower_is_pinged_while_its_session_runs_out() {
    let mut world = apart(3_000, A);
    let begin = ms(&world);
    world.strike(Fault::CutFollower);
    world.call(0, 2, get("/e", false));
    world.run(2_900);
    let gone = world.when(1, "/e Deleted") - begin;
    assert!((T..=T + TICK + SLACK).contains(&gone), "{gone}");
    world.call(0, 3, get("/e", false));
    world.call(0, 4, create("/p", CreateMode::Persistent));
    world.call(0, 5, get("/e", false));
    world.run(50);
    // It owns, as it thinks, what another one could have taken long since; its write waits, and so does
    // what is behind it.
    assert_eq!(world.seen(0)[2..], ["reply 2 ok", "reply 3 ok"]);
    world.run(1_000);
    assert_eq!(world.seen(0)[4..], ["Suspended", "reply 4 Unknown", "reply 5 Unknown", "Expired"]);
    world.run(T);
    assert!(!world.seen(1).contains(&"/p Created"), "what the follower could not pass on is lost");
}

#[test]
fn a_cut_off_follower_shows_the_past_until_it_is_back() {
    let mut world = apart(1_500, A);
    world.strike(Fault::CutFollower);
    world.call(1, 3, create("/p", CreateMode::Persistent));
    world.run(800);
    world.call(0, 2, get("/p", false));
    world.run(50);
    world.call(0, 3, sync());
    world.call(0, 4, get("/p", false));
    world.call(0, 5, create("/q", CreateMode::Persistent));
    world.run(50);
    assert_eq!(world.seen(0)[2..], ["reply 2 NoNode"]);
    world.strike(Fault::HealFollower);
    world.run(50);
    assert_eq!(world.seen(0)[3..], ["reply 3 ok", "reply 4 ok", "reply 5 ok"]);
    world.run(2 * T);
    assert_eq!(world.seen(0).len(), 6, "its session lives");
}

/// A follower has confirmed a write that the leader applies late. B is connected to the leader.
fn late_leader() -> World<Toy> {
    let mut config = Config::default();
    let late = Duration::from_millis(30);
    config.coordination.leader_late = Tail { permille: 1_000, extra: Span::new(late, late) };
    let mut world = apart_with(config, A);
    world.call(0, 2, create("/q", CreateMode::Persistent));
    while !world.seen(0).contains(&"reply 2 ok") {
        world.step(u64::MAX).expect("the follower answers");
    }
    world
}

#[test]
fn a_sync_on_the_leader_is_no_barrier_and_a_transaction_is_one() {
    let mut world = late_leader();
    world.call(1, 3, sync());
    world.call(1, 4, get("/q", false));
    world.run(10);
    assert_eq!(world.seen(1)[4..], ["reply 3 ok", "reply 4 NoNode"]);
    world.run(30);
    world.call(1, 5, get("/q", false));
    world.run(50);
    assert_eq!(world.seen(1)[6..], ["reply 5 ok"], "the leader applies it in the end");

    // Also a transaction that fails has its place among the others.
    for (path, answer) in [("/", "reply 3 ok"), ("/none", "reply 3 Multi { index: 0, error: NoNode }")] {
        let mut world = late_leader();
        world.call(1, 3, Operation::barrier(path.to_owned()));
        world.call(1, 4, get("/q", false));
        world.run(10);
        assert_eq!(world.seen(1)[4..], [answer, "reply 4 ok"]);
    }
}

#[test]
fn a_follower_that_is_cut_off_while_it_is_behind_comes_no_further() {
    for wait in 0..8 {
        let mut world = apart(1_500, A);
        world.call(1, 3, create("/q", CreateMode::Persistent));
        world.run(wait);
        world.strike(Fault::CutFollower);
        world.call(1, 4, create("/p", CreateMode::Persistent));
        world.run(100);
        world.call(0, 2, get("/p", false));
        world.run(50);
        assert_eq!(world.seen(0)[2..], ["reply 2 NoNode"], "{wait}");
    }
}

#[test]
fn a_follower_that_is_back_tells_a_client_whose_session_is_over() {
    let mut world = apart(10_000, A);
    world.strike(Fault::CutFollower);
    world.run(T + 500);
    assert_eq!(world.seen(0).len(), 2);
    world.strike(Fault::HealFollower);
    world.run(500);
    assert_eq!(world.seen(0)[2..], ["Suspended", "Expired"]);
}

#[test]
fn a_cut_off_follower_gets_no_new_clients_and_a_leaders_client_notices_nothing() {
    let mut world = apart(1_000, A);
    world.strike(Fault::CutFollower);
    world.run(1_200);
    for _ in 0..10 {
        world.strike(Fault::DropCoordination(A));
        world.run(300);
        world.call(0, 9, create("/x", CreateMode::Persistent));
        world.call(0, 9, delete("/x"));
        world.run(50);
        let seen = world.seen(0);
        assert_eq!(seen[seen.len() - 2..], ["reply 9 ok", "reply 9 ok"]);
    }
    assert!(!world.seen(1).contains(&"Suspended"));
}

#[test]
fn silence_counts_from_its_beginning_whatever_comes_later() {
    let mut world = sessions(1);
    let begin = ms(&world);
    world.strike(Fault::CutToCoordination(A));
    world.run(T / 2);
    world.strike(Fault::Pause(A));
    world.run(T / 4);
    world.strike(Fault::Crash(A));
    world.run(T);
    let gone = world.when(1, "/e Deleted") - begin;
    assert!((T..=T + TICK + SLACK).contains(&gone), "{gone}");
}

#[test]
fn the_leader_heard_of_a_client_last_when_that_pinged_last() {
    let mut config = Config::default();
    config.coordination.ping = Duration::from_millis(300);
    let times: Vec<_> = (0..20)
        .map(|seed| {
            let mut world = sessions_with(config, seed);
            let begin = ms(&world);
            world.strike(Fault::Crash(A));
            world.run(2 * T);
            world.when(1, "/e Deleted") - begin
        })
        .collect();
    assert!(times.iter().all(|time| (T - 300..=T + TICK + SLACK).contains(time)), "{times:?}");
    assert!(times.iter().any(|time| *time < T - 50) && times.iter().any(|time| *time > T - 250), "{times:?}");
}

#[test]
fn within_a_session_an_event_comes_before_a_reply_that_shows_it() {
    for seed in 0..20 {
        let mut world = sessions(seed);
        world.call(1, 3, create("/p", CreateMode::Persistent));
        world.call(1, 4, get("/p", false));
        world.run(100);
        assert_eq!(world.seen(1)[4..], ["/p Created", "reply 3 ok", "reply 4 ok"], "seed {seed}");
        // Also what another session does.
        world.call(0, 2, delete("/p"));
        world.run(1);
        world.call(1, 5, sync());
        world.call(1, 6, get("/p", false));
        world.run(100);
        assert_eq!(world.seen(1)[7..], ["/p Deleted", "reply 5 ok", "reply 6 NoNode"], "seed {seed}");
    }
}

#[test]
fn one_shot_watches_outlive_a_disconnect_and_miss_what_is_undone_again() {
    let mut world = sessions(1);
    let exists = |path: &str| Operation::Exists { path: path.to_owned(), watch: true };
    world.call(1, 3, exists("/x"));
    world.call(1, 4, exists("/y"));
    world.call(1, 5, get("/e", true));
    world.run(50);
    let before = world.seen(1).len();
    world.strike(Fault::CutToCoordination(B));
    world.run(T / 2);
    let changes = [
        create("/x", CreateMode::Persistent),
        create("/y", CreateMode::Persistent),
        delete("/y"),
        delete("/e"),
    ];
    (2..).zip(changes).for_each(|(call, change)| world.call(0, call, change));
    world.run(50);
    world.strike(Fault::HealCoordination(B));
    world.run(T);
    let seen = world.seen(1);
    assert_eq!(seen[before..before + 2], ["Suspended", seen[0]]);
    let mut events = seen[before + 2..].to_vec();
    events.sort_unstable();
    // The server sends an event of /e for its one-shot watch alone; the client tells both of its watches.
    assert_eq!(events, ["/e Deleted", "/e Deleted", "/x Created"]);
    world.call(0, 9, create("/y", CreateMode::Persistent));
    world.run(50);
    assert_eq!(world.seen(1).last(), Some(&"/y Created"), "that watch is still there");
}

/// What a third toy sees of calls in regular intervals, with the times, after this fault of the first.
fn bystander(fault: Option<Fault>) -> Vec<(Duration, String)> {
    let mut world = world(Config::default(), 7, 3);
    (0..3).for_each(|toy| world.put(toy, Output::Coordinate(Request::OpenSession)));
    world.run(50);
    if let Some(fault) = fault {
        world.strike(fault);
    }
    for call in 1..50 {
        world.call(2, call, get("/", false));
        world.run(10);
    }
    world.node(ProcessId(2)).expect("it lives").seen.clone()
}

#[test]
fn one_process_s_trouble_changes_no_draw_of_another() {
    let calm = bystander(None);
    for fault in [Fault::DropCoordination(A), Fault::Crash(A), Fault::CutToCoordination(B), Fault::Pause(A)] {
        assert_eq!(bystander(Some(fault)), calm, "{fault:?}");
    }
}

#[test]
fn a_client_does_not_take_a_connection_for_good_that_its_server_has_given_up() {
    for seed in 0..20 {
        let mut world = sessions(seed);
        world.strike(Fault::CutFromCoordination(A));
        world.strike(Fault::DropCoordination(A));
        // It is attached again, and the answer is held back on the way to it.
        world.run(300);
        world.strike(Fault::NewLeader);
        world.run(300);
        world.strike(Fault::HealCoordination(A));
        world.run(T);
        world.call(0, 2, get("/e", false));
        world.run(50);
        assert_eq!(world.seen(0).last(), Some(&"reply 2 ok"), "seed {seed}");
    }
}
