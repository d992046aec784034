//! The cached view of a group.

use crate::world::{Part, World, bad_nodes, live, live_name, live_path, paths};
use bytes::Bytes;
use steadfast_core::coordination::registry::Registry;
use steadfast_core::coordination::{CreateMode, Event, MultiOperation, Operation, WatchKind};
use steadfast_core::group::{GroupState, LiveNode};
use steadfast_core::id::{GroupId, Nonce};
use steadfast_core::limits::{MAX_CHILDREN, Timing};
use steadfast_core::trace::Trace;
use steadfast_core::wire;

fn registry(registration: Option<LiveNode>) -> Part<Registry> {
    Part::new(Registry::new(paths(), 0, registration, &Timing::default()))
}

fn state(config: u64) -> GroupState {
    let first = live("a", 1).id.member;
    GroupState { config, ..GroupState::bootstrap(GroupId(9), first, 1, Nonce(3)) }
}

/// A world with one observer that has settled, with a group at config 0 and broker `a`.
fn observer() -> World<Part<Registry>> {
    let mut world = World::new([registry(None)]);
    world.settle();
    world.others_write_state(&state(0));
    world.others_register(&live("a", 1));
    world.settle();
    world
}

fn view_config(world: &World<Part<Registry>>) -> Option<u64> {
    world.clients[0].subject.component.view().state.as_ref().map(|(state, _)| state.config)
}

fn is_get_state(operation: &Operation) -> bool {
    matches!(operation, Operation::Get { path, .. } if *path == paths().state(0))
}

#[test]
fn parents_come_before_the_watch_and_the_watch_before_the_first_read() {
    let mut world = World::new([registry(None)]);
    world.open(0);
    let mut seen = Vec::new();
    while !world.clients[0].calls.is_empty() {
        seen.push(match world.step(0) {
            Operation::Create(create) => create.path,
            Operation::Watch { path, recursive } => format!("watch {path} {recursive}"),
            Operation::Sync { .. } => "sync".to_string(),
            Operation::Get { path, .. } => format!("get {path}"),
            Operation::Children { path, .. } => format!("list {path}"),
            other => panic!("unexpected: {other:?}"),
        });
    }
    let expected = [
        "/steadfast",
        "/steadfast/test",
        "/steadfast/test/g",
        "/steadfast/test/g/0",
        "/steadfast/test/g/0/live",
        "watch /steadfast/test/g/0 true",
        "sync",
        "get /steadfast/test/g/0/state",
        "list /steadfast/test/g/0/live",
    ];
    assert_eq!(seen, expected);
    assert_eq!(world.clients[0].subject.component.round(), 1);
}

#[test]
fn the_view_follows_the_tree() {
    let mut world = observer();
    let registry = &world.clients[0].subject.component;
    assert_eq!(registry.view().state, Some((state(0).into(), 0)));
    assert_eq!(registry.view().live[&live_name(&live("a", 1))].node, live("a", 1));
    assert_eq!(registry.registered(), None);

    world.others_write_state(&state(1));
    world.others_register(&live("b", 2));
    world.others_delete(&live_path(&live("a", 1)));
    world.settle();
    let view = world.clients[0].subject.component.view();
    assert_eq!(view.state, Some((state(1).into(), 1)));
    assert_eq!(view.live.keys().collect::<Vec<_>>(), [&live_name(&live("b", 2))]);
    let changes = |trace: &&Trace| matches!(trace, Trace::GroupChanged { .. });
    assert_eq!(world.clients[0].traces.iter().filter(changes).count(), 2);
}

#[test]
fn many_events_in_one_round_are_covered_by_the_next() {
    let mut world = observer();
    let before = world.clients[0].subject.rounds;
    for config in 1..50 {
        world.others_write_state(&state(config));
    }
    world.settle();
    assert_eq!(view_config(&world), Some(49));
    assert_eq!(world.clients[0].subject.rounds, before + 2);
}

#[test]
fn a_ticket_is_not_met_by_a_round_that_had_begun() {
    let mut world = observer();
    let now = world.now;
    let first = world.clients[0].subject.with(now, Registry::refresh);
    let second = world.clients[0].subject.with(now, Registry::refresh);
    assert_eq!(second, first + 1);
    world.collect(0);
    for _ in 0..3 {
        world.step(0);
    }
    assert_eq!(world.clients[0].subject.component.round(), first);
    world.settle();
    assert_eq!(world.clients[0].subject.component.round(), second);
}

