//! A broker alone, with a scripted coordination tree and scripted peers: what hostile, confused or
//! unlucky neighbours may do to it, and the rules that are hard to meet by chance.

mod figures;
mod followers;
mod following;
mod handover;
mod head;
mod oversize;
mod quorum;
mod restored;
mod retention;
mod sessions;
mod snapshots;
mod status;
mod streams;
mod unruly;
mod world;

use std::time::Duration;
use steadfast_core::broker::{Command, Config, Event};
use steadfast_core::coordination::Operation;
use steadfast_core::group::GroupState;
use steadfast_core::id::{Incarnation, Nonce, PublisherId};
use steadfast_core::limits::LEARNER_DEADLINE;
use steadfast_core::link::{LinkId, LinkStatus};
use steadfast_core::message::{Departure, Hello, LogSummary, Message, OpenSession, Refusal, Start};
use steadfast_core::node::Input;
use steadfast_core::trace::{Halt, Rejection, Suspicion, Trace};
use world::{
    HISTORY, World, ack, epoch_start, is_barrier, member, nack, open_session, open_stream, process, publish,
    replicate, sender,
};

/// Longer than the lag threshold and the step-down time.
const LONG: u64 = 4_000;

const B: LinkId = LinkId::accepted(1);
const CLIENT: LinkId = LinkId::accepted(2);

fn suspicions(world: &World) -> Vec<Suspicion> {
    let cause = |trace: &Trace| match trace {
        Trace::Suspected { cause, .. } => Some(*cause),
        _ => None,
    };
    world.traces.iter().filter_map(cause).collect()
}

// Replication, as the primary

/// R8: an acknowledgement counts in its own epoch only, and from the process that is attached.
#[test]
fn an_ack_of_an_older_epoch_or_of_another_process_is_not_counted() {
    let mut world = World::primary_with_backup(B);
    world.receive(B, &nack(sender("b", 2), 2));
    world.run(300);
    assert_eq!(world.broker.leads(), Some(2), "nobody had won epoch 2: the old primary stood again");
    world.hello(B, "b", 2);
    let (commit, end) = (world.broker.replica().commit(), world.broker.replica().log().end());
    assert!(commit < end, "epoch 2 waits for b");

    world.receive(B, &ack(sender("b", 2), 1, end));
    assert_eq!(world.broker.replica().commit(), commit);
    assert_eq!(world.traces.last(), Some(&Trace::Rejected { link: B, reason: Rejection::WrongHistory }));

    let mut other = sender("b", 2);
    other.incarnation = Incarnation(77);
    world.receive(B, &ack(other, 2, end));
    assert_eq!(world.broker.replica().commit(), commit);
    assert!(matches!(world.traces.last(), Some(Trace::StaleProcess { .. })));

    world.ack(B, "b", 2);
    assert_eq!(world.broker.replica().commit(), end);
}

/// R11: whatever says that a higher epoch exists ends the reign.
#[test]
fn a_higher_epoch_in_any_frame_steps_the_primary_down() {
    let hello = Hello { sender: sender("b", 2), history: HISTORY, epoch: 2, log: LogSummary::default() };
    let frames = [
        Message::Hello(hello),
        ack(sender("b", 2), 2, 1),
        nack(sender("b", 2), 2),
        replicate(2, (0, 0), 0, Vec::new()),
    ];
    for frame in frames {
        let mut world = World::primary_with_backup(B);
        world.receive(CLIENT, &open_stream(Start::Earliest));
        world.hold();
        world.receive(B, &frame);
        assert_eq!(world.broker.leads(), None, "{frame:?}");
        assert!(world.traces.contains(&Trace::SteppedDown { epoch: 1 }));
        assert!(matches!(world.refusal(CLIENT), Refusal::NotPrimary { .. }));
    }
}

