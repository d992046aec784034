//! The in-memory tree does what a ZooKeeper server 3.8 does. Where its manual leaves a doubt (sequence
//! numbers, the order of errors, watches that meet, multi, watching again) the expectation is what a
//! real 3.8.0 server did.

mod limits;

use bytes::Bytes;
use std::collections::BTreeSet;
use steadfast_core::coordination::tree::{Limits, Tree, WatchBook, check};
use steadfast_core::coordination::{
    Create, CreateMode, Delete, Error, MultiError, MultiOperation, Operation, Reply, SessionId, Set, Stat,
    WatchKind,
};
use steadfast_core::limits::MAX_PATH_LEN;
use steadfast_core::rng::Rng;

const A: SessionId = 1;
const B: SessionId = 2;

fn new_tree() -> Tree {
    limited(Limits::default())
}

fn limited(limits: Limits) -> Tree {
    let mut tree = Tree::new(limits);
    assert!(tree.open_session(A) && tree.open_session(B));
    tree
}

fn create(path: &str, mode: CreateMode) -> Create {
    Create { path: path.into(), data: Bytes::from_static(b"x"), mode }
}

fn set(path: &str, version: Option<i32>) -> Set {
    Set { path: path.into(), data: Bytes::from_static(b"y"), version }
}

fn delete(path: &str, version: Option<i32>) -> Delete {
    Delete { path: path.into(), version }
}

fn make(tree: &mut Tree, path: &str) {
    make_as(tree, A, path, CreateMode::Persistent);
}

fn make_as(tree: &mut Tree, session: SessionId, path: &str, mode: CreateMode) -> String {
    match tree.apply(session, &Operation::Create(create(path, mode))) {
        Ok(Reply::Created { path, stat: Some(_) }) => path,
        other => panic!("create {path}: {other:?}"),
    }
}

fn set_any(tree: &mut Tree, path: &str) {
    tree.apply(A, &Operation::Set(set(path, None))).unwrap();
}

fn delete_any(tree: &mut Tree, path: &str) {
    assert_eq!(tree.apply(A, &Operation::Delete(delete(path, None))), Ok(Reply::Done));
}

fn get(path: &str) -> Operation {
    Operation::Get { path: path.into(), watch: true }
}

fn exists(path: &str) -> Operation {
    Operation::Exists { path: path.into(), watch: true }
}

fn children(path: &str) -> Operation {
    Operation::Children { path: path.into(), watch: true }
}

fn watch(path: &str, recursive: bool) -> Operation {
    Operation::Watch { path: path.into(), recursive }
}

fn stat(tree: &Tree, path: &str) -> Stat {
    tree.node(path).unwrap_or_else(|| panic!("no node {path}")).1
}

/// What has fired: session, kind and path, in order.
fn fired(tree: &mut Tree) -> Vec<String> {
    core::iter::from_fn(|| tree.next_fired())
        .map(|fired| format!("{} {:?} {}", fired.session, fired.kind, fired.path))
        .collect()
}

#[test]
fn statement_1_the_sequence_number_counts_creates_and_failures_take_none() {
    use CreateMode::{EphemeralSequential, PersistentSequential};
    let mut tree = new_tree();
    make(&mut tree, "/p");
    assert_eq!(make_as(&mut tree, A, "/p/n-", PersistentSequential), "/p/n-0000000000");
    make(&mut tree, "/p/plain");
    delete_any(&mut tree, "/p/plain");
    assert_eq!(stat(&tree, "/p").cversion, 3, "two creates and a delete");
    assert_eq!(make_as(&mut tree, A, "/p/", EphemeralSequential), "/p/0000000002");
    assert_eq!(
        tree.apply(A, &Operation::Create(create("/p/n-0000000000", CreateMode::Persistent))),
        Err(Error::NodeExists)
    );
    let failing = Operation::Multi(vec![
        MultiOperation::Create(create("/p/m-", PersistentSequential)),
        MultiOperation::Check(delete("/absent", None)),
    ]);
    assert_eq!(tree.apply(A, &failing), Err(Error::Multi { index: 1, error: MultiError::NoNode }));
    assert_eq!(make_as(&mut tree, B, "/p/.", PersistentSequential), "/p/.0000000003");
    assert_eq!(make_as(&mut tree, B, "/", PersistentSequential), "/0000000001", "the root counts /p");
}

