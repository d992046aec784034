//! Nodes over real sockets, under async-std.

use async_std::future::timeout;
use async_std::task::{self, JoinHandle};
use bytes::Bytes;
use std::ops::ControlFlow;
use std::time::Duration;
use steadfast_asyncstd::driver::{NodePorts, drive};
use steadfast_asyncstd::transport::{Kind, Transport};
use steadfast_core::coordination::client::{self, Client};
use steadfast_core::coordination::service::{self, Service};
use steadfast_core::coordination::{
    Create, CreateMode, Event, Operation, Reply, Request, SessionState, WatchKind,
};
use steadfast_core::id::Address;
use steadfast_core::limits::Timing;
use steadfast_runtime::address::parse;
use steadfast_runtime::clock::Clock;
use steadfast_runtime::inbox::{Receiver, Sender, inbox};

const PATIENCE: Duration = Duration::from_secs(20);

/// A service, until its handle is dropped.
async fn service(kind: Kind) -> (Address, Sender<service::Command>, JoinHandle<()>) {
    let transport = Transport::listen(kind, &parse("127.0.0.1:0").unwrap()).await.unwrap();
    let address = transport.address().unwrap().clone();
    let clock = Clock::start();
    let node = Service::new(clock.now(), service::Boot { seed: 1, config: service::Config::default() });
    let (handle, commands) = inbox();
    let on_event = |event: service::Event| -> ControlFlow<()> { match event {} };
    let ports = NodePorts {
        name: "service".into(),
        transport,
        commands,
        coordination: None,
        storage: None,
        on_event,
    };
    let task = task::spawn(drive(node, clock, ports));
    (address, handle, task)
}

struct User {
    requests: Sender<Request>,
    events: Receiver<Event>,
}

impl User {
    fn start(kind: Kind, address: &Address, seed: u64) -> Self {
        let clock = Clock::start();
        let timing = Timing::default();
        let boot = client::Boot { seed, address: address.clone(), timeout: Duration::from_secs(2), timing };
        let node = Client::new(clock.now(), boot);
        let (requests, commands) = inbox();
        let (sender, events) = inbox();
        let on_event = move |event| match sender.send(event) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        };
        let transport = Transport::dial_only(kind);
        let ports = NodePorts {
            name: "client".into(),
            transport,
            commands,
            coordination: None,
            storage: None,
            on_event,
        };
        task::spawn(drive(node, clock, ports));
        let user = Self { requests, events };
        user.ask(Request::OpenSession);
        user
    }

    fn ask(&self, request: Request) {
        assert!(self.requests.send(request).is_ok(), "the driver runs");
    }

    async fn event(&mut self) -> Event {
        timeout(PATIENCE, self.events.next()).await.expect("in time").expect("the driver runs")
    }

    async fn run(&mut self, call: u64, operation: Operation) -> Reply {
        self.ask(Request::Call { call, operation });
        match self.event().await {
            Event::Reply { call: answered, result: Ok(reply) } if answered == call => reply,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn coordination_is_served_and_its_loss_is_noticed() {
    for kind in Kind::ALL {
        task::block_on(coordinate(kind));
    }
}

async fn coordinate(kind: Kind) {
    let (address, handle, task) = service(kind).await;
    let mut holder = User::start(kind, &address, 2);
    let mut watcher = User::start(kind, &address, 3);
    for user in [&mut holder, &mut watcher] {
        assert!(matches!(user.event().await, Event::Session(SessionState::Connected(_))));
    }
    let path = "/lock".to_owned();
    let create =
        Create { path: path.clone(), data: Bytes::from_static(b"mine"), mode: CreateMode::Ephemeral };
    assert!(matches!(holder.run(1, Operation::Create(create)).await, Reply::Created { .. }));
    let exists = Operation::Exists { path: path.clone(), watch: true };
    assert!(matches!(watcher.run(1, exists).await, Reply::Stat(Some(_))));

    holder.ask(Request::CloseSession);
    assert_eq!(watcher.event().await, Event::Watch { path, kind: WatchKind::Deleted });

    drop(handle);
    timeout(PATIENCE, task).await.expect("a service without a handle ends");
    assert_eq!(watcher.event().await, Event::Session(SessionState::Suspended));
}
