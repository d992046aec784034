//! Streams to subscribers: committed batches that match, as far as credit goes (R10, R30).

use super::replica::Replica;
use crate::filter::{Filter, Topic};
use crate::id::{Epoch, Offset};
use crate::limits::{
    MAX_BATCH_LEN, MAX_FRAME_ENTRIES, MAX_FRAME_LEN, MAX_SCAN, MAX_STREAMS, SEND_FRAME_BYTES,
};
use crate::link::LinkId;
use crate::log::{Entry, EntryKind};
use crate::message::{Deliver, Message, OpenStream, Position, StreamOpened};
use crate::node::Outbox;
use crate::time::{Duration, Instant, earliest};
use crate::wire;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::ops::Range;
use serde::{Deserialize, Serialize};

const _: () = assert!(SEND_FRAME_BYTES + MAX_BATCH_LEN <= MAX_FRAME_LEN, "one batch may exceed the target");

/// Streams that are served before publishers are answered. These wait for no answer, and no answer waits for
/// more than these.
const FIRST: usize = 8;

/// One subscriber's stream.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Stream {
    filters: Vec<Filter>,
    /// Everything below was looked at.
    scanned: Offset,
    /// `upto` of the last frame.
    told: Position,
    /// Body bytes sent since the stream was opened.
    sent: u64,
    /// Body bytes that may be sent.
    credit: u64,
    spoke: Instant,
}

/// All streams of a primary.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Delivery {
    streams: BTreeMap<(LinkId, u64), Stream>,
    heartbeat: Duration,
    /// Since when a stream has had more to send than one step allows.
    backlog: Option<Instant>,
    /// When silent streams are looked for.
    check_at: Instant,
}

impl Delivery {
    /// No streams yet; each will hear something every `heartbeat`.
    pub fn new(heartbeat: Duration) -> Self {
        Self { streams: BTreeMap::new(), heartbeat, backlog: None, check_at: Instant::default() }
    }

    /// Whether another stream can be taken.
    pub fn has_room(&self) -> bool {
        self.streams.len() < MAX_STREAMS
    }

    /// Streams that are behind the commit offset with no credit left, and how far the last of all
    /// streams is behind: a subscriber that does not keep up.
    pub fn slow(&self, commit: Offset) -> (usize, u64) {
        let behind = |stream: &&Stream| stream.scanned < commit;
        let stalled = self.streams.values().filter(behind).filter(|stream| stream.sent >= stream.credit);
        let furthest = self.streams.values().map(|stream| commit.saturating_sub(stream.scanned)).max();
        (stalled.count(), furthest.unwrap_or(0))
    }

    /// Whether a stream is behind the commit offset that has credit.
    pub fn owes(&self, commit: Offset) -> bool {
        self.streams.values().any(|stream| stream.scanned < commit && stream.sent < stream.credit)
    }

    /// How many streams there are.
    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    /// Adds a stream that starts at `from`. One of the same number on the link is replaced.
    pub fn open(&mut self, now: Instant, link: LinkId, request: OpenStream, from: Position) {
        let stream = Stream {
            filters: request.filters,
            scanned: from.offset,
            told: from,
            sent: 0,
            credit: request.credit,
            spoke: now,
        };
        self.streams.insert((link, request.stream), stream);
    }

    /// Raises a stream's credit. Absolute, so that a repeated or late grant does no harm.
    pub fn grant(&mut self, link: LinkId, stream: u64, limit: u64) {
        if let Some(stream) = self.streams.get_mut(&(link, stream)) {
            stream.credit = stream.credit.max(limit);
        }
    }

    /// Ends a stream.
    pub fn close(&mut self, link: LinkId, stream: u64) {
        if !sabotage!(ClosedStreamsServed) {
            self.streams.remove(&(link, stream));
        }
    }

    /// Ends all streams of a link.
    pub fn drop_link(&mut self, link: LinkId) {
        if !sabotage!(LostLinksServed) {
            self.streams.retain(|(other, _), _| *other != link);
        }
    }

    /// Ends all streams and returns their links and numbers.
    pub fn drain(&mut self) -> impl Iterator<Item = (LinkId, u64)> {
        self.backlog = None;
        core::mem::take(&mut self.streams).into_keys()
    }

    /// Sends what is committed, on one stream.
    pub fn serve_one<E>(
        &mut self,
        now: Instant,
        key: (LinkId, u64),
        (replica, epoch): (&Replica, Epoch),
        out: &mut Outbox<E>,
    ) {
        if let Some(stream) = self.streams.get_mut(&key) {
            let more = stream.serve(now, key, (replica, epoch), out);
            self.backlog = self.backlog.or(more.then_some(now));
        }
    }

    /// There is more to send, and it is not sent now.
    pub fn put_off(&mut self, now: Instant) {
        self.backlog = self.backlog.or(Some(now));
    }

    /// Sends what is committed on the first streams. [`Self::serve_others`] follows.
    pub fn serve_first<E>(&mut self, now: Instant, from: (&Replica, Epoch), out: &mut Outbox<E>) {
        self.backlog = None;
        self.serve(now, 0..FIRST, from, out);
    }

