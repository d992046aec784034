//! `steadfast publish`: a record a line.

use super::args::{PublishArgs, Unknown};
use super::display::grouped;
use super::failure::Failure;
use super::lines::{self, LinesError};
use super::metrics::{measured, start_client};
use super::signals;
use serde::Serialize;
use std::fs::File;
use std::io::{IsTerminal as _, stderr, stdin};
use std::panic;
use std::path::Path;
use std::pin::pin;
use std::time::{Duration, Instant};
use steadfast_core::filter::Topic;
use steadfast_core::limits::Timing;
use steadfast_core::publisher;
use steadfast_runtime::configuration::Configuration;
use steadfast_runtime::metrics::Exporter;
use steadfast_tokio::client::{ConnectError, Outbox, PublishError, Publisher, PublisherOptions};
use tokio::time::{interval, timeout};

/// What it is called in metrics.
const NAME: &str = "publish";
/// How long a publisher may take to close when everything is acknowledged.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);
/// Progress is shown from this moment on.
const QUIET: Duration = Duration::from_secs(2);
/// How often the clock of `--timeout` is looked at.
const TICK: Duration = Duration::from_millis(100);

/// The report of `--json`.
#[derive(Debug, Serialize)]
struct PublishReport {
    published: u64,
    acknowledged: u64,
    unacknowledged: u64,
    /// Of an earlier run, from the outbox.
    recovered: u64,
    /// Of an earlier run, and of unknown fate: the outbox keeps them apart.
    set_aside: u64,
    seconds: f64,
}

/// Why publishing ended early.
enum Stop {
    Input(LinesError),
    Refused(PublishError),
    Stalled,
    Interrupted,
}

/// Publishes the input.
///
/// # Errors
/// When a record was not acknowledged, or the input or the cluster failed.
pub async fn run(args: PublishArgs, configuration: &Configuration) -> Result<(), Failure> {
    let blocks = match &args.file {
        None => lines::read(stdin()),
        Some(path) => {
            let opened = File::open(path).and_then(|file| match file.metadata()?.is_dir() {
                true => Err(std::io::ErrorKind::IsADirectory.into()),
                false => Ok(file),
            });
            lines::read(opened.map_err(|error| {
                Failure::new(format!("cannot read {}: {error}", path.display()), "check the path of --file")
            })?)
        }
    };
    let skip = match &args.outbox {
        Some(path) => prepare_outbox(&args, configuration, path).await?,
        None => 0,
    };
    let exporter = start_client(configuration, args.metrics, NAME)?;
    let options =
        PublisherOptions { metrics: measured(exporter.as_ref(), NAME), ..options(&args, configuration) };
    let discovery = discovery(configuration);
    let connecting = Publisher::connect(&discovery, options);
    let publisher = patiently(connecting, &discovery).await.map_err(connect_failure)?;
    let start = Instant::now();
    let stopped = tokio::select! {
        result = publish_all(&publisher, &args.topic, blocks, skip) => result.err(),
        () = watch(&publisher, args.timeout) => Some(Stop::Stalled),
        () = signals::asked_to_leave() => Some(Stop::Interrupted),
    };
    let report = PublishReport::new(&publisher, start.elapsed());
    let outbox_error = publisher.outbox_error().map(ToString::to_string);
    if stopped.is_none() {
        // Every record has its outcome: what could still fail is the farewell.
        let _ = publisher.close(CLOSE_LIMIT).await;
    }
    super::print(&if args.json { report.json()? } else { report.text() })?;
    exporter.map(Exporter::close);
    match stopped {
        Some(stop) => Err(stop.failure(&report, &args, outbox_error)),
        None => Ok(()),
    }
}

fn options(args: &PublishArgs, configuration: &Configuration) -> PublisherOptions {
    PublisherOptions {
        transport: configuration.settings.transport.kind,
        busy_poll: configuration.settings.transport.busy_poll,
        connect_timeout: Some(args.timeout),
        outbox: args.outbox.clone(),
        config: publisher::Config {
            timing: timing(configuration),
            compression: args.compression,
            ..publisher::Config::default()
        },
        ..PublisherOptions::default()
    }
}