/// R13: under a load without pauses a follower is always a batch behind, and still gets in.
#[test]
fn a_follower_is_taken_in_under_load() {
    let mut world = World::primary(Config::default());
    world.receive(CLIENT, &open_session(1));
    world.register("b", 2);
    world.hello(B, "b", 2);
    for sequence in 1..=50 {
        let behind = world.broker.replica().log().end();
        world.receive(CLIENT, &publish(sequence));
        world.receive(B, &ack(sender("b", 2), 1, behind));
        world.run(1);
    }
    assert_eq!(world.in_sync(), ["a", "b"]);
    world.ack(B, "b", 2);
    assert_eq!(world.broker.replica().commit(), world.broker.replica().log().end());
}

/// R13: commits wait for a follower that is nearly there, but not for ever.
#[test]
fn a_follower_that_stops_on_its_way_in_holds_commits_up_for_a_while_only() {
    let mut world = World::primary(Config::default());
    world.receive(CLIENT, &open_session(1));
    world.register("b", 2);
    world.hello(B, "b", 2);
    let behind = world.broker.replica().log().end();
    world.receive(CLIENT, &publish(1));
    world.receive(CLIENT, &publish(2));
    world.receive(B, &ack(sender("b", 2), 1, behind));
    world.receive(CLIENT, &publish(3));
    let waiting = world.broker.replica().commit();
    assert!(waiting < world.broker.replica().log().end());
    world.run(LONG);
    assert_eq!(world.broker.replica().commit(), world.broker.replica().log().end());
    assert_eq!(world.in_sync(), ["a"]);
    // It has not moved: nobody waits for it again.
    world.receive(B, &ack(sender("b", 2), 1, behind));
    world.receive(CLIENT, &publish(4));
    assert_eq!(world.broker.replica().commit(), world.broker.replica().log().end());
}

// Replication, as a backup

/// R5: a primary of an earlier epoch is told so, and nothing of its log is taken.
#[test]
fn entries_below_the_floor_are_refused() {
    let (mut world, link) = World::backup(true);
    world.put_state(&world.state().promote(&process("b", 2), Nonce(3)));
    world.receive(link, &replicate(1, (0, 0), 0, vec![epoch_start(0, 1)]));
    assert_eq!(world.broker.replica().log().end(), 0);
    match world.sent_to(link).next_back() {
        Some(Message::ReplicateNack(nack)) => assert_eq!(nack.floor, 2),
        other => panic!("not a refusal: {other:?}"),
    }
    world.receive(link, &replicate(2, (0, 0), 0, vec![epoch_start(0, 2)]));
    assert_eq!(world.broker.replica().log().end(), 1);
}

/// An epoch exists when the tree says so: a frame alone must not raise the floor for good.
#[test]
fn an_epoch_above_the_trees_is_not_believed() {
    let (mut world, link) = World::backup(true);
    let calls = world.calls;
    world.receive(link, &replicate(9, (0, 0), 0, vec![epoch_start(0, 9)]));
    assert_eq!(world.broker.replica().floor(), 1);
    assert_eq!(world.broker.replica().log().end(), 0);
    assert!(world.calls > calls, "the tree is asked");
    world.receive(link, &replicate(1, (0, 0), 0, vec![epoch_start(0, 1)]));
    assert_eq!(world.broker.replica().log().end(), 1);
}

/// R6: what was never committed makes way for the new primary's log, what was committed never does.
#[test]
fn a_conflict_above_the_commit_offset_is_cut_and_one_below_it_halts() {
    for commit in [0, 1] {
        let (mut world, link) = World::backup(true);
        world.receive(link, &replicate(1, (0, 0), commit, vec![epoch_start(0, 1)]));
        assert_eq!(world.broker.replica().commit(), commit);
        world.put_state(&world.state().promote(&process("b", 2), Nonce(3)));
        world.receive(link, &replicate(2, (0, 0), 0, vec![epoch_start(0, 2)]));
        if commit == 0 {
            assert!(world.traces.contains(&Trace::Truncated { to: 0, from: 1 }));
            assert_eq!(world.broker.replica().log().last_epoch(), 2);
            assert_eq!(world.events, []);
        } else {
            assert_eq!(world.broker.replica().log().last_epoch(), 1);
            assert_eq!(world.events, [Event::Halted(Halt::CommittedConflict)]);
        }
    }
}

