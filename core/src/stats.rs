//! What a node has done, in numbers: plain counters that only grow, and samples of how long batches
//! waited. They are kept beside the node's outputs and read by whoever drives it, between two inputs.
//! No node ever looks at them.
//!
//! The data plane is counted per batch or frame, never per record. The control plane is counted from
//! its own trace, so that a log and the counters cannot disagree.

use crate::coordination::{self, SessionState};
use crate::filter::Topic;
use crate::id::Offset;
use crate::limits::{MAX_COUNTED_TOPICS, MAX_SAMPLES, MAX_TIMED_OFFSETS};
use crate::log::{Entry, EntryKind};
use crate::node::Output;
use crate::time::{Duration, Instant};
use crate::trace::{Limit, Rejection, Suspicion, Trace};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::fmt;

/// Batches and what is in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Batches.
    pub batches: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
}

impl Traffic {
    /// Adds one batch.
    const fn add(&mut self, records: u64, bytes: u64) {
        self.batches += 1;
        self.records += records;
        self.bytes += bytes;
    }

    /// Adds the batches among these entries.
    fn add_entries(&mut self, entries: &[Entry]) {
        for entry in entries {
            if let EntryKind::Batch(batch) = &entry.kind {
                self.add(u64::from(batch.header.count), batch.body.len() as u64);
            }
        }
    }
}

/// Traffic of one topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TopicTraffic {
    /// From publishers.
    pub published: Traffic,
    /// To subscribers, each stream for itself.
    pub delivered: Traffic,
}

/// Traffic by topic: the first [`MAX_COUNTED_TOPICS`] topics that a process sees by their names, all
/// later ones together.
#[derive(Clone, Default)]
pub struct Topics {
    index: BTreeMap<Topic, usize>,
    named: Vec<TopicTraffic>,
    other: TopicTraffic,
    /// The topic looked up last: batches of one topic come in rows.
    latest: Option<(Topic, usize)>,
}

impl Topics {
    /// The topics that are counted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&Topic, &TopicTraffic)> {
        self.index.iter().map(|(topic, index)| (topic, &self.named[*index]))
    }

    /// Everything on other topics.
    pub const fn other(&self) -> &TopicTraffic {
        &self.other
    }

    fn of(&mut self, topic: &Topic) -> &mut TopicTraffic {
        if let Some((latest, index)) = &self.latest
            && latest == topic
        {
            return &mut self.named[*index];
        }
        let index = match self.index.get(topic) {
            Some(index) => *index,
            None if self.named.len() >= MAX_COUNTED_TOPICS => return &mut self.other,
            None => {
                self.named.push(TopicTraffic::default());
                self.index.insert(topic.clone(), self.named.len() - 1);
                self.named.len() - 1
            }
        };
        self.latest = Some((topic.clone(), index));
        &mut self.named[index]
    }
}

/// Frames and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frames {
    /// Frames.
    pub count: u64,
    /// Bytes of all their parts.
    pub bytes: u64,
}

/// What was asked of the coordination service and what it said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coordination {
    /// Calls.
    pub calls: u64,
    /// Replies of any kind.
    pub replies: u64,
    /// Replies that were errors, expected ones (a node that exists already) included.
    pub errors: u64,
    /// Watch events.
    pub watches: u64,
    /// Whether it is connected now.
    pub connected: bool,
    /// Times that it was connected, again or at first.
    pub connections: u64,
    /// Times that the connection was lost.
    pub suspensions: u64,
    /// Sessions that ended against the node's will.
    pub expirations: u64,
}

/// A wait that was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sample {
    /// From the append at the primary until every member that counts had the batch.
    Commit(Duration),
    /// From the commit until the first subscriber was sent the batch.
    Delivery(Duration),
}

