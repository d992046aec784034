//! Random faults, then rest: what has to hold all along, and what everybody agrees on in the end.

use crate::world::{Part, World, live, live_name, live_path, paths};
use std::collections::BTreeMap;
use steadfast_core::coordination::election::Election;
use steadfast_core::coordination::registry::Registry;
use steadfast_core::discovery::{Boot, Config, Discovery};
use steadfast_core::limits::Timing;
use steadfast_core::rng::Rng;
use steadfast_core::time::Instant;
use steadfast_core::trace::Trace;
use steadfast_core::wire;

const SEEDS: u64 = 300;
const STEPS: usize = 400;

#[test]
fn every_broker_is_registered_in_its_session_and_seen_by_all() {
    for seed in 0..SEEDS {
        let brokers = [live("a", 1), live("b", 2), live("c", 3)];
        let mut world = World::new(
            brokers.clone().map(|node| Part::new(Registry::new(paths(), 0, Some(node), &Timing::default()))),
        );
        let mut rng = Rng::new(seed);
        let mut rounds = [0; 3];
        for _ in 0..STEPS {
            let i = usize::try_from(rng.below(3)).expect("below 3");
            world.stir(i, &mut rng);
            let round = world.clients[i].subject.component.round();
            assert!(round >= rounds[i], "seed {seed}: rounds go forward");
            rounds[i] = round;
        }
        world.calm();
        for (node, client) in brokers.iter().zip(&world.clients) {
            let (_, stat) = world.tree.node(&live_path(node)).expect("a live node");
            assert_eq!(Some(stat.ephemeral_owner), client.session, "seed {seed}");
            let registry = &client.subject.component;
            assert_eq!(registry.registered(), Some(stat.czxid), "seed {seed}");
            for node in &brokers {
                let (_, stat) = world.tree.node(&live_path(node)).expect("a live node");
                let seen = &registry.view().live[&live_name(node)];
                assert_eq!((&seen.node, seen.czxid), (node, stat.czxid), "seed {seed}");
            }
        }
    }
}

#[test]
fn every_epoch_of_discovery_has_one_leader() {
    let mut total = 0;
    for seed in 0..SEEDS {
        let timing = Timing::default();
        let candidate = |replica| Part::new(Election::new(paths(), replica, &timing));
        let mut world = World::new((0..3).map(candidate));
        let mut rng = Rng::new(seed);
        let mut reigns = BTreeMap::new();
        for _ in 0..STEPS {
            let i = usize::try_from(rng.below(3)).expect("below 3");
            world.stir(i, &mut rng);
            if let Some(epoch) = world.clients[i].subject.component.leads() {
                assert_eq!(*reigns.entry(epoch).or_insert(i), i, "seed {seed}: one leader an epoch");
                let session = world.clients[i].session;
                let owned = |path: &str| {
                    let owner = world.tree.node(path).map(|(_, stat)| stat.ephemeral_owner);
                    owner == session
                };
                // A paused leader knows nothing of the end of its session; the fence stops it.
                let stands = world.tree.paths().any(owned);
                assert!(session.is_none() || stands, "seed {seed}: leads without a candidate");
            }
        }
        world.calm();
        let leading = world.clients.iter().filter(|c| c.subject.component.leads().is_some());
        assert_eq!(leading.count(), 1, "seed {seed}");
        let parent = format!("{}/", paths().election());
        let standing = world.tree.paths().filter(|path| path.starts_with(&parent)).count();
        assert_eq!(standing, 3, "seed {seed}: one candidate each");
        total += reigns.len();
    }
    assert!(total > 1_000, "the faults change the leader: {total} reigns");
}

#[test]
fn a_group_once_created_stays_what_it_was() {
    for seed in 0..SEEDS {
        let replica = |i: u64| {
            let (root, config) = (paths().root().to_string(), Config::default());
            let boot = Boot { seed: seed * 3 + i, replica: u128::from(i), root, config };
            Discovery::new(Instant::default(), boot)
        };
        let mut world = World::new((0..3).map(replica));
        let mut rng = Rng::new(seed);
        let mut group = None;
        for step in 0..STEPS {
            let i = usize::try_from(rng.below(3)).expect("below 3");
            world.stir(i, &mut rng);
            if step == STEPS / 4 {
                // By now somebody has made the parents, or the brokers would have to.
                world.calm();
                world.others_register(&live("a", 1));
                world.others_register(&live("b", 2));
            }
            let data = world.tree.node(&paths().state(0)).map(|(data, _)| data);
            assert!(group.is_none() || group == data, "seed {seed}: the group was replaced");
            group = data;
        }
        world.calm();
        let (data, _) = world.tree.node(&paths().state(0)).expect("the group");
        assert!(group.is_none_or(|group| group == data), "seed {seed}: the group was replaced");
        let state = wire::decode_group_state(&data).expect("a good state");
        assert_eq!(state.in_sync, [live("a", 1).id.member], "seed {seed}: the first to register");
        let traces = world.clients.iter().flat_map(|client| &client.traces);
        let created = traces.filter(|trace| matches!(trace, Trace::GroupCreated { .. })).count();
        assert!(created <= 1, "seed {seed}: created {created} times");
    }
}
