//! `explore`: a small scope, exhaustively.

use super::interrupt::Interrupt;
use super::output::{Carried, Verdict, found, say, say_all};
use super::progress::Progress;
use serde_json::{Value, json};
use std::time::Instant;
use steadfast_sim::explore::{Explorer, Limit, Report, Scope, Trouble};

/// Explores every history of small scopes: the real brokers, publisher and subscriber, and everything that
/// can happen next as a choice.
///
/// Without arguments these are the stated scopes: two brokers in sync, a publisher with two batches, a
/// subscriber, and one crash or one pause; with three batches, and two frames that cannot be read when they arrive; a
/// publisher whose process dies three times, and its outbox lives on; a broker whose session ends, and a client that
/// begins anew and is told of the old primary only; and two brokers alone that suspect each other twice for no reason;
/// each with one and with two as the least number of in-sync members. Every number that is given changes all scopes that
/// are chosen.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only the scope with this trouble.
    #[arg(long, value_enum)]
    scope: Option<Name>,
    /// Only with this least number of in-sync members.
    #[arg(long)]
    min_in_sync: Option<u32>,
    /// Brokers.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=5))]
    brokers: Option<u8>,
    /// Records that the publisher is given, each a batch of its own; 0: no publisher.
    #[arg(long)]
    records: Option<u8>,
    /// Leave the subscriber out.
    #[arg(long)]
    no_subscriber: bool,
    /// Writes of the group's state.
    #[arg(long)]
    writes: Option<u8>,
    /// Frames under way in one direction of a connection.
    #[arg(long)]
    channel: Option<u8>,
    /// Connections between brokers at a time.
    #[arg(long)]
    connections: Option<u8>,
    /// Begin before any process has started, instead of with all in sync.
    #[arg(long)]
    from_nothing: bool,
    /// Crashes.
    #[arg(long)]
    crashes: Option<u8>,
    /// Brokers that stop for a while.
    #[arg(long)]
    pauses: Option<u8>,
    /// Brokers that are told to leave.
    #[arg(long)]
    shutdowns: Option<u8>,
    /// Sessions that expire.
    #[arg(long)]
    expiries: Option<u8>,
    /// Connections that break.
    #[arg(long)]
    resets: Option<u8>,
    /// Frames that cannot be read when they arrive.
    #[arg(long)]
    damages: Option<u8>,
    /// Answers of the coordination service that are lost.
    #[arg(long)]
    lost_answers: Option<u8>,
    /// Times that time passes for a broker.
    #[arg(long)]
    ticks: Option<u8>,
    /// Times that a client has had enough of waiting for an answer.
    #[arg(long)]
    timeouts: Option<u8>,
    /// Times that a client tries again what it has put off.
    #[arg(long)]
    retries: Option<u8>,
    /// Clients' processes that die; others go on with what they have kept.
    #[arg(long)]
    revivals: Option<u8>,
    /// Give the publisher an outbox.
    #[arg(long)]
    outbox: bool,
    /// Stop each scope after so many states.
    #[arg(long, default_value_t = 10_000_000, value_parser = at_least_one)]
    states: usize,
    /// Plant this bug, or two as `A+B`, and look for it; `all`: one after the other.
    #[cfg(feature = "bugs")]
    #[arg(long, value_name = "NAME")]
    bug: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Name {
    Crash,
    Pause,
    Doubts,
    Damage,
    Revivals,
    Astray,
}

impl Args {
    /// What is explored, by name.
    fn scopes(&self) -> Vec<(String, Scope)> {
        let troubles = [
            (Name::Crash, Trouble::Crash, "one crash"),
            (Name::Pause, Trouble::Pause, "one pause"),
            (Name::Doubts, Trouble::Doubts, "two doubts"),
            (Name::Damage, Trouble::Damage, "two illegible frames"),
            (Name::Revivals, Trouble::Revivals, "three revivals"),
            (Name::Astray, Trouble::Astray, "one astray"),
        ];
        let mut scopes = Vec::new();
        for (_, trouble, words) in troubles.iter().filter(|it| self.scope.is_none_or(|name| name == it.0)) {
            for min in self.min_in_sync.map_or(vec![1, 2], |min| vec![min]) {
                scopes.push((
                    format!("{words}, least number {min}"),
                    self.adjust(Scope::stated(*trouble, min)),
                ));
            }
        }
        scopes
    }

