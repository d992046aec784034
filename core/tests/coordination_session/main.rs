//! The embedded coordination service and its client, back to back through the wire codec. Clients have
//! a timeout T of one second; the service has a tick of 100 ms.

mod world;

use bytes::Bytes;
use steadfast_core::coordination::{
    Create, CreateMode, Delete, MultiOperation, Operation, Request, Set, WatchKind,
};
use steadfast_core::limits::MAX_NODE_DATA_LEN;
use steadfast_core::time::Duration;
use world::{Net, T, World, at};

fn create(path: &str, mode: CreateMode) -> Operation {
    Operation::Create(Create { path: path.into(), data: Bytes::from_static(b"x"), mode })
}

fn ephemeral(path: &str) -> Operation {
    create(path, CreateMode::Ephemeral)
}

fn persistent(path: &str) -> Operation {
    create(path, CreateMode::Persistent)
}

fn set(path: &str) -> Operation {
    Operation::Set(Set { path: path.into(), data: Bytes::new(), version: None })
}

fn get(path: &str, watch: bool) -> Operation {
    Operation::Get { path: path.into(), watch }
}

fn exists(path: &str) -> Operation {
    Operation::Exists { path: path.into(), watch: true }
}

fn watch(path: &str) -> Operation {
    Operation::Watch { path: path.into(), recursive: true }
}

fn has(world: &World, path: &str) -> bool {
    world.service.tree().node(path).is_some()
}

fn millis(line: &str) -> u64 {
    line.split(' ').next().and_then(|n| n.parse().ok()).expect("a line begins with its time")
}

#[test]
fn statement_5_calls_are_answered_in_order_and_events_come_before_what_they_announce() {
    let mut world = World::new(2);
    world.call(0, watch("/"));
    world.call(1, get("/n", true));
    world.call(1, persistent("/n"));
    world.call(1, get("/n", true));
    world.call(0, set("/n"));
    world.call(0, get("/n", false));
    // Between sessions nothing is ordered.
    let log = world.log();
    let of = |client| log.iter().filter_map(move |line| line.strip_prefix(client)).collect::<Vec<_>>();
    assert_eq!(of("0 c0 "), ["#1 ok", "Created /n", "DataChanged /n", "#2 ok", "#3 ok"]);
    assert_eq!(of("0 c1 "), ["#1 NoNode", "#2 ok", "#3 ok", "DataChanged /n"]);
}

#[test]
fn an_idle_session_lives_on_its_pings() {
    let mut world = World::new(1);
    world.call(0, ephemeral("/e"));
    world.log();
    let sent = world.sent;
    world.run_until(at(60_000));
    assert_eq!(world.log(), [""; 0]);
    assert!(has(&world, "/e"));
    assert_eq!(world.sent - sent, 60_000 / 150, "one every 0.15 T");
}

#[test]
fn statements_2_and_4_a_session_dies_within_a_tick_of_its_timeout_and_its_owner_learns_last() {
    let mut world = World::new(2);
    world.run_until(at(30));
    world.call(0, ephemeral("/e"));
    world.call(1, exists("/e"));
    world.log();
    world.net(0, Net::Cut);
    world.run_until(at(1_020));
    assert_eq!(world.log(), ["430 c0 suspended"], "0.4 T after it was last heard");
    world.run_until(at(1_150));
    let log = world.log();
    let [deleted] = &log[..] else { panic!("{log:?}") };
    assert!(deleted.ends_with("c1 Deleted /e"), "{deleted}");
    assert!((1_030..=1_130).contains(&millis(deleted)), "in [T, T + tick]: {deleted}");
    world.call(1, ephemeral("/e"));
    assert_eq!(world.log(), ["1150 c1 #2 ok"], "another owns the path now");
    world.run_until(at(1_429));
    assert_eq!(world.log(), [""; 0], "and the former owner still knows nothing");
    world.run_until(at(1_430));
    assert_eq!(world.log(), ["1430 c0 expired"], "but after 1.4 T it gives up by itself");
}

#[test]
fn whoever_reconnects_too_late_learns_it_from_the_service() {
    let mut world = World::new(1);
    world.call(0, ephemeral("/e"));
    world.net(0, Net::Refusing);
    world.lose_links(0);
    world.run_until(at(1_110));
    assert!(!has(&world, "/e"));
    world.log();
    world.net(0, Net::Fine);
    world.call(0, persistent("/never"));
    world.run_until(at(1_399));
    let log = world.log();
    let [expired, call] = &log[..] else { panic!("{log:?}") };
    assert!(expired.ends_with("c0 expired") && call.ends_with("c0 #2 SessionExpired"), "{log:?}");
    assert!(!has(&world, "/never"));
    world.call(0, set("/e"));
    world.request(0, Request::OpenSession);
    world.call(0, ephemeral("/e"));
    let log = world.log();
    assert!(log[0].ends_with("#3 SessionExpired"), "no session: {log:?}");
    assert!(log[1].ends_with("connected") && log[2].ends_with("#4 ok"), "{log:?}");
}

