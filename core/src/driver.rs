//! What every driver does after every batch of inputs: hand each output to its port.

use crate::link::{Frame, LinkCommand, LinkId};
use crate::node::{Node, Output};
use crate::time::Instant;
use crate::trace::Trace;
use crate::{coordination, storage};

/// Where a node's outputs go. No method may block or fail: a port that cannot do what is asked says
/// so later with an input (a link is lost, a session is suspended).
pub trait Ports<E> {
    /// Sends a frame.
    fn transmit(&mut self, link: LinkId, frame: Frame);
    /// Dials or closes a link.
    fn link(&mut self, command: LinkCommand);
    /// Passes a request to the coordination service.
    fn coordinate(&mut self, request: coordination::Request);
    /// Passes a request to the storage.
    fn store(&mut self, request: storage::Request);
    /// Tells the application.
    fn event(&mut self, event: E);
    /// Logs.
    fn trace(&mut self, trace: Trace);
    /// Looks at an output of whatever kind, before it is handed on.
    fn look(&mut self, output: &Output<E>);
}

/// Hands every output of the node to its port and returns the next deadline.
pub fn pump<N: Node>(node: &mut N, ports: &mut impl Ports<N::Event>) -> Option<Instant> {
    while let Some(output) = node.poll_output() {
        ports.look(&output);
        match output {
            Output::Transmit { link, frame } => ports.transmit(link, frame),
            Output::Link(command) => ports.link(command),
            Output::Coordinate(request) => ports.coordinate(request),
            Output::Store(request) => ports.store(request),
            Output::Event(event) => ports.event(event),
            Output::Trace(trace) => ports.trace(trace),
        }
    }
    node.poll_timeout()
}