#[test]
fn statement_3_all_ephemerals_are_gone_before_the_first_event_and_events_come_in_any_order() {
    let mut orders = BTreeSet::new();
    for seed in 0..20 {
        let mut tree = new_tree();
        make(&mut tree, "/live");
        for name in ["/live/a", "/live/b", "/live/c"] {
            make_as(&mut tree, B, name, CreateMode::Ephemeral);
            tree.apply(A, &exists(name)).unwrap();
        }
        tree.close_session(B, &mut Rng::new(seed));
        assert_eq!(tree.paths().collect::<Vec<_>>(), ["/", "/live"]);
        let live = stat(&tree, "/live");
        assert_eq!((live.children, live.cversion, live.pzxid), (0, 6, tree.zxid()), "one transaction");
        let events = fired(&mut tree);
        let mut sorted = events.clone();
        sorted.sort();
        assert_eq!(sorted, ["1 Deleted /live/a", "1 Deleted /live/b", "1 Deleted /live/c"]);
        orders.insert(events);
    }
    assert!(orders.len() > 1, "the order depends on the seed: {orders:?}");
}

#[test]
fn statement_5_an_event_is_there_before_the_reply_even_of_ones_own_write() {
    let mut tree = new_tree();
    make(&mut tree, "/n");
    tree.apply(A, &get("/n")).unwrap();
    set_any(&mut tree, "/n");
    assert_eq!(fired(&mut tree), ["1 DataChanged /n"]);
}

#[test]
fn statement_7_a_one_shot_watch_gives_one_event_for_create_and_delete_of_a_child() {
    let mut tree = new_tree();
    make(&mut tree, "/p");
    tree.apply(B, &children("/p")).unwrap();
    make(&mut tree, "/p/c");
    delete_any(&mut tree, "/p/c");
    assert_eq!(fired(&mut tree), ["2 ChildrenChanged /p"]);
}

#[test]
fn statement_8_reconnecting_fires_one_shots_that_show_a_difference_and_loses_persistent_events() {
    let mut tree = new_tree();
    for path in ["/set", "/same", "/gone", "/list"] {
        make(&mut tree, path);
    }
    let mut book = WatchBook::default();
    let calls = [
        get("/set"),
        get("/same"),
        exists("/gone"),
        exists("/new"),
        exists("/flash"),
        children("/list"),
        children("/same"),
        watch("/list", false),
        watch("/", true),
    ];
    for call in &calls {
        book.note(call, &tree.apply(B, call).unwrap());
    }
    assert_eq!(book.len(), calls.len());
    let seen = tree.zxid();
    tree.detach(B);
    set_any(&mut tree, "/set");
    delete_any(&mut tree, "/gone");
    make(&mut tree, "/new");
    make(&mut tree, "/list/c");
    make(&mut tree, "/flash");
    delete_any(&mut tree, "/flash");
    assert_eq!(fired(&mut tree), [""; 0], "nobody is told while disconnected");
    tree.rewatch(B, seen, &book);
    assert_eq!(
        fired(&mut tree),
        ["2 Deleted /gone", "2 DataChanged /set", "2 Created /new", "2 ChildrenChanged /list"]
    );
    make(&mut tree, "/flash");
    assert_eq!(fired(&mut tree), ["2 Created /flash"], "watched once, seen twice, told once");
    make(&mut tree, "/list/d");
    assert_eq!(fired(&mut tree), ["2 Created /list/d", "2 ChildrenChanged /list"]);
}

#[test]
fn statement_9_a_recursive_watch_sends_no_children_changed() {
    let mut tree = new_tree();
    make(&mut tree, "/p");
    tree.apply(B, &watch("/p", true)).unwrap();
    make(&mut tree, "/p/r");
    make(&mut tree, "/p/r/s");
    set_any(&mut tree, "/p/r");
    delete_any(&mut tree, "/p/r/s");
    delete_any(&mut tree, "/p/r");
    make(&mut tree, "/pp");
    assert_eq!(
        fired(&mut tree),
        ["2 Created /p/r", "2 Created /p/r/s", "2 DataChanged /p/r", "2 Deleted /p/r/s", "2 Deleted /p/r"]
    );
}