/// A link that is up and carries nothing is given up and dialled again.
#[test]
fn a_backup_dials_again_after_silence() {
    let (mut world, _) = World::backup(false);
    world.run(30_000);
    assert!(world.dials.len() > 1, "half a minute of silence, and no second dial");
}

// The in-sync set and the detection of death

/// A follower whose live node vanishes and returns keeps its link, and is served on it again.
#[test]
fn a_follower_whose_session_blinked_is_served_again() {
    let mut world = World::primary_with_backup(B);
    world.unregister("b", 2);
    assert_eq!(world.in_sync(), ["a"]);
    for _ in 0..3 {
        world.run(50);
        world.ack(B, "b", 2);
    }
    world.register("b", 2);
    let before = world.sent_to(B).count();
    for _ in 0..100 {
        world.run(50);
        world.ack(B, "b", 2);
    }
    assert!(world.sent_to(B).count() > before, "b hears nothing more though its link is up");
    assert_eq!(world.in_sync(), ["a", "b"]);
}

#[test]
fn two_processes_of_one_node_do_not_make_the_set_flap() {
    let mut world = World::primary(Config::default());
    let other = LinkId::accepted(3);
    world.register("b", 2);
    world.register("b", 3);
    world.hello(B, "b", 2);
    world.hello(other, "b", 3);
    for _ in 0..=20 {
        world.ack(other, "b", 3);
        world.ack(B, "b", 2);
        world.run(50);
    }
    assert!(world.writes < 20, "{} writes in a second", world.writes);
}

/// R32: a door that refuses twice, with nothing heard in between, proves that its process is dead.
#[test]
fn two_refusals_prove_a_member_dead_and_a_frame_in_between_does_not() {
    for heard in [false, true] {
        let mut world = World::primary_with_backup(B);
        let knock = |world: &mut World| {
            let link = *world.dials.last().expect("a silent member is knocked for");
            world.link(link, LinkStatus::Refused);
        };
        world.run(150);
        knock(&mut world);
        assert_eq!(world.in_sync(), ["a", "b"], "one refusal proves nothing");
        if heard {
            world.ack(B, "b", 2);
            world.run(150);
        } else {
            world.run(20);
        }
        assert_eq!(world.dials.len(), 2);
        knock(&mut world);
        assert_eq!(world.in_sync().len(), if heard { 2 } else { 1 });
        assert_eq!(suspicions(&world), if heard { vec![] } else { vec![Suspicion::Refused] });
    }
}

/// R21: who slept must not accuse the others of silence.
#[test]
fn a_primary_that_slept_gives_its_members_a_full_term() {
    let mut world = World::primary_with_backup(B);
    world.sleep(Duration::from_secs(60));
    world.input(Input::Timeout);
    world.run(1_000);
    assert_eq!(suspicions(&world), []);
    world.run(LONG);
    assert_eq!(suspicions(&world), [Suspicion::Silence]);
    assert_eq!(world.in_sync(), ["a"]);
}

/// R2: that frames still come from a primary does not outweigh what the tree says against it.
#[test]
fn a_primary_without_a_live_node_is_replaced_also_under_load() {
    let (mut world, link) = World::backup(true);
    let beat = replicate(1, (0, 0), 0, Vec::new());
    world.receive(link, &beat);
    world.hold();
    world.unregister("b", 2);
    // A frame of the primary arrives between any call and its reply.
    for _ in 0..1_000 {
        world.receive(link, &beat);
        world.sleep(Duration::from_micros(500));
        world.release();
    }
    assert_eq!(world.broker.leads(), Some(2), "{} calls, {:?}", world.calls, suspicions(&world));
}

// Isolation

