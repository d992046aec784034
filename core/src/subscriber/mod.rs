//! The subscriber: every matching committed record of a group, in order, exactly once, through every
//! change of primary; or an explicit event that says what is missing.
//!
//! The subscriber owns its position, so a failover needs nothing from the primary that died: the
//! stream is opened again at the same place. A position counts for one history. A broker's word that
//! another one holds is believed as [`Connector::believes`] says; the application is told, and the
//! stream starts at the beginning of the new history, so that nothing of it is missed.

mod bookmark;
mod credit;
mod head;
mod packed;
mod stream;

pub use bookmark::{Bookmark, InvalidBookmark};
pub use packed::{Lost, Packed};

use crate::client::{Connector, Notice, Shared};
use crate::filter::{Filter, Topic};
use crate::id::{Address, Endpoint, Epoch, Group, Offset, PublisherId, Sequence};
use crate::limits::{MAX_FILTERS, Timing};
use crate::message::{History, Message};
use crate::node::{Input, Node, Output};
use crate::rng::Backoff;
use crate::time::{Duration, Instant, earliest, is_due};
use crate::trace::Detachment;
use crate::wire::records::Records;
use alloc::vec::Vec;
use credit::Credit;
use head::HeadRead;

/// Everything that a subscriber starts with.
#[derive(Clone, Debug)]
pub struct Boot {
    /// For jitter.
    pub seed: u64,
    /// Where discovery listens; at least one address.
    pub discovery: Vec<Address>,
    /// Which group.
    pub group: Group,
    /// What is wanted: a record that matches any of them. From 1 to [`MAX_FILTERS`].
    pub filters: Vec<Filter>,
    /// Where to begin.
    pub start: Start,
    /// Settings.
    pub config: Config,
}

/// Where a subscriber begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the oldest record kept.
    Earliest,
    /// With the next record committed.
    Latest,
    /// Here. A bookmark of a history that holds no more leads to [`Event::LineageChanged`].
    At(Bookmark),
}

/// Settings of a subscriber.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Timings.
    pub timing: Timing,
    /// Body bytes that may wait for the application. A broker exceeds it by one batch at most.
    pub credit_bytes: u64,
    /// After this long without a frame of the stream, on a link that lives, it is opened again.
    pub stream_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { timing: Timing::default(), credit_bytes: 4 << 20, stream_timeout: Duration::from_secs(2) }
    }
}

/// What the application asks of a subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// The application is done with delivered records.
    Consumed {
        /// The sum of [`Delivery::bytes`].
        bytes: u64,
    },
    /// Find out how far the group is, at this moment or later (R19). Answered by [`Event::Head`], as soon
    /// as there is a primary that can prove it. A request made before the answer to an earlier one
    /// takes its place.
    ReadHead {
        /// Comes back.
        request: u64,
    },
    /// End the stream.
    Close,
}

/// What a subscriber tells the application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Records.
    Delivered(Delivery),
    /// Records that are compressed: [`Packed::unpack`] makes a delivery of them, when the application comes to
    /// them, or says that they are lost.
    Packed(Packed),
    /// Matching records in this range, if there were any, are not delivered and never will be.
    Lost {
        /// First offset.
        from: Offset,
        /// Offset after the last.
        to: Offset,
        /// Why.
        reason: LossReason,
    },
    /// The group's data was given up. What was delivered may exist no more; what follows is from the
    /// beginning of the new history.
    LineageChanged {
        /// How far the subscriber had come.
        from: Bookmark,
        /// The history that holds now.
        to: History,
    },
    /// The primary's log is not the one that records were delivered from, though of the same history:
    /// an operator has interfered. What was delivered from `common` on exists no more; what follows
    /// begins there.
    Diverged {
        /// How far the subscriber had come.
        from: Bookmark,
        /// Where the stream goes on.
        common: Offset,
    },
    /// A stream is open.
    Connected {
        /// With which process.
        endpoint: Endpoint,
        /// In which epoch.
        epoch: Epoch,
        /// From here.
        at: Bookmark,
    },
    /// The answer to [`Command::ReadHead`]: everything that had been acknowledged to anyone when it was
    /// given lies below. Given again if the group's data is given up before the stream has come there.
    Head {
        /// From the command.
        request: u64,
        /// How far the group was.
        at: Bookmark,
    },
    /// Everything that matches below the head has been delivered, or reported as lost.
    Reached {
        /// From the command.
        request: u64,
    },
    /// The primary is lost or given up. Another is looked for; nothing is lost by this.
    Disconnected {
        /// Why.
        cause: Detachment,
    },
    /// Closed. Nothing more comes.
    Closed,
}

/// Why records are lost to a subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LossReason {
    /// They were no longer kept when the subscriber came for them.
    Retention,
    /// Their batch cannot be decoded within the limits (R31).
    Undecodable,
    /// Their batch is compressed in a way that this version does not know (R37). It is there, for a later one.
    UnknownCodec(i32),
}

/// Contiguous records of one publisher on one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Epoch in which they were written.
    pub epoch: Epoch,
    /// Offset of the first record.
    pub offset: Offset,
    /// Their topic.
    pub topic: Topic,
    /// Who published them.
    pub publisher: PublisherId,
    /// The publisher's session incarnation.
    pub incarnation: u64,
    /// The publisher's number of the first record.
    pub first_sequence: Sequence,
    /// The payloads.
    pub records: Records,
    /// To be given back with [`Command::Consumed`].
    pub bytes: u64,
    /// Where to go on after the last record.
    pub next: Bookmark,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No link.
    Detached,
    /// A refused or broken stream is opened again at this time.
    Waiting { until: Instant },
    /// Asked for; asks again at this time.
    Opening { until: Instant },
    /// The next frame continues at `expected`.
    Open { expected: Offset, heard_at: Instant },
    /// For good.
    Closed,
}

