//! A process leaves while records flow, and everything that can go wrong on the way does, at every step:
//! every property is checked after every input, and at the end nothing is missing, repeated or out of
//! order. Where nothing goes wrong, nobody waits for a timeout.

use std::collections::BTreeMap;
use std::time::Duration;
use steadfast_sim::cluster::{Cluster, Config, Failure};
use steadfast_sim::fault::Fault;
use steadfast_sim::network::ProcessId;
use steadfast_sim::render::Renderer;

const RECORDS: u64 = 40;
/// Between two records.
const PACE: Duration = Duration::from_millis(1);
/// How long a fault lasts: past every timeout, and past the time that a broker takes to leave at most.
const OUTAGE: Duration = Duration::from_secs(8);
/// After healing, everything is well within this time.
const RECOVERY: Duration = Duration::from_secs(15);
/// How long a process is away.
const AWAY: Duration = Duration::from_millis(300);

/// Who is told to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaver {
    Primary,
    Backup,
}

/// What goes wrong, and with whom: with who leaves, or with the other one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    Nothing,
    Crash(Side),
    PowerLoss(Side),
    Pause(Side),
    CutOffFromCoordination(Side),
    CutOffFromEachOther,
    CutOneWay(Side),
    BothLeave,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    /// Who leaves.
    Leaver,
    /// The first backup, or the primary where a backup leaves.
    Other,
}

const SIDES: [Side; 2] = [Side::Leaver, Side::Other];

impl Trouble {
    fn all() -> Vec<Self> {
        let of_a_side =
            [Self::Crash, Self::PowerLoss, Self::Pause, Self::CutOffFromCoordination, Self::CutOneWay];
        let of_sides = of_a_side.iter().flat_map(|trouble| SIDES.map(trouble));
        of_sides.chain([Self::CutOffFromEachOther, Self::BothLeave]).collect()
    }

    fn strike(self, cluster: &mut Cluster, (leaver, other): (ProcessId, ProcessId)) -> Result<(), Failure> {
        let who = |side| if side == Side::Leaver { leaver } else { other };
        let faults = match self {
            Self::Nothing => vec![],
            Self::Crash(side) => vec![Fault::Crash(who(side))],
            Self::PowerLoss(side) => vec![Fault::PowerLoss(who(side))],
            Self::Pause(side) => vec![Fault::Pause(who(side))],
            Self::CutOffFromCoordination(side) => {
                vec![Fault::CutToCoordination(who(side)), Fault::CutFromCoordination(who(side))]
            }
            Self::CutOffFromEachOther => vec![Fault::Cut(leaver, other), Fault::Cut(other, leaver)],
            Self::CutOneWay(Side::Leaver) => vec![Fault::Cut(leaver, other)],
            Self::CutOneWay(Side::Other) => vec![Fault::Cut(other, leaver)],
            Self::BothLeave => {
                cluster.shut_down(other, Some(AWAY));
                vec![]
            }
        };
        faults.into_iter().try_for_each(|fault| cluster.strike(fault))
    }
}

/// A cluster of so many brokers in which everything is well and the clients are connected.
fn well(brokers: u32, seed: u64) -> Result<Cluster, Failure> {
    let config = Config { brokers, subscribers: vec![">", "a.*"], ..Config::default() };
    let mut cluster = Cluster::new(&config, seed);
    publish(&mut cluster, 1);
    assert!(cluster.run_until(Duration::from_secs(5), Cluster::is_settled)?, "a healthy cluster starts");
    Ok(cluster)
}

fn publish(cluster: &mut Cluster, records: u64) {
    let publisher = cluster.publishers()[0];
    cluster.publish(publisher, "a.b", records, PACE);
}

/// Who leaves, and who is at the other end.
fn cast(cluster: &Cluster, leaver: Leaver) -> (ProcessId, ProcessId) {
    let primary = cluster.primary().expect("a settled cluster has a primary");
    let mut backups = cluster.brokers().iter().copied().filter(|&broker| broker != primary);
    let backup = backups.next().expect("more than one broker");
    match leaver {
        Leaver::Primary => (primary, backup),
        Leaver::Backup => (backup, primary),
    }
}

