//! The publisher: records in, acknowledgements out, exactly once and in order through every change
//! of primary.
//!
//! - Records wait in one open batch per topic. Nothing in flight: whatever waits is sent at once.
//!   Otherwise a batch leaves when it is full and the window has room, or when the window has been
//!   acknowledged. So a lone record travels alone and load makes large batches, without a timer.
//! - A batch takes its sequence numbers when it is cut, and never changes afterwards (R28). What is
//!   not acknowledged is sent again, in order, to whoever is primary, until it is acknowledged.
//! - A session ends with its group's lineage, or when the primary does not know it (R29): what was
//!   sent and not acknowledged is then [`Error::Unknown`] and never sent again; what was not sent goes
//!   on in a new session. Only a broker's word ends a session: a route alone may be wrong.
//! - With an [`outbox`] a batch leaves only when it is in durable storage, and another process goes on
//!   from there: it continues the session under another number, which ends the first process for good.

mod error;
pub mod outbox;
mod queue;
mod session;
mod window;

pub use error::Error;

use crate::client::{Connector, Notice, Shared};
use crate::compression::{Codecs, Compressor};
use crate::filter::Topic;
use crate::id::{Address, Endpoint, Epoch, Group, Nonce, PublisherId, Sequence};
use crate::limits::{MAX_BATCH_LEN, MAX_FRAME_ENTRIES, Timing};
use crate::log::{Batch, BatchHeader, Codec};
use crate::message::{History, Message, Publish};
use crate::node::{Input, Node, Output};
use crate::storage;
use crate::time::{Duration, Instant, earliest, is_due};
use crate::trace::Detachment;
use crate::wire::records::{self, RecordsBuilder};
use alloc::vec::Vec;
use core::ops::Range;
use outbox::{Change, Outbox, Saved};
use queue::{Queue, Tickets, Unnumbered};
use window::Window;

/// Everything that a publisher starts with.
#[derive(Clone, Debug)]
pub struct Boot {
    /// For jitter and for the nonces of later sessions.
    pub seed: u64,
    /// Who publishes. No other living process may use it.
    pub publisher: PublisherId,
    /// Random: tells this process's first session from every other.
    pub nonce: Nonce,
    /// Where discovery listens; at least one address.
    pub discovery: Vec<Address>,
    /// Which group.
    pub group: Group,
    /// Settings.
    pub config: Config,
    /// What the outbox holds; `None`: the publisher has none, and stores nothing.
    pub outbox: Option<Saved>,
}

/// Settings of a publisher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Timings.
    pub timing: Timing,
    /// A batch of this many bytes is full, before it is compressed. At most [`MAX_BATCH_LEN`].
    pub batch_bytes: usize,
    /// Body bytes in flight. One batch may always be.
    pub window_bytes: usize,
    /// Frames in flight. Under load a frame is one full batch.
    pub window_frames: u64,
    /// Bytes that wait to be sent; beyond it a record is refused with [`Error::QueueFull`].
    pub queue_bytes: usize,
    /// Records that wait to be sent; beyond it a record is refused with [`Error::QueueFull`].
    pub queue_records: usize,
    /// After this long without progress, on a link that lives, everything in flight is sent again.
    pub ack_timeout: Duration,
    /// How batches are compressed, where the primary allows it and they shrink. What it does not allow is
    /// sent as it is.
    pub compression: Codec,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            timing: Timing::default(),
            batch_bytes: 64 << 10,
            window_bytes: 4 << 20,
            window_frames: 16,
            queue_bytes: 16 << 20,
            queue_records: 1 << 20,
            ack_timeout: Duration::from_secs(2),
            compression: Codec::None,
        }
    }
}

/// What the application asks of a publisher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Publish records. Every ticket comes back in exactly one [`Event::Completed`].
    Publish {
        /// The application's number for the first record; each record's is higher by 1.
        first_ticket: u64,
        /// On which topic.
        topic: Topic,
        /// One or more, already encoded: they share a batch.
        records: RecordsBuilder,
    },
    /// Take no more records, and close when every record has been completed.
    Close,
}

impl Command {
    /// Publishes one record.
    ///
    /// # Panics
    /// When the payload is longer than [`crate::limits::MAX_RECORD_LEN`].
    pub fn publish(ticket: u64, topic: Topic, payload: &[u8]) -> Self {
        Self::Publish { first_ticket: ticket, topic, records: RecordsBuilder::of(payload) }
    }
}

