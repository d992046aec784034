//! A subscriber against a scripted primary.

mod client_harness;

use bytes::Bytes;
use client_harness::{HISTORY, Harness, address, endpoint, route};
use steadfast_core::filter::{Filter, Topic};
use steadfast_core::id::{Epoch, GroupId, Offset, PublisherId};
use steadfast_core::link::LinkId;
use steadfast_core::log::{Entry, EntryKind};
use steadfast_core::message::{
    self, Deliver, History, Message, OpenStream, Position, Refusal, Route, StreamOpened,
};
use steadfast_core::subscriber::{
    Bookmark, Boot, Command, Config, Delivery, Event, LossReason, Start, Subscriber,
};
use steadfast_core::time::Duration;
use steadfast_core::trace::{Detachment, Rejection, Trace};
use steadfast_core::wire::records::RecordsBuilder;

/// Encoded length of a record of the tests below.
const RECORD: u64 = 10;

fn position(epoch: Epoch, offset: Offset) -> Position {
    Position { lineage: 1, epoch, offset }
}

fn bookmark(epoch: Epoch, offset: Offset) -> Bookmark {
    Bookmark { group: 0, group_id: HISTORY.group_id, position: position(epoch, offset) }
}

/// A batch of records from `offset` on, written in this epoch. Each payload is its offset.
fn batch(topic: &str, epoch: Epoch, offset: Offset, count: u64) -> Entry {
    let mut builder = RecordsBuilder::default();
    (offset..offset + count).for_each(|offset| builder.push(format!("{offset:08}").as_bytes()));
    let batch = builder.seal(Topic::new(topic).unwrap(), PublisherId(3), 1, 100 + offset);
    Entry { offset, epoch, kind: EntryKind::Batch(batch) }
}

struct Client {
    harness: Harness<Subscriber>,
    discovery: LinkId,
    primary: LinkId,
    stream: u64,
}

impl Client {
    fn new(start: Start, credit_bytes: u64) -> Self {
        let boot = Boot {
            seed: 1,
            discovery: vec![address("discovery-0")],
            group: 0,
            filters: vec![Filter::new("t.>").unwrap()],
            start,
            config: Config { credit_bytes, ..Config::default() },
        };
        let mut harness = Harness::new(|now| Subscriber::new(now, boot));
        let (discovery, primary) = harness.attach();
        Self { harness, discovery, primary, stream: 0 }
    }

    /// A stream from offset 0 on is open in epoch 1.
    fn open() -> Self {
        Self::open_with_credit(1_000)
    }

    fn open_with_credit(credit: u64) -> Self {
        let mut client = Self::new(Start::Earliest, credit);
        assert_eq!(client.expect_open(HISTORY).start, message::Start::Earliest);
        client.opened(1, position(0, 0));
        let connected = Event::Connected { endpoint: endpoint("a"), epoch: 1, at: bookmark(0, 0) };
        assert_eq!(client.harness.take_events(), [connected]);
        client
    }

    fn hear(&mut self, message: &Message) {
        self.harness.receive(self.primary, message);
    }

    fn refuse(&mut self, reason: Refusal) {
        self.hear(&Message::Refusal { stream: self.stream, reason });
    }

    /// The last thing said is a request for a stream, which has a number of its own.
    fn expect_open(&mut self, history: History) -> OpenStream {
        let sent = self.harness.take_sent(self.primary);
        let Some(Message::OpenStream(open)) = sent.last() else { panic!("said {sent:?}") };
        assert_eq!(open.history, history);
        assert_eq!(open.filters, [Filter::new("t.>").unwrap()]);
        assert!(open.stream > self.stream);
        self.stream = open.stream;
        open.clone()
    }

    fn opened(&mut self, epoch: Epoch, start: Position) {
        let opened = StreamOpened { stream: self.stream, history: HISTORY, epoch, start };
        self.hear(&Message::StreamOpened(opened));
    }

