//! `steadfast subscribe`: payloads to standard output.

use super::args::SubscribeArgs;
use super::failure::Failure;
use super::publish::{connect_failure, discovery};
use super::signals;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::{FutureExt as _, StreamExt as _};
use serde_json::{Value, json};
use std::io::{self, BufWriter, ErrorKind, StdoutLock, Write};
use std::pin::pin;
use std::time::Duration;
use steadfast_tokio::client::{Gap, Message, Subscriber, SubscriberOptions};

/// Bytes that are collected before they are written, while records keep coming.
const BUFFER: usize = 256 << 10;
/// Records that are written before anything else gets its turn.
const TURN: usize = 1_024;
/// How long to look for a primary at the start.
const CONNECT_LIMIT: Duration = Duration::from_secs(30);

/// Writes what is delivered until the count is reached, the reader goes away, or a signal comes.
///
/// # Errors
/// When something was missing, or the cluster or the output failed.
pub async fn run(args: SubscribeArgs) -> Result<(), Failure> {
    let options = SubscriberOptions {
        start: args.from,
        connect_timeout: Some(CONNECT_LIMIT),
        ..SubscriberOptions::default()
    };
    let filters = args.filters.iter().map(|filter| filter.as_str());
    let subscriber =
        Subscriber::connect(&discovery(&args.client), filters, options).await.map_err(connect_failure)?;
    let mut sink = Sink {
        out: BufWriter::with_capacity(BUFFER, io::stdout().lock()),
        json: args.json,
        left: args.count,
        gaps: 0,
    };
    match sink.take_all(subscriber).await {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        Err(error) => {
            Err(Failure::new(format!("cannot write to standard output: {error}"), "check where it leads"))
        }
        Ok(()) if sink.gaps > 0 => Err(Failure::new(
            format!("records are missing: {} gaps were reported", sink.gaps),
            "subscribe sooner after they are published, or give brokers more memory (--log-limit)",
        )),
        Ok(()) => Ok(()),
    }
}

struct Sink {
    out: BufWriter<StdoutLock<'static>>,
    json: bool,
    /// Records that are still wanted.
    left: Option<u64>,
    gaps: u64,
}

impl Sink {
    async fn take_all(&mut self, mut subscriber: Subscriber) -> io::Result<()> {
        let mut leave = pin!(signals::asked_to_leave());
        loop {
            let next = tokio::select! {
                biased;
                () = &mut leave => None,
                next = subscriber.next() => next,
            };
            let mut goes_on = self.take(next)?;
            let mut turn = 0;
            while goes_on && turn < TURN {
                let Some(next) = subscriber.next().now_or_never() else { break };
                goes_on = self.take(next)?;
                turn += 1;
            }
            // Nothing more at the moment: what was written must not wait for it.
            self.out.flush()?;
            if !goes_on {
                return Ok(());
            }
        }
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
            serde_json::to_writer(&mut self.out, &record(message))?;
        } else {
            self.out.write_all(&message.payload)?;
        }
        self.left = self.left.map(|left| left - 1);
        self.out.write_all(b"\n")
    }

    fn report(&mut self, gap: &Gap) -> io::Result<()> {
        self.gaps += 1;
        if self.json {
            serde_json::to_writer(&mut self.out, &missing(gap))?;
            return self.out.write_all(b"\n");
        }
        self.out.flush()?;
        eprintln!("missing: {gap}");
        Ok(())
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

fn missing(gap: &Gap) -> Value {
    match gap {
        Gap::Lost { from, to, .. } => json!({"lost": {"from": from, "to": to, "reason": gap.to_string()}}),
        Gap::LineageChanged { from, to } => json!({"lineage_changed": {
            "from": from.position.lineage, "to": to.lineage, "reason": gap.to_string()
        }}),
        Gap::Diverged { common, .. } => json!({"diverged": {"from": common, "reason": gap.to_string()}}),
    }
}
