//! Steadfast on tokio: the production adapter, and the client library.

pub mod client;
pub mod coordination;
pub mod driver;
pub mod nodes;
pub mod transport;

pub use steadfast_core as core;
pub use steadfast_runtime as runtime;
