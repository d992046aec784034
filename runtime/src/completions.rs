//! What became of published records: shared by a publisher's handle, its driver and its receipts.
//!
//! Tickets are consecutive numbers and mostly complete in order, so a record costs a few bytes here
//! and no channel of its own: a low watermark, the ranges completed above it, the ranges that
//! failed, and a waker for each receipt that is being waited for.

use crate::metrics::acknowledgements::Acknowledgements;
use crate::metrics::latency::Percentiles;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use steadfast_core::limits::MAX_RECORD_LEN;
use steadfast_core::message::History;
use steadfast_core::publisher;

/// Most failed ranges that are told apart. Beyond it the two oldest become one, together with what
/// lies between them: a receipt may then say "unknown" of a record that was acknowledged, never the
/// other way round.
const MAX_FAILED_RANGES: usize = 1_024;

/// Why a record was not acknowledged, or why none can be published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// As the publisher says.
    #[error(transparent)]
    Publisher(publisher::Error),
    /// The application is at fault.
    #[error("unknown: the publisher was dropped before the acknowledgement came; close it instead")]
    Abandoned,
    /// The application is at fault.
    #[error("not sent: the payload has {len} bytes, a record holds at most {MAX_RECORD_LEN}; split it")]
    TooLarge {
        /// Length of the payload, in bytes.
        len: usize,
    },
    /// The application is at fault.
    #[error("not sent: the topic {0}")]
    Topic(steadfast_core::id::InvalidText),
    /// The cluster is at fault.
    #[error("{}", change_of_history(*from, *to))]
    LineageChanged {
        /// The history that was given up.
        from: History,
        /// The history that holds now.
        to: History,
    },
}

fn change_of_history(from: History, to: History) -> String {
    if from.group_id != to.group_id {
        return format!(
            "the cluster that was here is gone, and another one is in its place ({:?}, not {:?}): check the \
             address of discovery, or publish what this one is to hold",
            to.group_id, from.group_id
        );
    }
    format!(
        "the cluster gave up its data (lineage {} became {}): records that it acknowledged may be lost",
        from.lineage, to.lineage
    )
}

/// How much may wait for its acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Records.
    pub records: usize,
    /// Bytes of payload. One record may always be published when nothing waits.
    pub bytes: usize,
}

/// How far a publisher has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Records taken from the application.
    pub published: u64,
    /// Records acknowledged.
    pub acknowledged: u64,
    /// Records that failed.
    pub failed: u64,
    /// Records that an earlier process left in the outbox, and that are not completed yet.
    pub recovering: u64,
    /// Those of them that were acknowledged.
    pub recovered: u64,
    /// Those of them that failed.
    pub unrecovered: u64,
}

#[derive(Debug)]
struct State {
    bound: Bound,
    progress: Progress,
    /// Every ticket below is completed.
    watermark: u64,
    /// Completed ranges above the watermark, by their start. They do not touch.
    ahead: BTreeMap<u64, u64>,
    /// Failed ranges, by their start.
    failed: BTreeMap<u64, (u64, PublishError)>,
    /// Payload lengths from the watermark on.
    lengths: VecDeque<u32>,
    records: usize,
    bytes: usize,
    receipts: BTreeMap<u64, Waker>,
    /// Those that wait for room, for a flush or for the end.
    waiters: Vec<Waker>,
    /// The first failure that no flush has reported.
    unreported: Option<PublishError>,
    end: Option<PublishError>,
    /// Where somebody wants to know how long acknowledgements take.
    timed: Option<Acknowledgements>,
}

/// The shared state.
#[derive(Debug)]
pub struct Completions(Mutex<State>);

