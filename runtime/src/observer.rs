//! Who looks at a node from its driver, between its inputs.

use steadfast_core::time::Instant;
use steadfast_core::trace::Trace;

/// Looks at a node of type `N`. No method may block: each runs on the node's own thread.
pub trait Observer<N> {
    /// The node gave out a trace record.
    fn traced(&mut self, now: Instant, trace: &Trace);

    /// The node has handled what there was, and its outputs were handed on.
    fn turned(&mut self, now: Instant, node: &mut N);

    /// The node is driven no more.
    fn ended(&mut self, now: Instant, node: &mut N);

    /// When it wants to look again, if nothing else happens.
    fn deadline(&self) -> Option<Instant>;
}

/// Nobody looks.
impl<N> Observer<N> for () {
    fn traced(&mut self, _: Instant, _: &Trace) {}

    fn turned(&mut self, _: Instant, _: &mut N) {}

    fn ended(&mut self, _: Instant, _: &mut N) {}

    fn deadline(&self) -> Option<Instant> {
        None
    }
}
