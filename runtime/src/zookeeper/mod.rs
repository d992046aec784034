//! A node's coordination port on a real ZooKeeper, by `zookeeper-client`. It names no async runtime:
//! the caller spawns [`serve`] and injects what spawns the client's own tasks.
//!
//! What the client leaves to its user is done here:
//! - Persistent watches are gone after a reconnect; they are left again, before the node hears of
//!   the connection and reads anew.
//! - A watch event comes once for each kind of watch that sees it, however often the node has left that
//!   watch, and ahead of every reply that came after it.
//! - A write whose answer is lost is answered with [`Error::Unknown`](steadfast_core::coordination::Error).

mod admin;
mod convert;

pub use admin::{AdminError, prepare, remove_root};
pub use asyncs::task::{Spawn, Task};

use crate::coordination::Backend;
use crate::inbox::{Receiver, Sender};
use crate::secret::Secret;
use async_io::Timer;
use convert::{Acls, Outcome, Watcher};
use futures::future::{BoxFuture, Either, FutureExt, select};
use futures::stream::{FuturesUnordered, StreamExt};
use std::collections::{BTreeSet, VecDeque};
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use steadfast_core::coordination::tree::check;
use steadfast_core::coordination::{CallId, Error, Event, Operation, Reply, Request, SessionState};
use tracing::{debug, warn};
use zookeeper_client as zk;

/// Spawns the client's tasks.
pub type Spawner = Arc<dyn Spawn + Send + Sync>;

/// Most calls that wait for a session's first connection; one more has an unknown outcome.
const MAX_WAITING: usize = 4_096;
/// Between attempts to connect.
const RETRY: Duration = Duration::from_millis(200);
/// How long the end of a session may take to reach the server.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(250);

/// Where ZooKeeper is, who this is there, and how long a session outlives its process.
#[derive(Clone, Debug)]
pub struct Config {
    /// `HOST:PORT[,HOST:PORT...]`.
    pub servers: String,
    /// The node that holds everything, for example `/apps`. It must exist: see [`prepare`].
    pub chroot: Option<String>,
    /// Who this is. With it, only who can say the same may touch what a session creates.
    pub auth: Option<Auth>,
    /// Shorter notices a dead process sooner; below a second a busy machine loses live ones.
    pub session_timeout: Duration,
}

/// How a session authenticates.
#[derive(Clone, Debug)]
pub struct Auth {
    /// For example `digest`.
    pub scheme: String,
    /// For `digest` `USER:PASSWORD`.
    pub credential: Secret,
}

impl Config {
    /// Sessions of two seconds, by nobody in particular, with the whole tree.
    pub const fn new(servers: String) -> Self {
        Self { servers, chroot: None, auth: None, session_timeout: Duration::from_secs(2) }
    }

    fn connector(&self) -> zk::Connector {
        let connector = zk::Client::connector().with_session_timeout(self.session_timeout);
        match &self.auth {
            None => connector,
            Some(auth) => connector.with_auth(&auth.scheme, auth.credential.expose().as_bytes()),
        }
    }

    fn connect_string(&self) -> String {
        format!("{}{}", self.servers, self.chroot.as_deref().unwrap_or_default())
    }

    /// Who may touch what a session creates.
    const fn acls(&self) -> Acls {
        if self.auth.is_some() { Acls::creator_all() } else { Acls::anyone_all() }
    }
}

/// Serves a node until its port is dropped, and ends its session then. Unreachable servers are tried
/// for ever: the node sees no session until one answers.
pub async fn serve(config: Config, spawner: Spawner, backend: Backend) {
    entered(&spawner, async {
        let mut adapter = Adapter { config, requests: backend.requests, events: backend.events };
        adapter.run().await;
    })
    .await;
}

/// Polls the future where the client finds the spawner.
async fn entered<T>(spawner: &Spawner, future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    poll_fn(|cx| {
        let _scope = asyncs::task::enter(&**spawner);
        future.as_mut().poll(cx)
    })
    .await
}

struct Adapter {
    config: Config,
    requests: Receiver<Request>,
    events: Sender<Event>,
}

/// How a session ended.
enum End {
    /// The node has closed it.
    Closed,
    /// ZooKeeper has, or the client has given it up.
    Expired,
    /// The node is gone.
    PortDropped,
}