impl Completions {
    /// Nothing published yet.
    pub const fn new(bound: Bound) -> Self {
        Self(Mutex::new(State {
            bound,
            progress: Progress {
                published: 0,
                acknowledged: 0,
                failed: 0,
                recovering: 0,
                recovered: 0,
                unrecovered: 0,
            },
            watermark: 0,
            ahead: BTreeMap::new(),
            failed: BTreeMap::new(),
            lengths: VecDeque::new(),
            records: 0,
            bytes: 0,
            receipts: BTreeMap::new(),
            waiters: Vec::new(),
            unreported: None,
            end: None,
            timed: None,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a ticket for a record of this length and hands it to `send` under the lock, so that
    /// tickets are sent in order. `Pending` when there is no room; the task is woken when there is.
    ///
    /// # Errors
    /// When the publisher has ended.
    pub fn poll_take(
        &self,
        cx: &mut Context<'_>,
        length: usize,
        send: impl FnOnce(u64),
    ) -> Poll<Result<u64, PublishError>> {
        let mut state = self.lock();
        if let Some(end) = state.end {
            return Poll::Ready(Err(end));
        }
        let full = state.records >= state.bound.records || state.bytes + length > state.bound.bytes;
        if full && state.records > 0 {
            state.wait(cx);
            return Poll::Pending;
        }
        let ticket = state.progress.published;
        state.progress.published += 1;
        state.records += 1;
        state.bytes += length;
        state.lengths.push_back(u32::try_from(length).expect("a record's length is bounded"));
        if let Some(timed) = &mut state.timed {
            timed.begin(ticket);
        }
        send(ticket);
        Poll::Ready(Ok(ticket))
    }

    /// These tickets are completed.
    pub fn complete(&self, tickets: Range<u64>, result: Result<(), PublishError>) {
        let woken = {
            let mut state = self.lock();
            state.complete(tickets.clone(), result);
            state.wakers(tickets)
        };
        woken.into_iter().for_each(Waker::wake);
    }

    /// So many records of an earlier process are still to be completed.
    pub fn expect_recovery(&self, records: u64) {
        self.lock().progress.recovering = records;
    }

    /// Records of an earlier process, which have no tickets, are completed. The next flush reports it when
    /// they failed.
    pub fn recover(&self, records: u64, result: Result<(), PublishError>) {
        let mut state = self.lock();
        state.progress.recovering = state.progress.recovering.saturating_sub(records);
        match result {
            Ok(()) => state.progress.recovered += records,
            Err(error) => {
                state.progress.unrecovered += records;
                state.unreported.get_or_insert(error);
            }
        }
        state.waiters.drain(..).for_each(Waker::wake);
    }

    /// Something went wrong that concerns no single record: the next flush reports it.
    pub fn warn(&self, error: PublishError) {
        self.lock().unreported.get_or_insert(error);
    }

    /// Nothing is completed any more: what is open fails with `error`, and so does what follows.
    pub fn end(&self, error: PublishError) {
        let (receipts, waiters) = {
            let mut state = self.lock();
            if state.end.is_some() {
                return;
            }
            state.end = Some(error);
            if state.records > 0 {
                state.unreported.get_or_insert(error);
            }
            (std::mem::take(&mut state.receipts), std::mem::take(&mut state.waiters))
        };
        receipts.into_values().chain(waiters).for_each(Waker::wake);
    }

    /// What became of a ticket.
    pub fn poll_receipt(&self, cx: &mut Context<'_>, ticket: u64) -> Poll<Result<(), PublishError>> {
        let mut state = self.lock();
        if state.is_complete(ticket) {
            let failed = state.failed.range(..=ticket).next_back();
            let error = failed.filter(|(_, (end, _))| ticket < *end).map(|(_, (_, error))| *error);
            return Poll::Ready(error.map_or(Ok(()), Err));
        }
        if let Some(end) = state.end {
            return Poll::Ready(Err(end));
        }
        state.receipts.insert(ticket, cx.waker().clone());
        Poll::Pending
    }

    /// A receipt that was waited for is dropped.
    pub fn forget(&self, ticket: u64) {
        self.lock().receipts.remove(&ticket);
    }

    /// Ready when every ticket below and everything to be recovered is completed, with the first failure that was not reported yet.
    pub fn poll_flushed(&self, cx: &mut Context<'_>, below: u64) -> Poll<Result<(), PublishError>> {
        let mut state = self.lock();
        let open = state.watermark < below || state.progress.recovering > 0;
        if open && state.end.is_none() {
            state.wait(cx);
            return Poll::Pending;
        }
        Poll::Ready(state.unreported.take().map_or(Ok(()), Err))
    }

    /// Ready when nothing is completed any more.
    pub fn poll_ended(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.end.is_none() {
            state.wait(cx);
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// Measures from now on how long acknowledgements take.
    pub fn measure(&self) {
        self.lock().timed.get_or_insert_default();
    }

    /// How long acknowledgements have taken since the last call, of a sample of records.
    pub fn take_latency(&self) -> Option<Percentiles> {
        self.lock().timed.as_mut()?.take()
    }

    /// Counters.
    pub fn progress(&self) -> Progress {
        self.lock().progress
    }
}

impl State {
    fn wait(&mut self, cx: &Context<'_>) {
        if !self.waiters.iter().any(|waker| waker.will_wake(cx.waker())) {
            self.waiters.push(cx.waker().clone());
        }
    }

    fn is_complete(&self, ticket: u64) -> bool {
        ticket < self.watermark
            || self.ahead.range(..=ticket).next_back().is_some_and(|(_, end)| ticket < *end)
    }

    fn complete(&mut self, tickets: Range<u64>, result: Result<(), PublishError>) {
        let count = tickets.end - tickets.start;
        let first = usize::try_from(tickets.start - self.watermark).expect("what is open fits into memory");
        let last = first + usize::try_from(count).expect("what is open fits into memory");
        let bytes: usize = self.lengths.range(first..last).map(|&length| length as usize).sum();
        self.bytes -= bytes;
        self.records -= last - first;
        if let Some(timed) = &mut self.timed {
            timed.end(&tickets, result.is_ok());
        }
        match result {
            Ok(()) => self.progress.acknowledged += count,
            Err(error) => {
                self.progress.failed += count;
                self.unreported.get_or_insert(error);
                self.fail(tickets.clone(), error);
            }
        }
        self.advance(tickets);
    }

    fn advance(&mut self, tickets: Range<u64>) {
        if tickets.start > self.watermark {
            self.ahead.insert(tickets.start, tickets.end);
            return;
        }
        let mut watermark = tickets.end;
        while let Some(entry) = self.ahead.first_entry().filter(|entry| *entry.key() == watermark) {
            watermark = entry.remove();
        }
        let passed = usize::try_from(watermark - self.watermark).expect("what is open fits into memory");
        self.lengths.drain(..passed);
        self.watermark = watermark;
    }

    fn fail(&mut self, tickets: Range<u64>, error: PublishError) {
        if let Some((_, (end, last))) = self.failed.range_mut(..tickets.start).next_back()
            && *end == tickets.start
            && *last == error
        {
            *end = tickets.end;
            return;
        }
        self.failed.insert(tickets.start, (tickets.end, error));
        if self.failed.len() > MAX_FAILED_RANGES
            && let Some((start, (_, error))) = self.failed.pop_first()
            && let Some((_, (end, _))) = self.failed.pop_first()
        {
            self.failed.insert(start, (end, error));
        }
    }

    fn wakers(&mut self, tickets: Range<u64>) -> Vec<Waker> {
        let mut woken = std::mem::take(&mut self.waiters);
        if !self.receipts.is_empty() {
            let mut mine = self.receipts.split_off(&tickets.start);
            self.receipts.append(&mut mine.split_off(&tickets.end));
            woken.extend(mine.into_values());
        }
        woken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::task::noop_waker;

    const UNKNOWN: PublishError = PublishError::Publisher(publisher::Error::Unknown { lineage: 1 });

    fn take(completions: &Completions, length: usize) -> Poll<Result<u64, PublishError>> {
        let waker = noop_waker();
        completions.poll_take(&mut Context::from_waker(&waker), length, |_| {})
    }

    fn receipt(completions: &Completions, ticket: u64) -> Poll<Result<(), PublishError>> {
        let waker = noop_waker();
        completions.poll_receipt(&mut Context::from_waker(&waker), ticket)
    }

    fn flushed(completions: &Completions, below: u64) -> Poll<Result<(), PublishError>> {
        let waker = noop_waker();
        completions.poll_flushed(&mut Context::from_waker(&waker), below)
    }

    fn published(count: u64) -> Completions {
        let completions = Completions::new(Bound { records: 10, bytes: 100 });
        for ticket in 0..count {
            assert_eq!(take(&completions, 10), Poll::Ready(Ok(ticket)));
        }
        completions
    }

    #[test]
    fn records_and_bytes_are_bounded() {
        let completions = published(10);
        assert!(take(&completions, 0).is_pending(), "by records");
        completions.complete(4..6, Ok(()));
        assert!(take(&completions, 21).is_pending(), "by bytes");
        assert!(take(&completions, 20).is_ready());
        let completions = published(0);
        assert!(take(&completions, 1_000).is_ready(), "one record always");
        assert!(take(&completions, 0).is_pending());
    }

    #[test]
    fn receipts_resolve_in_any_order() {
        let completions = published(8);
        completions.complete(4..6, Ok(()));
        completions.complete(2..3, Err(UNKNOWN));
        let resolved = |ticket| receipt(&completions, ticket);
        assert_eq!(resolved(2), Poll::Ready(Err(UNKNOWN)));
        assert_eq!([resolved(4), resolved(5)], [Poll::Ready(Ok(())); 2]);
        assert!([0, 1, 3, 6, 7].iter().all(|&ticket| resolved(ticket).is_pending()));
        completions.complete(0..2, Ok(()));
        assert_eq!(flushed(&completions, 3), Poll::Ready(Err(UNKNOWN)));
        assert!(flushed(&completions, 4).is_pending());
        completions.complete(3..4, Ok(()));
        assert_eq!(flushed(&completions, 6), Poll::Ready(Ok(())), "a failure is reported once");
        assert_eq!([resolved(1), resolved(3)], [Poll::Ready(Ok(())); 2]);
        assert_eq!(resolved(2), Poll::Ready(Err(UNKNOWN)), "but its receipt keeps saying it");
        let expected = Progress { published: 8, acknowledged: 5, failed: 1, ..Progress::default() };
        assert_eq!(completions.progress(), expected);
    }

    #[test]
    fn the_end_resolves_what_is_open() {
        let completions = published(2);
        completions.complete(0..1, Ok(()));
        completions.end(PublishError::Abandoned);
        assert_eq!(receipt(&completions, 0), Poll::Ready(Ok(())));
        assert_eq!(receipt(&completions, 1), Poll::Ready(Err(PublishError::Abandoned)));
        assert_eq!(take(&completions, 1), Poll::Ready(Err(PublishError::Abandoned)));
        assert_eq!(flushed(&completions, 2), Poll::Ready(Err(PublishError::Abandoned)));
    }

    #[test]
    fn too_many_failures_become_unknown_together() {
        let completions = Completions::new(Bound { records: usize::MAX, bytes: usize::MAX });
        for _ in 0..4 * MAX_FAILED_RANGES {
            assert!(take(&completions, 1).is_ready());
        }
        for ticket in 0..4 * MAX_FAILED_RANGES as u64 {
            let result = if ticket % 2 == 0 { Err(UNKNOWN) } else { Ok(()) };
            completions.complete(ticket..ticket + 1, result);
        }
        assert_eq!(completions.lock().failed.len(), MAX_FAILED_RANGES);
        assert_eq!(receipt(&completions, 1), Poll::Ready(Err(UNKNOWN)), "the oldest are merged");
        let last = 4 * MAX_FAILED_RANGES as u64 - 1;
        assert_eq!(receipt(&completions, last), Poll::Ready(Ok(())));
    }
}
