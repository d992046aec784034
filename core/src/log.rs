//! A group's log: entries with dense offsets that count records, and the epochs they belong to.

use crate::filter::Topic;
use crate::id::{Epoch, Nonce, Offset, PublisherId, Sequence};
use crate::message::LogSummary;
use alloc::collections::VecDeque;
use bytes::Bytes;
use core::fmt;
use core::str::FromStr;
use serde::{Deserialize, Serialize};
use steadfast_proto::limits::MAX_EPOCH_TABLE;

/// How a batch's body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Codec {
    /// Not at all.
    None,
    /// One block of LZ4: quick.
    Lz4,
    /// One frame of Zstandard: small.
    Zstd,
    /// In a way that this version does not know (brokers do not look inside).
    Unknown(i32),
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Lz4 => f.write_str("lz4"),
            Self::Zstd => f.write_str("zstd"),
            Self::Unknown(codec) => write!(f, "codec {codec}"),
        }
    }
}

/// The text is no codec that this version can write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidCodec;

impl fmt::Display for InvalidCodec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("write none, lz4 or zstd")
    }
}

impl core::error::Error for InvalidCodec {}

impl FromStr for Codec {
    type Err = InvalidCodec;

    fn from_str(text: &str) -> Result<Self, InvalidCodec> {
        match text {
            "none" => Ok(Self::None),
            "lz4" => Ok(Self::Lz4),
            "zstd" => Ok(Self::Zstd),
            _ => Err(InvalidCodec),
        }
    }
}

/// What is known of a batch without looking at its body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// Its header.
    pub header: BatchHeader,
    /// The encoded records: see [`crate::wire::records`]. Where a broker's state is written down, only
    /// their length is.
    #[serde(with = "crate::recording::length")]
    pub body: Bytes,
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Once this is committed, everything below `to` is kept no longer (R36).
    Trim {
        /// The log's new start: the boundary of an entry, not above this one.
        to: Offset,
    },
}

/// One entry of a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
            EntryKind::EpochStart
            | EntryKind::SessionOpen { .. }
            | EntryKind::SessionExpire { .. }
            | EntryKind::Trim { .. } => 1,
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

    /// Copies its body, which would otherwise pin the whole receive buffer that it came in (R36).
    pub fn unpin(&mut self) {
        if let EntryKind::Batch(batch) = &mut self.kind {
            batch.body = Bytes::copy_from_slice(&batch.body);
        }
    }

    /// Bytes of its body.
    pub fn body_len(&self) -> usize {
        match &self.kind {
            EntryKind::Batch(batch) => batch.body.len(),
            EntryKind::EpochStart
            | EntryKind::SessionOpen { .. }
            | EntryKind::SessionExpire { .. }
            | EntryKind::Trim { .. } => 0,
        }
    }
}

/// Where an epoch ends in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochEnd {
    /// The epoch.
    pub epoch: Epoch,
    /// The offset after its last record.
    pub end: Offset,
}

/// Memory that an entry takes besides its body, in bytes; a round figure.
pub const ENTRY_OVERHEAD: u64 = 256;

/// The log of one lineage, in memory.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Log {
    entries: VecDeque<Entry>,
    start: Offset,
    /// Epoch of the record before `start`; 0 at the beginning of a lineage.
    before: Epoch,
    /// The newest epochs that are held or end at the start, at most [`MAX_EPOCH_TABLE`].
    epochs: VecDeque<EpochEnd>,
    bytes: u64,
}

impl Log {
    /// An empty log that begins at `start`, behind a record of epoch `before`.
    pub fn starting_at(start: Offset, before: Epoch) -> Self {
        let epochs = (start > 0).then_some(EpochEnd { epoch: before, end: start });
        Self { start, before, epochs: epochs.into_iter().collect(), ..Self::default() }
    }

    /// Takes all entries out, or puts some in that were taken out: everything else that the log knows
    /// stays as it is.
    pub(crate) fn swap_entries(&mut self, entries: &mut VecDeque<Entry>) {
        core::mem::swap(&mut self.entries, entries);
    }

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

    /// Epoch of the last record, be it held or not; 0 when there never was one.
    pub fn last_epoch(&self) -> Epoch {
        self.entries.back().map_or(self.before, |last| last.epoch)
    }

    /// Epoch of the record before `offset`: 0 at the beginning of a lineage, `None` below the log's
    /// start and beyond its end.
    pub fn epoch_before(&self, offset: Offset) -> Option<Epoch> {
        if offset == self.start {
            return Some(self.before);
        }
        self.get(offset.checked_sub(1)?).map(|entry| entry.epoch)
    }

    /// Extent and epochs.
    pub fn summary(&self) -> LogSummary {
        LogSummary { start: self.start, end: self.end(), epochs: self.epochs.iter().copied().collect() }
    }

    /// End of the history that this log shares with another one: the largest common (epoch, end) (R16).
    /// It may lie below the start; 0 when no common epoch is known.
    pub fn common_end(&self, other: &LogSummary) -> Offset {
        if sabotage!(LengthsDecide) {
            return self.end().min(other.epochs.last().map_or(0, |last| last.end));
        }
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
        assert!(self.last_epoch() <= entry.epoch, "epochs never go back");
        self.reach(entry.epoch, entry.end());
        self.bytes += entry.weight();
        self.entries.push_back(entry);
    }

