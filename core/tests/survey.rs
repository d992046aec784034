//! What a survey of a cluster finds missing.

use steadfast_core::group::{GroupState, PrimaryId};
use steadfast_core::id::{
    Address, BrokerIdentity, Generation, GroupId, Incarnation, Member, NodeName, Nonce,
};
use steadfast_core::status::{
    BrokerAt, BrokerStatus, DiscoveryStatus, GroupStatus, LogStatus, Missing, PrimaryStatus, RoleStatus,
    Silence, Standing, Survey,
};
use steadfast_core::time::Duration;

fn name(name: &str) -> NodeName {
    NodeName::new(name).unwrap()
}

/// The n-th process of a broker, with a storage of its own.
fn process(node: &str, n: u128) -> BrokerIdentity {
    let member = Member { node: name(node), generation: Generation(n) };
    BrokerIdentity { member, incarnation: Incarnation(n), czxid: i64::try_from(n).unwrap() }
}

fn at(node: &str, n: u128) -> BrokerAt {
    let address = Address::new(&format!("tcp://h:{n}")).unwrap();
    BrokerAt { identity: process(node, n), address }
}

/// Led by `a` in epoch 2, with these processes in sync.
fn state(in_sync: &[BrokerIdentity]) -> GroupState {
    let a = process("a", 1);
    let first = GroupState::bootstrap(GroupId(1), a.member.clone(), 1, Nonce(0));
    let primary = PrimaryId { member: a.member, incarnation: a.incarnation };
    let members = in_sync.iter().map(|process| process.member.clone()).collect();
    GroupState { epoch: 2, config: 9, primary: Some(primary), in_sync: members, ..first }
}

fn replica(standing: Standing, groups: Vec<GroupStatus>) -> DiscoveryStatus {
    DiscoveryStatus { token: 1, replica: 1, standing, connected: true, age: Duration::ZERO, groups }
}

fn broker(at: &BrokerAt, role: RoleStatus) -> BrokerStatus {
    BrokerStatus {
        token: 1,
        sender: at.identity.clone(),
        address: at.address.clone(),
        group: 0,
        connected: true,
        leaving: false,
        state: None,
        log: LogStatus::default(),
        sessions: 0,
        role,
    }
}

fn leading() -> RoleStatus {
    RoleStatus::Primary(PrimaryStatus {
        epoch: 2,
        serving: true,
        silent: false,
        streams: 0,
        followers: Vec::new(),
        omitted: 0,
    })
}

fn following() -> RoleStatus {
    RoleStatus::Backup { epoch: 2, primary: Some(name("a")), verified: 0 }
}

/// A primary, a backup in sync, and two discovery replicas.
fn healthy() -> Survey {
    let (a, b) = (at("a", 1), at("b", 2));
    let group = GroupStatus {
        group: 0,
        state: Some(state(&[process("a", 1), process("b", 2)])),
        brokers: vec![a.clone(), b.clone()],
        omitted: 0,
    };
    let ask = |port| Address::new(&format!("tcp://h:{port}")).unwrap();
    Survey {
        discovery: vec![
            (ask(7401), Ok(replica(Standing::Leads(1), vec![group.clone()]))),
            (ask(7402), Ok(replica(Standing::Follows, vec![group]))),
        ],
        brokers: vec![(a.clone(), Ok(broker(&a, leading()))), (b.clone(), Ok(broker(&b, following())))],
    }
}

fn discovery(survey: &mut Survey, change: impl Fn(&mut DiscoveryStatus)) {
    survey.discovery.iter_mut().filter_map(|(_, answer)| answer.as_mut().ok()).for_each(change);
}

fn group(survey: &mut Survey, change: impl Fn(&mut GroupStatus)) {
    discovery(survey, |status| status.groups.iter_mut().for_each(&change));
}

fn primary(survey: &mut Survey, change: impl FnOnce(&mut BrokerStatus, &mut PrimaryStatus)) {
    let status = survey.brokers[0].1.as_mut().unwrap();
    let RoleStatus::Primary(mut role) = status.role.clone() else { panic!("not a primary") };
    change(status, &mut role);
    status.role = RoleStatus::Primary(role);
}

#[test]
fn a_healthy_cluster_lacks_nothing() {
    assert_eq!(healthy().missing(2), []);
    let mut one_replica = healthy();
    one_replica.discovery[0].1 = Err(Silence::Refused);
    assert_eq!(one_replica.missing(2), [], "the other one follows a leader");
}

