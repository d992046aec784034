//! The publisher's handle.

use super::{CONNECT_TIMEOUT, ConnectError, IntoTopic, Measured, Notice, Observer, unreachable};
use crate::driver::{NodePorts, drive_observed};
use crate::transport::{BUSY_POLL, Kind, Transport};
use std::fmt;
use std::future::poll_fn;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use steadfast_core::filter::Topic;
use steadfast_core::id::{Group, PublisherId};
use steadfast_core::limits::MAX_RECORD_LEN;
use steadfast_core::publisher::outbox::Saved;
use steadfast_core::publisher::{self, Boot, Command, Config, Event};
use steadfast_runtime::clock::Clock;
use steadfast_runtime::completions::{Bound, Completions, Progress, PublishError};
use steadfast_runtime::inbox::{Sender, inbox};
use steadfast_runtime::metrics::watch::PublisherWatch;
use steadfast_runtime::outbox::{self, Outbox, OutboxError};
use steadfast_runtime::{address, identity};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How a publisher behaves.
#[derive(Clone)]
pub struct PublisherOptions {
    /// Its identity. `None`: a new one. No two living publishers may share one.
    pub publisher: Option<PublisherId>,
    /// What its links are made of. Brokers and discovery may use the other one.
    pub transport: Kind,
    /// For so long after each turn the thread stays awake and looks for more, which saves what waking up takes.
    pub busy_poll: Duration,
    /// Which group of brokers.
    pub group: Group,
    /// A file for what is not acknowledged, made where there is none. The next publisher with this file
    /// has the same identity, and sends again what was not acknowledged, and nothing else.
    pub outbox: Option<PathBuf>,
    /// How much may wait for its acknowledgement before [`Publisher::publish`] waits.
    pub bound: Bound,
    /// How long [`Publisher::connect`] looks for a primary. `None`: it does not wait for one.
    pub connect_timeout: Option<Duration>,
    /// Is told of every change of primary.
    pub observer: Option<Observer>,
    /// Measures how long acknowledgements take, and sends it.
    pub metrics: Option<Measured>,
    /// Batching, windows and timings. Its queue is sized by `bound`.
    pub config: Config,
}

impl Default for PublisherOptions {
    fn default() -> Self {
        Self {
            publisher: None,
            transport: Kind::default(),
            busy_poll: BUSY_POLL,
            group: 0,
            outbox: None,
            bound: Bound { records: 1 << 17, bytes: 8 << 20 },
            connect_timeout: Some(CONNECT_TIMEOUT),
            observer: None,
            metrics: None,
            config: Config::default(),
        }
    }
}

impl PublisherOptions {
    /// Keeps what is not acknowledged in this file: see [`PublisherOptions::outbox`].
    #[must_use]
    pub fn outbox(self, path: impl Into<PathBuf>) -> Self {
        Self { outbox: Some(path.into()), ..self }
    }
}

impl fmt::Debug for PublisherOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublisherOptions")
            .field("publisher", &self.publisher)
            .field("transport", &self.transport)
            .field("busy_poll", &self.busy_poll)
            .field("group", &self.group)
            .field("outbox", &self.outbox)
            .field("bound", &self.bound)
            .field("connect_timeout", &self.connect_timeout)
            .field("metrics", &self.metrics)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// Why a close was not clean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloseError {
    /// The cluster is at fault, or the deadline too short.
    #[error(
        "{unacknowledged} records were not acknowledged before the deadline; they may or may not be \
         stored: check that the cluster has a primary"
    )]
    Deadline {
        /// How many records wait.
        unacknowledged: u64,
    },
    /// Something had failed before, and no [`Publisher::flush`] has said so.
    #[error(transparent)]
    Failed(PublishError),
}

/// Publishes records to one group: each exactly once, in order per topic, through every change of
/// primary. Dropped, it gives up what is not acknowledged: [`Publisher::close`] it instead.
#[derive(Debug)]
pub struct Publisher {
    id: PublisherId,
    commands: Sender<Command>,
    /// So many bytes of records go to the driver together.
    batch_bytes: usize,
    completions: Arc<Completions>,
    keeper: Option<outbox::Keeper>,
    task: JoinHandle<()>,
}