/// R20: cut off from everyone a primary says nothing, and speaks again when a member is back.
#[test]
fn an_isolated_primary_falls_silent_and_speaks_again() {
    let mut world = World::primary_with_backup(B);
    world.receive(CLIENT, &open_stream(Start::Earliest));
    world.disconnect();
    let most = world.run(LONG);
    assert!(most < 100, "{most} wake-ups at one instant");
    assert!(world.traces.contains(&Trace::FellSilent));
    assert_eq!(world.broker.leads(), Some(1), "silent, but not deposed");

    world.sent.clear();
    world.run(1_000);
    world.receive(CLIENT, &Message::Ping { token: 1 });
    assert_eq!(world.sent_to(CLIENT).count(), 0, "neither heartbeats nor a pong");
    let away = Refusal::NotPrimary { primary: None, epoch: 0 };
    world.receive(CLIENT, &open_session(1));
    assert_eq!(world.refusal(CLIENT), &away);
    world.receive(CLIENT, &publish(1));
    assert_eq!(world.refusal(CLIENT), &away);
    world.receive(CLIENT, &open_stream(Start::Earliest));
    assert_eq!(world.refusal(CLIENT), &away);

    world.ack(B, "b", 2);
    assert!(world.traces.contains(&Trace::SpokeAgain));
    world.receive(CLIENT, &Message::Ping { token: 2 });
    assert_eq!(world.sent_to(CLIENT).next_back(), Some(&Message::Pong { token: 2 }));
}

/// R20, R14: whom it may have taken in it misses like a member, for that one may lead by now.
#[test]
fn a_primary_that_may_have_taken_somebody_in_is_not_alone() {
    let mut world = World::primary(Config::default());
    world.register("b", 2);
    world.hello(B, "b", 2);
    world.hold();
    world.ack(B, "b", 2);
    world.disconnect();
    world.run(LONG);
    assert_eq!((world.in_sync(), world.traces.contains(&Trace::FellSilent)), (vec!["a".into()], true));
}

/// R20: with its session back it does not know yet whether it was deposed meanwhile.
#[test]
fn a_silent_primary_speaks_again_only_when_it_has_read_the_tree() {
    let mut world = World::primary_with_backup(B);
    world.disconnect();
    world.run(LONG);
    assert!(world.traces.contains(&Trace::FellSilent));
    world.hold();
    world.connect();
    world.run(50);
    assert!(!world.traces.contains(&Trace::SpokeAgain));
    release_all(&mut world);
    assert!(world.traces.contains(&Trace::SpokeAgain));
}

/// R20: one of the two, ZooKeeper or the members, is enough; and alone there is nobody to miss.
#[test]
fn a_primary_in_touch_with_anybody_does_not_fall_silent() {
    let mut heard = World::primary_with_backup(B);
    heard.disconnect();
    for _ in 0..LONG / 50 {
        heard.ack(B, "b", 2);
        heard.run(50);
    }
    let mut alone = World::primary(Config::default());
    alone.disconnect();
    alone.run(LONG);
    for mut world in [heard, alone] {
        assert!(!world.traces.contains(&Trace::FellSilent));
        world.receive(CLIENT, &Message::Ping { token: 1 });
        assert_eq!(world.sent_to(CLIENT).next_back(), Some(&Message::Pong { token: 1 }));
    }
}

// What clients ask

#[test]
fn session_opens_are_bounded() {
    let limit = 64 << 10;
    let mut world = World::primary(Config { log_bytes: limit, ..Config::default() });
    for publisher in 0..2_000 {
        let (publisher, nonce) = (PublisherId(publisher), Nonce(1));
        let open = OpenSession { history: HISTORY, publisher, nonce, incarnation: 0 };
        world.receive(CLIENT, &Message::OpenSession(open));
    }
    assert!(world.broker.replica().log().bytes() <= limit);
    assert!(matches!(world.refusal(CLIENT), Refusal::Busy { .. }));
}

// A tree that went back

/// A primary with a session, and a batch that it could commit; the tree has just gone back, and the
/// read that showed it has led to another one, which waits.
fn doubtful() -> World {
    let mut world = World::primary(Config::default());
    world.receive(CLIENT, &open_session(1));
    world.hold();
    world.put_state(&GroupState::bootstrap(HISTORY.group_id, member("a", 1), 1, Nonce(0)));
    assert!(world.is_held(|operation| matches!(operation, Operation::Sync { .. })));
    world.release();
    while !world.is_held(is_barrier) {
        assert!(world.is_held(|_| true), "no second read");
        world.release();
    }
    // The view is looked at again, and shows what it showed.
    world.connect();
    world.receive(CLIENT, &publish(1));
    assert_eq!(world.events, [], "the read that showed it may have begun before the truth was known");
    assert_eq!(world.acknowledgements(), 0, "nothing is committed while in doubt");
    world
}

