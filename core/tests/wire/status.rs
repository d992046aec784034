//! Status answers: samples, arbitrary ones, and what the decoder refuses.

use crate::rejections::{change, check, close, open};
use crate::samples::{HISTORY, group_state, live_node, sender};
use crate::strategies;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use std::time::Duration;
use steadfast_core::id::{BrokerIdentity, NodeName};
use steadfast_core::message::Message;
use steadfast_core::status::{
    BrokerAt, BrokerStatus, DiscoveryStatus, FollowerStatus, GroupStatus, LogStatus, PrimaryStatus,
    RoleStatus, Standing,
};
use steadfast_core::trace::Rejection::{Malformed, TooLarge};
use steadfast_core::wire;
use steadfast_proto::envelope::Message as Wire;
use steadfast_proto::limits::*;
use steadfast_proto::{self as proto, broker_status::Role};

fn primary() -> Message {
    let followers = vec![
        FollowerStatus {
            identity: sender("broker-2"),
            attached: true,
            matched: Some(290),
            heard: Duration::from_millis(20),
        },
        FollowerStatus {
            identity: sender("broker-3"),
            attached: false,
            matched: None,
            heard: Duration::from_secs(3),
        },
    ];
    let role = PrimaryStatus { epoch: 5, serving: true, silent: false, streams: 4, followers, omitted: 1 };
    Message::BrokerStatus(Box::new(BrokerStatus {
        token: 8,
        sender: sender("broker-1"),
        address: live_node().address,
        group: 0,
        connected: true,
        leaving: false,
        state: Some(group_state()),
        log: LogStatus { history: HISTORY, start: 10, end: 300, commit: 290, bytes: 4_096, limit: 1 << 30 },
        sessions: 2,
        role: RoleStatus::Primary(role),
    }))
}

fn backup() -> Message {
    let primary = Some(NodeName::new("broker-1").unwrap());
    Message::BrokerStatus(Box::new(BrokerStatus {
        token: u64::MAX,
        sender: sender("broker-2"),
        address: live_node().address,
        group: 0,
        connected: false,
        leaving: true,
        state: None,
        log: LogStatus::default(),
        sessions: 0,
        role: RoleStatus::Backup { epoch: 5, primary, verified: 290 },
    }))
}

fn discovery() -> Message {
    let broker = BrokerAt { identity: sender("broker-1"), address: live_node().address };
    let groups =
        vec![GroupStatus { group: 0, state: Some(group_state()), brokers: vec![broker], omitted: 2 }];
    Message::DiscoveryStatus(Box::new(DiscoveryStatus {
        token: 8,
        replica: 7 << 64,
        standing: Standing::Leads(3),
        connected: true,
        age: Duration::ZERO,
        groups,
    }))
}

/// One of every kind, named after its golden file.
pub fn samples() -> Vec<(&'static str, Message)> {
    let blind = DiscoveryStatus {
        token: 9,
        replica: 1,
        standing: Standing::Follows,
        connected: false,
        age: Duration::from_millis(2_500),
        groups: Vec::new(),
    };
    vec![
        ("status_request", Message::StatusRequest { token: 8 }),
        ("broker_status_primary", primary()),
        ("broker_status_backup", backup()),
        ("discovery_status", discovery()),
        ("discovery_status_blind", Message::DiscoveryStatus(Box::new(blind))),
    ]
}

fn log() -> impl Strategy<Value = LogStatus> {
    let numbers = (strategies::number(), 0..1_000_u64, 0..1_000_u64, any::<u64>(), any::<u64>());
    (strategies::history(), numbers).prop_map(|(history, (start, kept, committed, bytes, limit))| {
        let end = start + kept;
        LogStatus { history, start, end, commit: end.saturating_sub(committed), bytes, limit }
    })
}

