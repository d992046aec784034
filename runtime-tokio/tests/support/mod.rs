//! What the tests share.

#![allow(dead_code, reason = "every test file uses its part")]

pub mod zookeeper;
