//! A backup's link to its primary, frames of another history, and its turn to stand.

use super::suspicions;
use super::world::{HISTORY, World, epoch_start, member, replicate};
use steadfast_core::coordination::Operation;
use steadfast_core::id::Nonce;
use steadfast_core::link::LinkStatus;
use steadfast_core::message::{History, Message};
use steadfast_core::node::Input;
use steadfast_core::trace::Suspicion;

/// A link that is lost is dialled again after a back-off, long before its silence is noticed.
#[test]
fn a_backup_whose_link_is_lost_dials_again_at_once() {
    let (mut world, link) = World::backup(true);
    world.link(link, LinkStatus::Lost);
    world.run(20);
    assert_eq!(world.dials.len(), 2);
}

/// R5, R27: a frame of a later lineage is not believed, and not refused: the tree is asked. That of an
/// earlier one is refused, so that its sender asks.
#[test]
fn a_frame_of_another_lineage_makes_whoever_is_behind_ask_the_tree() {
    let (mut world, link) = World::backup(false);
    world.put_state(&world.state().give_up(Nonce(5)));
    assert_eq!(world.broker.replica().history().lineage, 2);
    for (lineage, refused) in [(3, false), (1, true)] {
        let Message::Replicate(mut frame) = replicate(1, (0, 0), 0, vec![epoch_start(0, 1)]) else {
            unreachable!()
        };
        frame.history = History { lineage, ..HISTORY };
        world.sent.clear();
        let calls = world.calls;
        world.receive(link, &Message::Replicate(frame));
        let nack = world.sent_to(link).any(|message| matches!(message, Message::ReplicateNack(_)));
        assert_eq!((nack, world.calls > calls), (refused, !refused), "lineage {lineage}");
        assert_eq!(world.broker.replica().log().end(), 0);
    }
}

/// R2: candidates stand in the order of the in-sync set, each place two heartbeats later.
#[test]
fn a_candidate_waits_for_those_before_it_in_the_set() {
    let (mut world, _) = World::backup(false);
    world.register("c", 3);
    let state = world.state().expand(&member("c", 3), Nonce(2)).expand(&member("a", 1), Nonce(3));
    world.put_state(&state);
    world.unregister("b", 2);
    world.run(95);
    assert_eq!((world.broker.leads(), world.state().epoch), (None, 1), "it is the turn of c");
    world.run(20);
    assert_eq!(world.broker.leads(), Some(2));
}

/// R2: a frame clears the primary of a refused connection, and of nothing that the tree says against it meanwhile.
#[test]
fn what_the_tree_says_stands_beside_a_refusal() {
    let (mut world, link) = World::backup(false);
    world.register("c", 3);
    let state = world.state().expand(&member("c", 3), Nonce(2)).expand(&member("a", 1), Nonce(3));
    world.put_state(&state);
    world.link(link, LinkStatus::Lost);
    for dials in [2, 3] {
        world.run(25);
        assert_eq!(world.dials.len(), dials);
        world.link(world.dials[dials - 1], LinkStatus::Refused);
    }
    world.input(Input::Timeout);
    assert_eq!(suspicions(&world), [Suspicion::Refused]);
    world.unregister("b", 2);
    world.receive(link, &replicate(1, (0, 0), 0, Vec::new()));
    world.run(120);
    assert_eq!(world.broker.leads(), Some(2));
}

/// R2: what the tree held against the primary is over; that it is silent is another reason, to be read for anew.
#[test]
fn a_round_that_began_for_another_reason_is_no_use() {
    let (mut world, link) = World::backup(true);
    world.receive(link, &replicate(1, (0, 0), 0, Vec::new()));
    world.hold();
    world.unregister("b", 2);
    while suspicions(&world) != [Suspicion::NotLive] {
        world.release();
    }
    world.register("b", 2);
    // Until its silence is suspicious too. It does not sleep meanwhile.
    for _ in 0..200 {
        world.run(10);
        world.input(Input::Timeout);
    }
    while suspicions(&world) == [Suspicion::NotLive] {
        world.release();
    }
    assert!(!world.is_held(|operation| matches!(operation, Operation::Set(_))), "it has not read since");
    for _ in 0..10 {
        world.release();
    }
    assert_eq!(world.broker.leads(), Some(2));
}
