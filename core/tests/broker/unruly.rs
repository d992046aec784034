//! Clients that do not keep to the rules: each has its answer, and disturbs nobody else.

use super::world::{HISTORY, PUBLISHER, World, open_session, open_stream, publish};
use super::{B, CLIENT};
use steadfast_core::broker::Config;
use steadfast_core::filter::Topic;
use steadfast_core::id::{GroupId, Nonce, PublisherId, Sequence};
use steadfast_core::link::LinkId;
use steadfast_core::message::{History, Message, OpenSession, OpenStream, Publish, Refusal, Start};
use steadfast_core::trace::{Limit, Trace};
use steadfast_core::wire::records::RecordsBuilder;

const OTHER: LinkId = LinkId::accepted(3);
const FLOODER: PublisherId = PublisherId(66);

fn flood(sequence: Sequence) -> Message {
    let mut records = RecordsBuilder::default();
    records.push(&[7; 10_000]);
    let batches = vec![records.seal(Topic::new("t").unwrap(), FLOODER, 2, sequence)];
    Message::Publish(Publish { history: HISTORY, batches })
}

fn delivered(world: &World, link: LinkId) -> usize {
    let entries = |message: &Message| match message {
        Message::Deliver(deliver) => deliver.entries.len(),
        _ => 0,
    };
    world.sent_to(link).map(entries).sum()
}

/// R36: a publisher that ignores windows is told `Busy` at the limit; memory stays below it, and what
/// others publish is taken as soon as there is room.
#[test]
fn a_publisher_that_floods_is_held_at_the_limit() {
    let limit = 256 << 10;
    let mut world = World::primary_with(B, Config { uncommitted_bytes: limit, ..Config::default() });
    world.receive(CLIENT, &open_session(1));
    let (publisher, nonce) = (FLOODER, Nonce(1));
    world.receive(
        OTHER,
        &Message::OpenSession(OpenSession { history: HISTORY, publisher, nonce, incarnation: 0 }),
    );
    world.ack(B, "b", 2);
    for sequence in 1..=1_000 {
        world.receive(OTHER, &flood(sequence));
        assert!(world.broker.replica().uncommitted_bytes() <= limit + 20_000, "at {sequence}");
    }
    assert!(world.traces.contains(&Trace::Busy { limit: Limit::UncommittedBytes }));
    let busy = world.sent_to(OTHER).any(|message| {
        matches!(message, Message::Refusal { reason: Refusal::Busy { publisher: FLOODER, .. }, .. })
    });
    assert!(busy, "it is told");
    world.ack(B, "b", 2);
    let before = world.acknowledgements();
    world.receive(CLIENT, &publish(1));
    world.ack(B, "b", 2);
    assert_eq!(world.acknowledgements(), before + 1, "another publisher goes on");
    let session = world.broker.replica().sessions().base().get(PUBLISHER).unwrap();
    assert_eq!(session.last_sequence, 1);
}

/// A subscriber that grants no credit is sent nothing but signs of life; others get everything.
#[test]
fn a_subscriber_without_credit_is_sent_nothing() {
    let mut world = World::primary(Config::default());
    let Message::OpenStream(stream) = open_stream(Start::Earliest) else { unreachable!() };
    world.receive(OTHER, &Message::OpenStream(OpenStream { credit: 0, ..stream }));
    world.receive(CLIENT, &open_stream(Start::Earliest));
    world.receive(CLIENT, &open_session(1));
    for sequence in 1..=200 {
        world.receive(CLIENT, &publish(sequence));
    }
    world.run(2_000);
    assert_eq!((delivered(&world, OTHER), delivered(&world, CLIENT)), (0, 200));
    assert!(world.sent_to(OTHER).count() < 50, "signs of life only");
    world.receive(OTHER, &Message::Credit { stream: 1, limit: 1 });
    assert_eq!(delivered(&world, OTHER), 1, "credit is overshot by one batch at the most");
}

/// R26: a client of a cluster that is no more is told which one is here.
#[test]
fn a_client_of_another_cluster_is_told_so() {
    let mut world = World::primary(Config::default());
    let gone = History { group_id: GroupId(4), lineage: 3 };
    let Message::OpenStream(stream) = open_stream(Start::Earliest) else { unreachable!() };
    let Message::OpenSession(session) = open_session(1) else { unreachable!() };
    let Message::Publish(batches) = publish(1) else { unreachable!() };
    let end = world.broker.replica().log().end();
    for message in [
        Message::OpenSession(OpenSession { history: gone, incarnation: 5, ..session }),
        Message::Publish(Publish { history: gone, ..batches }),
        Message::OpenStream(OpenStream { history: gone, ..stream }),
    ] {
        world.receive(CLIENT, &message);
        assert_eq!(*world.refusal(CLIENT), Refusal::LineageChanged { history: HISTORY }, "{message:?}");
    }
    assert_eq!(world.broker.replica().log().end(), end);
}