#[test]
fn statement_9_a_multi_fires_one_event_per_operation() {
    let mut tree = new_tree();
    tree.apply(B, &watch("/", true)).unwrap();
    let multi = Operation::Multi(vec![
        MultiOperation::Create(create("/x", CreateMode::Persistent)),
        MultiOperation::Create(create("/x/k", CreateMode::PersistentSequential)),
        MultiOperation::Set(set("/x", Some(0))),
        MultiOperation::Check(delete("/x", Some(1))),
        MultiOperation::Delete(delete("/x/k0000000000", None)),
        MultiOperation::Create(create("/x/k", CreateMode::PersistentSequential)),
    ]);
    let Ok(Reply::Multi(replies)) = tree.apply(A, &multi) else { panic!("it succeeds") };
    let created = |path: &str| Reply::Created { path: path.into(), stat: None };
    assert_eq!(replies[0], created("/x"), "no stat: ZOOKEEPER-4026");
    assert_eq!(replies[1], created("/x/k0000000000"));
    assert!(matches!(replies[2], Reply::Set(Stat { version: 1, children: 1, cversion: 1, .. })));
    assert_eq!(replies[3..5], [Reply::Done, Reply::Done]);
    assert_eq!(replies[5], created("/x/k0000000001"));
    assert_eq!(
        fired(&mut tree),
        [
            "2 Created /x",
            "2 Created /x/k0000000000",
            "2 DataChanged /x",
            "2 Deleted /x/k0000000000",
            "2 Created /x/k0000000001"
        ]
    );
    let x = stat(&tree, "/x");
    assert_eq!((x.czxid, x.mzxid, x.pzxid), (tree.zxid(), tree.zxid(), tree.zxid()), "one transaction");
}

#[test]
fn statement_10_a_failing_multi_names_its_index_and_undoes_everything() {
    let mut tree = new_tree();
    make(&mut tree, "/old");
    make(&mut tree, "/old/child");
    make_as(&mut tree, A, "/mine", CreateMode::Ephemeral);
    tree.apply(B, &watch("/", true)).unwrap();
    let dump = |tree: &Tree| tree.paths().map(|p| (p.to_string(), tree.node(p))).collect::<Vec<_>>();
    let before = (dump(&tree), tree.zxid());
    let prefix = [
        MultiOperation::Set(set("/old", None)),
        MultiOperation::Set(set("/old", Some(1))),
        MultiOperation::Delete(delete("/old/child", Some(0))),
        MultiOperation::Delete(delete("/old", Some(2))),
        MultiOperation::Create(create("/old", CreateMode::Persistent)),
        MultiOperation::Create(create("/old/e", CreateMode::EphemeralSequential)),
        MultiOperation::Delete(delete("/mine", None)),
    ];
    let failures = [
        (MultiOperation::Check(delete("/old", Some(1))), MultiError::BadVersion),
        (MultiOperation::Check(delete("/mine", None)), MultiError::NoNode),
        (MultiOperation::Create(create("/old", CreateMode::Persistent)), MultiError::NodeExists),
        (MultiOperation::Delete(delete("/old", None)), MultiError::NotEmpty),
        (MultiOperation::Set(set("/old", Some(2))), MultiError::BadVersion),
        (MultiOperation::Create(create("/old/e0000000000/c", CreateMode::Persistent)), MultiError::Other),
        (MultiOperation::Create(create("/old//c", CreateMode::Persistent)), MultiError::Other),
    ];
    for (operation, error) in failures {
        let mut operations = prefix.to_vec();
        operations.push(operation.clone());
        operations.push(MultiOperation::Delete(delete("/absent", None)));
        let result = tree.apply(A, &Operation::Multi(operations));
        assert_eq!(result, Err(Error::Multi { index: 7, error }), "{operation:?}");
        assert_eq!((dump(&tree), tree.zxid()), before, "{operation:?}");
    }
    assert_eq!(fired(&mut tree), [""; 0]);
    tree.close_session(A, &mut Rng::new(1));
    assert_eq!(tree.node("/mine"), None, "it was still its session's");
    assert_eq!(tree.apply(B, &Operation::Multi(vec![])), Ok(Reply::Multi(vec![])));
}