/// Everything that a node counts.
#[derive(Clone, Default)]
pub struct Stats {
    /// Frames that came in.
    pub received: Frames,
    /// Frames that went out.
    pub sent: Frames,
    /// Batches taken from publishers.
    pub published: Traffic,
    /// Batches that publishers sent again although they were in the log already.
    pub repeated: u64,
    /// Acknowledgements sent to publishers.
    pub publisher_acks: u64,
    /// Batches sent to followers, again or for the first time.
    pub replicated_out: Traffic,
    /// Batches taken from a primary.
    pub replicated_in: Traffic,
    /// Times that a follower was sent its entries again, because its log did not fit.
    pub rewinds: u64,
    /// Batches sent to subscribers, each stream for itself.
    pub delivered: Traffic,
    /// Traffic by topic.
    pub topics: Topics,
    /// Frames that were dropped, by [`Rejection`].
    rejected: BTreeMap<Rejection, u64>,
    /// Refusals at a limit, by [`Limit`].
    busy: BTreeMap<Limit, u64>,
    /// Suspicions, by [`Suspicion`].
    suspicions: BTreeMap<Suspicion, u64>,
    /// Epochs in which the broker has led.
    pub epochs_led: u64,
    /// Times that it stepped down.
    pub step_downs: u64,
    /// Times that a conflicting suffix of the log was cut (R6).
    pub truncations: u64,
    /// Times that a discovery replica has begun to lead.
    pub elections_won: u64,
    /// Look-ups of clients.
    pub lookups: u64,
    /// Routes that clients were told.
    pub routes: u64,
    /// The coordination service.
    pub coordination: Coordination,
    waits: Waits,
}

/// No part of what a node does next: two nodes that differ only in what they have counted are alike.
impl fmt::Debug for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stats")
    }
}

impl Stats {
    /// Frames that were dropped for this reason.
    pub fn rejected(&self, reason: Rejection) -> u64 {
        self.rejected.get(&reason).copied().unwrap_or(0)
    }

    /// Frames that were dropped.
    pub fn all_rejected(&self) -> u64 {
        self.rejected.values().sum()
    }

    /// Refusals at any limit.
    pub fn all_busy(&self) -> u64 {
        self.busy.values().sum()
    }

    /// Refusals at this limit.
    pub fn busy(&self, limit: Limit) -> u64 {
        self.busy.get(&limit).copied().unwrap_or(0)
    }

    /// Suspicions of this kind.
    pub fn suspicions(&self, cause: Suspicion) -> u64 {
        self.suspicions.get(&cause).copied().unwrap_or(0)
    }

    /// The waits that were measured since the last call. When nobody asks, at most [`MAX_SAMPLES`]
    /// are kept; further ones are not measured.
    pub fn take_samples(&mut self) -> impl Iterator<Item = Sample> {
        self.waits.samples.drain(..)
    }

    /// A frame has come in.
    pub const fn frame_received(&mut self, bytes: usize) {
        self.received.count += 1;
        self.received.bytes += bytes as u64;
    }

    /// The coordination service has said something. Its session's states are counted by their trace.
    pub const fn told(&mut self, event: &coordination::Event) {
        match event {
            coordination::Event::Reply { result, .. } => {
                self.coordination.replies += 1;
                self.coordination.errors += result.is_err() as u64;
            }
            coordination::Event::Watch { .. } => self.coordination.watches += 1,
            coordination::Event::Session(_) => {}
        }
    }

    /// A primary has appended entries of publishers.
    pub fn appended(&mut self, now: Instant, entries: &[Entry]) {
        self.published.add_entries(entries);
        for entry in entries {
            if let EntryKind::Batch(batch) = &entry.kind {
                let of_topic = self.topics.of(&batch.header.topic);
                of_topic.published.add(u64::from(batch.header.count), batch.body.len() as u64);
            }
        }
        if let Some(last) = entries.last() {
            Waits::begin(&mut self.waits.appended, now, last.end());
        }
    }

    /// A primary's commit offset has moved; `streams` tells whether anyone waits for it.
    pub fn committed(&mut self, now: Instant, commit: Offset, streams: bool) {
        if let Some(since) = Waits::end(&mut self.waits.appended, commit) {
            self.waits.sample(Sample::Commit(now - since));
        }
        if streams {
            Waits::begin(&mut self.waits.committed, now, commit);
        }
    }

    /// A subscriber was sent these entries.
    pub fn delivered(&mut self, now: Instant, entries: &[Entry]) {
        self.delivered.add_entries(entries);
        for entry in entries {
            if let EntryKind::Batch(batch) = &entry.kind {
                let of_topic = self.topics.of(&batch.header.topic);
                of_topic.delivered.add(u64::from(batch.header.count), batch.body.len() as u64);
            }
        }
        let since = entries.last().and_then(|last| Waits::end(&mut self.waits.committed, last.end()));
        if let Some(since) = since {
            self.waits.sample(Sample::Delivery(now - since));
        }
    }

