//! A least number of in-sync members (R35): the set never falls below it, commits wait for it, and a
//! node that comes back with another storage takes its own former place.

use crate::world::{
    World, ack, epoch_start, member, nack, open_session, process, publish, replicate, sender,
};
use crate::{B, CLIENT, LONG};
use std::time::Duration;
use steadfast_core::broker::{Command, Config, Event};
use steadfast_core::coordination::Operation;
use steadfast_core::id::{Member, NodeName, Nonce};
use steadfast_core::link::{LinkId, LinkStatus};
use steadfast_core::message::{Departure, Message, Refusal};
use steadfast_core::node::Input;
use steadfast_core::trace::{Suspicion, Trace};

const C: LinkId = LinkId::accepted(3);

/// Commits need two members; `b` is the second one.
fn pair() -> World {
    pair_with(Config::default())
}

fn pair_with(config: Config) -> World {
    let mut world = World::primary_with_least(2, config);
    world.register("b", 2);
    world.hello(B, "b", 2);
    world.ack(B, "b", 2);
    assert_eq!(world.in_sync(), ["a", "b"]);
    // Past the time for which commits would have waited for b to come in.
    world.run(300);
    world.ack(B, "b", 2);
    world
}

fn members(world: &World) -> Vec<Member> {
    world.state().in_sync
}

fn is_set(operation: &Operation) -> bool {
    matches!(operation, Operation::Set(_))
}

#[test]
fn nothing_is_committed_and_nobody_is_served_below_the_least_number() {
    let mut world = World::primary_with_least(2, Config::default());
    world.run(LONG);
    assert_eq!((world.broker.leads(), world.broker.replica().commit()), (Some(1), 0));
    world.receive(CLIENT, &open_session(1));
    assert!(matches!(world.refusal(CLIENT), Refusal::Electing { .. }), "{:?}", world.refusal(CLIENT));
}

/// R35: the member that is being taken in holds everything, and the tree may or may not name it yet.
#[test]
fn a_member_counts_towards_the_least_number_when_the_tree_is_known_to_name_it() {
    let mut world = World::primary_with_least(2, Config::default());
    world.register("b", 2);
    world.hello(B, "b", 2);
    world.hold();
    world.ack(B, "b", 2);
    assert!(world.is_held(is_set), "b is being taken in");
    world.ack(B, "b", 2);
    assert_eq!(world.broker.replica().commit(), 0);
    world.release();
    assert_eq!(world.broker.replica().commit(), 1);
}

#[test]
fn a_dead_member_is_kept_and_commits_wait_for_it() {
    let mut world = pair();
    world.receive(CLIENT, &open_session(1));
    world.ack(B, "b", 2);
    world.receive(CLIENT, &publish(1));
    world.unregister("b", 2);
    world.run(LONG);
    assert_eq!(world.in_sync(), ["a", "b"]);
    assert_eq!(world.acknowledgements(), 0, "the record is pending");
    let kept = |trace: &&Trace| matches!(trace, Trace::Kept { cause: Suspicion::NotLive, .. });
    assert_eq!(world.traces.iter().filter(kept).count(), 1, "said once");
}

#[test]
fn publishers_are_held_back_while_commits_wait() {
    let mut world = pair_with(Config { uncommitted_bytes: 1_000, ..Config::default() });
    world.receive(CLIENT, &open_session(1));
    world.ack(B, "b", 2);
    world.unregister("b", 2);
    let mut sequence = 0;
    while !matches!(world.sent_to(CLIENT).next_back(), Some(Message::Refusal { .. })) {
        sequence += 1;
        world.receive(CLIENT, &publish(sequence));
        assert!(sequence < 100, "nothing bounds what waits");
    }
    assert!(matches!(world.refusal(CLIENT), Refusal::Busy { expect, .. } if *expect == sequence));
    world.register("b", 3);
    world.hello(C, "b", 3);
    world.ack(C, "b", 3);
    world.ack(C, "b", 3);
    assert_eq!(world.acknowledgements(), 1, "all that was taken, in one");
    world.receive(CLIENT, &publish(sequence));
    world.ack(C, "b", 3);
    assert_eq!(world.acknowledgements(), 2, "writes go on");
}

/// R35: one write puts the new storage in the old one's place; until it is known both are required.
#[test]
fn a_node_that_comes_back_empty_takes_its_own_place() {
    let mut world = pair();
    world.receive(CLIENT, &open_session(1));
    let before = world.broker.replica().commit();
    world.unregister("b", 2);
    world.register("b", 3);
    world.hello(C, "b", 3);
    world.hold();
    world.ack(C, "b", 3);
    assert!(world.is_held(is_set), "the replacement does not wait for the dead member");
    assert_eq!(world.broker.replica().commit(), before, "the tree still names the old storage");
    world.release();
    assert_eq!(members(&world), [member("a", 1), member("b", 3)]);
    assert_eq!(world.state().config, 3, "one write");
    assert_eq!(world.broker.replica().commit(), world.broker.replica().log().end());
}

