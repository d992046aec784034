//! Leaving without an outage (R34): what a primary waits for, what a backup believes, and when either
//! may go.

use crate::world::{
    HISTORY, World, ack, epoch_start, member, nack, open_session, open_stream, process, publish, replicate,
    sender,
};
use crate::{B, CLIENT};
use steadfast_core::broker::{Command, Event};
use steadfast_core::coordination::Operation;
use steadfast_core::id::{BrokerIdentity, Epoch, Incarnation, Nonce};
use steadfast_core::link::{LinkId, LinkStatus};
use steadfast_core::message::{Departure, History, Message, Refusal, Start, TakeOver};
use steadfast_core::node::Input;
use steadfast_core::trace::{Suspicion, Trace};

const C: LinkId = LinkId::accepted(4);
const OPERATOR: LinkId = LinkId::accepted(5);
const LATER: LinkId = LinkId::accepted(6);
/// Longer than one attempt to hand over, shorter than a shutdown.
const ATTEMPT: u64 = 600;

fn take_over(sender: BrokerIdentity, history: History, epoch: Epoch) -> Message {
    Message::TakeOver(TakeOver { sender, history, epoch })
}

fn shut_down(world: &mut World) {
    world.input(Input::Command(Command::Shutdown));
}

/// How often somebody was asked to take over on this link.
fn asked(world: &World, link: LinkId) -> usize {
    world.sent_to(link).filter(|message| matches!(message, Message::TakeOver(_))).count()
}

fn failed(world: &World) -> usize {
    world.traces.iter().filter(|trace| matches!(trace, Trace::HandoverFailed { .. })).count()
}

fn departures(world: &World) -> Vec<&Departure> {
    let traces = world.traces.iter();
    traces
        .filter_map(|trace| match trace {
            Trace::Leaves { departure } => Some(departure),
            _ => None,
        })
        .collect()
}

/// `b` has made itself primary.
pub fn promote_b(world: &mut World) {
    let next = world.state().promote(&process("b", 2), Nonce(77));
    world.put_state(&next);
}

/// A primary with a session, a stream, and a record that `b` has not acknowledged, asked to leave.
fn leaving() -> World {
    let mut world = World::primary_with_backup(B);
    world.receive(CLIENT, &open_stream(Start::Earliest));
    world.receive(CLIENT, &open_session(1));
    world.ack(B, "b", 2);
    world.receive(CLIENT, &publish(1));
    shut_down(&mut world);
    assert_eq!(world.events, []);
    world
}

/// The same, and `b` has everything and was asked.
fn asking() -> World {
    let mut world = leaving();
    world.ack(B, "b", 2);
    assert_eq!((world.acknowledgements(), asked(&world, B)), (1, 1));
    world
}

#[test]
fn a_primary_asks_only_a_backup_that_has_everything_and_takes_nothing_meanwhile() {
    let mut world = leaving();
    assert_eq!(asked(&world, B), 0, "b lacks a record");
    let end = world.broker.replica().log().end();
    world.receive(CLIENT, &publish(2));
    assert!(matches!(world.refusal(CLIENT), Refusal::Electing { .. }));
    world.receive(CLIENT, &open_session(1));
    assert!(matches!(world.refusal(CLIENT), Refusal::Electing { .. }));
    assert_eq!(world.broker.replica().log().end(), end);

    world.ack(B, "b", 2);
    assert_eq!(world.acknowledgements(), 1, "what it had taken is acknowledged");
    let last = world.sent_to(B).rfind(|message| matches!(message, Message::TakeOver(_)));
    let Some(Message::TakeOver(sent)) = last else { panic!("b is not asked") };
    assert_eq!((sent.history, sent.epoch), (HISTORY, 1));
    assert_eq!(world.broker.leads(), Some(1), "it is primary until the tree says otherwise");
}

