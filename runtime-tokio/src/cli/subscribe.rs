//! `steadfast subscribe`: payloads to standard output.

use super::args::SubscribeArgs;
use super::failure::Failure;
use super::publish::{connect_failure, discovery, patiently, timing};
use super::signals;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::{FutureExt as _, StreamExt as _};
use serde_json::{Value, json};
use std::io::{self, ErrorKind, Write};
use std::pin::pin;
use std::time::Duration;
use std::{mem, thread};
use steadfast_core::subscriber::{self, LossReason};
use steadfast_runtime::configuration::Configuration;
use steadfast_tokio::client::{Gap, Message, Subscriber, SubscriberOptions};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// Bytes that are collected before they are written, while records keep coming.
const BUFFER: usize = 256 << 10;
/// Blocks that may wait for the reader of standard output; beyond that the subscriber waits too.
const BLOCKS: usize = 2;
/// How long the last block may take to be written once the process is asked to leave.
const FAREWELL: Duration = Duration::from_millis(500);
/// How long to look for a primary at the start.
const CONNECT_LIMIT: Duration = Duration::from_secs(30);

/// Writes what is delivered until the count is reached, the reader goes away, or a signal comes.
///
/// # Errors
/// When something was missing, or the cluster or the output failed.
pub async fn run(args: SubscribeArgs, configuration: &Configuration) -> Result<(), Failure> {
    let options = SubscriberOptions {
        transport: configuration.settings.transport.kind,
        busy_poll: configuration.settings.transport.busy_poll,
        start: args.from,
        until_head: args.until_head,
        connect_timeout: Some(CONNECT_LIMIT),
        config: subscriber::Config { timing: timing(configuration), ..subscriber::Config::default() },
        ..SubscriberOptions::default()
    };
    let filters = args.filters.iter().map(|filter| filter.as_str());
    let discovery = discovery(configuration);
    let connecting = Subscriber::connect(&discovery, filters, options);
    let subscriber = patiently(connecting, &discovery).await.map_err(connect_failure)?;
    let mut sink = Sink { out: Output::start(), json: args.json, left: args.count, gaps: 0, remedy: None };
    match sink.take_all(subscriber).await {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        Err(error) => {
            Err(Failure::new(format!("cannot write to standard output: {error}"), "check where it leads"))
        }
        Ok(()) => match sink.remedy {
            Some(remedy) => {
                let gaps = if sink.gaps == 1 { "gap was" } else { "gaps were" };
                Err(Failure::new(format!("records are missing: {} {gaps} reported", sink.gaps), remedy))
            }
            None => Ok(()),
        },
    }
}

struct Sink {
    out: Output,
    json: bool,
    /// Records that are still wanted.
    left: Option<u64>,
    gaps: u64,
    /// What can be done about the first of them.
    remedy: Option<&'static str>,
}

impl Sink {
    async fn take_all(&mut self, mut subscriber: Subscriber) -> io::Result<()> {
        let mut leave = pin!(signals::asked_to_leave());
        loop {
            let next = tokio::select! {
                biased;
                () = &mut leave => return self.say_farewell().await,
                next = subscriber.next() => next,
            };
            let mut goes_on = self.take(next)?;
            while goes_on && self.out.buffer.len() < BUFFER {
                let Some(next) = subscriber.next().now_or_never() else { break };
                goes_on = self.take(next)?;
            }
            // What was written must not wait for more. A reader that does not read holds up the stream,
            // but not the end.
            let flush = async {
                self.out.flush().await?;
                if goes_on { Ok(()) } else { self.out.end().await }
            };
            let flushed = tokio::select! {
                biased;
                () = &mut leave => None,
                flushed = flush => Some(flushed),
            };
            match flushed {
                None => return self.say_farewell().await,
                Some(Ok(())) if goes_on => {}
                Some(result) => return result,
            }
        }
    }

    /// Gives the reader a last moment to take what was delivered.
    async fn say_farewell(&mut self) -> io::Result<()> {
        let rest = async {
            self.out.flush().await?;
            self.out.end().await
        };
        timeout(FAREWELL, rest).await.unwrap_or(Ok(()))
    }

