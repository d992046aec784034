//! The coordination tree as this program itself reads it: is the service there, and what is a
//! group's state.

use super::failure::Failure;
use std::time::Duration;
use steadfast_core::coordination::{
    CallId, CallIds, Error, Event, Operation, Paths, Reply, Request, SessionState, Zxid,
};
use steadfast_core::group::{GroupState, LiveNode};
use steadfast_core::wire;
use steadfast_runtime::coordination::Port;
use steadfast_tokio::coordination::Backing;
use tokio::time::timeout;

/// The only group.
const GROUP: u32 = 0;

/// A session of this process.
#[derive(Debug)]
pub struct Tree {
    port: Port,
    backing: Backing,
    calls: CallIds,
}

impl Tree {
    /// Opens a session.
    ///
    /// # Errors
    /// When the service does not answer in time.
    pub async fn open(
        (port, backing): (Port, Backing),
        service: &str,
        patience: Duration,
    ) -> Result<Self, Failure> {
        let mut tree = Self { port, backing, calls: CallIds::default() };
        tree.reopen();
        match timeout(patience, tree.connected()).await {
            Ok(true) => Ok(tree),
            _ => Err(Failure::new(
                format!("{service} does not answer within {} s", patience.as_secs_f64()),
                "check that it runs there and that the address is right",
            )),
        }
    }

    async fn connected(&mut self) -> bool {
        while let Some(event) = self.port.events.next().await {
            match event {
                Event::Session(SessionState::Connected(_)) => return true,
                Event::Session(SessionState::Expired) => self.reopen(),
                _ => {}
            }
        }
        false
    }

    fn reopen(&self) {
        // Without a backend nothing is answered, and the caller's patience ends.
        let _ = self.port.requests.send(Request::OpenSession);
    }

    /// The group's state, once there is one.
    pub async fn group_state(&mut self, root: &str) -> Option<GroupState> {
        let path = Paths::new(root.to_owned()).state(GROUP);
        match self.call(Operation::Get { path, watch: false }).await {
            Ok(Reply::Data { data, .. }) => wire::decode_group_state(&data).ok(),
            _ => None,
        }
    }

    /// The brokers that are live, with the transactions that created their nodes.
    pub async fn live_nodes(&mut self, root: &str) -> Vec<(Zxid, LiveNode)> {
        let folder = Paths::new(root.to_owned()).live(GROUP);
        let names = match self.call(Operation::Children { path: folder.clone(), watch: false }).await {
            Ok(Reply::Children(names)) => names,
            _ => Vec::new(),
        };
        let mut live = Vec::new();
        for name in names {
            // One that is gone since is not live.
            if let Ok(Reply::Data { data, stat }) =
                self.call(Operation::Get { path: format!("{folder}/{name}"), watch: false }).await
                && let Ok(node) = wire::decode_live_node(&data)
            {
                live.push((stat.czxid, node));
            }
        }
        live
    }

    async fn call(&mut self, operation: Operation) -> Result<Reply, Error> {
        let call = self.calls.next_call();
        match self.port.requests.send(Request::Call { call, operation }) {
            Ok(()) => self.reply(call).await,
            Err(_) => Err(Error::Unknown),
        }
    }

    async fn reply(&mut self, wanted: CallId) -> Result<Reply, Error> {
        while let Some(event) = self.port.events.next().await {
            match event {
                Event::Reply { call, result } if call == wanted => return result,
                Event::Session(SessionState::Expired) => {
                    self.reopen();
                    return Err(Error::Unknown);
                }
                _ => {}
            }
        }
        Err(Error::Unknown)
    }

    /// Ends the session.
    pub async fn close(self) {
        let Self { port, backing, .. } = self;
        // Without a backend there is no session either.
        let _ = port.requests.send(Request::CloseSession);
        drop(port);
        backing.close().await;
    }
}
