//! A primary's log that is larger than a backup has memory for (R16): both ends.

use crate::retention::{keeping, kept, offer, part, parts, records_of};
use crate::world::{World, open_session};
use crate::{B, CLIENT};
use steadfast_core::broker::Config;
use steadfast_core::broker::retention::Retention;
use steadfast_core::limits::MAX_BATCH_LEN;
use steadfast_core::link::{LinkId, LinkStatus};
use steadfast_core::message::Message;
use steadfast_core::trace::Trace;

/// What the backup is to keep, in bytes.
const LOG: u64 = 1 << 20;
/// What it has for a snapshot: the primary's log may exceed its limit by a batch.
const LIMIT: u64 = LOG + MAX_BATCH_LEN as u64;

fn hellos(world: &World) -> usize {
    world.sent.iter().filter(|(_, message)| matches!(message, Message::Hello(_))).count()
}

fn refusals(world: &World) -> usize {
    world.traces.iter().filter(|trace| matches!(trace, Trace::SnapshotRefused { .. })).count()
}

fn backup() -> (World, LinkId) {
    World::backup_with(false, Config { log_bytes: LOG, uncommitted_bytes: 0, ..Config::default() })
}

/// The primary's heartbeats come while a snapshot is under way.
fn listen(world: &mut World, link: LinkId, seconds: u64) {
    for _ in 0..seconds * 20 {
        world.receive(link, &records_of(LIMIT + 1, part(1, 1), 20, Vec::new()));
        world.run(50);
    }
}

/// A backup without room says so at the first part, once, and asks again after ever longer pauses.
#[test]
fn a_backup_without_room_asks_again_ever_more_seldom() {
    let (mut world, link) = backup();
    let mut asked = Vec::new();
    for second in 0..100 {
        let before = hellos(&world);
        world.receive(link, &records_of(LIMIT + 1, part(1, 0), 20, kept()));
        listen(&mut world, link, 1);
        if hellos(&world) > before {
            asked.push(second);
        }
    }
    assert_eq!(refusals(&world), 1);
    let said = Trace::SnapshotRefused { bytes: LIMIT + 1, limit: LIMIT };
    assert!(world.traces.contains(&said));
    assert_eq!((asked, world.dials.len()), (vec![9, 29, 69], 1), "on the link that it has");
    let nacked = world.sent_to(link).any(|message| matches!(message, Message::ReplicateNack(_)));
    assert!(!nacked, "that would begin the next snapshot");
    assert_eq!(world.broker.replica().log().end(), 0);
}

/// A log that has become smaller is taken when the backup asks again, and so is that of another primary.
#[test]
fn a_backup_without_room_takes_a_log_that_fits() {
    let (mut world, link) = backup();
    world.receive(link, &records_of(LIMIT + 1, part(1, 0), 20, kept()));
    world.receive(link, &records_of(LIMIT, part(2, 0), 20, kept()));
    let taken = |world: &World| world.sent_to(link).any(|message| matches!(message, Message::SnapshotAck(_)));
    assert!(!taken(&world), "it has not asked yet");
    listen(&mut world, link, 11);
    world.receive(link, &records_of(LIMIT, part(3, 0), 20, kept()));
    assert!(taken(&world));
}

/// A link that is lost meanwhile is dialled again, and does not make it ask sooner.
#[test]
fn a_lost_link_does_not_shorten_the_pause() {
    let (mut world, link) = backup();
    world.receive(link, &records_of(LIMIT + 1, part(1, 0), 20, kept()));
    world.link(link, LinkStatus::Lost);
    world.run(1_000);
    let again = *world.dials.last().expect("it dials again");
    assert_ne!(again, link);
    world.link(again, LinkStatus::Up);
    world.receive(again, &records_of(LIMIT, part(2, 0), 20, kept()));
    assert!(!world.sent_to(again).any(|message| matches!(message, Message::SnapshotAck(_))));
    assert_eq!(refusals(&world), 1);
}

/// R17: one part is sent to a follower that refuses it, and nobody is held back for it.
#[test]
fn a_follower_without_room_holds_nobody_up() {
    let mut world = World::primary(keeping(Retention { bytes: Some(16 << 20), records: None, age: None }));
    world.receive(CLIENT, &open_session(1));
    world.register("b", 2);
    let mut sequence = 1;
    (0..24).for_each(|_| assert!(offer(&mut world, &mut sequence)));
    for attempt in 1..=3 {
        world.hello(B, "b", 2);
        for _ in 0..500 {
            assert!(offer(&mut world, &mut sequence), "refused at {sequence}");
            world.run(10);
        }
        let (records, folds, entries) = parts(&world);
        assert_eq!((records.len(), folds.len(), entries), (attempt, 0, false));
        assert!(records.iter().all(|part| part.log_bytes > 15 << 20), "each says how large the log is");
    }
    assert!(!world.traces.iter().any(|trace| matches!(trace, Trace::Throttled { .. })));
    assert_eq!(world.in_sync(), ["a"]);
}