#[test]
fn a_failed_round_is_tried_again_after_a_while_and_meets_the_ticket() {
    let mut world = observer();
    let now = world.now;
    let ticket = world.clients[0].subject.with(now, Registry::refresh);
    world.collect(0);
    world.step(0);
    world.lose(0, true);
    world.run();
    let registry = &world.clients[0].subject.component;
    assert!(registry.round() < ticket, "a round whose outcome is unknown shows nothing");
    assert!(registry.deadline().is_some_and(|at| at >= world.now));
    assert_eq!(world.clients[0].calls.len(), 0, "nothing is tried before the deadline");
    world.settle();
    assert!(world.clients[0].subject.component.round() >= ticket);
    assert_eq!(world.clients[0].subject.component.deadline(), None);
}

#[test]
fn a_round_from_before_an_adoption_does_not_take_it_back() {
    let mut world = observer();
    let now = world.now;
    world.clients[0].subject.with(now, Registry::refresh);
    world.collect(0);
    // Sync and state are read; then our own write succeeds, and its reply overtakes the round's end.
    world.step(0);
    world.step(0);
    world.others_write_state(&state(1));
    world.clients[0].subject.component.adopt(state(1), 1);
    let begun = world.clients[0].subject.component.round() + 1;
    while world.clients[0].subject.component.round() < begun {
        world.step(0);
    }
    assert_eq!(view_config(&world), Some(1));
    world.settle();
    assert!(world.clients[0].subject.component.round() > begun, "another round makes sure");
    assert_eq!(world.clients[0].subject.component.view().state, Some((state(1).into(), 1)));
}

#[test]
fn an_adoption_never_takes_the_view_back() {
    let mut world = observer();
    world.others_write_state(&state(5));
    world.settle();
    world.clients[0].subject.component.adopt(state(4), 4);
    assert_eq!(view_config(&world), Some(5));
    let other =
        GroupState { config: 9, ..GroupState::bootstrap(GroupId(8), live("a", 1).id.member, 1, Nonce(0)) };
    world.clients[0].subject.component.adopt(other, 9);
    assert_eq!(view_config(&world), Some(5));
}

#[test]
fn a_restored_tree_shows() {
    let mut world = observer();
    world.others_write_state(&state(5));
    world.settle();
    world.others_write_state(&state(2));
    world.settle();
    assert_eq!(view_config(&world), Some(2));
}

fn is_barrier(operation: &Operation) -> bool {
    *operation == Operation::barrier(paths().state(0))
}

#[test]
fn a_linearizable_round_begins_with_a_barrier_also_when_it_is_tried_again() {
    let mut world = observer();
    let now = world.now;
    world.clients[0].subject.with(now, Registry::refresh);
    let ticket = world.clients[0].subject.with(now, Registry::refresh_linearizable);
    world.collect(0);
    assert!(matches!(world.step(0), Operation::Sync { .. }), "the one under way is no other");
    world.run_until(0, is_barrier);
    world.lose(0, false);
    while world.clients[0].calls.iter().any(|(_, operation)| !is_barrier(operation)) {
        world.step(0);
    }
    world.suspend(0);
    world.reconnect(0);
    assert!(is_barrier(&world.step(0)));
    world.settle();
    assert!(world.clients[0].subject.component.round() >= ticket);
    world.clients[0].subject.with(now, Registry::refresh);
    world.collect(0);
    assert!(matches!(world.step(0), Operation::Sync { .. }), "barriers are dear: others need none");
}

/// A server that is behind shows an older state; so does a tree that was restored from an old copy.
#[test]
fn only_a_linearizable_round_takes_the_view_back() {
    let mut world = observer();
    world.others_write_state(&state(1));
    world.settle();
    world.others_delete(&paths().state(0));
    world.others_write_state(&state(0));
    world.run_until(0, is_barrier);
    assert_eq!(view_config(&world), Some(1), "a round without a barrier has shown the older one");
    world.settle();
    assert_eq!(world.clients[0].subject.component.view().state, Some((state(0).into(), 0)));
    world.others_delete(&paths().state(0));
    world.settle();
    assert_eq!(view_config(&world), None, "a barrier needs no node");
}

