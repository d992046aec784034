//! The ZooKeeper adapter against real servers.

mod support;

use bytes::Bytes;
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use steadfast_core::coordination::{
    Create, CreateMode, Delete, Error, Event, MultiError, MultiOperation, Operation, Reply, Request,
    SessionId, SessionState, Set, Stat, WatchKind,
};
use steadfast_runtime::coordination::Port;
use steadfast_runtime::secret::Secret;
use steadfast_runtime::zookeeper::{AdminError, Auth, Config, prepare, remove_root};
use steadfast_tokio::coordination::{Backing, spawner, zookeeper};
use support::zookeeper::Ensemble;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);
const LONG_SESSION: Duration = Duration::from_secs(30);

fn config(servers: &str) -> Config {
    Config::new(servers.to_owned())
}

/// A node's view of its port.
struct User {
    port: Port,
    backing: Backing,
    next_call: u64,
    events: VecDeque<Event>,
}

impl User {
    fn new(servers: &str, session_timeout: Duration) -> Self {
        Self::with(Config { session_timeout, ..config(servers) })
    }

    fn with(config: Config) -> Self {
        let (port, backing) = zookeeper(config);
        let user = Self { port, backing, next_call: 0, events: VecDeque::new() };
        user.ask(Request::OpenSession);
        user
    }

    async fn connected(servers: &str, session_timeout: Duration) -> (Self, SessionId) {
        let mut user = Self::new(servers, session_timeout);
        let id = user.session().await;
        (user, id)
    }

    /// Waits until the session is open.
    async fn session(&mut self) -> SessionId {
        match self.event().await {
            Event::Session(SessionState::Connected(id)) => id,
            other => panic!("{other:?}"),
        }
    }

    fn ask(&self, request: Request) {
        assert!(self.port.requests.send(request).is_ok(), "the adapter runs");
    }

    fn call(&mut self, operation: Operation) -> u64 {
        self.next_call += 1;
        self.ask(Request::Call { call: self.next_call, operation });
        self.next_call
    }

    async fn event(&mut self) -> Event {
        if let Some(event) = self.events.pop_front() {
            return event;
        }
        timeout(PATIENCE, self.port.events.next()).await.expect("in time").expect("the adapter runs")
    }

    /// Calls and waits for the reply; other events are kept.
    async fn run(&mut self, operation: Operation) -> Result<Reply, Error> {
        let mine = self.call(operation);
        loop {
            let event = timeout(PATIENCE, self.port.events.next()).await.expect("in time").unwrap();
            match event {
                Event::Reply { call, result } if call == mine => return result,
                other => self.events.push_back(other),
            }
        }
    }

    async fn watched(&mut self) -> (String, WatchKind) {
        match self.event().await {
            Event::Watch { path, kind } => (path, kind),
            other => panic!("{other:?}"),
        }
    }

    async fn quiet(&mut self) {
        assert_eq!(self.events.pop_front(), None);
        let event = timeout(Duration::from_millis(100), self.port.events.next()).await;
        assert!(event.is_err(), "{event:?}");
    }
}

fn make(path: &str, data: &'static [u8], mode: CreateMode) -> Create {
    Create { path: path.into(), data: Bytes::from_static(data), mode }
}

fn create(path: &str, data: &'static [u8], mode: CreateMode) -> Operation {
    Operation::Create(make(path, data, mode))
}

fn set(path: &str, version: Option<i32>) -> Operation {
    Operation::Set(Set { path: path.into(), data: Bytes::from_static(b"new"), version })
}

fn delete(path: &str) -> Operation {
    Operation::Delete(Delete { path: path.into(), version: None })
}

fn get(path: &str, watch: bool) -> Operation {
    Operation::Get { path: path.into(), watch }
}

fn exists(path: &str, watch: bool) -> Operation {
    Operation::Exists { path: path.into(), watch }
}