    fn frame(&self, epoch: Epoch, from: Offset, upto: Offset, entries: Vec<Entry>) -> Deliver {
        let upto = position(epoch, upto);
        Deliver { stream: self.stream, history: HISTORY, epoch, from, upto, entries }
    }

    fn deliver(&mut self, from: Offset, upto: Offset, entries: Vec<Entry>) {
        let deliver = self.frame(1, from, upto, entries);
        self.hear(&Message::Deliver(deliver));
    }

    /// What was delivered: the payloads as numbers. Each delivery is consistent in itself.
    fn delivered(&mut self) -> Vec<Offset> {
        let events = self.harness.take_events();
        let mut offsets = Vec::new();
        for event in events {
            let Event::Delivered(delivery) = event else { panic!("{event:?}") };
            offsets.extend(payloads(delivery));
        }
        offsets
    }

    fn reattach(&mut self) {
        self.harness.lost(self.primary);
        self.attached_to("a");
        assert_eq!(self.harness.events.pop_front(), Some(Event::Disconnected { cause: Detachment::Lost }));
    }

    fn attached_to(&mut self, node: &str) {
        let (link, address) = self.harness.dialled();
        assert_eq!(address, node);
        self.primary = link;
        self.harness.up(link);
    }

    fn rejections(&self) -> Vec<Rejection> {
        let traces = self.harness.traces.iter();
        traces
            .filter_map(|trace| match trace {
                Trace::Rejected { reason, .. } => Some(*reason),
                _ => None,
            })
            .collect()
    }
}

fn payloads(delivery: Delivery) -> Vec<Offset> {
    assert_eq!(delivery.first_sequence, 100 + delivery.offset);
    let payloads: Vec<Offset> =
        delivery.records.map(|record| str::from_utf8(&record).unwrap().parse().unwrap()).collect();
    let end = delivery.offset + payloads.len() as u64;
    assert_eq!(payloads, (delivery.offset..end).collect::<Vec<_>>());
    assert_eq!(delivery.next, bookmark(delivery.epoch, end));
    payloads
}

#[test]
fn records_arrive_in_order_with_their_places() {
    let mut client = Client::open();
    client.deliver(0, 9, vec![batch("t.a", 1, 2, 3), batch("t.b", 1, 6, 2)]);
    assert_eq!(client.delivered(), [2, 3, 4, 6, 7]);
    assert_eq!(client.harness.node.bookmark(), Some(bookmark(1, 9)), "nothing else matched below 9");
    client.deliver(9, 9, vec![]);
    client.deliver(9, 10, vec![batch("t.a", 1, 9, 1)]);
    assert_eq!(client.delivered(), [9]);
}

#[test]
fn a_link_lost_at_any_step_loses_and_repeats_nothing() {
    // Before the stream is open, then before each of three frames, then after them.
    for step in 0..5 {
        let mut client = Client::new(Start::Earliest, 1_000);
        if step == 0 {
            client.harness.lost(client.primary);
            client.attached_to("a");
        }
        client.expect_open(HISTORY);
        client.opened(1, position(0, 0));
        for (number, from) in [(1, 0), (2, 3), (3, 6)] {
            if step == number {
                let at = client.harness.node.bookmark().unwrap();
                assert_eq!(at.position.offset, from);
                client.harness.lost(client.primary);
                client.attached_to("a");
                assert_eq!(client.expect_open(HISTORY).start, message::Start::At(at.position));
                client.opened(1, at.position);
            }
            client.deliver(from, from + 3, vec![batch("t.a", 1, from, 2)]);
        }
        if step == 4 {
            client.harness.lost(client.primary);
            client.attached_to("a");
            assert_eq!(client.expect_open(HISTORY).start, message::Start::At(position(1, 9)));
        }
        client.harness.events.retain(|event| matches!(event, Event::Delivered(_) | Event::Lost { .. }));
        assert_eq!(client.delivered(), [0, 1, 3, 4, 6, 7], "step {step}");
    }
}

