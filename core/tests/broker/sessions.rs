//! Publishers' sessions at the primary: who continues one, and when one is forgotten.

use super::world::{
    HISTORY, PUBLISHER, World, epoch_start, member, open_session, process, publish, replicate,
};
use super::{B, CLIENT, LONG};
use steadfast_core::broker::Config;
use steadfast_core::id::{Nonce, PublisherId};
use steadfast_core::limits::MAX_SESSIONS;
use steadfast_core::link::{LinkId, LinkStatus};
use steadfast_core::message::{Message, OpenSession, Refusal, SessionOpened};
use steadfast_core::time::Duration;
use steadfast_core::trace::Trace;

const OTHER: LinkId = LinkId::accepted(3);
const EXPIRY: u64 = 1_000;

fn expiring() -> Config {
    Config { session_expiry: Duration::from_millis(EXPIRY), ..Config::default() }
}

fn open(publisher: u128, nonce: u128, incarnation: u64) -> Message {
    let publisher = PublisherId(publisher);
    Message::OpenSession(OpenSession { history: HISTORY, publisher, nonce: Nonce(nonce), incarnation })
}

fn opened(world: &World, link: LinkId) -> SessionOpened {
    match world.sent_to(link).next_back() {
        Some(Message::SessionOpened(opened)) => opened.clone(),
        other => panic!("no session: {other:?}"),
    }
}

fn expired(world: &World) -> usize {
    world.traces.iter().filter(|trace| matches!(trace, Trace::SessionExpired { .. })).count()
}

fn sessions(world: &World) -> (usize, usize) {
    let sessions = world.broker.replica().sessions();
    (sessions.base().len(), sessions.overlay().len())
}

/// R29: a publisher that vanished is forgotten when its term is over, and is then not known.
#[test]
fn a_session_that_nothing_is_heard_of_expires() {
    let mut world = World::primary(expiring());
    world.receive(CLIENT, &open_session(1));
    world.receive(CLIENT, &publish(1));
    world.link(CLIENT, LinkStatus::Lost);
    world.run(EXPIRY - 200);
    assert_eq!((expired(&world), sessions(&world)), (0, (1, 1)));
    world.run(400);
    assert_eq!((expired(&world), sessions(&world)), (1, (0, 0)));
    world.receive(OTHER, &publish(2));
    assert_eq!(*world.refusal(OTHER), Refusal::UnknownSession { publisher: PUBLISHER });
    world.receive(OTHER, &open(PUBLISHER.0, 1, 1));
    assert_eq!(*world.refusal(OTHER), Refusal::UnknownSession { publisher: PUBLISHER });
}

/// R29: a session with a link that lives does not expire, however little is published.
#[test]
fn a_sign_of_life_keeps_a_session() {
    let mut world = World::primary(expiring());
    world.receive(CLIENT, &open_session(1));
    for _ in 0..30 {
        world.run(150);
        world.receive(CLIENT, &Message::Ping { token: 1 });
    }
    assert_eq!((expired(&world), sessions(&world)), (0, (1, 1)));
}

/// R29: the end of a session is a record like others: it holds when it is committed.
#[test]
fn an_expiry_waits_for_the_members_in_sync() {
    let mut world = World::primary_with(B, expiring());
    world.receive(CLIENT, &open_session(1));
    world.ack(B, "b", 2);
    world.link(CLIENT, LinkStatus::Lost);
    for _ in 0..EXPIRY / 50 + 4 {
        if expired(&world) == 0 {
            world.ack(B, "b", 2);
            world.run(50);
        }
    }
    assert_eq!((expired(&world), sessions(&world)), (1, (1, 0)));
    world.receive(OTHER, &open(PUBLISHER.0, 1, 1));
    assert!(matches!(world.refusal(OTHER), Refusal::Electing { .. }), "it may be there again");
    world.ack(B, "b", 2);
    assert_eq!(sessions(&world), (0, 0));
    world.receive(OTHER, &open(PUBLISHER.0, 1, 1));
    assert_eq!(*world.refusal(OTHER), Refusal::UnknownSession { publisher: PUBLISHER });
}

