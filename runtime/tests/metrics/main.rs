//! Metrics against servers: a real one, and ones that misbehave; and what is emitted against what is
//! declared, documented and shown.

mod declared;
mod export;
#[path = "../support/ports.rs"]
mod ports;
mod server;
