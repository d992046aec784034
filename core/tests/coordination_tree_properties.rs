//! What holds of the in-memory tree after any history of operations and sessions.

use bytes::Bytes;
use proptest::prelude::*;
use std::collections::BTreeMap;
use steadfast_core::coordination::tree::{Limits, Tree, WatchBook};
use steadfast_core::coordination::{
    Create, CreateMode, Delete, MultiOperation, Operation, SessionId, Set, Stat,
};
use steadfast_core::rng::Rng;

#[derive(Clone, Debug)]
enum Step {
    Apply(SessionId, Operation),
    Close(SessionId),
    Open(SessionId),
}

fn any_path() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b"]), 1..4)
        .prop_map(|names| names.iter().map(|name| format!("/{name}")).collect())
}

fn any_create() -> impl Strategy<Value = Create> {
    let modes = vec![
        CreateMode::Persistent,
        CreateMode::Persistent,
        CreateMode::Ephemeral,
        CreateMode::PersistentSequential,
        CreateMode::EphemeralSequential,
    ];
    (any_path(), prop::sample::select(modes), 0_usize..4).prop_map(|(path, mode, n)| Create {
        path,
        data: Bytes::from(vec![1; n]),
        mode,
    })
}

fn any_set() -> impl Strategy<Value = Set> {
    (any_path(), any_version(), 0_usize..4).prop_map(|(path, version, n)| Set {
        path,
        data: Bytes::from(vec![2; n]),
        version,
    })
}

fn any_delete() -> impl Strategy<Value = Delete> {
    (any_path(), any_version()).prop_map(|(path, version)| Delete { path, version })
}

fn any_version() -> impl Strategy<Value = Option<i32>> {
    prop::option::weighted(0.3, 0..3)
}

fn any_multi_operation() -> impl Strategy<Value = MultiOperation> {
    prop_oneof![
        3 => any_create().prop_map(MultiOperation::Create),
        1 => any_set().prop_map(MultiOperation::Set),
        2 => any_delete().prop_map(MultiOperation::Delete),
        1 => any_delete().prop_map(MultiOperation::Check),
    ]
}

fn any_operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        4 => any_create().prop_map(Operation::Create),
        2 => any_set().prop_map(Operation::Set),
        2 => any_delete().prop_map(Operation::Delete),
        2 => prop::collection::vec(any_multi_operation(), 0..5).prop_map(Operation::Multi),
        1 => any_path().prop_map(|path| Operation::Get { path, watch: true }),
        1 => any_path().prop_map(|path| Operation::Children { path, watch: true }),
        1 => any_path().prop_map(|path| Operation::Exists { path, watch: true }),
    ]
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (1..4_u64, any_operation()).prop_map(|(session, operation)| Step::Apply(session, operation)),
        1 => (1..4_u64).prop_map(Step::Close),
        2 => (1..4_u64).prop_map(Step::Open),
    ]
}

/// Each node with its stat.
fn stats(tree: &Tree) -> BTreeMap<String, Stat> {
    let stat = |path| tree.node(path).expect("a path of the tree").1;
    tree.paths().map(|path| (path.to_string(), stat(path))).collect()
}

fn parent(path: &str) -> &str {
    match path.rfind('/') {
        Some(0) | None => "/",
        Some(at) => &path[..at],
    }
}

fn check_shape(stats: &BTreeMap<String, Stat>, sessions: &BTreeMap<SessionId, WatchBook>) {
    for (path, stat) in stats {
        let below = stats.keys().filter(|other| *other != "/" && parent(other) == path).count();
        assert_eq!(stat.children as usize, below, "children of {path}");
        assert!(stats.contains_key(parent(path)), "{path} is an orphan");
        assert_eq!(stats[parent(path)].ephemeral_owner, 0, "{path} is below an ephemeral");
        let owner = stat.ephemeral_owner;
        assert!(owner == 0 || sessions.contains_key(&owner), "{path} outlived session {owner}");
        assert!(stat.czxid <= stat.mzxid && stat.czxid <= stat.pzxid, "{path}: {stat:?}");
        assert!(stat.cversion >= below as i32, "{path}: each child was created once");
    }
}

/// Within one life of a node nothing goes back, and a number moves exactly when its transaction does.
fn check_progress(before: &BTreeMap<String, Stat>, after: &BTreeMap<String, Stat>) {
    for (path, new) in after {
        let Some(old) = before.get(path).filter(|old| old.czxid == new.czxid) else { continue };
        assert!(new.version >= old.version && new.cversion >= old.cversion, "{path}");
        assert!(new.mzxid >= old.mzxid && new.pzxid >= old.pzxid, "{path}");
        assert_eq!(new.version > old.version, new.mzxid > old.mzxid, "{path}");
        assert_eq!(new.cversion > old.cversion, new.pzxid > old.pzxid, "{path}");
        assert_eq!(new.ephemeral_owner, old.ephemeral_owner, "{path}");
    }
}

/// Without persistent watches, each event ends a watch that its session has left.
fn check_told(tree: &mut Tree, sessions: &mut BTreeMap<SessionId, WatchBook>) {
    while let Some(fired) = tree.next_fired() {
        let book = sessions.get_mut(&fired.session).expect("only living sessions are told");
        let before = book.len();
        book.strike(&fired.path, fired.kind);
        assert!(book.len() < before, "nobody asked for {fired:?}");
    }
}

/// Whoever left a watch and was not told sees what was there when the watch was left.
fn check_untold(stats: &BTreeMap<String, Stat>, seen: &BTreeMap<String, Stat>, book: &mut WatchBook) {
    for (path, kind) in book.clone().take_one_shots() {
        use steadfast_core::coordination::WatchKind::{ChildrenChanged, Created, DataChanged};
        let (old, new) = (seen.get(&path), stats.get(&path));
        match kind {
            Created => assert_eq!(new, None, "{path} was created and nobody was told"),
            DataChanged => assert_eq!(old.map(|s| s.mzxid), new.map(|s| s.mzxid), "{path}"),
            ChildrenChanged => assert_eq!(old.map(|s| s.pzxid), new.map(|s| s.pzxid), "{path}"),
            other => panic!("no watch is left as {other:?}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_history_breaks_the_tree(steps in prop::collection::vec(any_step(), 1..60), seed in any::<u64>()) {
        let mut tree = Tree::new(Limits::default());
        let mut rng = Rng::new(seed);
        let mut sessions: BTreeMap<SessionId, WatchBook> = BTreeMap::new();
        for step in steps {
            let (before, zxid) = (stats(&tree), tree.zxid());
            match step {
                Step::Open(session) => {
                    prop_assert_eq!(tree.open_session(session), !sessions.contains_key(&session));
                    sessions.entry(session).or_default();
                }
                Step::Close(session) => {
                    tree.close_session(session, &mut rng);
                    sessions.remove(&session);
                }
                Step::Apply(session, operation) => {
                    let result = tree.apply(session, &operation);
                    match (result, sessions.get_mut(&session)) {
                        (Ok(reply), Some(book)) => book.note(&operation, &reply),
                        (result, _) => {
                            prop_assert!(result.is_err(), "{:?} without a session", result);
                            prop_assert_eq!(&stats(&tree), &before);
                            prop_assert_eq!(tree.zxid(), zxid);
                        }
                    }
                }
            }
            check_told(&mut tree, &mut sessions);
            let after = stats(&tree);
            check_shape(&after, &sessions);
            check_progress(&before, &after);
            for book in sessions.values_mut() {
                check_untold(&after, &before, book);
            }
        }
    }
}
