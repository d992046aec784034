//! One transport with everything that comes out of it.

use bytes::Bytes;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;
use steadfast_core::id::Address;
use steadfast_core::link::{Frame, LinkCommand, LinkId, LinkStatus};
use steadfast_core::node::Input;
use steadfast_runtime::address::parse;
use steadfast_runtime::batch::Batch;
use steadfast_tokio::transport::Transport;
use tokio::time::timeout;

/// Longer than anything here takes, also on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// A transport under test.
pub struct End {
    pub transport: Transport,
    inputs: VecDeque<Input<()>>,
}

impl End {
    pub fn dialling() -> Self {
        Self::with(Transport::dial_only())
    }

    pub fn with(transport: Transport) -> Self {
        Self { transport, inputs: VecDeque::new() }
    }

    pub async fn listening() -> Self {
        let transport = Transport::listen(&parse("127.0.0.1:0").unwrap()).await.unwrap();
        Self::with(transport)
    }

    pub fn address(&self) -> Address {
        self.transport.address().unwrap().clone()
    }

    pub fn dial(&mut self, n: u64, address: &Address) -> LinkId {
        let link = LinkId::dialled(n);
        self.transport.command(LinkCommand::Dial { link, address: address.clone() });
        link
    }

    /// Everything that is there now.
    pub async fn poll(&mut self) {
        let mut batch = Batch::default();
        poll_fn(|cx| {
            self.transport.poll(cx, &mut batch);
            Poll::Ready(())
        })
        .await;
        self.inputs.extend(batch.drain());
    }

    /// Whether an input was polled and not yet taken.
    pub fn is_waiting(&self) -> bool {
        !self.inputs.is_empty()
    }

    pub async fn next(&mut self) -> Input<()> {
        timeout(PATIENCE, async {
            loop {
                if let Some(input) = self.inputs.pop_front() {
                    return input;
                }
                let mut batch = Batch::default();
                poll_fn(|cx| {
                    self.transport.poll(cx, &mut batch);
                    if batch.is_empty() { Poll::Pending } else { Poll::Ready(()) }
                })
                .await;
                self.inputs.extend(batch.drain());
            }
        })
        .await
        .expect("an input")
    }

    pub async fn status(&mut self) -> (LinkId, LinkStatus) {
        match self.next().await {
            Input::Link { link, status } => (link, status),
            other => panic!("a status was expected, not {other:?}"),
        }
    }

    pub async fn received(&mut self) -> (LinkId, Frame) {
        match self.next().await {
            Input::Received { link, frame } => (link, frame),
            other => panic!("a frame was expected, not {other:?}"),
        }
    }

    /// Dials and waits until the link is up.
    pub async fn connect(&mut self, n: u64, address: &Address) -> LinkId {
        let link = self.dial(n, address);
        assert_eq!(self.status().await, (link, LinkStatus::Up));
        link
    }
}

pub fn frame(parts: &[&[u8]]) -> Frame {
    Frame { parts: parts.iter().map(|part| Bytes::copy_from_slice(part)).collect() }
}
