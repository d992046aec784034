//! The simulated coordination ensemble against a real one.

use crate::compare::{Difference, compare};
use crate::play::{Record, Stuck, describe, play};
use crate::real::Ground;
use crate::script::{Kind, Script, any_script};
use crate::simulated::Simulated;
use crate::zookeeper::Ensemble;
use futures::future::{join, join_all};
use futures::stream::{self, StreamExt as _};
use proptest::strategy::{Strategy as _, ValueTree};
use proptest::test_runner::TestRunner;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use steadfast_core::coordination::{Error, Event, Reply, SessionState};
use tokio::sync::Barrier;
use tokio::task::block_in_place;
use tokio::time::sleep;

/// Scripts whose sessions live.
const CALM: usize = 200;
/// Scripts with an expiry.
const EXPIRIES: usize = 24;
/// How often the leader is killed, and how many scripts are under way each time.
const LEADERS_LOST: u64 = 2;
const SCRIPTS_PER_LEADER: usize = 6;
/// Calm scripts played at a time.
const AT_A_TIME: usize = 12;
/// Histories in which the model has to show that it can do what was seen.
const SEEDS: u64 = 100_000;
/// Most scripts tried to make a failing one smaller.
const SHRINKS: usize = 60;
/// And no more after this.
const SHRINK_TIME: Duration = Duration::from_secs(30);

/// What has to occur somewhere, or the scripts say too little.
const WANTED: [&str; 22] = [
    "created",
    "data",
    "stat",
    "no stat",
    "children",
    "set",
    "done",
    "multi",
    "NoNode",
    "NodeExists",
    "BadVersion",
    "NotEmpty",
    "NoChildrenForEphemerals",
    "Invalid",
    "multi NodeExists",
    "multi BadVersion",
    "Unknown",
    "watch Created",
    "watch Deleted",
    "watch DataChanged",
    "watch ChildrenChanged",
    "expired",
];

type Tree = Box<dyn ValueTree<Value = Script>>;
type Tally = BTreeMap<String, usize>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_scripts_go_on_a_real_ensemble_as_on_the_simulated_one() {
    let began = Instant::now();
    let mut ensemble = block_in_place(|| Ensemble::start(3));
    let ground = Ground::new(ensemble.connect_string());
    let mut runner = TestRunner::deterministic();
    let mut tally = Tally::new();
    println!("the ensemble serves after {:.1?}", began.elapsed());

    let calm = trees(Kind::Calm, CALM, &mut runner);
    let expiries = trees(Kind::Expiry, EXPIRIES, &mut runner);
    let (calm, expiries) =
        join(agree(&ground, Kind::Calm, calm, AT_A_TIME), agree(&ground, Kind::Expiry, expiries, EXPIRIES))
            .await;
    for records in calm.iter().chain(&expiries) {
        count(records, &mut tally);
    }
    println!("{} calm scripts, {} with an expiry after {:.1?}", calm.len(), expiries.len(), began.elapsed());

    for number in 0..LEADERS_LOST {
        let trees = trees(Kind::LeaderLost, SCRIPTS_PER_LEADER, &mut runner);
        let scripts: Vec<_> = trees.iter().map(|tree| tree.current()).collect();
        for records in lose_leader(&ground, &mut ensemble, &scripts, number).await {
            count(&records, &mut tally);
        }
    }
    println!(
        "{LEADERS_LOST} leaders killed under {SCRIPTS_PER_LEADER} scripts each after {:.1?}",
        began.elapsed()
    );
    println!("{tally:?}");
    let missing: Vec<_> = WANTED.iter().filter(|wanted| !tally.contains_key(**wanted)).collect();
    assert!(missing.is_empty(), "nothing of this kind occurred: {missing:?}");
}

fn trees(kind: Kind, count: usize, runner: &mut TestRunner) -> Vec<Tree> {
    let strategy = any_script(kind);
    (0..count).map(|_| strategy.new_tree(runner).expect("nothing is rejected")).collect()
}

/// Plays all scripts, and returns what was told in reality.
async fn agree(ground: &Ground, kind: Kind, trees: Vec<Tree>, at_a_time: usize) -> Vec<Vec<Record>> {
    let played = stream::iter(trees).map(|tree| async move {
        match check(ground, kind, &tree.current()).await {
            Ok(records) => records,
            Err(difference) => {
                let (script, difference) = shrink(ground, kind, tree, difference).await;
                panic!("{script:?}\n{difference}");
            }
        }
    });
    played.buffer_unordered(at_a_time).collect().await
}