#[test]
fn statement_13_delete_and_create_resets_the_version() {
    let mut tree = new_tree();
    make(&mut tree, "/n");
    make(&mut tree, "/n/c");
    set_any(&mut tree, "/n");
    delete_any(&mut tree, "/n/c");
    delete_any(&mut tree, "/n");
    make(&mut tree, "/n");
    let n = stat(&tree, "/n");
    assert_eq!((n.version, n.cversion), (0, 0));
    assert_eq!((n.czxid, n.mzxid, n.pzxid), (tree.zxid(), tree.zxid(), tree.zxid()));
}

#[test]
fn statement_14_the_same_data_bumps_the_version_and_ephemerals_have_no_children() {
    let mut tree = new_tree();
    make_as(&mut tree, A, "/e", CreateMode::Ephemeral);
    for version in 1..=3 {
        set_any(&mut tree, "/e");
        assert_eq!(stat(&tree, "/e").version, version);
    }
    let child = Operation::Create(create("/e/c", CreateMode::Persistent));
    assert_eq!(tree.apply(A, &child), Err(Error::NoChildrenForEphemerals));
}

#[test]
fn statement_15_the_ephemeral_of_a_former_session_is_in_the_way_until_that_expires() {
    let mut tree = new_tree();
    make_as(&mut tree, A, "/e", CreateMode::Ephemeral);
    let again = Operation::Create(create("/e", CreateMode::Ephemeral));
    assert_eq!(tree.apply(B, &again), Err(Error::NodeExists));
    tree.close_session(A, &mut Rng::new(1));
    assert!(tree.apply(B, &again).is_ok());
    assert_eq!(stat(&tree, "/e").ephemeral_owner, B);
    assert_eq!(tree.apply(A, &get("/e")), Err(Error::SessionExpired));
    tree.close_session(A, &mut Rng::new(1));
    assert_eq!(stat(&tree, "/e").ephemeral_owner, B, "closing twice does nothing");
}

#[test]
fn errors_come_in_the_order_of_a_server() {
    let mut tree = new_tree();
    make(&mut tree, "/p");
    make(&mut tree, "/p/c");
    let sets = [("/p", Some(1), Error::BadVersion), ("/q", Some(1), Error::NoNode)];
    for (path, version, error) in sets {
        assert_eq!(tree.apply(A, &Operation::Set(set(path, version))), Err(error), "set {path} {version:?}");
    }
    let deletes = [
        ("/p", Some(3), Error::BadVersion),
        ("/p", Some(0), Error::NotEmpty),
        ("/p", None, Error::NotEmpty),
        ("/q", Some(3), Error::NoNode),
        ("/", Some(5), Error::Invalid),
    ];
    for (path, version, error) in deletes {
        let operation = Operation::Delete(delete(path, version));
        assert_eq!(tree.apply(A, &operation), Err(error), "delete {path} {version:?}");
    }
    let creates = [("/", Error::Invalid), ("/p/c", Error::NodeExists), ("/q/c", Error::NoNode)];
    for (path, error) in creates {
        let operation = Operation::Create(create(path, CreateMode::Persistent));
        assert_eq!(tree.apply(A, &operation), Err(error), "create {path}");
    }
    assert_eq!(tree.apply(A, &get("/q")), Err(Error::NoNode));
    assert_eq!(tree.apply(A, &children("/q")), Err(Error::NoNode));
    make(&mut tree, "/q");
    assert_eq!(fired(&mut tree), [""; 0], "a read that fails leaves no watch");
    assert!(tree.apply(A, &Operation::Set(set("/p", Some(-1)))).is_ok(), "-1 is any version");
    assert!(tree.apply(A, &Operation::Sync { path: "/absent".into() }).is_ok());
}