fn release_all(world: &mut World) {
    while world.is_held(|_| true) {
        world.release();
    }
}

/// R25: only a read that began after the contradiction was noticed halts the broker.
#[test]
fn a_tree_that_went_back_halts_after_a_second_read() {
    let mut world = doubtful();
    release_all(&mut world);
    assert_eq!(world.events, [Event::Halted(Halt::TreeWentBack)]);
    assert_eq!(world.acknowledgements(), 0);
}

/// R25: a second read that shows nothing wrong ends the doubt.
#[test]
fn a_doubt_that_a_second_read_does_not_confirm_is_dropped() {
    let mut world = doubtful();
    let first = GroupState::bootstrap(HISTORY.group_id, member("a", 1), 1, Nonce(0));
    world.put_state(&first.promote(&process("a", 1), Nonce(1)));
    release_all(&mut world);
    assert_eq!(world.events, []);
    assert_eq!(world.broker.leads(), Some(1));
    assert_eq!(world.acknowledgements(), 1);
}

// Shutdown

/// R27a: the last member in sync gives the data up when it leaves, and acknowledges nothing more.
#[test]
fn the_last_member_gives_the_data_up_when_it_is_shut_down() {
    let mut world = World::primary(Config::default());
    world.receive(CLIENT, &open_session(1));
    world.receive(CLIENT, &publish(1));
    assert_eq!(world.acknowledgements(), 1);
    world.hold();
    world.input(Input::Command(Command::Shutdown));
    assert!(world.is_held(|operation| matches!(operation, Operation::Set(_))), "the loss is written");
    world.receive(CLIENT, &publish(2));
    assert!(matches!(world.refusal(CLIENT), Refusal::NotPrimary { .. }));

    world.release();
    let state = world.state();
    assert_eq!((state.history.lineage, state.epoch, state.lost_epoch), (2, 2, 1));
    assert_eq!((state.primary, state.in_sync), (None, Vec::new()));
    assert_eq!(world.events, [Event::Stopped]);
    let sent = world.sent.len();
    world.receive(CLIENT, &publish(2));
    assert_eq!((world.sent.len(), world.acknowledgements()), (sent, 1));
}

/// R27a: the primary is gone; the only other holder is asked to leave before it has its place.
#[test]
fn the_last_holder_takes_the_lead_to_give_the_data_up() {
    let (mut world, link) = World::backup(true);
    let end = (0, 0);
    world.receive(link, &replicate(1, end, 0, vec![epoch_start(0, 1)]));
    world.unregister("b", 2);
    world.input(Input::Command(Command::Shutdown));
    world.run(5_000);
    assert_eq!(world.events, [Event::Stopped]);
    let state = world.state();
    assert!(state.primary.is_none() && state.in_sync.is_empty(), "{state:?}");
    assert_eq!(state.history.lineage, 2);
}

/// R27a: the primary has left a moment ago, and nothing was heard of it yet.
#[test]
fn a_holder_that_leaves_looks_first_who_else_is_there() {
    let (mut world, link) = World::backup(true);
    world.receive(link, &replicate(1, (0, 0), 0, vec![epoch_start(0, 1)]));
    world.unregister_unseen("b", 2);
    world.input(Input::Command(Command::Shutdown));
    world.run(5_000);
    assert_eq!(world.events, [Event::Stopped]);
    assert_eq!(world.state().history.lineage, 2);
}

/// R14, R27a: the promotion is under way when the order to leave comes.
#[test]
fn a_shutdown_waits_for_a_promotion_under_way() {
    let (mut world, link) = World::backup(true);
    world.receive(link, &replicate(1, (0, 0), 0, vec![epoch_start(0, 1)]));
    world.hold();
    world.unregister("b", 2);
    while !world.is_held(|operation| matches!(operation, Operation::Set(_))) {
        world.release();
        world.run(20);
    }
    world.input(Input::Command(Command::Shutdown));
    assert_eq!(world.events, []);
    for _ in 0..250 {
        world.release();
        world.run(20);
    }
    assert_eq!(world.events, [Event::Stopped]);
    assert_eq!(world.state().history.lineage, 2);
}

