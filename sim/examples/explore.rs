//! Explores a small scope exhaustively and prints what was seen, for example
//! `cargo run --release -p steadfast-sim --example explore -- min=2 crashes=1 ticks=3 states=1000000`.

use std::process::ExitCode;
use std::time::Instant;
use steadfast_sim::explore::{Budget, Explorer, Limit, Report, Scope};

const USAGE: &str = "usage: explore [NAME=NUMBER]...
  brokers, min, records, writes, channel, connections, settled   the scope
  crashes, shutdowns, expiries, resets, lost, ticks              faults
  states                                                         where to stop";

/// Changes one number. `Err`: what is wrong with it.
fn set(scope: &mut Scope, limit: &mut Limit, setting: &str) -> Result<(), String> {
    let (name, number) = setting.split_once('=').ok_or(format!("{setting:?} is not NAME=NUMBER"))?;
    let number: u32 = number.parse().map_err(|_| format!("{number:?} is not a number"))?;
    let small = u8::try_from(number).map_err(|_| format!("{number} is too large for {name}"));
    let budget = &mut scope.budget;
    match name {
        "brokers" => scope.brokers = usize::from(small?.max(1)),
        "min" => scope.min_in_sync = number,
        "records" => scope.records = number.into(),
        "writes" => scope.writes = i32::from(small?),
        "channel" => scope.channel = usize::from(small?),
        "connections" => scope.connections = usize::from(small?),
        "crashes" => budget.crashes = small?,
        "shutdowns" => budget.shutdowns = small?,
        "expiries" => budget.expiries = small?,
        "resets" => budget.resets = small?,
        "lost" => budget.lost_answers = small?,
        "ticks" => budget.ticks = small?,
        "settled" => scope.settled = number > 0,
        "states" => limit.states = number as usize,
        _ => return Err(format!("there is no {name:?}")),
    }
    Ok(())
}

fn main() -> ExitCode {
    let mut scope = Scope {
        brokers: 2,
        min_in_sync: 1,
        records: 1,
        writes: 6,
        channel: 3,
        connections: 3,
        settled: true,
        budget: Budget { crashes: 1, shutdowns: 0, expiries: 0, resets: 0, lost_answers: 0, ticks: 2 },
    };
    let mut limit = Limit { states: 5_000_000 };
    for setting in std::env::args().skip(1) {
        if let Err(error) = set(&mut scope, &mut limit, &setting) {
            eprintln!("explore: {error}\n{USAGE}");
            return ExitCode::from(2);
        }
    }
    println!("{scope:?}");
    let begin = Instant::now();
    let seconds = |begin: Instant| begin.elapsed().as_secs_f64();
    let report = Explorer::new(scope).run(limit, 100_000, |so_far: &Report| {
        println!("{:7.1} s  {so_far}", seconds(begin));
    });
    println!("{:7.1} s  {report}", seconds(begin));
    println!("occurred: {}", report.marks.iter().cloned().collect::<Vec<_>>().join(", "));
    let Some(found) = report.counterexample else { return ExitCode::SUCCESS };
    found.lines.iter().for_each(|line| println!("{line}"));
    println!("{} after {} choices", found.violation, found.actions.len());
    ExitCode::FAILURE
}