fn role() -> impl Strategy<Value = RoleStatus> {
    let follower = (
        strategies::sender(),
        any::<bool>(),
        option::of(strategies::number()),
        any::<u64>().prop_map(Duration::from_millis),
    )
        .prop_map(|(identity, attached, matched, heard)| FollowerStatus {
            identity,
            attached,
            matched,
            heard,
        });
    let flags = (any::<bool>(), any::<bool>());
    let primary = (strategies::positive(), flags, any::<u64>(), vec(follower, 0..5), any::<u32>()).prop_map(
        |(epoch, (serving, silent), streams, followers, omitted)| {
            RoleStatus::Primary(PrimaryStatus { epoch, serving, silent, streams, followers, omitted })
        },
    );
    let backup = (strategies::number(), option::of(strategies::node()), strategies::number())
        .prop_map(|(epoch, primary, verified)| RoleStatus::Backup { epoch, primary, verified });
    prop_oneof![primary.boxed(), backup.boxed()]
}

fn broker() -> impl Strategy<Value = Message> {
    let who = (any::<u64>(), strategies::sender(), strategies::address(), any::<u32>());
    let how = (any::<bool>(), any::<bool>(), any::<u64>());
    (who, how, option::of(strategies::group_state()), log(), role()).prop_map(
        |((token, sender, address, group), (connected, leaving, sessions), state, log, role)| {
            Message::BrokerStatus(Box::new(BrokerStatus {
                token,
                sender,
                address,
                group,
                connected,
                leaving,
                state,
                log,
                sessions,
                role,
            }))
        },
    )
}

fn replica() -> impl Strategy<Value = Message> {
    let at = (strategies::sender(), strategies::address())
        .prop_map(|(identity, address)| BrokerAt { identity, address });
    let group = (any::<u32>(), option::of(strategies::group_state()), vec(at, 0..5), any::<u32>())
        .prop_map(|(group, state, brokers, omitted)| GroupStatus { group, state, brokers, omitted });
    let standing = prop_oneof![
        Just(Standing::Undecided),
        Just(Standing::Follows),
        any::<i64>().prop_map(Standing::Leads)
    ];
    let age = any::<u64>().prop_map(Duration::from_millis);
    (any::<u64>(), any::<u128>(), standing, any::<bool>(), age, vec(group, 0..3)).prop_map(
        |(token, replica, standing, connected, age, groups)| {
            Message::DiscoveryStatus(Box::new(DiscoveryStatus {
                token,
                replica,
                standing,
                connected,
                age,
                groups,
            }))
        },
    )
}

/// Any question or answer.
pub fn any_message() -> impl Strategy<Value = Message> {
    let request = any::<u64>().prop_map(|token| Message::StatusRequest { token });
    prop_oneof![request, broker().boxed(), replica().boxed()]
}

fn of_primary(status: &mut proto::BrokerStatus) -> &mut proto::PrimaryStatus {
    match status.role.as_mut() {
        Some(Role::Primary(primary)) => primary,
        other => panic!("not a primary: {other:?}"),
    }
}

/// In-sync members enough to be longer than a node of the tree may be.
fn oversized(state: &mut Option<proto::GroupState>) {
    let member = state.as_ref().unwrap().in_sync[0].clone();
    let name = |n: usize| format!("{n:064}");
    let members = (0..MAX_NODE_DATA_LEN / 64).map(|n| proto::MemberId { node: name(n), ..member.clone() });
    state.as_mut().unwrap().in_sync = members.collect();
}

