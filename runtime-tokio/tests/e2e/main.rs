//! End to end: the real program, in processes of their own, over real ZeroMQ, on the embedded
//! coordination service and on a real ZooKeeper ensemble.

mod bench;
mod command_line;
mod demo;
mod files;
mod hostile;
mod nodes;
mod python;
mod retention;
mod status;
mod total_loss;
#[path = "../support/zookeeper.rs"]
#[allow(dead_code, reason = "every test file uses its part")]
mod zookeeper;
