//! Frames that a stranger sends to a node: whatever they say, and in whatever order, it goes on.

use crate::life::Life;
use crate::tree::{ROOT, broker, create, discovery, tree};
use crate::{parts, samples};
use bytes::Bytes;
use steadfast_core::coordination::Paths;
use steadfast_core::filter::{Filter, Topic};
use steadfast_core::group::{GroupState, LiveNode, PrimaryId};
use steadfast_core::id::{Address, Generation, GroupId, Incarnation, Member, NodeName, Nonce, PublisherId};
use steadfast_core::link::{Frame, LinkId, LinkStatus};
use steadfast_core::message::History;
use steadfast_core::node::{Input, Node};
use steadfast_core::publisher::{self, Publisher};
use steadfast_core::subscriber::{self, Subscriber};
use steadfast_core::time::{Duration, Instant};
use steadfast_core::wire;

/// The history and the publisher of the messages that are kept in `proto/golden`.
const HISTORY: History = History { group_id: GroupId(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff), lineage: 2 };
const PUBLISHER: PublisherId = PublisherId(0x0101_0202_0303_0404_0505_0606_0707_0808);
/// Most frames.
const FRAMES: usize = 12;
/// Most parts of a frame.
const PARTS: usize = 6;
/// Before the first frame, nodes have found each other.
const START: Duration = Duration::from_millis(500);
/// Between frames.
const PAUSE: Duration = Duration::from_millis(20);

/// The first byte chooses the node. Each frame has a byte that chooses the link, and its parts.
pub fn run(bytes: &[u8]) {
    let Some((&who, frames)) = bytes.split_first() else { return };
    let frames = parts::split(frames, FRAMES);
    let paths = Paths::new(ROOT.to_owned());
    let mut tree = tree(&paths);
    let led_by = |name: &str| {
        let id = PrimaryId { member: member(name), incarnation: Incarnation(1) };
        let mut state = GroupState::bootstrap(HISTORY.group_id, member(name), 1, Nonce(0));
        state.history = HISTORY;
        (state.promote(&id, Nonce(1)), LiveNode { id, address: address("b") })
    };
    match who % 5 {
        0 => {
            create(&mut tree, &paths.state(0), &wire::encode_group_state(&led_by("broker-1").0));
            suffer(Life::new(broker(), &mut tree, LinkStatus::Up), &frames);
        }
        1 => {
            let (state, live) = led_by("b");
            create(&mut tree, &paths.state(0), &wire::encode_group_state(&state));
            let name = format!("{}/b-{}", paths.live(0), live.id.incarnation);
            create(&mut tree, &name, &wire::encode_live_node(&live));
            suffer(Life::new(broker(), &mut tree, LinkStatus::Up), &frames);
        }
        2 => suffer(Life::new(discovery(), &mut tree, LinkStatus::Up), &frames),
        3 => {
            let mut life = Life::new(publisher(), &mut tree, LinkStatus::Up);
            life.give(Input::Command(publisher::Command::publish(
                1,
                Topic::new("a").expect("a topic"),
                b"one",
            )));
            suffer(life, &frames);
        }
        _ => suffer(Life::new(subscriber(), &mut tree, LinkStatus::Up), &frames),
    }
}

fn suffer<N: Node>(mut life: Life<'_, N>, frames: &[&[u8]]) {
    life.pass(START);
    for frame in frames {
        let Some((&link, frame)) = frame.split_first() else { continue };
        let number = u64::from(link / 2 % 4) + 1;
        let link = if link % 2 == 0 { LinkId::accepted(number) } else { LinkId::dialled(number) };
        let parts = parts::split(frame, PARTS).into_iter().map(Bytes::copy_from_slice).collect();
        life.give(Input::Received { link, frame: Frame { parts } });
        life.pass(PAUSE);
    }
    life.pass(Duration::from_secs(3));
}

fn member(name: &str) -> Member {
    Member { node: NodeName::new(name).expect("a valid name"), generation: Generation(1) }
}

fn address(name: &str) -> Address {
    Address::new(&format!("tcp://{name}:1")).expect("a valid address")
}

fn publisher() -> Publisher {
    let boot = publisher::Boot {
        seed: 1,
        publisher: PUBLISHER,
        nonce: Nonce(1),
        discovery: vec![address("d")],
        group: 0,
        config: publisher::Config::default(),
        outbox: None,
    };
    Publisher::new(Instant::from_nanos(0), boot)
}

fn subscriber() -> Subscriber {
    let boot = subscriber::Boot {
        seed: 1,
        discovery: vec![address("d")],
        group: 0,
        filters: vec![Filter::new(">").expect("a valid filter")],
        start: subscriber::Start::Earliest,
        config: subscriber::Config::default(),
    };
    Subscriber::new(Instant::from_nanos(0), boot)
}

/// Every kind of message to every kind of node, alone and after one that opens something.
pub fn seeds() -> Vec<Vec<u8>> {
    let golden = samples::golden();
    let frame = |link: u8, parts: &[Vec<u8>]| [vec![link], parts::join(parts)].concat();
    let openings = ["hello", "route", "open_session"];
    let opening = |name: &str| golden.iter().find(|(other, _)| other == name).map(|(_, parts)| parts.clone());
    let openings: Vec<_> = openings.iter().filter_map(|name| opening(name)).collect();
    let seed = |(number, (_, parts)): (usize, &(String, Vec<Vec<u8>>))| {
        // One of each: links that were dialled lead to discovery first, and then to the primary.
        let first = &openings[number % openings.len()];
        [0, 1, 2, 3, 4].map(|who: u8| {
            let links = if who == 0 || who == 2 { [0, 0] } else { [1, 3] };
            [vec![who], parts::join(&[frame(links[0], first), frame(links[1], parts)])].concat()
        })
    };
    golden.iter().enumerate().flat_map(seed).collect()
}
