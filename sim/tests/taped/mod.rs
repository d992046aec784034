//! A cluster whose brokers are recorded, as an adapter would do it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;
use steadfast_core::broker::retention::Retention;
use steadfast_core::broker::{self, Broker};
use steadfast_core::discovery::{self, Discovery};
use steadfast_core::filter::{Filter, Topic};
use steadfast_core::id::{Address, Generation, Incarnation, NodeName, Nonce, PublisherId};
use steadfast_core::node::{Input, Node, Output};
use steadfast_core::publisher::{self, Publisher};
use steadfast_core::recording::{Encoder, Head, Outputs, Record, state, tail};
use steadfast_core::subscriber::{self, Subscriber};
use steadfast_core::time::Instant;
use steadfast_sim::actor::{Actor, Command, Event};
use steadfast_sim::fault::Fault;
use steadfast_sim::network::ProcessId;
use steadfast_sim::random::Draws;
use steadfast_sim::world::{Config, Life, World};

/// Entries that are copied at a time.
const COPY_STEP: usize = 50;

/// The parts of the recordings of all lives of all brokers.
pub type Tapes = Rc<RefCell<BTreeMap<String, Vec<Vec<u8>>>>>;

/// Any node; a broker is recorded.
pub struct Taped {
    actor: Actor,
    tape: Option<Tape>,
}

struct Tape {
    life: String,
    boot: broker::Boot,
    all: Tapes,
    encoder: Encoder,
    inputs: u64,
    outputs: Outputs,
    /// Another part begins after so many inputs.
    every: u64,
}

impl Tape {
    fn push(&mut self, record: &Record) {
        self.encoder.push(record);
        self.write();
    }

    fn write(&mut self) {
        let mut all = self.all.borrow_mut();
        let parts = all.entry(self.life.clone()).or_default();
        parts.last_mut().expect("a part has begun").extend_from_slice(self.encoder.bytes());
        self.encoder.clear();
    }

    fn begin(&mut self, now: Instant, booted: bool) {
        self.all.borrow_mut().entry(self.life.clone()).or_default().push(Vec::new());
        self.encoder = Encoder::default();
        let version = "test".to_owned();
        self.push(&Record::Head(Box::new(Head { version, wall: 0, now, boot: self.boot.clone(), booted })));
    }

    fn switch(&mut self, now: Instant, broker: &mut Broker) {
        self.begin(now, false);
        let (log, commit) = (broker.replica().log(), broker.replica().commit());
        let (committed, rest): (Vec<_>, Vec<_>) =
            log.iter_from(log.start()).cloned().partition(|entry| entry.end() <= commit);
        committed.chunks(COPY_STEP).for_each(|entries| self.push(&Record::Entries(entries.to_vec())));
        self.push(&tail(rest));
        let state = state(broker, self.inputs, self.outputs);
        self.encoder.push_state(&state);
        self.write();
    }
}

impl Node for Taped {
    type Command = Command;
    type Event = Event;

    fn handle_input(&mut self, now: Instant, input: Input<Command>) {
        if let (Actor::Broker(broker), Some(tape)) = (&mut self.actor, &mut self.tape) {
            let input = match &input {
                Input::Command(Command::Broker(command)) => Input::Command(*command),
                Input::Command(_) => panic!("a command for another node"),
                Input::Received { link, frame } => Input::Received { link: *link, frame: frame.clone() },
                Input::Link { link, status } => Input::Link { link: *link, status: *status },
                Input::Coordination(event) => Input::Coordination(event.clone()),
                Input::Storage(event) => Input::Storage(*event),
                Input::Timeout => Input::Timeout,
            };
            if tape.every > 0 && tape.inputs % tape.every == tape.every - 1 {
                tape.switch(now, broker);
            }
            tape.inputs += 1;
            tape.push(&Record::Input { at: now, input });
        }
        self.actor.handle_input(now, input);
    }

    fn poll_output(&mut self) -> Option<Output<Event>> {
        let output = self.actor.poll_output();
        let Some(tape) = &mut self.tape else { return output };
        match &output {
            Some(Output::Event(Event::Broker(event))) => tape.outputs.add(&Output::Event(*event)),
            Some(other) => tape.outputs.add(other),
            None => tape.push(&Record::Outputs(tape.outputs)),
        }
        output
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.actor.poll_timeout()
    }
}

