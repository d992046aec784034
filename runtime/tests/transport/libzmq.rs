//! Interoperability as libzmq judges it, through pyzmq: `peer.py` beside this file.

use super::end::{End, PATIENCE, frame, while_polling, within};
use crate::block_on;
use bytes::Bytes;
use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;
use steadfast_core::link::{Frame, LinkStatus};
use steadfast_core::node::Input;
use steadfast_runtime::address::parse;
use steadfast_runtime::transport::Kind;

/// Debian's own, which sees Debian's packages: `scripts/test` installs python3-zmq.
const PYTHON: &str = "/usr/bin/python3";
const PEER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../runtime/tests/transport/peer.py");

/// A process with libzmq.
struct Peer {
    process: Child,
    out: BufReader<ChildStdout>,
}

impl Peer {
    fn start(args: &[&str]) -> Self {
        let mut command = Command::new(PYTHON);
        command.arg(PEER).args(args).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut process = command.spawn().expect("apt-get install python3-zmq");
        let out = BufReader::new(process.stdout.take().expect("it is a pipe"));
        Self { process, out }
    }

    /// The next line that it says.
    fn says(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// It has ended, and all was well.
    fn succeeds(mut self) {
        assert!(self.process.wait().unwrap().success());
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Sends everything back until the peer's process has ended, and all was well. How many links there were.
async fn echo(server: &mut End, mut peer: Peer) -> usize {
    let mut links = BTreeSet::new();
    loop {
        if within(Duration::from_millis(10), server.wait()).await.is_some() {
            match server.next().await {
                Input::Received { link, frame } => {
                    links.insert(link);
                    server.transport.transmit(link, frame);
                }
                Input::Link { status: LinkStatus::Lost, .. } => {}
                other => panic!("{other:?}"),
            }
        } else if let Some(status) = peer.process.try_wait().unwrap() {
            assert!(status.success());
            return links.len();
        }
    }
}

/// libzmq gives its peer up if it does not answer, and reconnects: that would be another link.
fn libzmq_dials(kind: Kind, args: &[&str], links: usize) {
    block_on(async {
        let mut server = End::listening(kind).await;
        let address = server.address().to_string();
        let peer = Peer::start(&[&["dealer", &address], args].concat());
        assert_eq!(echo(&mut server, peer).await, links);
    });
}

#[test]
fn libzmq_dials_and_gets_back_what_it_sends() {
    for kind in Kind::ALL {
        libzmq_dials(kind, &[], 1);
    }
}

#[test]
fn libzmq_with_heartbeats_stays_connected_while_nothing_is_said() {
    libzmq_dials(Kind::Native, &["--heartbeats"], 1);
}

#[test]
fn two_of_libzmq_with_one_identity_are_two_links() {
    libzmq_dials(Kind::Native, &["--twins"], 2);
}

fn libzmq_is_dialled(kind: Kind, args: &[&str]) {
    block_on(async {
        let mut peer = Peer::start(&[&["router"], args].concat());
        let address = parse(&peer.says()).unwrap();
        let mut client = End::dialling(kind);
        let link = client.connect(1, &address).await;
        let frames = [
            frame(&[b"head", b"", &[7; 300]]),
            frame(&[&[1; 255], &[2; 256]]),
            Frame { parts: vec![Bytes::from(vec![9; 1 << 20]); 3] },
        ];
        for sent in &frames {
            client.transport.transmit(link, sent.clone());
            assert!(client.received().await == (link, sent.clone()));
        }
        // The peer waits for some of its heartbeats, and says so.
        client.transport.transmit(link, frame(&[b"wait"]));
        assert_eq!(client.received().await, (link, frame(&[b"waited"])));
        client.transport.transmit(link, frame(&[b"end"]));
        assert_eq!(client.received().await, (link, frame(&[b"ended"])));
        let lost = within(PATIENCE, client.wait()).await;
        assert!(lost.is_some() || kind == Kind::ZeroMq, "the end of the peer is noticed");
        peer.succeeds();
    });
}

#[test]
fn libzmq_is_dialled_and_sends_back_what_it_gets() {
    for kind in Kind::ALL {
        libzmq_is_dialled(kind, &[]);
    }
}

#[test]
fn libzmq_with_heartbeats_keeps_those_who_have_dialled_it() {
    libzmq_is_dialled(Kind::Native, &["--heartbeats"]);
}

#[test]
fn a_server_serves_libzmq_and_both_kinds_at_once() {
    for kind in Kind::ALL {
        block_on(async {
            let mut server = End::listening(kind).await;
            let address = server.address();
            let peer = Peer::start(&["dealer", &address.to_string()]);
            let mut clients = Kind::ALL.map(End::dialling);
            for client in &mut clients {
                let link = while_polling(&mut server, client.connect(1, &address)).await;
                client.transport.transmit(link, frame(&[b"kind"]));
                client.poll().await;
            }
            assert_eq!(echo(&mut server, peer).await, 3);
        });
    }
}
