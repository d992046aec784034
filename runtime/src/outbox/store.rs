//! The file itself.

use super::{MAX_ASIDE_BYTES, OutboxError};
use crate::identity;
use bytes::Bytes;
use redb::{
    Builder, Database, DatabaseError, ReadableDatabase as _, ReadableTable, ReadableTableMetadata as _,
    StorageBackend, StorageError, Table, TableDefinition, WriteTransaction,
};
use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use steadfast_core::filter::Topic;
use steadfast_core::id::{GroupId, Nonce, PublisherId};
use steadfast_core::link::Frame;
use steadfast_core::log::Batch;
use steadfast_core::message::{History, Message, Publish};
use steadfast_core::publisher::outbox::{Change, Saved, SavedSession};
use steadfast_core::wire::{self, records::Records};

/// Numbers and identities by name.
const META: TableDefinition<'_, &str, u128> = TableDefinition::new("meta");
/// Group identity, lineage, incarnation, attempt, next number. One row at most.
const SESSION: TableDefinition<'_, (), (u128, u64, u64, Option<u128>, u64)> = TableDefinition::new("session");
/// A `Publish` frame of one batch, its envelope and its body, by the batch's last number.
const BATCHES: TableDefinition<'_, u64, (&[u8], &[u8])> = TableDefinition::new("batches");
/// The same of batches whose fate is unknown, in the order in which they were set aside.
const ASIDE: TableDefinition<'_, u64, (&[u8], &[u8])> = TableDefinition::new("aside");

/// The layout of the tables.
const VERSION: u128 = 1;
/// Memory for pages of the file, in bytes.
const CACHE: usize = 8 << 20;

/// What is in an outbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Records that were stored and perhaps not acknowledged: they are sent when a publisher starts.
    pub waiting: u64,
    /// Records of unknown fate: the cluster may hold them or not. They are kept until it is decided what
    /// becomes of them.
    pub set_aside: u64,
    /// Records taken since a publisher last closed cleanly, or since the file was made.
    pub taken: u64,
}

/// An outbox that is open in this process, and in no other.
#[derive(Debug)]
pub struct Outbox {
    path: PathBuf,
    database: Database,
    publisher: PublisherId,
    saved: Saved,
    summary: Summary,
}

impl Outbox {
    /// Opens an outbox, or makes an empty one with this identity, or with a new one.
    ///
    /// # Errors
    /// When the file is in use, damaged, another publisher's, or cannot be opened or written.
    pub fn open(path: impl AsRef<Path>, publisher: Option<PublisherId>) -> Result<Self, OutboxError> {
        let path = path.as_ref();
        if !path.exists() {
            Self::make(path, publisher)?;
        }
        Self::with(path, publisher, |builder| builder.create(path))
    }

    /// Makes an empty outbox. The file has its name once it is complete: one that a full disk or the end
    /// of the process has left half made could not be told from a damaged one.
    fn make(path: &Path, publisher: Option<PublisherId>) -> Result<(), OutboxError> {
        let mut unfinished = path.as_os_str().to_owned();
        unfinished.push(format!(".new-{:08x}", identity::random() as u32));
        let made = Self::with(path, publisher, |builder| builder.create(&unfinished)).and_then(|outbox| {
            drop(outbox);
            name(Path::new(&unfinished), path)
                .map_err(|cause| OutboxError::Open { path: path.to_owned(), cause })
        });
        // Where it has a second name by now, this was the first.
        let _ = fs::remove_file(&unfinished);
        made
    }

