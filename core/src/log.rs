//! A group's log: entries with dense offsets that count records, and the epochs they belong to.

use crate::filter::Topic;
use crate::id::{Epoch, Nonce, Offset, PublisherId, Sequence};
use crate::message::LogSummary;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use bytes::Bytes;
use steadfast_proto::limits::MAX_EPOCH_TABLE;

/// How a batch's body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// Not at all.
    None,
    /// In a way that this version does not know (brokers do not look inside).
    Unknown(i32),
}

/// What is known of a batch without looking at its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// Its topic.
    pub topic: Topic,
    /// Its publisher.
    pub publisher: PublisherId,
    /// The publisher's session incarnation.
    pub incarnation: u64,
    /// Number of its first record, from 1.
    pub first_sequence: Sequence,
    /// Number of its records, at least 1.
    pub count: u32,
    /// Length of the body before compression, in bytes.
    pub raw_length: u32,
    /// Compression of the body.
    pub codec: Codec,
    /// CRC-32C of the body as sent.
    pub checksum: u32,
}

impl BatchHeader {
    /// Number of its last record.
    pub const fn last_sequence(&self) -> Sequence {
        self.first_sequence + self.count as u64 - 1
    }
}

/// Contiguous records of one publisher on one topic: encoded once, never changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Its header.
    pub header: BatchHeader,
    /// The encoded records: see [`crate::wire::records`].
    pub body: Bytes,
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// Records.
    Batch(Batch),
    /// A new primary begins its epoch (R4).
    EpochStart,
    /// A publisher's session begins.
    SessionOpen {
        /// Whose.
        publisher: PublisherId,
        /// Its number: this entry's offset, so that no session of a lineage has another's.
        incarnation: u64,
        /// From the request.
        nonce: Nonce,
    },
    /// A publisher's session ends: it was not heard of for long (R29).
    SessionExpire {
        /// Whose.
        publisher: PublisherId,
        /// Which one.
        incarnation: u64,
    },
}

/// One entry of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Offset of its first record.
    pub offset: Offset,
    /// Epoch of the primary that appended it.
    pub epoch: Epoch,
    /// What it is.
    pub kind: EntryKind,
}

impl Entry {
    /// Number of offsets that it takes: its records, or 1.
    pub const fn count(&self) -> u64 {
        match &self.kind {
            EntryKind::Batch(batch) => batch.header.count as u64,
            EntryKind::EpochStart | EntryKind::SessionOpen { .. } | EntryKind::SessionExpire { .. } => 1,
        }
    }

    /// The offset after it.
    pub const fn end(&self) -> Offset {
        self.offset + self.count()
    }

    /// Memory that it takes, in bytes: its body and a fixed share.
    pub fn weight(&self) -> u64 {
        self.body_len() as u64 + ENTRY_OVERHEAD
    }

    /// Bytes of its body.
    pub fn body_len(&self) -> usize {
        match &self.kind {
            EntryKind::Batch(batch) => batch.body.len(),
            EntryKind::EpochStart | EntryKind::SessionOpen { .. } | EntryKind::SessionExpire { .. } => 0,
        }
    }
}

/// Where an epoch ends in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEnd {
    /// The epoch.
    pub epoch: Epoch,
    /// The offset after its last record.
    pub end: Offset,
}

/// Memory that an entry takes besides its body, in bytes; a round figure.
const ENTRY_OVERHEAD: u64 = 256;

/// The log of one lineage, in memory.
#[derive(Clone, Debug, Default)]
pub struct Log {
    entries: VecDeque<Entry>,
    start: Offset,
    epochs: Vec<EpochEnd>,
    bytes: u64,
}

impl Log {
    /// First offset held.
    pub const fn start(&self) -> Offset {
        self.start
    }

    /// Next offset.
    pub fn end(&self) -> Offset {
        self.entries.back().map_or(self.start, Entry::end)
    }

    /// Memory that it takes, in bytes: bodies and a fixed share per entry.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Epoch of the last record; 0 when there is none.
    pub fn last_epoch(&self) -> Epoch {
        self.epochs.last().map_or(0, |last| last.epoch)
    }

    /// Epoch of the record before `offset`: 0 at the start of the log, `None` beyond its end.
    pub fn epoch_before(&self, offset: Offset) -> Option<Epoch> {
        if offset == 0 {
            return Some(0);
        }
        let index = self.epochs.partition_point(|epoch| epoch.end < offset);
        self.epochs.get(index).map(|epoch| epoch.epoch)
    }