#[test]
fn a_position_inside_a_batch_skips_what_was_handled() {
    let at = bookmark(1, 12);
    let mut client = Client::new(Start::At(at), 1_000);
    assert_eq!(client.expect_open(HISTORY).start, message::Start::At(at.position));
    client.opened(2, at.position);
    client.harness.take_events();
    let deliver = client.frame(2, 12, 15, vec![batch("t.a", 1, 10, 5)]);
    client.hear(&Message::Deliver(deliver));
    assert_eq!(client.delivered(), [12, 13, 14]);
}

#[test]
fn a_broker_that_starts_below_the_position_repeats_nothing() {
    let at = bookmark(1, 12);
    let mut client = Client::new(Start::At(at), 1_000);
    client.expect_open(HISTORY);
    client.opened(1, position(1, 8));
    client.harness.take_events();
    client.deliver(8, 10, vec![batch("t.a", 1, 8, 2)]);
    assert_eq!(client.harness.node.bookmark(), Some(at));
    client.deliver(10, 15, vec![batch("t.a", 1, 10, 5)]);
    assert_eq!(client.delivered(), [12, 13, 14]);
}

#[test]
fn what_retention_took_is_reported() {
    let at = bookmark(1, 12);
    let mut client = Client::new(Start::At(at), 1_000);
    client.expect_open(HISTORY);
    client.opened(1, position(1, 20));
    let lost = Event::Lost { from: 12, to: 20, reason: LossReason::Retention };
    let connected = Event::Connected { endpoint: endpoint("a"), epoch: 1, at: bookmark(1, 20) };
    assert_eq!(client.harness.take_events(), [lost, connected]);
    client.deliver(20, 21, vec![batch("t.a", 1, 20, 1)]);
    assert_eq!(client.delivered(), [20]);
}

/// R36: the broker opens a stream anew further on; what repeats an opening opens nothing.
#[test]
fn an_open_stream_that_retention_overtakes_goes_on_after_one_report() {
    let mut client = Client::open();
    client.deliver(0, 3, vec![batch("t.a", 1, 0, 2)]);
    client.harness.take_events();
    for start in [20, 20, 9] {
        client.opened(1, position(1, start));
    }
    let lost = Event::Lost { from: 3, to: 20, reason: LossReason::Retention };
    assert_eq!(client.harness.take_events(), [lost]);
    client.deliver(20, 21, vec![batch("t.a", 1, 20, 1)]);
    assert_eq!(client.delivered(), [20]);
}

#[test]
fn latest_is_decided_once() {
    let mut client = Client::new(Start::Latest, 1_000);
    assert_eq!(client.expect_open(HISTORY).start, message::Start::Latest);
    client.opened(1, position(1, 50));
    client.harness.take_events();
    client.reattach();
    assert_eq!(client.expect_open(HISTORY).start, message::Start::At(position(1, 50)));
}

#[test]
fn an_undecodable_batch_is_reported_and_the_stream_goes_on() {
    let mut client = Client::open();
    let mut bad = batch("t.a", 1, 2, 3);
    let EntryKind::Batch(inner) = &mut bad.kind else { unreachable!() };
    inner.body = Bytes::from(vec![0x55; inner.body.len()]);
    client.deliver(0, 7, vec![batch("t.a", 1, 0, 1), bad, batch("t.a", 1, 5, 2)]);
    let mut events = client.harness.take_events();
    assert_eq!(events.remove(1), Event::Lost { from: 2, to: 5, reason: LossReason::Undecodable });
    assert_eq!(events.len(), 2);
    assert_eq!(client.harness.node.bookmark(), Some(bookmark(1, 7)));
}