    /// The scope with what was asked for.
    fn adjust(&self, mut scope: Scope) -> Scope {
        let set = |place: &mut u8, given: Option<u8>| *place = given.unwrap_or(*place);
        set(&mut scope.budget.crashes, self.crashes);
        set(&mut scope.budget.pauses, self.pauses);
        set(&mut scope.budget.shutdowns, self.shutdowns);
        set(&mut scope.budget.expiries, self.expiries);
        set(&mut scope.budget.resets, self.resets);
        set(&mut scope.budget.damages, self.damages);
        set(&mut scope.budget.lost_answers, self.lost_answers);
        set(&mut scope.budget.ticks, self.ticks);
        set(&mut scope.budget.timeouts, self.timeouts);
        set(&mut scope.budget.retries, self.retries);
        set(&mut scope.budget.revivals, self.revivals);
        scope.outbox |= self.outbox;
        scope.brokers = self.brokers.map_or(scope.brokers, usize::from);
        scope.records = self.records.map_or(scope.records, u64::from);
        scope.writes = self.writes.map_or(scope.writes, i32::from);
        scope.channel = self.channel.map_or(scope.channel, usize::from);
        scope.connections = self.connections.map_or(scope.connections, usize::from);
        scope.subscriber &= !self.no_subscriber;
        scope.settled &= !self.from_nothing;
        scope
    }
}

/// A number of states.
fn at_least_one(text: &str) -> Result<usize, String> {
    let number: usize = text.parse().map_err(|error| format!("{error}"))?;
    if number == 0 { Err("an exploration has at least 1 state".to_owned()) } else { Ok(number) }
}

/// Carries it out.
pub fn run(args: &Args, json: bool) -> Carried {
    #[cfg(feature = "bugs")]
    if !args.bug.is_empty() {
        return bugs::run(args, json);
    }
    let mut verdict = Verdict::Good;
    let interrupt = Interrupt::hear()?;
    for (name, scope) in args.scopes() {
        let (report, seconds) = explore(&name, scope, args.states, &interrupt);
        verdict = match report.counterexample {
            Some(_) => Verdict::Bad,
            None if !report.exhausted && verdict == Verdict::Good => Verdict::Unfinished,
            None => verdict,
        };
        let printed = show(&name, &report, seconds, json);
        if printed.is_err() || interrupt.has_come() {
            return found(verdict, printed);
        }
    }
    Ok(verdict)
}

/// Prints what has come of a scope.
fn show(name: &str, report: &Report, seconds: f64, json: bool) -> Result<(), super::Stop> {
    let found = report.counterexample.as_ref();
    if json {
        let mut line = figures(report, seconds);
        line["scope"] = json!(name);
        line["exhausted"] = json!(report.exhausted);
        line["marks"] = json!(report.marks);
        line["timeline"] = json!(found.map(|found| &found.lines));
        return say(line);
    }
    say(format_args!("{name}: {seconds:.1} s, {:.0} states/s, {report}", report.states as f64 / seconds))?;
    say(format_args!("  occurred: {}", report.marks.iter().cloned().collect::<Vec<_>>().join(", ")))?;
    let Some(found) = found else { return Ok(()) };
    say_all(&found.lines)?;
    say(format_args!("{} after {} choices", found.violation, found.actions.len()))
}

