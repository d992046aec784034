//! The simulated network against real ZeroMQ sockets: scripts of a server and its clients.

use crate::end::End;
use crate::link_script::{Driver, Entry, Logs, Side, run, steps};
use bytes::Bytes;
use futures::future::FutureExt as _;
use futures::stream::{self, StreamExt as _};
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::TestRunner;
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Debug;
use std::net::TcpStream;
use std::rc::Rc;
use std::time::{Duration, Instant};
use steadfast_core::id::Address;
use steadfast_core::link::{Frame, LinkCommand, LinkId, LinkStatus};
use steadfast_core::node::{Input, Node, Output};
use steadfast_core::time;
use steadfast_runtime::address::{host_and_port, parse};
use steadfast_sim::fault::Fault;
use steadfast_sim::network::ProcessId;
use steadfast_sim::random::Draws;
use steadfast_sim::world::{Config, World};
use steadfast_tokio::transport::{Kind, Transport};
use tokio::runtime::{Builder, Runtime};
use tokio::time::sleep;

/// Scripts.
const SCRIPTS: usize = 300;
/// Scripts played at a time.
const AT_A_TIME: usize = 8;
/// Clients of every script.
const CLIENTS: usize = 2;
/// Longer than anything takes, also on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// Who closes with frames under way may never have been heard of: nothing tells when to stop waiting.
const GRACE: Duration = Duration::from_millis(50);
/// How long a slow reader does not read.
const SLOWNESS: Duration = Duration::from_millis(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_scripts_go_on_real_sockets_as_on_the_simulated_network() {
    let mut runner = TestRunner::deterministic();
    let strategy = steps(CLIENTS);
    let scripts: Vec<_> = (0..SCRIPTS)
        .map(|_| strategy.new_tree(&mut runner).expect("nothing is rejected").current())
        .collect();
    let began = Instant::now();
    let tallies: Vec<_> = stream::iter(scripts.iter().zip(0_u64..))
        .map(|(script, seed)| async move {
            let mut simulated = Simulated::new(seed);
            let model = run(script, &mut simulated, &[]).await;
            let mut real = Real::new(seed).await;
            let seen = run(script, &mut real, &model.snapshots).await;
            for (side, logs) in [("the model", &model), ("reality", &seen)] {
                logs.check().unwrap_or_else(|fault| panic!("{side}: {fault}\n{script:?}\n{logs:#?}"));
            }
            if let Err(difference) = seen.compare(&model) {
                panic!("{difference}\n{script:?}\nreality: {:#?}\nmodel: {:#?}", seen.logs, model.logs);
            }
            (seen.tally(), model.tally())
        })
        .buffer_unordered(AT_A_TIME)
        .collect()
        .await;
    let (mut real, mut model) = (BTreeMap::new(), BTreeMap::new());
    for (seen, predicted) in tallies {
        seen.into_iter().for_each(|(label, n)| *real.entry(label).or_insert(0) += n);
        predicted.into_iter().for_each(|(label, n)| *model.entry(label).or_insert(0) += n);
    }
    println!("{SCRIPTS} link scripts after {:.1?}\nreality: {real:?}\nmodel: {model:?}", began.elapsed());
    for wanted in ["Up", "Refused", "Lost", "frames", "lossy ends", "frames not delivered"] {
        let occurred = |tally: &BTreeMap<_, usize>| tally.get(wanted).is_some_and(|&n| n > 0);
        assert!(occurred(&real) && occurred(&model), "nothing of this kind occurred: {wanted}");
    }
}

/// What a node is told, with the links that the server has accepted.
#[derive(Debug, Default)]
struct Notes {
    logs: Logs,
    accepted: BTreeMap<LinkId, (usize, u64)>,
}

impl Notes {
    fn take<C: Debug>(&mut self, at: Side, input: Input<C>) {
        let (link, entry, from) = match input {
            Input::Received { link, frame } => {
                let (entry, from) = Entry::read(&frame);
                (link, entry, from)
            }
            Input::Link { link, status } => (link, Entry::Status(status), None),
            other => panic!("{other:?}"),
        };
        let key = match at {
            Side::Client(client) => (client, number(link)),
            Side::Server => match from {
                Some(from) => {
                    assert_eq!(*self.accepted.entry(link).or_insert(from), from, "one link, one connection");
                    from
                }
                None => *self.accepted.get(&link).expect("an accepted link begins with its first frame"),
            },
        };
        self.logs.entry((key.0, key.1, at == Side::Server)).or_default().push(entry);
    }

    /// The next server counts its links anew.
    fn ended(&mut self, side: Side) {
        if side == Side::Server {
            self.accepted.clear();
        }
    }

    fn accepted(&self, client: usize, n: u64) -> Option<LinkId> {
        self.accepted.iter().find(|(_, key)| **key == (client, n)).map(|(&link, _)| link)
    }
}

fn number(link: LinkId) -> u64 {
    (0..).find(|&n| LinkId::dialled(n) == link).expect("links are numbered from the start")
}

/// A node that does what it is told and notes what it is told.
struct Puppet {
    at: Side,
    notes: Rc<RefCell<Notes>>,
    out: VecDeque<Output<()>>,
}

impl Node for Puppet {
    type Command = Output<()>;
    type Event = ();

    fn handle_input(&mut self, _now: time::Instant, input: Input<Output<()>>) {
        match input {
            Input::Command(output) => self.out.push_back(output),
            input => self.notes.borrow_mut().take(self.at, input),
        }
    }

    fn poll_output(&mut self) -> Option<Output<()>> {
        self.out.pop_front()
    }

    fn poll_timeout(&self) -> Option<time::Instant> {
        None
    }
}

/// A world of puppets: process 0 is the server.
struct Simulated {
    world: World<Puppet>,
    notes: Rc<RefCell<Notes>>,
    address: Address,
}

impl Simulated {
    fn new(seed: u64) -> Self {
        let notes = Rc::new(RefCell::new(Notes::default()));
        let address = Address::new("sim://server").expect("an address");
        let mut world = World::new(Config::default(), Draws::new(seed));
        for number in 0..=CLIENTS {
            let at = if number == 0 { Side::Server } else { Side::Client(number - 1) };
            let notes = Rc::clone(&notes);
            let starter =
                Box::new(move |_: &_| Puppet { at, notes: Rc::clone(&notes), out: VecDeque::new() });
            let process = world.add(&number.to_string(), (number == 0).then(|| address.clone()), starter);
            world.strike(Fault::Restart(process));
        }
        Self { world, notes, address }
    }

    fn put(&mut self, side: Side, output: Output<()>) {
        self.world.command(self.world.now(), process(side), output);
        // What is asked at the same time is done in the same order, with no time between.
        self.run(Duration::ZERO);
    }

    fn run(&mut self, time: Duration) {
        let end = self.world.now() + time.as_nanos() as u64;
        while self.world.step(end).is_some() {}
        self.world.advance(end);
    }
}

const fn process(side: Side) -> ProcessId {
    match side {
        Side::Server => ProcessId(0),
        Side::Client(client) => ProcessId(client as u32 + 1),
    }
}

impl Driver for Simulated {
    fn dial(&mut self, client: usize, n: u64) {
        let command = LinkCommand::Dial { link: LinkId::dialled(n), address: self.address.clone() };
        self.put(Side::Client(client), Output::Link(command));
    }

    fn transmit(&mut self, from: Side, client: usize, n: u64, frame: Frame) {
        let link = self.link(from, client, n);
        self.put(from, Output::Transmit { link, frame });
    }

    fn close(&mut self, by: Side, client: usize, n: u64) {
        let link = self.link(by, client, n);
        self.put(by, Output::Link(LinkCommand::Close { link }));
    }

    async fn end(&mut self, side: Side) {
        self.world.strike(Fault::Crash(process(side)));
        self.notes.borrow_mut().ended(side);
    }

    async fn start(&mut self, side: Side) {
        self.world.strike(Fault::Restart(process(side)));
    }

    async fn slow(&mut self, reader: Side, slow: bool) {
        self.run(SLOWNESS);
        self.world.strike(if slow { Fault::Pause(process(reader)) } else { Fault::Resume(process(reader)) });
    }

    async fn settle(&mut self, _: Option<&Logs>, _: &dyn Fn(&(usize, u64, bool)) -> bool) -> Logs {
        self.run(Duration::from_millis(100));
        self.notes.borrow().logs.clone()
    }
}

impl Simulated {
    fn link(&self, at: Side, client: usize, n: u64) -> LinkId {
        match at {
            Side::Client(_) => LinkId::dialled(n),
            Side::Server => self.notes.borrow().accepted(client, n).expect("the server has heard of it"),
        }
    }
}

/// A transport with everything that works for it: like a process, it ends at once, whatever it was
/// about to send.
struct Process {
    runtime: Option<Runtime>,
    end: Option<End>,
}

impl Process {
    fn runtime() -> Runtime {
        Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a thread more")
    }

    fn dialling(kind: Kind) -> Self {
        // A dial that takes long on a loaded machine is none that failed.
        let end = End::with(Transport::dialling(kind, PATIENCE));
        Self { runtime: Some(Self::runtime()), end: Some(end) }
    }

    async fn listening(kind: Kind, address: &Address) -> Self {
        let runtime = Self::runtime();
        let address = address.clone();
        let transport = runtime.spawn(async move { Transport::listen(kind, &address).await }).await;
        let transport = transport.expect("it does not panic").expect("the port is free");
        Self { runtime: Some(runtime), end: Some(End::with(transport)) }
    }

    const fn end(&mut self) -> &mut End {
        self.end.as_mut().expect("there until the drop")
    }

    /// Does something in the process.
    fn act<T>(&mut self, what: impl FnOnce(&mut End) -> T) -> T {
        let _inside = self.runtime.as_ref().expect("there until the drop").enter();
        what(self.end.as_mut().expect("there until the drop"))
    }
}

impl Drop for Process {
    /// First what works for the transport: it must not see the transport go and send the rest.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        self.end = None;
    }
}