/// What a publisher tells the application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// What became of records: `Ok` means committed.
    Completed {
        /// Whose tickets. Ranges of one acknowledgement ascend and do not touch.
        tickets: Range<u64>,
        /// How it ended.
        result: Result<(), Error>,
    },
    /// What became of records that an earlier process left in the outbox.
    Recovered {
        /// How many.
        records: u64,
        /// How it ended.
        result: Result<(), Error>,
    },
    /// A session is open with a primary.
    Connected {
        /// Which process.
        endpoint: Endpoint,
        /// In which epoch.
        epoch: Epoch,
    },
    /// The primary is lost or given up. Another is looked for; nothing is lost by this.
    Disconnected {
        /// Why.
        cause: Detachment,
    },
    /// The cluster gave up the data of a lineage in which this publisher had a session: records that
    /// it acknowledged may be lost (R29).
    LineageChanged {
        /// The history that was given up.
        from: History,
        /// The history that holds now.
        to: History,
    },
    /// It has stopped by itself: nothing more is sent, and what is published is refused for this reason.
    Stopped {
        /// Why.
        error: Error,
    },
    /// Closed. Nothing more comes but refusals.
    Closed,
}

/// The publisher's side of a session.
#[derive(Clone, Debug)]
struct Session {
    /// The history that it belongs to; `None` until discovery has named one.
    history: Option<History>,
    /// The same in every attempt to open it.
    nonce: Nonce,
    /// 0 until a primary has opened it.
    incarnation: u64,
    /// The session of this identity that it continues, as far as is known; 0 when there is none.
    continues: u64,
    /// From the outbox: nobody else may have continued that session.
    inherited: bool,
    /// How the primary lets it compress.
    codecs: Codecs,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No link.
    Detached,
    /// A primary is there; the request to open is being stored.
    Storing,
    /// Asked to open; asks again at this time.
    Opening { retry_at: Instant },
    /// Batches may be sent.
    Open,
    /// Open, but the primary asked for a pause; goes on at this time from this number.
    Paused { until: Instant, from: Sequence },
    /// For good: another process has the identity, or nothing can be stored.
    Ended(Error),
}

/// How far closing has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closing {
    No,
    Draining,
    /// Everything is completed, and the outbox is told.
    Finishing,
    Done,
}

/// The node.
#[derive(Clone, Debug)]
pub struct Publisher {
    id: PublisherId,
    config: Config,
    shared: Shared<Event>,
    connector: Connector,
    session: Session,
    queue: Queue,
    window: Window,
    compressor: Compressor,
    outbox: Option<Outbox>,
    /// When the window last moved or was last sent again.
    progress_at: Instant,
    /// The gap that was answered last: the same gap is reported once for every frame behind it.
    answered_gap: Option<Sequence>,
    /// Whether [`Event::Connected`] was the last word on the connection.
    connected: bool,
    closing: Closing,
}

impl Publisher {
    /// Starts: looks for the group's primary.
    ///
    /// # Panics
    /// When there is no address of discovery.
    pub fn new(now: Instant, boot: Boot) -> Self {
        let mut shared = Shared::new(now, boot.seed);
        let config = Config { batch_bytes: boot.config.batch_bytes.clamp(1, MAX_BATCH_LEN), ..boot.config };
        let timing = config.timing.clone();
        let mut connector = Connector::new(boot.discovery, boot.group, timing, &mut shared.rng);
        connector.start(&mut shared.cx());
        let saved = boot.outbox.as_ref().and_then(|saved| saved.session);
        let session = Session {
            history: saved.map(|saved| saved.history),
            nonce: saved.and_then(|saved| saved.attempt).unwrap_or(boot.nonce),
            incarnation: 0,
            continues: saved.map_or(0, |saved| saved.incarnation),
            inherited: saved.is_some_and(|saved| saved.incarnation > 0),
            codecs: Codecs::default(),
            phase: Phase::Detached,
        };
        let outbox = boot.outbox.is_some().then(|| Outbox::new(saved));
        let batches = boot.outbox.map_or_else(Vec::new, |saved| saved.batches);
        Self {
            id: boot.publisher,
            queue: Queue::new(config.batch_bytes),
            config,
            shared,
            connector,
            session,
            window: Window::restore(batches, saved.map_or(1, |saved| saved.next)),
            compressor: Compressor::default(),
            outbox,
            progress_at: now,
            answered_gap: None,
            connected: false,
            closing: Closing::No,
        }
    }

    fn publish(&mut self, first_ticket: u64, topic: Topic, records: RecordsBuilder) {
        let tickets = first_ticket..first_ticket + u64::from(records.count());
        if let Some(error) = self.refusal(&records) {
            self.shared.out.event(Event::Completed { tickets, result: Err(error) });
            return;
        }
        self.queue.push(topic, records, first_ticket);
        self.cut();
    }

    fn refusal(&self, records: &RecordsBuilder) -> Option<Error> {
        if let Phase::Ended(error) = self.session.phase {
            return Some(error);
        }
        if self.closing != Closing::No {
            return Some(Error::Closed);
        }
        if sabotage!(TurnsAway) && !self.window.is_empty() {
            return Some(Error::QueueFull);
        }
        let config = &self.config;
        let full = self.queue.records() + records.count() as usize > config.queue_records
            || self.queue.bytes() + records.len() > config.queue_bytes;
        full.then_some(Error::QueueFull)
    }

