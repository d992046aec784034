//! Data of the coordination tree that no broker has written: of the group's state, of a live node, of
//! discovery's epoch. It is refused or can be said again, and the nodes that read it go on.

use crate::life::Life;
use crate::{parts, samples};
use bytes::Bytes;
use steadfast_core::broker::{self, Broker};
use steadfast_core::coordination::tree::{Limits, Tree};
use steadfast_core::coordination::{Create, CreateMode, Operation, Paths};
use steadfast_core::discovery::{self, Discovery};
use steadfast_core::id::{Address, Generation, Incarnation, NodeName};
use steadfast_core::link::LinkStatus;
use steadfast_core::time::{Duration, Instant};
use steadfast_core::wire;

/// Where the cluster stands.
pub(crate) const ROOT: &str = "/r";
/// Whose data it is.
const STRANGER: u64 = 1;
/// So long a node lives with it.
const LIFE: Duration = Duration::from_secs(5);

/// The data of the three nodes. One that is empty is not there.
pub fn run(bytes: &[u8]) {
    let parts = parts::split(bytes, 3);
    let part = |index: usize| parts.get(index).copied().unwrap_or_default();
    let (state, live, epoch) = (part(0), part(1), part(2));
    if let Ok(state) = wire::decode_group_state(state) {
        assert_eq!(wire::decode_group_state(&wire::encode_group_state(&state)), Ok(state));
    }
    let mut name = "stranger".to_owned();
    if let Ok(node) = wire::decode_live_node(live) {
        name = format!("{}-{}", node.id.member.node, node.id.incarnation);
        assert_eq!(wire::decode_live_node(&wire::encode_live_node(&node)), Ok(node));
    }
    let paths = Paths::new(ROOT.to_owned());
    let nodes = [
        (paths.state(0), state),
        (format!("{}/{name}", paths.live(0)), live),
        (paths.discovery_epoch(), epoch),
    ];
    let mut tree = tree(&paths);
    for (path, data) in nodes.iter().filter(|(_, data)| !data.is_empty()) {
        create(&mut tree, path, data);
    }
    // Nobody listens where they dial.
    Life::new(discovery(), &mut tree.clone(), LinkStatus::Refused).pass(LIFE);
    Life::new(broker(), &mut tree, LinkStatus::Refused).pass(LIFE);
}

/// A tree in which a cluster may begin.
pub(crate) fn tree(paths: &Paths) -> Tree {
    let mut tree = Tree::new(Limits::default());
    assert!(tree.open_session(STRANGER), "there is room");
    for parent in [
        paths.root(),
        &paths.groups(),
        &paths.group(0),
        &paths.live(0),
        &paths.discovery(),
        &paths.election(),
    ] {
        create(&mut tree, parent, &[]);
    }
    tree
}

/// Makes a node that nobody owns.
pub(crate) fn create(tree: &mut Tree, path: &str, data: &[u8]) {
    let data = Bytes::copy_from_slice(data);
    // A name that no path can have, and data over the limit, are refused: then they are not there.
    let _ = tree.apply(
        STRANGER,
        &Operation::Create(Create { path: path.to_owned(), data, mode: CreateMode::Persistent }),
    );
}

/// A replica of discovery in the tree of [`tree`].
pub(crate) fn discovery() -> Discovery {
    let boot =
        discovery::Boot { seed: 1, replica: 1, root: ROOT.to_owned(), config: discovery::Config::default() };
    Discovery::new(Instant::from_nanos(0), boot)
}

/// `broker-1` in the tree of [`tree`].
pub(crate) fn broker() -> Broker {
    let boot = broker::Boot {
        seed: 1,
        node: NodeName::new("broker-1").expect("a valid name"),
        generation: Generation(1),
        incarnation: Incarnation(1),
        address: Address::new("tcp://own:1").expect("a valid address"),
        group: 0,
        root: ROOT.to_owned(),
        config: broker::Config::default(),
    };
    Broker::new(Instant::from_nanos(0), boot)
}

/// Data as brokers write it.
pub fn seeds() -> Vec<Vec<u8>> {
    let golden = samples::golden();
    let data = |wanted: &str| {
        let found = golden.iter().find(|(name, _)| name == wanted);
        found.map(|(_, parts)| parts[0].clone()).expect("a golden file")
    };
    let (state, live, none) = (data("group_state"), data("live_node"), Vec::new());
    [
        [state.clone(), live.clone(), b"41".to_vec()],
        [state, none.clone(), none.clone()],
        [none.clone(), live, b"9223372036854775807".to_vec()],
        [none.clone(), none.clone(), none],
    ]
    .map(|parts| parts::join(&parts))
    .into()
}