    /// The same on another storage than a file.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn on(
        backend: impl StorageBackend,
        path: &Path,
        publisher: Option<PublisherId>,
    ) -> Result<Self, OutboxError> {
        Self::with(path, publisher, |builder| builder.create_with_backend(backend))
    }

    fn with(
        path: &Path,
        publisher: Option<PublisherId>,
        create: impl FnOnce(&Builder) -> Result<Database, DatabaseError>,
    ) -> Result<Self, OutboxError> {
        let path = path.to_owned();
        let read = || {
            let mut builder = Database::builder();
            builder.set_cache_size(CACHE);
            let mut database = create(&builder).map_err(|error| opening(&path, error))?;
            match database.check_integrity() {
                Ok(true) => {}
                Ok(false) => return Err(damaged(&path, "its checksums do not match")),
                Err(error) => return Err(opening(&path, error)),
            }
            let found = read(&path, &database, publisher)?;
            Ok((database, found))
        };
        // A damaged file must not end the process, whatever the library makes of it.
        let result = catch_unwind(AssertUnwindSafe(read));
        let (database, (publisher, saved, summary)) =
            result.unwrap_or_else(|_| Err(damaged(&path, "it makes no sense")))?;
        Ok(Self { path, database, publisher, saved, summary })
    }

    /// Whose it is.
    pub const fn publisher(&self) -> PublisherId {
        self.publisher
    }

    /// What a publisher begins with.
    pub const fn saved(&self) -> &Saved {
        &self.saved
    }

    /// What was in it when it was opened, less what was decided since.
    pub const fn summary(&self) -> Summary {
        self.summary
    }

    /// Drops what was set aside.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn drop_set_aside(&mut self) -> Result<(), OutboxError> {
        self.write(|write| {
            write.delete_table(ASIDE)?;
            write.open_table(ASIDE).map(drop).map_err(redb::Error::from)
        })?;
        self.summary.set_aside = 0;
        Ok(())
    }

    /// What was set aside, to be published again: some of it is then stored twice. It is dropped when the
    /// next publisher with this outbox has closed cleanly; until then nothing counts as taken.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn send_set_aside_again(&mut self) -> Result<Vec<(Topic, Bytes)>, OutboxError> {
        self.write(|write| {
            let mut meta = write.open_table(META)?;
            meta.insert("taken", 0)?;
            meta.insert("resending", 1).map(drop).map_err(redb::Error::from)
        })?;
        self.summary.taken = 0;
        let batches = self
            .database
            .begin_read()
            .map_err(redb::Error::from)
            .and_then(|read| Ok(rows(&read.open_table(ASIDE)?)?))
            .map_err(|error| writing(&self.path, error))?;
        let mut records = Vec::new();
        for row in batches {
            let batch = row.batch(&self.path)?;
            let payloads = Records::decode(&batch.header, batch.body)
                .map_err(|_| damaged(&self.path, "a batch cannot be decoded"))?;
            records.extend(payloads.map(|payload| (batch.header.topic.clone(), payload)));
        }
        Ok(records)
    }

    /// Makes changes, all or none, and returns when they are durable.
    ///
    /// # Errors
    /// When they are not. Nothing more may be written then.
    pub fn apply(&self, changes: &[Change]) -> Result<(), OutboxError> {
        let mut full = false;
        self.write(|write| {
            for change in changes {
                full |= !apply(write, change)?;
            }
            Ok(())
        })?;
        if full { Err(OutboxError::AsideFull { path: self.path.clone() }) } else { Ok(()) }
    }

    fn write(
        &self,
        change: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), OutboxError> {
        let run = || {
            let write = self.database.begin_write()?;
            change(&write)?;
            write.commit().map_err(redb::Error::from)
        };
        run().map_err(|error| writing(&self.path, error))
    }
}

