//! What both adapters share and neither owns. Nothing here needs the caller's async runtime: what must
//! be spawned is handed to the caller, or spawned by what the caller injects. The metrics thread keeps
//! a runtime of its own.

pub mod address;
pub mod batch;
pub mod clock;
pub mod completions;
pub mod configuration;
pub mod coordination;
pub mod identity;
pub mod inbox;
pub mod logs;
pub mod metrics;
pub mod native;
pub mod observer;
pub mod outbound;
pub mod outbox;
pub mod peers;
pub mod recorder;
pub mod secret;
pub mod telemetry;
pub mod transport;
pub mod units;
pub mod zookeeper;
