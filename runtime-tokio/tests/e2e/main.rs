//! End to end: the real program, in processes of their own, over real ZeroMQ, on the embedded
//! coordination service and on a real ZooKeeper ensemble.

mod bench;
mod command_line;
mod compression;
mod configuration;
mod demo;
mod files;
mod full_disk;
mod gone;
mod heir;
mod hostile;
mod memory;
mod metrics;
#[path = "../../../runtime/tests/metrics/server.rs"]
#[allow(dead_code, reason = "every test file uses its part")]
mod metrics_server;
mod nodes;
mod outbox;
mod overtaken;
#[path = "../../../runtime/tests/support/ports.rs"]
mod ports;
mod python;
mod quorum;
mod recording;
mod retention;
mod rolling;
mod status;
mod total_loss;
mod transport;
mod unruly;
mod worker;
#[path = "../support/zookeeper.rs"]
#[allow(dead_code, reason = "every test file uses its part")]
mod zookeeper;
