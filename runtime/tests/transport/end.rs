//! One transport with everything that comes out of it, on whichever adapter the test is of.

use crate::Transport;
use async_io::Timer;
use bytes::Bytes;
use futures::future::{Either, FutureExt as _, select};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;
use steadfast_core::id::Address;
use steadfast_core::link::{Frame, LinkCommand, LinkId, LinkStatus};
use steadfast_core::node::Input;
use steadfast_runtime::address::parse;
use steadfast_runtime::batch::Batch;
use steadfast_runtime::clock::Clock;
use steadfast_runtime::transport::Kind;

/// Longer than anything here takes, also on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What comes in time.
pub async fn within<T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    match select(pin!(future), pin!(Timer::after(limit))).await {
        Either::Left((result, _)) => Some(result),
        Either::Right(_) => None,
    }
}

/// A transport under test.
pub struct End {
    pub transport: Transport,
    clock: Clock,
    inputs: VecDeque<Input<()>>,
}

impl End {
    pub fn dialling(kind: Kind) -> Self {
        Self::with(Transport::dial_only(kind))
    }

    pub fn with(transport: Transport) -> Self {
        Self { transport, clock: Clock::start(), inputs: VecDeque::new() }
    }

    pub async fn listening(kind: Kind) -> Self {
        let transport = Transport::listen(kind, &parse("127.0.0.1:0").unwrap()).await.unwrap();
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
            self.transport.poll(cx, self.clock.now(), &mut batch);
            Poll::Ready(())
        })
        .await;
        self.inputs.extend(batch.drain());
    }

    /// Whether an input was polled and not yet taken.
    pub fn is_waiting(&self) -> bool {
        !self.inputs.is_empty()
    }

    /// Waits until something was polled.
    pub async fn wait(&mut self) {
        if self.inputs.is_empty() {
            let mut batch = Batch::default();
            self.transport.gather(self.clock, &mut batch).await;
            self.inputs.extend(batch.drain());
        }
    }

    pub async fn next(&mut self) -> Input<()> {
        within(PATIENCE, self.wait()).await.expect("an input");
        self.inputs.pop_front().expect("it was waited for")
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

/// Works for one end until the other has what is wanted: neither waits for anything but the other.
pub async fn while_polling<T>(end: &mut End, wanted: impl Future<Output = T>) -> T {
    let mut wanted = pin!(wanted.fuse());
    loop {
        let polled = async {
            end.poll().await;
            Timer::after(Duration::from_millis(1)).await;
        };
        if let Either::Left((result, _)) = select(&mut wanted, pin!(polled)).await {
            return result;
        }
    }
}

pub fn frame(parts: &[&[u8]]) -> Frame {
    Frame { parts: parts.iter().map(|part| Bytes::copy_from_slice(part)).collect() }
}
