//! The outbox's file: what survives a process, and what is said when it cannot be used.

use bytes::Bytes;
use redb::StorageBackend;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use steadfast_core::filter::Topic;
use steadfast_core::id::{GroupId, Nonce, PublisherId, Sequence};
use steadfast_core::log::Batch;
use steadfast_core::message::History;
use steadfast_core::publisher::outbox::{Change, Saved, SavedSession};
use steadfast_core::storage::{Event, Operation, Request};
use steadfast_core::wire::records::RecordsBuilder;
use steadfast_runtime::outbox::{Outbox, OutboxError, Summary, keep};

const ME: PublisherId = PublisherId(7);
const HISTORY: History = History { group_id: GroupId(9), lineage: 1 };

/// A directory that is removed with the test.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("steadfast-outbox-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("outbox")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn session(next: Sequence) -> SavedSession {
    SavedSession { history: HISTORY, incarnation: 3, attempt: None, next }
}

/// A batch of two records.
fn batch(first: Sequence) -> Batch {
    let mut records = RecordsBuilder::default();
    records.push(format!("record {first}").as_bytes());
    records.push(&[b'x'; 2_000]);
    records.seal(Topic::new("a.b").unwrap(), ME, 3, first)
}

fn append(firsts: &[Sequence], acknowledged: Sequence) -> Change {
    let batches = firsts.iter().copied().map(batch).collect();
    Change::Append { history: HISTORY, batches, acknowledged }
}

fn open(path: &Path) -> Outbox {
    Outbox::open(path, Some(ME)).unwrap()
}

/// An outbox with batches 3..=4 and 5..=6.
fn filled(path: &Path) {
    let outbox = open(path);
    outbox.apply(&[Change::Session(session(1)), append(&[1, 3], 0), append(&[5], 2)]).unwrap();
}

#[test]
fn a_file_holds_what_the_model_holds() {
    let place = Place::new();
    let attempt = SavedSession { incarnation: 0, attempt: Some(Nonce(5)), ..session(1) };
    let steps: [&[Change]; 8] = [
        &[Change::Session(attempt)],
        &[Change::Session(session(1)), append(&[1, 3], 0)],
        &[append(&[5], 2), append(&[7, 9], 4)],
        &[append(&[11], 8)],
        &[Change::SetAside { acknowledged: 10 }],
        &[Change::Session(session(1)), append(&[1], 0)],
        &[Change::Finish],
        &[append(&[3], 2)],
    ];
    let mut model = Saved::default();
    let mut aside = 0;
    for (step, changes) in steps.into_iter().enumerate() {
        let outbox = open(&place.file());
        assert_eq!(*outbox.saved(), model, "before step {step}");
        assert_eq!(outbox.summary().set_aside, aside);
        outbox.apply(changes).unwrap();
        for change in changes {
            aside += model.apply(change).iter().map(|batch| u64::from(batch.header.count)).sum::<u64>();
        }
    }
    assert_eq!(aside, 2);
    assert_eq!(*open(&place.file()).saved(), model);
}

#[test]
fn an_outbox_keeps_its_identity_and_counts_what_it_took() {
    let place = Place::new();
    filled(&place.file());
    let outbox = Outbox::open(place.file(), None).unwrap();
    assert_eq!(outbox.publisher(), ME);
    assert_eq!(outbox.summary(), Summary { waiting: 4, set_aside: 0, taken: 6 });
    outbox.apply(&[Change::Finish]).unwrap();
    drop(outbox);
    let outbox = open(&place.file());
    assert_eq!(outbox.summary(), Summary::default());
    assert_eq!(outbox.saved().session, Some(session(7)), "numbers go on");
    drop(outbox);
    let error = Outbox::open(place.file(), Some(PublisherId(8))).unwrap_err();
    assert!(matches!(error, OutboxError::OtherPublisher { found: ME, .. }), "{error}");
}

#[test]
fn what_is_set_aside_waits_for_a_decision() {
    let place = Place::new();
    filled(&place.file());
    let mut outbox = open(&place.file());
    outbox.apply(&[Change::SetAside { acknowledged: 4 }]).unwrap();
    let records = outbox.send_set_aside_again().unwrap();
    let topic = Topic::new("a.b").unwrap();
    assert_eq!(records.len(), 2);
    assert_eq!(records[0], (topic, Bytes::from_static(b"record 5")));
    outbox.apply(&[Change::Session(session(1)), append(&[1], 0)]).unwrap();
    drop(outbox);
    // The process that sent it again died: nothing is forgotten, and nothing of it counts as input.
    let outbox = open(&place.file());
    assert_eq!(outbox.summary(), Summary { waiting: 2, set_aside: 2, taken: 0 });
    outbox.apply(&[Change::Finish]).unwrap();
    drop(outbox);
    assert_eq!(open(&place.file()).summary(), Summary::default());

    filled(&place.file());
    let mut outbox = open(&place.file());
    outbox.apply(&[Change::SetAside { acknowledged: 0 }]).unwrap();
    outbox.drop_set_aside().unwrap();
    drop(outbox);
    assert_eq!(open(&place.file()).summary().set_aside, 0);
}

