//! What both adapters share and neither owns. Nothing here names an async runtime: what must be
//! spawned is handed to the caller, or spawned by what the caller injects.

pub mod address;
pub mod batch;
pub mod clock;
pub mod completions;
pub mod coordination;
pub mod identity;
pub mod inbox;
pub mod outbound;
pub mod outbox;
pub mod peers;
pub mod telemetry;
pub mod zookeeper;
