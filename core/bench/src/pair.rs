//! A primary, a backup and their clients in one thread. Frames, calls and completions come in as soon as
//! they have gone out; nothing is copied on the way, except by the codec where that takes part.

use crate::case::Case;
use crate::wire::Wire;
use std::collections::{BTreeMap, VecDeque};
use std::hint::black_box;
use steadfast_core::broker::retention::Retention;
use steadfast_core::broker::{self, Broker};
use steadfast_core::coordination::tree::{Limits, Tree};
use steadfast_core::coordination::{self, Operation, Paths, Request, SessionState};
use steadfast_core::discovery::{self, Discovery};
use steadfast_core::filter::{Filter, Topic};
use steadfast_core::id::{Address, Generation, Incarnation, NodeName, Nonce, PublisherId};
use steadfast_core::link::{Frame, LinkCommand, LinkId, LinkStatus};
use steadfast_core::node::{Input, Node as _, Output};
use steadfast_core::publisher::{self, Publisher};
use steadfast_core::storage;
use steadfast_core::subscriber::{self, Subscriber};
use steadfast_core::time::{Duration, Instant};
use steadfast_core::wire;
use steadfast_core::wire::records::RecordsBuilder;
use steadfast_sim::actor::{Actor, Command, Event};

/// Who takes part, by index; behind them the subscribers.
const DISCOVERY: usize = 0;
const BROKERS: [usize; 2] = [1, 2];
const PUBLISHER: usize = 3;
/// Where the cluster stands in the coordination tree.
const ROOT: &str = "/bench";
/// Time that goes by with each batch: signs of life are as frequent as under a heavy load.
const BATCH_TIME: Duration = Duration::from_micros(100);
/// Within this time everybody is connected.
const START_TIME: Duration = Duration::from_secs(10);
/// What brokers keep: little enough to be reached soon, so that old entries are dropped all the time.
const RETAINED_BYTES: u64 = 8 << 20;

/// The cluster.
pub struct Pair {
    case: Case,
    now: Instant,
    tree: Tree,
    actors: Vec<Actor>,
    /// For each node, where its links end: another node, and its name for the link.
    ends: Vec<BTreeMap<LinkId, (usize, LinkId)>>,
    accepted: u64,
    /// What frames go through.
    wire: Option<Wire>,
    inputs: VecDeque<(usize, Input<Command>)>,
    topic: Topic,
    payload: Vec<u8>,
    /// Clients that have found the primary.
    connected: usize,
    published: u64,
    acknowledged: u64,
    delivered: u64,
}

impl Pair {
    /// Begins with a backup in sync and every client connected.
    ///
    /// # Panics
    /// When it does not come to that.
    pub fn start(case: &Case) -> Self {
        let now = Instant::from_nanos(0);
        let mut actors = vec![discovery(now), broker(now, "a"), broker(now, "b"), publisher(now)];
        actors.extend((0..case.subscribers).map(|number| subscriber(now, number as u64)));
        let mut pair = Self {
            case: *case,
            now,
            tree: Tree::new(Limits::default()),
            ends: vec![BTreeMap::new(); actors.len()],
            actors,
            accepted: 0,
            wire: case.coded.then(|| Wire::new(now)),
            inputs: VecDeque::new(),
            topic: Topic::new("bench").expect("a valid topic"),
            payload: vec![b'x'; case.payload],
            connected: 0,
            published: 0,
            acknowledged: 0,
            delivered: 0,
        };
        (0..pair.actors.len()).for_each(|node| pair.collect(node));
        pair.run();
        while !pair.is_ready() {
            assert!(pair.now < Instant::from_nanos(0) + START_TIME, "the cluster does not come together");
            pair.pass(Duration::from_millis(1));
        }
        pair
    }

    fn is_ready(&self) -> bool {
        let state = self.tree.node(&Paths::new(ROOT.to_owned()).state(0));
        let in_sync = state.map_or(0, |(data, _)| {
            wire::decode_group_state(&data).expect("a broker writes what is right").in_sync.len()
        });
        in_sync == BROKERS.len() && self.connected == 1 + self.case.subscribers
    }

    /// Publishes batches one after the other. Returns how many records came to subscribers.
    ///
    /// # Panics
    /// When a record is not acknowledged, or does not come to every subscriber.
    pub fn publish(&mut self, batches: u64) -> u64 {
        let before = self.delivered;
        for _ in 0..batches {
            self.publish_batch();
        }
        assert_eq!(self.acknowledged, self.published, "every record is acknowledged");
        let delivered = self.delivered - before;
        assert_eq!(delivered, batches * self.case.deliveries(), "every record comes to every subscriber");
        delivered
    }

    fn publish_batch(&mut self) {
        let mut records = RecordsBuilder::default();
        for _ in 0..self.case.records {
            records.push(&self.payload);
        }
        let (first_ticket, topic) = (self.published, self.topic.clone());
        self.published += u64::from(self.case.records);
        let command = publisher::Command::Publish { first_ticket, topic, records };
        self.give(PUBLISHER, Input::Command(Command::Publisher(command)));
        self.run();
        self.pass(BATCH_TIME);
    }

