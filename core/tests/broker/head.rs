//! Linearizable reads of the group's head (R19).

use crate::world::{HISTORY, World, is_barrier, open_session, process, publish};
use steadfast_core::broker::Config;
use steadfast_core::coordination::Operation;
use steadfast_core::id::Nonce;
use steadfast_core::limits::MAX_HEAD_READS;
use steadfast_core::link::LinkId;
use steadfast_core::message::{Head, Message, Position, Refusal};

const CLIENT: LinkId = LinkId::accepted(2);
const READER: LinkId = LinkId::accepted(3);
/// Longer than reads wait for company.
const PACE: u64 = 10;

/// A primary with one committed record.
fn world() -> World {
    let mut world = World::primary(Config::default());
    world.receive(CLIENT, &open_session(1));
    world.receive(CLIENT, &publish(1));
    world
}

fn read(world: &mut World, token: u64) {
    world.receive(READER, &Message::ReadHead { token });
}

fn heads(world: &World) -> Vec<Head> {
    let heads = world.sent_to(READER).filter_map(|message| match message {
        Message::Head(head) => Some(*head),
        _ => None,
    });
    heads.collect()
}

fn release_all(world: &mut World) {
    while world.is_held(|_| true) {
        world.release();
    }
}

#[test]
fn a_head_is_answered_with_the_commit_offset_after_a_linearizable_read_that_began_later() {
    let mut world = world();
    world.run(PACE);
    world.hold();
    read(&mut world, 7);
    assert!(
        world.is_held(is_barrier) && !world.is_held(|operation| matches!(operation, Operation::Sync { .. }))
    );
    // What is committed while the read is under way may be in the answer, and is.
    world.receive(CLIENT, &publish(2));
    assert_eq!(heads(&world), []);
    release_all(&mut world);
    let offset = world.broker.replica().commit();
    let position = Position { lineage: 1, epoch: 1, offset };
    assert_eq!(heads(&world), [Head { token: 7, history: HISTORY, epoch: 1, position }]);
}

#[test]
fn a_round_that_began_before_the_request_proves_nothing() {
    let mut world = world();
    world.run(PACE);
    world.hold();
    read(&mut world, 1);
    world.run(PACE);
    read(&mut world, 2);
    // The round of the first read: the barrier, then the reads that follow from it.
    let answered = |world: &World| heads(world).iter().map(|head| head.token).collect::<Vec<_>>();
    while answered(&world).is_empty() {
        world.release();
    }
    assert_eq!(answered(&world), [1]);
    release_all(&mut world);
    assert_eq!(answered(&world), [1, 2]);
}

#[test]
fn a_deposed_primary_answers_no_read_that_began_before_it_knew() {
    let mut world = world();
    world.run(PACE);
    world.hold();
    let next = world.state().promote(&process("b", 2), Nonce(9));
    world.put_state(&next);
    read(&mut world, 7);
    release_all(&mut world);
    world.run(PACE);
    release_all(&mut world);
    assert_eq!(world.broker.leads(), None);
    assert_eq!(heads(&world), []);
    assert!(matches!(world.refusal(READER), Refusal::NotPrimary { .. }));
}

#[test]
fn reads_that_come_together_share_rounds_and_their_number_is_bounded() {
    let mut world = world();
    world.run(PACE);
    world.hold();
    let before = world.calls;
    let most = u64::try_from(MAX_HEAD_READS).unwrap();
    for token in 1..=most {
        read(&mut world, token);
    }
    assert_eq!(world.sent_to(READER).count(), 0);
    read(&mut world, most + 1);
    assert!(matches!(world.refusal(READER), Refusal::Electing { .. }));
    world.run(PACE);
    release_all(&mut world);
    assert_eq!(heads(&world).len(), MAX_HEAD_READS);
    assert!(world.calls - before < 20, "{} calls", world.calls - before);
}

#[test]
fn without_coordination_a_read_is_put_off_after_a_while() {
    let mut world = world();
    world.disconnect();
    read(&mut world, 7);
    world.run(500);
    assert_eq!(world.sent_to(READER).count(), 0);
    world.run(1_000);
    assert!(matches!(world.refusal(READER), Refusal::Electing { .. }));
    assert_eq!(heads(&world), []);
}

#[test]
fn who_is_not_primary_or_has_committed_nothing_in_its_epoch_refuses_at_once() {
    let (mut backup, _) = World::backup(true);
    read(&mut backup, 7);
    assert!(matches!(backup.refusal(READER), Refusal::NotPrimary { .. }));

    let mut world = World::primary_with_backup(LinkId::accepted(1));
    world.receive(LinkId::accepted(1), &crate::world::nack(crate::world::sender("b", 2), 2));
    world.run(300);
    assert_eq!(world.broker.leads(), Some(2));
    read(&mut world, 8);
    assert!(matches!(world.refusal(READER), Refusal::Electing { .. }), "R4: epoch 2 waits for b");
}
