//! What a primary sends to those who follow it, and how it takes what they say.

use super::handover::promote_b;
use super::retention::{keeping, offer, snapshot_ack};
use super::world::{World, nack, open_session, publish, sender};
use super::{B, CLIENT};
use steadfast_core::broker::Config;
use steadfast_core::broker::retention::Retention;
use steadfast_core::id::Incarnation;
use steadfast_core::limits::{MAX_BATCH_LEN, MAX_FRAME_ENTRIES, SEND_FRAME_BYTES};
use steadfast_core::link::LinkId;
use steadfast_core::message::{Message, Replicate};
use steadfast_core::trace::Trace;

const OTHER: LinkId = LinkId::accepted(3);

/// The frames with entries that were sent to `b`.
fn frames(world: &World) -> impl Iterator<Item = &Replicate> {
    world.sent_to(B).filter_map(|message| match message {
        Message::Replicate(replicate) if !replicate.entries.is_empty() => Some(replicate),
        _ => None,
    })
}

/// A primary with so many small records, and `b` that has just attached.
fn with_records(number: u64) -> World {
    let mut world = World::primary(Config::default());
    world.receive(CLIENT, &open_session(1));
    (1..=number).for_each(|sequence| world.receive(CLIENT, &publish(sequence)));
    world.register("b", 2);
    world.run(100);
    world.hello(B, "b", 2);
    world
}

/// However much there is to send, a frame holds no more than its receiver takes.
#[test]
fn a_frame_to_a_follower_has_a_bound() {
    let many = MAX_FRAME_ENTRIES as u64 + 10;
    let mut world = with_records(many);
    assert!(frames(&world).count() > 1);
    assert!(frames(&world).all(|frame| frame.entries.len() <= MAX_FRAME_ENTRIES));

    let mut sequence = many + 1;
    (0..8).for_each(|_| assert!(offer(&mut world, &mut sequence)));
    world.sent.clear();
    world.hello(B, "b", 2);
    let bytes = |frame: &Replicate| frame.entries.iter().map(|entry| entry.body_len()).sum::<usize>();
    assert!(frames(&world).any(|frame| bytes(frame) > SEND_FRAME_BYTES));
    assert!(frames(&world).all(|frame| bytes(frame) <= SEND_FRAME_BYTES + MAX_BATCH_LEN));
}

/// R16: every frame under way is refused for the same reason. One refusal per heartbeat is heeded, on the
/// link of the process that is attached.
#[test]
fn a_refusal_is_heeded_once_per_heartbeat_and_from_the_follower_only() {
    let mut world = with_records(3);
    world.run(100);
    let before = frames(&world).count();
    (0..10).for_each(|_| world.receive(B, &nack(sender("b", 2), 1)));
    assert_eq!(frames(&world).count(), before + 1);
    world.run(100);
    world.receive(OTHER, &nack(sender("b", 2), 1));
    let mut earlier = sender("b", 2);
    earlier.incarnation = Incarnation(77);
    world.receive(B, &nack(earlier, 1));
    assert_eq!(frames(&world).count(), before + 1, "not of this follower");
    world.receive(B, &nack(sender("b", 2), 1));
    assert_eq!(frames(&world).count(), before + 2);
}

/// R17: to say the same again is no progress: publishers are not held back for a follower that does.
#[test]
fn a_follower_that_repeats_itself_holds_nobody_up() {
    let mut world = World::primary(keeping(Retention { bytes: Some(16 << 20), records: None, age: None }));
    world.receive(CLIENT, &open_session(1));
    world.register("b", 2);
    let mut sequence = 1;
    (0..24).for_each(|_| assert!(offer(&mut world, &mut sequence)));
    world.hello(B, "b", 2);
    for _ in 0..500 {
        world.receive(B, &snapshot_ack(1, 1));
        assert!(offer(&mut world, &mut sequence), "refused at {sequence}");
        world.run(10);
    }
    assert!(!world.traces.iter().any(|trace| matches!(trace, Trace::Throttled { .. })));
}

/// R17: one that takes a frame now and then moves, and is helped.
#[test]
fn a_follower_that_moves_slowly_is_helped() {
    let mut world = World::primary(keeping(Retention { bytes: Some(16 << 20), records: None, age: None }));
    world.receive(CLIENT, &open_session(1));
    world.register("b", 2);
    let mut sequence = 1;
    (0..24).for_each(|_| assert!(offer(&mut world, &mut sequence)));
    world.hello(B, "b", 2);
    for part in 1..=10 {
        world.receive(B, &snapshot_ack(1, part));
        world.run(300);
    }
    assert!(world.traces.iter().any(|trace| matches!(trace, Trace::Throttled { member: Some(_) })));
}

/// R32: who no longer leads accuses nobody, and so knocks at no door.
#[test]
fn a_deposed_primary_stops_knocking() {
    let mut world = World::primary_with_backup(B);
    world.run(150);
    let [knock] = world.dials[..] else { panic!("it has not dialled once: {:?}", world.dials) };
    assert_eq!(world.closes, []);
    promote_b(&mut world);
    assert_eq!(world.broker.leads(), None);
    assert!(world.closes.contains(&knock));
}