/// Looks for a smaller script that fails too.
async fn shrink(ground: &Ground, kind: Kind, mut tree: Tree, difference: String) -> (Script, String) {
    println!("{difference}\nlooking for a smaller script that fails");
    let began = Instant::now();
    let mut smallest = (tree.current(), difference);
    let mut goes_on = tree.simplify();
    for _ in 0..SHRINKS {
        if !goes_on || began.elapsed() > SHRINK_TIME {
            break;
        }
        let script = tree.current();
        goes_on = match check(ground, kind, &script).await {
            Ok(_) => tree.complicate(),
            Err(difference) => {
                smallest = (script, difference);
                tree.simplify()
            }
        };
    }
    smallest
}

/// Without a leader lost nothing is left to chance: the model tells the same whatever its seed.
async fn check(ground: &Ground, kind: Kind, script: &Script) -> Result<Vec<Record>, String> {
    let mut side = ground.stage(kind, None).await;
    let real = play(script, &mut side).await.map_err(|stuck| stuck.0)?;
    for seed in 0..2 {
        let model = simulate(script, seed).map_err(|stuck| stuck.0)?;
        compare(&real, &model).map_err(|difference| report(&difference, &real, &model))?;
    }
    Ok(real)
}

fn simulate(script: &Script, seed: u64) -> Result<Vec<Record>, Stuck> {
    futures::executor::block_on(play(script, &mut Simulated::new(seed)))
}

/// Plays scripts that lose their leader at the same time. For what then was seen the model has to show
/// a history of its own.
async fn lose_leader(
    ground: &Ground,
    ensemble: &mut Ensemble,
    scripts: &[Script],
    number: u64,
) -> Vec<Vec<Record>> {
    let gate = Arc::new(Barrier::new(scripts.len() + 1));
    let leader = block_in_place(|| ensemble.leader());
    let plays = join_all(scripts.iter().map(|script| {
        let gate = Arc::clone(&gate);
        async move { play(script, &mut ground.stage(Kind::LeaderLost, Some(gate)).await).await }
    }));
    let killer = async {
        gate.wait().await;
        sleep(Duration::from_millis(number)).await;
        block_in_place(|| ensemble.kill(leader));
    };
    let (played, ()) = join(plays, killer).await;
    block_in_place(|| ensemble.restart(leader));
    let real: Vec<_> =
        played.into_iter().map(|one| one.unwrap_or_else(|stuck| panic!("{}", stuck.0))).collect();
    for (script, real) in scripts.iter().zip(&real) {
        block_in_place(|| explain(script, real));
    }
    real
}

/// Finds a seed with which the model does what was seen in reality.
fn explain(script: &Script, real: &[Record]) {
    let mut closest = None;
    for seed in 0..SEEDS {
        let model = simulate(script, seed).unwrap_or_else(|stuck| panic!("seed {seed}: {}", stuck.0));
        match compare(real, &model) {
            Ok(()) => {
                println!("the model does the same with seed {seed}");
                return;
            }
            Err(difference) => closest = closest.max(Some((difference, seed))),
        }
    }
    let (difference, seed) = closest.expect("there are seeds");
    let model = simulate(script, seed).expect("as before");
    panic!("no history of the model does this:\n{script:?}\n{}", report(&difference, real, &model));
}

fn report(difference: &Difference, real: &[Record], model: &[Record]) -> String {
    format!("{}\n\nreality:\n{}\nmodel:\n{}", difference.what, describe(real), describe(model))
}

fn count(records: &[Record], tally: &mut Tally) {
    for event in records.iter().flat_map(|record| &record.events) {
        let label = match event {
            Event::Session(SessionState::Connected(_)) => "connected".to_owned(),
            Event::Session(SessionState::Suspended) => "suspended".to_owned(),
            Event::Session(SessionState::Expired) => "expired".to_owned(),
            Event::Watch { kind, .. } => format!("watch {kind:?}"),
            Event::Reply { result: Ok(reply), .. } => kind_of(reply).to_owned(),
            Event::Reply { result: Err(Error::Multi { error, .. }), .. } => format!("multi {error:?}"),
            Event::Reply { result: Err(error), .. } => format!("{error:?}"),
        };
        *tally.entry(label).or_default() += 1;
    }
}

const fn kind_of(reply: &Reply) -> &'static str {
    match reply {
        Reply::Created { .. } => "created",
        Reply::Data { .. } => "data",
        Reply::Stat(Some(_)) => "stat",
        Reply::Stat(None) => "no stat",
        Reply::Children(_) => "children",
        Reply::Set(_) => "set",
        Reply::Done => "done",
        Reply::Multi(_) => "multi",
    }
}