#[test]
fn a_live_node_that_was_taken_away_is_put_back() {
    let mut world = World::new([registry(Some(live("a", 1)))]);
    world.settle();
    let path = live_path(&live("a", 1));
    let now = world.now;
    for _ in 0..2 {
        let before = world.clients[0].subject.component.registered().expect("registered");
        world.clients[0].subject.with(now, Registry::withdraw);
        world.settle();
        assert!(world.tree.node(&path).is_none(), "it stays away");
        assert_eq!(world.clients[0].subject.component.registered(), None);
        world.clients[0].subject.with(now, Registry::register);
        assert_eq!(world.clients[0].subject.component.registered(), None, "not before a round shows it");
        world.settle();
        let (_, stat) = world.tree.node(&path).expect("the live node");
        assert!(stat.czxid > before);
        assert_eq!(world.clients[0].subject.component.registered(), Some(stat.czxid));
    }
    // It may come back before it was gone.
    world.clients[0].subject.with(now, Registry::withdraw);
    world.clients[0].subject.with(now, Registry::register);
    world.settle();
    let (_, stat) = world.tree.node(&path).expect("the live node");
    assert_eq!(world.clients[0].subject.component.registered(), Some(stat.czxid));
}

#[test]
fn a_broker_registers_and_knows_it_once_a_round_shows_it() {
    let mut world = World::new([registry(Some(live("a", 1)))]);
    world.open(0);
    world.run_until(
        0,
        |operation| matches!(operation, Operation::Create(create) if create.mode == CreateMode::Ephemeral),
    );
    assert_eq!(world.clients[0].subject.component.registered(), None);
    world.settle();
    let (_, stat) = world.tree.node(&live_path(&live("a", 1))).expect("the live node");
    assert_eq!(Some(stat.ephemeral_owner), world.clients[0].session);
    assert_eq!(world.clients[0].subject.component.registered(), Some(stat.czxid));
    let registered = Trace::Registered { czxid: stat.czxid };
    assert_eq!(world.clients[0].traces.iter().filter(|trace| **trace == registered).count(), 1);
}

#[test]
fn a_registration_whose_outcome_is_lost_is_found() {
    for carried_out in [false, true] {
        let mut world = World::new([registry(Some(live("a", 1)))]);
        world.open(0);
        world.run_until(0, |operation| {
            matches!(operation, Operation::Create(create) if create.mode == CreateMode::Ephemeral)
        });
        world.lose(0, carried_out);
        world.settle();
        let (_, stat) = world.tree.node(&live_path(&live("a", 1))).expect("the live node");
        assert_eq!(world.clients[0].subject.component.registered(), Some(stat.czxid));
    }
}

#[test]
fn a_live_node_of_an_earlier_session_is_replaced_in_one_step() {
    let mut world = World::new([registry(Some(live("a", 1)))]);
    world.settle();
    let czxid = world.clients[0].subject.component.registered().expect("registered");
    // The session is over for the client, and its node is still there.
    world.suspend(0);
    world.feed(0, Event::Session(steadfast_core::coordination::SessionState::Expired));
    assert_eq!(world.clients[0].subject.component.registered(), None);
    world.open(0);
    world.run_until(0, |operation| matches!(operation, Operation::Multi(_)));
    let Operation::Multi(operations) = world.step(0) else { unreachable!("it was seen") };
    let path = live_path(&live("a", 1));
    assert!(matches!(&operations[0], MultiOperation::Delete(delete) if delete.path == path));
    assert!(matches!(&operations[1], MultiOperation::Create(create) if create.path == path));
    world.settle();
    let registered = world.clients[0].subject.component.registered().expect("registered again");
    assert!(registered > czxid);
    let (_, stat) = world.tree.node(&path).expect("the live node");
    assert_eq!(Some(stat.ephemeral_owner), world.clients[0].session);
}

#[test]
fn a_live_node_that_vanishes_is_registered_again() {
    let mut world = World::new([registry(Some(live("a", 1)))]);
    world.settle();
    let czxid = world.clients[0].subject.component.registered().expect("registered");
    world.others_delete(&live_path(&live("a", 1)));
    world.settle();
    assert!(world.clients[0].subject.component.registered().is_some_and(|again| again > czxid));
}

#[test]
fn parents_that_somebody_removes_are_made_again() {
    let mut world = World::new([registry(Some(live("a", 1)))]);
    world.settle();
    world.others_delete(&live_path(&live("a", 1)));
    world.others_delete(&paths().live(0));
    world.settle();
    assert!(world.clients[0].subject.component.registered().is_some());
}

#[test]
fn a_new_session_watches_and_registers_anew() {
    let mut world = World::new([registry(Some(live("a", 1)))]);
    world.settle();
    world.expire(0);
    assert_eq!(world.clients[0].subject.component.session(), None);
    world.others_write_state(&state(3));
    world.settle();
    assert_eq!(view_config(&world), Some(3));
    assert!(world.clients[0].subject.component.registered().is_some());
    world.others_write_state(&state(4));
    world.settle();
    assert_eq!(view_config(&world), Some(4), "the new session has a watch of its own");
}

