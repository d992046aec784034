//! The subscriber's handle.

use super::{CONNECT_TIMEOUT, ConnectError, Notice, Observer, unreachable};
use crate::driver::{NodePorts, drive};
use crate::transport::{BUSY_POLL, Kind, Transport};
use bytes::Bytes;
use futures::Stream;
use std::borrow::Cow;
use std::fmt;
use std::future::poll_fn;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use steadfast_core::compression::Decompressor;
use steadfast_core::filter::{Filter, Topic};
use steadfast_core::id::{Epoch, Group, Offset, PublisherId, Sequence};
use steadfast_core::limits::MAX_FILTERS;
use steadfast_core::message::{History, Position};
use steadfast_core::subscriber::{
    self, Bookmark, Boot, Command, Config, Delivery, Event, LossReason, Lost, Start,
};
use steadfast_core::wire::records::Records;
use steadfast_runtime::clock::Clock;
use steadfast_runtime::inbox::{Receiver, Sender, inbox};
use steadfast_runtime::{address, identity};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How a subscriber behaves.
#[derive(Clone)]
pub struct SubscriberOptions {
    /// What its links are made of. Brokers and discovery may use the other one.
    pub transport: Kind,
    /// For so long after each turn the thread stays awake and looks for more, which saves what waking up takes.
    pub busy_poll: Duration,
    /// Which group of brokers.
    pub group: Group,
    /// Where to begin.
    pub start: Start,
    /// End the stream after everything that had been acknowledged, to anyone, when it was connected.
    pub until_head: bool,
    /// How long [`Subscriber::connect`] looks for a primary. `None`: it does not wait for one.
    pub connect_timeout: Option<Duration>,
    /// Is told of every change of primary.
    pub observer: Option<Observer>,
    /// Credit and timings.
    pub config: Config,
}

impl Default for SubscriberOptions {
    fn default() -> Self {
        Self {
            transport: Kind::default(),
            busy_poll: BUSY_POLL,
            group: 0,
            start: Start::Latest,
            until_head: false,
            connect_timeout: Some(CONNECT_TIMEOUT),
            observer: None,
            config: Config::default(),
        }
    }
}

impl fmt::Debug for SubscriberOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubscriberOptions")
            .field("transport", &self.transport)
            .field("busy_poll", &self.busy_poll)
            .field("group", &self.group)
            .field("start", &self.start)
            .field("until_head", &self.until_head)
            .field("connect_timeout", &self.connect_timeout)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What was published. Shares memory with its batch: copy what is kept for long.
    pub payload: Bytes,
    /// On which topic.
    pub topic: Topic,
    /// By whom.
    pub publisher: PublisherId,
    /// The publisher's number for it.
    pub sequence: Sequence,
    /// Its place in the group's log.
    pub offset: Offset,
    /// Where to go on after it: [`Start::At`] takes it.
    pub position: Bookmark,
}

/// Records of one publisher on one topic, in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// On which topic.
    pub topic: Topic,
    /// By whom.
    pub publisher: PublisherId,
    /// The publisher's number of the first record.
    pub sequence: Sequence,
    /// Place of the first record in the group's log.
    pub offset: Offset,
    /// Where to go on after the last one: [`Start::At`] takes it.
    pub position: Bookmark,
    records: Records,
}

impl Batch {
    /// How many records, at least one.
    pub const fn len(&self) -> usize {
        self.records.len()
    }

    /// A batch has records.
    pub const fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// What was published.
    pub fn payloads(&self) -> impl Iterator<Item = &[u8]> {
        self.records.slices()
    }
}

/// What the stream cannot deliver. The stream goes on after it: an application that can do without
/// the missing records reads on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Gap {
    /// Matching records in this range, if there were any, are not delivered and never will be.
    #[error("records {from} to {to} (exclusive) are lost: {}", loss(*reason))]
    Lost {
        /// First offset.
        from: Offset,
        /// Offset after the last.
        to: Offset,
        /// Why.
        reason: LossReason,
    },
    /// The cluster gave its data up. What follows is from the beginning of the new history.
    #[error("{}: what was delivered may exist no more", change(*from, *to))]
    LineageChanged {
        /// How far the subscriber had come.
        from: Bookmark,
        /// The history that holds now.
        to: History,
    },
    /// An operator has interfered: what was delivered from `common` on exists no more.
    #[error("the log changed under the subscriber: records from {common} on were replaced")]
    Diverged {
        /// How far the subscriber had come.
        from: Bookmark,
        /// Where the stream goes on.
        common: Offset,
    },
}

fn change(from: Bookmark, to: History) -> String {
    if from.group_id != to.group_id {
        let (old, new) = (from.group_id, to.group_id);
        return format!(
            "the cluster that was here is gone, and another one is in its place ({new:?}, not {old:?})"
        );
    }
    format!("the cluster gave its data up (lineage {} became {})", from.position.lineage, to.lineage)
}

