//! The simulator's models against reality: the same random scripts are played on the simulated
//! coordination ensemble and on real ZooKeeper servers behind the adapter, and the same link scripts
//! on the simulated network and on real ZeroMQ sockets.

mod compare;
mod coordination;
#[path = "../../../runtime/tests/transport/end.rs"]
#[allow(dead_code, reason = "every test file uses its part")]
mod end;
mod link_script;
mod links;
mod play;
#[path = "../../../runtime/tests/support/ports.rs"]
mod ports;
mod proxy;
mod real;
mod script;
mod simulated;
#[path = "../support/zookeeper.rs"]
#[allow(dead_code, reason = "every test file uses its part")]
mod zookeeper;

use steadfast_tokio::transport::Transport;