    /// Lets time go by.
    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        for node in 0..self.actors.len() {
            if self.actors[node].poll_timeout().is_some_and(|at| at <= self.now) {
                self.give(node, Input::Timeout);
            }
        }
        self.run();
    }

    fn give(&mut self, node: usize, input: Input<Command>) {
        self.inputs.push_back((node, input));
    }

    /// Until nobody has anything left to do at this time.
    fn run(&mut self) {
        while let Some((node, input)) = self.inputs.pop_front() {
            self.actors[node].handle_input(self.now, input);
            self.collect(node);
        }
    }

    fn collect(&mut self, node: usize) {
        while let Some(output) = self.actors[node].poll_output() {
            match output {
                Output::Transmit { link, frame } => self.transmit(node, link, frame),
                Output::Link(LinkCommand::Dial { link, address }) => self.dial(node, link, &address),
                Output::Link(LinkCommand::Close { link }) => self.close(node, link),
                Output::Coordinate(request) => self.coordinate(node, request),
                Output::Store(request) => {
                    self.give(node, Input::Storage(storage::Event::Done(request.ticket)));
                }
                Output::Event(event) => self.tell(node, event),
                Output::Trace(_) => {}
            }
        }
    }

    fn transmit(&mut self, node: usize, link: LinkId, frame: Frame) {
        let frame = match &mut self.wire {
            Some(wire) => wire.pass(self.now, frame),
            None => frame,
        };
        if let Some(&(peer, link)) = self.ends[node].get(&link) {
            self.give(peer, Input::Received { link, frame });
        }
    }

    fn dial(&mut self, node: usize, link: LinkId, address: &Address) {
        let peer = match address.as_str() {
            "bench://d" => DISCOVERY,
            "bench://a" => BROKERS[0],
            "bench://b" => BROKERS[1],
            other => unreachable!("nobody has the address {other}"),
        };
        self.accepted += 1;
        let accepted = LinkId::accepted(self.accepted);
        self.ends[node].insert(link, (peer, accepted));
        self.ends[peer].insert(accepted, (node, link));
        self.give(node, Input::Link { link, status: LinkStatus::Up });
    }

    fn close(&mut self, node: usize, link: LinkId) {
        if let Some((peer, link)) = self.ends[node].remove(&link) {
            self.ends[peer].remove(&link);
            self.give(peer, Input::Link { link, status: LinkStatus::Lost });
        }
    }

    fn coordinate(&mut self, node: usize, request: Request) {
        let session = node as u64 + 1;
        match request {
            Request::OpenSession => {
                assert!(self.tree.open_session(session), "sessions do not end here");
                let event = coordination::Event::Session(SessionState::Connected(session));
                self.give(node, Input::Coordination(event));
            }
            Request::CloseSession => unreachable!("nobody leaves"),
            Request::Call { call, operation } => {
                let result = self.apply(session, &operation);
                self.give(node, Input::Coordination(coordination::Event::Reply { call, result }));
            }
        }
    }

    /// Events come ahead of the reply.
    fn apply(
        &mut self,
        session: u64,
        operation: &Operation,
    ) -> Result<coordination::Reply, coordination::Error> {
        let result = self.tree.apply(session, operation);
        while let Some(fired) = self.tree.next_fired() {
            let event = coordination::Event::Watch { path: fired.path, kind: fired.kind };
            self.give(fired.session as usize - 1, Input::Coordination(event));
        }
        result
    }

    /// The application: it looks at every record.
    fn tell(&mut self, node: usize, event: Event) {
        match event {
            Event::Publisher(publisher::Event::Completed { tickets, result }) => {
                result.expect("nothing goes wrong");
                self.acknowledged += tickets.end - tickets.start;
            }
            Event::Subscriber(subscriber::Event::Delivered(delivery)) => {
                for record in delivery.records.slices() {
                    self.delivered += u64::from(black_box(record).len() == self.case.payload);
                }
                let consumed = subscriber::Command::Consumed { bytes: delivery.bytes };
                self.give(node, Input::Command(Command::Subscriber(consumed)));
            }
            Event::Publisher(publisher::Event::Connected { .. })
            | Event::Subscriber(subscriber::Event::Connected { .. }) => self.connected += 1,
            other => unreachable!("nothing goes wrong, but {other:?}"),
        }
    }
}

fn address(name: &str) -> Address {
    Address::new(&format!("bench://{name}")).expect("a valid address")
}

fn discovery(now: Instant) -> Actor {
    let config = discovery::Config::default();
    let boot = discovery::Boot { seed: 1, replica: 1, root: ROOT.to_owned(), config };
    Actor::Discovery(Box::new(Discovery::new(now, boot)))
}

fn broker(now: Instant, name: &str) -> Actor {
    let number = u128::from(name.as_bytes()[0]);
    let retention = Retention { bytes: Some(RETAINED_BYTES), ..Retention::default() };
    let boot = broker::Boot {
        seed: u64::from(name.as_bytes()[0]),
        node: NodeName::new(name).expect("a valid name"),
        generation: Generation(number),
        incarnation: Incarnation(number),
        address: address(name),
        group: 0,
        root: ROOT.to_owned(),
        config: broker::Config { retention, ..broker::Config::default() },
    };
    Actor::Broker(Box::new(Broker::new(now, boot)))
}

fn publisher(now: Instant) -> Actor {
    let boot = publisher::Boot {
        seed: 1,
        publisher: PublisherId(1),
        nonce: Nonce(1),
        discovery: vec![address("d")],
        group: 0,
        config: publisher::Config::default(),
        outbox: None,
    };
    Actor::Publisher(Box::new(Publisher::new(now, boot)))
}

fn subscriber(now: Instant, seed: u64) -> Actor {
    let boot = subscriber::Boot {
        seed,
        discovery: vec![address("d")],
        group: 0,
        filters: vec![Filter::new(">").expect("a valid filter")],
        start: subscriber::Start::Earliest,
        config: subscriber::Config::default(),
    };
    Actor::Subscriber(Box::new(Subscriber::new(now, boot)))
}
