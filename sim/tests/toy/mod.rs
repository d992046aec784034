//! A node that does what it is told and remembers what it was told: to test the world around nodes.
#![allow(dead_code, reason = "each test uses what it needs")]

use std::collections::VecDeque;
use std::time::Duration;
use steadfast_core::coordination::{self, Operation, Request};
use steadfast_core::id::Address;
use steadfast_core::link::{Frame, LinkCommand, LinkId};
use steadfast_core::node::{Input, Node, Output};
use steadfast_core::time::Instant;
use steadfast_sim::fault::Fault;
use steadfast_sim::network::ProcessId;
use steadfast_sim::random::Draws;
use steadfast_sim::world::{Config, Life, World};

/// What a toy is asked to do.
#[derive(Clone, Debug)]
pub enum Do {
    Put(Output<()>),
    WakeAt(Instant),
}

#[derive(Debug, Default)]
pub struct Toy {
    /// Inputs in a few words, each with the virtual time since the node's start.
    pub seen: Vec<(Duration, String)>,
    began: Instant,
    /// One of its life's own.
    pub identity: u128,
    wake_at: Option<Instant>,
    out: VecDeque<Output<()>>,
}

impl Toy {
    /// What its clock showed at its start.
    pub fn began(&self) -> Instant {
        self.began
    }
}

impl Node for Toy {
    type Command = Do;
    type Event = ();

    fn handle_input(&mut self, now: Instant, input: Input<Do>) {
        let text = match input {
            Input::Command(Do::Put(output)) => return self.out.push_back(output),
            Input::Command(Do::WakeAt(at)) => return self.wake_at = Some(at),
            Input::Received { link, frame } => {
                format!("{link} {}", String::from_utf8_lossy(&frame.parts[0]))
            }
            Input::Link { link, status } => format!("{link} {status:?}"),
            Input::Coordination(coordination::Event::Reply { call, result }) => match result {
                Ok(_) => format!("reply {call} ok"),
                Err(error) => format!("reply {call} {error:?}"),
            },
            Input::Coordination(coordination::Event::Session(state)) => format!("{state:?}"),
            Input::Coordination(coordination::Event::Watch { path, kind }) => format!("{path} {kind:?}"),
            Input::Storage(event) => format!("{event:?}"),
            Input::Timeout => {
                self.wake_at = None;
                "timeout".to_owned()
            }
        };
        self.seen.push((now.since(self.began), text));
    }

    fn poll_output(&mut self) -> Option<Output<()>> {
        self.out.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.wake_at
    }
}

/// A world of running toys, named and addressed by their numbers.
pub fn world(config: Config, seed: u64, toys: usize) -> World<Toy> {
    let mut world = World::new(config, Draws::new(seed));
    for number in 0..toys {
        let starter =
            Box::new(|life: &Life| Toy { began: life.now, identity: life.identity(0), ..Toy::default() });
        let process = world.add(&number.to_string(), Some(address(number)), starter);
        world.strike(Fault::Restart(process));
    }
    world
}

pub fn address(number: usize) -> Address {
    Address::new(&format!("sim://{number}")).expect("an address")
}

/// Short forms for what tests do with a world.
pub trait Play {
    fn put(&mut self, toy: u32, output: Output<()>);
    fn dial(&mut self, toy: u32, link: u64, to: usize);
    fn send(&mut self, toy: u32, link: LinkId, text: &str);
    fn call(&mut self, toy: u32, call: u64, operation: Operation);
    fn run(&mut self, ms: u64);
    fn seen(&self, toy: u32) -> Vec<&str>;
    /// When a toy saw this, in milliseconds since its start.
    fn when(&self, toy: u32, text: &str) -> u64;
}

impl Play for World<Toy> {
    fn put(&mut self, toy: u32, output: Output<()>) {
        self.command(self.now(), ProcessId(toy), Do::Put(output));
    }

    fn dial(&mut self, toy: u32, link: u64, to: usize) {
        let (link, address) = (LinkId::dialled(link), address(to));
        self.put(toy, Output::Link(LinkCommand::Dial { link, address }));
    }

    fn send(&mut self, toy: u32, link: LinkId, text: &str) {
        let frame = Frame { parts: vec![text.to_owned().into()] };
        self.put(toy, Output::Transmit { link, frame });
    }

    fn call(&mut self, toy: u32, call: u64, operation: Operation) {
        self.put(toy, Output::Coordinate(Request::Call { call, operation }));
    }

    fn run(&mut self, ms: u64) {
        let end = self.now() + ms * 1_000_000;
        while self.step(end).is_some() {}
        self.advance(end);
    }

    fn seen(&self, toy: u32) -> Vec<&str> {
        let node = self.node(ProcessId(toy)).expect("a toy that lives");
        node.seen.iter().map(|(_, text)| text.as_str()).collect()
    }

    fn when(&self, toy: u32, text: &str) -> u64 {
        let node = self.node(ProcessId(toy)).expect("a toy that lives");
        let (at, _) = node.seen.iter().find(|(_, other)| other == text).expect("it was seen");
        at.as_millis() as u64
    }
}