/// Explores a scope and says from time to time how far it is. Also returns the seconds that it took.
fn explore(name: &str, scope: Scope, states: usize, interrupt: &Interrupt) -> (Report, f64) {
    let begin = Instant::now();
    let mut progress = Progress::begin();
    let report = Explorer::new(scope).run(Limit { states }, 1_000, |so_far: &dyn Fn() -> Report| {
        progress.show(|| format!("{:7.1} s  {name}: {}", begin.elapsed().as_secs_f64(), so_far()));
        !interrupt.has_come()
    });
    (report, begin.elapsed().as_secs_f64())
}

/// An exploration in numbers.
fn figures(report: &Report, seconds: f64) -> Value {
    let found = report.counterexample.as_ref();
    let violation = found.map(|found| {
        json!({
            "property": found.violation.property,
            "detail": found.violation.detail,
            "choices": found.actions.len(),
        })
    });
    json!({
        "states": report.states, "transitions": report.transitions, "depth": report.depth,
        "seconds": seconds, "violation": violation,
    })
}

/// Planted bugs: after how many states each is noticed.
#[cfg(feature = "bugs")]
mod bugs {
    use super::super::bugs::{all, all_named, name};
    use super::{Args, Carried, Interrupt, Verdict, explore, figures, found as stands, say};
    use serde_json::json;
    use steadfast_core::sabotage::{Bug, plant};

    pub fn run(args: &Args, json: bool) -> Carried {
        let chosen: Vec<Vec<Bug>> = match args.bug.iter().any(|name| name == "all") {
            true => all(),
            false => args.bug.iter().map(|names| all_named(names)).collect::<Result<_, _>>()?,
        };
        let mut entries = Vec::new();
        let interrupt = Interrupt::hear()?;
        for bugs in &chosen {
            let entry = look_for(bugs, args, &interrupt);
            if interrupt.has_come() && entry.is_none() {
                // Half a search says nothing of a bug.
                break;
            }
            if !json {
                say(row(bugs, entry.as_ref()))?;
            }
            entries.push(entry);
        }
        let found = entries.iter().flatten().count();
        let verdict = match entries.len() - found {
            0 if found < chosen.len() => Verdict::Unfinished,
            0 => Verdict::Good,
            _ => Verdict::Bad,
        };
        let printed = if json {
            let bugs: Vec<_> = chosen
                .iter()
                .zip(entries)
                .map(|(bugs, entry)| {
                    let (name, rule) = (name(bugs), bugs[0].rule());
                    json!({"name": name, "rule": rule, "detected": entry.is_some(), "found": entry})
                })
                .collect();
            say(json!({ "bugs": bugs }))
        } else {
            say(format_args!("{found} of {} bugs were noticed", entries.len()))
        };
        stands(verdict, printed)
    }

    /// Scope after scope until one shows the bug, or the two that stand for the same.
    fn look_for(bugs: &[Bug], args: &Args, interrupt: &Interrupt) -> Option<serde_json::Value> {
        plant(bugs.iter().copied());
        let mut scopes = args.scopes().into_iter().take_while(|_| !interrupt.has_come());
        let found = scopes.find_map(|(scope_name, scope)| {
            let title = format!("{}, {scope_name}", name(bugs));
            let (report, seconds) = explore(&title, scope, args.states, interrupt);
            let timeline = &report.counterexample.as_ref()?.lines;
            let mut entry = figures(&report, seconds);
            entry["scope"] = json!(scope_name);
            entry["timeline"] = json!(timeline);
            Some(entry)
        });
        plant(None);
        found
    }

    fn row(bugs: &[Bug], entry: Option<&serde_json::Value>) -> String {
        let begin = format!("{:<44} {:<10}", name(bugs), bugs[0].rule());
        let Some(entry) = entry else { return format!("{begin} not noticed") };
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        format!(
            "{begin} {:>9} states {:>6.1} s {:>4} choices  {} ({})",
            entry["states"].as_u64().unwrap_or(0),
            entry["seconds"].as_f64().unwrap_or(0.0),
            entry["violation"]["choices"].as_u64().unwrap_or(0),
            text(&entry["violation"]["property"]),
            text(&entry["scope"]),
        )
    }
}
