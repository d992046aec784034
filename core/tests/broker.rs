//! A broker alone, with a scripted coordination tree and scripted peers: what hostile, confused or
//! unlucky neighbours may do to it.

use bytes::Bytes;
use std::collections::BTreeMap;
use steadfast_core::broker::{Boot, Broker, Config, Event};
use steadfast_core::coordination::{
    self, Create, CreateMode, Error, MultiOperation, Operation, Reply, Request, SessionState, Stat, WatchKind,
};
use steadfast_core::filter::Filter;
use steadfast_core::group::{GroupState, LiveNode, PrimaryId};
use steadfast_core::id::*;
use steadfast_core::link::{LinkCommand, LinkId, LinkStatus};
use steadfast_core::message::*;
use steadfast_core::node::{Input, Node, Output};
use steadfast_core::storage;
use steadfast_core::time::Instant;
use steadfast_core::trace::Trace;
use steadfast_core::wire;

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
        let stat = Stat { czxid: self.zxid, mzxid: self.zxid, ephemeral_owner: owner, ..Default::default() };
        self.nodes.insert(path.into(), (data, stat));
        Ok(Reply::Created { path: path.into(), stat: Some(stat) })
    }
    fn run(&mut self, op: &Operation) -> Result<Reply, Error> {
        match op {
            Operation::Create(Create { path, data, mode }) => {
                self.create(path, data.clone(), if *mode == CreateMode::Ephemeral { 1 } else { 0 })
            }
            Operation::Get { path, .. } => self
                .nodes
                .get(path)
                .map(|(d, s)| Reply::Data { data: d.clone(), stat: *s })
                .ok_or(Error::NoNode),
            Operation::Children { path, .. } => Ok(Reply::Children(
                self.nodes
                    .keys()
                    .filter_map(|p| p.strip_prefix(&format!("{path}/")).map(String::from))
                    .collect(),
            )),
            Operation::Set(set) => {
                let (d, s) = self.nodes.get_mut(&set.path).ok_or(Error::NoNode)?;
                if set.version.is_some_and(|v| v != s.version) {
                    return Err(Error::BadVersion);
                }
                self.zxid += 1;
                *d = set.data.clone();
                s.version += 1;
                s.mzxid = self.zxid;
                Ok(Reply::Set(*s))
            }
            Operation::Multi(ops) => {
                let mut r = vec![];
                for o in ops {
                    if let MultiOperation::Create(c) = o {
                        r.push(self.create(&c.path, c.data.clone(), 1)?);
                    }
                }
                Ok(Reply::Multi(r))
            }
            _ => Ok(Reply::Done),
        }
    }
}
struct World {
    now: u64,
    a: Broker,
    tree: Tree,
    sent: Vec<(LinkId, Message)>,
    traces: Vec<Trace>,
    dials: Vec<LinkId>,
    ops: usize,
    sets: usize,
    connected: bool,
    held: Option<Vec<(u64, Operation)>>,
}
fn member(n: &str, g: u128) -> Member {
    Member { node: NodeName::new(n).unwrap(), generation: Generation(g) }
}
fn pid(n: &str, g: u128) -> PrimaryId {
    PrimaryId { member: member(n, g), incarnation: Incarnation(g) }
}
fn addr(n: &str) -> Address {
    Address::new(&format!("tcp://{n}:1")).unwrap()
}
const STATE: &str = "/r/g/0/state";
impl World {
    fn new() -> Self {
        Self::with(Config::default())
    }
    fn with(config: Config) -> Self {
        let boot = Boot {
            seed: 1,
            node: NodeName::new("a").unwrap(),
            generation: Generation(1),
            incarnation: Incarnation(1),
            address: addr("a"),
            group: 0,
            root: "/r".into(),
            config,
        };
        let a = Broker::new(Instant::from_nanos(0), boot);
        let mut w = Self {
            now: 0,
            a,
            tree: Tree::default(),
            sent: vec![],
            traces: vec![],
            dials: vec![],
            ops: 0,
            sets: 0,
            connected: true,
            held: None,
        };
        let state = GroupState::bootstrap(GroupId(9), member("a", 1), 1, Nonce(0));
        w.tree.create(STATE, wire::encode_group_state(&state), 0).unwrap();
        w.input(Input::Coordination(coordination::Event::Session(SessionState::Connected(1))));
        w.run(300);
        assert!(w.a.leads().is_some());
        w
    }
    fn state(&self) -> GroupState {
        wire::decode_group_state(&self.tree.nodes[STATE].0).unwrap()
    }
    fn input(&mut self, input: Input<steadfast_core::broker::Command>) {
        let mut q = vec![input];
        while !q.is_empty() {
            let i = q.remove(0);
            self.a.handle_input(Instant::from_nanos(self.now), i);
            while let Some(o) = self.a.poll_output() {
                match o {
                    Output::Transmit { link, frame } => self.sent.push((link, wire::decode(frame).unwrap())),
                    Output::Coordinate(Request::Call { call, operation }) => {
                        self.ops += 1;
                        if !self.connected {
                            continue;
                        }
                        if let Some(held) = &mut self.held {
                            held.push((call, operation));
                            continue;
                        }
                        let set = matches!(operation, Operation::Set(_));
                        if set {
                            self.sets += 1;
                        }
                        let result = self.tree.run(&operation);
                        q.push(Input::Coordination(coordination::Event::Reply { call, result }));
                        if set {
                            q.push(Input::Coordination(coordination::Event::Watch {
                                path: STATE.into(),
                                kind: WatchKind::DataChanged,
                            }));
                        }
                    }
                    Output::Store(r) => q.push(Input::Storage(storage::Event::Done(r.ticket))),
                    Output::Trace(t) => self.traces.push(t),
                    Output::Link(LinkCommand::Dial { link, .. }) => {
                        self.dials.push(link);
                    }
                    Output::Event(Event::Halted(halt)) => panic!("halted {halt:?}"),
                    _ => {}
                }
            }
            if self.sets > 500 {
                return;
            }
        }
    }
    /// returns the largest number of timeouts at one instant
    fn run(&mut self, ms: u64) -> usize {
        let end = self.now + ms * 1_000_000;
        let mut most = 0;
        let mut at_once = 0;
        while let Some(t) = self.a.poll_timeout() {
            if t.as_nanos() > end {
                break;
            }
            if t.as_nanos() <= self.now {
                at_once += 1;
            } else {
                at_once = 0;
                self.now = t.as_nanos();
            }
            most = most.max(at_once);
            if at_once > 1000 {
                return at_once;
            }
            self.input(Input::Timeout);
        }
        self.now = end;
        most
    }
    fn frame(&mut self, link: LinkId, m: &Message) {
        let frame = wire::encode(m);
        self.input(Input::Received { link, frame });
    }
    fn live(&mut self, n: &str, g: u128) -> i64 {
        let path = format!("/r/g/0/live/{n}-{}", Incarnation(g));
        self.tree
            .create(
                &path,
                wire::encode_live_node(&LiveNode { id: pid(n, g), address: addr(n) }),
                50 + g as u64,
            )
            .unwrap();
        self.input(Input::Coordination(coordination::Event::Watch { path, kind: WatchKind::Created }));
        self.tree.zxid
    }
    fn gone(&mut self, n: &str, g: u128) {
        let path = format!("/r/g/0/live/{n}-{}", Incarnation(g));
        self.tree.nodes.remove(&path);
        self.input(Input::Coordination(coordination::Event::Watch { path, kind: WatchKind::Deleted }));
    }
    fn ident(&self, n: &str, g: u128) -> BrokerIdentity {
        BrokerIdentity { member: member(n, g), incarnation: Incarnation(g), czxid: 5 }
    }
    fn hello(&mut self, link: LinkId, n: &str, g: u128) {
        let sender = self.ident(n, g);
        let history = self.state().history;
        let epoch = self.state().epoch;
        self.frame(link, &Message::Hello(Hello { sender, history, epoch, log: LogSummary::default() }));
    }
    fn ack(&mut self, link: LinkId, n: &str, g: u128) {
        let sender = self.ident(n, g);
        let history = self.state().history;
        let epoch = self.state().epoch;
        let matched = self.a.replica().log().end();
        self.frame(link, &Message::ReplicateAck(ReplicateAck { sender, history, epoch, matched }));
    }
    fn to(&self, link: LinkId) -> usize {
        self.sent.iter().filter(|(l, _)| *l == link).count()
    }
}
fn open(history: History, start: Start) -> Message {
    Message::OpenStream(OpenStream {
        stream: 1,
        history,
        filters: vec![Filter::new(">").unwrap()],
        start,
        credit: 1 << 20,
    })
}

