//! A coordination tree that was restored from a copy: the versions of its nodes are lower than before (R14, R25).

use super::world::{HISTORY, World, member};
use super::{B, LONG, release_all};
use steadfast_core::coordination::Operation;
use steadfast_core::group::{Change, GroupState};
use steadfast_core::id::Nonce;
use steadfast_core::trace::{Outcome, Trace};

fn writes(operation: &Operation) -> bool {
    matches!(operation, Operation::Set(_))
}

/// The primary wants to drop its backup, and has written that; no answer has come yet.
fn dropping() -> World {
    let mut world = World::primary_with_backup(B);
    world.hold();
    world.unregister("b", 2);
    for _ in 0..LONG / 50 {
        if !world.is_held(writes) {
            world.release();
            world.run(100);
        }
    }
    assert!(world.is_held(writes), "nobody is dropped");
    world
}

/// R14: the write of a change finds another version than it was to replace, and a read shows a lower one.
#[test]
fn a_change_that_a_restored_tree_refuses_is_made_anew() {
    let mut world = dropping();
    let state = world.state();
    world.restore_state(&state);
    release_all(&mut world);
    let refused = Trace::Resolved { change: Change::Shrink, outcome: Outcome::Superseded };
    assert!(world.traces.contains(&refused), "{:?}", world.traces);
    for _ in 0..LONG / 100 {
        world.run(100);
        world.release();
    }
    assert_eq!(world.in_sync(), ["a"]);
}

/// R25: who doubts the tree changes nothing in it, though the old copy names a member that is gone.
#[test]
fn a_primary_that_doubts_the_tree_leaves_it_as_it_is() {
    let mut world = World::primary_with_backup(B);
    world.hold();
    let old = GroupState::bootstrap(HISTORY.group_id, member("a", 1), 1, Nonce(0));
    world.restore_state(&old.expand(&member("c", 3), Nonce(1)));
    for _ in 0..20 {
        if !world.broker.is_in_doubt() {
            world.release();
        }
    }
    assert!(world.broker.is_in_doubt());
    world.run(LONG);
    assert!(!world.is_held(writes), "it has written what it made of the old copy");
}