#[test]
fn a_deposed_primary_sends_its_clients_on_and_stops_a_moment_later() {
    let mut world = asking();
    world.receive(OPERATOR, &Message::Drain);
    assert_eq!(world.sent_to(OPERATOR).last(), Some(&Message::Drained(Departure::Begun)));
    let before = world.sent_to(CLIENT).count();
    promote_b(&mut world);
    // One for the stream and one for the session, each with the way.
    let refusals: Vec<_> = world.sent_to(CLIENT).skip(before).collect();
    assert_eq!(refusals.len(), 2);
    for message in refusals {
        let Message::Refusal { reason: Refusal::NotPrimary { primary: Some(primary), epoch }, .. } = message
        else {
            panic!("not the way to b: {message:?}")
        };
        assert_eq!((primary.node.as_str(), *epoch), ("b", 2));
    }
    let successor = member("b", 2).node;
    let departure = Departure::HandedOver { successor };
    assert_eq!(world.sent_to(OPERATOR).last(), Some(&Message::Drained(departure.clone())));
    assert_eq!(departures(&world), [&departure]);

    assert_eq!(world.events, [], "others may still ask for the way");
    world.receive(CLIENT, &publish(2));
    assert!(matches!(world.refusal(CLIENT), Refusal::NotPrimary { primary: Some(_), .. }));
    // Who asks only now is told all at once.
    world.sent.clear();
    world.receive(LATER, &Message::Drain);
    let told: Vec<_> = world.sent_to(LATER).collect();
    assert_eq!(told, [&Message::Drained(Departure::Begun), &Message::Drained(departure)]);
    let dials = world.dials.len();
    assert!(world.run(200) < 10, "it is not woken for nothing");
    assert_eq!(world.events, [Event::Stopped]);
    assert_eq!(world.dials.len(), dials, "who leaves must not be taken in again");
}

/// R34: that a frame shows a higher epoch is no proof that there is another primary.
#[test]
fn a_deposed_primary_goes_only_after_a_synced_read() {
    let mut world = asking();
    world.hold();
    world.receive(B, &nack(sender("b", 2), 2));
    assert_eq!(world.broker.leads(), None);
    assert!(world.is_held(|operation| matches!(operation, Operation::Sync { .. })), "the tree is asked");
    world.run(1_000);
    assert_eq!(world.events, []);
    assert_eq!(departures(&world), [] as [&Departure; 0]);
    promote_b(&mut world);
    while world.is_held(|_| true) {
        world.release();
    }
    assert!(matches!(departures(&world)[..], [Departure::HandedOver { .. }]));
}

#[test]
fn a_primary_whose_request_is_not_answered_goes_on() {
    let mut world = asking();
    world.ack(B, "b", 2);
    for _ in 0..ATTEMPT / 50 {
        world.run(50);
        world.ack(B, "b", 2);
        if failed(&world) > 0 {
            break;
        }
    }
    assert_eq!((failed(&world), world.broker.leads()), (1, Some(1)));
    world.receive(CLIENT, &publish(2));
    world.ack(B, "b", 2);
    assert_eq!(world.acknowledgements(), 2, "it takes records again, and acknowledges them");

    // It tries again, and in the end leaves all the same, and says so.
    for _ in 0..5_000 / 50 {
        world.run(50);
        world.ack(B, "b", 2);
    }
    assert!(asked(&world, B) > 2, "asked {} times", asked(&world, B));
    assert_eq!(departures(&world), [&Departure::TimedOut]);
    assert_eq!(world.events, [Event::Stopped]);
    assert_eq!(world.in_sync(), ["a", "b"], "it has dropped nobody");
}

/// R27a: with nobody left to take over it gives the data up, as if it had been alone from the start.
#[test]
fn a_target_that_dies_is_given_up_at_once() {
    let mut world = asking();
    world.link(B, LinkStatus::Lost);
    world.unregister("b", 2);
    assert_eq!(failed(&world), 1);
    assert_eq!(departures(&world), [&Departure::GaveUp]);
    let state = world.state();
    assert_eq!((state.history.lineage, state.in_sync.len()), (2, 0));
}

/// R34: another one gets its turn when the first choice does not take over, or is gone.
#[test]
fn the_next_backup_is_asked() {
    for dies in [false, true] {
        let mut world = World::primary_with_backup(B);
        world.register("c", 3);
        world.hello(C, "c", 3);
        for _ in 0..8 {
            world.ack(C, "c", 3);
            world.ack(B, "b", 2);
            world.run(50);
        }
        assert_eq!(world.in_sync(), ["a", "b", "c"]);
        shut_down(&mut world);
        let first = if asked(&world, B) == 1 { ("b", 2, B) } else { ("c", 3, C) };
        let other = if first.0 == "b" { ("c", 3, C) } else { ("b", 2, B) };
        assert_eq!(asked(&world, first.2) + asked(&world, other.2), 1);
        if dies {
            world.link(first.2, LinkStatus::Lost);
            world.unregister(first.0, first.1);
            assert_eq!(world.in_sync(), ["a", other.0], "what is proved gone is dropped");
        }
        for _ in 0..30 {
            world.run(50);
            world.ack(B, "b", 2);
            world.ack(C, "c", 3);
        }
        assert!(asked(&world, other.2) >= 1, "dies: {dies}");
    }
}

