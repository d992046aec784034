//! A node with a coordination tree, a storage that is always done, and whatever else the target thinks of.

use std::collections::VecDeque;
use steadfast_core::coordination::tree::Tree;
use steadfast_core::coordination::{Event, Request, SessionState};
use steadfast_core::link::{LinkCommand, LinkStatus};
use steadfast_core::node::{Input, Node, Output};
use steadfast_core::storage;
use steadfast_core::time::{Duration, Instant};

/// The node's session.
const SESSION: u64 = 2;
/// Most inputs that one step may lead to.
const INPUTS: usize = 5_000;

/// A node and its surroundings.
pub struct Life<'a, N: Node> {
    node: N,
    tree: &'a mut Tree,
    /// What becomes of the links that it dials.
    dialled: LinkStatus,
    now: Instant,
    inputs: VecDeque<Input<N::Command>>,
}

impl<'a, N: Node> Life<'a, N> {
    /// It has just booted.
    pub fn new(node: N, tree: &'a mut Tree, dialled: LinkStatus) -> Self {
        Self { node, tree, dialled, now: Instant::from_nanos(0), inputs: VecDeque::new() }
    }

    /// It gets this, and whatever follows at once.
    pub fn give(&mut self, input: Input<N::Command>) {
        self.inputs.push_back(input);
        self.pass(Duration::ZERO);
    }

    /// Time goes by.
    ///
    /// # Panics
    /// When the node comes to no rest.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        for _ in 0..INPUTS {
            while let Some(output) = self.node.poll_output() {
                self.answer(output);
            }
            match self.inputs.pop_front() {
                Some(input) => self.node.handle_input(self.now, input),
                None => match self.node.poll_timeout().filter(|at| *at <= end) {
                    Some(at) => {
                        self.now = self.now.max(at);
                        self.node.handle_input(self.now, Input::Timeout);
                    }
                    None => {
                        self.now = end;
                        return;
                    }
                },
            }
        }
        panic!("the node comes to no rest");
    }

    fn answer(&mut self, output: Output<N::Event>) {
        match output {
            Output::Coordinate(Request::OpenSession) => {
                assert!(self.tree.open_session(SESSION), "its session does not end");
                let event = Event::Session(SessionState::Connected(SESSION));
                self.inputs.push_back(Input::Coordination(event));
            }
            Output::Coordinate(Request::Call { call, operation }) => {
                let result = self.tree.apply(SESSION, &operation);
                while let Some(fired) = self.tree.next_fired() {
                    let event = Event::Watch { path: fired.path, kind: fired.kind };
                    self.inputs.push_back(Input::Coordination(event));
                }
                self.inputs.push_back(Input::Coordination(Event::Reply { call, result }));
            }
            Output::Store(request) => {
                self.inputs.push_back(Input::Storage(storage::Event::Done(request.ticket)));
            }
            Output::Link(LinkCommand::Dial { link, .. }) => {
                self.inputs.push_back(Input::Link { link, status: self.dialled });
            }
            Output::Coordinate(Request::CloseSession)
            | Output::Link(LinkCommand::Close { .. })
            | Output::Transmit { .. }
            | Output::Event(_)
            | Output::Trace(_) => {}
        }
    }
}