/// R35: acknowledgements are kept per storage, whatever the process calls its node.
#[test]
fn an_ack_of_the_new_storage_does_not_count_for_the_old_one() {
    let mut world = pair();
    world.receive(CLIENT, &open_session(1));
    let before = world.broker.replica().commit();
    world.register("b", 3);
    world.hello(C, "b", 3);
    world.hold();
    world.ack(C, "b", 3);
    world.ack(C, "b", 3);
    assert_eq!(world.broker.replica().commit(), before);
}

/// R35: the older of two processes of one node never takes the place of the younger.
#[test]
fn a_storage_whose_process_was_registered_earlier_replaces_nothing() {
    let mut world = World::primary_with_least(2, Config::default());
    world.register("b", 2);
    world.register("b", 3);
    world.hello(C, "b", 3);
    world.ack(C, "b", 3);
    assert_eq!(members(&world), [member("a", 1), member("b", 3)]);
    world.run(300);
    world.hello(B, "b", 2);
    world.ack(B, "b", 2);
    world.run(50);
    assert_eq!(members(&world), [member("a", 1), member("b", 3)]);
}

/// R13 for a replacement: nothing that was verified in an earlier epoch counts.
#[test]
fn a_replacement_has_verified_the_start_of_this_epoch() {
    let mut world = pair();
    world.unregister("b", 2);
    world.register("b", 3);
    world.hello(C, "b", 3);
    let start = world.broker.replica().log().end() - 1;
    world.receive(C, &ack(sender("b", 3), 1, start));
    assert_eq!(members(&world), [member("a", 1), member("b", 2)]);
    world.ack(C, "b", 3);
    assert_eq!(members(&world), [member("a", 1), member("b", 3)]);
}

/// R35: a node is gone for good: another one comes in first, then it goes.
#[test]
fn another_node_makes_room_for_the_one_that_is_gone() {
    let mut world = pair();
    world.unregister("b", 2);
    world.run(100);
    world.register("c", 4);
    world.hello(C, "c", 4);
    world.ack(C, "c", 4);
    assert_eq!(world.in_sync(), ["a", "c"]);
    assert_eq!(world.state().config, 4, "one write takes c in, one drops b");
}

/// R35, R2: the primary before stays in the set, and commits wait for it.
#[test]
fn a_promotion_keeps_the_primary_before_where_too_few_would_be_left() {
    let (mut world, _) = World::backup_with_least(2, true);
    world.unregister("b", 2);
    world.run(300);
    assert_eq!(world.broker.leads(), Some(2));
    assert_eq!(members(&world), [member("b", 2), member("a", 1)]);
    world.run(LONG);
    assert_eq!(world.broker.replica().commit(), 0);
    world.receive(CLIENT, &open_session(1));
    assert!(matches!(world.refusal(CLIENT), Refusal::Electing { .. }));

    world.register("b", 5);
    world.hello(B, "b", 5);
    world.ack(B, "b", 5);
    assert_eq!(members(&world), [member("b", 5), member("a", 1)]);
    assert_eq!(world.broker.replica().commit(), world.broker.replica().log().end());
}

/// R27a, R35: whoever shuts down leaves its place as it is. The other member has everything.
#[test]
fn a_member_of_a_pair_that_is_shut_down_stays_in_the_set() {
    let mut world = pair();
    world.input(Input::Command(Command::Shutdown));
    world.run(LONG + LONG);
    assert_eq!(world.events, [Event::Stopped]);
    assert_eq!((world.in_sync(), world.state().history.lineage), (vec!["a".into(), "b".into()], 1));
}

/// A primary of a pair that was asked to leave; `b` has made itself primary, and the link to it is up.
fn handed_over() -> (World, LinkId) {
    let mut world = pair();
    world.input(Input::Command(Command::Shutdown));
    assert!(matches!(world.sent_to(B).next_back(), Some(Message::TakeOver(_))));
    let next = world.state().promote(&process("b", 2), Nonce(7));
    assert_eq!(next.in_sync.len(), 2);
    world.put_state(&next);
    let link = *world.dials.last().expect("it follows its successor");
    world.link(link, LinkStatus::Up);
    (world, link)
}

fn has_handed_over(world: &World) -> bool {
    let successor = NodeName::new("b").unwrap();
    world.traces.contains(&Trace::Leaves { departure: Departure::HandedOver { successor } })
}

/// R34, R35: the one that has taken over keeps the leaving primary in the set, and cannot serve anybody
/// before that one has acknowledged the first record of the epoch.
#[test]
fn a_primary_of_a_pair_stays_until_its_successor_serves() {
    let (mut world, link) = handed_over();
    world.run(100);
    let end = world.broker.replica().log().end();
    world.receive(link, &replicate(2, (end, 1), end, vec![epoch_start(end, 2)]));
    let acked = |message: &Message| matches!(message, Message::ReplicateAck(ack) if ack.matched == end + 1);
    assert!(world.sent_to(link).any(acked), "its successor waits for this");
    world.run(100);
    assert_eq!((has_handed_over(&world), world.events.len()), (false, 0), "that is not committed yet");
    world.receive(link, &replicate(2, (end + 1, 2), end + 1, Vec::new()));
    assert!(has_handed_over(&world));
    world.run(200);
    assert_eq!(world.events, [Event::Stopped]);
}

