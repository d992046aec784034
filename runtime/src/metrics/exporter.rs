//! The thread that sends. The client library needs tokio, so the thread keeps a runtime of its own, and
//! both adapters can use it. Nobody waits for it: what it cannot send in time is dropped and counted.

use super::point::Point;
use super::queue::Queue;
use super::schema::{Measurement, Origin, count, fields};
use super::settings::{Settings, SettingsError};
use crate::secret::Secret;
use bytes::Bytes;
use futures::future::{Either, select};
use influxdb2::{Client, ClientBuilder, RequestError};
use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, SystemTime};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tracing::{info, warn};

/// Most points in one request.
const BATCH: usize = 1_000;
/// The first pause after a failure; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How much longer than its flush the thread may take to end.
const GRACE: Duration = Duration::from_millis(500);

/// What the exporter has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Points that wait.
    pub queued: usize,
    /// Points that the server has taken.
    pub sent: u64,
    /// Points given up after many attempts.
    pub failed: u64,
    /// Points that the server has refused.
    pub rejected: u64,
    /// Points that had to make room.
    pub dropped: u64,
    /// Requests.
    pub requests: u64,
    /// Requests that the server did not take.
    pub errors: u64,
}

/// The exporter's own point.
pub const EXPORTER: Measurement<Progress> = Measurement {
    name: "steadfast_exporter",
    about: "The sending of these points themselves: each process, each interval, as far as points can be sent at all.",
    tags: &[],
    fields: fields! {
        "queued", "", "points that wait to be sent" => |p| count(p.queued);
        "sent_total", "", "points that the server has taken" => |p| count(p.sent);
        "failed_total", "", "points given up because the server did not take them in time" => |p| count(p.failed);
        "rejected_total", "", "points that the server has refused for good (a status of 400 to 499, but 408 and 429)" => |p| count(p.rejected);
        "dropped_total", "", "points that made room for newer ones in a full queue" => |p| count(p.dropped);
        "requests_total", "", "requests to the server" => |p| count(p.requests);
        "request_errors_total", "", "requests that the server did not take, for whatever reason" => |p| count(p.errors);
    },
};

/// An exporter that does not send yet: points can wait in it before its process has a name.
#[derive(Debug)]
pub struct Prepared {
    client: Client,
    settings: Settings,
    sink: Sink,
}

/// Sends points to the server until it is closed or dropped.
#[derive(Debug)]
pub struct Exporter {
    sink: Sink,
    patience: Duration,
    ended: mpsc::Receiver<Progress>,
}

/// Where nodes put their points. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Sink {
    queue: Arc<Queue>,
    cluster: Arc<str>,
    interval: Duration,
}

impl Sink {
    /// Adds points. Never waits for the server: when there is no room, the oldest points go.
    pub fn push(&self, points: impl IntoIterator<Item = Point>) {
        self.queue.push(points);
    }

    /// The cluster's name.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// Between two points of one series.
    pub const fn interval(&self) -> Duration {
        self.interval
    }

    /// Points that wait, and points that had to go.
    pub fn backlog(&self) -> (usize, u64) {
        (self.queue.waiting(), self.queue.dropped())
    }
}

impl Prepared {
    /// Checks the settings. The server need not be there.
    ///
    /// # Errors
    /// When the settings make no sense.
    pub fn new(settings: Settings) -> Result<Self, SettingsError> {
        settings.check()?;
        let client = client(&settings)?;
        let sink = Sink {
            queue: Arc::new(Queue::new(settings.queue)),
            cluster: settings.cluster.as_str().into(),
            interval: settings.interval,
        };
        Ok(Self { client, settings, sink })
    }

    /// For the nodes.
    pub const fn sink(&self) -> &Sink {
        &self.sink
    }

    /// Starts the thread; `node` names the process in the exporter's own points.
    ///
    /// # Errors
    /// When the thread cannot start.
    pub fn start(self, node: &str) -> Result<Exporter, SettingsError> {
        let Self { client, settings, sink } = self;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(SettingsError::Thread)?;
        let patience = settings.flush_timeout + GRACE;
        let origin = Origin { cluster: settings.cluster.clone(), node: node.into() };
        let sender = Sender::new(client, settings, (Arc::clone(&sink.queue), origin));
        let (end, ended) = mpsc::channel();
        let thread = std::thread::Builder::new().name("metrics".into()).spawn(move || {
            let progress = runtime.block_on(sender.run());
            // A look-up of the server's name may still be under way: nobody waits for it.
            runtime.shutdown_background();
            // Whoever was to be told may have left.
            let _ = end.send(progress);
        });
        thread.map_err(SettingsError::Thread)?;
        Ok(Exporter { sink, patience, ended })
    }
}

impl Exporter {
    /// For the nodes.
    pub const fn sink(&self) -> &Sink {
        &self.sink
    }

    /// Sends what waits, within the flush time-out, and ends. Returns what was done in all; `None`
    /// when the thread did not end in time, and is left behind.
    pub fn close(self) -> Option<Progress> {
        self.sink.queue.close();
        self.ended.recv_timeout(self.patience).ok()
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.sink.queue.close();
    }
}

fn client(settings: &Settings) -> Result<Client, SettingsError> {
    let http = reqwest::ClientBuilder::new()
        .timeout(settings.request_timeout)
        // A redirected write would become a read.
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy();
    let token = settings.token.as_ref().map_or("", Secret::expose);
    ClientBuilder::with_builder(http, &settings.url, &settings.org, token)
        .build()
        .map_err(|error| SettingsError::Client(error.to_string()))
}