impl Adapter {
    async fn run(&mut self) {
        while let Some(request) = self.requests.next().await {
            match request {
                Request::OpenSession => {
                    if matches!(self.session().await, End::PortDropped) {
                        return;
                    }
                }
                Request::CloseSession => {}
                Request::Call { call, .. } => reply(&self.events, call, Err(Error::SessionExpired)),
            }
        }
    }

    /// One session, from its opening to its end.
    async fn session(&mut self) -> End {
        let mut waiting = VecDeque::new();
        let client = match self.connect(&mut waiting).await {
            Ok(client) => client,
            Err(end) => return end,
        };
        let mut session = Session::new(client, self.config.acls(), self.events.clone());
        session.connected();
        for (call, operation) in waiting {
            session.start(call, operation);
        }
        let end = session.run(&mut self.requests).await;
        session.finish(&end).await;
        end
    }

    /// Tries until a server answers, or the node wants no session any more.
    async fn connect(&mut self, waiting: &mut VecDeque<(CallId, Operation)>) -> Result<zk::Client, End> {
        let config = self.config.clone();
        let mut attempt = pin!(connect(&config));
        loop {
            let request = match select(attempt.as_mut(), pin!(self.requests.next())).await {
                Either::Left((client, _)) => return Ok(client),
                Either::Right((request, _)) => request,
            };
            match request {
                None => return Err(End::PortDropped),
                Some(Request::CloseSession) => return Err(End::Closed),
                Some(Request::OpenSession) => debug!("a session is being opened already"),
                Some(Request::Call { call, operation }) if waiting.len() < MAX_WAITING => {
                    waiting.push_back((call, operation));
                }
                Some(Request::Call { call, .. }) => reply(&self.events, call, Err(Error::Unknown)),
            }
        }
    }
}

async fn connect(config: &Config) -> zk::Client {
    let mut warned = false;
    loop {
        match config.connector().connect(&config.connect_string()).await {
            Ok(client) => {
                let granted = client.session_timeout();
                if granted > config.session_timeout {
                    // R12: a lag threshold below the session timeout lets a sick primary drop its backups.
                    let asked = config.session_timeout;
                    warn!(
                        ?asked,
                        ?granted,
                        "ZooKeeper grants a longer session than asked for; ask for at least as much, or lower its minSessionTimeout"
                    );
                }
                return client;
            }
            Err(error) if warned => debug!(servers = config.servers, %error, "still no ZooKeeper"),
            Err(error) => {
                warned = true;
                warn!(servers = config.servers, %error, "no ZooKeeper server answers; trying on");
            }
        }
        Timer::after(RETRY).await;
    }
}

/// A watch that the node has left: one of a kind and path.
type WatchKey = (WatchClass, String);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum WatchClass {
    Data,
    Children,
    Persistent,
    Recursive,
}

/// Something in flight that has come to an end.
enum Progress {
    Replied { call: CallId, watch: Option<WatchKey>, outcome: Outcome },
    Rearmed { key: WatchKey, outcome: Outcome },
    Fired { key: WatchKey, event: zk::WatchedEvent, watcher: Option<zk::PersistentWatcher> },
}

/// An open session.
struct Session {
    client: zk::Client,
    acls: Acls,
    states: zk::StateWatcher,
    connected: bool,
    events: Sender<Event>,
    /// Calls and watches together: what wakes first is handled first, so that a watch event stays
    /// ahead of the replies that came after it.
    in_flight: FuturesUnordered<BoxFuture<'static, Progress>>,
    open_calls: BTreeSet<CallId>,
    armed: BTreeSet<WatchKey>,
}

impl Session {
    fn new(client: zk::Client, acls: Acls, events: Sender<Event>) -> Self {
        Self {
            states: client.state_watcher(),
            client,
            acls,
            connected: false,
            events,
            in_flight: FuturesUnordered::new(),
            open_calls: BTreeSet::new(),
            armed: BTreeSet::new(),
        }
    }

    async fn run(&mut self, requests: &mut Receiver<Request>) -> End {
        loop {
            futures::select_biased! {
                progress = self.in_flight.select_next_some() => self.progress(progress),
                state = self.states.changed().fuse() => {
                    if self.state(state).is_break() {
                        return End::Expired;
                    }
                }
                request = requests.next().fuse() => match request {
                    Some(Request::Call { call, operation }) => self.start(call, operation),
                    Some(Request::OpenSession) => debug!("a session is open already"),
                    Some(Request::CloseSession) => return End::Closed,
                    None => return End::PortDropped,
                }
            }
        }
    }