#[tokio::test]
async fn one_server() {
    let ensemble = Ensemble::start(1);
    let servers = ensemble.connect_string();
    operations(&servers).await;
    multis(&servers).await;
    one_shot_watches(&servers).await;
    persistent_watches(&servers).await;
    a_closed_session_takes_its_ephemerals_along(&servers).await;
    a_dropped_port_ends_the_session(&servers).await;
    roots_are_made_and_removed(&servers).await;
    the_granted_session_timeout_is_told(&servers).await;
    a_chroot_holds_everything(&servers).await;
    who_has_no_credential_cannot_touch_what_others_have_made(&servers).await;
}

async fn operations(servers: &str) {
    let (mut user, session) = User::connected(servers, LONG_SESSION).await;
    let Reply::Created { path, stat: Some(made) } =
        user.run(create("/o", b"x", CreateMode::Persistent)).await.unwrap()
    else {
        panic!("a create returns a stat")
    };
    assert_eq!((path.as_str(), made.version, made.ephemeral_owner), ("/o", 0, 0));
    assert_eq!(user.run(create("/o", b"x", CreateMode::Persistent)).await, Err(Error::NodeExists));
    assert_eq!(user.run(create("/no/x", b"", CreateMode::Persistent)).await, Err(Error::NoNode));

    let Reply::Created { path, .. } =
        user.run(create("/o/s-", b"", CreateMode::PersistentSequential)).await.unwrap()
    else {
        panic!()
    };
    assert_eq!(path, "/o/s-0000000000");
    let Reply::Created { path, stat: Some(stat) } =
        user.run(create("/o/e-", b"", CreateMode::EphemeralSequential)).await.unwrap()
    else {
        panic!()
    };
    assert_eq!((path.as_str(), stat.ephemeral_owner), ("/o/e-0000000001", session));
    let below = create("/o/e-0000000001/x", b"", CreateMode::Persistent);
    assert_eq!(user.run(below).await, Err(Error::NoChildrenForEphemerals));

    let Reply::Data { data, stat } = user.run(get("/o", false)).await.unwrap() else { panic!() };
    assert_eq!((&data[..], stat.children, stat.czxid), (&b"x"[..], 2, made.czxid));
    let Reply::Set(Stat { version: 1, mzxid, .. }) = user.run(set("/o", Some(0))).await.unwrap() else {
        panic!()
    };
    assert!(mzxid > made.mzxid);
    assert_eq!(user.run(set("/o", Some(0))).await, Err(Error::BadVersion));
    assert_eq!(user.run(exists("/none", false)).await, Ok(Reply::Stat(None)));
    let listed = user.run(Operation::Children { path: "/o".into(), watch: false }).await;
    let Ok(Reply::Children(mut names)) = listed else { panic!("{listed:?}") };
    names.sort();
    assert_eq!(names, ["e-0000000001", "s-0000000000"]);
    assert_eq!(user.run(delete("/o")).await, Err(Error::NotEmpty));
    assert_eq!(user.run(Operation::Sync { path: "/".into() }).await, Ok(Reply::Done));
    assert_eq!(user.run(delete("no slash")).await, Err(Error::Invalid));

    // Pipelined calls take effect in the order in which they were made.
    let calls: Vec<_> = (0..100).map(|version| user.call(set("/o", Some(version + 1)))).collect();
    for call in calls {
        let Event::Reply { call: answered, result: Ok(Reply::Set(_)) } = user.event().await else { panic!() };
        assert_eq!(answered, call);
    }
}