#[test]
fn replies_carry_what_the_tree_holds() {
    let mut tree = new_tree();
    let Ok(Reply::Created { stat: Some(created), .. }) =
        tree.apply(B, &Operation::Create(create("/e", CreateMode::Ephemeral)))
    else {
        panic!("it is created")
    };
    let zxid = tree.zxid();
    let expected =
        Stat { czxid: zxid, mzxid: zxid, pzxid: zxid, ephemeral_owner: B, data_length: 1, ..Stat::default() };
    assert_eq!(created, expected);
    let set = tree.apply(A, &Operation::Set(set("/e", Some(0))));
    let expected = Stat { mzxid: zxid + 1, version: 1, ..expected };
    assert_eq!(set, Ok(Reply::Set(expected)));
    let data = Bytes::from_static(b"y");
    assert_eq!(tree.apply(A, &get("/e")), Ok(Reply::Data { data, stat: expected }));
    assert_eq!(tree.apply(A, &exists("/e")), Ok(Reply::Stat(Some(expected))));
    assert_eq!(tree.apply(A, &exists("/f")), Ok(Reply::Stat(None)));
    make(&mut tree, "/p");
    assert_eq!(tree.apply(A, &children("/")), Ok(Reply::Children(vec!["e".into(), "p".into()])));
}

#[test]
fn paths_are_valid_where_zookeeper_says_so() {
    let long = |n: usize| format!("/{}", "a".repeat(n - 1));
    let good = ["/", "/a", "/a/b.c", "/.a", "/a./b", "/..a/...", "/a b", "/ü", &long(MAX_PATH_LEN)];
    let bad = [
        "",
        "a",
        "a/b",
        "//",
        "/a/",
        "/a//b",
        "/.",
        "/..",
        "/a/./b",
        "/a/..",
        "/a\0",
        "/a\u{1f}",
        "/a\u{7f}",
        "/a\u{9f}",
        "/\u{e000}",
        "/\u{fff0}",
        "/\u{1f600}",
        &long(MAX_PATH_LEN + 1),
    ];
    for (paths, expected) in [(&good[..], Ok(())), (&bad[..], Err(Error::Invalid))] {
        for path in paths {
            assert_eq!(check(&get(path)), expected, "{path:?}");
            assert_eq!(check(&watch(path, true)), expected, "{path:?}");
            assert_eq!(check(&Operation::Delete(delete(path, None))), expected, "{path:?}");
            let made = if *path == "/" { Err(Error::Invalid) } else { expected };
            assert_eq!(check(&Operation::Create(create(path, CreateMode::Ephemeral))), made, "{path:?}");
        }
    }
    let sequential = |path: &str| check(&Operation::Create(create(path, CreateMode::PersistentSequential)));
    for path in ["/", "/a/", "/a/.", "/a/..", "/a/b-", &long(MAX_PATH_LEN - 10)] {
        assert_eq!(sequential(path), Ok(()), "{path:?}");
    }
    for path in ["", "a", "//", "/./a", "/a//", "/a\0", &long(MAX_PATH_LEN - 9)] {
        assert_eq!(sequential(path), Err(Error::Invalid), "{path:?}");
    }
}

/// Carries out one of the steps that the table below names.
fn happen(tree: &mut Tree, step: &str) {
    match step {
        "set" => set_any(tree, "/p"),
        "child" => make(tree, "/p/c"),
        "orphan" => delete_any(tree, "/p/c"),
        "delete" => delete_any(tree, "/p"),
        "make p" => make(tree, "/p"),
        "make q" => make(tree, "/q"),
        other => panic!("{other}"),
    }
}

#[test]
fn watches_fire_for_what_they_are_left_on() {
    // Watches left while /p exists, what happens then, what fires.
    let cases: [(&[Operation], &str, &[&str]); 14] = [
        (&[get("/p")], "set", &["DataChanged /p"]),
        (&[exists("/p")], "set", &["DataChanged /p"]),
        (&[children("/p")], "set", &[]),
        (&[get("/p")], "child", &[]),
        (&[children("/p")], "child", &["ChildrenChanged /p"]),
        (&[get("/p")], "delete", &["Deleted /p"]),
        (&[children("/p")], "delete", &["Deleted /p"]),
        (&[get("/p"), children("/p"), exists("/p")], "delete, make p", &["Deleted /p"]),
        (&[get("/p"), children("/p")], "set, delete", &["DataChanged /p", "Deleted /p"]),
        (&[get("/p")], "set, set", &["DataChanged /p"]),
        (&[exists("/q")], "make q", &["Created /q"]),
        (&[children("/")], "make q", &["ChildrenChanged /"]),
        (
            &[watch("/p", false)],
            "set, child, orphan, delete, make p",
            &["DataChanged /p", "ChildrenChanged /p", "ChildrenChanged /p", "Deleted /p", "Created /p"],
        ),
        (&[watch("/", false)], "make q, child", &["ChildrenChanged /"]),
    ];
    for (watches, happens, expected) in cases {
        let mut tree = new_tree();
        make(&mut tree, "/p");
        for watch in watches {
            tree.apply(B, watch).unwrap();
        }
        for step in happens.split(", ") {
            happen(&mut tree, step);
        }
        let expected: Vec<String> = expected.iter().map(|event| format!("2 {event}")).collect();
        assert_eq!(fired(&mut tree), expected, "{watches:?}, {happens}");
    }
}

