//! The same seed gives the same history: in the same process, in another one, and in builds with and
//! without optimisation.

mod toy;

use bytes::Bytes;
use std::fmt::Write as _;
use std::process::Command;
use std::time::Duration;
use steadfast_core::coordination::{Create, CreateMode, Operation, Request};
use steadfast_core::link::LinkId;
use steadfast_core::node::Output;
use steadfast_core::storage;
use steadfast_sim::cluster::{Cluster, Config};
use steadfast_sim::fault::{Fault, cures};
use steadfast_sim::network::{ProcessId, Tail};
use steadfast_sim::random::{Draws, Purpose, Span};
use steadfast_sim::world::{self, World};
use toy::{Do, Play as _, Toy};

/// Where the hashes of the toys' histories are kept. They change only with the simulated world itself.
const STORED: &str = include_str!("determinism.txt");
/// Set in the process that only prints its hashes.
const CHILD: &str = "STEADFAST_SIM_PRINT_HASHES";
const TOYS: u64 = 4;

/// Every knob away from its default.
fn config() -> world::Config {
    let ms = Duration::from_millis;
    let mut config = world::Config {
        storage: Span::new(ms(0), ms(5)),
        drift: 1_000,
        memory: 200_000,
        ..world::Config::default()
    };
    config.network.distance = Span::new(ms(0), ms(3));
    config.network.tail = Tail { permille: 20, extra: Span::new(ms(1), ms(50)) };
    config.network.link_frames = 200;
    config.coordination.ping = ms(300);
    config
}

/// The fault of this number, of every kind.
fn fault(kind: u64, a: ProcessId, b: ProcessId, by: Duration) -> Fault {
    let all = [
        Fault::Crash(a),
        Fault::Exit(a),
        Fault::PowerLoss(a),
        Fault::Restart(a),
        Fault::Pause(a),
        Fault::Resume(a),
        Fault::Slow(a, by / 50),
        Fault::ClockRate(a, i32::try_from(by.as_millis()).expect("short") * 100 - 10_000),
        Fault::ClockJump(a, by),
        Fault::LimitMemory(a, 50_000),
        Fault::Cut(a, b),
        Fault::Heal(a, b),
        Fault::Reset(a, b),
        Fault::HalfOpen(a, b),
        Fault::Vanish(a, b),
        Fault::Delay(a, b, by),
        Fault::Lag(a, b, by / 10),
        Fault::Damage(a, b, 300),
        Fault::StopReading(a),
        Fault::ReadAgain(a),
        Fault::StopStoring(a),
        Fault::StoreAgain(a),
        Fault::CutToCoordination(a),
        Fault::CutFromCoordination(a),
        Fault::HealCoordination(a),
        Fault::DropCoordination(a),
        Fault::NewLeader,
        Fault::StopCoordination,
        Fault::StartCoordination,
        Fault::CutFollower,
        Fault::HealFollower,
    ];
    all[(kind % all.len() as u64) as usize]
}

/// One thing that a toy does, of every kind that a node can.
fn act(world: &mut World<Toy>, number: u64, kind: u64, toy: u32, other: u32) {
    let call = |operation| Output::Coordinate(Request::Call { call: number, operation });
    match kind % 8 {
        0 => world.dial(toy, number, other as usize),
        1..=3 => (1..number).rev().take(40).for_each(|link| {
            world.send(toy, LinkId::dialled(link), &"x".repeat(number as usize));
            world.send(toy, LinkId::accepted(link % 8), "answer");
        }),
        4 => world.put(toy, Output::Coordinate(Request::OpenSession)),
        5 => {
            let (path, mode) = (format!("/{}", number % 5), CreateMode::Ephemeral);
            world.put(toy, call(Operation::Create(Create { path, data: Bytes::new(), mode })));
        }
        6 => world.put(toy, call(Operation::Exists { path: format!("/{}", number % 5), watch: true })),
        _ => {
            let operation = storage::Operation::Wipe;
            world.put(toy, Output::Store(storage::Request { ticket: number, operation }));
            let now = world.node(ProcessId(toy)).map(Toy::began).unwrap_or_default();
            world.command(world.now(), ProcessId(toy), Do::WakeAt(now + Duration::from_millis(number * 7)));
        }
    }
}

