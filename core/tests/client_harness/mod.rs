//! Drives one client node by hand: the test plays discovery, the primary, the network and the clock.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::VecDeque;
use steadfast_core::id::{Address, Endpoint, Epoch, GroupId, Incarnation, NodeName};
use steadfast_core::link::{Frame, LinkCommand, LinkId, LinkStatus};
use steadfast_core::message::{History, Message, Refusal, Route};
use steadfast_core::node::{Input, Node, Output};
use steadfast_core::time::{Duration, Instant};
use steadfast_core::trace::Trace;
use steadfast_core::{storage, wire};

pub const HISTORY: History = History { group_id: GroupId(77), lineage: 1 };

pub fn address(name: &str) -> Address {
    Address::new(name).unwrap()
}

/// The process of a node; its address is its name.
pub fn endpoint(node: &str) -> Endpoint {
    Endpoint { node: NodeName::new(node).unwrap(), incarnation: Incarnation(1), address: address(node) }
}

/// A route of [`HISTORY`]; the configuration number is the epoch.
pub fn route(epoch: Epoch, primary: Option<&str>) -> Route {
    Route {
        group: 0,
        groups: 1,
        history: Some(HISTORY),
        epoch,
        config: epoch,
        primary: primary.map(endpoint),
        retry_after: Duration::from_millis(20),
        age: Duration::ZERO,
        fresh: false,
    }
}

pub fn refusal(reason: Refusal) -> Message {
    Message::Refusal { stream: 0, reason }
}

/// A node, the clock, and what the node has said and was not yet asked about.
pub struct Harness<N: Node> {
    pub node: N,
    now: Instant,
    pub sent: VecDeque<(LinkId, Message)>,
    pub dials: VecDeque<(LinkId, Address)>,
    pub closed: Vec<LinkId>,
    pub events: VecDeque<N::Event>,
    pub traces: Vec<Trace>,
    /// Storage requests that are not complete; `None`: the node must not make any.
    pub storage: Option<VecDeque<storage::Request>>,
}

impl<N: Node> Harness<N> {
    pub fn new(boot: impl FnOnce(Instant) -> N) -> Self {
        let now = Instant::from_nanos(1_000_000_000);
        let mut harness = Self {
            node: boot(now),
            now,
            sent: VecDeque::new(),
            dials: VecDeque::new(),
            closed: Vec::new(),
            events: VecDeque::new(),
            traces: Vec::new(),
            storage: None,
        };
        harness.collect();
        harness
    }

    fn collect(&mut self) {
        while let Some(output) = self.node.poll_output() {
            match output {
                Output::Transmit { link, frame } => {
                    assert!(!self.closed.contains(&link), "nothing is sent on a closed link");
                    self.sent.push_back((link, wire::decode(frame).expect("a node sends valid frames")));
                }
                Output::Link(LinkCommand::Dial { link, address }) => self.dials.push_back((link, address)),
                Output::Link(LinkCommand::Close { link }) => self.closed.push(link),
                Output::Event(event) => self.events.push_back(event),
                Output::Trace(trace) => self.traces.push(trace),
                Output::Store(request) => self.storage.as_mut().expect("no storage").push_back(request),
                Output::Coordinate(_) => panic!("a client does not coordinate"),
            }
        }
    }

    fn input(&mut self, input: Input<N::Command>) {
        self.node.handle_input(self.now, input);
        self.collect();
    }

    pub fn storage_says(&mut self, event: storage::Event) {
        self.input(Input::Storage(event));
    }

    pub fn command(&mut self, command: N::Command) {
        self.input(Input::Command(command));
    }

    pub fn up(&mut self, link: LinkId) {
        self.input(Input::Link { link, status: LinkStatus::Up });
    }

    pub fn lost(&mut self, link: LinkId) {
        self.input(Input::Link { link, status: LinkStatus::Lost });
    }

    pub fn refused(&mut self, link: LinkId) {
        self.input(Input::Link { link, status: LinkStatus::Refused });
    }

    pub fn receive(&mut self, link: LinkId, message: &Message) {
        self.receive_frame(link, wire::encode(message));
    }

    pub fn receive_frame(&mut self, link: LinkId, frame: Frame) {
        self.input(Input::Received { link, frame });
    }

    /// Lets time pass, deadline by deadline.
    pub fn advance(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        let mut steps = 0;
        while let Some(at) = self.node.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.input(Input::Timeout);
            steps += 1;
            assert!(steps < 10_000, "a node that is told the time goes on");
        }
        self.now = end;
        self.input(Input::Timeout);
    }

    /// As [`Self::advance`], while peers on these links answer pings and nothing else.
    pub fn advance_alive(&mut self, ms: u64, links: &[LinkId]) {
        for _ in 0..ms.div_ceil(10) {
            self.advance(10);
            for link in links.iter().filter(|link| !self.closed.contains(link)).copied().collect::<Vec<_>>() {
                self.receive(link, &Message::Pong { token: 0 });
            }
        }
    }

    /// A stall of this process: the clock jumps, and the node notices once.
    pub fn stall(&mut self, ms: u64) {
        self.now = self.now + Duration::from_millis(ms);
        self.input(Input::Timeout);
    }

    /// The next dial, waiting for it up to a second.
    pub fn dialled(&mut self) -> (LinkId, String) {
        for _ in 0..1_000 {
            if let Some((link, address)) = self.dials.pop_front() {
                return (link, address.as_str().to_owned());
            }
            self.advance(1);
        }
        panic!("nothing was dialled for a second");
    }

    /// Everything sent on a link but pings and pongs, taken out.
    pub fn take_sent(&mut self, link: LinkId) -> Vec<Message> {
        let mut taken = Vec::new();
        self.sent.retain(|(on, message)| {
            let ping = matches!(message, Message::Ping { .. } | Message::Pong { .. });
            if *on == link && !ping {
                taken.push(message.clone());
            }
            *on != link && !ping
        });
        taken
    }

    pub fn take_events(&mut self) -> Vec<N::Event> {
        self.events.drain(..).collect()
    }

    /// Discovery is up and has been asked; its link.
    pub fn meet_discovery(&mut self) -> LinkId {
        let (link, address) = self.dialled();
        assert!(address.starts_with("discovery"), "{address}");
        self.up(link);
        assert!(matches!(self.take_sent(link)[..], [Message::Lookup(_)]));
        link
    }

    /// Discovery names `a` as primary in epoch 1, and the link to it is up: (discovery, primary).
    pub fn attach(&mut self) -> (LinkId, LinkId) {
        let discovery = self.meet_discovery();
        self.receive(discovery, &Message::Route(route(1, Some("a"))));
        let (primary, address) = self.dialled();
        assert_eq!(address, "a");
        self.up(primary);
        (discovery, primary)
    }
}
