//! Publishers with an outbox die at any moment and start again, while the cluster suffers too, and
//! sessions expire early: every record that reached the outbox is in the log once, or was set aside and
//! reported as unknown.

use bytes::Bytes;
use std::collections::BTreeMap;
use std::time::Duration;
use steadfast_core::log::EntryKind;
use steadfast_core::wire::records::Records;
use steadfast_sim::cluster::{Cluster, Config, Failure};
use steadfast_sim::fault::Fault;
use steadfast_sim::nemesis::Nemesis;
use steadfast_sim::network::ProcessId;
use steadfast_sim::random::{Purpose, Span};
use steadfast_sim::render::Renderer;

const SEEDS: std::ops::Range<u64> = 0..150;
const FAULTS: u32 = 6;
const RECOVERY: Duration = Duration::from_secs(30);
/// An expiry that is reached in every run, and one that is not.
const EXPIRIES: [Duration; 2] = [Duration::from_millis(1_500), Duration::from_secs(1_000)];

fn cluster(seed: u64) -> Cluster {
    let mut config = Config {
        brokers: 2 + (seed % 2) as u32,
        publishers: 2,
        subscribers: vec![">"],
        outboxes: true,
        session_expiry: EXPIRIES[(seed / 2 % 2) as usize],
        ..Config::default()
    };
    config.world.storage = Span::new(Duration::ZERO, Duration::from_millis(20));
    Cluster::new(&config, seed)
}

/// Crashes and restarts of one publisher, by drawn numbers.
struct Crashes {
    publisher: ProcessId,
    drawn: u64,
}

impl Crashes {
    fn below(&mut self, cluster: &Cluster, bound: u64) -> u64 {
        self.drawn += 1;
        cluster.draw(Purpose::Fault, 7 + u64::from(self.publisher.0), self.drawn, bound)
    }

    /// One record, then perhaps a crash now or soon, or a start. Long pauses let sessions expire.
    fn turn(&mut self, cluster: &mut Cluster) -> Result<(), Failure> {
        if cluster.world().node(self.publisher).is_none() {
            if self.below(cluster, 4) == 0 {
                cluster.strike(Fault::Restart(self.publisher))?;
            }
            return Ok(());
        }
        cluster.publish(self.publisher, "a.b", 1, Duration::ZERO);
        if self.below(cluster, 12) == 0 {
            let steps = self.below(cluster, 30);
            for _ in 0..steps {
                cluster.step(u64::MAX)?;
            }
            let fault = match self.below(cluster, 2) {
                0 => Fault::Crash(self.publisher),
                _ => Fault::PowerLoss(self.publisher),
            };
            cluster.strike(fault)?;
        }
        Ok(())
    }
}

fn run(cluster: &mut Cluster) -> Result<(), Failure> {
    let publishers = cluster.publishers().to_vec();
    let mut crashes: Vec<_> =
        publishers.into_iter().map(|publisher| Crashes { publisher, drawn: 0 }).collect();
    let mut nemesis = Nemesis::default();
    for _ in 0..FAULTS {
        for _ in 0..25 {
            for crashes in &mut crashes {
                crashes.turn(cluster)?;
            }
            cluster.run_for(Duration::from_millis(10))?;
        }
        nemesis.rage(cluster, 1)?;
        let idle = crashes[0].below(cluster, 3_000);
        cluster.run_for(Duration::from_millis(idle))?;
    }
    cluster.settle(RECOVERY)
}

/// How often each payload is in the committed log that holds now.
fn logged(cluster: &Cluster) -> BTreeMap<Bytes, u32> {
    let mut times = BTreeMap::new();
    let history = cluster.state().expect("the group exists").history;
    for held in cluster.checks().ledger().committed(history).log.entries() {
        let EntryKind::Batch(batch) = &held.entry.kind else { continue };
        for payload in Records::decode(&batch.header, batch.body.clone()).expect("a publisher's batch") {
            *times.entry(payload).or_insert(0) += 1;
        }
    }
    times
}

