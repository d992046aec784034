//! The inputs of one turn of a driver's loop.

use steadfast_core::limits::MAX_FRAME_LEN;
use steadfast_core::link::{Frame, LinkId, LinkStatus};
use steadfast_core::node::Input;

/// Inputs gathered from several sources. Each source has a quota, so that a busy one starves no
/// other, and so that one turn holds only so many bytes.
#[derive(Debug)]
pub struct Batch<C> {
    inputs: Vec<Input<C>>,
    bytes: usize,
    input_limit: usize,
    byte_limit: usize,
}

impl<C> Default for Batch<C> {
    fn default() -> Self {
        Self { inputs: Vec::new(), bytes: 0, input_limit: 0, byte_limit: 0 }
    }
}

impl<C> Batch<C> {
    /// The next source may add `inputs` inputs, and frames until they exceed one full frame.
    pub const fn open(&mut self, inputs: usize) {
        self.input_limit = self.inputs.len() + inputs;
        self.byte_limit = self.bytes + MAX_FRAME_LEN;
    }

    /// Whether the source has used its quota up.
    pub const fn is_full(&self) -> bool {
        self.inputs.len() >= self.input_limit || self.bytes >= self.byte_limit
    }

    /// Whether no source had anything.
    pub const fn is_empty(&self) -> bool {
        self.inputs.is_empty()
    }

    /// Adds an input.
    pub fn push(&mut self, input: Input<C>) {
        self.inputs.push(input);
    }

    /// Adds a frame.
    pub fn received(&mut self, link: LinkId, frame: Frame) {
        self.bytes += frame.len();
        self.inputs.push(Input::Received { link, frame });
    }

    /// Adds news of a link.
    pub fn link(&mut self, link: LinkId, status: LinkStatus) {
        self.inputs.push(Input::Link { link, status });
    }

    /// Takes everything out.
    pub fn drain(&mut self) -> impl Iterator<Item = Input<C>> {
        self.bytes = 0;
        self.inputs.drain(..)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn every_source_has_its_quota() {
        let mut batch = Batch::<()>::default();
        batch.open(2);
        batch.push(Input::Timeout);
        assert!(!batch.is_full());
        batch.push(Input::Timeout);
        assert!(batch.is_full());
        batch.open(2);
        assert!(!batch.is_full());
        batch.received(LinkId::dialled(1), Frame { parts: vec![Bytes::from(vec![0; MAX_FRAME_LEN])] });
        assert!(batch.is_full(), "by bytes");
        assert_eq!(batch.drain().count(), 3);
        batch.open(1);
        assert!(batch.is_empty() && !batch.is_full());
    }
}
