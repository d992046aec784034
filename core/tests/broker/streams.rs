//! Streams to subscribers: where they may begin, and when they end.

use super::world::{HISTORY, World, nack, open_session, open_stream, publish, sender};
use super::{B, CLIENT, LONG};
use steadfast_core::broker::Config;
use steadfast_core::link::{LinkId, LinkStatus};
use steadfast_core::message::{Message, OpenStream, Position, Refusal, Start};
use steadfast_core::trace::Trace;

const OTHER: LinkId = LinkId::accepted(3);

/// A link that is lost ends the streams on it, and no others.
#[test]
fn a_link_that_is_lost_ends_its_own_streams() {
    let mut world = World::primary(Config::default());
    world.receive(CLIENT, &open_stream(Start::Earliest));
    world.receive(OTHER, &open_stream(Start::Earliest));
    world.link(OTHER, LinkStatus::Lost);
    world.sent.clear();
    world.receive(CLIENT, &open_session(1));
    world.receive(CLIENT, &publish(1));
    world.run(1_000);
    assert!(
        world
            .sent_to(CLIENT)
            .any(|message| matches!(message, Message::Deliver(it) if !it.entries.is_empty()))
    );
    assert_eq!(world.sent_to(OTHER).count(), 0);
}

/// R20: whoever has much to read would stay with a primary that is cut off.
#[test]
fn a_silent_primary_serves_no_grants_before_it_speaks_again() {
    let mut world = World::primary_with_backup(B);
    world.receive(CLIENT, &open_session(1));
    world.ack(B, "b", 2);
    world.receive(CLIENT, &publish(1));
    world.ack(B, "b", 2);
    let Message::OpenStream(open) = open_stream(Start::Earliest) else { unreachable!() };
    world.receive(OTHER, &Message::OpenStream(OpenStream { credit: 0, ..open }));
    world.disconnect();
    world.run(LONG);
    assert!(world.traces.contains(&Trace::FellSilent));

    world.sent.clear();
    world.receive(OTHER, &Message::Credit { stream: 1, limit: 1 << 20 });
    world.run(1_000);
    assert_eq!(world.sent_to(OTHER).count(), 0);
    world.ack(B, "b", 2);
    world.run(100);
    let delivers = |message: &Message| matches!(message, Message::Deliver(it) if !it.entries.is_empty());
    assert!(world.traces.contains(&Trace::SpokeAgain) && world.sent_to(OTHER).any(delivers));
}

/// A position is a place in one history: where the log has another epoch there, the two have parted.
#[test]
fn a_position_of_another_epoch_at_its_offset_is_called_diverged() {
    let mut world = World::primary_with_backup(B);
    world.receive(B, &nack(sender("b", 2), 2));
    world.run(300);
    assert_eq!(world.broker.leads(), Some(2));
    world.hello(B, "b", 2);
    world.ack(B, "b", 2);
    let offset = world.broker.replica().commit();
    for (epoch, diverged) in [(1, true), (2, false)] {
        world.receive(CLIENT, &open_stream(Start::At(Position { lineage: 1, epoch, offset })));
        let refused =
            |message: &Message| matches!(message, Message::Refusal { reason: Refusal::Diverged { .. }, .. });
        assert_eq!(world.sent_to(CLIENT).next_back().is_some_and(refused), diverged, "epoch {epoch}");
    }
}

/// R11: whoever was served in a later epoch is not told that the histories part.
#[test]
fn a_position_of_a_later_epoch_is_not_called_diverged() {
    let mut world = World::primary(Config::default());
    let position = Position { lineage: 1, epoch: 5, offset: 100 };
    world.receive(CLIENT, &open_stream(Start::At(position)));
    assert!(matches!(world.refusal(CLIENT), Refusal::Electing { .. }));
    let position = Position { lineage: 1, epoch: 1, offset: 100 };
    world.receive(CLIENT, &open_stream(Start::At(position)));
    assert!(matches!(world.refusal(CLIENT), Refusal::Diverged { .. }));
}

/// R27: an offset means nothing in another lineage, even if there is one like it.
#[test]
fn a_position_of_another_lineage_begins_no_stream() {
    let mut world = World::primary(Config::default());
    let [theirs, ours] = [2, 1].map(|lineage| Position { lineage, epoch: 1, offset: 1 });
    world.receive(CLIENT, &open_stream(Start::At(theirs)));
    assert_eq!(world.refusal(CLIENT), &Refusal::LineageChanged { history: HISTORY });
    world.receive(CLIENT, &open_stream(Start::At(ours)));
    assert!(world.sent_to(CLIENT).any(|message| matches!(message, Message::StreamOpened(_))));
}

/// R10, R11: whoever was served of more than is committed here was served by another primary.
#[test]
fn a_position_beyond_what_is_committed_begins_no_stream() {
    let mut world = World::primary_with_backup(B);
    world.receive(CLIENT, &open_session(1));
    let end = world.broker.replica().log().end();
    let at = |offset| open_stream(Start::At(Position { lineage: 1, epoch: 1, offset }));
    world.receive(CLIENT, &at(end));
    assert!(matches!(world.refusal(CLIENT), Refusal::Electing { .. }));
    world.ack(B, "b", 2);
    world.receive(CLIENT, &at(end));
    assert!(world.sent_to(CLIENT).any(|message| matches!(message, Message::StreamOpened(_))));
}

/// The first eight subscribers wait for no answer to a publisher, and its answer for no others.
#[test]
fn a_publisher_is_answered_after_eight_deliveries() {
    let mut world = World::primary_with_backup(B);
    let subscribers: Vec<_> = (10..22).map(LinkId::accepted).collect();
    for link in &subscribers {
        world.receive(*link, &open_stream(Start::Earliest));
    }
    world.receive(CLIENT, &open_session(1));
    world.ack(B, "b", 2);
    world.receive(CLIENT, &publish(1));
    world.sent.clear();
    world.ack(B, "b", 2);
    let to = world.sent.iter().map(|(link, _)| *link);
    let order: Vec<_> = to.filter(|link| *link == CLIENT || subscribers.contains(link)).collect();
    assert_eq!(order, [&subscribers[..8], &[CLIENT], &subscribers[8..]].concat());
}