    /// Notes in the epoch table that `epoch`, the latest, ends at `end`.
    fn reach(&mut self, epoch: Epoch, end: Offset) {
        match self.epochs.back_mut() {
            Some(last) if last.epoch == epoch => last.end = end,
            _ => self.epochs.push_back(EpochEnd { epoch, end }),
        }
        if self.epochs.len() > MAX_EPOCH_TABLE {
            self.epochs.pop_front();
        }
    }

    /// Drops every entry from `offset` on. An entry that holds `offset` inside goes as a whole.
    pub fn truncate(&mut self, offset: Offset) {
        while let Some(entry) = self.entries.pop_back_if(|entry| entry.end() > offset) {
            self.bytes -= entry.weight();
        }
        let (end, last) = (self.end(), self.last_epoch());
        while self.epochs.pop_back_if(|reached| reached.end > end).is_some() {}
        if end > 0 {
            self.reach(last, end);
        }
    }

    /// R36: drops every entry that ends at or below `to`; the log then starts with the next one.
    pub fn trim(&mut self, to: Offset) {
        while let Some(entry) = self.entries.pop_front_if(|entry| entry.end() <= to) {
            self.bytes -= entry.weight();
            (self.start, self.before) = (entry.end(), entry.epoch);
        }
        // The epoch that the start lies in, or ends at it, still answers for it.
        while self.epochs.pop_front_if(|reached| reached.end < self.start).is_some() {}
    }

    /// Index of the entry that holds `offset`, or of the first one after it.
    pub fn index_of(&self, offset: Offset) -> usize {
        let is_before = |index: usize| self.entries[index].end() <= offset;
        // Mostly it is one of the last, and the others need not be touched: in steps that double, backwards.
        let mut high = self.entries.len();
        let mut step = 1;
        while step <= high && !is_before(high - step) {
            high -= step;
            step *= 2;
        }
        let mut low = high.saturating_sub(step);
        while low < high {
            let middle = low.midpoint(high);
            if is_before(middle) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// The highest boundary between entries that is not above `offset`.
    pub fn boundary(&self, offset: Offset) -> Offset {
        self.entries.get(self.index_of(offset)).map_or_else(|| self.end(), |entry| entry.offset)
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
    use alloc::vec::Vec;

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
    fn entries_are_found_in_logs_of_every_length() {
        for len in 0..20_u64 {
            let mut log = log(&alloc::vec![1; len as usize]);
            log.trim(3);
            let expected = |offset: Offset| offset.clamp(log.start(), log.end()) - log.start();
            assert!((0..len + 3).all(|offset| log.index_of(offset) as u64 == expected(offset)));
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

    #[test]
    fn a_trimmed_log_still_knows_the_epoch_before_its_start() {
        let mut trimmed = log(&[1, 1, 3, 3, 4]);
        trimmed.trim(2);
        let found: Vec<_> = (0..7).map(|offset| trimmed.epoch_before(offset)).collect();
        assert_eq!(found, [None, None, Some(1), Some(3), Some(3), Some(4), None]);
        assert_eq!((trimmed.start(), trimmed.end(), trimmed.bytes()), (2, 5, 3 * 256));
        trimmed.trim(3);
        assert_eq!(trimmed.summary().epochs, [EpochEnd { epoch: 3, end: 4 }, EpochEnd { epoch: 4, end: 5 }]);
        trimmed.trim(9);
        assert_eq!((trimmed.start(), trimmed.end(), trimmed.last_epoch()), (5, 5, 4));
        assert_eq!(trimmed.summary().epochs, [EpochEnd { epoch: 4, end: 5 }]);
        trimmed.trim(1);
        assert_eq!(trimmed.start(), 5, "a start never goes back");
    }

    #[test]
    fn a_trimmed_log_is_cut_and_continued_like_a_whole_one() {
        let mut trimmed = log(&[1, 1, 3, 4]);
        trimmed.trim(2);
        trimmed.truncate(2);
        assert_eq!(trimmed.summary(), Log::starting_at(2, 1).summary());
        trimmed.append(Entry { offset: 2, epoch: 5, kind: EntryKind::EpochStart });
        let mut whole = log(&[1, 1, 5]);
        whole.trim(2);
        assert_eq!(trimmed.summary(), whole.summary());
        assert_eq!(trimmed.common_end(&log(&[1, 1, 3]).summary()), 2);
        assert_eq!(trimmed.common_end(&log(&[1]).summary()), 1, "below the start: a snapshot is due");
    }

    #[test]
    fn the_epoch_table_is_bounded_and_the_entries_answer_for_the_rest() {
        let epochs: Vec<Epoch> = (1..=MAX_EPOCH_TABLE as Epoch + 10).collect();
        let mut long = log(&epochs);
        assert_eq!(long.summary().epochs.len(), MAX_EPOCH_TABLE);
        assert_eq!(long.epoch_before(3), Some(3));
        long.truncate(4);
        assert_eq!(long.summary().epochs, [EpochEnd { epoch: 4, end: 4 }]);
    }
}
