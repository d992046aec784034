//! How a discovery replica says it stands.

use crate::discovery::{LINK, group, replicas, send, sent};
use crate::world::{World, live, live_path};
use steadfast_core::discovery::Discovery;
use steadfast_core::limits::MAX_STATUS_BROKERS;
use steadfast_core::message::Message;
use steadfast_core::status::{DiscoveryStatus, GroupStatus, Standing};
use steadfast_core::time::Duration;

fn ask(world: &mut World<Discovery>, i: usize) -> DiscoveryStatus {
    sent(world, i);
    send(world, i, LINK, &Message::StatusRequest { token: 6 });
    match sent(world, i).as_slice() {
        [Message::DiscoveryStatus(status)] => {
            assert_eq!(status.token, 6);
            (**status).clone()
        }
        other => panic!("one answer is expected: {other:?}"),
    }
}

fn the_group(status: &DiscoveryStatus) -> &GroupStatus {
    match status.groups.as_slice() {
        [group] => group,
        other => panic!("one group is expected: {other:?}"),
    }
}

#[test]
fn every_replica_names_the_group_and_every_broker_and_one_leads() {
    let mut world = replicas(2);
    world.settle();
    world.others_write_state(&group());
    world.others_register(&live("a", 1));
    world.others_register(&live("b", 2));
    world.settle();
    let answers = [ask(&mut world, 0), ask(&mut world, 1)];
    let mut standings = answers.each_ref().map(|status| status.standing);
    standings.sort_by_key(|standing| matches!(standing, Standing::Follows));
    assert_eq!(standings, [Standing::Leads(1), Standing::Follows]);
    assert_ne!(answers[0].replica, answers[1].replica);
    for status in &answers {
        assert!(status.connected);
        assert_eq!(status.age, Duration::ZERO);
        let seen = the_group(status);
        assert_eq!((seen.group, &seen.state, seen.omitted), (0, &Some(group()), 0));
        let found: Vec<_> =
            seen.brokers.iter().map(|at| (at.identity.member.clone(), at.address.clone())).collect();
        let expected = [live("a", 1), live("b", 2)].map(|live| (live.id.member, live.address));
        assert_eq!(found, expected);
        assert!(seen.brokers[0].identity.czxid < seen.brokers[1].identity.czxid);
    }
}

#[test]
fn a_group_that_was_never_read_is_not_named_and_one_that_does_not_exist_has_no_state() {
    let mut world = replicas(1);
    let status = ask(&mut world, 0);
    assert_eq!((status.groups.len(), status.connected, status.standing), (0, false, Standing::Undecided));
    world.settle();
    let status = ask(&mut world, 0);
    assert_eq!(the_group(&status).state, None);
    assert_eq!(status.standing, Standing::Leads(1));
}

#[test]
fn a_replica_without_coordination_tells_the_last_view_and_its_age() {
    let mut world = replicas(2);
    world.settle();
    world.others_write_state(&group());
    world.settle();
    world.suspend(0);
    world.now = world.now + Duration::from_secs(3);
    let status = ask(&mut world, 0);
    assert!(!status.connected);
    assert!(status.age >= Duration::from_secs(3));
    assert_eq!(status.standing, Standing::Undecided, "who cannot act does not lead");
    assert_eq!(the_group(&status).state, Some(group()));
}

#[test]
fn a_long_list_is_cut_and_counted() {
    let mut world = replicas(1);
    world.settle();
    world.others_write_state(&group());
    for n in 0..MAX_STATUS_BROKERS + 3 {
        world.others_register(&live(&format!("b{n}"), n as u128));
    }
    world.settle();
    let status = ask(&mut world, 0);
    assert_eq!((the_group(&status).brokers.len(), the_group(&status).omitted), (MAX_STATUS_BROKERS, 3));
    world.others_delete(&live_path(&live("b0", 0)));
    world.settle();
    assert_eq!(the_group(&ask(&mut world, 0)).omitted, 2);
}