/// Each change makes one thing missing, and the text says what.
#[test]
fn everything_that_is_missing_is_named() {
    type Case = (fn(&mut Survey), Missing, &'static str);
    let a = || name("a");
    let b = || name("b");
    let cases: [Case; 16] = [
        (|s| s.discovery.clear(), Missing::Discovery, "no discovery replica answers"),
        (
            |s| s.discovery.iter_mut().for_each(|(_, answer)| *answer = Err(Silence::Late)),
            Missing::Discovery,
            "no discovery replica answers",
        ),
        (
            |s| discovery(s, |status| status.connected = false),
            Missing::Coordination,
            "does not reach the coordination service",
        ),
        (
            |s| discovery(s, |status| status.standing = Standing::Undecided),
            Missing::Leader,
            "discovery has no leader",
        ),
        (|s| discovery(s, |status| status.groups.clear()), Missing::Group(0), "no broker has registered"),
        (|s| group(s, |group| group.state = None), Missing::Group(0), "group 0 does not exist"),
        (
            |s| group(s, |group| group.state.as_mut().unwrap().primary = None),
            Missing::Primary(0),
            "group 0 has no primary",
        ),
        (|s| primary(s, |_, role| role.serving = false), Missing::Serving(a()), "a does not serve"),
        (|s| primary(s, |_, role| role.silent = true), Missing::Serving(a()), "a does not serve"),
        (|s| primary(s, |_, role| role.epoch = 1), Missing::Serving(a()), "a does not serve"),
        (|s| primary(s, |status, _| status.leaving = true), Missing::Serving(a()), "a does not serve"),
        (
            |s| s.brokers[1].1 = Err(Silence::Refused),
            Missing::Answer(b(), Silence::Refused),
            "b does not answer: nobody listens there",
        ),
        (
            |s| s.brokers[1].1.as_mut().unwrap().connected = false,
            Missing::Connection(b()),
            "b does not reach the coordination service",
        ),
        (
            |s| group(s, |group| drop(group.brokers.pop())),
            Missing::Registration(b()),
            "b counts as in sync but its process is gone",
        ),
        (
            |s| group(s, |group| drop(group.state.as_mut().unwrap().in_sync.pop())),
            Missing::InSync(b()),
            "b is not in sync",
        ),
        (|s| group(s, |group| group.omitted = 4), Missing::Unlisted(4), "4 more brokers"),
    ];
    for (change, expected, text) in cases {
        let mut survey = healthy();
        change(&mut survey);
        assert_eq!(survey.missing(0), std::slice::from_ref(&expected));
        assert!(expected.to_string().contains(text), "{expected}");
    }
}

#[test]
fn fewer_brokers_than_wanted_are_missing_although_all_is_well() {
    let missing = healthy().missing(3);
    assert_eq!(missing, [Missing::Brokers { in_sync: 2, wanted: 3 }]);
    assert_eq!(missing[0].to_string(), "2 of 3 brokers are in sync");
}

/// R32: what is left of a restarted broker's earlier process does not count, also when it has an answer.
#[test]
fn a_restarted_broker_is_judged_by_its_latest_process() {
    let mut survey = healthy();
    let successor = at("b", 5);
    group(&mut survey, |group| {
        group.brokers.push(successor.clone());
        group.state.as_mut().unwrap().in_sync = vec![process("a", 1).member, process("b", 5).member];
    });
    survey.brokers[1].1 = Err(Silence::Other);
    survey.brokers.push((successor.clone(), Ok(broker(&successor, following()))));
    assert_eq!(survey.missing(2), []);
    group(&mut survey, |group| {
        group.state.as_mut().unwrap().in_sync = vec![process("a", 1).member, process("b", 2).member];
    });
    let expected = [Missing::InSync(name("b")), Missing::Registration(name("b"))];
    assert_eq!(survey.missing(0), expected, "its data went with the earlier process");
}

/// A replica that has lost the coordination service may hold an old view: it gives way.
#[test]
fn the_newest_view_counts() {
    let mut survey = healthy();
    let stale = survey.discovery[0].1.as_mut().unwrap();
    stale.connected = false;
    stale.groups[0].state.as_mut().unwrap().config = 50;
    stale.groups[0].brokers.clear();
    assert_eq!(survey.groups()[&0].state.as_ref().unwrap().config, 9);
    assert_eq!(survey.brokers_to_ask(), [at("a", 1), at("b", 2)]);
    let older = survey.discovery[0].1.as_mut().unwrap();
    older.connected = true;
    older.groups[0].state.as_mut().unwrap().config = 8;
    assert_eq!(survey.groups()[&0].state.as_ref().unwrap().config, 9);
    let newer = survey.discovery[0].1.as_mut().unwrap();
    newer.groups[0].state.as_mut().unwrap().config = 10;
    assert_eq!(survey.brokers_to_ask(), []);
}
