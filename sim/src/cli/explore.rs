//! `explore`: a small scope, exhaustively.

use super::Verdict;
use serde_json::json;
use std::time::Instant;
use steadfast_sim::explore::{Budget, Explorer, Limit, Report, Scope};

/// States between two progress lines.
const PROGRESS: usize = 100_000;

/// Explores every history of a small scope: the real brokers, and everything that can happen next as a
/// choice.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Brokers.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=5))]
    brokers: u8,
    /// Commits need so many in-sync members.
    #[arg(long, default_value_t = 1)]
    min_in_sync: u32,
    /// Records that the client publishes.
    #[arg(long, default_value_t = 1)]
    records: u64,
    /// Writes of the group's state.
    #[arg(long, default_value_t = 6)]
    writes: u8,
    /// Frames under way in one direction of a connection.
    #[arg(long, default_value_t = 3)]
    channel: u8,
    /// Connections at a time.
    #[arg(long, default_value_t = 3)]
    connections: u8,
    /// Begin before any broker has started, instead of with all in sync.
    #[arg(long)]
    from_nothing: bool,
    /// Crashes.
    #[arg(long, default_value_t = 1)]
    crashes: u8,
    /// Brokers that are told to leave.
    #[arg(long, default_value_t = 0)]
    shutdowns: u8,
    /// Sessions that expire.
    #[arg(long, default_value_t = 0)]
    expiries: u8,
    /// Connections that break.
    #[arg(long, default_value_t = 0)]
    resets: u8,
    /// Answers of the coordination service that are lost.
    #[arg(long, default_value_t = 0)]
    lost_answers: u8,
    /// Times that time passes.
    #[arg(long, default_value_t = 2)]
    ticks: u8,
    /// Stop after so many states.
    #[arg(long, default_value_t = 5_000_000)]
    states: usize,
}

impl Args {
    fn scope(&self) -> Scope {
        Scope {
            brokers: usize::from(self.brokers),
            min_in_sync: self.min_in_sync,
            records: self.records,
            writes: i32::from(self.writes),
            channel: usize::from(self.channel),
            connections: usize::from(self.connections),
            settled: !self.from_nothing,
            budget: Budget {
                crashes: self.crashes,
                shutdowns: self.shutdowns,
                expiries: self.expiries,
                resets: self.resets,
                lost_answers: self.lost_answers,
                ticks: self.ticks,
            },
        }
    }
}

/// Carries it out.
pub fn run(args: &Args, json: bool) -> Result<Verdict, String> {
    let begin = Instant::now();
    let limit = Limit { states: args.states };
    let report = Explorer::new(args.scope()).run(limit, PROGRESS, |so_far: &Report| {
        eprintln!("{:7.1} s  {so_far}", begin.elapsed().as_secs_f64());
    });
    let seconds = begin.elapsed().as_secs_f64();
    let found = report.counterexample.as_ref();
    if json {
        let violation = found
            .map(|found| json!({"property": found.violation.property, "detail": found.violation.detail}));
        let line = json!({
            "states": report.states, "transitions": report.transitions, "depth": report.depth,
            "exhausted": report.exhausted, "seconds": seconds, "marks": report.marks,
            "violation": violation, "timeline": found.map(|found| &found.lines),
        });
        println!("{line}");
    } else {
        println!("{seconds:7.1} s  {report}");
        println!("occurred: {}", report.marks.iter().cloned().collect::<Vec<_>>().join(", "));
        if let Some(found) = found {
            found.lines.iter().for_each(|line| println!("{line}"));
            println!("{} after {} choices", found.violation, found.actions.len());
        }
    }
    Ok(if found.is_none() { Verdict::Good } else { Verdict::Bad })
}
