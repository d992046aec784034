//! The Python clients of `docs/clients/python` against a real cluster: they know nothing of this
//! implementation but `docs/wire.md` and the schema, and their ZeroMQ is libzmq.

use crate::files::{Fault, passes, words};
use crate::nodes::{Cluster, Running, Service, run, steadfast, turn};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Debian's own, which sees Debian's packages: `scripts/test` installs python3-zmq, python3-protobuf,
/// python3-crc32c and protobuf-compiler. Schema compiler and runtime library must be of one version.
const PYTHON: &str = "/usr/bin/python3";
const PROTOC: &str = "/usr/bin/protoc";
const TOPIC: &str = "words.american";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Where the module compiled from the schema is: made once, in Cargo's own place for tests' files.
fn schema() -> &'static Path {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(|| {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python");
        fs::create_dir_all(&directory).unwrap();
        let mut protoc = Command::new(PROTOC);
        protoc.arg("--python_out").arg(&directory).arg("-I").arg(root().join("proto"));
        let made = protoc.arg("steadfast.proto").status();
        let made =
            made.unwrap_or_else(|error| panic!("{PROTOC}: {error}: apt-get install protobuf-compiler"));
        assert!(made.success(), "the schema compiles");
        directory
    })
}

/// A script of `docs/clients/python` with these arguments.
fn python(script: &str, args: &[&str]) -> Command {
    let mut command = Command::new(PYTHON);
    command.arg(root().join("docs/clients/python").join(script)).args(args).stdin(Stdio::null());
    command.env("PYTHONPATH", schema()).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

fn all_words<'a>(discovery: &'a str, count: &'a str) -> [&'a str; 7] {
    ["words.*", "--discovery", discovery, "--from", "earliest", "--count", count]
}

#[test]
fn python_clients_survive_the_death_of_the_primary() {
    let _turn = turn();
    let cluster = Cluster::start(Service::embedded(), 2);
    let count = words().1.to_string();
    // The first address refuses connections: another one is tried.
    let discovery = format!("127.0.0.1:1,{}", cluster.discovery.address);
    let publish = python("publisher.py", &[TOPIC, "--discovery", &discovery]);
    let subscribe = python("subscriber.py", &all_words(&discovery, &count));
    passes(&cluster, publish, subscribe, Fault::KillPrimary);
    let late = run(&[&["subscribe"][..], &all_words(&cluster.discovery.address, &count)].concat());
    assert!(late.status.success() && late.stdout == words().0, "what a Rust subscriber gets is not the file");
}

#[test]
fn a_python_subscriber_follows_a_rust_publisher_through_the_death_of_the_primary() {
    let _turn = turn();
    let cluster = Cluster::start(Service::embedded(), 2);
    let (discovery, count) = (cluster.discovery.address.clone(), words().1.to_string());
    let publish = steadfast(&["publish", TOPIC, "--discovery", &discovery, "--timeout", "60s"]);
    let subscribe = python("subscriber.py", &all_words(&discovery, &count));
    passes(&cluster, publish, subscribe, Fault::KillPrimary);
}

#[test]
fn a_rust_subscriber_follows_a_python_publisher_through_the_death_of_the_primary() {
    let _turn = turn();
    let cluster = Cluster::start(Service::embedded(), 2);
    let (discovery, count) = (cluster.discovery.address.clone(), words().1.to_string());
    let publish = python("publisher.py", &[TOPIC, "--discovery", &discovery, "--timeout", "60"]);
    let subscribe = steadfast(&[&["subscribe"][..], &all_words(&discovery, &count)].concat());
    passes(&cluster, publish, subscribe, Fault::KillPrimary);
}

#[test]
fn a_python_subscriber_goes_on_at_its_position_also_within_a_batch() {
    let _turn = turn();
    let cluster = Cluster::start(Service::embedded(), 1);
    let discovery = cluster.discovery.address.as_str();
    let directory = std::env::temp_dir().join(format!("steadfast-python-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let (input, position) = (directory.join("input"), directory.join("position"));
    fs::write(&input, b"one\n\n\xff\xfe\x00 not text\r\nfour").unwrap();
    let file = input.to_str().unwrap();
    assert!(run(&["publish", "raw.bytes", "--discovery", discovery, "--file", file]).status.success());

    let some = |count: &str| {
        let keep = ["--position", position.to_str().unwrap()];
        let args = ["raw.>", "--discovery", discovery, "--from", "earliest", "--count", count];
        let mut subscriber =
            Running::start("subscriber", python("subscriber.py", &[&args[..], &keep].concat()));
        assert!(subscriber.wait().success(), "{}", subscriber.err.text());
        subscriber.out.bytes()
    };
    assert_eq!(some("2"), b"one\n\n");
    let written = fs::read_to_string(&position).unwrap();
    assert_eq!(some("2"), b"\xff\xfe\x00 not text\r\nfour\n");
    // The two write positions alike.
    let rest = run(&["subscribe", ">", "--discovery", discovery, "--from", written.trim(), "--count", "2"]);
    assert_eq!(rest.stdout, b"\xff\xfe\x00 not text\r\nfour\n");
    fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn python_clients_survive_a_pause_of_the_primary() {
    let _turn = turn();
    let cluster = Cluster::start(Service::embedded(), 2);
    let (discovery, count) = (cluster.discovery.address.clone(), words().1.to_string());
    let publish = python("publisher.py", &[TOPIC, "--discovery", &discovery]);
    let subscribe = python("subscriber.py", &all_words(&discovery, &count));
    passes(&cluster, publish, subscribe, Fault::PausePrimary);
}

#[test]
fn refusals_and_damage_are_answered_by_the_python_clients() {
    let mut command = Command::new(PYTHON);
    command.args(["-m", "unittest", "test_clients"]).current_dir(root().join("docs/clients/python"));
    command.env("PYTHONPATH", schema()).env("PYTHONDONTWRITEBYTECODE", "1").stdin(Stdio::null());
    let mut tests = Running::start("unittest", command);
    assert!(tests.wait().success(), "{}", tests.err.text());
    assert!(!tests.err.text().contains("Ran 0 tests"), "{}", tests.err.text());
}

#[test]
fn bad_input_to_the_python_clients_is_one_clear_line() {
    let _turn = turn();
    let nowhere = ["--discovery", "127.0.0.1:1"];
    let timed = ["--discovery", "127.0.0.1:1", "--timeout", "1"];
    let cases: [(&str, &[&str], &[&str], &str); 4] = [
        ("publisher.py", &["a..b"], &nowhere, "is not a topic"),
        ("publisher.py", &["a.b"], &timed, "check that the cluster has a primary"),
        ("subscriber.py", &["a", ">.b"], &nowhere, "is not a filter"),
        ("subscriber.py", &["a", "--from", "0-12"], &nowhere, "is not a position"),
    ];
    for (script, args, common, said) in cases {
        let mut command = python(script, &[args, common].concat());
        command.stdin(Stdio::piped());
        let mut running = Running::start(script, command);
        let mut stdin = running.stdin();
        let _ = stdin.write_all(b"a line\n");
        drop(stdin);
        assert!(!running.wait().success(), "{args:?}");
        let text = running.err.text();
        assert!(text.lines().last().is_some_and(|line| line.contains(said)), "{args:?}: {text}");
    }
}
