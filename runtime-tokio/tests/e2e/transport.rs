//! Processes of one cluster that use different transports, and strangers that would end a process.

use crate::command_line::fails;
use crate::nodes::{Cluster, Service, run, steadfast, turn, wait_until};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

const NATIVE: [&str; 2] = ["--transport", "native"];
const ZEROMQ: [&str; 2] = ["--transport", "zeromq"];

#[test]
fn processes_with_either_transport_understand_each_other() {
    let _turn = turn();
    let path = std::env::temp_dir().join(format!("steadfast-e2e-transport-{}", std::process::id()));
    let lines: String = (0..10_000).map(|n| format!("{n} of them\n")).collect();
    std::fs::write(&path, &lines).unwrap();
    let file = path.to_str().unwrap();
    for (nodes, clients) in [(NATIVE, ZEROMQ), (ZEROMQ, NATIVE)] {
        // Discovery is of the clients' kind, the brokers are of the other one.
        let cluster = Cluster::start_as(Service::embedded(), 2, &nodes, &clients);
        let discovery = ["--discovery", cluster.discovery.address.as_str()];
        let publish = [&["publish", "mixed.up", "--file", file][..], &discovery, &clients].concat();
        assert!(run(&publish).status.success());
        let count = ["--from", "earliest", "--count", "10000"];
        let subscribe = [&["subscribe", "mixed.*"][..], &count, &discovery, &clients].concat();
        let mut command = steadfast(&subscribe);
        // A flag goes over the variable.
        let output = command.env("STEADFAST_TRANSPORT_KIND", nodes[1]).output().unwrap();
        assert!(output.status.success() && output.stdout == lines.as_bytes());
        let status = [&["status"][..], &discovery, &nodes].concat();
        assert!(run(&status).status.success());
        let drain = [&["drain", "broker-1"][..], &discovery, &clients].concat();
        assert!(run(&drain).status.success());
    }
    std::fs::remove_file(&path).unwrap();
    let wrong = ["status", "--transport", "carrier-pigeons"];
    fails(&wrong, 2, &["carrier-pigeons", "native, zeromq"]);
}

/// 73 bytes, as a client and before the handshake is done.
#[test]
fn a_forged_length_ends_its_own_connection_and_nothing_else() {
    let _turn = turn();
    let mut cluster = Cluster::start_as(Service::embedded(), 1, &NATIVE, &NATIVE);
    let mut greeting = vec![0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 0];
    greeting.extend(b"NULL");
    greeting.resize(64, 0);
    for address in [&cluster.brokers[0].address, &cluster.discovery.address] {
        for length in [1_u64 << 40, 1 << 62, u64::MAX] {
            let mut stranger = TcpStream::connect(address).unwrap();
            stranger.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            stranger.write_all(&[&greeting[..], &[2], &length.to_be_bytes()].concat()).unwrap();
            let mut heard = Vec::new();
            // The end, or a reset: not a timeout.
            let end = stranger.read_to_end(&mut heard).map_err(|error| error.kind());
            assert!(matches!(end, Ok(_) | Err(std::io::ErrorKind::ConnectionReset)), "{end:?}");
        }
    }
    wait_until("both still run", || cluster.discovery.in_sync() == 1);
    assert!(cluster.brokers[0].process.is_running() && cluster.discovery.process.is_running());
}
