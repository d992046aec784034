//! Discovery replicas on one tree.

use crate::world::{OTHERS, World, live, live_path, paths};
use bytes::Bytes;
use steadfast_core::coordination::{Event, Operation, SessionState};
use steadfast_core::discovery::{Boot, Command, Config, Discovery, MAX_WATCHERS};
use steadfast_core::group::GroupState;
use steadfast_core::id::{Endpoint, GroupId, Nonce};
use steadfast_core::link::{Frame, LinkId, LinkStatus};
use steadfast_core::message::{Lookup, Message, Route};
use steadfast_core::node::{Input, Node};
use steadfast_core::time::{Duration, Instant};
use steadfast_core::trace::{Rejection, Trace};
use steadfast_core::wire;

pub const LINK: LinkId = LinkId::accepted(1);

pub fn replicas(count: u64) -> World<Discovery> {
    World::new((0..count).map(|i| {
        let config = Config { min_in_sync: 2, ..Config::default() };
        let root = paths().root().to_string();
        Discovery::new(Instant::default(), Boot { seed: i, replica: u128::from(i), root, config })
    }))
}

pub fn group() -> GroupState {
    let mut group = GroupState::bootstrap(GroupId(9), live("a", 1).id.member, 1, Nonce(3));
    group.primary = Some(live("a", 1).id);
    group.epoch = 1;
    group
}

/// One replica, and a group led by `a`.
fn served() -> World<Discovery> {
    let mut world = replicas(1);
    world.settle();
    world.others_write_state(&group());
    world.others_register(&live("a", 1));
    world.settle();
    world
}

fn endpoint(node: &str, process: u128) -> Endpoint {
    let live = live(node, process);
    Endpoint { node: live.id.member.node, incarnation: live.id.incarnation, address: live.address }
}

pub fn send(world: &mut World<Discovery>, i: usize, link: LinkId, message: &Message) {
    let frame = wire::encode(message);
    world.clients[i].subject.handle_input(world.now, Input::Received { link, frame });
    world.collect(i);
}

fn look_up(world: &mut World<Discovery>, i: usize, watch: bool, fresh: bool) {
    send(world, i, LINK, &Message::Lookup(Lookup { group: 0, watch, fresh }));
}

/// The messages that replica `i` has sent since the last call.
pub fn sent(world: &mut World<Discovery>, i: usize) -> Vec<Message> {
    let frames = std::mem::take(&mut world.clients[i].frames);
    frames.into_iter().map(|(_, frame)| wire::decode(frame).expect("a good frame")).collect()
}

fn the_route(world: &mut World<Discovery>, i: usize) -> Route {
    match sent(world, i).as_slice() {
        [Message::Route(route)] => route.clone(),
        other => panic!("one route is expected: {other:?}"),
    }
}

fn created(world: &World<Discovery>) -> usize {
    let traces = world.clients.iter().flat_map(|client| &client.traces);
    traces.filter(|trace| matches!(trace, Trace::GroupCreated { .. })).count()
}

fn state_in_tree(world: &World<Discovery>) -> Option<GroupState> {
    let (data, _) = world.tree.node(&paths().state(0))?;
    Some(wire::decode_group_state(&data).expect("a good state"))
}

fn is_creation(operation: &Operation) -> bool {
    matches!(operation, Operation::Multi(operations) if operations.len() == 3)
}

#[test]
fn the_group_is_created_once_for_the_broker_that_registered_first() {
    let mut world = replicas(2);
    world.settle();
    assert_eq!(state_in_tree(&world), None);
    // The leader learns of both brokers at once; the names are not in the order of registration.
    world.others_register(&live("b", 2));
    world.others_register(&live("a", 1));
    world.settle();
    let state = state_in_tree(&world).expect("the group");
    assert_eq!(state.in_sync, [live("b", 2).id.member]);
    assert_eq!((state.history.lineage, state.epoch, state.config), (1, 0, 0));
    assert_eq!((state.primary, state.min_in_sync), (None, 2));
    assert_eq!(created(&world), 1);
    for i in 0..2 {
        look_up(&mut world, i, false, false);
        let route = the_route(&mut world, i);
        assert_eq!(route.history, Some(state.history));
        assert_eq!(route.primary, None);
        assert!(route.retry_after > Duration::ZERO, "there is no primary yet");
    }
}

#[test]
fn when_the_leader_dies_the_other_creates_the_group() {
    let mut world = replicas(2);
    world.settle();
    world.end_session(0);
    world.settle();
    assert!(world.clients[1].traces.contains(&Trace::DiscoveryLeads { epoch: 2 }));
    world.others_register(&live("a", 1));
    world.settle();
    assert_eq!(created(&world), 1);
    assert!(state_in_tree(&world).is_some());
}