    /// A follower was sent these entries.
    pub fn replicated_out(&mut self, entries: &[Entry]) {
        self.replicated_out.add_entries(entries);
    }

    /// A backup has taken these entries.
    pub fn replicated_in(&mut self, entries: &[Entry]) {
        self.replicated_in.add_entries(entries);
    }

    /// Counts what the node does by its outputs.
    pub fn output<E>(&mut self, output: &Output<E>) {
        match output {
            Output::Transmit { frame, .. } => {
                self.sent.count += 1;
                self.sent.bytes += frame.len() as u64;
            }
            Output::Coordinate(coordination::Request::Call { .. }) => self.coordination.calls += 1,
            Output::Trace(trace) => self.traced(trace),
            Output::Coordinate(_) | Output::Link(_) | Output::Store(_) | Output::Event(_) => {}
        }
    }

    fn traced(&mut self, trace: &Trace) {
        match trace {
            Trace::Rejected { reason, .. } => *self.rejected.entry(*reason).or_default() += 1,
            Trace::Busy { limit } => *self.busy.entry(*limit).or_default() += 1,
            Trace::Suspected { cause, .. } => *self.suspicions.entry(*cause).or_default() += 1,
            Trace::BecamePrimary { .. } => {
                self.epochs_led += 1;
                self.waits.forget();
            }
            Trace::SteppedDown { .. } => {
                self.step_downs += 1;
                self.waits.forget();
            }
            Trace::Truncated { .. } => self.truncations += 1,
            Trace::DiscoveryLeads { .. } => self.elections_won += 1,
            Trace::Session(state) => self.session(*state),
            _ => {}
        }
    }

    const fn session(&mut self, state: SessionState) {
        self.coordination.connected = matches!(state, SessionState::Connected(_));
        match state {
            SessionState::Connected(_) => self.coordination.connections += 1,
            SessionState::Suspended => self.coordination.suspensions += 1,
            SessionState::Expired => self.coordination.expirations += 1,
        }
    }
}

/// Offsets that wait, with the time since when, in the order of both.
type Waiting = VecDeque<(Offset, Instant)>;

/// What is being measured. Beyond the bounds nothing is: the figures are samples.
#[derive(Clone, Default)]
struct Waits {
    appended: Waiting,
    committed: Waiting,
    samples: Vec<Sample>,
}

impl Waits {
    /// Everything below `offset` waits from now on. When too much waits, the oldest is forgotten: it
    /// may be what nobody wants.
    fn begin(waiting: &mut Waiting, now: Instant, offset: Offset) {
        if waiting.len() >= MAX_TIMED_OFFSETS {
            waiting.pop_front();
        }
        waiting.push_back((offset, now));
    }

    /// Everything below `offset` waits no more. Returns since when the oldest of it did.
    fn end(waiting: &mut Waiting, offset: Offset) -> Option<Instant> {
        let mut since = None;
        while let Some((_, at)) = waiting.pop_front_if(|(waits, _)| *waits <= offset) {
            since.get_or_insert(at);
        }
        since
    }

    fn sample(&mut self, sample: Sample) {
        if self.samples.len() < MAX_SAMPLES {
            self.samples.push(sample);
        }
    }