#[test]
fn of_an_undecodable_batch_only_what_was_not_handled_is_lost() {
    let at = bookmark(1, 12);
    let mut client = Client::new(Start::At(at), 1_000);
    client.expect_open(HISTORY);
    client.opened(2, at.position);
    client.harness.take_events();
    let mut bad = batch("t.a", 1, 10, 5);
    let EntryKind::Batch(inner) = &mut bad.kind else { unreachable!() };
    inner.body = Bytes::from(vec![0x55; inner.body.len()]);
    let deliver = client.frame(2, 12, 15, vec![bad]);
    client.hear(&Message::Deliver(deliver));
    let lost = Event::Lost { from: 12, to: 15, reason: LossReason::Undecodable };
    assert_eq!(client.harness.take_events(), [lost]);
}

#[test]
fn a_hole_opens_the_stream_again_at_the_own_position() {
    let mut client = Client::open();
    client.deliver(0, 5, vec![batch("t.a", 1, 0, 5)]);
    client.deliver(7, 9, vec![batch("t.a", 1, 7, 2)]);
    assert_eq!(client.delivered(), [0, 1, 2, 3, 4]);
    let old = client.stream;
    client.harness.advance(30);
    assert_eq!(client.harness.sent.front().map(|sent| &sent.1), Some(&Message::CloseStream { stream: old }));
    let open = client.expect_open(HISTORY);
    assert_eq!(open.start, message::Start::At(position(1, 5)));
    client.hear(&Message::Deliver(Deliver {
        stream: old,
        ..client.frame(1, 5, 9, vec![batch("t.a", 1, 5, 4)])
    }));
    client.opened(1, position(1, 5));
    client.deliver(5, 9, vec![batch("t.a", 1, 5, 4)]);
    assert_eq!(client.delivered(), [5, 6, 7, 8], "and not twice");
}

#[test]
fn frames_of_an_earlier_epoch_or_another_history_are_not_delivered() {
    for (epoch, lineage) in [(1, 1), (2, 2)] {
        let mut client = Client::open();
        let newer = client.frame(2, 0, 1, vec![]);
        client.hear(&Message::Deliver(newer));
        let mut bad = client.frame(epoch, 1, 2, vec![batch("t.a", 1, 1, 1)]);
        bad.history.lineage = lineage;
        bad.upto.lineage = lineage;
        client.hear(&Message::Deliver(bad));
        assert_eq!(client.delivered(), Vec::<Offset>::new());
        assert_eq!(client.rejections(), [Rejection::WrongHistory]);
    }
}

#[test]
fn a_primary_of_an_earlier_reign_is_left() {
    let mut client = Client::open();
    let newer = client.frame(3, 0, 1, vec![]);
    client.hear(&Message::Deliver(newer));
    client.reattach();
    client.expect_open(HISTORY);
    client.opened(2, position(1, 1));
    assert_eq!(client.harness.take_events(), []);
    assert!(client.harness.closed.contains(&client.primary));
}

#[test]
fn credit_follows_what_the_application_has_consumed() {
    let mut client = Client::new(Start::Earliest, 10 * RECORD);
    assert_eq!(client.expect_open(HISTORY).credit, 10 * RECORD);
    client.opened(1, position(0, 0));
    client.deliver(0, 8, vec![batch("t.a", 1, 0, 5), batch("t.a", 1, 5, 3)]);
    client.harness.command(Command::Consumed { bytes: 2 * RECORD });
    assert_eq!(client.harness.take_sent(client.primary), []);
    client.harness.command(Command::Consumed { bytes: RECORD });
    let (stream, limit) = (client.stream, 13 * RECORD);
    assert_eq!(client.harness.take_sent(client.primary), [Message::Credit { stream, limit }]);

    client.harness.take_events();
    client.reattach();
    assert_eq!(client.expect_open(HISTORY).credit, 5 * RECORD, "half is still with the application");
    client.opened(1, position(1, 8));
    client.harness.command(Command::Consumed { bytes: 5 * RECORD });
    let (stream, limit) = (client.stream, 10 * RECORD);
    assert_eq!(client.harness.take_sent(client.primary), [Message::Credit { stream, limit }]);
}

