//! One broker, `a`, between a scripted coordination tree and scripted peers. The tree answers at
//! once, not at all, or when it is told to; the test speaks for every other process.

use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use steadfast_core::broker::{Boot, Broker, Command, Config, Event};
use steadfast_core::coordination::{
    self, CallId, Create, CreateMode, Error, MultiOperation, Operation, Reply, Request, SessionState, Stat,
    WatchKind,
};
use steadfast_core::filter::{Filter, Topic};
use steadfast_core::group::{GroupState, LiveNode, PrimaryId};
use steadfast_core::id::*;
use steadfast_core::link::{LinkCommand, LinkId, LinkStatus};
use steadfast_core::log::{Batch, Entry, EntryKind};
use steadfast_core::message::*;
use steadfast_core::node::{Input, Node, Output};
use steadfast_core::storage;
use steadfast_core::time::Instant;
use steadfast_core::trace::Trace;
use steadfast_core::wire;
use steadfast_core::wire::records::RecordsBuilder;

const STATE: &str = "/r/g/0/state";
/// The session of the broker under test.
const SESSION: u64 = 1;
/// The publisher of all batches.
pub const PUBLISHER: PublisherId = PublisherId(7);
/// The group's first history.
pub const HISTORY: History = History { group_id: GroupId(9), lineage: 1 };

/// As much of ZooKeeper as one client sees.
#[derive(Default)]
struct Tree {
    nodes: BTreeMap<String, (Bytes, Stat)>,
    zxid: i64,
}

impl Tree {
    fn create(&mut self, path: &str, data: Bytes, owner: u64) -> Result<Reply, Error> {
        if self.nodes.contains_key(path) {
            return Err(Error::NodeExists);
        }
        self.zxid += 1;
        let stat = Stat { czxid: self.zxid, mzxid: self.zxid, ephemeral_owner: owner, ..Stat::default() };
        self.nodes.insert(path.into(), (data, stat));
        Ok(Reply::Created { path: path.into(), stat: Some(stat) })
    }

    fn children(&self, path: &str) -> Vec<String> {
        let names = self.nodes.keys().filter_map(|node| node.strip_prefix(&format!("{path}/")));
        names.map(String::from).collect()
    }

    fn set(&mut self, set: &coordination::Set) -> Result<Reply, Error> {
        let (data, stat) = self.nodes.get_mut(&set.path).ok_or(Error::NoNode)?;
        if set.version.is_some_and(|version| version != stat.version) {
            return Err(Error::BadVersion);
        }
        self.zxid += 1;
        *data = set.data.clone();
        stat.version += 1;
        stat.mzxid = self.zxid;
        Ok(Reply::Set(*stat))
    }

    fn run(&mut self, operation: &Operation) -> Result<Reply, Error> {
        match operation {
            Operation::Create(Create { path, data, mode }) => {
                let owner = if *mode == CreateMode::Ephemeral { SESSION } else { 0 };
                self.create(path, data.clone(), owner)
            }
            Operation::Get { path, .. } => {
                let (data, stat) = self.nodes.get(path).ok_or(Error::NoNode)?;
                Ok(Reply::Data { data: data.clone(), stat: *stat })
            }
            Operation::Children { path, .. } => Ok(Reply::Children(self.children(path))),
            Operation::Set(set) => self.set(set),
            Operation::Multi(operations) => {
                let creates = operations.iter().filter_map(|operation| match operation {
                    MultiOperation::Create(create) => Some(create),
                    _ => None,
                });
                let replies = creates.map(|create| self.create(&create.path, create.data.clone(), SESSION));
                Ok(Reply::Multi(replies.collect::<Result<_, _>>()?))
            }
            Operation::Delete(delete) => {
                self.nodes.remove(&delete.path).map(|_| Reply::Done).ok_or(Error::NoNode)
            }
            _ => Ok(Reply::Done),
        }
    }
}

/// How the coordination service answers calls.
enum Service {
    Answers,
    IsAway,
    /// When [`World::release`] says so.
    Waits(Vec<(CallId, Operation)>),
}

/// The broker, its surroundings, and what it has done so far.
pub struct World {
    pub broker: Broker,
    pub sent: Vec<(LinkId, Message)>,
    pub traces: Vec<Trace>,
    pub events: Vec<Event>,
    /// Links that it has dialled.
    pub dials: Vec<LinkId>,
    /// Links that it has closed.
    pub closes: Vec<LinkId>,
    /// Calls to the coordination service, answered or not.
    pub calls: usize,
    /// Conditional writes that the tree has carried out or refused.
    pub writes: usize,
    now: u64,
    tree: Tree,
    service: Service,
}