async fn multis(servers: &str) {
    let (mut user, _) = User::connected(servers, LONG_SESSION).await;
    let check = |path: &str, version| MultiOperation::Check(Delete { path: path.into(), version });
    let all = vec![
        MultiOperation::Create(make("/m", b"1", CreateMode::Persistent)),
        check("/m", Some(0)),
        MultiOperation::Set(Set { path: "/m".into(), data: Bytes::new(), version: Some(0) }),
        check("/m", None),
        MultiOperation::Create(make("/m/s-", b"", CreateMode::PersistentSequential)),
        MultiOperation::Delete(Delete { path: "/m/s-0000000000".into(), version: None }),
    ];
    let Reply::Multi(replies) = user.run(Operation::Multi(all)).await.unwrap() else { panic!() };
    let made = |reply: &Reply, at: &str| matches!(reply, Reply::Created { path, .. } if path == at);
    assert!(made(&replies[0], "/m") && made(&replies[4], "/m/s-0000000000"), "{replies:?}");
    assert!(matches!(&replies[2], Reply::Set(stat) if stat.version == 1), "{replies:?}");
    assert_eq!([&replies[1], &replies[3], &replies[5]], [&Reply::Done; 3]);

    let failing = vec![
        MultiOperation::Create(make("/m/x", b"", CreateMode::Persistent)),
        check("/m", Some(7)),
        MultiOperation::Delete(Delete { path: "/m".into(), version: None }),
    ];
    let failed = user.run(Operation::Multi(failing)).await;
    assert_eq!(failed, Err(Error::Multi { index: 1, error: MultiError::BadVersion }));
    assert_eq!(user.run(exists("/m/x", false)).await, Ok(Reply::Stat(None)), "nothing was done");
}

async fn one_shot_watches(servers: &str) {
    let (mut user, _) = User::connected(servers, LONG_SESSION).await;
    let (mut other, _) = User::connected(servers, LONG_SESSION).await;
    assert_eq!(user.run(exists("/w", true)).await, Ok(Reply::Stat(None)));
    other.run(create("/w", b"", CreateMode::Persistent)).await.unwrap();
    assert_eq!(user.watched().await, ("/w".into(), WatchKind::Created));

    user.run(get("/w", true)).await.unwrap();
    user.run(get("/w", true)).await.unwrap();
    user.run(Operation::Children { path: "/w".into(), watch: true }).await.unwrap();
    other.run(set("/w", None)).await.unwrap();
    assert_eq!(user.watched().await, ("/w".into(), WatchKind::DataChanged));
    other.run(set("/w", None)).await.unwrap();
    user.quiet().await;
    other.run(create("/w/c", b"", CreateMode::Persistent)).await.unwrap();
    assert_eq!(user.watched().await, ("/w".into(), WatchKind::ChildrenChanged));
    user.quiet().await;
    user.run(get("/w/c", true)).await.unwrap();
    other.run(delete("/w/c")).await.unwrap();
    assert_eq!(user.watched().await, ("/w/c".into(), WatchKind::Deleted));
}

async fn persistent_watches(servers: &str) {
    let (mut user, _) = User::connected(servers, LONG_SESSION).await;
    for (path, recursive) in [("/p", true), ("/q", false), ("/q", false)] {
        let watch = Operation::Watch { path: path.into(), recursive };
        assert_eq!(user.run(watch).await, Ok(Reply::Done));
    }
    for path in ["/p", "/p/c", "/q", "/q/c"] {
        user.run(create(path, b"", CreateMode::Persistent)).await.unwrap();
    }
    user.run(set("/p/c", None)).await.unwrap();
    let mut seen = Vec::new();
    for _ in 0..5 {
        seen.push(user.watched().await);
    }
    let expected = [
        ("/p", WatchKind::Created),
        ("/p/c", WatchKind::Created),
        ("/q", WatchKind::Created),
        ("/q", WatchKind::ChildrenChanged),
        ("/p/c", WatchKind::DataChanged),
    ];
    assert_eq!(seen, expected.map(|(path, kind)| (path.to_owned(), kind)));
    user.quiet().await;

    // On the server a one-shot watch replaces a persistent one; who leaves that again has it again.
    user.run(get("/q", true)).await.unwrap();
    user.run(set("/q", None)).await.unwrap();
    let changed = ("/q".to_owned(), WatchKind::DataChanged);
    assert_eq!([user.watched().await, user.watched().await], [changed.clone(), changed.clone()]);
    user.run(Operation::Watch { path: "/q".into(), recursive: false }).await.unwrap();
    user.run(set("/q", None)).await.unwrap();
    assert_eq!(user.watched().await, changed);
}

