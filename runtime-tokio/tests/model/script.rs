//! Scripts of coordination operations, and how they are generated.

use bytes::Bytes;
use proptest::prelude::*;
use proptest::sample::select;
use steadfast_core::coordination::{Create, CreateMode, Delete, MultiOperation, Operation, Set};

/// Sessions of every script.
pub const SESSIONS: usize = 3;

/// What some sessions do, one after the other.
#[derive(Clone, Debug)]
pub struct Script {
    pub steps: Vec<Step>,
}

/// One step. When it is over, every session has seen everything that it did.
#[derive(Clone, Debug)]
pub enum Step {
    /// Calls of one session, all made before the first reply.
    Calls { session: usize, operations: Vec<Operation> },
    /// A session ends, and its user opens the next.
    Close { session: usize },
    /// A session is cut off, makes calls and expires. The way is open again before the client has
    /// given the session up by itself, or only after that.
    Expire { session: usize, operations: Vec<Operation>, early: bool },
    /// The leader dies while these calls are under way.
    Strike { session: usize, operations: Vec<Operation> },
}

/// What becomes of a script's sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// They live, or are closed.
    Calm,
    /// One expires.
    Expiry,
    /// The ensemble loses its leader under them.
    LeaderLost,
}

/// Few names, so that operations meet.
const PATHS: [&str; 8] = ["/a", "/b", "/a/x", "/a/y", "/a/x/z", "/b/x", "/s-0000000000", "/a/s-0000000001"];
/// Some of what a server refuses to look at.
const BAD_PATHS: [&str; 4] = ["a", "/a/", "//a", "/a/."];

fn any_path() -> impl Strategy<Value = String> {
    prop_oneof![
        40 => select(&PATHS[..]),
        1 => select(&BAD_PATHS[..]),
    ]
    .prop_map(str::to_owned)
}

/// Paths that are only looked at: the root is there as well. To remove the root would end the script.
fn any_place() -> impl Strategy<Value = String> {
    prop_oneof![1 => Just("/".to_owned()), 10 => any_path()]
}

fn any_data() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..4).prop_map(Bytes::from)
}

fn any_version() -> impl Strategy<Value = Option<i32>> {
    prop_oneof![3 => Just(None), 4 => (0..3).prop_map(Some), 1 => Just(Some(-1))]
}

fn any_create() -> impl Strategy<Value = Create> {
    let plain =
        (any_place(), select(vec![CreateMode::Persistent, CreateMode::Persistent, CreateMode::Ephemeral]));
    // Not "/" alone: a server takes it, but the client does not.
    let prefixes = vec!["/s-", "/a/s-", "/a/x/", "/b/x/s-"];
    let sequential = (
        select(prefixes).prop_map(str::to_owned),
        select(vec![CreateMode::PersistentSequential, CreateMode::EphemeralSequential]),
    );
    (prop_oneof![4 => plain, 1 => sequential], any_data()).prop_map(|((path, mode), data)| Create {
        path,
        data,
        mode,
    })
}

fn any_set() -> impl Strategy<Value = Set> {
    (any_place(), any_data(), any_version()).prop_map(|(path, data, version)| Set { path, data, version })
}

fn any_delete() -> impl Strategy<Value = Delete> {
    (any_path(), any_version()).prop_map(|(path, version)| Delete { path, version })
}

/// The client answers an empty one itself, whether it is connected or not.
fn any_multi(least: usize) -> impl Strategy<Value = Operation> {
    let one = prop_oneof![
        4 => any_create().prop_map(MultiOperation::Create),
        2 => any_set().prop_map(MultiOperation::Set),
        2 => any_delete().prop_map(MultiOperation::Delete),
        1 => any_delete().prop_map(MultiOperation::Check),
    ];
    prop::collection::vec(one, least..4).prop_map(Operation::Multi)
}

/// Checks alone make a transaction too: a barrier.
fn any_checks() -> impl Strategy<Value = Operation> {
    prop::collection::vec(any_delete().prop_map(MultiOperation::Check), 1..3).prop_map(Operation::Multi)
}

fn any_write(least_multi: usize) -> impl Strategy<Value = Operation> {
    prop_oneof![
        6 => any_create().prop_map(Operation::Create),
        3 => any_set().prop_map(Operation::Set),
        3 => any_delete().prop_map(Operation::Delete),
        2 => any_multi(least_multi),
        1 => any_checks(),
    ]
}

fn any_operation() -> impl Strategy<Value = Operation> {
    let watch = prop::bool::weighted(0.6);
    prop_oneof![
        14 => any_write(0),
        2 => (any_place(), watch).prop_map(|(path, watch)| Operation::Get { path, watch }),
        3 => (any_place(), watch).prop_map(|(path, watch)| Operation::Exists { path, watch }),
        2 => (any_place(), watch).prop_map(|(path, watch)| Operation::Children { path, watch }),
        2 => (any_place(), any::<bool>()).prop_map(|(path, recursive)| Operation::Watch { path, recursive }),
        1 => any_place().prop_map(|path| Operation::Sync { path }),
    ]
}

fn any_calls() -> impl Strategy<Value = Step> {
    (0..SESSIONS, prop::collection::vec(any_operation(), 1..6))
        .prop_map(|(session, operations)| Step::Calls { session, operations })
}

fn any_calm_steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![9 => any_calls(), 1 => (0..SESSIONS).prop_map(|session| Step::Close { session })];
    prop::collection::vec(step, 1..most)
}

/// Some nodes, so that most of what follows finds one.
fn any_start() -> impl Strategy<Value = Step> {
    let paths = prop::sample::subsequence(vec!["/a", "/b", "/a/x", "/b/x"], 1..=4);
    (0..SESSIONS, paths).prop_map(|(session, paths)| {
        let create =
            |path: &str| Create { path: path.to_owned(), data: Bytes::new(), mode: CreateMode::Persistent };
        Step::Calls { session, operations: paths.into_iter().map(create).map(Operation::Create).collect() }
    })
}

/// Everything there is, as one session sees it.
fn look() -> Step {
    let paths = || std::iter::once("/").chain(PATHS).map(str::to_owned);
    let data = paths().map(|path| Operation::Get { path, watch: false });
    let children = paths().map(|path| Operation::Children { path, watch: false });
    Step::Calls { session: 0, operations: data.chain(children).collect() }
}

/// Scripts of this kind.
pub fn any_script(kind: Kind) -> BoxedStrategy<Script> {
    let writes = || prop::collection::vec(any_write(1), 1..4);
    let event = match kind {
        Kind::Calm => Just(None).boxed(),
        Kind::Expiry => (0..SESSIONS, writes(), any::<bool>())
            .prop_map(|(session, operations, early)| Some(Step::Expire { session, operations, early }))
            .boxed(),
        Kind::LeaderLost => (0..SESSIONS, writes())
            .prop_map(|(session, operations)| Some(Step::Strike { session, operations }))
            .boxed(),
    };
    let most = if kind == Kind::Calm { 12 } else { 8 };
    (any_start(), any_calm_steps(most), event, any_calm_steps(4))
        .prop_map(|(start, before, event, after)| {
            let looks = event.is_some().then(look);
            let steps = [start].into_iter().chain(before).chain(event).chain(looks);
            Script { steps: steps.chain(after).chain([look()]).collect() }
        })
        .boxed()
}