    /// Sends what may be sent: everything that waits when nothing is in flight, else full batches and
    /// what began to wait before them.
    fn cut(&mut self) {
        let idle = self.window.is_empty();
        if self.session.phase != Phase::Open || !(idle || self.queue.has_full()) {
            return;
        }
        if idle {
            self.progress_at = self.shared.now;
        }
        while self.window.frame_count() < self.config.window_frames.max(1) {
            let frame = self.cut_frame(idle);
            if frame.is_empty() {
                break;
            }
            self.window.next_frame();
            if self.outbox.is_some() {
                if sabotage!(SendsUnstored) {
                    self.transmit(frame.clone());
                }
                self.store(frame);
            } else {
                self.transmit(frame);
            }
        }
    }

    /// Numbers batches for one frame, until it has the bytes of a full batch.
    fn cut_frame(&mut self, idle: bool) -> Vec<Batch> {
        let (mut frame, mut bytes) = (Vec::new(), 0);
        while bytes < self.config.batch_bytes && frame.len() < MAX_FRAME_ENTRIES {
            let Some(len) = self.queue.next_len() else { break };
            let room = self.window.is_empty() || self.window.bytes() + len <= self.config.window_bytes;
            if !room || !(idle || self.queue.has_full()) {
                break;
            }
            let Some(unnumbered) = self.queue.pop() else { break };
            bytes += len;
            frame.push(self.number(unnumbered));
        }
        frame
    }

    /// R28: a batch takes the next sequence numbers, and is not changed afterwards. R37: how it is compressed
    /// is decided here, by what this primary allows.
    fn number(&mut self, unnumbered: Unnumbered) -> Batch {
        let Unnumbered { topic, body, count, tickets } = unnumbered;
        let raw_length = u32::try_from(body.len()).expect("a batch's length is bounded");
        let (codec, body) = match self.config.compression {
            codec if self.session.codecs.contains(codec) || sabotage!(CompressesUnasked) => {
                self.compressor.compress(codec, &topic, body)
            }
            _ => (Codec::None, body),
        };
        let header = BatchHeader {
            topic,
            publisher: self.id,
            incarnation: self.session.incarnation,
            first_sequence: self.window.next(),
            count,
            raw_length,
            codec,
            checksum: records::checksum(&body),
        };
        let batch = Batch { header, body };
        self.window.push(batch.clone(), tickets);
        batch
    }

    fn transmit(&mut self, batches: Vec<Batch>) {
        let history = self.session.history.expect("an open session has a history");
        self.connector.send(&Message::Publish(Publish { history, batches }), &mut self.shared.cx());
    }

    /// Sends what is in flight again, from this number on: the same bytes in the same order (R28).
    fn resend(&mut self, from: Sequence) {
        self.progress_at = self.shared.now;
        self.send_stored(sabotage!(ResendsTheLast => self.window.next() - 1; from));
    }

    /// Sends what is in flight from this number on, as far as it is stored where there is an outbox.
    fn send_stored(&mut self, from: Sequence) {
        let upto = self.outbox.as_ref().map_or(Sequence::MAX, Outbox::durable);
        for frame in self.window.frames(from, upto, self.config.batch_bytes) {
            self.transmit(frame);
        }
    }

    /// Asks for batches to be stored; they are sent when they are.
    fn store(&mut self, batches: Vec<Batch>) {
        let Some(outbox) = &mut self.outbox else { return };
        let history = self.session.history.expect("an open session has a history");
        let last = self.window.next() - 1;
        let first = self.window.first_unacknowledged();
        let acknowledged = if sabotage!(OutboxForgetsUnacknowledged) { last } else { first - 1 };
        outbox.append(Change::Append { history, batches, acknowledged }, last, &mut self.shared.out);
    }

    fn handle_storage(&mut self, event: storage::Event) {
        let Some(outbox) = &mut self.outbox else { return };
        match event {
            storage::Event::Failed => self.end(Error::OutboxFailed),
            storage::Event::Done(ticket) => {
                let before = outbox.durable();
                outbox.done(ticket);
                match self.session.phase {
                    Phase::Open => self.send_stored(before + 1),
                    // What it waited for may be its own request to open the session.
                    Phase::Storing => self.open_session(),
                    _ => {}
                }
            }
        }
    }

    /// Everything ends here, for this reason.
    fn end(&mut self, error: Error) {
        if matches!(self.session.phase, Phase::Ended(_)) {
            return;
        }
        self.detached(Detachment::Refused);
        self.session.phase = Phase::Ended(error);
        let mut tickets = self.window.drain();
        tickets.append(self.queue.drain());
        self.complete(tickets, Err(error));
        self.shared.out.event(Event::Stopped { error });
        self.connector.close(&mut self.shared.cx());
    }

