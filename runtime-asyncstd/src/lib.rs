//! Steadfast on async-std: the same driver and transport as on tokio, with only the runtime changed.
//! It shows that nothing else depends on the runtime; production uses the tokio adapter.

pub mod coordination;
pub mod driver;
pub mod transport;