/// R12: while it leaves, a primary that hears nothing does not accuse the others.
#[test]
fn a_primary_that_leaves_drops_nobody_for_silence() {
    let mut world = leaving();
    let before = world.writes;
    world.run(4_900);
    assert_eq!((world.writes, world.in_sync().len()), (before, 2));
    world.run(200);
    assert_eq!(world.events, [Event::Stopped]);
    assert_eq!(world.state().history, HISTORY, "nothing is given up");
}

/// R12: nor does one that is silent and stays hide another that is gone.
#[test]
fn a_primary_that_leaves_drops_who_is_gone_behind_one_that_is_silent() {
    let mut world = World::primary_with_backup(B);
    world.register("c", 3);
    world.hello(C, "c", 3);
    for _ in 0..8 {
        world.ack(C, "c", 3);
        world.ack(B, "b", 2);
        world.run(50);
    }
    shut_down(&mut world);
    world.run(4_000);
    assert_eq!(world.in_sync(), ["a", "b", "c"]);
    world.unregister("c", 3);
    assert_eq!(world.in_sync(), ["a", "b"]);
}

// As a backup

/// R34: it believes the tree about who may ask, and when.
#[test]
fn a_request_that_the_tree_does_not_bear_out_is_ignored() {
    let other = History { lineage: 2, ..HISTORY };
    let mut successor = sender("b", 2);
    successor.incarnation = Incarnation(77);
    let requests = [
        take_over(sender("b", 2), HISTORY, 2),
        take_over(sender("b", 2), other, 1),
        take_over(sender("c", 3), HISTORY, 1),
        take_over(successor, HISTORY, 1),
    ];
    for request in requests {
        let (mut world, link) = World::backup(true);
        let writes = world.writes;
        world.receive(link, &request);
        world.receive(link, &replicate(1, (0, 0), 0, Vec::new()));
        assert!(matches!(world.traces.last(), Some(Trace::TakeOverIgnored { .. })), "{request:?}");
        assert_eq!((world.writes, world.broker.leads()), (writes, None), "{request:?}");
    }
    // An epoch that is over: b leads again, and what it asked for in its first reign comes late.
    let (mut world, link) = World::backup(true);
    let next = world.state().promote(&process("b", 2), Nonce(3));
    world.put_state(&next);
    world.receive(link, &take_over(sender("b", 2), HISTORY, 1));
    assert_eq!(world.traces.last(), Some(&Trace::TakeOverIgnored { node: member("b", 2).node, epoch: 1 }));
    assert_eq!(world.state(), next);
}

#[test]
fn who_is_not_in_sync_or_leaves_itself_does_not_take_over() {
    let (mut outsider, link) = World::backup(false);
    outsider.receive(link, &take_over(sender("b", 2), HISTORY, 1));
    outsider.run(10);
    let (mut leaver, link) = World::backup(true);
    shut_down(&mut leaver);
    leaver.receive(link, &take_over(sender("b", 2), HISTORY, 1));
    leaver.run(10);
    for world in [outsider, leaver] {
        assert!(world.traces.iter().any(|trace| matches!(trace, Trace::TakeOverIgnored { .. })));
        assert_eq!((world.state().epoch, world.broker.leads()), (1, None));
    }
    let mut primary = World::primary_with_backup(B);
    primary.receive(B, &take_over(sender("b", 2), HISTORY, 1));
    assert!(matches!(primary.traces.last(), Some(Trace::Rejected { .. })));
}

#[test]
fn a_backup_that_is_asked_becomes_primary_without_waiting() {
    let (mut world, link) = World::backup(true);
    world.receive(link, &replicate(1, (0, 0), 0, vec![epoch_start(0, 1)]));
    world.receive(link, &take_over(sender("b", 2), HISTORY, 1));
    assert_eq!(world.broker.leads(), Some(2), "no time has passed");
    assert_eq!(world.in_sync(), ["a"], "the one that leaves is not waited for");
    let leaving = Trace::Suspected { node: member("b", 2).node, cause: Suspicion::Leaving };
    assert!(world.traces.contains(&leaving));
}