    /// Ends the session on the server too, where it has not ended there, and answers what is open.
    async fn finish(mut self, end: &End) {
        if matches!(end, End::Expired) {
            for call in std::mem::take(&mut self.open_calls) {
                reply(&self.events, call, Err(Error::Unknown));
            }
            tell(&self.events, Event::Session(SessionState::Expired));
            return;
        }
        let Self { client, mut states, in_flight, .. } = self;
        // Every clone of the client keeps the session open.
        drop((client, in_flight));
        let closed = pin!(async { while !states.changed().await.is_terminated() {} });
        if let Either::Right(_) = select(closed, Timer::after(CLOSE_TIMEOUT)).await {
            debug!("ZooKeeper did not confirm the end of the session; it ends by its timeout");
        }
    }

    /// Sends the operation. The client sends in the order in which its futures are first polled.
    fn start(&mut self, call: CallId, operation: Operation) {
        // The same is refused here as by the embedded tree; a server would let some of it pass, and
        // would break the connection for too long a request.
        if let Err(error) = check(&operation) {
            return reply(&self.events, call, Err(error));
        }
        self.open_calls.insert(call);
        let watch = watch_key(&operation);
        let (client, acls) = (self.client.clone(), self.acls);
        self.send(async move {
            let outcome = perform(&client, acls, operation).await;
            Progress::Replied { call, watch, outcome }
        });
    }

    fn send(&mut self, future: impl Future<Output = Progress> + Send + 'static) {
        let mut future = future.boxed();
        match future.as_mut().now_or_never() {
            Some(progress) => self.in_flight.push(std::future::ready(progress).boxed()),
            None => self.in_flight.push(future),
        }
    }

    fn progress(&mut self, progress: Progress) {
        match progress {
            Progress::Replied { call, watch, outcome } => self.replied(call, watch, outcome),
            Progress::Rearmed { key, outcome: Err(error) } => {
                debug!(path = key.1, %error, "a watch could not be left again; the next connection retries");
            }
            // The watcher from before gets the events; the new one is dropped.
            Progress::Rearmed { .. } => {}
            Progress::Fired { key, event, watcher } => self.fired(key, event, watcher),
        }
    }

    fn replied(&mut self, call: CallId, watch: Option<WatchKey>, outcome: Outcome) {
        self.open_calls.remove(&call);
        let (result, watcher) = match outcome {
            Ok((answer, watcher)) => (Ok(answer), watcher),
            Err(error) => (Err(error), None),
        };
        reply(&self.events, call, result);
        if let (Some(key), Some(watcher)) = (watch, watcher) {
            self.arm(key, watcher);
        }
    }

    /// Waits for the watch, unless the same one is waited for already.
    fn arm(&mut self, key: WatchKey, watcher: Watcher) {
        if !self.armed.insert(key.clone()) {
            return;
        }
        match watcher {
            Watcher::OneShot(watcher) => {
                let mut changed = watcher.changed().boxed();
                // It may have fired already, before replies that have come too.
                match changed.as_mut().now_or_never() {
                    Some(event) => self.fired(key, event, None),
                    None => self.in_flight.push(
                        async move {
                            let event = changed.await;
                            Progress::Fired { key, event, watcher: None }
                        }
                        .boxed(),
                    ),
                }
            }
            Watcher::Persistent(watcher) => self.listen(key, watcher),
        }
    }

    /// Passes on what a persistent watch has seen so far, and waits for more. To wait after each event
    /// would put the next one behind replies that came after it.
    fn listen(&mut self, key: WatchKey, mut watcher: zk::PersistentWatcher) {
        while let Some(event) = watcher.changed().now_or_never() {
            if self.pass_on(event).is_break() {
                return;
            }
        }
        self.in_flight.push(
            async move {
                let event = watcher.changed().await;
                Progress::Fired { key, event, watcher: Some(watcher) }
            }
            .boxed(),
        );
    }

    fn fired(&mut self, key: WatchKey, event: zk::WatchedEvent, watcher: Option<zk::PersistentWatcher>) {
        if self.pass_on(event).is_break() {
            return;
        }
        match watcher {
            Some(watcher) => self.listen(key, watcher),
            None => {
                self.armed.remove(&key);
            }
        }
    }