/// Transports over real sockets.
struct Real {
    /// Half of the scripts are for each.
    kind: Kind,
    server: Option<Process>,
    address: Address,
    clients: Vec<Process>,
    slow: Option<Side>,
    notes: Notes,
}

impl Real {
    /// Every script has a host of its own: no port that its server gives up becomes another's.
    async fn new(script: u64) -> Self {
        let host = parse(&format!("127.77.{}.{}:0", script / 250, script % 250 + 1)).expect("an address");
        let kind = Kind::ALL[usize::from(script % 2 == 1)];
        let mut server = Process::listening(kind, &host).await;
        let address = server.end().address();
        let clients = (0..CLIENTS).map(|_| Process::dialling(kind)).collect();
        Self { kind, server: Some(server), address, clients, slow: None, notes: Notes::default() }
    }

    fn process(&mut self, side: Side) -> &mut Process {
        match side {
            Side::Server => self.server.as_mut().expect("scripts know whether it runs"),
            Side::Client(client) => &mut self.clients[client],
        }
    }

    fn link(&self, at: Side, client: usize, n: u64) -> LinkId {
        match at {
            Side::Client(_) => LinkId::dialled(n),
            Side::Server => self.notes.accepted(client, n).expect("the server has heard of it"),
        }
    }

    /// One turn of every end that reads.
    async fn turn(&mut self) {
        let ends = self.server.iter_mut().map(|process| (Side::Server, process));
        let clients = self.clients.iter_mut().enumerate().map(|(n, process)| (Side::Client(n), process));
        for (side, process) in ends.chain(clients).filter(|(side, _)| self.slow != Some(*side)) {
            process.act(|end| end.poll().now_or_never().expect("it does not wait"));
            while process.end().is_waiting() {
                self.notes.take(side, process.end().next().await);
            }
        }
        sleep(Duration::from_millis(1)).await;
    }

