//! The flight recorder's files: a ring that turns, files of others, and a disk that fails.

use bytes::Bytes;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use steadfast_core::broker::{Boot, Broker, Config};
use steadfast_core::id::{Address, Generation, Incarnation, NodeName};
use steadfast_core::link::{Frame, LinkId};
use steadfast_core::node::{Input, Node};
use steadfast_core::recording::{Decoder, Record, begin};
use steadfast_core::time::Instant;
use steadfast_runtime::observer::Observer;
use steadfast_runtime::recorder::{Recorder, Tape, TapeError};

const LIMIT: u64 = 2 << 20;

/// A directory that goes with its test.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("steadfast-recorder-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A broker that is driven by hand.
struct Driven {
    broker: Broker,
    recorder: Recorder,
    now: Instant,
}

impl Driven {
    fn start(tape: Tape, life: u128) -> Self {
        let boot = Boot {
            seed: 1,
            node: NodeName::new("one").unwrap(),
            generation: Generation(life),
            incarnation: Incarnation(life),
            address: Address::new("tcp://127.0.0.1:1").unwrap(),
            group: 0,
            root: "/steadfast/main".to_owned(),
            config: Config::default(),
        };
        let now = Instant::from_nanos(1);
        let recorder = tape.record(boot.clone(), now);
        Self { broker: Broker::new(now, boot), recorder, now }
    }

    fn turn(&mut self, inputs: impl IntoIterator<Item = Input<steadfast_core::broker::Command>>) {
        self.now = self.now + Duration::from_millis(1);
        for input in inputs {
            self.recorder.handles(self.now, &input);
            self.broker.handle_input(self.now, input);
        }
        while let Some(output) = self.broker.poll_output() {
            self.recorder.puts_out(&output);
        }
        self.recorder.turned(self.now, &mut self.broker);
    }

    /// Frames of so many bytes each, in so many turns. They are dropped: no broker knows them.
    fn frames(&mut self, turns: usize, length: usize) {
        for _ in 0..turns {
            let frame = Frame { parts: vec![Bytes::from(vec![7; length])] };
            self.turn([Input::Received { link: LinkId::accepted(1), frame }, Input::Timeout]);
        }
    }

    fn end(mut self) {
        self.recorder.ended(self.now, &mut self.broker);
    }
}

/// What a file begins with and how far it goes, in inputs, and whether it ends in order.
fn extent(file: &Path) -> (u64, u64, bool) {
    let bytes = fs::read(file).unwrap();
    let mut decoder = Decoder::new(&bytes).unwrap();
    let first = begin(&mut decoder).unwrap().inputs;
    let (mut reached, mut ended) = (first, false);
    while let Some(record) = decoder.next_record().unwrap() {
        reached += u64::from(matches!(record, Record::Input { .. }));
        ended = matches!(record, Record::End);
    }
    (first, reached, ended)
}

#[test]
fn the_ring_turns_and_its_two_files_are_one_story() {
    let directory = Directory::new("ring");
    let file = directory.file("r");
    let mut driven = Driven::start(Tape::open(&file, LIMIT).unwrap(), 1);
    driven.frames(1_000, 10_000);
    driven.end();
    assert_eq!(directory.names(), ["r", "r.1"]);
    let (older, newer) = (extent(&directory.file("r.1")), extent(&file));
    assert!(older.0 > 0, "the beginning is gone");
    assert_eq!((older.1, newer.1, newer.2), (newer.0, 2_000, true));
    let bytes: u64 = ["r", "r.1"].iter().map(|name| directory.file(name).metadata().unwrap().len()).sum();
    assert!((LIMIT / 2..LIMIT * 5 / 4).contains(&bytes), "{bytes}");
}

#[test]
fn what_an_earlier_process_has_left_is_kept_until_the_next() {
    let directory = Directory::new("last");
    let file = directory.file("r");
    for (life, turns) in [(1, 400), (2, 3), (3, 5)] {
        let mut driven = Driven::start(Tape::open(&file, LIMIT).unwrap(), life);
        driven.frames(turns, 10_000);
        // As a panic would end it.
        drop(driven);
        assert_eq!(extent(&file).1, 2 * turns as u64);
        if life == 2 {
            assert_eq!(directory.names(), ["r", "r.last", "r.last.1"]);
            assert_eq!(extent(&directory.file("r.last")).1, 800);
        }
    }
    assert_eq!(directory.names(), ["r", "r.last"]);
    assert_eq!(extent(&directory.file("r.last")), (0, 6, false));
}

#[test]
fn files_of_others_are_left_alone() {
    let directory = Directory::new("others");
    let file = directory.file("r");
    let tape = Tape::open(&file, LIMIT).unwrap();
    assert!(matches!(Tape::open(&file, LIMIT), Err(TapeError::InUse { .. })));
    drop(tape);
    let other = directory.file("other");
    fs::write(&other, "precious").unwrap();
    assert!(matches!(Tape::open(&other, LIMIT), Err(TapeError::NoRecording { .. })));
    assert_eq!(fs::read_to_string(&other).unwrap(), "precious");
    let missing = directory.file("missing/r");
    let error = Tape::open(&missing, LIMIT).map(drop).unwrap_err();
    assert!(
        matches!(error, TapeError::Open { .. }) && error.to_string().contains("check that its directory")
    );
}

#[test]
fn a_broker_goes_on_when_its_recording_cannot() {
    let directory = Directory::new("fails");
    let mut driven = Driven::start(Tape::open(&directory.file("r"), LIMIT).unwrap(), 1);
    driven.frames(10, 1_000);
    fs::remove_dir_all(&directory.0).unwrap();
    // Another file cannot be begun.
    driven.frames(1_000, 10_000);
    assert_eq!(driven.broker.stats().received.count, 1_010);
    driven.end();
    assert!(!directory.0.exists());
}
