//! Links over real sockets, under async-std.

#[path = "../../../runtime/tests/transport/mod.rs"]
mod suite;

use steadfast_asyncstd::transport::Transport;
use steadfast_runtime::transport::Kind;

fn block_on<T>(test: impl Future<Output = T>) -> T {
    async_std::task::block_on(test)
}

/// Whether a transport of this kind notices by itself that a connection has ended.
fn notices(kind: Kind) -> bool {
    kind == Kind::Native
}

/// Whether a transport of this kind keeps what the system has no room for.
fn queues(kind: Kind) -> bool {
    kind == Kind::Native
}