#[test]
fn what_is_dropped_costs_no_credit() {
    let mut client = Client::open_with_credit(10 * RECORD);
    client.deliver(0, 5, vec![batch("other", 1, 0, 5)]);
    assert_eq!(client.delivered(), Vec::<Offset>::new());
    let (stream, limit) = (client.stream, 15 * RECORD);
    assert_eq!(client.harness.take_sent(client.primary), [Message::Credit { stream, limit }]);
}

#[test]
fn a_broker_that_ignores_credit_is_left() {
    let mut client = Client::open_with_credit(RECORD);
    let body = vec![0; 900_000];
    for offset in 0..20 {
        let mut builder = RecordsBuilder::default();
        builder.push(&body);
        let batch = builder.seal(Topic::new("t.a").unwrap(), PublisherId(3), 1, offset + 1);
        client.deliver(offset, offset + 1, vec![Entry { offset, epoch: 1, kind: EntryKind::Batch(batch) }]);
    }
    let delivered = client.harness.events.iter().filter(|event| matches!(event, Event::Delivered(_))).count();
    assert!((5..15).contains(&delivered), "{delivered}");
    assert_eq!(client.rejections(), [Rejection::TooLarge]);
    assert_eq!(client.harness.closed, [client.primary]);
}

#[test]
fn a_later_lineage_starts_at_its_beginning() {
    let mut client = Client::open();
    client.deliver(0, 5, vec![batch("t.a", 1, 0, 5)]);
    client.delivered();
    client.reattach();
    client.expect_open(HISTORY);
    let to = History { lineage: 2, ..HISTORY };
    client.refuse(Refusal::LineageChanged { history: to });
    assert_eq!(client.harness.take_events(), [Event::LineageChanged { from: bookmark(1, 5), to }]);
    let beginning = Position { lineage: 2, epoch: 0, offset: 0 };
    assert_eq!(client.expect_open(to).start, message::Start::At(beginning), "also against retention");
    client.refuse(Refusal::LineageChanged { history: HISTORY });
    assert_eq!(client.harness.take_events(), [], "an earlier one is never believed");
    assert!(client.harness.closed.contains(&client.primary));
}

#[test]
fn a_later_lineage_in_a_route_alone_changes_nothing() {
    let mut client = Client::open();
    client.deliver(0, 5, vec![]);
    let to = History { lineage: 2, ..HISTORY };
    client
        .harness
        .receive(client.discovery, &Message::Route(Route { history: Some(to), ..route(2, Some("b")) }));
    client.attached_to("b");
    assert_eq!(client.harness.take_events(), [Event::Disconnected { cause: Detachment::Rerouted }]);
    assert_eq!(client.expect_open(HISTORY).start, message::Start::At(position(1, 5)));
}

#[test]
fn without_a_position_a_new_lineage_is_followed_silently() {
    let mut client = Client::new(Start::Latest, 1_000);
    client.expect_open(HISTORY);
    let to = History { lineage: 2, ..HISTORY };
    client.refuse(Refusal::LineageChanged { history: to });
    assert_eq!(client.expect_open(to).start, message::Start::Latest);
    assert_eq!(client.harness.take_events(), []);
}

#[test]
fn a_bookmark_of_another_log_leads_to_the_beginning_once_confirmed() {
    let foreign = Bookmark { group_id: GroupId(9), ..bookmark(4, 99) };
    let mut client = Client::new(Start::At(foreign), 1_000);
    assert_eq!(client.expect_open(foreign.history()).start, message::Start::At(foreign.position));
    client.harness.take_sent(client.discovery);
    client.refuse(Refusal::LineageChanged { history: HISTORY });
    assert_eq!(client.harness.take_events(), []);
    let asked = client.harness.take_sent(client.discovery);
    assert!(matches!(asked[..], [Message::Lookup(lookup)] if lookup.fresh), "{asked:?}");
    let fresh = Route { fresh: true, ..route(1, Some("a")) };
    client.harness.receive(client.discovery, &Message::Route(fresh));
    client.attached_to("a");
    client.expect_open(foreign.history());
    client.refuse(Refusal::LineageChanged { history: HISTORY });
    assert_eq!(client.harness.take_events(), [Event::LineageChanged { from: foreign, to: HISTORY }]);
    assert_eq!(client.expect_open(HISTORY).start, message::Start::At(position(0, 0)));
}