impl Publisher {
    /// Finds the group's primary by discovery (`HOST:PORT[,HOST:PORT...]`) and opens a session.
    ///
    /// # Errors
    /// When the addresses cannot be read, or no primary answers in time.
    pub async fn connect(discovery: &str, options: PublisherOptions) -> Result<Self, ConnectError> {
        let discovery = address::parse_list(discovery)?;
        let outbox = options.outbox.map(|path| Outbox::open(path, options.publisher)).transpose()?;
        let id = outbox.as_ref().map(Outbox::publisher).or(options.publisher);
        let id = id.unwrap_or_else(identity::publisher);
        let saved = outbox.as_ref().map(|outbox| outbox.saved().clone());
        let kept = outbox.map(outbox::keep).transpose().map_err(ConnectError::Thread)?;
        let (storage, keeper) = kept.unzip();
        let (commands, receiver) = inbox();
        let completions = Arc::new(Completions::new(options.bound));
        let (connected, mut is_connected) = watch::channel(None);
        completions.expect_recovery(saved.as_ref().map_or(0, Saved::records));
        let batch_bytes = options.config.batch_bytes;
        let boot = Boot {
            seed: identity::seed(),
            publisher: id,
            nonce: identity::nonce(),
            discovery: discovery.clone(),
            group: options.group,
            config: sized(options.config, options.bound),
            outbox: saved,
        };
        let on_event = handler(Arc::clone(&completions), options.observer, connected);
        let clock = Clock::start();
        let node = publisher::Publisher::new(clock.now(), boot);
        let (name, transport) = (format!("publisher {id:?}"), Transport::dial_only(options.transport));
        let ports = NodePorts {
            name,
            transport,
            commands: receiver,
            coordination: None,
            storage,
            busy_poll: options.busy_poll,
            on_event,
        };
        let measured = options.metrics.map(|Measured { name, sink }| (name, sink));
        let watch = PublisherWatch::new(Arc::clone(&completions), measured);
        let task = tokio::spawn(drive_observed(node, clock, ports, watch));
        let publisher = Self { id, commands, batch_bytes, completions, keeper, task };
        if let Some(limit) = options.connect_timeout {
            let result = timeout(limit, is_connected.wait_for(Option::is_some)).await;
            match result.ok().and_then(|known| *known.ok()?) {
                Some(Ok(())) => {}
                Some(Err(error)) => return Err(publisher.stopped(error)),
                None => return Err(unreachable(&discovery, limit)),
            }
        }
        Ok(publisher)
    }

    /// Why it could not even begin.
    fn stopped(&self, error: publisher::Error) -> ConnectError {
        let cause = self.outbox_error().map_or_else(|| error.to_string(), ToString::to_string);
        ConnectError::Stopped(cause)
    }

    /// Who it is to subscribers.
    pub const fn id(&self) -> PublisherId {
        self.id
    }