    /// Extent and epochs, the newest [`MAX_EPOCH_TABLE`] of them.
    pub fn summary(&self) -> LogSummary {
        let skip = self.epochs.len().saturating_sub(MAX_EPOCH_TABLE);
        LogSummary { start: self.start, end: self.end(), epochs: self.epochs[skip..].to_vec() }
    }

    /// End of the history that this log shares with another one: the largest common (epoch, end) (R16).
    pub fn common_end(&self, other: &LogSummary) -> Offset {
        let shared = self.epochs.iter().rev().find_map(|mine| {
            let theirs = other.epochs.iter().find(|theirs| theirs.epoch == mine.epoch)?;
            Some(mine.end.min(theirs.end))
        });
        shared.unwrap_or(0)
    }

    /// Appends an entry.
    ///
    /// # Panics
    /// When it does not continue the log, or its epoch goes back.
    pub fn append(&mut self, entry: Entry) {
        assert_eq!(entry.offset, self.end(), "a log has no holes");
        let end = entry.end();
        match self.epochs.last_mut() {
            Some(last) if last.epoch == entry.epoch => last.end = end,
            last => {
                assert!(last.is_none_or(|last| last.epoch < entry.epoch), "epochs never go back");
                self.epochs.push(EpochEnd { epoch: entry.epoch, end });
            }
        }
        self.bytes += entry.weight();
        self.entries.push_back(entry);
    }

    /// Drops every entry from `offset` on. An entry that holds `offset` inside goes as a whole.
    pub fn truncate(&mut self, offset: Offset) {
        while let Some(entry) = self.entries.pop_back_if(|entry| entry.end() > offset) {
            self.bytes -= entry.weight();
        }
        let end = self.end();
        while self.epochs.last().is_some_and(|last| last.end > end) {
            let cut = self.epochs.pop().map(|last| last.epoch);
            let before = self.epochs.last().map_or(self.start, |last| last.end);
            if let Some(epoch) = cut.filter(|_| end > before) {
                self.epochs.push(EpochEnd { epoch, end });
            }
        }
    }

    /// Index of the entry that holds `offset`, or of the first one after it.
    pub fn index_of(&self, offset: Offset) -> usize {
        self.entries.partition_point(|entry| entry.end() <= offset)
    }

    /// The entry that holds `offset`.
    pub fn get(&self, offset: Offset) -> Option<&Entry> {
        self.entries.get(self.index_of(offset)).filter(|entry| entry.offset <= offset)
    }

    /// The entries from the one that holds `offset` on.
    pub fn iter_from(&self, offset: Offset) -> impl Iterator<Item = &Entry> {
        self.entries.range(self.index_of(offset)..)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(epochs: &[Epoch]) -> Log {
        let mut log = Log::default();
        for &epoch in epochs {
            let offset = log.end();
            log.append(Entry { offset, epoch, kind: EntryKind::EpochStart });
        }
        log
    }

    #[test]
    fn the_shared_history_ends_with_the_last_common_epoch() {
        let cases: [(&[Epoch], &[Epoch], Offset); 6] = [
            (&[], &[1], 0),
            (&[1, 1], &[1], 1),
            (&[1, 1], &[1, 1, 1], 2),
            (&[1, 1, 3], &[1, 1, 1, 2], 2),
            (&[1, 3, 3], &[1, 2, 2], 1),
            (&[2, 2], &[1, 1], 0),
        ];
        for (mine, theirs, expected) in cases {
            assert_eq!(log(mine).common_end(&log(theirs).summary()), expected, "{mine:?} {theirs:?}");
        }
    }

    #[test]
    fn truncation_cuts_the_epoch_table() {
        let mut cut = log(&[1, 1, 2, 4, 4]);
        cut.truncate(4);
        assert_eq!(cut.summary(), log(&[1, 1, 2, 4]).summary());
        cut.truncate(1);
        assert_eq!(cut.summary(), log(&[1]).summary());
        cut.truncate(0);
        assert_eq!(cut.summary(), LogSummary::default());
        assert_eq!(cut.bytes(), 0);
    }

    #[test]
    fn epochs_are_found_by_offset() {
        let log = log(&[1, 1, 3]);
        let found: Vec<_> = (0..5).map(|offset| log.epoch_before(offset)).collect();
        assert_eq!(found, [Some(0), Some(1), Some(1), Some(3), None]);
    }
}
