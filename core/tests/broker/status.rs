//! How a broker says it stands.

use crate::world::{HISTORY, World, member, open_session, open_stream, process, publish, sender};
use crate::{B, CLIENT, LONG};
use steadfast_core::broker::{Command, Config};
use steadfast_core::link::LinkId;
use steadfast_core::message::{Message, Start};
use steadfast_core::node::Input;
use steadfast_core::status::{BrokerStatus, PrimaryStatus, RoleStatus};

const OPERATOR: LinkId = LinkId::accepted(9);

/// Asks, and checks that exactly one frame comes back.
fn ask(world: &mut World) -> BrokerStatus {
    let before = world.sent_to(OPERATOR).count();
    world.receive(OPERATOR, &Message::StatusRequest { token: 41 });
    assert_eq!(world.sent_to(OPERATOR).count(), before + 1);
    match world.sent_to(OPERATOR).next_back() {
        Some(Message::BrokerStatus(status)) => {
            assert_eq!(status.token, 41);
            (**status).clone()
        }
        other => panic!("not a status: {other:?}"),
    }
}

fn as_primary(status: &BrokerStatus) -> &PrimaryStatus {
    match &status.role {
        RoleStatus::Primary(primary) => primary,
        other => panic!("not a primary: {other:?}"),
    }
}

#[test]
fn a_primary_tells_what_it_holds_and_how_far_its_backups_are() {
    let mut world = World::primary_with_backup(B);
    world.receive(CLIENT, &open_session(1));
    world.ack(B, "b", 2);
    world.receive(CLIENT, &open_stream(Start::Earliest));
    world.receive(CLIENT, &publish(1));
    let status = ask(&mut world);
    assert_eq!(status.sender.member, member("a", 1));
    assert_eq!(status.address, *world.broker.address());
    assert!(status.connected && !status.leaving);
    assert_eq!(status.state, Some(world.state()));
    let replica = world.broker.replica();
    assert_eq!((status.log.history, status.log.start), (HISTORY, 0));
    assert_eq!((status.log.end, status.log.commit), (replica.log().end(), replica.commit()));
    assert_eq!(status.log.commit + 1, status.log.end, "the record waits for b");
    assert_eq!((status.log.bytes, status.log.limit), (replica.log().bytes(), Config::default().log_bytes));
    assert_eq!(status.sessions, 1);
    let primary = as_primary(&status);
    assert_eq!((primary.epoch, primary.serving, primary.silent, primary.streams), (1, true, false, 1));
    assert_eq!((primary.followers.len(), primary.omitted), (1, 0));
    let follower = &primary.followers[0];
    assert_eq!((&follower.identity.member, follower.attached), (&member("b", 2), true));
    assert_eq!(follower.matched, Some(status.log.commit));
}

/// R4: an epoch whose first record is not committed is told from one that serves.
#[test]
fn a_primary_that_cannot_commit_yet_says_that_it_does_not_serve() {
    let (mut world, _) = World::backup(true);
    let next = world.state().promote(&process("a", 1), steadfast_core::id::Nonce(9));
    let both = next.expand(&member("b", 2), steadfast_core::id::Nonce(10));
    world.put_state(&both);
    let status = ask(&mut world);
    let primary = as_primary(&status);
    assert_eq!((primary.epoch, primary.serving), (2, false));
    assert_eq!(primary.followers, []);
}

#[test]
fn a_backup_tells_whom_it_follows() {
    let (mut world, link) = World::backup(true);
    world.receive(link, &crate::replicate(1, (0, 0), 0, vec![crate::epoch_start(0, 1)]));
    let status = ask(&mut world);
    let RoleStatus::Backup { epoch, primary, verified } = &status.role else { panic!("{status:?}") };
    assert_eq!((*epoch, primary.as_ref(), *verified), (1, Some(&sender("b", 2).member.node), 1));
    assert_eq!((status.log.end, status.log.commit), (1, 0));
}

/// R20 is for clients: an operator who looks for the silent primary must find it.
#[test]
fn a_silent_primary_answers_and_says_so() {
    let mut world = World::primary_with_backup(B);
    world.disconnect();
    world.run(LONG);
    let status = ask(&mut world);
    assert!(!status.connected);
    assert!(as_primary(&status).silent);
    assert!(as_primary(&status).followers[0].heard.as_millis() >= 2_000);
}

#[test]
fn a_broker_that_leaves_says_so_and_then_nothing() {
    let mut world = World::primary(Config::default());
    world.hold();
    world.input(Input::Command(Command::Shutdown));
    assert!(ask(&mut world).leaving);
    world.release();
    world.run(LONG * 2);
    let before = world.sent_to(OPERATOR).count();
    world.receive(OPERATOR, &Message::StatusRequest { token: 1 });
    assert_eq!(world.sent_to(OPERATOR).count(), before);
}
