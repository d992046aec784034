//! What nodes are promised about links, over real sockets: the same tests for both adapters, and for
//! every pair of transports. Each adapter's tests include this module, and say what `Transport` and
//! `block_on` are, and what a kind does not do there.

mod conformance;
pub mod end;
mod hostile;
mod libzmq;

use steadfast_runtime::transport::Kind;

/// Does it with every kind of server, and every kind of client.
fn for_all_pairs(test: impl AsyncFn(Kind, Kind)) {
    for server in Kind::ALL {
        for client in Kind::ALL {
            println!("server {server}, client {client}");
            crate::block_on(test(server, client));
        }
    }
}

/// Does it with every kind of transport.
fn for_both(test: impl AsyncFn(Kind)) {
    for kind in Kind::ALL {
        println!("{kind}");
        crate::block_on(test(kind));
    }
}
