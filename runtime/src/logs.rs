//! Where log lines go and how they look.

use std::io;
use std::path::PathBuf;
use tracing::{Subscriber, debug};
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_appender::rolling::{self, RollingFileAppender};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

/// Lines that wait for a slow disk; beyond them lines are dropped, so that a node never waits.
const WAITING_LINES: usize = 10_000;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Plain,
    /// One JSON object a line.
    Json,
}

/// How often another file begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// Every day (UTC).
    Day,
    /// Every hour (UTC).
    Hour,
}

/// Where log lines go.
#[derive(Clone, Debug)]
pub enum Destination {
    /// To standard error.
    StandardError,
    /// To files.
    Files(Files),
}

/// Log files of a process.
#[derive(Clone, Debug)]
pub struct Files {
    /// Where they are.
    pub directory: PathBuf,
    /// Tells them from those of other processes: `broker.one`, `discovery`.
    pub process: String,
    /// How often another one begins; `None`: never.
    pub rotation: Option<Rotation>,
    /// How many are kept; `None`: all.
    pub keep: Option<usize>,
}

/// Why log files cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write log files in {}: {reason}; make it a directory that this user may write, or choose another one", directory.display())]
pub struct LogError {
    directory: PathBuf,
    reason: String,
}

/// Writes what waits when it is dropped.
#[derive(Debug)]
#[must_use = "log lines are lost when it is dropped too early"]
pub struct LogGuard {
    _worker: Option<WorkerGuard>,
}

/// Sends log lines there. Does nothing where a subscriber is installed already.
///
/// # Errors
/// When the files cannot be written.
pub fn start(levels: Targets, format: Format, destination: Destination) -> Result<LogGuard, LogError> {
    let registry = tracing_subscriber::registry().with(levels);
    let (installed, guard) = match destination {
        Destination::StandardError => {
            let ansi = io::IsTerminal::is_terminal(&io::stderr());
            (registry.with(layer(format, io::stderr, ansi)).try_init(), None)
        }
        Destination::Files(files) => {
            let (writer, guard) = open(&files)?;
            (registry.with(layer(format, writer, false)).try_init(), Some(guard))
        }
    };
    if installed.is_err() {
        debug!(target: "steadfast", "a log subscriber was installed before");
    }
    Ok(LogGuard { _worker: guard })
}

fn layer<S, W>(format: Format, writer: W, ansi: bool) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> tracing_subscriber::fmt::MakeWriter<'a> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(writer);
    match format {
        Format::Plain => layer.with_ansi(ansi).boxed(),
        Format::Json => layer.json().boxed(),
    }
}

/// A thread of its own writes the files: a node must not wait for a disk.
fn open(files: &Files) -> Result<(NonBlocking, WorkerGuard), LogError> {
    let failed =
        |reason: &dyn ToString| LogError { directory: files.directory.clone(), reason: reason.to_string() };
    std::fs::create_dir_all(&files.directory).map_err(|error| failed(&error))?;
    let rotation = match files.rotation {
        None => rolling::Rotation::NEVER,
        Some(Rotation::Day) => rolling::Rotation::DAILY,
        Some(Rotation::Hour) => rolling::Rotation::HOURLY,
    };
    let mut builder = RollingFileAppender::builder()
        .rotation(rotation)
        .filename_prefix("steadfast")
        .filename_suffix(format!("{}.log", files.process));
    if let Some(keep) = files.keep {
        builder = builder.max_log_files(keep);
    }
    let appender = builder.build(&files.directory).map_err(|error| failed(&cause(&error)))?;
    Ok(NonBlockingBuilder::default()
        .buffered_lines_limit(WAITING_LINES)
        .thread_name("steadfast-logs")
        .finish(appender))
}

/// What the operating system said.
fn cause(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn files_are_named_after_their_process_and_old_ones_are_removed() {
        let directory = std::env::temp_dir().join(format!("steadfast-logs-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).unwrap();
        let old = directory.join("steadfast.2020-01-01.broker.one.log");
        let other = directory.join("steadfast.2020-01-01.broker.two.log");
        std::fs::write(&old, "old").unwrap();
        std::fs::write(&other, "another broker's").unwrap();
        let process = "broker.one".to_owned();
        let files =
            Files { directory: directory.clone(), process, rotation: Some(Rotation::Day), keep: Some(1) };
        let (mut writer, guard) = open(&files).unwrap();
        writer.write_all(b"a line\n").unwrap();
        drop(guard);
        assert!(!old.exists() && other.exists());
        let names = std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path());
        let own: Vec<_> = names
            .filter(|path| path.to_str().is_some_and(|path| path.ends_with(".broker.one.log")))
            .collect();
        assert_eq!(own.len(), 1);
        assert_eq!(std::fs::read_to_string(&own[0]).unwrap(), "a line\n");
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let directory = PathBuf::from("/dev/null/logs");
        let files = Files { directory, process: "discovery".into(), rotation: None, keep: None };
        let error = open(&files).map(drop).unwrap_err().to_string();
        assert!(error.starts_with("cannot write log files in /dev/null/logs: "), "{error}");
        assert!(error.ends_with("or choose another one"), "{error}");
    }
}