/// A successor that never serves is not waited for until the order's time is over.
#[test]
fn a_primary_of_a_pair_waits_for_its_successor_for_a_while_only() {
    let (mut world, link) = handed_over();
    let end = world.broker.replica().log().end();
    for time in 0..24 {
        world.receive(link, &replicate(2, (end, 1), end, Vec::new()));
        world.run(50);
        assert!(time > 16 || !has_handed_over(&world));
    }
    assert!(has_handed_over(&world), "{:?}", world.traces.last());
    assert_eq!(world.events, [Event::Stopped]);
}

/// R34: a successor from which nothing comes may be dead, and then nobody else holds anything.
#[test]
fn a_primary_of_a_pair_whose_successor_dies_takes_the_lead_back() {
    let (mut world, _) = handed_over();
    world.run(1_200);
    assert_eq!((world.broker.leads(), has_handed_over(&world)), (None, false), "it may only be slow");
    world.unregister("b", 2);
    world.run(600);
    assert_eq!((world.broker.leads(), has_handed_over(&world)), (Some(3), false));
    assert_eq!(world.in_sync(), ["a", "b"], "R35");
    world.run(LONG + 300);
    assert_eq!(world.events, [Event::Stopped], "not for ever");
}

/// R34: with three brokers the one that leaves is not in its successor's set, and nobody waits for it.
#[test]
fn a_primary_of_three_that_has_handed_over_leaves_at_once() {
    let mut world = pair();
    world.register("c", 4);
    world.hello(C, "c", 4);
    world.ack(C, "c", 4);
    assert_eq!(world.in_sync(), ["a", "b", "c"]);
    world.ack(B, "b", 2);
    world.input(Input::Command(Command::Shutdown));
    let dials = world.dials.len();
    let next = world.state().promote(&process("b", 2), Nonce(7));
    assert_eq!(next.in_sync, [member("b", 2), member("c", 4)]);
    world.put_state(&next);
    assert!(has_handed_over(&world), "{:?}", world.traces.last());
    world.run(200);
    assert_eq!((world.events.as_slice(), world.dials.len()), ([Event::Stopped].as_slice(), dials));
}

/// R27a: with a dead member in the set nobody can say that the data is lost: that one may come back.
#[test]
fn the_last_live_member_of_a_pair_does_not_give_the_data_up() {
    let mut world = pair();
    world.receive(CLIENT, &open_session(1));
    world.unregister("b", 2);
    world.run(LONG);
    world.input(Input::Command(Command::Shutdown));
    world.run(LONG + LONG);
    assert_eq!(world.events, [Event::Stopped]);
    assert_eq!((world.in_sync(), world.state().history.lineage), (vec!["a".into(), "b".into()], 1));
}

/// R27b: every node of the set is live with another storage, and the group begins anew.
#[test]
fn a_pair_of_which_both_came_back_empty_begins_anew() {
    let (mut world, _) = World::backup_with_least(2, false);
    let mut state = world.state();
    state.in_sync = vec![member("b", 2), member("a", 77)];
    world.put_state(&state);
    world.run(LONG);
    assert_eq!(world.state().history.lineage, 1, "b's storage still exists");
    world.unregister("b", 2);
    world.run(LONG);
    assert_eq!(world.state().history.lineage, 1, "b may come back with it");
    world.register("b", 3);
    world.run(LONG);
    assert_eq!(world.state().history.lineage, 2);
}

/// R27a, R35: where nothing was ever committed there is nothing to wait for.
#[test]
fn a_broker_that_never_had_enough_members_gives_up_at_once() {
    let mut world = World::primary_with_least(2, Config::default());
    world.input(Input::Command(Command::Shutdown));
    assert_eq!(world.events, [Event::Stopped]);
    assert_eq!((world.state().history.lineage, world.in_sync()), (2, Vec::new()));
}

/// R8 stays as it is: a member kept by a promotion counts only with what it verified in the new epoch.
#[test]
fn what_a_kept_member_verified_before_does_not_count() {
    let mut world = pair();
    world.receive(CLIENT, &open_session(1));
    world.receive(B, &nack(sender("b", 2), 2));
    world.sleep(Duration::from_millis(1));
    world.run(300);
    assert_eq!(world.broker.leads(), Some(2));
    assert_eq!(members(&world), [member("b", 2), member("a", 1)]);
    let commit = world.broker.replica().commit();
    world.hello(B, "b", 2);
    world.receive(B, &ack(sender("b", 2), 1, world.broker.replica().log().end()));
    assert_eq!(world.broker.replica().commit(), commit);
    world.ack(B, "b", 2);
    assert_eq!(world.broker.replica().commit(), world.broker.replica().log().end());
}
