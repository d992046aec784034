//! Counters that all roles of a run share: a file of 64 KiB, in memory, with a little-endian u64 every 64 bytes.
//! Number 2 counts publishers that are done, 100 and the following what each publisher has sent, 200 and the
//! following what each subscriber has received.

use super::super::super::failure::Failure;
use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// Bytes of the file.
const SIZE: u64 = 64 << 10;
/// Bytes from one counter to the next.
const STRIDE: usize = 64;
const DONE: usize = 2;
const SENT: usize = 100;
const RECEIVED: usize = 200;

/// The file. Others may have mapped it: a read or write of eight aligned bytes is whole.
#[derive(Debug)]
pub struct Counters(File);

impl Counters {
    /// Opens the file, and makes it if it is not there.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path);
        let file = file.and_then(|file| file.set_len(SIZE).map(|()| file));
        file.map(Self).map_err(|error| {
            Failure::new(format!("cannot use the counters {}: {error}", path.display()), "check shm=")
        })
    }

    /// A publisher has sent so many.
    ///
    /// # Errors
    /// When the file cannot be written, as for all that follows.
    pub fn sent(&self, publisher: usize, count: u64) -> Result<(), Failure> {
        self.write(SENT + publisher, count).map_err(failure)
    }

    /// A subscriber has received so many.
    pub fn received(&self, subscriber: usize, count: u64) -> Result<(), Failure> {
        self.write(RECEIVED + subscriber, count).map_err(failure)
    }

    /// One more publisher is done.
    pub fn done(&self) -> Result<(), Failure> {
        let count = || {
            // Publishers of this kind take turns; a run has no others.
            flock(&self.0, FlockOperation::LockExclusive)?;
            let [done] = self.read(DONE..DONE + 1)?[..] else { return Ok(()) };
            self.write(DONE, done + 1)?;
            flock(&self.0, FlockOperation::Unlock)?;
            Ok(())
        };
        count().map_err(failure)
    }

    /// How many publishers are done.
    pub fn publishers_done(&self) -> Result<u64, Failure> {
        self.read(DONE..DONE + 1).map(|done| done.iter().sum()).map_err(failure)
    }

    /// What the first so many publishers have sent together.
    pub fn all_sent(&self, publishers: usize) -> Result<u64, Failure> {
        self.read(SENT..SENT + publishers).map(|sent| sent.iter().sum()).map_err(failure)
    }

    /// What the slowest of the first so many subscribers has received; `u64::MAX` of none.
    pub fn least_received(&self, subscribers: usize) -> Result<u64, Failure> {
        let received = self.read(RECEIVED..RECEIVED + subscribers).map_err(failure)?;
        Ok(received.into_iter().min().unwrap_or(u64::MAX))
    }

    fn write(&self, counter: usize, count: u64) -> io::Result<()> {
        self.0.write_all_at(&count.to_le_bytes(), (counter * STRIDE) as u64)
    }

    fn read(&self, counters: Range<usize>) -> io::Result<Vec<u64>> {
        let mut bytes = vec![0; counters.len() * STRIDE];
        self.0.read_exact_at(&mut bytes, (counters.start * STRIDE) as u64)?;
        let first = |slot: &[u8]| slot.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        Ok(bytes.chunks_exact(STRIDE).map(first).collect())
    }
}

fn failure(error: io::Error) -> Failure {
    Failure::new(format!("the counters cannot be used: {error}"), "check shm=")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_see_each_others_counters() {
        let path = std::env::temp_dir().join(format!("steadfast-counters-{}", std::process::id()));
        let (ours, theirs) = (Counters::open(&path).unwrap(), Counters::open(&path).unwrap());
        ours.sent(0, 7).unwrap();
        ours.sent(1, 5).unwrap();
        theirs.received(0, 6).unwrap();
        theirs.received(1, 3).unwrap();
        ours.done().unwrap();
        theirs.done().unwrap();
        assert_eq!((theirs.all_sent(2).unwrap(), ours.least_received(2).unwrap()), (12, 3));
        assert_eq!((ours.publishers_done().unwrap(), ours.least_received(0).unwrap()), (2, u64::MAX));
        std::fs::remove_file(path).unwrap();
    }
}
