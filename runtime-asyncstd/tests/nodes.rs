//! Nodes over real ZeroMQ sockets, under async-std.

use async_std::future::timeout;
use async_std::task::{self, JoinHandle};
use bytes::Bytes;
use std::convert::Infallible;
use std::future::poll_fn;
use std::ops::ControlFlow;
use std::task::Poll;
use std::time::Duration;
use steadfast_asyncstd::driver::{NodePorts, drive};
use steadfast_asyncstd::transport::Transport;
use steadfast_core::coordination::client::{self, Client};
use steadfast_core::coordination::service::{self, Service};
use steadfast_core::coordination::{
    Create, CreateMode, Event, Operation, Reply, Request, SessionState, WatchKind,
};
use steadfast_core::id::Address;
use steadfast_core::limits::Timing;
use steadfast_core::link::{Frame, LinkCommand, LinkId, LinkStatus};
use steadfast_core::node::Input;
use steadfast_runtime::address::parse;
use steadfast_runtime::batch::Batch;
use steadfast_runtime::clock::Clock;
use steadfast_runtime::inbox::{Receiver, Sender, inbox};

const PATIENCE: Duration = Duration::from_secs(20);

/// A service, until its handle is dropped.
async fn service() -> (Address, Sender<service::Command>, JoinHandle<()>) {
    let transport = Transport::listen(&parse("127.0.0.1:0").unwrap()).await.unwrap();
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
    fn start(address: &Address, seed: u64) -> Self {
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
        let transport = Transport::dial_only();
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
    task::block_on(async {
        let (address, handle, task) = service().await;
        let mut holder = User::start(&address, 2);
        let mut watcher = User::start(&address, 3);
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
    });
}

async fn next(transport: &mut Transport) -> Vec<Input<Infallible>> {
    let gathered = poll_fn(|cx| {
        let mut batch = Batch::default();
        transport.poll(cx, &mut batch);
        if batch.is_empty() { Poll::Pending } else { Poll::Ready(batch.drain().collect()) }
    });
    timeout(PATIENCE, gathered).await.expect("in time")
}

#[test]
fn links_are_refused_carry_frames_in_order_and_are_lost() {
    task::block_on(async {
        let mut server = Transport::listen(&parse("127.0.0.1:0").unwrap()).await.unwrap();
        let address = server.address().unwrap().clone();
        let mut client = Transport::dial_only();
        let link = LinkId::dialled(1);
        client.command(LinkCommand::Dial { link, address: address.clone() });
        let up = next(&mut client).await;
        assert!(matches!(up[..], [Input::Link { status: LinkStatus::Up, .. }]), "{up:?}");
        for n in 0..1_000_u32 {
            let parts = vec![Bytes::copy_from_slice(&n.to_be_bytes()), Bytes::from_static(&[7; 500])];
            client.transmit(link, Frame { parts });
        }
        let mut expected = 0_u32;
        while expected < 1_000 {
            for input in next(&mut server).await {
                let Input::Received { frame, .. } = input else { panic!("{input:?}") };
                assert_eq!(frame.parts[0], expected.to_be_bytes()[..]);
                expected += 1;
            }
        }

        drop(server);
        // Frames to a server that is gone find that out.
        let lost = timeout(PATIENCE, async {
            loop {
                client.transmit(link, Frame { parts: vec![Bytes::from_static(b"heartbeat")] });
                if let Ok(inputs) = timeout(Duration::from_millis(20), next(&mut client)).await {
                    return inputs;
                }
            }
        });
        let lost = lost.await.expect("in time");
        assert!(matches!(lost[..], [Input::Link { status: LinkStatus::Lost, .. }]), "{lost:?}");

        client.command(LinkCommand::Dial { link: LinkId::dialled(2), address });
        let refused = next(&mut client).await;
        assert!(matches!(refused[..], [Input::Link { status: LinkStatus::Refused, .. }]), "{refused:?}");
    });
}
