//! Records that wait to be sent: encoded on arrival, one open batch per topic.

use crate::filter::Topic;
use crate::limits::MAX_BATCH_RECORDS;
use crate::wire::records::RecordsBuilder;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use bytes::Bytes;
use core::mem;
use core::ops::Range;

/// Tickets of records, in the order they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tickets {
    ranges: Vec<Range<u64>>,
    /// Records of an earlier process, which have no tickets.
    recovered: u64,
}

impl Tickets {
    /// Adds the next ones. Successive tickets take no more room than one.
    pub(super) fn push(&mut self, tickets: Range<u64>) {
        match self.ranges.last_mut() {
            Some(last) if last.end == tickets.start => last.end = tickets.end,
            _ => self.ranges.push(tickets),
        }
    }

    /// Moves the other's tickets here.
    pub(super) fn append(&mut self, mut other: Self) {
        self.ranges.append(&mut other.ranges);
        self.recovered += other.recovered;
    }

    /// So many records without tickets.
    pub(super) const fn of_recovered(records: u64) -> Self {
        Self { ranges: Vec::new(), recovered: records }
    }

    /// How many have no tickets.
    pub(super) const fn recovered(&self) -> u64 {
        self.recovered
    }

    /// As few ascending ranges as there can be.
    pub(super) fn into_ranges(self) -> Vec<Range<u64>> {
        let mut ranges = self.ranges;
        ranges.sort_unstable_by_key(|range| range.start);
        ranges.dedup_by(|next, kept| {
            let joins = kept.end == next.start;
            if joins {
                kept.end = next.end;
            }
            joins
        });
        ranges
    }
}

#[cfg(test)]
impl Tickets {
    /// The ranges as pairs (first, after the last).
    pub(super) fn into_pairs(self) -> Vec<(u64, u64)> {
        self.into_ranges().into_iter().map(|range| (range.start, range.end)).collect()
    }
}

/// A batch without sequence numbers.
#[derive(Clone, Debug)]
pub(super) struct Unnumbered {
    pub(super) topic: Topic,
    pub(super) body: Bytes,
    pub(super) count: u32,
    pub(super) tickets: Tickets,
}

/// Everything that was published and not yet cut into numbered batches.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    batch_bytes: usize,
    /// One batch per topic is open for more records. A topic without one takes no room.
    open: BTreeMap<Topic, Open>,
    /// Every batch, the one whose first record came first at the front: each topic gets its turn, and
    /// a busy topic cannot hold up a quiet one.
    line: BTreeMap<u64, Waiting>,
    next_place: u64,
    full: usize,
    records: usize,
    bytes: usize,
}

#[derive(Clone, Debug)]
struct Open {
    place: u64,
    builder: RecordsBuilder,
    tickets: Tickets,
}

#[derive(Clone, Debug)]
enum Waiting {
    Open(Topic),
    Full(Unnumbered),
}

impl Open {
    fn seal(mut self, topic: Topic) -> Unnumbered {
        let count = self.builder.count();
        Unnumbered { topic, body: self.builder.finish(), count, tickets: self.tickets }
    }
}

impl Queue {
    /// Batches are full at about `batch_bytes` bytes.
    pub(super) const fn new(batch_bytes: usize) -> Self {
        Self {
            batch_bytes,
            open: BTreeMap::new(),
            line: BTreeMap::new(),
            next_place: 0,
            full: 0,
            records: 0,
            bytes: 0,
        }
    }

    /// Records that wait.
    pub(super) const fn records(&self) -> usize {
        self.records
    }

    /// Bytes that wait, as encoded.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.line.is_empty()
    }

    /// Whether a batch is full.
    pub(super) const fn has_full(&self) -> bool {
        self.full > 0
    }

    /// Adds records, numbered from this ticket on: to the topic's open batch, or as the begin of one.
    pub(super) fn push(&mut self, topic: Topic, records: RecordsBuilder, first_ticket: u64) {
        let tickets = first_ticket..first_ticket + u64::from(records.count());
        self.records += records.count() as usize;
        self.bytes += records.len();
        if let Some(open) = self.open.get_mut(&topic) {
            if open.builder.fits_all(&records, self.batch_bytes) {
                open.builder.append(&records);
                open.tickets.push(tickets);
                if open.is_full(self.batch_bytes) {
                    self.seal(topic);
                }
                return;
            }
            self.seal(topic.clone());
        }
        self.begin(topic, records, tickets);
    }

    fn begin(&mut self, topic: Topic, records: RecordsBuilder, first: Range<u64>) {
        let place = self.next_place;
        self.next_place += 1;
        let mut tickets = Tickets::default();
        tickets.push(first);
        let open = Open { place, builder: records, tickets };
        let full = open.is_full(self.batch_bytes);
        self.line.insert(place, Waiting::Open(topic.clone()));
        self.open.insert(topic.clone(), open);
        if full {
            self.seal(topic);
        }
    }

    fn seal(&mut self, topic: Topic) {
        let open = self.open.remove(&topic).expect("only a topic with an open batch is sealed");
        let place = open.place;
        self.line.insert(place, Waiting::Full(open.seal(topic)));
        self.full += 1;
    }

    /// Length of the batch that [`Self::pop`] would return.
    pub(super) fn next_len(&self) -> Option<usize> {
        let next = sabotage!(YoungestFirst => self.line.last_key_value(); self.line.first_key_value());
        next.map(|(_, waiting)| match waiting {
            Waiting::Full(batch) => batch.body.len(),
            Waiting::Open(topic) => self.open.get(topic).map_or(0, |open| open.builder.len()),
        })
    }

    /// The batch that began to wait first, full or not.
    pub(super) fn pop(&mut self) -> Option<Unnumbered> {
        let (_, waiting) = sabotage!(YoungestFirst => self.line.pop_last(); self.line.pop_first())?;
        let batch = match waiting {
            Waiting::Full(batch) => {
                self.full -= 1;
                batch
            }
            Waiting::Open(topic) => {
                let open = self.open.remove(&topic).expect("an open batch in line has its builder");
                open.seal(topic)
            }
        };
        self.records -= batch.count as usize;
        self.bytes -= batch.body.len();
        Some(batch)
    }

    /// Drops everything and returns its tickets.
    pub(super) fn drain(&mut self) -> Tickets {
        let mut tickets = Tickets::default();
        for (_, open) in mem::take(&mut self.open) {
            tickets.append(open.tickets);
        }
        for (_, waiting) in mem::take(&mut self.line) {
            if let Waiting::Full(batch) = waiting {
                tickets.append(batch.tickets);
            }
        }
        (self.full, self.records, self.bytes) = (0, 0, 0);
        tickets
    }
}

