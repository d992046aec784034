//! The flight recorder: everything that goes into a broker, in files, so that `steadfast-sim replay` can
//! run the last minutes before an incident again.
//!
//! It is a ring of two files, [`Tape::open`]. When one is full, another one begins with the broker's state
//! at that moment, and the one before the last is gone. The entries of a log may be millions: they are
//! copied a few with every turn of the driver, while the broker goes on, and only what is not committed
//! with the state itself.
//!
//! A thread of its own writes the files. The driver never waits for it: where it cannot keep up, inputs
//! are left out, the file says so, and a new one is begun; where a file cannot be written, that is told
//! once and recording ends.

mod tape;

pub use tape::{Tape, TapeError};

use crate::observer::Observer;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use steadfast_core::broker::{Boot, Broker, Command, Event};
use steadfast_core::id::Offset;
use steadfast_core::log::Entry;
use steadfast_core::message::History;
use steadfast_core::node::{Input, Output};
use steadfast_core::recording::{Head, Outputs, Record, state, tail};
use steadfast_core::time::Instant;
use tracing::warn;

/// Bytes that may wait for the disk, and that a file may have beyond its share while another one is begun;
/// beyond them inputs are left out.
pub const QUEUE_BYTES: usize = 64 << 20;
/// Committed entries of the log that are copied in one turn of the driver.
const COPY_STEP: usize = 2_048;
/// What a record takes besides its frame, in bytes: a round figure.
const RECORD_WEIGHT: usize = 64;
/// How long the end of a recorder waits for the disk.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the driver's side has for the thread.
#[derive(Debug)]
enum Item {
    /// For the file that is being written.
    Records(Vec<Record>),
    /// Another file is begun, instead of any that was begun and is not complete.
    Next(Record),
    /// For that one.
    Copied(Record),
    /// The last of what it begins with. What follows is for it.
    Switch {
        /// What is not committed.
        tail: Record,
        /// The broker's state.
        state: Vec<u8>,
    },
}

/// What both sides know.
#[derive(Debug, Default)]
struct Shared {
    /// Bytes that were given to the thread and are not written.
    waiting: AtomicUsize,
    /// Nothing is written any more.
    failed: AtomicBool,
}

/// The driver's end of the queue.
#[derive(Debug)]
struct Queue {
    items: mpsc::Sender<(Item, usize)>,
    shared: Arc<Shared>,
    /// Never says anything; it closes when the thread has ended.
    ended: mpsc::Receiver<()>,
}

impl Queue {
    /// Whether so many bytes more may wait. One item always may.
    fn has_room(&self, weight: usize) -> bool {
        let waiting = self.shared.waiting.load(Ordering::Relaxed);
        waiting == 0 || waiting + weight <= QUEUE_BYTES
    }

    fn send(&self, item: Item, weight: usize) {
        self.shared.waiting.fetch_add(weight, Ordering::Relaxed);
        // A thread that has ended has said why.
        let _ = self.items.send((item, weight));
    }
}

/// A copy of the log under way: everything below an offset of a history is copied.
#[derive(Clone, Copy, Debug)]
struct Copy {
    history: History,
    upto: Offset,
}

/// Records a broker.
#[derive(Debug)]
pub struct Recorder {
    boot: Boot,
    /// `None`: recording has ended.
    queue: Option<Queue>,
    /// Bytes after which another file begins.
    share: usize,
    /// Bytes for the present file.
    sent: usize,
    /// Of this turn.
    pending: Vec<Record>,
    pending_weight: usize,
    inputs: u64,
    outputs: Outputs,
    /// Inputs are being left out, until another file begins.
    losing: bool,
    copy: Option<Copy>,
}

impl Recorder {
    fn new(queue: Queue, share: usize, boot: Boot, now: Instant) -> Self {
        let mut recorder = Self {
            boot,
            queue: Some(queue),
            share,
            sent: 0,
            pending: Vec::new(),
            pending_weight: 0,
            inputs: 0,
            outputs: Outputs::default(),
            losing: false,
            copy: None,
        };
        recorder.pending.push(recorder.head(now, true));
        recorder
    }

    fn head(&self, now: Instant, booted: bool) -> Record {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        Record::Head(Box::new(Head {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            wall: u64::try_from(wall).unwrap_or(u64::MAX),
            now,
            boot: self.boot.clone(),
            booted,
        }))
    }

