//! A node's coordination port, whatever stands behind it: a driver of the embedded service's client,
//! or the ZooKeeper adapter.

use crate::inbox::{Receiver, Sender, inbox};
use steadfast_core::coordination::{Event, Request};

/// The node's end.
#[derive(Debug)]
pub struct Port {
    /// What the node asks.
    pub requests: Sender<Request>,
    /// What it is told.
    pub events: Receiver<Event>,
}

/// The backend's end.
#[derive(Debug)]
pub struct Backend {
    /// What the node asks.
    pub requests: Receiver<Request>,
    /// What it is told.
    pub events: Sender<Event>,
}

/// Both ends.
pub fn port() -> (Port, Backend) {
    let (requests, asked) = inbox();
    let (events, told) = inbox();
    (Port { requests, events: told }, Backend { requests: asked, events })
}
