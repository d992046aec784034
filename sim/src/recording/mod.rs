//! Recordings of real brokers, run again: through the same node, with the checkers of which one process's
//! own words are enough, and with its recorded outputs beside those that it has now.
//!
//! What a recording cannot show is what other processes and the coordination tree did meanwhile: the
//! properties that compare processes are for plans.

mod acked;
mod chronicle;
mod judge;

use crate::check::Violation;
use crate::cluster::Failure;
use crate::coverage::{Coverage, mark};
use crate::diagram::Diagram;
use crate::plan::panics;
use chronicle::Chronicle;
use judge::Judge;
use std::fmt;
use steadfast_core::broker::{Broker, Command, Event};
use steadfast_core::node::{Input, Node, Output};
use steadfast_core::recording::{Beginning, Damage, Decoder, Flaw, Head, Outputs, Record, begin};
use steadfast_core::time::Instant;

/// How a recording ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The broker was driven no more: its process ended by itself.
    Orderly,
    /// Behind the last record: its process was killed, or has panicked, or still runs, or another part
    /// follows.
    Open,
    /// Within a record, which is left out.
    Cut(Damage),
    /// The recorder could not keep up, and inputs are missing from here on.
    Hole,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Orderly => f.write_str("the broker ended by itself"),
            Self::Open => f.write_str(
                "the recording ends here: its process died or still runs, or another part follows",
            ),
            Self::Cut(damage) => write!(f, "the recording ends here; {damage}"),
            Self::Hole => f.write_str("the recording has a hole here: its disk could not keep up"),
        }
    }
}

/// What came of a recording.
#[derive(Debug)]
pub struct Outcome {
    /// How it began.
    pub head: Head,
    /// Number of the first input, from 1, since the process booted.
    pub first: u64,
    /// Inputs replayed.
    pub inputs: u64,
    /// On the process's clock, in nanoseconds, when the first and the last of them came.
    pub times: [u64; 2],
    /// How it ends.
    pub end: End,
    /// The property that did not hold, if any.
    pub result: Result<(), Failure>,
    /// What the broker came to.
    pub coverage: Coverage,
    /// Checksum of everything that the broker has put out since it booted.
    pub outputs: Outputs,
    /// The history as text.
    pub lines: Vec<String>,
    /// The history as a diagram.
    pub diagram: Diagram,
}

impl Outcome {
    /// The diagram as one HTML file.
    pub fn page(&self) -> String {
        let result = self.result.as_ref().map_or_else(Err, |()| Ok("every property held"));
        self.diagram.show(&self.to_string(), result, self.times[1])
    }
}

/// What was replayed, in a few lines.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Head { version, wall, now, boot, booted } = &self.head;
        let [first, last] = self.times.map(|at| at / 1_000_000);
        let since = if *booted { "its start" } else { "its state" };
        writeln!(f, "recording of broker {}, version {version}, from {since} on", boot.node)?;
        writeln!(f, "inputs {} to {}", self.first, self.first + self.inputs - 1)?;
        writeln!(f, "times in milliseconds since its start: {first} to {last}")?;
        let epoch = wall.saturating_sub(now.as_nanos() / 1_000_000);
        writeln!(f, "its start, in milliseconds since 1970: {epoch}")?;
        writeln!(f, "{}", self.end)
    }
}

/// Where in which part something is wrong: the number of the part, from 0.
pub type Misplaced = (usize, Damage);

/// Whether the second part goes on where the first one ends.
pub fn joins(first: &[u8], second: &[u8]) -> bool {
    let Ok(Beginning { head, inputs, .. }) = Decoder::new(second).and_then(|mut second| begin(&mut second))
    else {
        return false;
    };
    let Ok(mut decoder) = Decoder::new(first) else { return false };
    let Ok(before) = begin(&mut decoder) else { return false };
    let mut reached = before.inputs;
    while let Ok(Some(record)) = decoder.next_record() {
        match record {
            Record::Input { .. } => reached += 1,
            Record::Lost => return false,
            _ => {}
        }
    }
    before.head.boot.incarnation == head.boot.incarnation && reached == inputs
}

/// Runs the parts of a recording, of which each goes on where the one before ends.
///
/// # Errors
/// When a part is damaged, and where.
///
/// # Panics
/// When there is no part.
pub fn replay(parts: &[&[u8]]) -> Result<Outcome, Misplaced> {
    let mut run: Option<Run> = None;
    for (number, part) in parts.iter().enumerate() {
        let of_part = |damage| (number, damage);
        let mut decoder = Decoder::new(part).map_err(of_part)?;
        let beginning = begin(&mut decoder).map_err(of_part)?;
        let run = match &mut run {
            None => run.insert(Run::new(beginning)),
            Some(run) => {
                run.meet(&beginning);
                run
            }
        };
        run.go(&mut decoder).map_err(of_part)?;
    }
    Ok(run.expect("a recording has a part").conclude())
}