impl World {
    /// The broker has started and the group has this state.
    fn start(state: &GroupState, config: Config) -> Self {
        let id = process("a", 1);
        let boot = Boot {
            seed: 1,
            node: id.member.node,
            generation: id.member.generation,
            incarnation: id.incarnation,
            address: address("a"),
            group: 0,
            root: "/r".into(),
            config,
        };
        let mut world = Self {
            broker: Broker::new(Instant::from_nanos(0), boot),
            sent: Vec::new(),
            traces: Vec::new(),
            events: Vec::new(),
            dials: Vec::new(),
            closes: Vec::new(),
            calls: 0,
            writes: 0,
            now: 0,
            tree: Tree::default(),
            service: Service::Answers,
        };
        world.tree.create(STATE, wire::encode_group_state(state), 0).unwrap();
        world
    }

    /// The broker leads a new group, alone.
    pub fn primary(config: Config) -> Self {
        Self::primary_with_least(1, config)
    }

    /// The broker leads a new group, alone; commits need this many members.
    pub fn primary_with_least(min_in_sync: u32, config: Config) -> Self {
        let state = GroupState::bootstrap(HISTORY.group_id, member("a", 1), min_in_sync, Nonce(0));
        let mut world = Self::start(&state, config);
        world.connect();
        world.run(300);
        assert_eq!(world.broker.leads(), Some(1));
        world
    }

    /// The broker leads, and `b` is in sync with it on this link.
    pub fn primary_with_backup(link: LinkId) -> Self {
        Self::primary_with(link, Config::default())
    }

    /// As [`Self::primary_with_backup`], with these settings.
    pub fn primary_with(link: LinkId, config: Config) -> Self {
        let mut world = Self::primary(config);
        world.register("b", 2);
        world.hello(link, "b", 2);
        world.ack(link, "b", 2);
        assert_eq!(world.in_sync(), ["a", "b"]);
        world
    }

    /// The broker follows `b`, which leads epoch 1, on the link that it returns; in sync or not.
    pub fn backup(in_sync: bool) -> (Self, LinkId) {
        Self::backup_of(1, in_sync, Config::default())
    }

    /// As [`World::backup`], with these settings.
    pub fn backup_with(in_sync: bool, config: Config) -> (Self, LinkId) {
        Self::backup_of(1, in_sync, config)
    }

    /// As [`World::backup`], where commits need this many members.
    pub fn backup_with_least(min_in_sync: u32, in_sync: bool) -> (Self, LinkId) {
        Self::backup_of(min_in_sync, in_sync, Config::default())
    }

    fn backup_of(min_in_sync: u32, in_sync: bool, config: Config) -> (Self, LinkId) {
        let mut state = GroupState::bootstrap(HISTORY.group_id, member("b", 2), min_in_sync, Nonce(0));
        state = state.promote(&process("b", 2), Nonce(1));
        if in_sync {
            state = state.expand(&member("a", 1), Nonce(2));
        }
        let mut world = Self::start(&state, config);
        world.register("b", 2);
        world.connect();
        world.run(100);
        let link = world.dials[0];
        world.link(link, LinkStatus::Up);
        (world, link)
    }

    /// The group's state in the tree.
    pub fn state(&self) -> GroupState {
        wire::decode_group_state(&self.tree.nodes[STATE].0).unwrap()
    }

    /// The names of the members in sync, by the tree.
    pub fn in_sync(&self) -> Vec<String> {
        self.state().in_sync.iter().map(|member| member.node.as_str().to_owned()).collect()
    }

    /// Somebody else has changed the group's state.
    pub fn put_state(&mut self, state: &GroupState) {
        let (data, stat) = self.tree.nodes.get_mut(STATE).unwrap();
        *data = wire::encode_group_state(state);
        stat.version += 1;
        self.watch(STATE.into(), WatchKind::DataChanged);
    }

    /// Somebody puts this state into the tree, and its version begins anew.
    pub fn restore_state(&mut self, state: &GroupState) {
        self.tree.nodes.remove(STATE).unwrap();
        self.tree.create(STATE, wire::encode_group_state(state), 0).unwrap();
        self.watch(STATE.into(), WatchKind::DataChanged);
    }

    /// A live node is there; returns its creation transaction.
    pub fn register(&mut self, name: &str, number: u128) -> i64 {
        let path = live_path(name, number);
        let live = LiveNode { id: process(name, number), address: address(name) };
        let owner = 50 + u64::try_from(number).unwrap();
        self.tree.create(&path, wire::encode_live_node(&live), owner).unwrap();
        self.watch(path, WatchKind::Created);
        self.tree.zxid
    }

