//! A service and its clients on a network without delay, under a clock that the test moves.

use std::collections::VecDeque;
use steadfast_core::coordination::client::{self, Client};
use steadfast_core::coordination::service::{self, Config, Service};
use steadfast_core::coordination::{Event, Operation, Request, SessionState};
use steadfast_core::id::Address;
use steadfast_core::limits::Timing;
use steadfast_core::link::{LinkCommand, LinkId, LinkStatus};
use steadfast_core::node::{Input, Node, Output};
use steadfast_core::time::{Duration, Instant, earliest};

pub const T: Duration = Duration::from_millis(1_000);
pub const TICK: Duration = Duration::from_millis(100);

pub fn at(millis: u64) -> Instant {
    Instant::from_nanos(millis * 1_000_000)
}

/// What the network does to a client's frames and dials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Net {
    /// All is well.
    Fine,
    /// Everything vanishes.
    Cut,
    /// What the service sends vanishes.
    Deaf,
    /// Nobody listens.
    Refusing,
}

struct Connection {
    client: usize,
    dialled: LinkId,
    accepted: LinkId,
    /// Whether each end still uses it.
    client_open: bool,
    service_open: bool,
}

struct Peer {
    client: Client,
    net: Net,
    /// While it is paused, inputs wait here.
    paused: Option<VecDeque<Input<Request>>>,
    calls: u64,
}

enum Delivery {
    Service(Input<service::Command>),
    Client(usize, Input<Request>),
}

pub struct World {
    pub now: Instant,
    pub service: Service,
    peers: Vec<Peer>,
    connections: Vec<Connection>,
    deliveries: VecDeque<Delivery>,
    /// What clients were told: milliseconds, client, event.
    log: Vec<String>,
    /// Frames that clients have sent.
    pub sent: usize,
    /// How often clients have dialled.
    pub dials: usize,
}

impl World {
    /// With clients that have asked for a session and been told of it.
    pub fn new(clients: usize) -> Self {
        let config = Config { tick: TICK, ..Config::default() };
        let now = at(0);
        let mut world = Self {
            now,
            service: Service::new(now, service::Boot { seed: 1, config }),
            peers: Vec::new(),
            connections: Vec::new(),
            deliveries: VecDeque::new(),
            log: Vec::new(),
            sent: 0,
            dials: 0,
        };
        for client in 0..clients {
            let address = Address::new("tcp://127.0.0.1:1").unwrap();
            let boot = client::Boot { seed: client as u64, address, timeout: T, timing: Timing::default() };
            let client = Client::new(now, boot);
            world.peers.push(Peer { client, net: Net::Fine, paused: None, calls: 0 });
        }
        for client in 0..clients {
            world.request(client, Request::OpenSession);
        }
        let expected: Vec<_> = (0..clients).map(|client| format!("0 c{client} connected")).collect();
        assert_eq!(world.log(), expected);
        world
    }

    pub fn request(&mut self, client: usize, request: Request) {
        self.deliveries.push_back(Delivery::Client(client, Input::Command(request)));
        self.settle();
    }

    /// Makes a client's next call.
    pub fn call(&mut self, client: usize, operation: Operation) {
        self.peers[client].calls += 1;
        let call = self.peers[client].calls;
        self.request(client, Request::Call { call, operation });
    }

    pub fn net(&mut self, client: usize, net: Net) {
        self.peers[client].net = net;
    }

    /// Both ends learn that the client's links are gone.
    pub fn lose_links(&mut self, client: usize) {
        let status = LinkStatus::Lost;
        for connection in self.connections.iter_mut().filter(|c| c.client == client) {
            if std::mem::take(&mut connection.client_open) {
                let link = connection.dialled;
                self.deliveries.push_back(Delivery::Client(client, Input::Link { link, status }));
            }
            if std::mem::take(&mut connection.service_open) {
                let link = connection.accepted;
                self.deliveries.push_back(Delivery::Service(Input::Link { link, status }));
            }
        }
        self.settle();
    }

    pub fn pause(&mut self, client: usize) {
        self.peers[client].paused = Some(VecDeque::new());
    }

    pub fn resume(&mut self, client: usize) {
        for input in self.peers[client].paused.take().expect("it is paused") {
            self.deliveries.push_back(Delivery::Client(client, input));
        }
        self.settle();
    }

    /// Lets time pass, up to and including this instant.
    pub fn run_until(&mut self, end: Instant) {
        loop {
            let awake = self.peers.iter().filter(|peer| peer.paused.is_none());
            let next = awake
                .map(|peer| peer.client.poll_timeout())
                .fold(self.service.poll_timeout(), earliest)
                .filter(|&next| next <= end);
            let Some(next) = next else { break };
            self.now = self.now.max(next);
            self.deliveries.push_back(Delivery::Service(Input::Timeout));
            for client in 0..self.peers.len() {
                if self.peers[client].paused.is_none() {
                    self.deliveries.push_back(Delivery::Client(client, Input::Timeout));
                }
            }
            self.settle();
        }
        self.now = end;
    }