    fn complete(&mut self, tickets: Tickets, result: Result<(), Error>) {
        if tickets.recovered() > 0 {
            self.shared.out.event(Event::Recovered { records: tickets.recovered(), result });
        }
        for tickets in tickets.into_ranges() {
            self.shared.out.event(Event::Completed { tickets, result });
        }
    }

    fn handle_notice(&mut self, notice: Option<Notice>) {
        match notice {
            None => {}
            Some(Notice::Attached) => self.open_session(),
            Some(Notice::Detached(cause)) => self.detached(cause),
            Some(Notice::Received(message)) => self.handle_message(message),
        }
    }

    fn detached(&mut self, cause: Detachment) {
        self.session.phase = Phase::Detached;
        self.answered_gap = None;
        if core::mem::take(&mut self.connected) {
            self.shared.out.event(Event::Disconnected { cause });
        }
    }

    /// Gives the primary up; another attempt follows after a while.
    fn give_up_primary(&mut self, cause: Detachment) {
        self.connector.detach(cause, &mut self.shared.cx());
        self.detached(cause);
    }

    fn close_if_drained(&mut self) {
        if self.closing == Closing::Draining && self.queue.is_empty() && self.window.is_empty() {
            self.closing = Closing::Finishing;
            self.connector.close(&mut self.shared.cx());
            if !matches!(self.session.phase, Phase::Ended(_)) {
                self.session.phase = Phase::Detached;
                if let Some(outbox) = &mut self.outbox {
                    outbox.finish(&mut self.shared.out);
                }
            }
        }
        let ended = matches!(self.session.phase, Phase::Ended(_));
        let told = ended || self.outbox.as_ref().is_none_or(Outbox::is_finished);
        if self.closing == Closing::Finishing && told {
            self.closing = Closing::Done;
            self.shared.out.event(Event::Closed);
        }
    }

    fn handle_timeout(&mut self) {
        let notice = self.connector.handle_timeout(&mut self.shared.cx());
        self.handle_notice(notice);
        let now = self.shared.now;
        match self.session.phase {
            Phase::Opening { retry_at } if retry_at <= now => self.open_session(),
            Phase::Paused { until, from } if until <= now => {
                self.session.phase = Phase::Open;
                self.answered_gap = None;
                self.resend(from);
                self.cut();
            }
            Phase::Open if is_due(self.overdue_at(), now) => {
                self.answered_gap = None;
                self.resend(self.window.first_unacknowledged());
            }
            _ => {}
        }
    }

    /// When an acknowledgement is overdue. A broker may have dropped frames and the word of it.
    fn overdue_at(&self) -> Option<Instant> {
        let waits = self.session.phase == Phase::Open && !self.window.is_empty();
        (waits && !sabotage!(NeverOverdue)).then(|| self.progress_at + self.config.ack_timeout)
    }
}

impl Node for Publisher {
    type Command = Command;
    type Event = Event;

    fn handle_input(&mut self, now: Instant, input: Input<Command>) {
        let stalled = now.since(self.shared.now) > self.config.timing.client_suspicion;
        self.shared.now = now;
        // R29: this process was not running, and its session may be over. While nothing is in flight
        // that costs nothing, so it is asked for before anything is.
        let stalled = stalled && !sabotage!(SleepersSend);
        if stalled && self.session.phase == Phase::Open && self.window.is_empty() {
            self.open_session();
        }
        match input {
            Input::Command(Command::Publish { first_ticket, topic, records }) => {
                self.publish(first_ticket, topic, records);
            }
            Input::Command(Command::Close) => {
                if self.closing == Closing::No {
                    self.closing = Closing::Draining;
                }
            }
            Input::Received { link, frame } => {
                let notice = self.connector.handle_frame(link, frame, &mut self.shared.cx());
                self.handle_notice(notice);
            }
            Input::Link { link, status } => {
                let notice = self.connector.handle_link(link, status, &mut self.shared.cx());
                self.handle_notice(notice);
            }
            Input::Timeout => self.handle_timeout(),
            Input::Storage(event) => self.handle_storage(event),
            // A publisher does not coordinate.
            Input::Coordination(_) => {}
        }
        self.close_if_drained();
    }

    fn poll_output(&mut self) -> Option<Output<Event>> {
        self.shared.out.pop()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let own = match self.session.phase {
            Phase::Opening { retry_at } => Some(retry_at),
            Phase::Paused { until, .. } => Some(until),
            Phase::Detached | Phase::Storing | Phase::Open | Phase::Ended(_) => self.overdue_at(),
        };
        earliest(own, self.connector.deadline())
    }
}