    /// Hands a record over, and waits while too many wait for their acknowledgement. The payload is
    /// copied, beside those that were published just before it. The receipt resolves at the
    /// acknowledgement; it may be dropped.
    ///
    /// # Errors
    /// When the topic or the payload is invalid, or the publisher has stopped. The record was not sent.
    pub async fn publish<'a>(
        &self,
        topic: impl IntoTopic<'a>,
        payload: impl AsRef<[u8]>,
    ) -> Result<Receipt, PublishError> {
        let topic = topic.into_topic().map_err(PublishError::Topic)?;
        let payload = payload.as_ref();
        let len = payload.len();
        if len > MAX_RECORD_LEN {
            return Err(PublishError::TooLarge { len });
        }
        let ticket =
            poll_fn(|cx| self.completions.poll_take(cx, len, |ticket| self.send(ticket, &topic, payload)))
                .await?;
        Ok(Receipt { ticket, completions: Arc::clone(&self.completions), waited: false })
    }

    /// Adds the record to the last ones on their way to the driver, or begins others: what an application
    /// publishes in a row costs the driver one command. A driver that is gone has ended the completions too.
    fn send(&self, ticket: u64, topic: &Topic, payload: &[u8]) {
        let absorb = |last: &mut Command| match last {
            Command::Publish { topic: same, records, .. } => {
                let absorbs = records.fits(payload.len(), self.batch_bytes) && same == topic;
                if absorbs {
                    records.push(payload);
                }
                absorbs
            }
            Command::Close => false,
        };
        self.commands.extend(absorb, || Command::publish(ticket, topic.clone(), payload));
    }

    /// Why nothing more is stored in the outbox, when records fail with
    /// [`steadfast_core::publisher::Error::OutboxFailed`].
    pub fn outbox_error(&self) -> Option<&OutboxError> {
        self.keeper.as_ref()?.error()
    }

    /// How many records were published, acknowledged and refused so far.
    pub fn progress(&self) -> Progress {
        self.completions.progress()
    }

    /// Waits until everything published before is completed, by an earlier process with the same outbox
    /// too.
    ///
    /// # Errors
    /// With the first failure since the last flush.
    pub async fn flush(&self) -> Result<(), PublishError> {
        let published = self.progress().published;
        poll_fn(|cx| self.completions.poll_flushed(cx, published)).await
    }

    /// Waits until everything is acknowledged, and closes the session.
    ///
    /// # Errors
    /// When that takes longer than `deadline`, or something has failed since the last flush.
    pub async fn close(mut self, deadline: Duration) -> Result<(), CloseError> {
        let _ = self.commands.send(Command::Close);
        let ended = timeout(deadline, poll_fn(|cx| self.completions.poll_ended(cx))).await;
        let Progress { published, acknowledged, failed, recovering, .. } = self.progress();
        if ended.is_err() {
            return Err(CloseError::Deadline {
                unacknowledged: published - acknowledged - failed + recovering,
            });
        }
        let flushed = poll_fn(|cx| self.completions.poll_flushed(cx, published)).await;
        // The driver lets the last frames leave.
        let _ = (&mut self.task).await;
        // And another publisher may open the outbox.
        if let Some(keeper) = &mut self.keeper {
            keeper.closed().await;
        }
        flushed.map_err(CloseError::Failed)
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.task.abort();
        self.completions.end(PublishError::Abandoned);
    }
}

/// The node's queue never refuses what the bound lets through: its accounting of a record exceeds
/// the payload by less than this factor and that much for each record.
fn sized(config: Config, bound: Bound) -> Config {
    /// More than the encoding of one record's length takes.
    const PER_RECORD: usize = 8;
    let overhead = bound.records.saturating_mul(PER_RECORD).saturating_add(MAX_RECORD_LEN);
    let queue_bytes = config.queue_bytes.max(bound.bytes.saturating_add(overhead));
    let queue_records = config.queue_records.max(bound.records.saturating_add(1));
    Config { queue_bytes, queue_records, ..config }
}

fn handler(
    completions: Arc<Completions>,
    observer: Option<Observer>,
    connected: watch::Sender<Option<Result<(), publisher::Error>>>,
) -> impl FnMut(Event) -> ControlFlow<()> + Send {
    // Dropped with the driver, however that ends: no receipt waits for ever.
    let completions = EndOnDrop(completions);
    let notify = move |notice| {
        if let Some(observer) = &observer {
            observer(notice);
        }
    };
    move |event| {
        match event {
            Event::Completed { tickets, result } => {
                completions.0.complete(tickets, result.map_err(PublishError::Publisher));
            }
            Event::Connected { endpoint, epoch } => {
                connected.send_replace(Some(Ok(())));
                notify(Notice::Connected { endpoint, epoch });
            }
            Event::Recovered { records, result } => {
                completions.0.recover(records, result.map_err(PublishError::Publisher));
            }
            Event::Disconnected { cause } => notify(Notice::Disconnected { cause }),
            Event::LineageChanged { from, to } => {
                completions.0.warn(PublishError::LineageChanged { from, to });
            }
            Event::Stopped { error } => {
                connected.send_replace(Some(Err(error)));
                completions.0.end(PublishError::Publisher(error));
            }
            Event::Closed => {
                completions.0.end(PublishError::Publisher(publisher::Error::Closed));
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }
}

struct EndOnDrop(Arc<Completions>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.end(PublishError::Abandoned);
    }
}

/// Resolves when its record is acknowledged or has failed. To drop it is fine: the record is
/// published all the same.
#[derive(Debug)]
pub struct Receipt {
    ticket: u64,
    completions: Arc<Completions>,
    waited: bool,
}

impl Future for Receipt {
    type Output = Result<(), PublishError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let result = self.completions.poll_receipt(cx, self.ticket);
        self.waited = result.is_pending();
        result
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        if self.waited {
            self.completions.forget(self.ticket);
        }
    }
}
