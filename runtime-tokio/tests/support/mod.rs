//! What the tests share.

#![allow(dead_code, reason = "every test file uses its part")]

#[path = "../../../runtime/tests/support/ports.rs"]
pub mod ports;
pub mod zookeeper;