/// R27a: data that somebody else is about to hold is not given up.
#[test]
fn a_shutdown_takes_an_attached_follower_in_first() {
    let mut world = World::primary(Config::default());
    world.register("b", 2);
    world.hello(B, "b", 2);
    world.input(Input::Command(Command::Shutdown));
    assert_eq!(world.events, []);
    world.ack(B, "b", 2);
    assert_eq!(world.in_sync(), ["a", "b"]);
    let asked = |message: &Message| matches!(message, Message::TakeOver(_));
    assert!(world.sent_to(B).any(asked), "b has everything and is asked to take over");
    world.put_state(&world.state().promote(&process("b", 2), Nonce(2)));
    world.run(200);
    assert_eq!(world.events, [Event::Stopped]);
    assert_eq!(world.state().history, HISTORY);
}

/// R27a: a follower that copies much may take longer than the order's time. It is waited for while it
/// moves, and no longer.
#[test]
fn a_shutdown_waits_for_a_follower_that_moves() {
    for gets_there in [true, false] {
        let mut world = World::primary(Config::default());
        world.receive(CLIENT, &open_session(1));
        (1..=30).for_each(|sequence| world.receive(CLIENT, &publish(sequence)));
        world.register("b", 2);
        world.hello(B, "b", 2);
        world.input(Input::Command(Command::Shutdown));
        for matched in 1..=20 {
            world.receive(B, &ack(sender("b", 2), 1, matched));
            world.run(1_000);
            assert_eq!((world.state().history.lineage, world.events.as_slice()), (1, [].as_slice()));
        }
        if gets_there {
            world.ack(B, "b", 2);
            assert_eq!((world.in_sync(), world.state().history.lineage), (vec!["a".into(), "b".into()], 1));
            assert!(world.sent_to(B).any(|message| matches!(message, Message::TakeOver(_))));
        } else {
            world.run(LONG);
            assert_eq!(
                (world.in_sync(), world.state().history.lineage),
                (Vec::new(), 2),
                "the loss is declared"
            );
            assert_eq!(world.events, [Event::Stopped]);
        }
    }
}

/// R27a: not for ever, and what is lost is written down in the end.
#[test]
fn a_shutdown_waits_for_a_minute_at_most() {
    let mut world = World::primary(Config::default());
    world.receive(CLIENT, &open_session(1));
    (1..=200).for_each(|sequence| world.receive(CLIENT, &publish(sequence)));
    world.register("b", 2);
    world.hello(B, "b", 2);
    world.input(Input::Command(Command::Shutdown));
    let limit = LEARNER_DEADLINE.as_secs();
    for matched in 1..limit {
        world.receive(B, &ack(sender("b", 2), 1, matched));
        world.run(1_000);
        assert_eq!((world.state().history.lineage, world.events.as_slice()), (1, [].as_slice()));
    }
    world.receive(B, &ack(sender("b", 2), 1, limit));
    world.run(1_000);
    assert_eq!((world.in_sync(), world.state().history.lineage), (Vec::new(), 2));
    assert_eq!(world.events, [Event::Stopped]);
    let left = Trace::Leaves { departure: Departure::GaveUp };
    assert!(world.traces.contains(&left), "{:?}", world.traces.last());
}

/// R27a: without ZooKeeper the loss cannot be written; the broker leaves all the same.
#[test]
fn a_shutdown_without_coordination_ends_after_a_while() {
    let mut world = World::primary(Config::default());
    world.disconnect();
    world.input(Input::Command(Command::Shutdown));
    world.run(LONG);
    assert_eq!(world.events, []);
    world.run(LONG);
    assert_eq!(world.events, [Event::Stopped]);
    assert_eq!(world.state().history, HISTORY);
}