/// Says what is in the outbox, and does what was decided about it. Returns how many lines are left out.
async fn prepare_outbox(
    args: &PublishArgs,
    configuration: &Configuration,
    path: &Path,
) -> Result<u64, Failure> {
    // A damaged file may make the library that reads it panic. That is caught and becomes an error: one
    // line is enough.
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let opened = Outbox::open(path, None);
    panic::set_hook(hook);
    let mut outbox = opened.map_err(Failure::complete)?;
    let summary = outbox.summary();
    if summary.waiting > 0 {
        let waiting = grouped(summary.waiting);
        super::tell(&format_args!(
            "the outbox holds {waiting} records of an earlier run: what is not acknowledged is sent first"
        ));
    }
    let set_aside = grouped(summary.set_aside);
    match args.unknown {
        _ if summary.set_aside == 0 => {}
        None | Some(Unknown::Keep) => super::tell(&format_args!(
            "the outbox keeps {set_aside} records whose fate is not known: decide with --unknown drop or \
             --unknown resend"
        )),
        Some(Unknown::Drop) => {
            outbox.drop_set_aside().map_err(Failure::complete)?;
            super::tell(&format_args!("dropped {set_aside} records whose fate was not known"));
        }
        Some(Unknown::Resend) => {
            let records = outbox.send_set_aside_again().map_err(Failure::complete)?;
            drop(outbox);
            resend(args, configuration, records).await?;
            super::tell(&format_args!("sent {set_aside} records again whose fate was not known"));
        }
    }
    Ok(if args.resume { summary.taken } else { 0 })
}

/// A run of its own, so that its records are not taken for lines of the input.
async fn resend(
    args: &PublishArgs,
    configuration: &Configuration,
    records: Vec<(Topic, bytes::Bytes)>,
) -> Result<(), Failure> {
    let publisher = Publisher::connect(&discovery(configuration), options(args, configuration))
        .await
        .map_err(connect_failure)?;
    for (topic, payload) in records {
        publisher.publish(topic, payload).await.map_err(Failure::complete)?;
    }
    publisher.close(args.timeout).await.map_err(Failure::complete)
}

/// Addresses as the library takes them.
pub fn discovery(configuration: &Configuration) -> String {
    let addresses = &configuration.settings.cluster.discovery;
    addresses.iter().map(|address| address.as_str()).collect::<Vec<_>>().join(",")
}

/// Timings of a client. It has no session at the coordination service.
pub fn timing(configuration: &Configuration) -> Timing {
    let settings = &configuration.settings;
    settings.timing(settings.coordination.session_timeout)
}

/// A client that found no cluster.
pub fn connect_failure(error: ConnectError) -> Failure {
    match error {
        ConnectError::Unreachable { discovery, timeout } => Failure::new(
            format!("no primary was found within {} s by discovery at {discovery}", timeout.as_secs_f32()),
            "check that discovery and brokers run and that --discovery is right, or try it on 'steadfast serve'",
        ),
        error => Failure::complete(error),
    }
}

/// Waits for a client's connection, and says so on a terminal when it takes long.
pub async fn patiently<T>(connecting: impl Future<Output = T>, discovery: &str) -> T {
    let mut connecting = pin!(connecting);
    if let Ok(connected) = timeout(QUIET, &mut connecting).await {
        return connected;
    }
    if stderr().is_terminal() {
        eprintln!("looking for a primary by discovery at {discovery}");
    }
    connecting.await
}