async fn a_closed_session_takes_its_ephemerals_along(servers: &str) {
    let (mut user, first) = User::connected(servers, LONG_SESSION).await;
    user.run(create("/e", b"", CreateMode::Ephemeral)).await.unwrap();
    let (mut other, _) = User::connected(servers, LONG_SESSION).await;
    other.run(exists("/e", true)).await.unwrap();
    user.ask(Request::CloseSession);
    assert_eq!(other.watched().await, ("/e".into(), WatchKind::Deleted));
    // A call without a session is answered; a new session is another one.
    assert_eq!(user.run(get("/", false)).await, Err(Error::SessionExpired));
    user.ask(Request::OpenSession);
    let Event::Session(SessionState::Connected(second)) = user.event().await else { panic!() };
    assert_ne!(first, second);
}

async fn a_dropped_port_ends_the_session(servers: &str) {
    let (mut user, _) = User::connected(servers, LONG_SESSION).await;
    user.run(create("/d", b"", CreateMode::Ephemeral)).await.unwrap();
    let (mut other, _) = User::connected(servers, LONG_SESSION).await;
    other.run(exists("/d", true)).await.unwrap();
    let User { port, backing, .. } = user;
    drop(port);
    backing.close().await;
    assert_eq!(other.watched().await, ("/d".into(), WatchKind::Deleted));
}

async fn roots_are_made_and_removed(servers: &str) {
    let (spawner, config) = (spawner(), config(servers));
    for _ in 0..2 {
        prepare(&config, "/r/a/b", PATIENCE, &spawner).await.unwrap();
        let (mut user, _) = User::connected(servers, LONG_SESSION).await;
        user.run(create("/r/a/b/c", b"", CreateMode::Persistent)).await.unwrap();
        remove_root(&config, "/r/a", PATIENCE, &spawner).await.unwrap();
        assert_eq!(user.run(exists("/r/a", false)).await, Ok(Reply::Stat(None)));
        assert!(matches!(user.run(exists("/r", false)).await, Ok(Reply::Stat(Some(_)))));
    }
    let error = prepare(&config, "no/slash", PATIENCE, &spawner).await.unwrap_err();
    assert!(matches!(error, AdminError::Refused { .. }), "{error}");
}

/// The test servers grant between 200 ms and 60 s.
async fn the_granted_session_timeout_is_told(servers: &str) {
    for (asked, granted) in [(50, 200), (1_000, 1_000), (70_000, 60_000)] {
        let config = Config { session_timeout: Duration::from_millis(asked), ..config(servers) };
        let told = prepare(&config, "/granted", PATIENCE, &spawner()).await.unwrap();
        assert_eq!(told, Duration::from_millis(granted), "{asked}");
    }
}

async fn a_chroot_holds_everything(servers: &str) {
    let inside = Config { chroot: Some("/apps/one".into()), ..config(servers) };
    prepare(&inside, "/steadfast/main", PATIENCE, &spawner()).await.unwrap();
    let mut user = User::with(inside.clone());
    user.session().await;
    user.run(Operation::Watch { path: "/steadfast/main".into(), recursive: true }).await.unwrap();
    user.run(create("/steadfast/main/x", b"", CreateMode::Persistent)).await.unwrap();
    assert_eq!(user.watched().await, ("/steadfast/main/x".into(), WatchKind::Created));
    let (mut other, _) = User::connected(servers, LONG_SESSION).await;
    let seen = other.run(exists("/apps/one/steadfast/main/x", false)).await;
    assert!(matches!(seen, Ok(Reply::Stat(Some(_)))), "{seen:?}");
    remove_root(&inside, "/steadfast", PATIENCE, &spawner()).await.unwrap();
    assert_eq!(other.run(exists("/apps/one/steadfast", false)).await, Ok(Reply::Stat(None)));
}