#[test]
fn silent_primary_with_a_stream_spins() {
    let mut w = World::new();
    let (b, s) = (LinkId::accepted(1), LinkId::accepted(2));
    w.live("b", 2);
    w.hello(b, "b", 2);
    w.ack(b, "b", 2);
    assert_eq!(w.state().in_sync.len(), 2);
    let h = w.state().history;
    w.frame(s, &open(h, Start::Earliest));
    w.connected = false;
    w.input(Input::Coordination(coordination::Event::Session(SessionState::Suspended)));
    let most = w.run(4_000);
    assert!(w.traces.contains(&Trace::FellSilent));
    assert!(most < 100, "spins: {most}");
}
#[test]
fn a_follower_whose_session_blinked_is_served_again() {
    let mut w = World::new();
    let b = LinkId::accepted(1);
    w.live("b", 2);
    w.hello(b, "b", 2);
    w.ack(b, "b", 2);
    assert_eq!(w.state().in_sync.len(), 2);
    w.gone("b", 2);
    assert_eq!(w.state().in_sync.len(), 1);
    for _ in 0..3 {
        w.run(50);
        w.ack(b, "b", 2);
    }
    w.live("b", 2);
    let before = w.to(b);
    for _ in 0..100 {
        w.run(50);
        w.ack(b, "b", 2);
    }
    assert!(w.to(b) > before, "b never hears anything again though its link is up");
    assert_eq!(w.state().in_sync.len(), 2);
}
#[test]
fn two_processes_of_one_node_do_not_make_the_set_flap() {
    let mut w = World::new();
    let (b1, b2) = (LinkId::accepted(1), LinkId::accepted(2));
    w.live("b", 2);
    w.live("b", 3);
    w.hello(b1, "b", 2);
    w.hello(b2, "b", 3);
    w.ack(b2, "b", 3);
    w.ack(b1, "b", 2);
    for _ in 0..20 {
        w.run(50);
        w.ack(b2, "b", 3);
        w.ack(b1, "b", 2);
    }
    assert!(w.sets < 20, "{} writes in a second", w.sets);
}
#[test]
fn session_opens_are_bounded() {
    let mut w = World::with(Config { log_bytes: 64 << 10, ..Config::default() });
    let history = w.state().history;
    for n in 0..2_000u128 {
        let request = OpenSession { history, publisher: PublisherId(7), nonce: Nonce(n), incarnation: 0 };
        w.frame(LinkId::accepted(1), &Message::OpenSession(request));
    }
    assert!(w.a.replica().log().bytes() <= 64 << 10);
    let last = w.sent.last().map(|(_, message)| message);
    assert!(matches!(last, Some(Message::Refusal { reason: Refusal::Busy { .. }, .. })), "{last:?}");
}
#[test]
fn a_position_of_a_later_epoch_is_not_called_diverged() {
    let mut w = World::new();
    let h = w.state().history;
    w.frame(LinkId::accepted(1), &open(h, Start::At(Position { lineage: 1, epoch: 5, offset: 100 })));
    w.run(10);
    let last = w.sent.last().unwrap().1.clone();
    assert!(!matches!(last, Message::Refusal { reason: Refusal::Diverged { .. }, .. }), "{last:?}");
}