#[test]
fn a_diverged_position_goes_on_where_the_histories_part() {
    let at = bookmark(4, 90);
    let mut client = Client::new(Start::At(at), 1_000);
    client.expect_open(HISTORY);
    for (common, position) in [(70, position(4, 70)), (70, position(0, 0))] {
        let from = client.harness.node.bookmark().unwrap();
        client.refuse(Refusal::Diverged { common });
        assert_eq!(client.harness.take_events(), [Event::Diverged { from, common: position.offset }]);
        client.harness.advance(30);
        assert_eq!(client.expect_open(HISTORY).start, message::Start::At(position));
    }
    client.refuse(Refusal::Diverged { common: 0 });
    assert_eq!(client.harness.take_events(), [], "the beginning is in every history");
    assert_eq!(client.harness.closed, [client.primary]);
}

#[test]
fn an_electing_primary_is_asked_again() {
    let mut client = Client::new(Start::Earliest, 1_000);
    client.expect_open(HISTORY);
    client.refuse(Refusal::Electing { retry_after: Duration::from_millis(40) });
    client.harness.advance(39);
    assert_eq!(client.harness.take_sent(client.primary), []);
    client.harness.advance(12);
    client.expect_open(HISTORY);
}

#[test]
fn a_silent_stream_on_a_living_link_is_opened_again() {
    let mut client = Client::open();
    let links = [client.discovery, client.primary];
    client.harness.advance_alive(1_000, &links);
    client.deliver(0, 3, vec![]);
    client.harness.advance_alive(1_900, &links);
    assert_eq!(client.harness.take_sent(client.primary), []);
    client.harness.advance_alive(200, &links);
    assert_eq!(client.expect_open(HISTORY).start, message::Start::At(position(1, 3)));
    assert_eq!(client.harness.take_events(), []);
}

#[test]
fn a_silent_primary_is_left() {
    let mut client = Client::open();
    let discovery = client.discovery;
    for upto in 1..20 {
        client.harness.advance_alive(50, &[discovery]);
        client.deliver(upto - 1, upto, vec![]);
    }
    assert_eq!(client.harness.take_events(), [], "heartbeats are signs of life");
    client.harness.advance_alive(650, &[discovery]);
    assert_eq!(client.harness.take_events(), [Event::Disconnected { cause: Detachment::Silence }]);
    client.attached_to("a");
    assert_eq!(client.expect_open(HISTORY).start, message::Start::At(position(1, 19)));
}

#[test]
fn answers_of_a_closed_stream_are_ignored() {
    let mut client = Client::open();
    let old = client.stream;
    client.reattach();
    client.expect_open(HISTORY);
    client.hear(&Message::Refusal { stream: old, reason: Refusal::Diverged { common: 0 } });
    client.hear(&Message::StreamOpened(StreamOpened {
        stream: old,
        history: HISTORY,
        epoch: 1,
        start: position(1, 7),
    }));
    assert_eq!(client.harness.take_events(), []);
    assert_eq!(client.harness.node.bookmark(), Some(bookmark(0, 0)));
}

#[test]
fn closing_ends_the_stream_and_both_links() {
    let mut client = Client::open();
    client.harness.command(Command::Close);
    let close = Message::CloseStream { stream: client.stream };
    assert!(client.harness.sent.contains(&(client.primary, close)));
    assert_eq!(client.harness.take_events(), [Event::Closed]);
    client.harness.command(Command::Close);
    client.harness.advance(10_000);
    assert_eq!(client.harness.closed, [client.discovery, client.primary]);
    assert!(client.harness.dials.is_empty() && client.harness.events.is_empty());
}
