//! The election of discovery's leader.

use crate::world::{Part, World, paths};
use bytes::Bytes;
use steadfast_core::coordination::election::Election;
use steadfast_core::coordination::{
    CreateMode, Delete, Event, MultiOperation, Operation, Reply, SessionState,
};
use steadfast_core::limits::Timing;
use steadfast_core::trace::Trace;

fn candidates(count: u128) -> World<Part<Election>> {
    let timing = Timing::default();
    let candidate = |replica| Part::new(Election::new(paths(), replica, &timing));
    World::new((0..count).map(candidate))
}

fn leaders(world: &World<Part<Election>>) -> Vec<usize> {
    let leads = |&i: &usize| world.clients[i].subject.component.leads().is_some();
    (0..world.clients.len()).filter(leads).collect()
}

/// Names of the candidates in the tree.
fn standing(world: &World<Part<Election>>) -> Vec<String> {
    let parent = format!("{}/", paths().election());
    world.tree.paths().filter_map(|path| path.strip_prefix(&parent)).map(str::to_string).collect()
}

fn is_enter(operation: &Operation) -> bool {
    matches!(operation, Operation::Create(create) if create.mode == CreateMode::EphemeralSequential)
}

fn is_write_epoch(operation: &Operation) -> bool {
    matches!(operation, Operation::Set(set) if set.path == paths().discovery_epoch())
}

#[test]
fn one_of_three_leads_and_the_next_follows_when_it_goes() {
    let mut world = candidates(3);
    world.settle();
    assert_eq!(leaders(&world), [0]);
    assert_eq!(world.clients[0].subject.component.leads(), Some(1));
    world.end_session(0);
    world.settle();
    assert_eq!(world.clients[1].subject.component.leads(), Some(2));
    assert_eq!(world.clients[2].subject.component.leads(), None);
    world.end_session(1);
    world.settle();
    assert_eq!(world.clients[2].subject.component.leads(), Some(3));
}

#[test]
fn a_candidate_in_the_middle_goes_without_a_change_of_leader() {
    let mut world = candidates(3);
    world.settle();
    world.end_session(1);
    world.settle();
    assert_eq!(leaders(&world), [0]);
    world.end_session(0);
    world.settle();
    assert_eq!(world.clients[2].subject.component.leads(), Some(2));
}

#[test]
fn the_fence_of_a_leader_that_was_replaced_fails() {
    let mut world = candidates(2);
    world.settle();
    let fence = world.clients[0].subject.component.fence().expect("a leader has one");
    let path = paths().discovery_epoch();
    assert_eq!(fence, MultiOperation::Check(Delete { path, version: Some(1) }));
    let act = Operation::Multi(vec![fence]);
    world.others(&act);
    // The first one's session ends; it does not know and still believes.
    world.end_session(0);
    world.settle();
    assert_eq!(leaders(&world), [0, 1]);
    assert!(world.tree.apply(crate::world::OTHERS, &act).is_err());
    let now = world.now;
    world.clients[0].subject.with(now, Election::fenced);
    assert_eq!(leaders(&world), [1]);
}

#[test]
fn a_lost_reply_to_its_create_leaves_one_candidate() {
    for carried_out in [false, true] {
        let mut world = candidates(1);
        world.open(0);
        world.run_until(0, is_enter);
        world.lose(0, carried_out);
        world.settle();
        assert_eq!(standing(&world).len(), 1);
        assert_eq!(leaders(&world), [0]);
    }
}

#[test]
fn a_create_that_lands_late_is_removed_again() {
    let mut world = candidates(2);
    world.open(0);
    world.run_until(0, is_enter);
    let (_, late) = world.clients[0].calls[0].clone();
    world.lose(0, false);
    world.settle();
    assert_eq!(standing(&world).len(), 2);
    let session = world.clients[0].session.expect("a session");
    world.tree.apply(session, &late).expect("the late create");
    assert_eq!(standing(&world).len(), 3);
    world.suspend(0);
    world.reconnect(0);
    world.settle();
    assert_eq!(standing(&world).len(), 2);
    assert_eq!(leaders(&world), [1], "the other one was faster, and stays");
}

#[test]
fn a_candidate_of_an_earlier_session_is_not_believed() {
    let mut world = candidates(1);
    world.settle();
    let before = standing(&world);
    // The session is over for the client; its node is still the lowest.
    world.suspend(0);
    assert_eq!(leaders(&world), [0_usize; 0]);
    world.feed(0, Event::Session(SessionState::Expired));
    world.open(0);
    world.run_until(0, |operation| matches!(operation, Operation::Delete(_)));
    assert_eq!(leaders(&world), [0_usize; 0]);
    world.settle();
    let after = standing(&world);
    assert_eq!(after.len(), 1);
    assert_ne!(after, before);
    assert_eq!(world.clients[0].subject.component.leads(), Some(2));
}