impl Open {
    fn is_full(&self, batch_bytes: usize) -> bool {
        self.builder.len() >= batch_bytes || self.builder.count() >= MAX_BATCH_RECORDS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;
    use alloc::vec;

    fn topic(name: &str) -> Topic {
        Topic::new(name).unwrap()
    }

    /// Room for exactly three records of one byte.
    fn queue() -> Queue {
        Queue::new(3 * RecordsBuilder::encoded_len(1))
    }

    fn push(queue: &mut Queue, name: &str, tickets: Range<u64>) {
        for ticket in tickets {
            queue.push(topic(name), RecordsBuilder::of(b"x"), ticket);
        }
    }

    fn popped(queue: &mut Queue) -> Vec<(String, Vec<(u64, u64)>)> {
        core::iter::from_fn(|| queue.pop())
            .map(|batch| {
                assert_eq!(
                    u64::from(batch.count),
                    batch.tickets.ranges.iter().map(|r| r.end - r.start).sum()
                );
                (batch.topic.as_str().into(), batch.tickets.into_pairs())
            })
            .collect()
    }

    #[test]
    fn batches_leave_in_the_order_in_which_they_began() {
        let mut queue = queue();
        push(&mut queue, "quiet", 0..1);
        push(&mut queue, "busy", 1..8);
        push(&mut queue, "quiet", 8..9);
        assert!(queue.has_full());
        assert_eq!(queue.records(), 9);
        assert_eq!(queue.bytes(), 9 * RecordsBuilder::encoded_len(1));
        let expected = vec![
            ("quiet".into(), vec![(0, 1), (8, 9)]),
            ("busy".into(), vec![(1, 4)]),
            ("busy".into(), vec![(4, 7)]),
            ("busy".into(), vec![(7, 8)]),
        ];
        assert_eq!(popped(&mut queue), expected);
        assert!(queue.is_empty() && !queue.has_full());
        assert_eq!((queue.records(), queue.bytes()), (0, 0));
    }

    #[test]
    fn alternating_topics_still_make_full_batches() {
        let mut queue = queue();
        for ticket in 0..6 {
            push(&mut queue, if ticket % 2 == 0 { "a" } else { "b" }, ticket..ticket + 1);
        }
        let expected =
            vec![("a".into(), vec![(0, 1), (2, 3), (4, 5)]), ("b".into(), vec![(1, 2), (3, 4), (5, 6)])];
        assert_eq!(popped(&mut queue), expected);
    }

    #[test]
    fn a_record_larger_than_a_batch_travels_alone() {
        let mut queue = queue();
        push(&mut queue, "a", 0..1);
        queue.push(topic("a"), RecordsBuilder::of(&[0; 100]), 1);
        push(&mut queue, "a", 2..3);
        assert_eq!(queue.next_len(), Some(RecordsBuilder::encoded_len(1)));
        let batches = popped(&mut queue);
        assert_eq!(
            batches.iter().map(|batch| batch.1.clone()).collect::<Vec<_>>(),
            [[(0, 1)], [(1, 2)], [(2, 3)]]
        );
    }

    #[test]
    fn ranges_of_interleaved_batches_join() {
        let mut all = Tickets::default();
        for ticket in [0, 2, 4, 1, 3, 7] {
            all.push(ticket..ticket + 1);
        }
        assert_eq!(all.into_pairs(), [(0, 5), (7, 8)]);
    }

    #[test]
    fn draining_leaves_nothing() {
        let mut queue = queue();
        push(&mut queue, "a", 0..5);
        push(&mut queue, "b", 5..6);
        assert_eq!(queue.drain().into_pairs(), [(0, 6)]);
        assert!(queue.is_empty() && !queue.has_full() && queue.pop().is_none());
        assert_eq!((queue.records(), queue.bytes()), (0, 0));
    }
}