/// Clients that are sent here before the outcome of the write is known are not sent back.
#[test]
fn a_candidate_asks_early_clients_to_wait() {
    let (mut world, link) = World::backup(true);
    world.hold();
    world.receive(link, &take_over(sender("b", 2), HISTORY, 1));
    while !world.is_held(|operation| matches!(operation, Operation::Set(_))) {
        world.release();
    }
    world.receive(CLIENT, &open_session(1));
    assert!(matches!(world.refusal(CLIENT), Refusal::Electing { .. }));
    world.receive(CLIENT, &open_stream(Start::Earliest));
    assert!(matches!(world.refusal(CLIENT), Refusal::Electing { .. }));
}

/// R12: a backup takes its live node away, so that the primary drops it at once, and acknowledges until
/// it has.
#[test]
fn a_backup_that_leaves_acknowledges_until_it_is_dropped() {
    let (mut world, link) = World::backup(true);
    world.receive(link, &replicate(1, (0, 0), 0, vec![epoch_start(0, 1)]));
    world.hold();
    shut_down(&mut world);
    // R27a: it looks first whether anybody else is there.
    while !world.is_held(|operation| matches!(operation, Operation::Delete(_))) {
        assert!(world.is_held(|_| true), "its live node stays");
        world.release();
    }
    world.run(100);
    world.receive(link, &replicate(1, (1, 1), 1, Vec::new()));
    let mut own = sender("a", 1);
    own.czxid = 0;
    assert_eq!(world.sent_to(link).last(), Some(&ack(own, 1, 1)));
    assert_eq!(world.events, []);
    let next = world.state().shrink(&member("a", 1), Nonce(9));
    world.put_state(&next);
    while world.is_held(|_| true) {
        world.release();
    }
    assert_eq!(departures(&world), [&Departure::Left]);
    assert_eq!(world.events, [Event::Stopped]);
}

#[test]
fn a_backup_that_nobody_drops_leaves_after_a_while() {
    let (mut world, link) = World::backup(true);
    shut_down(&mut world);
    for _ in 0..30 {
        world.receive(link, &replicate(1, (0, 0), 0, Vec::new()));
        assert!(world.run(50) < 10, "it is not woken for nothing");
    }
    assert_eq!(departures(&world), [&Departure::TimedOut]);
    assert_eq!(world.events, [Event::Stopped]);
    let (mut learner, _) = World::backup(false);
    shut_down(&mut learner);
    assert_eq!(learner.events, [Event::Stopped], "nothing depends on it");
}

/// A backup of `b` that has the epoch's first record and was asked to leave: its live node is gone.
fn saying_goodbye(min_in_sync: u32) -> (World, LinkId) {
    let (mut world, link) = World::backup_with_least(min_in_sync, true);
    world.receive(link, &replicate(1, (0, 0), 0, vec![epoch_start(0, 1)]));
    shut_down(&mut world);
    assert_eq!((world.is_registered("a", 1), world.events.as_slice()), (min_in_sync > 1, [].as_slice()));
    world.run(10);
    world.receive(link, &replicate(1, (1, 1), 1, Vec::new()));
    (world, link)
}

/// R34: nobody but `b` and this broker holds anything, and `b` dies before it has dropped this broker.
#[test]
fn a_backup_that_leaves_takes_the_lead_when_the_primary_dies() {
    let (mut world, _) = saying_goodbye(1);
    world.register("c", 3);
    world.run(1_500);
    assert_eq!((world.is_registered("a", 1), world.broker.leads()), (false, None), "b may only be cut off");
    world.unregister("b", 2);
    world.run(600);
    assert_eq!((world.broker.leads(), world.in_sync()), (Some(2), vec!["a".to_owned()]));
    assert!(world.is_registered("a", 1), "others have to find it");
    // Who is there, also only now, gets a copy and the lead.
    world.run(500);
    world.hello(C, "c", 3);
    world.ack(C, "c", 3);
    assert_eq!(world.in_sync(), ["a", "c"]);
    assert_eq!(asked(&world, C), 1);
    let next = world.state().promote(&process("c", 3), Nonce(5));
    world.put_state(&next);
    world.run(200);
    assert!(matches!(departures(&world)[..], [Departure::HandedOver { .. }]));
    assert_eq!(world.state().history, HISTORY);
}