#[test]
fn a_suspended_leader_does_not_lead_and_stands_again_in_a_new_epoch() {
    let mut world = candidates(2);
    world.settle();
    world.suspend(0);
    assert_eq!(world.clients[0].subject.component.fence(), None);
    world.reconnect(0);
    world.settle();
    assert_eq!(world.clients[0].subject.component.leads(), Some(2));
    let expected =
        [Trace::DiscoveryLeads { epoch: 1 }, Trace::DiscoveryFollows, Trace::DiscoveryLeads { epoch: 2 }];
    assert_eq!(world.clients[0].traces, expected);
}

#[test]
fn a_predecessor_that_goes_between_list_and_watch_is_not_waited_for() {
    let mut world = candidates(2);
    world.open(0);
    world.run();
    world.open(1);
    let first = format!("{}/{}", paths().election(), standing(&world)[0]);
    world.run_until(1, |operation| matches!(operation, Operation::Exists { path, .. } if *path == first));
    world.end_session(0);
    world.settle();
    assert_eq!(world.clients[1].subject.component.leads(), Some(2));
}

#[test]
fn a_predecessor_that_goes_while_disconnected_is_not_waited_for() {
    let mut world = candidates(2);
    world.settle();
    world.suspend(1);
    world.end_session(0);
    world.reconnect(1);
    world.settle();
    assert_eq!(world.clients[1].subject.component.leads(), Some(2));
}

#[test]
fn an_epoch_that_another_has_written_is_read_again() {
    let mut world = candidates(1);
    world.open(0);
    world.run_until(0, is_write_epoch);
    let path = paths().discovery_epoch();
    let set = steadfast_core::coordination::Set { path, data: Bytes::from_static(b"41"), version: None };
    world.others(&Operation::Set(set));
    world.step(0);
    assert_eq!(leaders(&world), [0_usize; 0]);
    world.settle();
    assert_eq!(world.clients[0].subject.component.leads(), Some(42));
}

#[test]
fn an_epoch_write_whose_outcome_is_lost_is_followed_by_another() {
    let mut world = candidates(1);
    world.open(0);
    world.run_until(0, is_write_epoch);
    world.lose(0, true);
    assert_eq!(leaders(&world), [0_usize; 0]);
    world.settle();
    assert_eq!(world.clients[0].subject.component.leads(), Some(2));
}

#[test]
fn a_candidate_that_somebody_removes_stands_again() {
    let mut world = candidates(2);
    world.settle();
    let own = format!("{}/{}", paths().election(), standing(&world)[0]);
    world.others_delete(&own);
    world.settle();
    assert_eq!(leaders(&world), [1]);
    assert_eq!(standing(&world).len(), 2);
    world.end_session(1);
    world.settle();
    assert_eq!(world.clients[0].subject.component.leads(), Some(3));
}

#[test]
fn what_happens_during_an_evaluation_is_looked_at_after_it() {
    let mut world = candidates(2);
    world.settle();
    world.suspend(1);
    world.reconnect(1);
    let [first, own] = &standing(&world)[..] else { panic!("two candidates") };
    let path = |name: &str| format!("{}/{name}", paths().election());
    let (first, own) = (path(first), path(own));
    world.run_until(1, |operation| matches!(operation, Operation::Exists { path, .. } if *path == first));
    world.others_delete(&own);
    world.settle();
    assert_eq!(standing(&world).len(), 2, "the second stands again");
}

#[test]
fn an_old_candidate_that_goes_by_itself_is_no_failure() {
    let mut world = candidates(1);
    world.settle();
    world.suspend(0);
    world.feed(0, Event::Session(SessionState::Expired));
    let old = format!("{}/{}", paths().election(), standing(&world)[0]);
    world.open(0);
    world.run_until(0, |operation| matches!(operation, Operation::Delete(_)));
    world.others_delete(&old);
    world.run();
    assert_eq!(world.clients[0].subject.component.leads(), Some(2));
}

#[test]
fn missing_parents_are_made() {
    let mut world = candidates(1);
    world.open(0);
    // All creates of parents are lost; the first call that needs them says so.
    while matches!(&world.clients[0].calls[0].1, Operation::Create(_)) {
        world.lose(0, false);
    }
    world.settle();
    assert_eq!(leaders(&world), [0]);
}

#[test]
fn a_reply_of_the_wrong_kind_is_a_failure() {
    let mut world = candidates(1);
    world.open(0);
    world.run_until(0, |operation| matches!(operation, Operation::Children { .. }));
    let (call, _) = world.clients[0].calls.pop_front().expect("the call that was seen");
    world.feed(0, Event::Reply { call, result: Ok(Reply::Done) });
    assert!(world.clients[0].subject.component.deadline().is_some());
    world.settle();
    assert_eq!(leaders(&world), [0]);
}