async fn who_has_no_credential_cannot_touch_what_others_have_made(servers: &str) {
    let auth =
        |credential: &str| Some(Auth { scheme: "digest".into(), credential: Secret::new(credential.into()) });
    let owner = Config { auth: auth("bob:right"), ..config(servers) };
    prepare(&owner, "/guarded/main", PATIENCE, &spawner()).await.unwrap();
    let mut bob = User::with(owner.clone());
    bob.session().await;
    bob.run(create("/guarded/main/x", b"1", CreateMode::Persistent)).await.unwrap();
    bob.run(Operation::Multi(vec![MultiOperation::Create(make(
        "/guarded/main/m",
        b"1",
        CreateMode::Ephemeral,
    ))]))
    .await
    .unwrap();
    for stranger in [config(servers), Config { auth: auth("bob:wrong"), ..config(servers) }] {
        let mut eve = User::with(stranger.clone());
        eve.session().await;
        for operation in [
            set("/guarded/main/x", None),
            delete("/guarded/main/x"),
            delete("/guarded/main/m"),
            create("/guarded/main/y", b"", CreateMode::Persistent),
            create("/guarded/y", b"", CreateMode::Persistent),
            get("/guarded/main/x", false),
        ] {
            assert_eq!(eve.run(operation).await, Err(Error::Invalid));
        }
        for root in ["/guarded/main", "/guarded/other"] {
            let error = prepare(&stranger, root, PATIENCE, &spawner()).await.unwrap_err();
            assert!(matches!(error, AdminError::Refused { .. }), "{error}");
            assert!(error.to_string().contains("credential"), "{error}");
        }
    }
    let mut colleague = User::with(owner);
    colleague.session().await;
    assert!(colleague.run(set("/guarded/main/x", Some(0))).await.is_ok(), "one credential, many processes");
    assert!(bob.run(set("/guarded/main/x", Some(1))).await.is_ok());

    let unknown = Some(Auth { scheme: "nonsense".into(), credential: Secret::new("x".into()) });
    let config = Config { auth: unknown, ..config(servers) };
    let error = prepare(&config, "/", Duration::from_secs(3), &spawner()).await.unwrap_err();
    assert!(matches!(error, AdminError::Credential { .. }), "{error}");
}

#[tokio::test]
async fn unreachable_servers_are_one_clear_line() {
    let start = Instant::now();
    let error = prepare(&config("127.0.0.1:1"), "/r", Duration::from_millis(300), &spawner()).await;
    let error = error.unwrap_err().to_string();
    assert_eq!(
        error,
        "no ZooKeeper server answered at 127.0.0.1:1 within 0.3 s: start ZooKeeper there, or name servers that run"
    );
    assert!(start.elapsed() < Duration::from_secs(5));
    let error = prepare(&config("host:port:x"), "/r", Duration::from_secs(1), &spawner()).await.unwrap_err();
    assert!(matches!(error, AdminError::Servers { .. }), "{error}");
}

#[tokio::test]
async fn a_node_without_servers_sees_no_session_and_can_leave() {
    let mut user = User::new("127.0.0.1:1", Duration::from_secs(1));
    user.call(get("/", false));
    user.quiet().await;
    let User { port, backing, .. } = user;
    drop(port);
    timeout(Duration::from_millis(400), backing.close()).await.expect("nothing to wait for");
}

