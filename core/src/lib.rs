//! The protocol of Steadfast as pure state machines.
//!
//! Every node ([`broker`], [`publisher`], [`subscriber`], [`discovery`], and the two ends of the
//! embedded [`coordination`] service) implements [`node::Node`]: time, frames, coordination replies
//! and storage completions go in; frames, coordination requests, storage requests, application
//! events and trace records come out. A node reads no clock, draws no random numbers of its own and
//! owns no socket, so a node's whole life is a list of `(Instant, Input)`.
//!
//! The rules quoted as `R…` are those of `docs/protocol.md`.
#![no_std]

extern crate alloc;

/// `sabotage!(Bug)`: whether this bug is planted; `sabotage!(Bug => wrong; right)`: one or the other.
#[cfg(feature = "bugs")]
macro_rules! sabotage {
    ($bug:ident) => {
        $crate::sabotage::is_planted($crate::sabotage::Bug::$bug)
    };
    ($bug:ident => $wrong:expr; $right:expr) => {
        if sabotage!($bug) { $wrong } else { $right }
    };
}
#[cfg(not(feature = "bugs"))]
macro_rules! sabotage {
    ($bug:ident) => {
        false
    };
    ($bug:ident => $wrong:expr; $right:expr) => {
        $right
    };
}

pub mod broker;
mod checksum;
pub mod client;
pub mod compression;
pub mod coordination;
pub mod discovery;
pub mod driver;
pub mod filter;
pub mod group;
pub mod id;
pub mod limits;
pub mod link;
pub mod log;
pub mod message;
pub mod node;
pub mod publisher;
pub mod recording;
pub mod rng;
#[cfg(feature = "bugs")]
pub mod sabotage;
pub mod stats;
pub mod status;
pub mod storage;
pub mod subscriber;
pub mod time;
pub mod trace;
pub mod wire;
pub mod zmtp;
