//! How large a tree may become, and what happens there.

use super::{
    A, create, delete, delete_any, exists, get, limited, make, make_as, new_tree, set, set_any, watch,
};
use bytes::Bytes;
use steadfast_core::coordination::tree::Limits;
use steadfast_core::coordination::{Create, CreateMode, Error, MultiOperation, Operation, Set};
use steadfast_core::limits::{MAX_CHILDREN, MAX_MULTI_OPS, MAX_NODE_DATA_LEN};

#[test]
fn every_limit_has_its_answer() {
    let mut tree = limited(Limits { nodes: 3, data: 8, sessions: 3, watches: 3 });
    assert!(!tree.open_session(A), "in use");
    assert!(tree.open_session(3));
    assert!(!tree.open_session(4), "one too many");

    let data = |n: usize| Bytes::from(vec![b'x'; n]);
    let big =
        |path: &str, n| Operation::Create(Create { data: data(n), ..create(path, CreateMode::Persistent) });
    let put = |n| Operation::Set(Set { data: data(n), ..set("/a", None) });
    assert_eq!(tree.apply(A, &big("/a", 9)), Err(Error::Invalid));
    assert!(tree.apply(A, &big("/a", 8)).is_ok());
    assert_eq!(tree.apply(A, &put(9)), Err(Error::Invalid));
    assert!(tree.apply(A, &put(7)).is_ok());
    make(&mut tree, "/b");
    assert_eq!(tree.apply(A, &big("/c", 0)), Err(Error::Invalid), "too many nodes");
    delete_any(&mut tree, "/b");
    make(&mut tree, "/c");

    assert!(tree.apply(A, &watch("/a", false)).is_ok());
    assert_eq!(tree.apply(A, &watch("/c", false)), Err(Error::Invalid));
    assert!(tree.apply(A, &get("/c")).is_ok());
    assert_eq!(tree.apply(A, &exists("/d")), Err(Error::Invalid));
    set_any(&mut tree, "/c");
    assert!(tree.apply(A, &exists("/d")).is_ok(), "the one on /c has fired");
    assert_eq!(tree.apply(A, &exists("/e")), Err(Error::Invalid), "the others have not");

    let mut tree = new_tree();
    assert_eq!(tree.apply(A, &big("/a", MAX_NODE_DATA_LEN + 1)), Err(Error::Invalid));
    assert!(tree.apply(A, &big("/a", MAX_NODE_DATA_LEN)).is_ok());
    assert_eq!(tree.apply(A, &put(MAX_NODE_DATA_LEN + 1)), Err(Error::Invalid));
    let multi = |n| Operation::Multi(vec![MultiOperation::Check(delete("/a", None)); n]);
    assert!(tree.apply(A, &multi(MAX_MULTI_OPS)).is_ok());
    assert_eq!(tree.apply(A, &multi(MAX_MULTI_OPS + 1)), Err(Error::Invalid));
}

/// What failed takes no room, and gives none.
#[test]
fn a_failing_multi_changes_nothing_about_the_room_for_data() {
    let mut tree = limited(Limits { data: 8, ..Limits::default() });
    let put = |n: usize| Set { data: Bytes::from(vec![b'x'; n]), ..set("/a", None) };
    make(&mut tree, "/a");
    tree.apply(A, &Operation::Set(put(3))).unwrap();
    let multi = Operation::Multi(vec![
        MultiOperation::Set(put(8)),
        MultiOperation::Set(put(1)),
        MultiOperation::Check(delete("/absent", None)),
    ]);
    for _ in 0..3 {
        assert!(matches!(tree.apply(A, &multi), Err(Error::Multi { index: 2, .. })));
    }
    let beside = |n: usize| {
        Operation::Create(Create { data: Bytes::from(vec![b'x'; n]), ..create("/b", CreateMode::Persistent) })
    };
    assert_eq!(tree.apply(A, &beside(6)), Err(Error::Invalid));
    assert!(tree.apply(A, &beside(5)).is_ok());
}

#[test]
fn a_list_of_children_has_a_bound_in_number_and_in_bytes() {
    let mut tree = new_tree();
    make(&mut tree, "/p");
    for _ in 0..MAX_CHILDREN {
        make_as(&mut tree, A, "/p/", CreateMode::PersistentSequential);
    }
    let more = Operation::Create(create("/p/", CreateMode::PersistentSequential));
    assert_eq!(tree.apply(A, &more), Err(Error::Invalid));

    let name = "n".repeat(1_000);
    let more = Operation::Create(create(&format!("/q/{name}"), CreateMode::PersistentSequential));
    make(&mut tree, "/q");
    let made = (0..MAX_CHILDREN).take_while(|_| tree.apply(A, &more).is_ok()).count();
    assert_eq!(tree.apply(A, &more), Err(Error::Invalid));
    assert_eq!(made, (192 << 10) / 1_014);
}
