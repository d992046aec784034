//! Who looks at a node from its driver.

use steadfast_core::node::{Input, Node, Output};
use steadfast_core::time::{Instant, earliest};
use steadfast_core::trace::Trace;

/// Looks at a node of type `N`. No method may block: each runs on the node's own thread.
pub trait Observer<N: Node> {
    /// The node is about to handle an input.
    fn handles(&mut self, _: Instant, _: &Input<N::Command>) {}

    /// The node has put this out.
    fn puts_out(&mut self, _: &Output<N::Event>) {}

    /// The node gave out a trace record.
    fn traced(&mut self, _: Instant, _: &Trace) {}

    /// The node has handled what there was, and its outputs were handed on.
    fn turned(&mut self, now: Instant, node: &mut N);

    /// The node is driven no more.
    fn ended(&mut self, now: Instant, node: &mut N);

    /// When it wants to look again, if nothing else happens.
    fn deadline(&self) -> Option<Instant> {
        None
    }
}

/// Nobody looks.
impl<N: Node> Observer<N> for () {
    fn turned(&mut self, _: Instant, _: &mut N) {}

    fn ended(&mut self, _: Instant, _: &mut N) {}
}

/// Perhaps somebody looks.
impl<N: Node, O: Observer<N>> Observer<N> for Option<O> {
    fn handles(&mut self, now: Instant, input: &Input<N::Command>) {
        if let Some(observer) = self {
            observer.handles(now, input);
        }
    }

    fn puts_out(&mut self, output: &Output<N::Event>) {
        if let Some(observer) = self {
            observer.puts_out(output);
        }
    }

    fn traced(&mut self, now: Instant, trace: &Trace) {
        if let Some(observer) = self {
            observer.traced(now, trace);
        }
    }

    fn turned(&mut self, now: Instant, node: &mut N) {
        if let Some(observer) = self {
            observer.turned(now, node);
        }
    }

    fn ended(&mut self, now: Instant, node: &mut N) {
        if let Some(observer) = self {
            observer.ended(now, node);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.as_ref().and_then(O::deadline)
    }
}

/// Two look.
impl<N: Node, A: Observer<N>, B: Observer<N>> Observer<N> for (A, B) {
    fn handles(&mut self, now: Instant, input: &Input<N::Command>) {
        self.0.handles(now, input);
        self.1.handles(now, input);
    }

    fn puts_out(&mut self, output: &Output<N::Event>) {
        self.0.puts_out(output);
        self.1.puts_out(output);
    }

    fn traced(&mut self, now: Instant, trace: &Trace) {
        self.0.traced(now, trace);
        self.1.traced(now, trace);
    }

    fn turned(&mut self, now: Instant, node: &mut N) {
        self.0.turned(now, node);
        self.1.turned(now, node);
    }

    fn ended(&mut self, now: Instant, node: &mut N) {
        self.0.ended(now, node);
        self.1.ended(now, node);
    }

    fn deadline(&self) -> Option<Instant> {
        earliest(self.0.deadline(), self.1.deadline())
    }
}