#[test]
fn statement_8_a_session_that_reconnects_keeps_its_ephemerals_and_watches_but_has_lost_events() {
    let mut world = World::new(2);
    world.call(0, ephemeral("/e"));
    world.call(0, watch("/w"));
    for path in ["/e", "/absent"] {
        world.call(0, exists(path));
    }
    world.call(0, Operation::Children { path: "/".into(), watch: true });
    world.log();
    world.lose_links(0);
    assert_eq!(world.log(), ["0 c0 suspended"]);
    world.call(1, persistent("/w"));
    world.log();
    world.run_until(at(100));
    let log = world.log();
    let events: Vec<_> = log.iter().map(|line| line.split_once("c0 ").expect("of client 0").1).collect();
    assert_eq!(
        events,
        ["connected", "DataChanged /e", "Created /absent", "ChildrenChanged /"],
        "one-shot watches all fire, persistent ones say nothing of the past"
    );
    world.run_until(at(5_000));
    assert!(has(&world, "/e"), "it is the same session");
    world.call(1, set("/w"));
    world.call(1, persistent("/absent"));
    let log = world.log();
    assert_eq!(log, ["5000 c0 DataChanged /w", "5000 c1 #2 ok", "5000 c1 #3 ok"], "one-shots are used up");
}

#[test]
fn statement_11_a_call_under_way_when_the_link_is_lost_is_unknown_and_may_have_been_done() {
    let mut world = World::new(1);
    world.net(0, Net::Deaf);
    world.call(0, persistent("/done"));
    world.net(0, Net::Cut);
    world.call(0, persistent("/not"));
    assert_eq!(world.log(), [""; 0]);
    world.net(0, Net::Fine);
    world.lose_links(0);
    assert_eq!(world.log(), ["0 c0 suspended", "0 c0 #1 Unknown", "0 c0 #2 Unknown"]);
    assert!(has(&world, "/done") && !has(&world, "/not"));
}

#[test]
fn statement_16_calls_made_while_disconnected_run_after_the_reconnect() {
    let mut world = World::new(1);
    world.net(0, Net::Refusing);
    world.lose_links(0);
    world.call(0, persistent("/late"));
    world.call(0, set("/late"));
    world.run_until(at(300));
    assert_eq!(world.log(), ["0 c0 suspended"]);
    assert!(!has(&world, "/late"));
    world.net(0, Net::Fine);
    world.run_until(at(1_000));
    let log = world.log();
    assert!(
        log[0].ends_with("connected") && log[1].ends_with("#1 ok") && log[2].ends_with("#2 ok"),
        "{log:?}"
    );
    assert!(has(&world, "/late"));
}

#[test]
fn refused_dials_are_repeated_with_growing_pauses_and_no_session_is_given_up_before_it_is_granted() {
    let mut world = World::new(1);
    world.request(0, Request::CloseSession);
    world.net(0, Net::Refusing);
    let before = world.dials;
    world.request(0, Request::OpenSession);
    world.run_until(at(60_000));
    let dials = world.dials - before;
    // Full jitter up to 500 ms: 250 ms at the mean.
    assert!((160..400).contains(&dials), "{dials}");
    assert_eq!(world.log(), [""; 0]);
    world.net(0, Net::Fine);
    world.run_until(at(61_000));
    assert!(world.log()[0].ends_with("c0 connected"));
}

#[test]
fn too_many_waiting_calls_are_unknown_and_the_others_run() {
    let mut world = World::new(1);
    world.net(0, Net::Refusing);
    world.lose_links(0);
    world.log();
    for _ in 0..1_025 {
        world.call(0, create("/n", CreateMode::PersistentSequential));
    }
    assert_eq!(world.log(), ["0 c0 #1025 Unknown"]);
    world.net(0, Net::Fine);
    world.run_until(at(1_000));
    let log = world.log();
    assert_eq!(log.iter().filter(|line| line.ends_with(" ok")).count(), 1_024);
    assert!(log[0].ends_with("connected") && log[1_024].ends_with("#1024 ok"));

    world.net(0, Net::Refusing);
    world.lose_links(0);
    world.log();
    let data = Bytes::from(vec![0; MAX_NODE_DATA_LEN]);
    let big = Operation::Set(Set { path: "/n".into(), data, version: None });
    for _ in 0..64 {
        world.call(0, big.clone());
    }
    assert_eq!(world.log(), ["1000 c0 #1089 Unknown"], "4 MiB wait, all but the last with their envelopes");
}