/// Nothing is unknown, and each subscriber has each record: in order and once, as was checked.
fn everything_arrived(cluster: &Cluster) {
    let published = cluster.published(cluster.publishers()[0]);
    assert_eq!(published.acknowledged, published.asked(), "{published:?}");
    for subscriber in cluster.subscribers() {
        assert_eq!(cluster.received(subscriber).records, published.asked(), "{subscriber:?}");
    }
}

/// So many steps after the leaver was told to leave something goes wrong.
fn run(cluster: &mut Cluster, leaver: Leaver, trouble: Trouble, step: u64) -> Result<(), Failure> {
    publish(cluster, RECORDS);
    cluster.run_for(PACE * 5)?;
    let cast = cast(cluster, leaver);
    cluster.shut_down(cast.0, Some(AWAY));
    for _ in 0..step {
        cluster.step(u64::MAX)?;
    }
    trouble.strike(cluster, cast)?;
    cluster.run_for(OUTAGE)?;
    publish(cluster, 3);
    cluster.settle(RECOVERY)?;
    // Two of three leave or die: the third one has everything. Who is paused or cut off comes back.
    everything_arrived(cluster);
    Ok(())
}

/// Runs, and where it fails runs again with a timeline.
fn checked(seed: u64, leaver: Leaver, trouble: Trouble, step: u64) -> u64 {
    let mut cluster = well(3, seed).expect("a healthy cluster");
    let Err(failure) = run(&mut cluster, leaver, trouble, step) else {
        return cluster.fingerprint().value();
    };
    let mut again = well(3, seed).expect("a healthy cluster");
    again.render(Renderer::default());
    let same = run(&mut again, leaver, trouble, step).expect_err("the same failure");
    for line in again.take_lines() {
        println!("{line}");
    }
    assert_eq!(same, failure);
    panic!("seed {seed}, {leaver:?} leaves, {trouble:?} at step {step}: {failure}");
}

/// Steps from the order to leave until the process has ended, when nothing goes wrong.
fn steps_to_leave(seed: u64, leaver: Leaver) -> u64 {
    let mut cluster = well(3, seed).expect("a healthy cluster");
    publish(&mut cluster, RECORDS);
    cluster.run_for(PACE * 5).expect("every property holds");
    let (leaving, _) = cast(&cluster, leaver);
    cluster.shut_down(leaving, Some(AWAY));
    let before = cluster.world().steps();
    let gone = |cluster: &Cluster| cluster.broker(leaving).is_none();
    assert!(cluster.run_until(Duration::from_secs(1), gone).expect("every property holds"), "it leaves");
    cluster.world().steps() - before
}

fn at_every_step(leaver: Leaver) {
    let steps = steps_to_leave(1, leaver);
    assert!(steps > 20, "leaving takes more than {steps} steps");
    for trouble in Trouble::all() {
        for step in 0..=steps {
            checked(1, leaver, trouble, step);
        }
    }
}

#[test]
fn trouble_at_every_step_of_a_handover() {
    at_every_step(Leaver::Primary);
}

#[test]
fn trouble_at_every_step_of_a_backups_goodbye() {
    at_every_step(Leaver::Backup);
}

/// Of a pair the backup leaves, and so many steps later the primary dies and is back after a while, empty.
/// Returns whether the backup was in sync all the time: its copy is the only one, and must not leave with it.
fn primary_dies(power: bool, away: Duration, step: u64) -> Result<bool, Failure> {
    let mut cluster = well(2, 1)?;
    publish(&mut cluster, RECORDS);
    cluster.run_for(PACE * 5)?;
    let (leaver, primary) = cast(&cluster, Leaver::Backup);
    cluster.shut_down(leaver, Some(AWAY));
    for _ in 0..step {
        cluster.step(u64::MAX)?;
    }
    cluster.strike(if power { Fault::PowerLoss(primary) } else { Fault::Crash(primary) })?;
    cluster.run_for(away)?;
    // Either nothing has changed, or the backup is primary.
    let holds = cluster.state().is_some_and(|state| state.in_sync.len() == 2 || state.epoch > 1);
    cluster.strike(Fault::Restart(primary))?;
    cluster.run_for(OUTAGE)?;
    publish(&mut cluster, 3);
    cluster.settle(RECOVERY)?;
    if holds {
        everything_arrived(&cluster);
        let state = cluster.state().expect("the group exists");
        assert_eq!(state.history.lineage, 1, "power {power}, away {away:?}, step {step}");
    }
    Ok(holds)
}