#[test]
fn a_backup_dials_again_after_silence() {
    // a is made a learner of primary b
    let boot = Boot {
        seed: 1,
        node: NodeName::new("a").unwrap(),
        generation: Generation(1),
        incarnation: Incarnation(1),
        address: addr("a"),
        group: 0,
        root: "/r".into(),
        config: Config::default(),
    };
    let a = Broker::new(Instant::from_nanos(0), boot);
    let mut w = World {
        now: 0,
        a,
        tree: Tree::default(),
        sent: vec![],
        traces: vec![],
        dials: vec![],
        ops: 0,
        sets: 0,
        connected: true,
        held: None,
    };
    let mut state = GroupState::bootstrap(GroupId(9), member("b", 2), 1, Nonce(0));
    state = state.promote(&pid("b", 2), Nonce(1));
    w.tree.create(STATE, wire::encode_group_state(&state), 0).unwrap();
    let path = format!("/r/g/0/live/b-{}", Incarnation(2));
    w.tree
        .create(&path, wire::encode_live_node(&LiveNode { id: pid("b", 2), address: addr("b") }), 52)
        .unwrap();
    w.input(Input::Coordination(coordination::Event::Session(SessionState::Connected(1))));
    w.run(100);
    let link = w.dials[0];
    w.input(Input::Link { link, status: LinkStatus::Up });
    w.run(30_000);
    assert!(w.dials.len() > 1, "half a minute of silence on a link that is up, and no second dial");
}
#[test]
fn a_primary_without_a_live_node_is_replaced_also_under_load() {
    let boot = Boot {
        seed: 1,
        node: NodeName::new("a").unwrap(),
        generation: Generation(1),
        incarnation: Incarnation(1),
        address: addr("a"),
        group: 0,
        root: "/r".into(),
        config: Config::default(),
    };
    let a = Broker::new(Instant::from_nanos(0), boot);
    let mut w = World {
        now: 0,
        a,
        tree: Tree::default(),
        sent: vec![],
        traces: vec![],
        dials: vec![],
        ops: 0,
        sets: 0,
        connected: true,
        held: None,
    };
    let mut state = GroupState::bootstrap(GroupId(9), member("b", 2), 1, Nonce(0));
    state = state.promote(&pid("b", 2), Nonce(1)).expand(&member("a", 1), Nonce(2));
    w.tree.create(STATE, wire::encode_group_state(&state), 0).unwrap();
    w.live("b", 2);
    w.input(Input::Coordination(coordination::Event::Session(SessionState::Connected(1))));
    w.run(100);
    let link = w.dials[0];
    w.input(Input::Link { link, status: LinkStatus::Up });
    let beat = |w: &mut World| {
        let sender = w.ident("b", 2);
        let history = state.history;
        w.frame(
            link,
            &Message::Replicate(Replicate {
                sender,
                history,
                epoch: 1,
                previous_offset: 0,
                previous_epoch: 0,
                commit: 0,
                entries: vec![],
            }),
        );
    };
    beat(&mut w);
    w.held = Some(vec![]);
    w.gone("b", 2);
    let ops = w.ops;
    // One frame of the primary arrives between any call and its reply.
    for _ in 0..1000 {
        beat(&mut w);
        w.now += 500_000;
        for (call, op) in w.held.replace(vec![]).unwrap() {
            let result = w.tree.run(&op);
            w.input(Input::Coordination(coordination::Event::Reply { call, result }));
        }
    }
    assert!(
        w.a.leads().is_some() || w.state().epoch > 1,
        "no promotion, {} calls, {} suspicions",
        w.ops - ops,
        w.traces.iter().filter(|t| matches!(t, Trace::Suspected { .. })).count()
    );
}