/// R10, R11: a session that lies beyond what this primary has committed was another primary's: it may be deposed, and
/// knows nothing of the end of that session.
#[test]
fn a_session_beyond_what_is_committed_is_not_missed() {
    let mut world = World::primary(Config::default());
    world.receive(CLIENT, &open_session(1));
    let end = world.broker.replica().commit();
    world.receive(OTHER, &open(8, 1, end));
    assert!(matches!(world.refusal(OTHER), Refusal::Electing { .. }));
    world.receive(OTHER, &open(PUBLISHER.0, 2, end));
    assert!(matches!(world.refusal(OTHER), Refusal::Electing { .. }), "an earlier session says nothing");
    world.receive(OTHER, &open(8, 1, end - 1));
    assert_eq!(*world.refusal(OTHER), Refusal::UnknownSession { publisher: PublisherId(8) });
}

/// R29: a primary that is silent sends publishers away, and gives them their term when it speaks again.
#[test]
fn a_primary_that_speaks_again_gives_sessions_their_term() {
    let config = Config { session_expiry: Duration::from_millis(LONG - EXPIRY), ..Config::default() };
    let mut world = World::primary_with(B, config);
    world.receive(CLIENT, &open_session(1));
    world.ack(B, "b", 2);
    world.disconnect();
    world.run(LONG);
    assert!(world.traces.contains(&Trace::FellSilent));
    world.connect();
    world.ack(B, "b", 2);
    world.run(100);
    assert!(world.traces.contains(&Trace::SpokeAgain));
    assert_eq!((expired(&world), sessions(&world)), (0, (1, 1)));
}

/// R28: no session has the number of one that has expired: a frame that was under way for long is
/// refused, though its sequence number would fit.
#[test]
fn a_late_frame_of_an_expired_session_is_not_taken() {
    let mut world = World::primary(expiring());
    world.receive(CLIENT, &open_session(1));
    world.link(CLIENT, LinkStatus::Lost);
    world.run(EXPIRY + 200);
    world.receive(OTHER, &open_session(2));
    let SessionOpened { incarnation, last_sequence, .. } = opened(&world, OTHER);
    assert!(incarnation > 1, "{incarnation}");
    assert_eq!(last_sequence, 0);
    let end = world.broker.replica().log().end();
    world.receive(CLIENT, &publish(1));
    assert_eq!(*world.refusal(CLIENT), Refusal::Fenced { publisher: PUBLISHER, incarnation });
    assert_eq!(world.broker.replica().log().end(), end);
}

/// R28: who names the session that is there continues it where it stopped; nobody else ends it.
#[test]
fn a_session_is_continued_by_whoever_names_it() {
    let mut world = World::primary(Config::default());
    world.receive(CLIENT, &open_session(1));
    world.receive(CLIENT, &publish(1));
    let refused = Refusal::Fenced { publisher: PUBLISHER, incarnation: 1 };
    world.receive(OTHER, &open_session(2));
    assert_eq!(*world.refusal(OTHER), refused, "a request that was under way for long ends no session");
    world.receive(CLIENT, &publish(2));
    world.receive(OTHER, &open(PUBLISHER.0, 2, 1));
    let SessionOpened { incarnation, last_sequence, .. } = opened(&world, OTHER);
    assert!(incarnation > 1);
    assert_eq!(last_sequence, 2, "numbers go on");
    let fenced = Refusal::Fenced { publisher: PUBLISHER, incarnation };
    world.receive(CLIENT, &publish(3));
    assert_eq!(*world.refusal(CLIENT), fenced);
    world.receive(CLIENT, &open(PUBLISHER.0, 1, 1));
    assert_eq!(*world.refusal(CLIENT), fenced);
    world.receive(OTHER, &open(PUBLISHER.0, 2, 1));
    assert_eq!(opened(&world, OTHER).incarnation, incarnation, "the same request, come again");
}

/// R10: a session that is not committed fences nobody, and when it has vanished with its primary the one
/// before goes on.
#[test]
fn an_uncommitted_session_fences_nobody() {
    let mut world = World::primary_with_backup(B);
    world.receive(CLIENT, &open_session(1));
    world.ack(B, "b", 2);
    let (first, end) = (opened(&world, CLIENT).incarnation, world.broker.replica().log().end());
    world.receive(OTHER, &open(PUBLISHER.0, 2, first));
    for request in [publish(1), open(PUBLISHER.0, 1, first)] {
        world.receive(CLIENT, &request);
        assert!(matches!(world.refusal(CLIENT), Refusal::Electing { .. }), "{request:?}");
    }

    let deposed = world.state().promote(&process("b", 2), Nonce(5));
    world.put_state(&deposed.expand(&member("a", 1), Nonce(6)));
    let link = *world.dials.last().expect("it follows b");
    world.link(link, LinkStatus::Up);
    world.receive(link, &replicate(2, (end, 1), end, vec![epoch_start(end, 2)]));
    assert!(world.traces.contains(&Trace::Truncated { to: end, from: end + 1 }));
    world.unregister("b", 2);
    world.run(500);
    assert_eq!(world.broker.leads(), Some(3));
    world.receive(CLIENT, &open(PUBLISHER.0, 1, first));
    assert_eq!(opened(&world, CLIENT).incarnation, first);
    world.receive(CLIENT, &publish(1));
    assert_eq!(world.acknowledgements(), 1);
}