#[test]
fn one_process_at_a_time_has_it() {
    let place = Place::new();
    let first = open(&place.file());
    let error = Outbox::open(place.file(), None).unwrap_err();
    assert!(matches!(error, OutboxError::InUse { .. }), "{error}");
    drop(first);
    open(&place.file());
}

/// Whatever byte is wrong: an error that says so, or a file that is as it was; never a panic, never
/// records that were not stored.
#[test]
fn a_damaged_file_is_refused() {
    let place = Place::new();
    filled(&place.file());
    let saved = open(&place.file()).saved().clone();
    let good = fs::read(place.file()).unwrap();
    let mut refused = 0;
    for at in (0..good.len()).step_by(good.len() / 100) {
        let mut bad = good.clone();
        bad[at] ^= 0x55;
        fs::write(place.file(), &bad).unwrap();
        match Outbox::open(place.file(), None) {
            Err(OutboxError::Damaged { .. }) => refused += 1,
            Err(other) => panic!("byte {at}: {other}"),
            Ok(outbox) => assert_eq!(*outbox.saved(), saved, "byte {at}"),
        }
    }
    assert!(refused > 0, "no change of a byte is noticed");
    for bad in [&good[..good.len() / 2], &good[..100], b"a text that is no outbox at all\n"] {
        fs::write(place.file(), bad).unwrap();
        let error = Outbox::open(place.file(), None).unwrap_err();
        assert!(matches!(error, OutboxError::Damaged { .. }), "{} bytes: {error}", bad.len());
        let text = error.to_string();
        assert!(text.contains("damaged") && text.contains("move it away"), "{text}");
    }
}

/// What a process leaves behind that dies while it makes an outbox is in nobody's way.
#[test]
fn an_outbox_has_its_name_once_it_is_complete() {
    let place = Place::new();
    fs::write(place.0.join("outbox.new-00000000"), [0; 4_096]).unwrap();
    drop(open(&place.file()));
    let names: Vec<_> = fs::read_dir(&place.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    let others: Vec<_> = (0..4)
        .map(|_| {
            let path = place.0.join("other");
            std::thread::spawn(move || Outbox::open(path, None))
        })
        .collect();
    let opened: Vec<_> = others.into_iter().map(|other| other.join().unwrap()).collect();
    assert_eq!(opened.iter().filter(|outbox| outbox.is_ok()).count(), 1, "one has it");
    for error in opened.iter().filter_map(|outbox| outbox.as_ref().err()) {
        assert!(matches!(error, OutboxError::InUse { .. }), "{error}");
    }
    assert_eq!(fs::read_dir(&place.0).unwrap().count(), 3, "nothing half made is left");
}

#[test]
fn a_place_that_cannot_be_written_is_named() {
    let place = Place::new();
    for path in [place.0.join("none/outbox"), place.0.clone(), PathBuf::from("/proc/outbox")] {
        let error = Outbox::open(&path, None).unwrap_err();
        assert!(matches!(error, OutboxError::Open { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(path.to_str().unwrap()) && text.contains("directory"), "{text}");
    }
}

/// A disk that can be full. What was written stays when its process ends.
#[derive(Clone, Debug, Default)]
struct Disk {
    bytes: Arc<Mutex<Vec<u8>>>,
    full: Arc<AtomicBool>,
}

impl Disk {
    fn with<T>(&self, act: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        act(&mut self.bytes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn change(&self, act: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        if self.full.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.with(act);
        Ok(())
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.with(|bytes| bytes.len() as u64))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let from = offset as usize;
        self.with(|bytes| out.copy_from_slice(&bytes[from..from + out.len()]));
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(|bytes| bytes.resize(len as usize, 0))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.change(|_| {})
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let from = offset as usize;
        self.change(|bytes| bytes[from..from + data.len()].copy_from_slice(data))
    }
}

/// The thread says what became durable, and once that nothing more does; what was durable is there when
/// the disk has room again.
#[test]
fn a_full_disk_stops_the_outbox_and_loses_nothing() {
    let disk = Disk::default();
    let path = Path::new("/simulated/outbox");
    let outbox = Outbox::on(disk.clone(), path, Some(ME)).unwrap();
    let (mut port, mut keeper) = keep(outbox).unwrap();
    let mut ask = |ticket, change| {
        port.requests.send(Request { ticket, operation: Operation::Outbox(change) }).unwrap();
        futures::executor::block_on(port.events.next())
    };
    assert_eq!(ask(1, Change::Session(session(1))), Some(Event::Done(1)));
    assert_eq!(ask(2, append(&[1], 0)), Some(Event::Done(2)));
    assert!(keeper.error().is_none());
    disk.full.store(true, Ordering::Relaxed);
    assert_eq!(ask(3, append(&[3], 0)), Some(Event::Failed));
    let text = keeper.error().unwrap().to_string();
    for part in ["/simulated/outbox", "make room on its disk", "nothing that was acknowledged is lost"] {
        assert!(text.contains(part), "{text}");
    }
    drop(port);
    futures::executor::block_on(keeper.closed());
    disk.full.store(false, Ordering::Relaxed);
    let outbox = Outbox::on(disk, path, None).unwrap();
    assert_eq!(outbox.saved().batches, [batch(1)]);
}
