//! The simulator's models against reality: the same random scripts are played on the simulated
//! coordination ensemble and on real ZooKeeper servers behind the adapter, and the same link scripts
//! on the simulated network and on real ZeroMQ sockets.

mod compare;
mod play;
mod proxy;
mod real;
mod script;
mod simulated;
#[path = "../support/zookeeper.rs"]
#[allow(dead_code, reason = "every test file uses its part")]
mod zookeeper;

use compare::compare;
use futures::stream::{self, StreamExt as _};
use play::{Record, Stuck, describe, play};
use proptest::strategy::{BoxedStrategy, Strategy as _, ValueTree as _};
use proptest::test_runner::TestRunner;
use real::Ground;
use script::{Kind, Script, any_script};
use simulated::Simulated;
use std::time::Instant;
use zookeeper::Ensemble;

type Tree = Box<dyn proptest::strategy::ValueTree<Value = Script>>;

fn generate(strategy: &BoxedStrategy<Script>, runner: &mut TestRunner) -> Tree {
    strategy.new_tree(runner).expect("scripts need no rejection")
}

fn simulate(script: &Script, seed: u64) -> Result<Vec<Record>, Stuck> {
    futures::executor::block_on(play(script, &mut Simulated::new(seed)))
}

async fn check(ground: &Ground, script: &Script, kind: Kind) -> Result<(), String> {
    let mut side = ground.stage(kind, None).await;
    let real = play(script, &mut side).await.map_err(|stuck| stuck.0)?;
    for seed in 0..2 {
        let model = simulate(script, seed).map_err(|stuck| stuck.0)?;
        compare(&real, &model).map_err(|difference| {
            format!("{difference}\n\nreality:\n{}\nmodel:\n{}", describe(&real), describe(&model))
        })?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn coordination() {
    let began = Instant::now();
    let ensemble = Ensemble::start(3);
    println!("ensemble up after {:?}", began.elapsed());
    let ground = Ground::new(ensemble.connect_string());
    let mut runner = TestRunner::deterministic();
    let calm = any_script(Kind::Calm);
    let trees: Vec<_> = (0..200).map(|_| generate(&calm, &mut runner)).collect();
    let began = Instant::now();
    let results: Vec<_> = stream::iter(&trees)
        .map(|tree| async {
            let script = tree.current();
            check(&ground, &script, Kind::Calm).await.map_err(|error| format!("{script:#?}\n{error}"))
        })
        .buffered(12)
        .collect()
        .await;
    println!("calm after {:?}", began.elapsed());
    let failed: Vec<_> = results.iter().filter_map(|result| result.as_ref().err()).collect();
    println!("{} failed", failed.len());
    failed.iter().for_each(|error| {
        println!(
            "{}\n",
            error.split("reality:\n").next().unwrap().lines().rev().take(5).collect::<Vec<_>>().join("\n")
        )
    });
    assert!(failed.is_empty(), "{}", failed[0]);
}
