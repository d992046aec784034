//! The deterministic simulator: the real nodes of [`steadfast_core`] on virtual time, a simulated
//! network, a simulated coordination ensemble and simulated storage, with faults as data.
//!
//! A [`world::World`] drives any set of nodes. [`cluster::Cluster`] fills it with brokers, discovery
//! replicas, publishers and subscribers, feeds what it sees to the [`check`]ers after every input, and
//! knows how to end a run. The same seed gives the same history: every random draw is a pure function
//! of (seed, purpose, entity, counter), see [`random`].

pub mod actor;
pub mod check;
pub mod clock;
pub mod cluster;
pub mod coordination;
pub mod coverage;
pub mod diagram;
pub mod explore;
pub mod fault;
pub mod fingerprint;
pub mod matrix;
pub mod network;
pub mod observer;
pub mod operator;
pub mod outbox;
pub mod pipe;
pub mod plan;
pub mod queue;
pub mod random;
pub mod reader;
pub mod recording;
pub mod render;
#[cfg(feature = "bugs")]
pub mod sensitivity;
pub mod stranger;
pub mod world;