    /// Sends what is committed on all streams but the first ones.
    pub fn serve_others<E>(&mut self, now: Instant, from: (&Replica, Epoch), out: &mut Outbox<E>) {
        self.serve(now, FIRST..MAX_STREAMS, from, out);
    }

    fn serve<E>(&mut self, now: Instant, which: Range<usize>, from: (&Replica, Epoch), out: &mut Outbox<E>) {
        for (key, stream) in self.streams.iter_mut().skip(which.start).take(which.len()) {
            let more = stream.serve(now, *key, from, out);
            self.backlog = self.backlog.or(more.then_some(now));
        }
    }

    /// When there is more to send, or silent streams are looked for.
    pub fn deadline(&self) -> Option<Instant> {
        let check = (!self.streams.is_empty()).then_some(self.check_at);
        earliest(self.backlog, check)
    }

    /// Goes on with a backlog, and says something on streams that were silent for half a heartbeat.
    pub fn handle_timeout<E>(
        &mut self,
        now: Instant,
        (replica, epoch): (&Replica, Epoch),
        out: &mut Outbox<E>,
    ) {
        if self.backlog.is_some() {
            self.serve_first(now, (replica, epoch), out);
            self.serve_others(now, (replica, epoch), out);
        }
        if now < self.check_at {
            return;
        }
        self.check_at = now + self.heartbeat / 2;
        for (key, stream) in &mut self.streams {
            if stream.spoke + self.heartbeat / 2 <= now && !sabotage!(StreamsFallSilent) {
                stream.send(now, *key, (replica, epoch), Vec::new(), out);
            }
        }
    }
}

impl Stream {
    /// Sends frames until nothing is left, credit is used up or the step's share is done. Returns
    /// whether there is more that could be sent at once.
    fn serve<E>(
        &mut self,
        now: Instant,
        key: (LinkId, u64),
        (replica, epoch): (&Replica, Epoch),
        out: &mut Outbox<E>,
    ) -> bool {
        let mut looked_at = 0;
        if self.scanned < replica.log().start() && self.sent < self.credit {
            self.skip(now, key, (replica, epoch), out);
        }
        let credit = sabotage!(CreditIgnored => u64::MAX; self.credit);
        while self.scanned < replica.commit() && self.sent < credit {
            if looked_at >= MAX_SCAN {
                return !sabotage!(BacklogForgotten);
            }
            let (entries, steps) = self.scan(replica);
            looked_at += steps;
            if !entries.is_empty() {
                self.send(now, key, (replica, epoch), entries, out);
            }
        }
        false
    }

    /// R36: retention has overtaken the stream. It begins anew at the log's start, and its subscriber
    /// is told so once there is credit for what follows.
    fn skip<E>(
        &mut self,
        now: Instant,
        (link, stream): (LinkId, u64),
        (replica, epoch): (&Replica, Epoch),
        out: &mut Outbox<E>,
    ) {
        let start = replica.position(replica.log().start());
        let opened = StreamOpened { stream, history: replica.history(), epoch, start };
        if sabotage!(OvertakesSilently) {
            self.scanned = start.offset;
            return;
        }
        out.transmit(link, wire::encode(&Message::StreamOpened(opened)));
        (self.scanned, self.told, self.spoke) = (start.offset, start, now);
    }

    /// Collects matching batches for one frame. Credit is overshot by at most one batch (R30).
    fn scan(&mut self, replica: &Replica) -> (Vec<Entry>, usize) {
        let (mut entries, mut bytes, mut steps) = (Vec::new(), 0, 0);
        for entry in replica.log().iter_from(self.scanned) {
            let full = bytes >= SEND_FRAME_BYTES || entries.len() == MAX_FRAME_ENTRIES;
            // R10: nothing at or above the commit offset is shown to anyone.
            let hidden = entry.end() > replica.commit() && !sabotage!(DeliversUncommitted);
            let spent = self.sent >= self.credit && !sabotage!(CreditIgnored);
            if hidden || full || steps == MAX_SCAN || spent {
                break;
            }
            steps += 1;
            self.scanned = entry.end();
            if let EntryKind::Batch(batch) = &entry.kind
                && self.wants(&batch.header.topic)
            {
                bytes += batch.body.len();
                self.sent += batch.body.len() as u64;
                entries.push(entry.clone());
            }
        }
        (entries, steps.max(1))
    }

    fn wants(&self, topic: &Topic) -> bool {
        sabotage!(FiltersIgnored) || self.filters.iter().any(|filter| filter.matches(topic))
    }

    /// R30: every frame says up to where everything that matches is covered.
    fn send<E>(
        &mut self,
        now: Instant,
        (link, stream): (LinkId, u64),
        (replica, epoch): (&Replica, Epoch),
        entries: Vec<Entry>,
        out: &mut Outbox<E>,
    ) {
        out.count().delivered(now, &entries);
        // A stream that was overtaken and has no credit stays where it was.
        let upto = match self.scanned < replica.log().start() {
            _ if sabotage!(UptoAheadOfScan) => replica.position(replica.commit()),
            true => self.told,
            false => replica.position(self.scanned),
        };
        let from = self.told.offset;
        let deliver = Deliver { stream, history: replica.history(), epoch, from, upto, entries };
        out.transmit(link, wire::encode(&Message::Deliver(deliver)));
        self.told = upto;
        self.spoke = now;
    }
}