async fn publish_all(
    publisher: &Publisher,
    topic: &Topic,
    mut blocks: lines::Blocks,
    mut skip: u64,
) -> Result<(), Stop> {
    while let Some(block) = blocks.recv().await {
        let lines = match block {
            Ok(lines) => lines,
            Err(error) => {
                // What stands before it is published all the same.
                publisher.flush().await.map_err(Stop::Refused)?;
                return Err(Stop::Input(error));
            }
        };
        let left_out = skip.min(lines.len() as u64);
        skip -= left_out;
        for line in lines.into_iter().skip(usize::try_from(left_out).unwrap_or(usize::MAX)) {
            publisher.publish(topic, line).await.map_err(Stop::Refused)?;
        }
        // A fast input never keeps the sockets waiting.
        tokio::task::yield_now().await;
    }
    publisher.flush().await.map_err(Stop::Refused)
}

/// Ends when records wait for this long and none is acknowledged. Shows progress on a terminal.
async fn watch(publisher: &Publisher, limit: Duration) {
    let start = Instant::now();
    let (mut before, mut moved_at) = (0, start);
    let mut shown_at = start;
    let mut tick = interval(TICK);
    loop {
        tick.tick().await;
        let progress = publisher.progress();
        let done = progress.acknowledged + progress.failed + progress.recovered;
        let open = progress.published - progress.acknowledged - progress.failed + progress.recovering;
        if done != before || open == 0 {
            (before, moved_at) = (done, Instant::now());
        }
        if moved_at.elapsed() >= limit {
            return;
        }
        if start.elapsed() >= QUIET && shown_at.elapsed() >= Duration::from_secs(1) && stderr().is_terminal()
        {
            shown_at = Instant::now();
            super::tell(&format_args!(
                "{} of {} acknowledged",
                grouped(progress.acknowledged),
                grouped(progress.published)
            ));
        }
    }
}

impl PublishReport {
    fn new(publisher: &Publisher, time: Duration) -> Self {
        let progress = publisher.progress();
        Self {
            published: progress.published,
            acknowledged: progress.acknowledged,
            unacknowledged: progress.published - progress.acknowledged + progress.recovering,
            recovered: progress.recovered,
            set_aside: progress.unrecovered,
            seconds: (time.as_secs_f64() * 1_000.0).round() / 1_000.0,
        }
    }

    fn json(&self) -> Result<String, Failure> {
        serde_json::to_string(self).map_err(Failure::complete)
    }

    fn text(&self) -> String {
        format!(
            "acknowledged {} of {} records in {} s",
            grouped(self.acknowledged),
            grouped(self.published),
            self.seconds
        )
    }
}

impl Stop {
    fn failure(self, report: &PublishReport, args: &PublishArgs, outbox: Option<String>) -> Failure {
        let left = match report.unacknowledged {
            0 => "everything that was published is acknowledged".to_owned(),
            count => format!("{} records are not acknowledged", grouped(count)),
        };
        match self {
            Self::Input(error @ LinesError::TooLong { .. }) => Failure::new(
                format!("{error}; what stands before it was published, {left}"),
                "split the line: a record has a limit",
            ),
            Self::Input(error) => {
                Failure::new(format!("{error}; {left}"), "check the input and publish the rest")
            }
            Self::Refused(error) => {
                let cause = outbox.unwrap_or_else(|| error.to_string());
                let kept = match report.set_aside {
                    0 => String::new(),
                    kept => format!(
                        "; {} records of an earlier run, whose fate is not known, stay in the outbox: decide with \
                         --unknown drop or --unknown resend",
                        grouped(kept)
                    ),
                };
                Failure::complete(format!("{left}: {cause}{kept}"))
            }
            Self::Stalled => Failure::new(
                format!("{left}, and none was for {} s", args.timeout.as_secs_f64()),
                "check that the cluster has a primary, or wait longer with --timeout",
            ),
            Self::Interrupted => Failure::new(
                format!("interrupted: {left}"),
                match &args.outbox {
                    Some(_) => "run it again with the same --outbox and --resume",
                    None => {
                        "they may be stored or not; publish the rest again only if a duplicate does no harm"
                    }
                },
            ),
        }
    }
}