fn loss(reason: LossReason) -> Cow<'static, str> {
    match reason {
        LossReason::Retention => "they were no longer kept; subscribe sooner, or keep more".into(),
        LossReason::Undecodable => "their batch cannot be decoded; check the publisher's version".into(),
        LossReason::UnknownCodec(codec) => format!(
            "their batch is compressed in a way that this program does not know (codec {codec}); read them \
             with a newer one"
        )
        .into(),
    }
}

/// The matching records of one group: every one, in order, exactly once, through every change of
/// primary. As a [`Stream`] it yields records, and a [`Gap`] in place of what is missing.
#[derive(Debug)]
pub struct Subscriber {
    commands: Sender<Command>,
    events: Receiver<Event>,
    current: Option<Current>,
    position: Option<Bookmark>,
    heads: watch::Receiver<(u64, Option<Bookmark>)>,
    /// Reads of the head so far.
    head_reads: u64,
    decompressor: Decompressor,
    /// The read of the head that ends the stream.
    last_read: Option<u64>,
    ended: bool,
    task: JoinHandle<()>,
}

/// A delivery, record by record.
#[derive(Debug)]
struct Current {
    delivery: Delivery,
    offset: Offset,
    sequence: Sequence,
}

impl Subscriber {
    /// Finds the group's primary by discovery (`HOST:PORT[,HOST:PORT...]`) and opens a stream of the
    /// records that match any filter.
    ///
    /// # Errors
    /// When addresses or filters are invalid, or no primary answers in time.
    pub async fn connect<F: AsRef<str>>(
        discovery: &str,
        filters: impl IntoIterator<Item = F>,
        options: SubscriberOptions,
    ) -> Result<Self, ConnectError> {
        let discovery = address::parse_list(discovery)?;
        let filters = parse(filters)?;
        let (commands, receiver) = inbox();
        let (sender, events) = inbox();
        let (connected, mut is_connected) = watch::channel(false);
        let boot = Boot {
            seed: identity::seed(),
            discovery: discovery.clone(),
            group: options.group,
            filters,
            start: options.start,
            config: options.config,
        };
        let (head, heads) = watch::channel((0, None));
        let on_event = handler(sender, options.observer, (connected, head));
        let clock = Clock::start();
        let node = subscriber::Subscriber::new(clock.now(), boot);
        let (name, transport) = ("subscriber".to_owned(), Transport::dial_only(options.transport));
        let ports = NodePorts {
            name,
            transport,
            commands: receiver,
            coordination: None,
            storage: None,
            busy_poll: options.busy_poll,
            on_event,
        };
        let task = tokio::spawn(drive(node, clock, ports));
        let mut subscriber = Self {
            commands,
            events,
            current: None,
            position: None,
            heads,
            head_reads: 0,
            decompressor: Decompressor::default(),
            last_read: None,
            ended: false,
            task,
        };
        if options.until_head {
            subscriber.last_read = Some(subscriber.read_head());
        }
        if let Some(limit) = options.connect_timeout {
            match timeout(limit, is_connected.wait_for(|connected| *connected)).await {
                Ok(Ok(_)) => {}
                _ => return Err(unreachable(&discovery, limit)),
            }
        }
        Ok(subscriber)
    }

    /// Where to go on: after the last record taken from the stream, or where the stream began. `None`
    /// before that is known.
    pub const fn position(&self) -> Option<Bookmark> {
        self.position
    }

    /// How far the group is, now or later: everything that had been acknowledged to anyone before the
    /// call lies below the result. A primary proves it by a read of the coordination service; while
    /// none can, this waits. `None` when the subscriber is closed.
    ///
    /// The same subscriber need not be read meanwhile.
    pub async fn head(&mut self) -> Option<Bookmark> {
        let request = self.read_head();
        let head = self.heads.wait_for(|(answered, _)| *answered >= request).await.ok()?;
        head.1
    }

    fn read_head(&mut self) -> u64 {
        self.head_reads += 1;
        let request = self.head_reads;
        let _ = self.commands.send(Command::ReadHead { request });
        request
    }

    /// Ends the stream: what was delivered already is still yielded.
    pub fn close(&self) {
        let _ = self.commands.send(Command::Close);
    }

    /// The records that come next, as many as lie in a row: what the stream yields one by one, at a small
    /// part of the cost. [`Subscriber::position`] is then behind the last of them.
    ///
    /// # Errors
    /// With what is missing, as the stream. It goes on after it.
    pub async fn next_batch(&mut self) -> Option<Result<Batch, Gap>> {
        let gap = poll_fn(|cx| self.poll_current(cx)).await?;
        Some(gap.map(|()| {
            let batch = self.current.as_mut().expect("there is a delivery").rest();
            self.position = Some(batch.position);
            batch
        }))
    }