#[test]
fn a_leader_that_was_replaced_creates_nothing() {
    let mut world = replicas(2);
    world.settle();
    world.others_register(&live("a", 1));
    world.run_until(0, is_creation);
    let (_, creation) = world.clients[0].calls.pop_front().expect("the call that was seen");
    // It is held back while the other takes over, and the group is gone from the tree by accident.
    world.end_session(0);
    world.settle();
    world.others_delete(&paths().state(0));
    let late = world.tree.apply(OTHERS, &creation);
    assert!(late.is_err(), "the fence holds: {late:?}");
    assert_eq!(state_in_tree(&world), None);
}

#[test]
fn a_fenced_leader_stands_again() {
    let mut world = replicas(1);
    world.settle();
    world.others_register(&live("a", 1));
    world.run_until(0, is_creation);
    let path = paths().discovery_epoch();
    let set = steadfast_core::coordination::Set { path, data: Bytes::from_static(b"7"), version: None };
    world.others(&Operation::Set(set));
    world.step(0);
    assert!(world.clients[0].traces.contains(&Trace::DiscoveryFollows));
    world.settle();
    assert!(world.clients[0].traces.contains(&Trace::DiscoveryLeads { epoch: 8 }));
    assert_eq!(created(&world), 1);
}

#[test]
fn no_group_is_created_for_a_broker_that_is_gone() {
    let mut world = replicas(1);
    world.settle();
    world.others_register(&live("a", 1));
    world.run_until(0, is_creation);
    world.others_delete(&live_path(&live("a", 1)));
    world.settle();
    assert_eq!(state_in_tree(&world), None);
    world.others_register(&live("b", 2));
    world.settle();
    let state = state_in_tree(&world).expect("the group");
    assert_eq!(state.in_sync, [live("b", 2).id.member]);
}

#[test]
fn a_creation_whose_outcome_is_lost_happens_once() {
    for carried_out in [false, true] {
        let mut world = replicas(1);
        world.settle();
        world.others_register(&live("a", 1));
        world.run_until(0, is_creation);
        world.lose(0, carried_out);
        let first = state_in_tree(&world);
        world.settle();
        let last = state_in_tree(&world).expect("the group");
        assert!(first.is_none_or(|first| first == last), "the group stays what it was");
        look_up(&mut world, 0, false, false);
        assert_eq!(the_route(&mut world, 0).history, Some(last.history));
    }
}

#[test]
fn a_look_up_is_answered_from_the_view() {
    let mut world = served();
    look_up(&mut world, 0, false, false);
    let route = the_route(&mut world, 0);
    let expected = Route {
        group: 0,
        groups: 1,
        history: Some(group().history),
        epoch: 1,
        config: 0,
        primary: Some(endpoint("a", 1)),
        retry_after: Duration::ZERO,
        age: Duration::ZERO,
        fresh: false,
    };
    assert_eq!(route, expected);
    assert_eq!(world.clients[0].calls.len(), 0, "nothing was read for it");
}

#[test]
fn a_primary_without_a_live_node_has_no_address() {
    let mut world = served();
    world.others_delete(&live_path(&live("a", 1)));
    // Another process of the same node is not the primary.
    world.others_register(&live("a", 5));
    world.settle();
    look_up(&mut world, 0, false, false);
    let route = the_route(&mut world, 0);
    assert_eq!(route.primary, None);
    assert_eq!(route.epoch, 1);
}

#[test]
fn a_fresh_answer_waits_for_a_read_that_began_after_the_question() {
    let mut world = served();
    // A round is under way and has read the state already.
    world.others_register(&live("b", 2));
    world.step(0);
    world.step(0);
    look_up(&mut world, 0, false, true);
    let deposed = GroupState { epoch: 2, config: 1, primary: Some(live("b", 2).id), ..group() };
    world.others_write_state(&deposed);
    assert_eq!(sent(&mut world, 0).len(), 0);
    // R19: a sync would not do.
    world.run_until(0, |operation| *operation == Operation::barrier(paths().state(0)));
    assert_eq!(sent(&mut world, 0).len(), 0);
    world.settle();
    let route = the_route(&mut world, 0);
    assert!(route.fresh);
    assert_eq!((route.epoch, route.primary), (2, Some(endpoint("b", 2))));
}

#[test]
fn fresh_questions_are_answered_as_stale_when_the_tree_cannot_be_reached() {
    let mut world = served();
    look_up(&mut world, 0, false, true);
    assert_eq!(sent(&mut world, 0).len(), 0);
    world.suspend(0);
    assert!(!the_route(&mut world, 0).fresh);
    world.now = world.now + Duration::from_secs(30);
    look_up(&mut world, 0, false, true);
    let route = the_route(&mut world, 0);
    assert!(!route.fresh);
    assert_eq!(route.age, Duration::from_secs(30));
    assert_eq!(route.primary, Some(endpoint("a", 1)), "the last known route is served");
    world.feed(0, Event::Session(SessionState::Expired));
    look_up(&mut world, 0, false, false);
    assert_eq!(the_route(&mut world, 0).age, Duration::from_secs(30));
    world.settle();
    look_up(&mut world, 0, false, false);
    assert_eq!(the_route(&mut world, 0).age, Duration::ZERO);
}