#[test]
fn brokers() {
    check([
        ("no sender", change!(primary(), BrokerStatus, |m| m.sender = None), Malformed),
        ("no address", change!(primary(), BrokerStatus, |m| m.address.clear()), Malformed),
        ("no history", change!(primary(), BrokerStatus, |m| m.group_id = None), Malformed),
        ("no role", change!(primary(), BrokerStatus, |m| m.role = None), Malformed),
        ("a start beyond the end", change!(primary(), BrokerStatus, |m| m.log_start = 301), Malformed),
        ("a commit beyond the end", change!(primary(), BrokerStatus, |m| m.commit = 301), Malformed),
        ("a high end", change!(primary(), BrokerStatus, |m| m.log_end = MAX_NUMBER + 1), TooLarge),
        ("epoch 0", change!(primary(), BrokerStatus, |m| of_primary(m).epoch = 0), Malformed),
        (
            "a nameless follower",
            change!(primary(), BrokerStatus, |m| of_primary(m).followers[0].follower = None),
            Malformed,
        ),
        (
            "a high match",
            change!(primary(), BrokerStatus, |m| of_primary(m).followers[0].r#match = Some(u64::MAX)),
            TooLarge,
        ),
        (
            "many followers",
            change!(primary(), BrokerStatus, |m| {
                let follower = of_primary(m).followers[0].clone();
                of_primary(m).followers = vec![follower; MAX_STATUS_BROKERS + 1];
            }),
            TooLarge,
        ),
        ("a large state", change!(primary(), BrokerStatus, |m| oversized(&mut m.state)), TooLarge),
        (
            "a member twice",
            change!(primary(), BrokerStatus, |m| {
                let members = &mut m.state.as_mut().unwrap().in_sync;
                members.push(members[0].clone());
            }),
            Malformed,
        ),
        (
            "a bad name of the primary",
            change!(backup(), BrokerStatus, |m| {
                m.role =
                    Some(Role::Backup(proto::BackupStatus { primary: "A".into(), ..Default::default() }));
            }),
            Malformed,
        ),
    ]);
}

#[test]
fn replicas() {
    check([
        ("no replica", change!(discovery(), DiscoveryStatus, |m| m.replica = None), Malformed),
        ("another standing", change!(discovery(), DiscoveryStatus, |m| m.standing = 9), Malformed),
        (
            "many groups",
            change!(discovery(), DiscoveryStatus, |m| {
                m.groups = vec![proto::GroupStatus::default(); MAX_STATUS_GROUPS + 1];
            }),
            TooLarge,
        ),
        (
            "many brokers",
            change!(discovery(), DiscoveryStatus, |m| {
                let broker = m.groups[0].brokers[0].clone();
                m.groups[0].brokers = vec![broker; MAX_STATUS_BROKERS + 1];
            }),
            TooLarge,
        ),
        (
            "a broker without address",
            change!(discovery(), DiscoveryStatus, |m| m.groups[0].brokers[0].address.clear()),
            Malformed,
        ),
        (
            "a broker without identity",
            change!(discovery(), DiscoveryStatus, |m| m.groups[0].brokers[0].broker = None),
            Malformed,
        ),
        (
            "a large state",
            change!(discovery(), DiscoveryStatus, |m| oversized(&mut m.groups[0].state)),
            TooLarge,
        ),
    ]);
}

/// What is as large as it may be crosses the wire: an answer is never too long for the one who asks.
#[test]
fn the_largest_answers_fit_in_a_frame() {
    let name = |n: usize| NodeName::new(&format!("{n:064}")).unwrap();
    let identity = |n| BrokerIdentity {
        member: steadfast_core::id::Member { node: name(n), ..sender("x").member },
        czxid: i64::MAX,
        ..sender("x")
    };
    let address = steadfast_core::id::Address::new(&"a".repeat(MAX_ADDRESS_LEN)).unwrap();
    let mut state = group_state();
    state.in_sync = (0..700).map(|n| identity(n).member).collect();
    assert!((55_000..MAX_NODE_DATA_LEN).contains(&wire::encode_group_state(&state).len()));
    let brokers =
        (0..MAX_STATUS_BROKERS).map(|n| BrokerAt { identity: identity(n), address: address.clone() });
    let group = GroupStatus { group: 0, state: Some(state), brokers: brokers.collect(), omitted: u32::MAX };
    let Message::DiscoveryStatus(mut status) = discovery() else { unreachable!("the sample") };
    status.groups = vec![group];
    let message = Message::DiscoveryStatus(status);
    assert_eq!(wire::decode(wire::encode(&message)), Ok(message));
}