    /// Hands over what there is of this turn.
    fn flush(&mut self) {
        let Some(queue) = &self.queue else { return };
        if self.pending.is_empty() {
            return;
        }
        let weight = std::mem::take(&mut self.pending_weight) + self.pending.len() * RECORD_WEIGHT;
        let records = std::mem::take(&mut self.pending);
        if queue.has_room(weight) && self.sent <= self.share + QUEUE_BYTES {
            self.sent += weight;
            queue.send(Item::Records(records), weight);
        } else if !self.losing {
            warn!(
                target: "steadfast",
                node = self.boot.node.as_str(),
                "the recording cannot keep up with this broker: inputs are left out until another file begins"
            );
            self.losing = true;
            queue.send(Item::Records(vec![Record::Lost]), RECORD_WEIGHT);
        }
    }

    /// Begins another file when this one is full or has a hole, and goes on with what it begins with.
    fn advance(&mut self, now: Instant, broker: &mut Broker) {
        let Some(queue) = &self.queue else { return };
        let replica = broker.replica();
        let (history, commit, log) = (replica.history(), replica.commit(), replica.log());
        let fits = |copy: &Copy| copy.history == history && copy.upto <= commit;
        let copy = match self.copy.filter(fits) {
            Some(copy) => copy,
            None if self.losing || self.sent >= self.share => {
                if !queue.has_room(QUEUE_BYTES / 2) {
                    return;
                }
                queue.send(Item::Next(self.head(now, false)), RECORD_WEIGHT);
                Copy { history, upto: log.start() }
            }
            None => return,
        };
        self.copy = Some(copy);
        // What was trimmed meanwhile is skipped.
        let from = copy.upto.max(log.start());
        let committed = log.iter_from(from).take_while(|entry| entry.end() <= commit);
        let entries: Vec<_> = committed.take(COPY_STEP).cloned().collect();
        let weight = entries.len() * RECORD_WEIGHT;
        if !queue.has_room(weight) {
            return;
        }
        let upto = entries.last().map_or(from, Entry::end);
        let done = entries.len() < COPY_STEP;
        queue.send(Item::Copied(Record::Entries(entries)), weight);
        self.copy = Some(Copy { history, upto });
        if done {
            self.switch(upto, broker);
        }
    }

    fn switch(&mut self, upto: Offset, broker: &mut Broker) {
        let Some(queue) = &self.queue else { return };
        let entries: Vec<_> = broker.replica().log().iter_from(upto).cloned().collect();
        let weight = entries.iter().map(|entry| entry.body_len() + RECORD_WEIGHT).sum::<usize>();
        if !queue.has_room(weight) {
            return;
        }
        let state = state(broker, self.inputs, self.outputs);
        let weight = weight + state.len();
        queue.send(Item::Switch { tail: tail(entries), state }, weight);
        (self.copy, self.losing, self.sent) = (None, false, 0);
    }
}

impl Observer<Broker> for Recorder {
    fn handles(&mut self, at: Instant, input: &Input<Command>) {
        self.inputs += 1;
        if self.queue.is_some() && !self.losing {
            if let Input::Received { frame, .. } = input {
                self.pending_weight += frame.len();
            }
            self.pending.push(Record::Input { at, input: input.clone() });
        }
    }

    fn puts_out(&mut self, output: &Output<Event>) {
        if self.queue.is_some() {
            self.outputs.add(output);
        }
    }

    fn turned(&mut self, now: Instant, broker: &mut Broker) {
        if self.queue.as_ref().is_some_and(|queue| queue.shared.failed.load(Ordering::Relaxed)) {
            self.queue = None;
            self.pending.clear();
        }
        if !self.pending.is_empty() {
            self.pending.push(Record::Outputs(self.outputs));
        }
        self.flush();
        self.advance(now, broker);
    }

    fn ended(&mut self, _: Instant, _: &mut Broker) {
        if !self.losing {
            self.pending.extend([Record::Outputs(self.outputs), Record::End]);
        }
        self.flush();
    }
}

impl Drop for Recorder {
    /// Also when the broker has panicked: the input that it did not survive is the one that matters.
    fn drop(&mut self) {
        self.flush();
        if let Some(Queue { items, ended, .. }) = self.queue.take() {
            drop(items);
            let _ = ended.recv_timeout(PATIENCE);
        }
    }
}