    /// Ready when the delivery at hand has a record, with what is missing before it, or with the end.
    fn poll_current(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<(), Gap>>> {
        loop {
            if let Some(current) = &self.current {
                if !current.delivery.records.is_empty() {
                    return Poll::Ready(Some(Ok(())));
                }
                // The application took the last record: the broker may send more.
                let _ = self.commands.send(Command::Consumed { bytes: current.delivery.bytes });
                self.current = None;
            }
            if self.ended {
                return Poll::Ready(None);
            }
            match ready!(self.events.poll_next(cx)) {
                Some(event) => {
                    if let Some(gap) = self.take(event) {
                        return Poll::Ready(Some(Err(gap)));
                    }
                }
                None => return Poll::Ready(None),
            }
        }
    }

    /// What an event means to the application.
    fn take(&mut self, event: Event) -> Option<Gap> {
        match event {
            Event::Delivered(delivery) => {
                let (offset, sequence) = (delivery.offset, delivery.first_sequence);
                self.current = Some(Current { delivery, offset, sequence });
                None
            }
            Event::Packed(packed) => match packed.unpack(&mut self.decompressor) {
                Ok(delivery) => self.take(Event::Delivered(delivery)),
                Err(Lost { from, to, reason, bytes }) => {
                    let _ = self.commands.send(Command::Consumed { bytes });
                    Some(Gap::Lost { from, to, reason })
                }
            },
            Event::Connected { at, .. } => {
                self.position.get_or_insert(at);
                None
            }
            Event::Lost { from, to, reason } => Some(Gap::Lost { from, to, reason }),
            Event::LineageChanged { from, to } => Some(Gap::LineageChanged { from, to }),
            Event::Diverged { from, common } => Some(Gap::Diverged { from, common }),
            Event::Reached { request } => {
                self.ended |= self.last_read.is_some_and(|last| request >= last);
                None
            }
            Event::Head { .. } | Event::Disconnected { .. } | Event::Closed => None,
        }
    }
}

impl Current {
    /// The next record with everything that is known of it. There is one.
    fn message(&mut self) -> Message {
        let payload = self.delivery.records.next().expect("there is a record");
        let Delivery { ref topic, publisher, epoch, next, .. } = self.delivery;
        let (offset, sequence) = (self.offset, self.sequence);
        self.offset += 1;
        self.sequence += 1;
        let position = Bookmark { position: after(epoch, self.offset, next.position), ..next };
        Message { payload, topic: topic.clone(), publisher, sequence, offset, position }
    }

    /// All records that are left.
    fn rest(&mut self) -> Batch {
        let Delivery { ref topic, publisher, next, ref mut records, .. } = self.delivery;
        let (topic, records) = (topic.clone(), std::mem::take(records));
        Batch { topic, publisher, sequence: self.sequence, offset: self.offset, position: next, records }
    }
}

/// The place after a record of this epoch.
const fn after(epoch: Epoch, offset: Offset, next: Position) -> Position {
    Position { lineage: next.lineage, epoch, offset }
}

impl Stream for Subscriber {
    type Item = Result<Message, Gap>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let gap = ready!(self.poll_current(cx));
        Poll::Ready(gap.map(|gap| {
            gap.map(|()| {
                let message = self.current.as_mut().expect("there is a delivery").message();
                self.position = Some(message.position);
                message
            })
        }))
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn parse<F: AsRef<str>>(filters: impl IntoIterator<Item = F>) -> Result<Vec<Filter>, ConnectError> {
    let parsed = filters.into_iter().map(|filter| {
        let filter = filter.as_ref();
        Filter::new(filter).map_err(|reason| ConnectError::Filter { filter: filter.to_owned(), reason })
    });
    let parsed: Vec<_> = parsed.collect::<Result<_, _>>()?;
    match parsed.len() {
        1..=MAX_FILTERS => Ok(parsed),
        count => Err(ConnectError::Filters { count }),
    }
}

/// Passes events on. Their number is bounded by the credit for records, and by the changes of primary
/// for the rest.
fn handler(
    events: Sender<Event>,
    observer: Option<Observer>,
    (connected, head): (watch::Sender<bool>, watch::Sender<(u64, Option<Bookmark>)>),
) -> impl FnMut(Event) -> ControlFlow<()> + Send {
    let notify = move |notice| {
        if let Some(observer) = &observer {
            observer(notice);
        }
    };
    move |event| {
        match &event {
            Event::Connected { endpoint, epoch, .. } => {
                connected.send_replace(true);
                notify(Notice::Connected { endpoint: endpoint.clone(), epoch: *epoch });
            }
            Event::Disconnected { cause } => {
                notify(Notice::Disconnected { cause: *cause });
                return ControlFlow::Continue(());
            }
            Event::Head { request, at } => {
                head.send_replace((*request, Some(*at)));
                return ControlFlow::Continue(());
            }
            Event::Closed => return ControlFlow::Break(()),
            _ => {}
        }
        match events.send(event) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    }
}
