//! The files of a recording, and the thread that writes them.

use super::{Item, Queue, Recorder, Shared};
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::thread;
use steadfast_core::broker::Boot;
use steadfast_core::recording::{Decoder, Encoder, MAGIC, Record};
use steadfast_core::time::Instant;
use tracing::warn;

/// Items that are written together.
const GROUP: usize = 256;
/// Bytes that are written together.
const GROUP_BYTES: usize = 1 << 20;

/// What is wrong with a recording's file.
#[derive(Debug, thiserror::Error)]
pub enum TapeError {
    /// The deployment is at fault.
    #[error(
        "the recording {} is being written by another process: give each broker a file of its own",
        path.display()
    )]
    InUse {
        /// Which file.
        path: PathBuf,
    },
    /// The deployment is at fault.
    #[error("{} is there and is no recording: name another file, or move it away", path.display())]
    NoRecording {
        /// Which file.
        path: PathBuf,
    },
    /// The machine is at fault.
    #[error(
        "cannot write the recording {}: {cause}; check that its directory exists, can be written and has room",
        path.display()
    )]
    Open {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
}

/// Files for a recording, with nothing in them yet.
#[derive(Debug)]
pub struct Tape {
    queue: Queue,
    share: usize,
}

impl Tape {
    /// Begins to write `path`. What an earlier process has left there is kept under other names, until
    /// the next one. About `limit` bytes of inputs are kept.
    ///
    /// # Errors
    /// When the file cannot be written, or is something else.
    pub fn open(path: &Path, limit: u64) -> Result<Self, TapeError> {
        let failed = |cause| TapeError::Open { path: path.into(), cause };
        put_aside(path)?;
        let current = Segment::create(path).map_err(failed)?;
        let shared = Arc::new(Shared::default());
        let (items, taken) = mpsc::channel();
        let (ending, ended) = mpsc::channel();
        let files = Files { path: path.into(), current, next: None };
        let known = Arc::clone(&shared);
        let run = move || {
            // Closes when this ends, however it ends.
            let _ending: mpsc::Sender<()> = ending;
            run(files, &taken, &known);
        };
        thread::Builder::new().name("recorder".to_owned()).spawn(run).map_err(failed)?;
        let share = usize::try_from(limit / 2).unwrap_or(usize::MAX / 2);
        Ok(Self { queue: Queue { items, shared, ended }, share })
    }

    /// Records a broker that boots at this moment.
    pub fn record(self, boot: Boot, now: Instant) -> Recorder {
        Recorder::new(self.queue, self.share, boot, now)
    }
}

/// The path with something behind its name.
fn with(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// A process that starts again after an incident must not overwrite the recording of it.
fn put_aside(path: &Path) -> Result<(), TapeError> {
    let failed = |cause| TapeError::Open { path: path.into(), cause };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(TapeError::InUse { path: path.into() }),
        Err(TryLockError::Error(cause)) => return Err(failed(cause)),
    }
    let mut first = Vec::new();
    (&file).take(MAGIC.len() as u64).read_to_end(&mut first).map_err(failed)?;
    if !Decoder::recognises(&first) && !MAGIC.starts_with(&first) {
        return Err(TapeError::NoRecording { path: path.into() });
    }
    let last = with(path, ".last");
    let moved =
        fs::rename(path, &last).and_then(|()| match fs::rename(with(path, ".1"), with(&last, ".1")) {
            // What is there is of another recording.
            Err(error) if error.kind() == io::ErrorKind::NotFound => remove(&with(&last, ".1")),
            result => result,
        });
    moved.map_err(failed)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// One file.
#[derive(Debug)]
struct Segment {
    file: File,
    encoder: Encoder,
}

impl Segment {
    /// An empty one, which nobody else writes: it has only a first line.
    fn create(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        // Messages are in it.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(path)?;
        match file.try_lock() {
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) => return Err(io::ErrorKind::ResourceBusy.into()),
            Ok(()) => {}
        }
        let mut segment = Self { file, encoder: Encoder::default() };
        segment.write()?;
        Ok(segment)
    }

    fn push(&mut self, record: &Record) -> io::Result<()> {
        self.encoder.push(record);
        if self.encoder.bytes().len() < GROUP_BYTES { Ok(()) } else { self.write() }
    }

    fn write(&mut self) -> io::Result<()> {
        self.file.write_all(self.encoder.bytes())?;
        self.encoder.clear();
        Ok(())
    }
}

#[derive(Debug)]
struct Files {
    path: PathBuf,
    current: Segment,
    next: Option<Segment>,
}

impl Files {
    fn take(&mut self, item: Item) -> io::Result<()> {
        match item {
            Item::Records(records) => records.iter().try_for_each(|record| self.current.push(record)),
            Item::Next(head) => {
                let mut next = Segment::create(&with(&self.path, ".next"))?;
                next.push(&head)?;
                self.next = Some(next);
                Ok(())
            }
            Item::Copied(entries) => self.next.as_mut().map_or(Ok(()), |next| next.push(&entries)),
            Item::Switch { tail, state } => self.switch(&tail, &state),
        }
    }

    fn switch(&mut self, tail: &Record, state: &[u8]) -> io::Result<()> {
        let Some(mut next) = self.next.take() else { return Ok(()) };
        next.push(tail)?;
        next.encoder.push_state(state);
        next.write()?;
        self.current.write()?;
        fs::rename(&self.path, with(&self.path, ".1"))?;
        fs::rename(with(&self.path, ".next"), &self.path)?;
        self.current = next;
        Ok(())
    }

    /// What was taken so far is the system's.
    fn write(&mut self) -> io::Result<()> {
        self.current.write()?;
        self.next.as_mut().map_or(Ok(()), Segment::write)
    }
}

fn run(mut files: Files, items: &mpsc::Receiver<(Item, usize)>, shared: &Shared) {
    while let Ok(first) = items.recv() {
        let mut weight = 0;
        let group = std::iter::once(first).chain(items.try_iter().take(GROUP));
        let taken = group.map(|(item, of)| (weight += of, item).1).try_for_each(|item| files.take(item));
        let written = taken.and_then(|()| files.write());
        shared.waiting.fetch_sub(weight, Ordering::Relaxed);
        if let Err(error) = written {
            warn!(
                target: "steadfast",
                "cannot write the recording {}: {error}; the broker goes on without. Make room on the disk, or put \
                 it right, and start the broker again to record it",
                files.path.display()
            );
            shared.failed.store(true, Ordering::Relaxed);
            return;
        }
    }
    let _ = remove(&with(&files.path, ".next"));
}