    async fn turns(&mut self, time: Duration) {
        let began = Instant::now();
        while began.elapsed() < time {
            self.turn().await;
        }
    }
}

impl Driver for Real {
    fn dial(&mut self, client: usize, n: u64) {
        let address = self.address.clone();
        self.clients[client].act(|end| end.dial(n, &address));
    }

    fn transmit(&mut self, from: Side, client: usize, n: u64, frame: Frame) {
        let link = self.link(from, client, n);
        self.process(from).act(|end| end.transport.transmit(link, frame));
    }

    fn close(&mut self, by: Side, client: usize, n: u64) {
        let link = self.link(by, client, n);
        self.process(by).act(|end| end.transport.command(LinkCommand::Close { link }));
    }

    async fn end(&mut self, side: Side) {
        self.notes.ended(side);
        match side {
            Side::Client(client) => self.clients[client] = Process::dialling(self.kind),
            Side::Server => {
                self.server = None;
                let target = host_and_port(&self.address).expect("it was bound");
                let began = Instant::now();
                while TcpStream::connect(target).is_ok() {
                    assert!(began.elapsed() < PATIENCE, "a socket that was dropped still listens");
                    sleep(Duration::from_millis(1)).await;
                }
            }
        }
    }

    async fn start(&mut self, side: Side) {
        if side == Side::Server {
            self.server = Some(Process::listening(self.kind, &self.address).await);
        }
    }

    async fn slow(&mut self, reader: Side, slow: bool) {
        self.turns(SLOWNESS).await;
        self.slow = slow.then_some(reader);
    }

    async fn settle(&mut self, model: Option<&Logs>, lossy: &dyn Fn(&(usize, u64, bool)) -> bool) -> Logs {
        let model = model.expect("the model has run before");
        let began = Instant::now();
        let behind = |logs: &Logs, waited: Duration| {
            model.iter().any(|(key, predicted)| {
                let seen = logs.get(key).map_or(&[][..], Vec::as_slice);
                match lossy(key) {
                    false => seen.len() < predicted.len(),
                    true => {
                        seen.last() != Some(&Entry::Status(LinkStatus::Lost))
                            && (waited < GRACE || !seen.is_empty())
                    }
                }
            })
        };
        while behind(&self.notes.logs, began.elapsed()) && began.elapsed() < PATIENCE {
            self.turn().await;
        }
        self.notes.logs.clone()
    }
}

/// A part of this length that shows whether it was damaged.
pub fn part(len: usize) -> Bytes {
    (0..len).map(|n| (n % 251) as u8).collect()
}