#[test]
fn a_one_shot_watch_takes_the_place_of_a_persistent_one_on_the_same_subject() {
    let mut tree = new_tree();
    make(&mut tree, "/p");
    tree.apply(B, &watch("/p", false)).unwrap();
    tree.apply(B, &get("/p")).unwrap();
    set_any(&mut tree, "/p");
    set_any(&mut tree, "/p");
    assert_eq!(fired(&mut tree), ["2 DataChanged /p"]);
    for step in ["child", "orphan", "delete"] {
        happen(&mut tree, step);
    }
    assert_eq!(fired(&mut tree), ["2 ChildrenChanged /p", "2 ChildrenChanged /p", "2 Deleted /p"]);
}

#[test]
fn each_watching_session_is_told_once_and_a_closed_one_never() {
    let mut tree = new_tree();
    make(&mut tree, "/p");
    for session in [A, B] {
        tree.apply(session, &watch("/", true)).unwrap();
        tree.apply(session, &watch("/p", false)).unwrap();
        tree.apply(session, &children("/p")).unwrap();
    }
    set_any(&mut tree, "/p");
    assert_eq!(fired(&mut tree), ["1 DataChanged /p", "2 DataChanged /p"]);
    set_any(&mut tree, "/p");
    tree.close_session(B, &mut Rng::new(1));
    set_any(&mut tree, "/p");
    assert_eq!(fired(&mut tree), ["1 DataChanged /p", "1 DataChanged /p"]);
}

#[test]
fn a_clone_goes_its_own_way_and_equal_inputs_give_equal_trees() {
    let mut tree = new_tree();
    make(&mut tree, "/p");
    let mut other = tree.clone();
    for tree in [&mut tree, &mut other] {
        make_as(tree, B, "/p/e", CreateMode::EphemeralSequential);
        tree.close_session(B, &mut Rng::new(7));
    }
    assert_eq!(format!("{tree:?}"), format!("{other:?}"));
    delete_any(&mut other, "/p");
    assert!(tree.node("/p").is_some());
}

#[test]
fn an_error_says_what_it_is() {
    let multi = Error::Multi { index: 3, error: MultiError::BadVersion };
    let errors = [
        (Error::NoNode, "no such node"),
        (Error::NodeExists, "the node exists"),
        (Error::BadVersion, "the version is another"),
        (Error::SessionExpired, "the session has expired"),
        (Error::Unknown, "the outcome is unknown"),
        (multi, "operation 3 failed: BadVersion"),
    ];
    for (error, text) in errors {
        assert_eq!(error.to_string(), text);
    }
}

#[test]
fn a_book_holds_what_a_client_has_to_ask_for_again() {
    let mut book = WatchBook::default();
    let no_watch = Operation::Get { path: "/a".into(), watch: false };
    book.note(&no_watch, &Reply::Done);
    assert!(book.is_empty());
    book.note(&get("/a"), &Reply::Done);
    book.note(&children("/a"), &Reply::Children(vec![]));
    book.note(&exists("/b"), &Reply::Stat(None));
    book.note(&exists("/c"), &Reply::Stat(Some(Stat::default())));
    book.note(&watch("/d", true), &Reply::Done);
    book.strike("/a", WatchKind::ChildrenChanged);
    book.strike("/b", WatchKind::Created);
    book.strike("/d", WatchKind::DataChanged);
    let expected = [("/a".to_string(), WatchKind::DataChanged), ("/c".to_string(), WatchKind::DataChanged)];
    assert_eq!(book.take_one_shots(), expected);
    assert_eq!(book.len(), 1, "the persistent one stays");
}