    fn forget(&mut self) {
        self.appended.clear();
        self.committed.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::PublisherId;
    use crate::log::{Batch, BatchHeader, Codec};
    use alloc::format;
    use bytes::Bytes;

    fn entry(offset: Offset, topic: &str, count: u32) -> Entry {
        let header = BatchHeader {
            topic: Topic::new(topic).unwrap(),
            publisher: PublisherId(1),
            incarnation: 1,
            first_sequence: 1,
            count,
            raw_length: 3,
            codec: Codec::None,
            checksum: 0,
        };
        let kind = EntryKind::Batch(Batch { header, body: Bytes::from_static(b"abc") });
        Entry { offset, epoch: 1, kind }
    }

    fn at(milliseconds: u64) -> Instant {
        Instant::from_nanos(milliseconds * 1_000_000)
    }

    #[test]
    fn batches_are_counted_with_their_records_and_control_entries_are_not() {
        let mut stats = Stats::default();
        let start = Entry { offset: 0, epoch: 1, kind: EntryKind::EpochStart };
        stats.appended(at(0), &[start, entry(1, "a", 5), entry(6, "b", 2)]);
        stats.delivered(at(0), &[entry(1, "a", 5)]);
        assert_eq!(stats.published, Traffic { batches: 2, records: 7, bytes: 6 });
        assert_eq!(stats.delivered, Traffic { batches: 1, records: 5, bytes: 3 });
        let topics: Vec<_> = stats.topics.iter().map(|(topic, traffic)| (topic.as_str(), *traffic)).collect();
        let one = |records| Traffic { batches: 1, records, bytes: 3 };
        let none = Traffic::default();
        let (a, b) = (
            TopicTraffic { published: one(5), delivered: one(5) },
            TopicTraffic { published: one(2), delivered: none },
        );
        assert_eq!(topics, [("a", a), ("b", b)]);
    }

    #[test]
    fn topics_beyond_the_bound_are_counted_together() {
        let mut stats = Stats::default();
        let count = MAX_COUNTED_TOPICS + 10;
        for _ in 0..2 {
            for n in 0..count {
                stats.appended(at(0), &[entry(0, &format!("t{n}"), 1)]);
            }
        }
        assert_eq!(stats.topics.iter().count(), MAX_COUNTED_TOPICS);
        assert!(stats.topics.iter().all(|(_, traffic)| traffic.published.batches == 2));
        assert_eq!(stats.topics.other().published.records, 20);
        assert_eq!(stats.published.batches, 2 * count as u64);
    }

    #[test]
    fn waits_are_measured_from_append_to_commit_to_delivery() {
        let mut stats = Stats::default();
        stats.appended(at(10), &[entry(0, "a", 5)]);
        stats.appended(at(12), &[entry(5, "a", 5)]);
        stats.committed(at(20), 4, true);
        stats.committed(at(21), 5, true);
        stats.committed(at(22), 10, true);
        stats.delivered(at(30), &[entry(0, "a", 5)]);
        stats.delivered(at(31), &[entry(0, "a", 5)]);
        let samples: Vec<_> = stats.take_samples().collect();
        let expected = [Sample::Commit(at(21) - at(10)), Sample::Commit(at(22) - at(12))];
        assert_eq!(samples[..2], expected);
        assert_eq!(samples[2..], [Sample::Delivery(at(30) - at(20))], "a second stream is not the first");
        assert_eq!(stats.take_samples().count(), 0);
    }

    #[test]
    fn a_new_reign_measures_nothing_of_the_one_before() {
        let mut stats = Stats::default();
        stats.appended(at(10), &[entry(0, "a", 5)]);
        stats.output(&Output::<()>::Trace(Trace::SteppedDown { epoch: 1 }));
        stats.committed(at(99), 5, false);
        assert_eq!(stats.take_samples().count(), 0);
        assert_eq!(stats.step_downs, 1);
    }

    #[test]
    fn what_nobody_reads_is_bounded() {
        let mut stats = Stats::default();
        for n in 0..2 * MAX_SAMPLES as u64 {
            stats.appended(at(n), &[entry(n, "a", 1)]);
            stats.committed(at(n), n + 1, true);
        }
        assert_eq!(stats.waits.committed.len(), MAX_TIMED_OFFSETS);
        assert_eq!(stats.take_samples().count(), MAX_SAMPLES);
    }

    #[test]
    fn the_trace_is_counted_by_kind() {
        let mut stats = Stats::default();
        let link = crate::link::LinkId::dialled(1);
        for reason in [Rejection::Checksum, Rejection::Version, Rejection::Checksum] {
            stats.output(&Output::<()>::Trace(Trace::Rejected { link, reason }));
        }
        for limit in [Limit::Streams, Limit::LogBytes] {
            stats.output(&Output::<()>::Trace(Trace::Busy { limit }));
        }
        for state in [SessionState::Connected(1), SessionState::Suspended, SessionState::Expired] {
            stats.output(&Output::<()>::Trace(Trace::Session(state)));
        }
        let rejected = [Rejection::Checksum, Rejection::Version, Rejection::Malformed];
        assert_eq!(rejected.map(|reason| stats.rejected(reason)), [2, 1, 0]);
        assert_eq!(
            [Limit::Streams, Limit::LogBytes, Limit::Sessions].map(|limit| stats.busy(limit)),
            [1, 1, 0]
        );
        assert_eq!((stats.all_rejected(), stats.all_busy()), (3, 2));
        let coordination = stats.coordination;
        assert_eq!((coordination.connections, coordination.expirations), (1, 1));
        assert!(!coordination.connected);
    }
}