    /// A live node is gone.
    pub fn unregister(&mut self, name: &str, number: u128) {
        self.unregister_unseen(name, number);
        self.watch(live_path(name, number), WatchKind::Deleted);
    }

    /// A live node is gone, and the broker has not heard of it.
    pub fn unregister_unseen(&mut self, name: &str, number: u128) {
        self.tree.nodes.remove(&live_path(name, number)).unwrap();
    }

    /// Whether a live node is there.
    pub fn is_registered(&self, name: &str, number: u128) -> bool {
        self.tree.nodes.contains_key(&live_path(name, number))
    }

    fn watch(&mut self, path: String, kind: WatchKind) {
        self.input(Input::Coordination(coordination::Event::Watch { path, kind }));
    }

    /// The coordination session begins, or its connection is back.
    pub fn connect(&mut self) {
        let session = SessionState::Connected(SESSION);
        self.input(Input::Coordination(coordination::Event::Session(session)));
    }

    /// The coordination service answers no more.
    pub fn disconnect(&mut self) {
        self.service = Service::IsAway;
        self.input(Input::Coordination(coordination::Event::Session(SessionState::Suspended)));
    }

    /// From now on calls are answered by [`World::release`] only.
    pub fn hold(&mut self) {
        self.service = Service::Waits(Vec::new());
    }

    /// Whether a call of this kind waits.
    pub fn is_held(&self, kind: impl Fn(&Operation) -> bool) -> bool {
        matches!(&self.service, Service::Waits(calls) if calls.iter().any(|(_, operation)| kind(operation)))
    }

    /// Answers the calls that wait now; those that they lead to wait again.
    pub fn release(&mut self) {
        let Service::Waits(calls) = &mut self.service else { panic!("nothing is held") };
        for (call, operation) in std::mem::take(calls) {
            let result = self.tree.run(&operation);
            self.input(Input::Coordination(coordination::Event::Reply { call, result }));
        }
    }

    /// Gives the broker an input, and answers what follows from it at once.
    pub fn input(&mut self, input: Input<Command>) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            self.broker.handle_input(Instant::from_nanos(self.now), input);
            while let Some(output) = self.broker.poll_output() {
                self.take(output, &mut inputs);
            }
            assert!(self.writes < 500, "the group's state is written without end");
        }
    }

    fn take(&mut self, output: Output<Event>, inputs: &mut VecDeque<Input<Command>>) {
        match output {
            Output::Transmit { link, frame } => self.sent.push((link, wire::decode(frame).unwrap())),
            Output::Coordinate(Request::Call { call, operation }) => self.call(call, operation, inputs),
            Output::Store(request) => inputs.push_back(Input::Storage(storage::Event::Done(request.ticket))),
            Output::Trace(trace) => self.traces.push(trace),
            Output::Link(LinkCommand::Dial { link, .. }) => self.dials.push(link),
            Output::Link(LinkCommand::Close { link }) => self.closes.push(link),
            Output::Event(event) => self.events.push(event),
            Output::Coordinate(_) => {}
        }
    }

    fn call(&mut self, call: CallId, operation: Operation, inputs: &mut VecDeque<Input<Command>>) {
        self.calls += 1;
        match &mut self.service {
            Service::IsAway => return,
            Service::Waits(calls) => return calls.push((call, operation)),
            Service::Answers => {}
        }
        let result = self.tree.run(&operation);
        inputs.push_back(Input::Coordination(coordination::Event::Reply { call, result }));
        if let Operation::Set(set) = operation {
            self.writes += 1;
            let watch = coordination::Event::Watch { path: set.path, kind: WatchKind::DataChanged };
            inputs.push_back(Input::Coordination(watch));
        }
    }

    /// Time goes by. Returns how often the broker wanted to be woken without time going on, at most.
    pub fn run(&mut self, milliseconds: u64) -> usize {
        let end = self.now + milliseconds * 1_000_000;
        let (mut most, mut at_once) = (0, 0);
        while let Some(deadline) = self.broker.poll_timeout().map(Instant::as_nanos).filter(|at| *at <= end) {
            at_once = if deadline <= self.now { at_once + 1 } else { 0 };
            most = most.max(at_once);
            assert!(at_once < 1_000, "the broker wants to be woken without end");
            self.now = self.now.max(deadline);
            self.input(Input::Timeout);
        }
        self.now = end;
        most
    }

    /// Time goes by without the broker running.
    pub fn sleep(&mut self, time: Duration) {
        self.now += u64::try_from(time.as_nanos()).unwrap();
    }

    /// A frame comes in.
    pub fn receive(&mut self, link: LinkId, message: &Message) {
        self.input(Input::Received { link, frame: wire::encode(message) });
    }

    /// A link's status is reported.
    pub fn link(&mut self, link: LinkId, status: LinkStatus) {
        self.input(Input::Link { link, status });
    }

    /// A follower with an empty log attaches in the group's epoch.
    pub fn hello(&mut self, link: LinkId, name: &str, number: u128) {
        let epoch = self.state().epoch;
        let log = LogSummary::default();
        let mut sender = sender(name, number);
        if let Some((_, stat)) = self.tree.nodes.get(&live_path(name, number)) {
            sender.czxid = stat.czxid;
        }
        let hello = Hello { sender, history: HISTORY, epoch, log };
        self.receive(link, &Message::Hello(hello));
    }

    /// A follower acknowledges the whole log in the group's epoch.
    pub fn ack(&mut self, link: LinkId, name: &str, number: u128) {
        let matched = self.broker.replica().log().end();
        self.receive(link, &ack(sender(name, number), self.state().epoch, matched));
    }

    /// What was sent on a link.
    pub fn sent_to(&self, link: LinkId) -> impl DoubleEndedIterator<Item = &Message> {
        self.sent.iter().filter(move |(other, _)| *other == link).map(|(_, message)| message)
    }

    /// The latest refusal on a link, which must be the latest message there.
    pub fn refusal(&self, link: LinkId) -> &Refusal {
        match self.sent_to(link).next_back() {
            Some(Message::Refusal { reason, .. }) => reason,
            other => panic!("not a refusal: {other:?}"),
        }
    }

    /// How many publisher acknowledgements were sent.
    pub fn acknowledgements(&self) -> usize {
        self.sent.iter().filter(|(_, message)| matches!(message, Message::PublishAck(_))).count()
    }
}