#[test]
fn the_only_copy_does_not_leave_when_the_primary_dies_at_any_step() {
    // Before its session is over, and after.
    let aways = [AWAY / 2, Duration::from_millis(2_900)];
    for (power, away) in [false, true].into_iter().flat_map(|power| aways.map(|away| (power, away))) {
        // Behind these steps the primary has dropped the backup, and holds the only copy itself.
        let dies = |step: &u64| primary_dies(power, away, *step).expect("every property holds");
        let held = (0..80).filter(dies).count();
        assert!(held > 20 && held < 80, "in {held} of 80 steps");
    }
}

#[test]
fn the_same_seed_gives_the_same_history() {
    for leaver in [Leaver::Primary, Leaver::Backup] {
        let trouble = Trouble::Pause(Side::Other);
        assert_eq!(checked(7, leaver, trouble, 10), checked(7, leaver, trouble, 10));
    }
    assert_ne!(
        checked(7, Leaver::Primary, Trouble::Nothing, 0),
        checked(8, Leaver::Primary, Trouble::Nothing, 0)
    );
}

/// The longest time, in milliseconds, in which a count did not move, for each of several counts.
#[derive(Default)]
struct Silences(BTreeMap<usize, (u64, u64, u64)>);

impl Silences {
    fn note(&mut self, now: u64, counts: impl IntoIterator<Item = u64>) {
        for (which, count) in counts.into_iter().enumerate() {
            let (last, since, longest) = self.0.entry(which).or_insert((count, now, 0));
            *longest = (*longest).max(now.saturating_sub(*since));
            if *last != count || *since > now {
                (*last, *since) = (count, now);
            }
        }
    }

    /// Nothing is published for a while: that is no silence.
    fn rest(&mut self) {
        self.0.values_mut().for_each(|(_, since, _)| *since = u64::MAX);
    }

    fn longest(&self) -> u64 {
        self.0.values().map(|(_, _, longest)| longest / 1_000_000).max().unwrap_or(0)
    }
}

/// Every process is restarted, one after the other, each as soon as the one before is back.
fn restart_everything(cluster: &mut Cluster) -> Result<u64, Failure> {
    let everybody: Vec<_> = cluster.brokers().iter().chain(cluster.discoveries()).copied().collect();
    let mut silences = Silences::default();
    for process in everybody {
        publish(cluster, 2_000);
        cluster.run_for(Duration::from_millis(50))?;
        cluster.shut_down(process, Some(AWAY));
        let until = cluster.world().now() + 1_900_000_000;
        while cluster.world().now() < until {
            cluster.run_for(Duration::from_millis(1))?;
            let acknowledged = cluster.published(cluster.publishers()[0]).acknowledged;
            let received: Vec<_> = cluster.subscribers().collect();
            let received = received.into_iter().map(|subscriber| cluster.received(subscriber).records);
            let counts: Vec<_> = [acknowledged].into_iter().chain(received).collect();
            silences.note(cluster.world().now(), counts);
        }
        assert!(cluster.run_until(RECOVERY, Cluster::is_settled)?, "everything is well again");
        silences.rest();
    }
    Ok(silences.longest())
}

#[test]
fn a_rolling_restart_loses_nothing_and_waits_for_no_timeout() {
    for (brokers, seed) in [(2, 1), (3, 2), (3, 3), (2, 4), (3, 5)] {
        let mut cluster = well(brokers, seed).expect("a healthy cluster");
        let longest = restart_everything(&mut cluster).expect("every property holds");
        everything_arrived(&cluster);
        let state = cluster.state().expect("the group exists");
        assert_eq!(state.history.lineage, 1, "seed {seed}");
        assert!(state.epoch <= 1 + u64::from(brokers), "seed {seed}: epoch {}", state.epoch);
        println!("seed {seed}: longest silence {longest} ms of virtual time");
        assert!(longest < 100, "seed {seed}: somebody waited for a timeout: {longest} ms");
    }
}
