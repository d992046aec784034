//! Links over real sockets, under tokio.

#[path = "../../../runtime/tests/transport/mod.rs"]
mod suite;
mod zeromq;

use steadfast_runtime::transport::Kind;
use steadfast_tokio::transport::Transport;

fn block_on<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test)
}

/// Whether a transport of this kind notices by itself that a connection has ended.
const fn notices(_: Kind) -> bool {
    true
}

/// Whether a transport of this kind keeps what the system has no room for.
const fn queues(_: Kind) -> bool {
    true
}