#[test]
fn calls_that_no_service_would_take_are_answered_at_once() {
    let mut world = World::new(1);
    let sent = world.sent;
    world.call(0, get("no/path", false));
    let data = Bytes::from(vec![0; MAX_NODE_DATA_LEN]);
    let big = MultiOperation::Set(Set { path: "/n".into(), data, version: None });
    world.call(0, Operation::Multi(vec![big; 5]));
    let bad = Delete { path: "/a//b".into(), version: None };
    let good = Delete { path: "/a".into(), version: None };
    world.call(0, Operation::Multi(vec![MultiOperation::Check(good), MultiOperation::Delete(bad)]));
    assert_eq!(
        world.log(),
        ["0 c0 #1 Invalid", "0 c0 #2 Invalid", "0 c0 #3 Multi { index: 1, error: Other }"]
    );
    assert_eq!(world.sent, sent);
}

#[test]
fn closing_removes_ephemerals_at_once_and_nothing_more_is_answered() {
    let mut world = World::new(2);
    world.call(0, ephemeral("/e"));
    world.call(1, exists("/e"));
    world.call(1, watch("/"));
    world.log();
    world.request(0, Request::CloseSession);
    assert_eq!(world.log(), ["0 c1 Deleted /e"]);
    world.call(0, persistent("/n"));
    assert_eq!(world.log(), ["0 c0 #2 SessionExpired"]);
    world.request(0, Request::OpenSession);
    world.call(0, persistent("/n"));
    assert_eq!(world.log(), ["0 c0 connected", "0 c1 Created /n", "0 c0 #3 ok"]);

    // While the service cannot be reached, the session is left to expire.
    world.call(0, ephemeral("/f"));
    world.net(0, Net::Cut);
    world.request(0, Request::CloseSession);
    world.log();
    world.run_until(at(5_000));
    let log = world.log();
    let [deleted] = &log[..] else { panic!("{log:?}") };
    assert!(deleted.ends_with("c1 Deleted /f") && millis(deleted) <= 1_100, "{deleted}");
}

#[test]
fn a_process_paused_beyond_its_session_learns_of_the_end_when_it_reconnects() {
    for woken_by_a_lost_link in [false, true] {
        let mut world = World::new(2);
        world.call(0, ephemeral("/e"));
        world.log();
        world.pause(0);
        if !woken_by_a_lost_link {
            world.net(0, Net::Cut);
        }
        world.run_until(at(10_000));
        assert!(!has(&world, "/e"));
        world.net(0, Net::Fine);
        world.resume(0);
        world.run_until(at(10_300));
        let log = world.log();
        let [suspended, expired] = &log[..] else { panic!("{log:?}") };
        assert_eq!(suspended, "10000 c0 suspended");
        assert!(expired.ends_with("c0 expired") && millis(expired) < 10_100, "{log:?}");
        world.request(0, Request::OpenSession);
        world.call(0, ephemeral("/e"));
        let log = world.log();
        assert!(log[0].ends_with("connected") && log[1].ends_with("#2 ok"), "{log:?}");
    }
}

#[test]
fn a_short_pause_changes_nothing() {
    let mut world = World::new(1);
    world.call(0, ephemeral("/e"));
    world.log();
    world.run_until(at(500));
    world.pause(0);
    world.run_until(at(800));
    world.resume(0);
    world.run_until(at(5_000));
    assert_eq!(world.log(), [""; 0]);
    assert!(has(&world, "/e"));
}

#[test]
fn a_link_lost_unnoticed_by_the_service_is_taken_over() {
    let mut world = World::new(1);
    world.call(0, ephemeral("/e"));
    world.call(0, watch("/"));
    world.log();
    world.net(0, Net::Cut);
    world.run_until(at(420));
    assert_eq!(world.log(), ["400 c0 suspended"]);
    world.net(0, Net::Fine);
    world.run_until(at(900));
    let log = world.log();
    assert!(log.len() == 1 && log[0].ends_with("connected"), "{log:?}");
    world.call(0, set("/e"));
    assert_eq!(world.log(), ["900 c0 DataChanged /e", "900 c0 #3 ok"]);
    world.run_until(at(900) + T + Duration::from_millis(200));
    assert!(has(&world, "/e"));
}

#[test]
fn the_kind_of_a_watch_says_where_to_look() {
    // The kinds that a client makes up after a reconnect are those of a real change.
    let kinds = [WatchKind::DataChanged, WatchKind::Created, WatchKind::ChildrenChanged];
    let mut world = World::new(1);
    world.call(0, persistent("/p"));
    world.call(0, get("/p", true));
    world.call(0, exists("/q"));
    world.call(0, Operation::Children { path: "/p".into(), watch: true });
    world.log();
    world.call(0, set("/p"));
    world.call(0, persistent("/q"));
    world.call(0, persistent("/p/c"));
    let log = world.log();
    for (line, kind) in log.iter().filter(|line| line.contains('/')).zip(kinds) {
        assert!(line.contains(&format!("{kind:?}")), "{log:?}");
    }
    world.lose_links(0);
    world.run_until(at(100));
    let log = world.log();
    assert!(log.len() == 2 && log[1].ends_with("connected"), "nothing is left to fire: {log:?}");
}