#[test]
fn what_happened_while_disconnected_is_read_and_the_watch_is_still_there() {
    let mut world = observer();
    world.suspend(0);
    assert_eq!(world.clients[0].subject.component.session(), None);
    assert_eq!(view_config(&world), Some(0), "the last view is kept");
    // The same name, another node: only a read of it shows the difference.
    world.others_delete(&live_path(&live("a", 1)));
    world.others_write_state(&state(1));
    world.others_register(&live("a", 1));
    world.reconnect(0);
    assert!(matches!(world.clients[0].calls[0].1, Operation::Sync { .. }), "the watch is kept");
    world.settle();
    assert_eq!(view_config(&world), Some(1));
    let (_, stat) = world.tree.node(&live_path(&live("a", 1))).expect("the live node");
    let view = world.clients[0].subject.component.view();
    assert_eq!(view.live[&live_name(&live("a", 1))].czxid, stat.czxid);
    world.others_write_state(&state(2));
    world.settle();
    assert_eq!(view_config(&world), Some(2));
}

#[test]
fn a_live_node_made_again_under_its_name_is_read_again() {
    let mut world = observer();
    let path = live_path(&live("a", 1));
    world.others_delete(&path);
    world.others_register(&live("a", 1));
    world.settle();
    let (_, stat) = world.tree.node(&path).expect("the live node");
    let view = world.clients[0].subject.component.view();
    assert_eq!(view.live[&live_name(&live("a", 1))].czxid, stat.czxid);
}

#[test]
fn data_that_makes_no_sense_counts_as_absent() {
    let mut world = World::new([registry(None)]);
    world.settle();
    let junk = Bytes::from_static(&[0xff; 7]);
    let stranger = format!("{}/stranger", paths().live(0));
    world.others_create(&paths().state(0), junk.clone(), CreateMode::Persistent);
    world.others_create(&format!("{}/junk", paths().live(0)), junk, CreateMode::Persistent);
    let misnamed = wire::encode_live_node(&live("a", 1));
    world.others_create(&stranger, misnamed, CreateMode::Persistent);
    world.settle();
    let view = world.clients[0].subject.component.view();
    assert_eq!(view.state, None);
    assert_eq!(view.live.len(), 0);
    let bad = bad_nodes(&world.clients[0].traces);
    assert!(bad.contains(&paths().state(0).as_str()));
    assert!(bad.contains(&stranger.as_str()));
}

#[test]
fn the_own_live_node_is_kept_however_many_others_there_are() {
    let own = live("zzz", 1);
    let mut world = World::new([registry(Some(own.clone()))]);
    world.open(0);
    world.run_until(0, |operation| matches!(operation, Operation::Children { .. }));
    let (call, _) = world.clients[0].calls.pop_front().expect("the call that was seen");
    let mut names: Vec<_> = (0..=MAX_CHILDREN).map(|i| format!("a-{i:032x}")).collect();
    names.push(live_name(&own));
    let children = steadfast_core::coordination::Reply::Children(names);
    world.feed(0, Event::Reply { call, result: Ok(children) });
    let mut read = Vec::new();
    let mut most_at_once = 0;
    while world.clients[0].subject.component.round() == 0 {
        most_at_once = most_at_once.max(world.clients[0].calls.len());
        match world.step(0) {
            Operation::Get { path, .. } => read.push(path),
            other => panic!("unexpected: {other:?}"),
        }
    }
    assert_eq!(read.len(), MAX_CHILDREN);
    assert!(read.contains(&live_path(&own)));
    assert!(most_at_once < 100, "{most_at_once} reads at once");
}

#[test]
fn the_events_and_replies_of_others_are_ignored() {
    let mut world = observer();
    for path in ["/steadfast/test/disc/election/x", "/steadfast/test/g/01", "/steadfast/test/g"] {
        let event = Event::Watch { path: path.to_string(), kind: WatchKind::Created };
        world.feed(0, event);
    }
    let reply = Event::Reply { call: u64::MAX, result: Ok(steadfast_core::coordination::Reply::Done) };
    world.feed(0, reply);
    assert_eq!(world.clients[0].calls.len(), 0);
    let event = Event::Watch { path: paths().state(0), kind: WatchKind::DataChanged };
    world.feed(0, event);
    assert!(world.clients[0].calls.iter().any(|(_, operation)| is_get_state(operation)));
}