fn answers(world: &World, link: LinkId) -> usize {
    world.sent_to(link).filter(|message| matches!(message, Message::SessionOpened(_))).count()
}

/// A publisher that asks again and again while nothing is committed takes no more room than one that
/// asks once, and gets one answer, on the link on which it asked last.
#[test]
fn a_publisher_that_asks_again_waits_in_one_place() {
    let mut world = World::primary_with_backup(B);
    world.receive(CLIENT, &open_session(1));
    for _ in 0..MAX_SESSIONS {
        world.receive(CLIENT, &open_session(1));
    }
    world.receive(OTHER, &open_session(1));
    assert!(
        world.sent_to(CLIENT).chain(world.sent_to(OTHER)).next().is_none(),
        "neither answered nor refused"
    );
    world.receive(CLIENT, &open(8, 1, 0));
    world.ack(B, "b", 2);
    assert_eq!((answers(&world, CLIENT), answers(&world, OTHER)), (1, 1));
    assert_eq!(opened(&world, CLIENT).publisher, PublisherId(8), "there was room for another one");
    assert_eq!(opened(&world, OTHER).publisher, PUBLISHER);
}

/// The answer that waits is that of the session that is there: not of one that it has continued.
#[test]
fn a_session_that_was_continued_before_it_was_committed_is_not_answered() {
    let mut world = World::primary_with_backup(B);
    world.receive(CLIENT, &open_session(1));
    let first = world.broker.replica().sessions().overlay().get(PUBLISHER).map(|session| session.incarnation);
    world.receive(OTHER, &open(PUBLISHER.0, 2, first.expect("it was opened")));
    world.ack(B, "b", 2);
    assert_eq!((answers(&world, CLIENT), answers(&world, OTHER)), (0, 1));
    assert!(opened(&world, OTHER).incarnation > first.unwrap_or(0));
}

/// R28: nor is that of one that has expired before it was committed, when all of it is committed at once.
#[test]
fn a_session_that_expired_before_it_was_committed_is_not_answered() {
    let mut world = World::primary_with(B, expiring());
    world.receive(CLIENT, &open_session(1));
    while expired(&world) == 0 {
        world.run(100);
        world.hello(B, "b", 2);
    }
    world.receive(CLIENT, &open_session(1));
    world.ack(B, "b", 2);
    let there = world.broker.replica().sessions().base().get(PUBLISHER).map(|session| session.incarnation);
    assert_eq!((answers(&world, CLIENT), Some(opened(&world, CLIENT).incarnation)), (1, there));
}

/// A full table makes room by its longest quiet session, and is `Busy` while all are heard of.
#[test]
fn a_full_table_forgets_the_session_that_was_quiet_for_longest() {
    let mut world = World::primary(Config::default());
    for publisher in 1..=MAX_SESSIONS as u128 {
        world.receive(CLIENT, &open(publisher, publisher, 0));
    }
    assert_eq!(sessions(&world), (MAX_SESSIONS, MAX_SESSIONS));
    let one_more = open(u128::MAX, 1, 0);
    world.receive(OTHER, &one_more);
    assert!(matches!(world.refusal(OTHER), Refusal::Busy { .. }));
    world.run(20_000);
    world.receive(OTHER, &open(1, 1, 0));
    world.receive(OTHER, &one_more);
    assert_eq!(opened(&world, OTHER).publisher, PublisherId(u128::MAX));
    assert_eq!(sessions(&world), (MAX_SESSIONS, MAX_SESSIONS));
    let table = world.broker.replica().sessions().base();
    assert!(table.get(PublisherId(1)).is_some(), "it was heard of");
    assert!(table.get(PublisherId(2)).is_none());
}
