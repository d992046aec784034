//! `steadfast publish --outbox`: the process is killed in the middle of a file, and another one goes on;
//! and what is said of an outbox that cannot be used.

use crate::nodes::{Cluster, Running, Service, run, steadfast, turn, wait_until};
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Stdio;

const WORDS: &str = "/usr/share/dict/words";
const TOPIC: &str = "words.american";

/// A directory that is removed with the test.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("steadfast-e2e-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Killed twice while it reads: what a subscriber gets is the file, byte for byte.
#[test]
fn a_publisher_that_is_killed_in_the_middle_of_a_file_is_taken_up() {
    let _turn = turn();
    let file = fs::read(WORDS).unwrap_or_else(|_| panic!("{WORDS} is missing: apt-get install wamerican"));
    let count = file.iter().filter(|&&byte| byte == b'\n').count().to_string();
    let place = Place::new("killed");
    let outbox = place.file("words.outbox");
    let cluster = Cluster::start(Service::embedded(), 2);
    let discovery = cluster.discovery.address.as_str();
    let subscribe = ["subscribe", TOPIC, "--discovery", discovery, "--from", "earliest", "--count", &count];
    let mut subscriber = Running::start("subscriber", steadfast(&subscribe));
    let publish = ["publish", TOPIC, "--discovery", discovery, "--outbox", &outbox, "--resume", "--json"];
    for share in [3, 2] {
        let mut command = steadfast(&publish);
        command.stdin(Stdio::piped());
        let mut publisher = Running::start("publisher", command);
        let mut stdin = publisher.stdin();
        // The end of what it is given is cut within a line: nothing was published of that one.
        stdin.write_all(&file[..file.len() / share]).unwrap();
        wait_until("a part is delivered", || subscriber.out.len() > file.len() / share * 3 / 4);
        publisher.signal("KILL");
        assert!(!publisher.wait().success());
    }
    let mut command = steadfast(&publish);
    command.args(["--file", WORDS]);
    let mut publisher = Running::start("publisher", command);
    assert!(publisher.wait().success(), "{}", publisher.err.text());
    let report: serde_json::Value = serde_json::from_str(&publisher.out.text()).unwrap();
    assert!(report["published"].as_u64().unwrap() < count.parse::<u64>().unwrap() * 2 / 3, "{report}");
    assert_eq!(report["unacknowledged"], 0);
    assert!(subscriber.wait().success(), "{}", subscriber.err.text());
    assert!(subscriber.out.bytes() == file, "the subscriber's output is not the file");
    let late = run(&subscribe);
    assert!(late.status.success() && late.stdout == file, "what a late subscriber gets is not the file");

    // The run ended well: the next one begins at the first line.
    let next = place.file("next");
    fs::write(&next, "one more\n").unwrap();
    let output = run(&[&publish[..], &["--file", &next]].concat());
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &report["acknowledged"]), (Some(0), &1.into()));
}

#[test]
fn two_publishers_with_one_outbox_are_told_apart() {
    let _turn = turn();
    let place = Place::new("copy");
    let (outbox, copy) = (place.file("outbox"), place.file("copy"));
    let cluster = Cluster::start(Service::embedded(), 1);
    let discovery = cluster.discovery.address.as_str();
    let publish = |outbox: &str| {
        let mut command = steadfast(&["publish", "t", "--discovery", discovery, "--outbox", outbox]);
        command.stdin(Stdio::piped());
        command
    };
    let subscribe = ["subscribe", "t", "--discovery", discovery, "--from", "earliest", "--count", "2"];
    let mut subscriber = Running::start("subscriber", steadfast(&subscribe));
    let mut first = Running::start("first", publish(&outbox));
    first.stdin().write_all(b"one\n").unwrap();
    wait_until("the first record is delivered", || subscriber.out.text() == "one\n");
    // It ended well; its identity stays in the file, and in the copy.
    assert!(first.wait().success(), "{}", first.err.text());
    fs::copy(&outbox, &copy).unwrap();

    let mut owner = Running::start("owner", publish(&outbox));
    let mut stdin = owner.stdin();
    stdin.write_all(b"two\n").unwrap();
    assert!(subscriber.wait().success(), "{}", subscriber.err.text());
    assert_eq!(subscriber.out.text(), "one\ntwo\n");

    let mut same = Running::start("same", publish(&outbox));
    drop(same.stdin());
    assert_eq!(same.wait().code(), Some(1));
    assert!(same.err.text().contains("is in use by another process"), "{}", same.err.text());

    let mut other = Running::start("other", publish(&copy));
    other.stdin().write_all(b"never\n").unwrap();
    assert_eq!(other.wait().code(), Some(1));
    assert!(
        other.err.text().contains("another process uses this publisher's identity"),
        "{}",
        other.err.text()
    );

    stdin.write_all(b"three\n").unwrap();
    drop(stdin);
    assert!(owner.wait().success(), "{}", owner.err.text());
    let all = run(&["subscribe", "t", "--discovery", discovery, "--from", "earliest", "--count", "3"]);
    assert_eq!(String::from_utf8_lossy(&all.stdout), "one\ntwo\nthree\n");
}

/// One line with cause and remedy, and no cluster is needed to say it.
#[test]
fn an_outbox_that_cannot_be_used_is_named() {
    let place = Place::new("unusable");
    let text = place.file("text");
    fs::write(&text, "no outbox\n").unwrap();
    let (missing, directory) = (place.file("none/outbox"), place.file(""));
    for (path, cause, remedy) in [
        (&text, "damaged", "move it away"),
        (&missing, "cannot open the outbox", "its directory exists"),
        (&directory, "cannot open the outbox", "can be written"),
    ] {
        let output = run(&["publish", "t", "--outbox", path, "--discovery", "127.0.0.1:1"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert_eq!(said.trim_end().lines().count(), 1, "{said}");
        assert!(said.contains(cause) && said.contains(remedy) && said.contains(path.as_str()), "{said}");
    }
}