    /// Writes what the stream has yielded. Returns whether more is wanted.
    fn take(&mut self, next: Option<Result<Message, Gap>>) -> io::Result<bool> {
        match next {
            None => return Ok(false),
            Some(Ok(message)) => self.write(&message)?,
            Some(Err(gap)) => self.report(&gap)?,
        }
        Ok(self.left != Some(0))
    }

    fn write(&mut self, message: &Message) -> io::Result<()> {
        if self.json {
            serde_json::to_writer(&mut self.out.buffer, &record(message))?;
        } else {
            self.out.buffer.extend_from_slice(&message.payload);
        }
        self.left = self.left.map(|left| left - 1);
        self.out.buffer.push(b'\n');
        Ok(())
    }

    fn report(&mut self, gap: &Gap) -> io::Result<()> {
        self.gaps += 1;
        self.remedy.get_or_insert(remedy(gap));
        if self.json {
            serde_json::to_writer(&mut self.out.buffer, &missing(gap))?;
            self.out.buffer.push(b'\n');
        } else {
            super::tell(&format_args!("missing: {gap}"));
        }
        Ok(())
    }
}

/// Standard output, written by a thread of its own: it may block for as long as its reader likes.
struct Output {
    buffer: Vec<u8>,
    blocks: Option<mpsc::Sender<Vec<u8>>>,
    ended: oneshot::Receiver<io::Result<()>>,
}

impl Output {
    fn start() -> Self {
        let (blocks, mut written) = mpsc::channel::<Vec<u8>>(BLOCKS);
        let (end, ended) = oneshot::channel();
        thread::spawn(move || {
            let mut out = io::stdout().lock();
            let mut result = Ok(());
            while let (Ok(()), Some(block)) = (&result, written.blocking_recv()) {
                result = out.write_all(&block).and_then(|()| out.flush());
            }
            // Nobody asks any more when the process is about to end.
            let _ = end.send(result);
        });
        Self { buffer: Vec::new(), blocks: Some(blocks), ended }
    }

    /// Passes on what was collected, as soon as there is room.
    async fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        if let Some(blocks) = &self.blocks
            && let Ok(room) = blocks.reserve().await
        {
            room.send(mem::take(&mut self.buffer));
            return Ok(());
        }
        self.end().await
    }

    /// Waits until everything is written, or says why it is not.
    async fn end(&mut self) -> io::Result<()> {
        self.blocks = None;
        match (&mut self.ended).await {
            Ok(result) => result,
            Err(_) => Err(io::Error::other("its thread has failed")),
        }
    }
}

fn record(message: &Message) -> Value {
    let mut object = json!({
        "topic": message.topic.as_str(),
        "publisher": message.publisher.to_string(),
        "sequence": message.sequence,
        "group": message.position.group,
        "position": message.position.to_string(),
    });
    match std::str::from_utf8(&message.payload) {
        Ok(text) => object["payload"] = text.into(),
        Err(_) => object["payload_base64"] = STANDARD.encode(&message.payload).into(),
    }
    object
}

const fn remedy(gap: &Gap) -> &'static str {
    match gap {
        Gap::Lost { reason: LossReason::Retention, .. } => {
            "subscribe sooner after they are published, or let brokers keep more (--retention-bytes, \
             --retention-records, --retention-age)"
        }
        Gap::Lost { reason: LossReason::Undecodable, .. } => {
            "publish them again with a program of this version"
        }
        Gap::Lost { reason: LossReason::UnknownCodec(_), .. } => {
            "read them with a newer version of this program, from the position before them"
        }
        Gap::LineageChanged { .. } | Gap::Diverged { .. } => {
            "look in the brokers' logs why, and publish again what is still wanted"
        }
    }
}

fn missing(gap: &Gap) -> Value {
    match gap {
        Gap::Lost { from, to, .. } => json!({"lost": {"from": from, "to": to, "reason": gap.to_string()}}),
        Gap::LineageChanged { from, to } => json!({"lineage_changed": {
            "from": from.position.lineage, "to": to.lineage, "reason": gap.to_string()
        }}),
        Gap::Diverged { common, .. } => json!({"diverged": {"from": common, "reason": gap.to_string()}}),
    }
}