/// Gives a complete file its name. One that another process has made meanwhile stays.
fn name(complete: &Path, path: &Path) -> io::Result<()> {
    match fs::hard_link(complete, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        Ok(()) => {}
        // There are file systems without links.
        Err(_) => fs::rename(complete, path)?,
    }
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    fs::File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

type Found = (PublisherId, Saved, Summary);

fn read(path: &Path, database: &Database, wanted: Option<PublisherId>) -> Result<Found, OutboxError> {
    let run = || -> Result<_, redb::Error> {
        let write = database.begin_write()?;
        let found = (prepare(&write, wanted)?, tables(&write)?);
        write.commit()?;
        Ok(found)
    };
    let ((version, publisher), (session, batches, summary)) = run().map_err(|error| match error {
        redb::Error::Io(cause) if !is_about_contents(&cause) => {
            OutboxError::Open { path: path.to_owned(), cause }
        }
        error => damaged(path, &error.to_string()),
    })?;
    if version != VERSION {
        return Err(damaged(path, &format!("its layout has version {version}, this program's is {VERSION}")));
    }
    if let Some(wanted) = wanted.filter(|wanted| *wanted != publisher) {
        return Err(OutboxError::OtherPublisher { path: path.to_owned(), found: publisher, wanted });
    }
    let batches = batches.iter().map(|row| row.batch(path)).collect::<Result<Vec<_>, _>>()?;
    let saved = Saved { session, batches };
    if !saved.is_sound(publisher) {
        return Err(damaged(path, "its batches are not one row"));
    }
    Ok((publisher, saved.clone(), Summary { waiting: saved.records(), ..summary }))
}

/// Makes the tables where there are none. Returns the layout's version and whose outbox it is.
fn prepare(
    write: &WriteTransaction,
    wanted: Option<PublisherId>,
) -> Result<(u128, PublisherId), redb::Error> {
    let mut meta = write.open_table(META)?;
    let get = |meta: &Table<'_, &str, u128>, key| -> Result<_, redb::Error> {
        Ok(meta.get(key)?.map(|value| value.value()))
    };
    if meta.is_empty()? {
        meta.insert("version", VERSION)?;
        meta.insert("publisher", wanted.unwrap_or_else(identity::publisher).0)?;
    }
    if get(&meta, "resending")?.is_some() {
        meta.insert("taken", 0)?;
    }
    let version = get(&meta, "version")?.unwrap_or(0);
    Ok((version, PublisherId(get(&meta, "publisher")?.unwrap_or(0))))
}

type Tables = (Option<SavedSession>, Vec<Row>, Summary);

fn tables(write: &WriteTransaction) -> Result<Tables, redb::Error> {
    let session = write.open_table(SESSION)?.get(())?.map(|row| {
        let (group_id, lineage, incarnation, attempt, next) = row.value();
        let history = History { group_id: GroupId(group_id), lineage };
        SavedSession { history, incarnation, attempt: attempt.map(Nonce), next }
    });
    let batches = rows(&write.open_table(BATCHES)?)?;
    let aside = rows(&write.open_table(ASIDE)?)?;
    let set_aside = aside.iter().filter_map(|row| row.decoded()).map(|batch| u64::from(batch.header.count));
    let taken = write.open_table(META)?.get("taken")?.map_or(0, |value| value.value());
    let taken = u64::try_from(taken).unwrap_or(u64::MAX);
    Ok((session, batches, Summary { waiting: 0, set_aside: set_aside.sum(), taken }))
}

/// A stored batch.
struct Row {
    envelope: Bytes,
    body: Bytes,
}

impl Row {
    fn decoded(&self) -> Option<Batch> {
        let frame = Frame { parts: vec![self.envelope.clone(), self.body.clone()] };
        match wire::decode(frame) {
            Ok(Message::Publish(Publish { mut batches, .. })) if batches.len() == 1 => batches.pop(),
            _ => None,
        }
    }

    fn batch(&self, path: &Path) -> Result<Batch, OutboxError> {
        self.decoded().ok_or_else(|| damaged(path, "a batch cannot be decoded"))
    }
}

fn rows(table: &impl ReadableTable<u64, (&'static [u8], &'static [u8])>) -> Result<Vec<Row>, StorageError> {
    let mut rows = Vec::new();
    for row in table.iter()? {
        let (_, value) = row?;
        let (envelope, body) = value.value();
        rows.push(Row { envelope: Bytes::copy_from_slice(envelope), body: Bytes::copy_from_slice(body) });
    }
    Ok(rows)
}

