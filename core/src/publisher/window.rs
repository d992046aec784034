//! Batches that were sent and are not acknowledged: numbered once, never changed (R28).

use crate::id::Sequence;
use crate::limits::MAX_FRAME_ENTRIES;
use crate::log::Batch;
use crate::publisher::queue::Tickets;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::mem;

/// The batches in flight, in sequence order without holes.
#[derive(Clone, Debug)]
pub(super) struct Window {
    sent: VecDeque<Sent>,
    bytes: usize,
    /// Number of the next record.
    next: Sequence,
    /// Number of the frame that the next batch leaves in.
    frame: u64,
}

#[derive(Clone, Debug)]
struct Sent {
    batch: Batch,
    tickets: Tickets,
    frame: u64,
}

/// How a reported last sequence number compares with the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reported {
    /// Below what was acknowledged before.
    Back,
    /// What was acknowledged before.
    Same,
    /// More, and nothing that was not sent.
    Forward,
    /// Something that was never sent.
    Beyond,
}

impl Window {
    /// For a session in which `last` is the last number used.
    pub(super) const fn after(last: Sequence) -> Self {
        Self { sent: VecDeque::new(), bytes: 0, next: last + 1, frame: 0 }
    }

    /// What an earlier process left: batches that end before `next`, which were perhaps sent.
    pub(super) fn restore(batches: Vec<Batch>, next: Sequence) -> Self {
        let mut window = Self::after(next - 1);
        if let Some(first) = batches.first() {
            window.next = first.header.first_sequence;
        }
        for batch in batches {
            let tickets = Tickets::of_recovered(u64::from(batch.header.count));
            window.push(batch, tickets);
        }
        assert_eq!(window.next, next, "what was stored is contiguous");
        window
    }