/// A member: a node's name and the number of its storage.
/// A read that begins with it is linearizable.
pub fn is_barrier(operation: &Operation) -> bool {
    *operation == Operation::barrier(STATE.into())
}

pub fn member(name: &str, number: u128) -> Member {
    Member { node: NodeName::new(name).unwrap(), generation: Generation(number) }
}

/// A process of its own for each storage.
pub fn process(name: &str, number: u128) -> PrimaryId {
    PrimaryId { member: member(name, number), incarnation: Incarnation(number) }
}

fn address(name: &str) -> Address {
    Address::new(&format!("tcp://{name}:1")).unwrap()
}

fn live_path(name: &str, number: u128) -> String {
    format!("/r/g/0/live/{name}-{}", Incarnation(number))
}

/// What a broker calls itself in frames.
pub fn sender(name: &str, number: u128) -> BrokerIdentity {
    BrokerIdentity { member: member(name, number), incarnation: Incarnation(number), czxid: 5 }
}

/// A follower's acknowledgement.
pub fn ack(sender: BrokerIdentity, epoch: Epoch, matched: Offset) -> Message {
    Message::ReplicateAck(ReplicateAck { sender, history: HISTORY, epoch, matched })
}

/// A follower's refusal.
pub fn nack(sender: BrokerIdentity, floor: Epoch) -> Message {
    Message::ReplicateNack(ReplicateNack { sender, history: HISTORY, floor, log: LogSummary::default() })
}

/// A primary's frame; without entries, a heartbeat.
pub fn replicate(
    epoch: Epoch,
    (previous_offset, previous_epoch): (Offset, Epoch),
    commit: Offset,
    entries: Vec<Entry>,
) -> Message {
    let sender = sender("b", 2);
    let history = HISTORY;
    Message::Replicate(Replicate { sender, history, epoch, previous_offset, previous_epoch, commit, entries })
}

/// An epoch's first record.
pub fn epoch_start(offset: Offset, epoch: Epoch) -> Entry {
    Entry { offset, epoch, kind: EntryKind::EpochStart }
}

/// A subscriber asks for everything from a place on.
pub fn open_stream(start: Start) -> Message {
    let filters = vec![Filter::new(">").unwrap()];
    Message::OpenStream(OpenStream { stream: 1, history: HISTORY, filters, start, credit: 1 << 20 })
}

/// The publisher asks for a session.
pub fn open_session(nonce: u128) -> Message {
    let (history, nonce) = (HISTORY, Nonce(nonce));
    Message::OpenSession(OpenSession { history, publisher: PUBLISHER, nonce, incarnation: 0 })
}

/// The publisher's record with this sequence number, in its first session.
pub fn publish(sequence: Sequence) -> Message {
    Message::Publish(Publish { history: HISTORY, batches: vec![batch(sequence)] })
}

fn batch(sequence: Sequence) -> Batch {
    let mut records = RecordsBuilder::default();
    records.push(b"payload");
    records.seal(Topic::new("t").unwrap(), PUBLISHER, 1, sequence)
}
