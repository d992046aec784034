//! A node's metrics under async-std: the exporter's thread keeps its own runtime.

use async_std::task;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::ops::ControlFlow;
use std::thread;
use std::time::Duration;
use steadfast_asyncstd::driver::{NodePorts, drive_observed};
use steadfast_asyncstd::transport::{Kind, Transport};
use steadfast_core::discovery::{Boot, Command, Config, Discovery, Event};
use steadfast_runtime::address::parse;
use steadfast_runtime::clock::Clock;
use steadfast_runtime::coordination::port;
use steadfast_runtime::inbox::inbox;
use steadfast_runtime::metrics::watch::DiscoveryWatch;
use steadfast_runtime::metrics::{Prepared, Settings};

/// Reads one request of each connection, answers that it is taken, and returns when a request holds
/// this text.
fn serve_until(listener: &TcpListener, text: &str) -> String {
    loop {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut said, mut buffer) = (String::new(), [0; 64 << 10]);
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            said.push_str(&String::from_utf8_lossy(&buffer[..count]));
            let whole = said.split_once("\r\n\r\n").is_some_and(|(_, body)| body.ends_with('\n'));
            if whole {
                stream.write_all(b"HTTP/1.1 204 X\r\nConnection: close\r\n\r\n").unwrap();
                break;
            }
        }
        if said.contains(text) {
            return said;
        }
    }
}

/// The replica has no coordination service and nothing to do: its metrics come all the same.
#[test]
fn an_idle_replica_says_how_it_is() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", server.local_addr().unwrap());
    let settings =
        Settings { interval: Duration::from_millis(100), ..Settings::new(&url, "acme", "steadfast") };
    let exporter = Prepared::new(settings).unwrap().start("one").unwrap();
    let watch = DiscoveryWatch::new("one", Some(exporter.sink().clone()));
    let (stop, commands) = inbox();
    let (coordination, _backend) = port();
    let node = task::spawn(async move {
        let transport = Transport::listen(Kind::default(), &parse("127.0.0.1:0").unwrap()).await.unwrap();
        let clock = Clock::start();
        let boot = Boot { seed: 1, replica: 1, root: "/steadfast/test".into(), config: Config::default() };
        let node = Discovery::new(clock.now(), boot);
        let on_event = |event| match event {
            Event::Stopped => ControlFlow::Break(()),
        };
        let coordination = Some(coordination);
        let ports =
            NodePorts { name: "replica".into(), transport, commands, coordination, storage: None, on_event };
        drive_observed(node, clock, ports, watch).await;
    });
    let first = serve_until(&server, "steadfast_discovery,cluster=main,node=one");
    assert!(first.contains("groups=0i"), "{first}");
    let later = serve_until(&server, "steadfast_discovery,cluster=main,node=one");
    assert!(later.contains("calls_total=0i"), "{later}");
    assert!(stop.send(Command::Shutdown).is_ok());
    task::block_on(node);
    // However many requests are left.
    thread::spawn(move || serve_until(&server, "what is never said"));
    let done = exporter.close().expect("it ends in time");
    assert!(done.sent >= 3 && done.errors == 0, "{done:?}");
}
