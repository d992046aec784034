//! A way to a server that can be cut: packets then vanish, and nobody is told.

use std::net::SocketAddr;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Ways to several servers, cut and healed together.
pub struct Proxy {
    cut: watch::Sender<bool>,
    addresses: Vec<SocketAddr>,
}

impl Proxy {
    /// Ways to these servers (`HOST:PORT[,HOST:PORT...]`).
    pub async fn to(servers: &str) -> Self {
        let (cut, is_cut) = watch::channel(false);
        let mut addresses = Vec::new();
        for server in servers.split(',') {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            addresses.push(listener.local_addr().unwrap());
            tokio::spawn(accept(listener, server.to_owned(), is_cut.clone()));
        }
        Self { cut, addresses }
    }

    /// The list of servers as a client is to know it.
    pub fn servers(&self) -> String {
        let addresses: Vec<_> = self.addresses.iter().map(ToString::to_string).collect();
        addresses.join(",")
    }

    pub fn cut(&self) {
        self.cut.send_replace(true);
    }

    /// Connections from before are closed, new ones get through.
    pub fn heal(&self) {
        self.cut.send_replace(false);
    }
}

/// Ends with its proxy.
async fn accept(listener: TcpListener, server: String, mut is_cut: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { continue };
                tokio::spawn(forward(client, server.clone(), is_cut.clone()));
            }
            changed = is_cut.changed() => if changed.is_err() { return },
        }
    }
}

async fn forward(mut client: TcpStream, server: String, mut is_cut: watch::Receiver<bool>) {
    let carried = async {
        let Ok(mut upstream) = TcpStream::connect(server).await else { return None };
        let mut cut = is_cut.clone();
        tokio::select! {
            biased;
            held = cut.wait_for(|&cut| cut) => held.is_ok().then_some(upstream),
            _ = copy_bidirectional(&mut client, &mut upstream) => None,
        }
    };
    let held = carried.await;
    if held.is_some() {
        // Both connections stay open, and what comes is not read.
        let _ = is_cut.wait_for(|&cut| !cut).await;
    }
}
