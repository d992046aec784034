//! A real ensemble behind the adapter as a side.

use crate::play::{Side, Stuck};
use crate::proxy::Proxy;
use crate::script::{Kind, SESSIONS};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use steadfast_core::coordination::{Event, Request};
use steadfast_runtime::coordination::Port;
use steadfast_runtime::zookeeper::{Config, prepare};
use steadfast_tokio::coordination::{Backing, spawner, zookeeper};
use tokio::sync::Barrier;
use tokio::time::timeout;

/// Longer than anything takes, also on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// Of sessions that are to live.
const LONG_SESSION: Duration = Duration::from_secs(40);
/// Of sessions that are to expire: long enough not to do so by themselves on a loaded machine.
const SHORT_SESSION: Duration = Duration::from_secs(4);

/// Where scripts are played.
pub struct Ground {
    servers: String,
    chroots: AtomicU32,
}

/// One script's sessions, in a chroot of their own.
pub struct Real {
    users: Vec<User>,
    /// Where scripts meet before the leader dies.
    gate: Option<Arc<Barrier>>,
}

struct User {
    port: Port,
    _backing: Backing,
    proxy: Option<Proxy>,
}

impl Ground {
    pub fn new(servers: String) -> Self {
        Self { servers, chroots: AtomicU32::new(0) }
    }

    /// A new chroot, with sessions fit for this kind of script.
    pub async fn stage(&self, kind: Kind, gate: Option<Arc<Barrier>>) -> Real {
        let number = self.chroots.fetch_add(1, Ordering::Relaxed);
        let config = Config {
            chroot: Some(format!("/script-{number}")),
            session_timeout: LONG_SESSION,
            ..Config::new(self.servers.clone())
        };
        prepare(&config, "/", PATIENCE, &spawner()).await.expect("the ensemble serves");
        let mut users = Vec::new();
        for _ in 0..SESSIONS {
            users.push(User::new(config.clone(), kind).await);
        }
        Real { users, gate }
    }
}

impl User {
    async fn new(mut config: Config, kind: Kind) -> Self {
        let mut proxy = None;
        if kind == Kind::Expiry {
            let way = Proxy::to(&config.servers).await;
            config.servers = way.servers();
            config.session_timeout = SHORT_SESSION;
            proxy = Some(way);
        }
        let (port, backing) = zookeeper(config);
        Self { port, _backing: backing, proxy }
    }

    fn proxy(&self) -> &Proxy {
        self.proxy.as_ref().expect("only scripts with an expiry cut a session off")
    }
}

impl Side for Real {
    fn ask(&mut self, session: usize, request: Request) {
        assert!(self.users[session].port.requests.send(request).is_ok(), "the adapter runs");
    }

    async fn event(&mut self, session: usize, wait: &str) -> Result<Event, Stuck> {
        match timeout(PATIENCE, self.users[session].port.events.next()).await {
            Ok(event) => Ok(event.expect("the adapter runs")),
            Err(_) => Err(Stuck(format!("reality: session {session} waits for {wait}"))),
        }
    }

    fn cut(&mut self, session: usize) {
        self.users[session].proxy().cut();
    }

    fn heal(&mut self, session: usize) {
        self.users[session].proxy().heal();
    }

    async fn strike(&mut self, _session: usize) {
        if let Some(gate) = &self.gate {
            gate.wait().await;
        }
    }
}