/// What became of a request.
enum Verdict {
    Taken,
    /// Never to be tried again.
    Refused(String),
    /// To be tried again.
    Failed(String),
}

/// The thread's state.
struct Sender {
    client: Client,
    settings: Settings,
    queue: Arc<Queue>,
    origin: Origin,
    progress: Progress,
    /// When the exporter's own point is due.
    own_at: Instant,
    /// Whether the last request failed: a server that stays away is logged once.
    troubled: bool,
}

impl Sender {
    fn new(client: Client, settings: Settings, (queue, origin): (Arc<Queue>, Origin)) -> Self {
        Self {
            client,
            settings,
            queue,
            origin,
            progress: Progress::default(),
            own_at: Instant::now(),
            troubled: false,
        }
    }

    /// Sends until the queue is closed and empty, or time is up.
    async fn run(mut self) -> Progress {
        while let Some(points) = self.next_batch().await {
            self.deliver(&points).await;
        }
        self.observe();
        if self.progress.queued > 0 {
            warn!(target: "steadfast", points = self.progress.queued, "metrics were left unsent at the end");
        }
        self.progress
    }

    /// Waits for points. `None` when the process ends and nothing is left, or time is up.
    async fn next_batch(&mut self) -> Option<Vec<Point>> {
        loop {
            let end = self.end();
            if end.is_some_and(|end| end <= Instant::now()) {
                return None;
            }
            let mut points = self.queue.take(BATCH);
            if self.own_at <= Instant::now() || (end.is_some() && !points.is_empty()) {
                self.own_at = Instant::now() + self.settings.interval;
                self.observe();
                points.push(EXPORTER.point(&self.origin, [], &self.progress, wall_clock()));
            }
            if !points.is_empty() {
                return Some(points);
            }
            if end.is_some() {
                return None;
            }
            let own = self.own_at - Instant::now();
            // Over is over: either way there is something to look at.
            let _ = timeout(own, self.queue.news()).await;
        }
    }

    /// Sends the points, and tries again until the server takes or refuses them or time is up.
    async fn deliver(&mut self, points: &[Point]) {
        let mut lines = Vec::new();
        points.iter().for_each(|point| point.write_to(&mut lines));
        let body = Bytes::from(lines);
        let count = points.len() as u64;
        let give_up = Instant::now() + self.settings.retry_for;
        let mut pause = FIRST_PAUSE;
        loop {
            match self.attempt(body.clone()).await {
                Verdict::Taken => {
                    self.progress.sent += count;
                    return self.calm();
                }
                Verdict::Refused(why) => {
                    self.progress.rejected += count;
                    return self.complain(&why);
                }
                Verdict::Failed(why) => self.complain(&why),
            }
            let last = self.end().map_or(give_up, |end| end.min(give_up));
            if Instant::now() + pause >= last {
                self.progress.failed += count;
                return;
            }
            self.rest(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn attempt(&mut self, body: Bytes) -> Verdict {
        self.progress.requests += 1;
        let Settings { org, bucket, request_timeout, .. } = &self.settings;
        let write = timeout(*request_timeout, self.client.write_line_protocol(org, bucket, body));
        let verdict = match select(pin!(write), pin!(self.time_is_up())).await {
            Either::Left((result, _)) => judge(result),
            Either::Right(_) => Verdict::Failed("the process ends".into()),
        };
        self.progress.errors += u64::from(!matches!(verdict, Verdict::Taken));
        verdict
    }

    /// A pause, cut short when the process ends.
    async fn rest(&self, pause: Duration) {
        let over = Instant::now() + pause;
        let closing = self.queue.closed().is_some();
        while Instant::now() < over && closing == self.queue.closed().is_some() {
            // Over is over: either way there is something to look at.
            let _ = timeout_at(over, self.queue.news()).await;
        }
    }

    /// When it must end, once the queue is closed.
    fn end(&self) -> Option<Instant> {
        let closed = self.queue.closed()?;
        Some(Instant::from_std(closed + self.settings.flush_timeout))
    }

    async fn time_is_up(&self) {
        loop {
            match self.end() {
                Some(end) => return sleep_until(end).await,
                None => self.queue.news().await,
            }
        }
    }

    fn observe(&mut self) {
        self.progress.queued = self.queue.waiting();
        self.progress.dropped = self.queue.dropped();
    }

    fn complain(&mut self, why: &str) {
        if !std::mem::replace(&mut self.troubled, true) {
            let url = &self.settings.url;
            warn!(target: "steadfast", "metrics cannot be written to {url}: {why}");
        }
    }

    fn calm(&mut self) {
        if std::mem::take(&mut self.troubled) {
            let Progress { failed, rejected, .. } = self.progress;
            let dropped = self.queue.dropped();
            info!(target: "steadfast", failed, rejected, dropped, "metrics are written again");
        }
    }
}

fn judge(result: Result<Result<(), RequestError>, tokio::time::error::Elapsed>) -> Verdict {
    match result {
        Ok(Ok(())) => Verdict::Taken,
        Ok(Err(RequestError::Http { status, text })) => {
            let text: String = text.chars().take(200).map(|c| if c.is_control() { ' ' } else { c }).collect();
            let why = format!("{status} {text}");
            match status.as_u16() {
                408 | 429 | 500.. => Verdict::Failed(why),
                _ => Verdict::Refused(why),
            }
        }
        Ok(Err(error)) => Verdict::Failed(error.to_string()),
        Err(_) => Verdict::Failed("no answer in time".into()),
    }
}

/// Now, in nanoseconds since 1970.
pub(super) fn wall_clock() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
