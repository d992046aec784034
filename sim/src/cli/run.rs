//! `run`: many seeds, on several cores.

use super::interrupt::Interrupt;
use super::output::{Carried, Stop, Verdict, found, say, say_all, tell};
use super::progress::Progress;
use super::report;
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;
use std::collections::BTreeMap;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};
use steadfast_sim::coverage::Coverage;
use steadfast_sim::plan::generate::generate;
use steadfast_sim::plan::minimise::minimise;
use steadfast_sim::plan::run::{self, Outcome};
use steadfast_sim::render::Renderer;

/// Every so manieth seed is run twice, and the histories must agree.
const TWICE: u64 = 100;
/// How long cutting a failing plan down may take.
const MINIMISING: Duration = Duration::from_secs(60);
/// A year, in minutes: nobody waits for longer.
const LONGEST: u64 = 366 * 24 * 60;

/// Runs the plans of many seeds. Stops at the first that fails, and cuts it down.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many seeds.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0, value_name = "SEED")]
    from: u64,
    /// How many at a time; as many as there are cores, if not given.
    #[arg(long)]
    jobs: Option<NonZero<usize>>,
    /// Stop after so many minutes.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=LONGEST))]
    minutes: Option<u64>,
    /// Go on after a failure: list all, cut none down.
    #[arg(long)]
    keep_going: bool,
    /// Where plans that fail are written to.
    #[arg(long, default_value = ".", value_name = "FOLDER")]
    out: PathBuf,
}

/// What all runs amount to.
#[derive(Default)]
struct Summary {
    seeds: u64,
    inputs: u64,
    /// Virtual time.
    time: Duration,
    coverage: Coverage,
    excuses: BTreeMap<&'static str, u64>,
    failures: BTreeMap<u64, Outcome>,
}

impl Summary {
    fn add(&mut self, seed: u64, outcome: Outcome) {
        self.seeds += 1;
        self.inputs += outcome.steps;
        self.time += Duration::from_nanos(outcome.time);
        self.coverage.add(&outcome.coverage);
        if let Some(excuse) = outcome.excuse {
            *self.excuses.entry(excuse).or_default() += 1;
        }
        if outcome.result.is_err() {
            self.failures.insert(seed, outcome);
        }
    }

    /// Inputs in each second of processor time.
    fn rate(&self) -> f64 {
        self.inputs as f64 / processor_time().as_secs_f64().max(0.001)
    }

    /// One line.
    fn line(&self, passed: Duration) -> String {
        let hours = self.time.as_secs_f64() / 3_600.0;
        format!(
            "{} seeds, {hours:.2} simulated hours, {} inputs, {:.0} inputs/s per core, {} kinds of transitions, {} failed, {:.1} s",
            self.seeds,
            self.inputs,
            self.rate(),
            self.coverage.iter().count(),
            self.failures.len(),
            passed.as_secs_f64()
        )
    }
}

/// What this process has computed so far, on all cores: what else the machine does counts for nothing.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

/// Carries it out.
pub fn run(args: &Args, json: bool) -> Carried {
    report::may_write_into(&args.out)?;
    let begin = Instant::now();
    let interrupt = Interrupt::hear()?;
    let summary = sweep(args, begin, &interrupt)?;
    let verdict = match summary.failures.is_empty() {
        false => Verdict::Bad,
        true if interrupt.has_come() || summary.seeds == 0 => Verdict::Unfinished,
        true => Verdict::Good,
    };
    found(verdict, tell_all(args, json, &summary, begin.elapsed(), &interrupt))
}

/// Prints the summary, and what was found. A plan that fails is kept also where nobody reads on.
fn tell_all(
    args: &Args,
    json: bool,
    summary: &Summary,
    passed: Duration,
    interrupt: &Interrupt,
) -> Result<(), Stop> {
    let mut printed = sum_up(summary, passed, json);
    for (seed, outcome) in &summary.failures {
        printed = printed.and(match &outcome.result {
            Err(failure) if args.keep_going && json => {
                say(json!({"seed": seed, "violation": report::failure(failure)}))
            }
            Err(failure) if args.keep_going => {
                let text: String = failure.to_string().chars().take(300).collect();
                say(format_args!("seed {seed}: {text}"))
            }
            Err(_) => cut_down(args, *seed, json, interrupt),
            Ok(()) => Ok(()),
        });
    }
    printed
}