/// R34: nobody comes. It leaves in time, and says what is lost.
#[test]
fn a_backup_that_took_the_lead_and_is_not_found_gives_up_in_time() {
    let (mut world, _) = saying_goodbye(1);
    world.unregister("b", 2);
    world.run(4_400);
    assert_eq!((world.broker.leads(), world.events.as_slice()), (Some(2), [].as_slice()));
    world.run(600);
    assert_eq!(departures(&world), [&Departure::GaveUp]);
    assert_eq!((world.events.as_slice(), world.state().history.lineage), ([Event::Stopped].as_slice(), 2));
}

/// R34: its copy may be the last one, but without the tree it cannot lead.
#[test]
fn a_backup_that_cannot_take_the_lead_leaves_in_time() {
    let (mut world, _) = saying_goodbye(1);
    world.disconnect();
    world.run(4_900);
    assert_eq!(world.events, []);
    world.run(200);
    assert_eq!(
        (world.events.as_slice(), departures(&world)),
        ([Event::Stopped].as_slice(), vec![&Departure::TimedOut])
    );
}

/// R34: the primary is back before anybody has taken its place.
#[test]
fn a_backup_goes_on_leaving_when_the_primary_is_back() {
    let (mut world, _) = saying_goodbye(1);
    world.hold();
    world.unregister("b", 2);
    while !world.is_registered("a", 1) {
        world.release();
    }
    world.register("b", 2);
    while world.is_held(|_| true) {
        world.release();
    }
    assert!(!world.is_registered("a", 1));
    assert_eq!((world.state().epoch, world.broker.leads()), (1, None));
    let next = world.state().shrink(&member("a", 1), Nonce(9));
    world.put_state(&next);
    while world.is_held(|_| true) {
        world.release();
    }
    assert_eq!(departures(&world), [&Departure::Left]);
}

/// R35, R34: nobody may drop it, so it waits for nobody; but the primary must be there.
#[test]
fn a_backup_that_nobody_may_drop_leaves_no_dead_primary_behind() {
    let (world, _) = saying_goodbye(2);
    assert_eq!(
        (departures(&world), world.events.as_slice()),
        (vec![&Departure::Left], [Event::Stopped].as_slice())
    );

    let (mut world, link) = World::backup_with_least(2, true);
    world.receive(link, &replicate(1, (0, 0), 0, vec![epoch_start(0, 1)]));
    shut_down(&mut world);
    world.run(1_500);
    assert_eq!(world.events, [], "b was not heard since");
    world.unregister("b", 2);
    world.run(600);
    assert_eq!((world.broker.leads(), world.in_sync().len()), (Some(2), 2), "R35: b stays in the set");
    world.run(3_000);
    assert_eq!(departures(&world), [&Departure::TimedOut]);
}

#[test]
fn more_operators_than_there_is_room_for_are_told_so() {
    let mut world = leaving();
    for n in 100..100 + steadfast_core::limits::MAX_DRAIN_REQUESTS as u64 {
        world.receive(LinkId::accepted(n), &Message::Drain);
    }
    world.receive(OPERATOR, &Message::Drain);
    assert!(matches!(world.refusal(OPERATOR), Refusal::Busy { .. }));
}

/// The tree cannot be asked who else is there: the time to leave is waited for in peace.
#[test]
fn a_learner_that_cannot_reach_the_tree_leaves_in_the_end() {
    let (mut world, _) = World::backup(false);
    world.disconnect();
    shut_down(&mut world);
    assert!(world.run(4_900) < 10, "it is not woken for nothing");
    assert_eq!(world.events, []);
    world.run(200);
    assert_eq!(world.events, [Event::Stopped]);
}

/// R13: commits wait for a follower on its way in, and no longer once it is in and has gone again.
#[test]
fn a_member_that_has_just_joined_and_leaves_is_not_waited_for() {
    let mut world = World::primary_with_backup(B);
    world.receive(CLIENT, &open_session(1));
    world.ack(B, "b", 2);
    world.receive(CLIENT, &publish(1));
    assert_eq!(world.acknowledgements(), 0, "b is in sync");
    world.unregister("b", 2);
    assert_eq!(world.in_sync(), ["a"]);
    assert_eq!(world.acknowledgements(), 1, "without any time passing");
}

/// The successor is there just before the time to leave is over: the farewell is said in peace.
#[test]
fn a_late_handover_does_not_keep_the_process_busy() {
    let mut world = asking();
    for _ in 0..197 {
        world.run(25);
        world.ack(B, "b", 2);
    }
    assert_eq!(world.broker.leads(), Some(1));
    promote_b(&mut world);
    assert!(world.run(200) < 10);
    assert!(matches!(departures(&world)[..], [Departure::HandedOver { .. }]));
}