#[test]
fn watchers_are_told_of_every_change_until_their_link_is_lost() {
    let mut world = served();
    look_up(&mut world, 0, true, false);
    assert_eq!(the_route(&mut world, 0).epoch, 1);
    let deposed = GroupState { epoch: 2, config: 1, primary: Some(live("b", 2).id), ..group() };
    world.others_write_state(&deposed);
    world.settle();
    assert_eq!(the_route(&mut world, 0).primary, None);
    world.others_register(&live("b", 2));
    world.settle();
    assert_eq!(the_route(&mut world, 0).primary, Some(endpoint("b", 2)));
    world.others_register(&live("c", 3));
    world.settle();
    assert_eq!(sent(&mut world, 0).len(), 0, "the route is what it was");

    let lost = Input::Link { link: LINK, status: LinkStatus::Lost };
    world.clients[0].subject.handle_input(world.now, lost);
    world.others_delete(&live_path(&live("b", 2)));
    world.settle();
    assert_eq!(sent(&mut world, 0).len(), 0);
}

#[test]
fn a_link_that_is_lost_gets_no_late_answer() {
    let mut world = served();
    look_up(&mut world, 0, false, true);
    let lost = Input::Link { link: LINK, status: LinkStatus::Lost };
    world.clients[0].subject.handle_input(world.now, lost);
    world.settle();
    assert_eq!(sent(&mut world, 0).len(), 0);
}

#[test]
fn the_creator_knows_the_group_at_once() {
    let mut world = replicas(1);
    world.settle();
    world.others_register(&live("a", 1));
    world.run_until(0, is_creation);
    world.step(0);
    look_up(&mut world, 0, false, false);
    let created = state_in_tree(&world).expect("the group");
    assert_eq!(the_route(&mut world, 0).history, Some(created.history));
}

#[test]
fn a_watcher_above_the_limit_is_answered_but_not_told() {
    let mut world = served();
    let watchers = u64::try_from(MAX_WATCHERS).expect("a small number");
    let watch = Message::Lookup(Lookup { group: 0, watch: true, fresh: false });
    for n in 0..=watchers {
        send(&mut world, 0, LinkId::accepted(n), &watch);
    }
    assert_eq!(world.clients[0].frames.len(), MAX_WATCHERS + 1);
    world.clients[0].frames.clear();
    world.others_delete(&live_path(&live("a", 1)));
    world.settle();
    assert_eq!(world.clients[0].frames.len(), MAX_WATCHERS);
    assert!(world.clients[0].frames.iter().all(|(link, _)| *link != LinkId::accepted(watchers)));
}

#[test]
fn other_groups_do_not_exist() {
    let mut world = served();
    send(&mut world, 0, LINK, &Message::Lookup(Lookup { group: 3, watch: true, fresh: true }));
    let route = the_route(&mut world, 0);
    assert_eq!((route.group, route.groups, route.history), (3, 1, None));
    world.others_delete(&live_path(&live("a", 1)));
    world.settle();
    assert_eq!(sent(&mut world, 0).len(), 0, "nothing is pushed for a group that is not there");
}

#[test]
fn a_ping_is_answered_and_everything_else_dropped() {
    let mut world = served();
    send(&mut world, 0, LINK, &Message::Ping { token: 5 });
    assert_eq!(sent(&mut world, 0), [Message::Pong { token: 5 }]);
    send(&mut world, 0, LINK, &Message::Pong { token: 5 });
    let frame = Frame { parts: vec![Bytes::from_static(&[0xff; 9])] };
    world.clients[0].subject.handle_input(world.now, Input::Received { link: LINK, frame });
    world.collect(0);
    assert_eq!(sent(&mut world, 0), []);
    let rejected = |reason| Trace::Rejected { link: LINK, reason };
    let traces = &world.clients[0].traces;
    assert!(traces.contains(&rejected(Rejection::Unexpected)));
    assert!(traces.contains(&rejected(Rejection::Malformed)));
}

#[test]
fn a_replica_that_was_shut_down_does_nothing_any_more() {
    let mut world = replicas(2);
    world.settle();
    world.clients[0].subject.handle_input(world.now, Input::Command(Command::Shutdown));
    world.collect(0);
    assert_eq!(world.clients[0].events, 1);
    assert_eq!(world.clients[0].session, None, "the session was closed");
    world.settle();
    assert!(world.clients[1].traces.contains(&Trace::DiscoveryLeads { epoch: 2 }));
    look_up(&mut world, 0, false, false);
    assert_eq!(sent(&mut world, 0), []);
    assert_eq!(world.clients[0].subject.poll_timeout(), None);
}