/// One discovery replica, three brokers, a publisher and a subscriber.
pub struct Cluster {
    pub world: World<Taped>,
    pub brokers: Vec<ProcessId>,
    pub publisher: ProcessId,
    pub tapes: Tapes,
    tickets: u64,
}

fn address(name: &str) -> Address {
    Address::new(&format!("sim://{name}")).expect("a valid address")
}

fn untaped(actor: Actor) -> Taped {
    Taped { actor, tape: None }
}

impl Cluster {
    /// All start now. Another part of each recording begins after so many inputs; 0: never.
    pub fn new(seed: u64, config: Config, every: u64) -> Self {
        let mut world = World::new(config, Draws::new(seed));
        let tapes = Tapes::default();
        let discovery = |life: &Life| {
            let config = discovery::Config::default();
            let (seed, replica) = (life.seed(), life.identity(0));
            let boot = discovery::Boot { seed, replica, root: "/sim".to_owned(), config };
            untaped(Actor::Discovery(Box::new(Discovery::new(life.now, boot))))
        };
        let discovery = world.add("d1", Some(address("d1")), Box::new(discovery));
        let brokers: Vec<_> =
            (1..=3).map(|number| add_broker(&mut world, &tapes, &format!("b{number}"), every)).collect();
        let publisher = world.add("p1", None, Box::new(publisher));
        let subscriber = world.add("s1", None, Box::new(subscriber));
        for process in brokers.iter().chain([&discovery, &publisher, &subscriber]) {
            world.schedule(0, Fault::Restart(*process));
        }
        Self { world, brokers, publisher, tapes, tickets: 0 }
    }

    /// The publisher publishes so many records, from `at` on in these intervals.
    pub fn publish(&mut self, at: Duration, count: u64, every: Duration) {
        for number in 0..count {
            self.tickets += 1;
            let at = at + every * number as u32;
            let payload = format!("record {}", self.tickets);
            let topic = Topic::new(["a.b", "a.c"][number as usize % 2]).expect("a valid topic");
            let command = publisher::Command::publish(self.tickets, topic, payload.as_bytes());
            self.world.command(at.as_nanos() as u64, self.publisher, Command::Publisher(command));
        }
    }

    /// Goes on to this time.
    pub fn run(&mut self, until: Duration) {
        let until = until.as_nanos() as u64;
        while self.world.step(until).is_some() {}
    }
}

fn add_broker(world: &mut World<Taped>, tapes: &Tapes, name: &str, every: u64) -> ProcessId {
    let (node, listens) = (NodeName::new(name).expect("a valid name"), address(name));
    let all = Rc::clone(tapes);
    let starter = move |life: &Life| {
        let retention = Retention { bytes: None, records: Some(60), age: Some(Duration::from_secs(3_600)) };
        let boot = broker::Boot {
            seed: life.seed(),
            node: node.clone(),
            generation: Generation(life.identity(0)),
            incarnation: Incarnation(life.identity(1)),
            address: listens.clone(),
            group: 0,
            root: "/sim".to_owned(),
            config: broker::Config { retention, ..broker::Config::default() },
        };
        let mut tape = Tape {
            life: format!("{node} {}", life.number),
            boot: boot.clone(),
            all: Rc::clone(&all),
            encoder: Encoder::default(),
            inputs: 0,
            outputs: Outputs::default(),
            every,
        };
        tape.begin(life.now, true);
        let broker = Broker::new(life.now, boot);
        Taped { actor: Actor::Broker(Box::new(broker)), tape: Some(tape) }
    };
    world.add(name, Some(address(name)), Box::new(starter))
}

fn publisher(life: &Life) -> Taped {
    let boot = publisher::Boot {
        seed: life.seed(),
        publisher: PublisherId(u128::from(life.number) << 96),
        nonce: Nonce(life.identity(0)),
        discovery: vec![address("d1")],
        group: 0,
        config: publisher::Config::default(),
        outbox: None,
    };
    untaped(Actor::Publisher(Box::new(Publisher::new(life.now, boot))))
}

fn subscriber(life: &Life) -> Taped {
    let boot = subscriber::Boot {
        seed: life.seed(),
        discovery: vec![address("d1")],
        group: 0,
        filters: vec![Filter::new("a.>").expect("a valid filter")],
        start: subscriber::Start::Earliest,
        config: subscriber::Config::default(),
    };
    untaped(Actor::Subscriber(Box::new(Subscriber::new(life.now, boot))))
}