/// A broker that lives again.
struct Run {
    head: Head,
    broker: Broker,
    judge: Judge,
    chronicle: Chronicle,
    coverage: Coverage,
    /// Inputs before the first one.
    before: u64,
    inputs: u64,
    outputs: Outputs,
    /// The last input after which the outputs were those that are recorded.
    agreed: u64,
    began: Option<Instant>,
    at: Instant,
    end: End,
    result: Result<(), Failure>,
}

impl Run {
    fn new(beginning: Beginning) -> Self {
        let Beginning { head, broker, inputs, outputs } = beginning;
        let mut run = Self {
            judge: Judge::new(&broker, head.booted),
            chronicle: Chronicle::new(&broker),
            coverage: Coverage::default(),
            before: inputs,
            inputs,
            outputs,
            agreed: inputs,
            began: None,
            at: head.now,
            end: End::Open,
            result: Ok(()),
            head,
            broker,
        };
        if run.head.booted {
            run.step(None);
        }
        run
    }

    /// Another part begins with this.
    fn meet(&mut self, next: &Beginning) {
        if self.result.is_ok() && self.outputs != next.outputs {
            self.diverged(next.outputs);
        }
    }

    fn go(&mut self, decoder: &mut Decoder<'_>) -> Result<(), Damage> {
        self.end = End::Open;
        loop {
            let place = decoder.damage(Flaw::Misplaced);
            let record = match decoder.next_record() {
                Ok(Some(_)) | Err(_) if self.end == End::Orderly => {
                    return Err(Damage { flaw: Flaw::Trailing, ..place });
                }
                Ok(record) => record,
                Err(damage) if damage.flaw == Flaw::Cut => {
                    self.end = End::Cut(damage);
                    return Ok(());
                }
                Err(damage) => return Err(damage),
            };
            match record {
                None => return Ok(()),
                // What is wrong is wrong once; the rest only has to be whole.
                Some(_) if self.result.is_err() => {}
                Some(Record::Input { at, .. }) if at < self.at => return Err(place),
                Some(Record::Input { at, input }) => {
                    self.at = at;
                    self.began.get_or_insert(at);
                    self.inputs += 1;
                    self.step(Some(input));
                }
                Some(Record::Outputs(outputs)) if outputs == self.outputs => self.agreed = self.inputs,
                Some(Record::Outputs(outputs)) => self.diverged(outputs),
                Some(Record::Lost) => self.end = End::Hole,
                Some(Record::End) => self.end = End::Orderly,
                Some(_) => return Err(place),
            }
        }
    }

    /// The broker handles an input; `None`: it has just booted.
    fn step(&mut self, input: Option<Input<Command>>) {
        if let Some(input) = &input {
            self.chronicle.handles(self.at, &self.broker, input);
        }
        let (at, broker) = (self.at, &mut self.broker);
        let given = input.clone();
        let survived = panics::catch(|| given.map(|input| broker.handle_input(at, input)));
        let mut outputs: Vec<Output<Event>> = Vec::new();
        while let Some(output) = self.broker.poll_output() {
            self.outputs.add(&output);
            if let Output::Trace(trace) = &output {
                self.coverage.note(mark(trace));
            }
            outputs.push(output);
        }
        self.chronicle.puts_out(self.at, &self.broker, &outputs);
        let judged = match survived {
            Err(detail) => Err(Violation { property: "Panic", detail }),
            Ok(_) => self.judge.see(&self.broker, input.as_ref(), &outputs),
        };
        if let Err(violation) = judged {
            self.fail(violation);
        }
    }

    fn diverged(&mut self, recorded: Outputs) {
        let (agreed, inputs, now) = (self.agreed, self.inputs, self.outputs);
        let detail = format!(
            "after input {agreed} and until {inputs} the broker has put out something else than the recorded process \
             did: its checksum is {now}, not {recorded}"
        );
        self.fail(Violation { property: "Replay", detail });
    }

    fn fail(&mut self, violation: Violation) {
        self.result = Err(Failure { at: self.at.as_nanos(), step: self.inputs, violation });
    }

    fn conclude(self) -> Outcome {
        let (lines, diagram) = self.chronicle.take();
        Outcome {
            first: self.before + 1,
            inputs: self.inputs - self.before,
            times: [self.began.unwrap_or(self.at).as_nanos(), self.at.as_nanos()],
            head: self.head,
            end: self.end,
            result: self.result,
            coverage: self.coverage,
            outputs: self.outputs,
            lines,
            diagram,
        }
    }
}