    /// The batches go on in another session: its number is their address, everything else stays (R28).
    pub(super) fn readdress(&mut self, incarnation: u64) {
        for sent in &mut self.sent {
            sent.batch.header.incarnation = incarnation;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }

    /// Body bytes in flight.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Frames in flight.
    pub(super) fn frame_count(&self) -> u64 {
        match (self.sent.front(), self.sent.back()) {
            (Some(first), Some(last)) => last.frame - first.frame + 1,
            _ => 0,
        }
    }

    /// Number of the next record.
    pub(super) const fn next(&self) -> Sequence {
        self.next
    }

    /// Number of the first record that is not acknowledged.
    pub(super) fn first_unacknowledged(&self) -> Sequence {
        self.sent.front().map_or(self.next, |sent| sent.batch.header.first_sequence)
    }

    /// Adds a batch that takes the next numbers.
    pub(super) fn push(&mut self, batch: Batch, tickets: Tickets) {
        assert_eq!(batch.header.first_sequence, self.next, "sequence numbers are contiguous");
        self.next = batch.header.last_sequence() + 1;
        self.bytes += batch.body.len();
        self.sent.push_back(Sent { batch, tickets, frame: self.frame });
    }

    /// What is pushed from now on leaves in another frame.
    pub(super) const fn next_frame(&mut self) {
        self.frame += 1;
    }

    pub(super) fn compare(&self, last: Sequence) -> Reported {
        let acknowledged = self.first_unacknowledged() - 1;
        match last {
            last if last < acknowledged => Reported::Back,
            last if last == acknowledged => Reported::Same,
            last if last < self.next => Reported::Forward,
            _ => Reported::Beyond,
        }
    }

    /// Takes out what is committed up to and including `last`. A broker appends whole batches, so
    /// one that `last` cuts stays.
    pub(super) fn acknowledge(&mut self, last: Sequence) -> Tickets {
        let mut tickets = Tickets::default();
        while let Some(sent) = self.sent.pop_front_if(|sent| sent.batch.header.last_sequence() <= last) {
            self.bytes -= sent.batch.body.len();
            tickets.append(sent.tickets);
        }
        tickets
    }

    /// Everything from the batch that holds `from` on, to the one that ends with `upto` at the latest, in
    /// frames of about `frame_bytes`.
    pub(super) fn frames(&self, from: Sequence, upto: Sequence, frame_bytes: usize) -> Vec<Vec<Batch>> {
        let mut frames = Vec::new();
        let (mut frame, mut bytes) = (Vec::new(), 0);
        let rest = self.sent.iter().skip_while(|sent| sent.batch.header.last_sequence() < from);
        for sent in rest.take_while(|sent| sent.batch.header.last_sequence() <= upto) {
            bytes += sent.batch.body.len();
            frame.push(sent.batch.clone());
            if bytes >= frame_bytes || frame.len() >= MAX_FRAME_ENTRIES {
                frames.push(mem::take(&mut frame));
                bytes = 0;
            }
        }
        if !frame.is_empty() {
            frames.push(frame);
        }
        frames
    }

    /// Drops everything and returns its tickets.
    pub(super) fn drain(&mut self) -> Tickets {
        self.acknowledge(Sequence::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::Topic;
    use crate::id::PublisherId;
    use crate::log::{BatchHeader, Codec};
    use alloc::vec;
    use bytes::Bytes;

    /// Three batches: 11..=12, 13..=15, 16; the first two in one frame.
    fn window() -> Window {
        let mut window = Window::after(10);
        for (count, ticket) in [(2, 0), (3, 2), (1, 5)] {
            let header = BatchHeader {
                topic: Topic::new("t").unwrap(),
                publisher: PublisherId(1),
                incarnation: 1,
                first_sequence: window.next(),
                count,
                raw_length: 10,
                codec: Codec::None,
                checksum: 0,
            };
            let mut tickets = Tickets::default();
            tickets.push(ticket..ticket + u64::from(count));
            if ticket == 5 {
                window.next_frame();
            }
            window.push(Batch { header, body: Bytes::from_static(&[0; 10]) }, tickets);
        }
        window
    }

    fn numbers(frames: &[Vec<Batch>]) -> Vec<Vec<Sequence>> {
        frames.iter().map(|frame| frame.iter().map(|batch| batch.header.first_sequence).collect()).collect()
    }

    #[test]
    fn acknowledgements_are_cumulative_and_take_whole_batches() {
        let mut window = window();
        assert_eq!((window.frame_count(), window.bytes(), window.next()), (2, 30, 17));
        assert_eq!(window.acknowledge(14).into_pairs(), [(0, 2)]);
        assert_eq!((window.frame_count(), window.bytes(), window.first_unacknowledged()), (2, 20, 13));
        assert_eq!(window.acknowledge(16).into_pairs(), [(2, 6)]);
        assert!(window.is_empty());
        assert_eq!((window.frame_count(), window.bytes(), window.first_unacknowledged()), (0, 0, 17));
    }

    #[test]
    fn reports_are_compared_with_what_was_sent() {
        let mut window = window();
        window.acknowledge(12);
        let reports: Vec<_> = [11, 12, 13, 16, 17].iter().map(|&last| window.compare(last)).collect();
        use Reported::{Back, Beyond, Forward, Same};
        assert_eq!(reports, [Back, Same, Forward, Forward, Beyond]);
    }

    #[test]
    fn retransmission_starts_at_any_batch_and_fills_frames() {
        let window = window();
        assert_eq!(numbers(&window.frames(0, Sequence::MAX, 20)), vec![vec![11, 13], vec![16]]);
        assert_eq!(numbers(&window.frames(13, Sequence::MAX, 1)), vec![vec![13], vec![16]]);
        assert_eq!(numbers(&window.frames(14, Sequence::MAX, 100)), vec![vec![13, 16]]);
        assert_eq!(numbers(&window.frames(17, Sequence::MAX, 100)), Vec::<Vec<Sequence>>::new());
        assert_eq!(numbers(&window.frames(0, 15, 100)), vec![vec![11, 13]], "not what is not stored yet");
    }
}
