//! Where log lines go and how they look.

use std::io::{self, Write};
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
    let directory = files.directory.clone();
    let lines = Lines { to: appender, directory, say: io::stderr(), lost: 0, torn: false };
    Ok(NonBlockingBuilder::default()
        .buffered_lines_limit(WAITING_LINES)
        .thread_name("steadfast-logs")
        .finish(lines))
}

/// Lines on their way to a file that may not take them: the disk is full, or broken. The process goes on
/// without its log, and says so once.
struct Lines<W, S> {
    to: W,
    directory: PathBuf,
    /// Where it is said.
    say: S,
    /// Lines that were lost since the file last took one.
    lost: u64,
    /// The last thing in the file is a part of a line.
    torn: bool,
}

impl<W: Write, S: Write> Lines<W, S> {
    fn put(&mut self, line: &[u8]) -> io::Result<()> {
        if self.torn {
            self.to.write_all(b"\n")?;
            self.torn = false;
        }
        let mut rest = line;
        while !rest.is_empty() {
            match self.to.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    rest = &rest[count..];
                    self.torn = !rest.is_empty();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl<W: Write, S: Write> Write for Lines<W, S> {
    /// Takes a line, whatever becomes of it.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self.put(line) {
            Ok(()) if self.lost > 0 => {
                let (directory, lost) = (self.directory.display(), self.lost);
                let _ =
                    writeln!(self.say, "log files in {directory} are written again; {lost} lines were lost");
                self.lost = 0;
            }
            Ok(()) => {}
            Err(error) => {
                if self.lost == 0 {
                    let directory = self.directory.display();
                    let _ = writeln!(
                        self.say,
                        "cannot write log files in {directory}: {error}; make room on the disk, or put it right: \
                         log lines are lost until then"
                    );
                }
                self.lost += 1;
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// What the operating system said.
fn cause(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

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

    /// A file with so much room left.
    struct Full {
        room: usize,
        bytes: Vec<u8>,
    }

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.room == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let count = bytes.len().min(self.room);
            self.room -= count;
            self.bytes.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_is_told_once_and_lines_go_on_when_there_is_room() {
        let to = Full { room: 8, bytes: Vec::new() };
        let directory = PathBuf::from("/logs");
        let mut lines = Lines { to, directory, say: Vec::new(), lost: 0, torn: false };
        for line in ["one\n", "two two\n", "three\n", "four\n"] {
            lines.write_all(line.as_bytes()).unwrap();
        }
        lines.to.room = 100;
        lines.write_all(b"five\n").unwrap();
        lines.write_all(b"six\n").unwrap();
        assert_eq!(String::from_utf8_lossy(&lines.to.bytes), "one\ntwo \nfive\nsix\n");
        lines.to.room = 0;
        lines.write_all(b"seven\n").unwrap();
        let said = String::from_utf8(lines.say).unwrap();
        let said: Vec<_> = said.lines().collect();
        assert_eq!(said.len(), 3, "{said:?}");
        for told in [said[0], said[2]] {
            assert!(
                told.starts_with("cannot write log files in /logs: ") && told.contains("make room"),
                "{told}"
            );
        }
        assert_eq!(said[1], "log files in /logs are written again; 3 lines were lost");
    }
}