/// Whatever was stored is in the log, or was set aside; nothing is there twice.
fn outboxes_are_kept(cluster: &Cluster) -> Tally {
    let logged = logged(cluster);
    let kept = cluster.state().is_some_and(|state| state.history.lineage == 1);
    let mut tally = Tally { kept, ..Tally::default() };
    assert_eq!(logged.values().find(|&&times| times > 1), None, "stored twice");
    for &publisher in cluster.publishers() {
        let disk = cluster.disk(publisher);
        tally.crashes += disk.crashes();
        tally.aside += disk.aside().len();
        tally.stored += disk.stored().len();
        for payload in disk.stored() {
            let found = logged.contains_key(payload) || disk.aside().contains(payload);
            assert!(found || !kept, "{payload:?} was stored in the outbox and is gone");
        }
        for payload in logged.keys().filter(|payload| payload.starts_with(&prefix(cluster, publisher))) {
            assert!(disk.stored().contains(payload), "{payload:?} left before it was stored");
        }
    }
    tally
}

/// What a publisher's payloads begin with.
fn prefix(cluster: &Cluster, publisher: ProcessId) -> Bytes {
    let number = cluster.publishers().iter().position(|&other| other == publisher).expect("a publisher") + 1;
    let id = steadfast_core::id::PublisherId((number as u128) << 96);
    Bytes::from(format!("{id:?}/"))
}

#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    kept: bool,
    crashes: u64,
    aside: usize,
    stored: usize,
}

fn checked(seed: u64) -> (Tally, u64) {
    let mut first = cluster(seed);
    let Err(failure) = run(&mut first) else {
        return (outboxes_are_kept(&first), first.fingerprint().value());
    };
    let mut again = cluster(seed);
    again.render(Renderer::default());
    let same = run(&mut again).expect_err("the same failure");
    for line in again.take_lines() {
        println!("{line}");
    }
    assert_eq!(same, failure);
    panic!("seed {seed}: {failure}");
}

#[test]
fn what_reached_the_outbox_is_stored_once_or_reported() {
    let tallies: Vec<_> = SEEDS.map(|seed| checked(seed).0).collect();
    let kept = tallies.iter().filter(|tally| tally.kept).count();
    let crashes: u64 = tallies.iter().map(|tally| tally.crashes).sum();
    let stored: usize = tallies.iter().map(|tally| tally.stored).sum();
    let aside: usize = tallies.iter().map(|tally| tally.aside).sum();
    println!("{kept} lineages kept, {crashes} crashes, {stored} records stored, {aside} set aside");
    assert!(kept * 10 > tallies.len() * 9, "the data was given up too often: {kept}");
    assert!(crashes > 2 * SEEDS.count() as u64 && stored > 10_000, "{crashes} crashes, {stored} stored");
    assert!(aside > 0, "no session ended with records under way");
}

/// R29: nobody is told of the end of a session in which nothing was under way.
#[test]
fn an_idle_session_expires_and_the_publisher_goes_on() {
    let config = Config { session_expiry: Duration::from_millis(1_500), ..Config::default() };
    for outboxes in [false, true] {
        let mut cluster = Cluster::new(&Config { outboxes, ..config.clone() }, 5);
        let publisher = cluster.publishers()[0];
        cluster.publish(publisher, "a.b", 20, Duration::ZERO);
        assert!(cluster.run_until(Duration::from_secs(5), Cluster::is_settled).unwrap());
        // Longer than the expiry with the link up, then without.
        cluster.run_for(Duration::from_secs(5)).unwrap();
        assert_eq!(sessions(&cluster), 1, "a session with a link lives on");
        cluster.strike(Fault::Pause(publisher)).unwrap();
        cluster.run_for(Duration::from_secs(5)).unwrap();
        assert_eq!(sessions(&cluster), 0);
        cluster.strike(Fault::Resume(publisher)).unwrap();
        cluster.publish(publisher, "a.b", 20, Duration::ZERO);
        cluster.settle(RECOVERY).unwrap();
        let published = cluster.published(publisher);
        assert_eq!((published.acknowledged, published.unknown), (40, 0), "{published:?}");
    }
}

fn sessions(cluster: &Cluster) -> usize {
    let primary = cluster.primary().expect("a primary");
    let sessions = cluster.broker(primary).expect("it lives").replica().sessions();
    assert_eq!(sessions.base().len(), sessions.overlay().len());
    sessions.base().len()
}

#[test]
fn the_same_seed_gives_the_same_history() {
    for seed in 0..6 {
        assert_eq!(checked(seed).1, checked(seed).1, "seed {seed}");
    }
}