/// The node.
#[derive(Clone, Debug)]
pub struct Subscriber {
    group: Group,
    filters: Vec<Filter>,
    start: Start,
    config: Config,
    shared: Shared<Event>,
    connector: Connector,
    backoff: Backoff,
    credit: Credit,
    head: HeadRead,
    phase: Phase,
    /// Number of the current stream, or of the last one.
    stream: u64,
    /// The history that the current stream was asked for in.
    history: Option<History>,
    /// Highest epoch seen in that history.
    epoch: Epoch,
    /// How far the subscriber has come; `None` until a stream has said where it starts.
    at: Option<Bookmark>,
    /// Whether [`Event::Connected`] was the last word on the connection.
    connected: bool,
}

impl Subscriber {
    /// Starts: looks for the group's primary.
    ///
    /// # Panics
    /// When there is no address of discovery, or no filter, or more than [`MAX_FILTERS`].
    pub fn new(now: Instant, boot: Boot) -> Self {
        assert!(!boot.filters.is_empty(), "a subscriber needs at least one filter");
        assert!(boot.filters.len() <= MAX_FILTERS, "a subscriber has at most {MAX_FILTERS} filters");
        let mut shared = Shared::new(now, boot.seed);
        let timing = boot.config.timing.clone();
        let backoff = Backoff::new(timing.backoff, timing.backoff_cap);
        let mut connector = Connector::new(boot.discovery, boot.group, timing, &mut shared.rng);
        connector.start(&mut shared.cx());
        Self {
            group: boot.group,
            filters: boot.filters,
            start: boot.start,
            credit: Credit::new(boot.config.credit_bytes, boot.config.stream_timeout),
            head: HeadRead::default(),
            config: boot.config,
            shared,
            connector,
            backoff,
            phase: Phase::Detached,
            stream: 0,
            history: None,
            epoch: 0,
            at: match boot.start {
                Start::At(bookmark) => Some(bookmark),
                Start::Earliest | Start::Latest => None,
            },
            connected: false,
        }
    }

    /// How far the subscriber has come: every matching record below has been delivered, or reported
    /// as lost. `None` until the first stream is open.
    pub const fn bookmark(&self) -> Option<Bookmark> {
        self.at
    }

    fn handle_notice(&mut self, notice: Option<Notice>) {
        match notice {
            None => {}
            Some(Notice::Attached) => self.open_stream(),
            Some(Notice::Detached(cause)) => self.detached(cause),
            Some(Notice::Received(message)) => self.handle_message(message),
        }
    }

    fn detached(&mut self, cause: Detachment) {
        self.phase = Phase::Detached;
        if core::mem::take(&mut self.connected) {
            self.shared.out.event(Event::Disconnected { cause });
        }
    }

    /// Gives the primary up; another attempt follows after a while.
    fn give_up_primary(&mut self, cause: Detachment) {
        self.connector.detach(cause, &mut self.shared.cx());
        self.detached(cause);
    }

    fn send(&mut self, message: &Message) {
        self.connector.send(message, &mut self.shared.cx());
    }

    fn close(&mut self) {
        if self.phase == Phase::Closed {
            return;
        }
        self.close_stream();
        self.connector.close(&mut self.shared.cx());
        self.phase = Phase::Closed;
        self.shared.out.event(Event::Closed);
    }

    fn handle_timeout(&mut self) {
        let notice = self.connector.handle_timeout(&mut self.shared.cx());
        self.handle_notice(notice);
        if is_due(self.due_at(), self.shared.now) {
            self.close_stream();
            self.open_stream();
        }
        if is_due(self.head.due_at(), self.shared.now) {
            self.ask_head();
        }
    }

    /// When the stream is opened again unless something is heard.
    fn due_at(&self) -> Option<Instant> {
        match self.phase {
            Phase::Detached | Phase::Closed => None,
            Phase::Waiting { until } | Phase::Opening { until } => Some(until),
            Phase::Open { .. } if sabotage!(SilentStreamsKept) => None,
            Phase::Open { heard_at, .. } => Some(heard_at + self.config.stream_timeout),
        }
    }
}

impl Node for Subscriber {
    type Command = Command;
    type Event = Event;

    fn handle_input(&mut self, now: Instant, input: Input<Command>) {
        self.shared.now = now;
        match input {
            Input::Command(Command::Consumed { bytes }) => {
                self.credit.consumed(bytes);
                self.grant_credit();
            }
            Input::Command(Command::ReadHead { request }) => self.request_head(request),
            Input::Command(Command::Close) => self.close(),
            Input::Received { link, frame } => {
                let notice = self.connector.handle_frame(link, frame, &mut self.shared.cx());
                self.handle_notice(notice);
            }
            Input::Link { link, status } => {
                let notice = self.connector.handle_link(link, status, &mut self.shared.cx());
                self.handle_notice(notice);
            }
            Input::Timeout => self.handle_timeout(),
            // A subscriber has neither.
            Input::Coordination(_) | Input::Storage(_) => {}
        }
    }

    fn poll_output(&mut self) -> Option<Output<Event>> {
        self.shared.out.pop()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let head = self.head.due_at().filter(|_| matches!(self.phase, Phase::Open { .. }));
        earliest(earliest(self.due_at(), head), self.connector.deadline())
    }
}