#[tokio::test]
async fn a_server_that_restarts_and_one_that_stays_away() {
    let mut ensemble = Ensemble::start(1);
    let servers = ensemble.connect_string();
    let (mut user, session) = User::connected(&servers, Duration::from_secs(10)).await;
    let (mut other, _) = User::connected(&servers, LONG_SESSION).await;
    user.run(create("/x", b"", CreateMode::Ephemeral)).await.unwrap();
    user.run(Operation::Watch { path: "/y".into(), recursive: true }).await.unwrap();
    user.run(exists("/z", true)).await.unwrap();

    ensemble.kill(0);
    assert_eq!(user.event().await, Event::Session(SessionState::Suspended));
    let waits = user.call(set("/x", Some(0)));
    ensemble.restart(0);
    let mut came = vec![user.event().await, user.event().await];
    came.sort_by_key(|event| matches!(event, Event::Reply { .. }));
    assert_eq!(came[0], Event::Session(SessionState::Connected(session)), "the session lives");
    let Event::Reply { call, result } = &came[1] else { panic!("{came:?}") };
    assert_eq!(*call, waits);
    assert!(matches!(result, Ok(Reply::Set(_)) | Err(Error::Unknown)), "{result:?}");

    // Both kinds of watch outlive the connection: what is read after it has come back is behind them.
    user.run(get("/", false)).await.unwrap();
    while other.run(create("/y", b"", CreateMode::Persistent)).await.is_err() {}
    assert_eq!(user.watched().await, ("/y".into(), WatchKind::Created));
    other.run(create("/z", b"", CreateMode::Persistent)).await.unwrap();
    assert_eq!(user.watched().await, ("/z".into(), WatchKind::Created));

    ensemble.kill(0);
    assert_eq!(user.event().await, Event::Session(SessionState::Suspended));
    let lost = user.call(get("/", false));
    let mut came = vec![user.event().await, user.event().await];
    came.sort_by_key(|event| matches!(event, Event::Reply { .. }));
    assert_eq!(came[0], Event::Session(SessionState::Expired), "given up when it must be over");
    let Event::Reply { call, result: Err(Error::SessionExpired | Error::Unknown) } = came[1] else {
        panic!("{came:?}")
    };
    assert_eq!(call, lost);
    user.ask(Request::OpenSession);
    ensemble.restart(0);
    let Event::Session(SessionState::Connected(second)) = user.event().await else { panic!() };
    assert_ne!(second, session);
}

#[tokio::test]
async fn an_ensemble_loses_its_leader_but_no_session() {
    let mut ensemble = Ensemble::start(3);
    let (mut user, session) = User::connected(&ensemble.connect_string(), Duration::from_secs(10)).await;
    user.run(create("/x", b"", CreateMode::Ephemeral)).await.unwrap();
    ensemble.kill(ensemble.leader());
    let mut versions = 0;
    while versions < 3 {
        match user.run(set("/x", None)).await {
            Ok(Reply::Set(stat)) => versions = stat.version,
            Err(Error::Unknown) => {}
            other => panic!("{other:?}"),
        }
    }
    for event in user.events {
        let same = Event::Session(SessionState::Connected(session));
        assert!(event == same || event == Event::Session(SessionState::Suspended), "{event:?}");
    }
}

/// R19: what a follower has confirmed, a session of the leader may miss after a sync, but not after a
/// barrier.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_barrier_shows_what_another_server_has_confirmed_and_a_sync_may_not() {
    const ROUNDS: i32 = 1_000;
    let ensemble = Ensemble::start(3);
    let leader = ensemble.leader();
    let (mut writer, _) = User::connected(&ensemble.address((leader + 1) % 3), LONG_SESSION).await;
    let (mut reader, _) = User::connected(&ensemble.address(leader), LONG_SESSION).await;
    writer.run(create("/x", b"", CreateMode::Persistent)).await.unwrap();
    let path = || "/x".to_owned();
    let kinds = [Operation::Sync { path: path() }, Operation::barrier(path())];
    let mut stale = [0, 0];
    for round in 0..2 * ROUNDS {
        let kind = usize::from(round % 2 == 1);
        let Ok(Reply::Set(written)) = writer.run(set("/x", None)).await else { panic!("a set") };
        reader.call(kinds[kind].clone());
        let Ok(Reply::Data { stat, .. }) = reader.run(get("/x", false)).await else { panic!("a get") };
        stale[kind] += i32::from(stat.version < written.version);
    }
    println!("stale reads of {ROUNDS} each: {} after a sync, {} after a barrier", stale[0], stale[1]);
    assert_eq!(stale[1], 0);
    // A check that fails has its place among all transactions too.
    writer.run(set("/x", None)).await.unwrap();
    reader.call(Operation::barrier("/none".to_owned()));
    let Ok(Reply::Data { stat, .. }) = reader.run(get("/x", false)).await else { panic!("a get") };
    assert_eq!(stat.version, 2 * ROUNDS + 1);
    let missing = Error::Multi { index: 0, error: MultiError::NoNode };
    let last = reader.events.iter().rev().find_map(|event| match event {
        Event::Reply { result, .. } => Some(result),
        _ => None,
    });
    assert_eq!(last, Some(&Err(missing)));
}