    /// Breaks at the session's end: there is nothing after it, and to wait for more would panic.
    fn pass_on(&self, event: zk::WatchedEvent) -> std::ops::ControlFlow<()> {
        if let Some(kind) = convert::watch_kind(event.event_type) {
            tell(&self.events, Event::Watch { path: event.path, kind });
        } else if event.session_state.is_terminated() {
            return std::ops::ControlFlow::Break(());
        }
        std::ops::ControlFlow::Continue(())
    }

    /// Follows the session's state. The watcher may skip states: connected twice in a row means that
    /// the connection was lost in between.
    fn state(&mut self, state: zk::SessionState) -> std::ops::ControlFlow<()> {
        match state {
            zk::SessionState::SyncConnected | zk::SessionState::ConnectedReadOnly => {
                self.suspended();
                self.rearm();
                self.connected();
            }
            zk::SessionState::Disconnected => self.suspended(),
            zk::SessionState::Expired | zk::SessionState::AuthFailed | zk::SessionState::Closed => {
                return std::ops::ControlFlow::Break(());
            }
        }
        std::ops::ControlFlow::Continue(())
    }

    fn connected(&mut self) {
        self.connected = true;
        let id = convert::session_id(self.client.session_id());
        tell(&self.events, Event::Session(SessionState::Connected(id)));
    }

    fn suspended(&mut self) {
        if std::mem::take(&mut self.connected) {
            tell(&self.events, Event::Session(SessionState::Suspended));
        }
    }

    /// Leaves the persistent watches again: this version of the client forgets them when it
    /// reconnects. What the node reads after this is newer than the watches.
    fn rearm(&mut self) {
        let keys: Vec<_> = self.armed.iter().filter(|key| key.0.is_persistent()).cloned().collect();
        for key in keys {
            let client = self.client.clone();
            self.send(async move {
                let recursive = key.0 == WatchClass::Recursive;
                let outcome = convert::persistent_watch(&client, &key.1, recursive).await;
                Progress::Rearmed { key, outcome }
            });
        }
    }
}

impl WatchClass {
    const fn is_persistent(self) -> bool {
        matches!(self, Self::Persistent | Self::Recursive)
    }
}

fn watch_key(operation: &Operation) -> Option<WatchKey> {
    let (class, path) = match operation {
        Operation::Get { path, watch: true } | Operation::Exists { path, watch: true } => {
            (WatchClass::Data, path)
        }
        Operation::Children { path, watch: true } => (WatchClass::Children, path),
        Operation::Watch { path, recursive: false } => (WatchClass::Persistent, path),
        Operation::Watch { path, recursive: true } => (WatchClass::Recursive, path),
        _ => return None,
    };
    Some((class, path.clone()))
}

async fn perform(client: &zk::Client, acls: Acls, operation: Operation) -> Outcome {
    let done =
        |result: Result<Reply, zk::Error>| result.map(|reply| (reply, None)).map_err(|e| convert::error(&e));
    match operation {
        Operation::Create(create) => convert::create(client, acls, &create).await,
        Operation::Get { path, watch } => convert::get(client, &path, watch).await,
        Operation::Exists { path, watch } => convert::exists(client, &path, watch).await,
        Operation::Children { path, watch } => convert::children(client, &path, watch).await,
        Operation::Set(set) => {
            let result = client.set_data(&set.path, &set.data, set.version).await;
            done(result.map(|stat| Reply::Set(convert::stat(&stat))))
        }
        Operation::Delete(delete) => {
            done(client.delete(&delete.path, delete.version).await.map(|()| Reply::Done))
        }
        Operation::Sync { path } => done(client.sync(&path).await.map(|()| Reply::Done)),
        Operation::Multi(operations) => convert::multi(client, acls, &operations).await,
        Operation::Watch { path, recursive } => convert::persistent_watch(client, &path, recursive).await,
    }
}

fn reply(events: &Sender<Event>, call: CallId, result: Result<Reply, Error>) {
    tell(events, Event::Reply { call, result });
}

/// A node that is gone needs no news; the next request finds that out.
fn tell(events: &Sender<Event>, event: Event) {
    let _ = events.send(event);
}
