//! The coordination tree as this program itself reads it: is the service there, and what is a
//! group's state.

use super::failure::Failure;
use std::time::Duration;
use steadfast_core::coordination::{
    CallId, CallIds, Error, Event, MultiError, Operation, Paths, Reply, Request, SessionState, Set,
};
use steadfast_core::group::{GroupState, LiveNode};
use steadfast_core::id::Group;
use steadfast_core::wire;
use steadfast_runtime::coordination::Port;
use steadfast_tokio::coordination::Backing;
use tokio::time::timeout;

/// The only group.
const GROUP: u32 = 0;

/// A group as the tree has it.
#[derive(Debug)]
pub struct GroupView {
    /// The state and its version; `None` where there is no group.
    pub state: Option<(GroupState, i32)>,
    /// The live nodes of its brokers, in the order in which they were registered.
    pub live: Vec<LiveNode>,
}

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

    /// The group's state with its version, and the live nodes of its brokers, no older than this call.
    ///
    /// # Errors
    /// What the service answered.
    pub async fn group(&mut self, root: &str, group: Group) -> Result<GroupView, Error> {
        let paths = Paths::new(root.to_owned());
        let path = paths.state(group);
        let mut view = GroupView { state: None, live: Vec::new() };
        match self.call(Operation::barrier(path.clone())).await {
            Ok(_) => {}
            Err(Error::Multi { error: MultiError::NoNode, .. }) => return Ok(view),
            Err(error) => return Err(error),
        }
        match self.call(Operation::Get { path, watch: false }).await {
            Ok(Reply::Data { data, stat }) => {
                let state = wire::decode_group_state(&data).map_err(|_| Error::Unknown)?;
                view.state = Some((state, stat.version));
            }
            Err(Error::NoNode) => return Ok(view),
            Ok(_) => return Err(Error::Unknown),
            Err(error) => return Err(error),
        }
        let parent = paths.live(group);
        let Reply::Children(names) =
            self.call(Operation::Children { path: parent.clone(), watch: false }).await?
        else {
            return Err(Error::Unknown);
        };
        let mut live = Vec::new();
        for name in names {
            let path = format!("{parent}/{name}");
            match self.call(Operation::Get { path, watch: false }).await {
                Ok(Reply::Data { data, stat }) => {
                    live.extend(wire::decode_live_node(&data).map(|node| (stat.czxid, node)));
                }
                // Gone since it was listed.
                Err(Error::NoNode) => {}
                Ok(_) => return Err(Error::Unknown),
                Err(error) => return Err(error),
            }
        }
        live.sort_by_key(|(czxid, _)| *czxid);
        view.live = live.into_iter().map(|(_, node)| node).collect();
        Ok(view)
    }

    /// R1: writes the group's state if the tree still has this version.
    ///
    /// # Errors
    /// What the service answered.
    pub async fn set_group(
        &mut self,
        root: &str,
        group: Group,
        (state, version): (&GroupState, i32),
    ) -> Result<(), Error> {
        let path = Paths::new(root.to_owned()).state(group);
        let set = Set { path, data: wire::encode_group_state(state), version: Some(version) };
        self.call(Operation::Set(set)).await.map(drop)
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