    /// What clients were told since the last look.
    pub fn log(&mut self) -> Vec<String> {
        std::mem::take(&mut self.log)
    }

    fn settle(&mut self) {
        while let Some(delivery) = self.deliveries.pop_front() {
            match delivery {
                Delivery::Service(input) => {
                    self.service.handle_input(self.now, input);
                    while let Some(output) = self.service.poll_output() {
                        self.take_from_service(output);
                    }
                }
                Delivery::Client(client, input) => match &mut self.peers[client].paused {
                    Some(inbox) => inbox.push_back(input),
                    None => {
                        self.peers[client].client.handle_input(self.now, input);
                        while let Some(output) = self.peers[client].client.poll_output() {
                            self.take_from_client(client, output);
                        }
                    }
                },
            }
        }
    }

    fn take_from_service(&mut self, output: Output<service::Event>) {
        let mut connections = self.connections.iter_mut();
        let mut found = |link| connections.find(|c| c.accepted == link && c.service_open);
        match output {
            Output::Transmit { link, frame } => {
                // Whether the client still wants it shows when it arrives.
                let connection = found(link).expect("it sends on open links only");
                let (client, link) = (connection.client, connection.dialled);
                if self.peers[client].net == Net::Fine && connection.client_open {
                    let input = Input::Received { link, frame };
                    self.deliveries.push_back(Delivery::Client(client, input));
                }
            }
            Output::Link(LinkCommand::Close { link }) => {
                let connection = found(link).expect("it closes open links only");
                connection.service_open = false;
                let (client, link) = (connection.client, connection.dialled);
                // Across a cut the client does not notice.
                if self.peers[client].net == Net::Fine && std::mem::take(&mut connection.client_open) {
                    let input = Input::Link { link, status: LinkStatus::Lost };
                    self.deliveries.push_back(Delivery::Client(client, input));
                }
            }
            Output::Trace(trace) => panic!("the service traces {trace}"),
            other => panic!("the service asks for {other:?}"),
        }
    }

    fn take_from_client(&mut self, client: usize, output: Output<Event>) {
        let net = self.peers[client].net;
        let mut connections = self.connections.iter_mut();
        let mut found = |link| connections.find(|c| c.client == client && c.dialled == link && c.client_open);
        match output {
            Output::Transmit { link, frame } => {
                self.sent += 1;
                let connection = found(link).expect("it sends on open links only");
                if matches!(net, Net::Fine | Net::Deaf) && connection.service_open {
                    let link = connection.accepted;
                    self.deliveries.push_back(Delivery::Service(Input::Received { link, frame }));
                }
            }
            Output::Link(LinkCommand::Dial { link, .. }) => {
                self.dials += 1;
                self.dial(client, link);
            }
            Output::Link(LinkCommand::Close { link }) => {
                // What it dialled across a cut is no connection yet.
                let Some(connection) = found(link) else { return };
                connection.client_open = false;
                if net == Net::Fine && std::mem::take(&mut connection.service_open) {
                    let link = connection.accepted;
                    let input = Input::Link { link, status: LinkStatus::Lost };
                    self.deliveries.push_back(Delivery::Service(input));
                }
            }
            Output::Event(event) => {
                let millis = self.now.as_nanos() / 1_000_000;
                self.log.push(format!("{millis} c{client} {}", describe(&event)));
            }
            Output::Trace(trace) => {
                assert!(format!("{trace}").starts_with("Session("), "the client traces {trace}");
            }
            other => panic!("the client asks for {other:?}"),
        }
    }

    fn dial(&mut self, client: usize, link: LinkId) {
        let status = match self.peers[client].net {
            Net::Fine => LinkStatus::Up,
            Net::Refusing => LinkStatus::Refused,
            Net::Cut | Net::Deaf => return,
        };
        if status == LinkStatus::Up {
            let accepted = LinkId::accepted(self.connections.len() as u64);
            let (dialled, client_open, service_open) = (link, true, true);
            self.connections.push(Connection { client, dialled, accepted, client_open, service_open });
        }
        self.deliveries.push_back(Delivery::Client(client, Input::Link { link, status }));
    }
}

fn describe(event: &Event) -> String {
    match event {
        Event::Session(SessionState::Connected(_)) => "connected".into(),
        Event::Session(SessionState::Suspended) => "suspended".into(),
        Event::Session(SessionState::Expired) => "expired".into(),
        Event::Reply { call, result: Ok(_) } => format!("#{call} ok"),
        Event::Reply { call, result: Err(error) } => format!("#{call} {error:?}"),
        Event::Watch { path, kind } => format!("{kind:?} {path}"),
    }
}
