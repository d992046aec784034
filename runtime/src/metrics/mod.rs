//! Metrics into InfluxDB: what nodes count becomes points, and a thread of its own sends them.
//!
//! A node's driver shows its node to an observer ([`watch`]), which makes points of what is there
//! ([`measurements`], [`failover`]) and puts them into a bounded queue. The [`exporter`] sends them. A
//! server that is slow, silent or gone costs points, never time of a node.

pub mod acknowledgements;
pub mod exporter;
pub mod failover;
pub mod latency;
pub mod measurements;
pub mod point;
pub mod queue;
pub mod schema;
pub mod settings;
pub mod watch;

pub use exporter::{Exporter, Prepared, Progress, Sink};
pub use settings::{Settings, SettingsError};