fn sum_up(summary: &Summary, passed: Duration, json: bool) -> Result<(), Stop> {
    if json {
        return say(in_json(summary, passed));
    }
    say(summary.line(passed))?;
    let excuses = summary.excuses.iter();
    say_all(excuses.map(|(excuse, count)| format!("liveness was excused {count} times: {excuse}")))
}

/// Runs the seeds on several threads.
fn sweep(args: &Args, begin: Instant, interrupt: &Interrupt) -> Result<Summary, String> {
    let jobs = args.jobs.or_else(|| thread::available_parallelism().ok()).map_or(1, NonZero::get);
    let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let (results, inbox) = mpsc::channel();
    let mut summary = Summary::default();
    let end = args.minutes.map(|minutes| begin + Duration::from_secs(60 * minutes));
    thread::scope(|scope| {
        for _ in 0..jobs {
            let (results, next, stop) = (results.clone(), &next, &stop);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let seed = args.from.wrapping_add(number);
                    if number >= args.seeds || results.send((seed, attempt(seed))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(results);
        let mut progress = Progress::begin();
        let outcome = loop {
            match inbox.recv_timeout(Duration::from_millis(200)) {
                Ok((seed, Ok(outcome))) => summary.add(seed, outcome),
                Ok((_, Err(difference))) => break Err(difference),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break Ok(()),
            }
            progress.show(|| summary.line(begin.elapsed()));
            let failed = !summary.failures.is_empty() && !args.keep_going;
            if failed || interrupt.has_come() || end.is_some_and(|end| Instant::now() >= end) {
                stop.store(true, Ordering::Relaxed);
            }
        };
        stop.store(true, Ordering::Relaxed);
        outcome
    })?;
    Ok(summary)
}

/// Runs a seed, twice where it fails and now and then. `Err`: the two differ, and where.
fn attempt(seed: u64) -> Result<Outcome, String> {
    let plan = generate(seed);
    let outcome = run::run(&plan);
    let twice = outcome.result.is_err() || seed.is_multiple_of(TWICE);
    if !twice || run::run(&plan) == outcome {
        return Ok(outcome);
    }
    let [one, other] = [(); 2].map(|()| run::render(&plan, Renderer::default()).lines);
    let place = one.iter().zip(&other).find(|(one, other)| one != other);
    Err(format!("seed {seed} is not deterministic; the first difference: {place:?}"))
}

/// Prints all there is to say about a seed that fails.
fn cut_down(args: &Args, seed: u64, json: bool, interrupt: &Interrupt) -> Result<(), Stop> {
    let plan = generate(seed);
    let Err(failure) = run::run(&plan).result else { return Ok(()) };
    let property = failure.violation.property;
    tell(format_args!(
        "seed {seed} violates {property}: cutting it down, for {} s at most",
        MINIMISING.as_secs()
    ));
    let end = Instant::now() + MINIMISING;
    let least = minimise(&plan, property, || Instant::now() < end && !interrupt.has_come());
    let outcome = run::render(&least, Renderer::default());
    let failure = outcome.result.err().unwrap_or(failure);
    let file = args.out.join(format!("{property}-{seed}.plan"));
    let kept = report::keep(&least, &failure, &file);
    if let Err(error) = &kept {
        tell(format_args!("steadfast-sim: the plan cannot be kept: {error}"));
    }
    let place = kept.is_ok().then(|| file.display().to_string());
    if json {
        let (failure, plan) = (report::failure(&failure), least.counted());
        return say(
            json!({"seed": seed, "violation": failure, "plan": plan, "file": place, "timeline": outcome.lines}),
        );
    }
    say_all(&outcome.lines)?;
    let place = place.map_or_else(|| "is this".to_owned(), |file| format!("is in {file}"));
    say(format_args!(
        "\nseed {seed} violates {property}\n{failure}\n\nThe plan, cut down, {place}:\n\n{}",
        least.counted()
    ))
}

fn in_json(summary: &Summary, passed: Duration) -> serde_json::Value {
    let coverage: serde_json::Map<_, _> =
        summary.coverage.iter().map(|(mark, count)| (mark.to_owned(), json!(count))).collect();
    let failures: Vec<_> = summary.failures.keys().collect();
    json!({
        "seeds": summary.seeds,
        "inputs": summary.inputs,
        "simulated_hours": summary.time.as_secs_f64() / 3_600.0,
        "seconds": passed.as_secs_f64(),
        "inputs_per_second_and_core": summary.rate(),
        "excuses": summary.excuses,
        "coverage": coverage,
        "failed": failures,
    })
}