/// Toys that do everything while everything happens to them.
fn toys(seed: u64) -> World<Toy> {
    let mut world = toy::world(config(), seed, TOYS as usize);
    let draws = Draws::new(seed);
    for number in 1..400 {
        let draw = |entity, bound| draws.below(Purpose::Workload, entity, number, bound);
        let (toy, other) = (draw(0, TOYS) as u32, draw(1, TOYS) as u32);
        act(&mut world, number, draw(2, 8), toy, other);
        if draw(3, 3) == 0 {
            let by = Duration::from_millis(draw(4, 200));
            world.strike(fault(draw(5, 29), ProcessId(toy), ProcessId(other), by));
        }
        world.run(draw(6, 40));
        if number % 100 == 0 {
            let all: Vec<_> = world.processes().collect();
            cures(&all).into_iter().for_each(|cure| drop(world.strike(cure)));
        }
    }
    world
}

/// Brokers and their clients while some of that happens to them.
fn cluster(seed: u64) -> Cluster {
    let world = world::Config { memory: u64::MAX, ..config() };
    let config = Config { world, publishers: 2, subscribers: vec![">", "a"], ..Config::default() };
    let mut cluster = Cluster::new(&config, seed);
    for publisher in cluster.publishers().to_vec() {
        cluster.publish(publisher, "a", 100, Duration::from_millis(20));
    }
    let all: Vec<_> = cluster.world().processes().collect();
    for number in 0..20 {
        let draw = |entity, bound| cluster.draw(Purpose::Fault, entity, number, bound);
        let (a, b) = (all[draw(0, all.len() as u64) as usize], all[draw(1, all.len() as u64) as usize]);
        let (kind, by) = (4 + draw(2, 24), Duration::from_millis(draw(3, 200)));
        // Nothing is killed: what a cluster gives up for lost is for other tests.
        let fault = match fault(kind, a, b, by) {
            Fault::LimitMemory(..) => Fault::NewLeader,
            fault => fault,
        };
        cluster.strike(fault).unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
        let passed = cluster.run_for(Duration::from_millis(150));
        passed.unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
    }
    cluster.settle(Duration::from_secs(30)).unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
    cluster
}

fn hashes_of_toys() -> String {
    (0..20).fold(String::new(), |mut text, seed| {
        let world = toys(seed);
        writeln!(text, "toys {seed} {} {}", world.steps(), world.fingerprint()).expect("a string");
        text
    })
}

fn hashes_of_clusters() -> String {
    (0..4).fold(String::new(), |mut text, seed| {
        let cluster = cluster(seed);
        writeln!(text, "cluster {seed} {} {}", cluster.world().steps(), cluster.fingerprint())
            .expect("a string");
        text
    })
}

/// `UPDATE_GOLDEN=1` stores the hashes anew. Every profile compares with the same file.
#[test]
fn every_build_gives_the_stored_histories() {
    let hashes = hashes_of_toys();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/determinism.txt");
        std::fs::write(path, &hashes).expect("the file can be written");
        return;
    }
    assert_eq!(hashes, STORED, "the world behaves differently: UPDATE_GOLDEN=1 if that is meant");
}

#[test]
fn another_process_gives_the_same_histories() {
    let hashes = hashes_of_toys() + &hashes_of_clusters();
    if std::env::var_os(CHILD).is_some() {
        print!("\n{hashes}");
        return;
    }
    let child = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "another_process_gives_the_same_histories", "--nocapture"])
        .env(CHILD, "1")
        .output()
        .expect("this test can be started");
    let output = String::from_utf8_lossy(&child.stdout);
    let is_hash = |line: &&str| line.starts_with("toys ") || line.starts_with("cluster ");
    let theirs: Vec<_> = output.lines().filter(is_hash).collect();
    assert!(child.status.success(), "{output}");
    assert_eq!(theirs, hashes.lines().collect::<Vec<_>>());
}

#[test]
fn another_seed_or_one_fault_less_gives_another_history() {
    assert_ne!(toys(1).fingerprint(), toys(2).fingerprint());
    let struck = |fault: Option<Fault>| {
        let mut world = toy::world(config(), 1, 2);
        world.dial(0, 1, 1);
        world.run(20);
        fault.map(|fault| world.strike(fault));
        world.run(20);
        world.fingerprint()
    };
    assert_ne!(struck(None), struck(Some(Fault::Lag(ProcessId(0), ProcessId(1), Duration::from_millis(1)))));
}