/// Says no when more would be set aside than there is room for.
fn apply(write: &WriteTransaction, change: &Change) -> Result<bool, redb::Error> {
    match change {
        Change::Session(session) => {
            let History { group_id, lineage } = session.history;
            let attempt = session.attempt.map(|nonce| nonce.0);
            let row = (group_id.0, lineage, session.incarnation, attempt, session.next);
            write.open_table(SESSION)?.insert((), row)?;
        }
        Change::Append { history, batches, acknowledged } => {
            append(write, *history, batches, *acknowledged)?;
        }
        Change::SetAside { acknowledged } => return set_aside(write, *acknowledged),
        Change::Finish => {
            write.open_table(BATCHES)?.retain(|_, _| false)?;
            let mut meta = write.open_table(META)?;
            meta.insert("taken", 0)?;
            if meta.remove("resending")?.is_some() {
                write.open_table(ASIDE)?.retain(|_, _| false)?;
            }
        }
    }
    Ok(true)
}

fn append(
    write: &WriteTransaction,
    history: History,
    batches: &[Batch],
    acknowledged: u64,
) -> Result<(), redb::Error> {
    let mut table = write.open_table(BATCHES)?;
    table.retain_in(..=acknowledged, |_, _| false)?;
    let mut records = 0;
    for batch in batches {
        let frame = wire::encode(&Message::Publish(Publish { history, batches: vec![batch.clone()] }));
        let [envelope, body] = &frame.parts[..] else { unreachable!("a frame of one batch has two parts") };
        table.insert(batch.header.last_sequence(), (&envelope[..], &body[..]))?;
        records += u128::from(batch.header.count);
    }
    let mut meta = write.open_table(META)?;
    let taken = meta.get("taken")?.map_or(0, |value| value.value());
    meta.insert("taken", taken + records)?;
    let mut session = write.open_table(SESSION)?;
    let row = session.get(())?.map(|row| row.value());
    if let (Some((group_id, lineage, incarnation, attempt, _)), Some(last)) = (row, batches.last()) {
        session.insert((), (group_id, lineage, incarnation, attempt, last.header.last_sequence() + 1))?;
    }
    Ok(())
}

fn set_aside(write: &WriteTransaction, acknowledged: u64) -> Result<bool, redb::Error> {
    let mut batches = write.open_table(BATCHES)?;
    batches.retain_in(..=acknowledged, |_, _| false)?;
    let mut aside = write.open_table(ASIDE)?;
    let next = aside.last()?.map_or(0, |(key, _)| key.value() + 1);
    for (number, row) in (next..).zip(rows(&batches)?) {
        aside.insert(number, (&row.envelope[..], &row.body[..]))?;
    }
    batches.retain(|_, _| false)?;
    write.open_table(SESSION)?.retain(|(), _| false)?;
    Ok(aside.stats()?.stored_bytes() <= MAX_ASIDE_BYTES)
}

fn damaged(path: &Path, reason: &str) -> OutboxError {
    OutboxError::Damaged { path: path.to_owned(), reason: reason.to_owned() }
}

fn opening(path: &Path, error: DatabaseError) -> OutboxError {
    let path = path.to_owned();
    match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
            OutboxError::InUse { path }
        }
        DatabaseError::Storage(StorageError::Io(cause)) if !is_about_contents(&cause) => {
            OutboxError::Open { path, cause }
        }
        error => damaged(&path, &error.to_string()),
    }
}

fn is_about_contents(cause: &io::Error) -> bool {
    matches!(cause.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}

fn writing(path: &Path, error: redb::Error) -> OutboxError {
    let path = path.to_owned();
    match error {
        redb::Error::Io(cause) => OutboxError::Write { path, cause },
        error => OutboxError::Write { path, cause: io::Error::other(error.to_string()) },
    }
}
