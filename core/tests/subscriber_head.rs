//! A subscriber reads the group's head (R19) from a scripted primary.

mod client_harness;

use client_harness::{HISTORY, Harness, address};
use std::time::Duration;
use steadfast_core::filter::Filter;
use steadfast_core::id::Offset;
use steadfast_core::link::LinkId;
use steadfast_core::message::{Deliver, Head, History, Message, Position, Refusal, StreamOpened};
use steadfast_core::subscriber::{Bookmark, Boot, Command, Config, Event, Start, Subscriber};
use steadfast_core::trace::Detachment;

const fn position(offset: Offset) -> Position {
    Position { lineage: 1, epoch: 1, offset }
}

struct Client {
    harness: Harness<Subscriber>,
    primary: LinkId,
    stream: u64,
}

impl Client {
    /// A subscriber that has asked for the head before it had a stream; then the stream opens at 0.
    fn asking() -> Self {
        let boot = Boot {
            seed: 1,
            discovery: vec![address("discovery-0")],
            group: 0,
            filters: vec![Filter::new("t.>").unwrap()],
            start: Start::Earliest,
            config: Config::default(),
        };
        let mut harness = Harness::new(|now| Subscriber::new(now, boot));
        harness.command(Command::ReadHead { request: 5 });
        let (_, primary) = harness.attach();
        let mut client = Self { harness, primary, stream: 0 };
        client.open();
        client
    }

    fn open(&mut self) {
        let sent = self.harness.take_sent(self.primary);
        let Some(Message::OpenStream(open)) = sent.last() else { panic!("said {sent:?}") };
        self.stream = open.stream;
        let start = Position { lineage: open.history.lineage, epoch: 0, offset: 0 };
        let opened = StreamOpened { stream: self.stream, history: open.history, epoch: 1, start };
        self.harness.receive(self.primary, &Message::StreamOpened(opened));
        self.harness.events.pop_front();
    }

    /// The token of the read that was just sent.
    fn asked(&mut self) -> u64 {
        let sent = self.harness.take_sent(self.primary);
        let [Message::ReadHead { token }] = sent[..] else { panic!("said {sent:?}") };
        assert_ne!(token, self.stream);
        token
    }

    fn answer(&mut self, token: u64, history: History, offset: Offset) {
        let position = Position { lineage: history.lineage, ..position(offset) };
        let head = Head { token, history, epoch: 1, position };
        self.harness.receive(self.primary, &Message::Head(head));
    }

    fn deliver(&mut self, from: Offset, upto: Offset) {
        let upto = position(upto);
        let (stream, history) = (self.stream, HISTORY);
        let deliver = Deliver { stream, history, epoch: 1, from, upto, entries: Vec::new() };
        self.harness.receive(self.primary, &Message::Deliver(deliver));
    }
}

fn head(history: History, offset: Offset) -> Event {
    let position = Position { lineage: history.lineage, ..position(offset) };
    Event::Head { request: 5, at: Bookmark { group: 0, group_id: history.group_id, position } }
}

#[test]
fn a_head_is_asked_for_once_there_is_a_stream_and_reached_when_the_stream_is_there() {
    let mut client = Client::asking();
    let token = client.asked();
    client.deliver(0, 3);
    client.answer(token, HISTORY, 10);
    assert_eq!(client.harness.take_events(), [head(HISTORY, 10)]);
    client.deliver(3, 9);
    assert_eq!(client.harness.take_events(), []);
    client.deliver(9, 12);
    assert_eq!(client.harness.take_events(), [Event::Reached { request: 5 }]);
    client.answer(token, HISTORY, 20);
    assert_eq!(client.harness.take_events(), [], "a repeated answer is none");
}

#[test]
fn a_read_that_is_put_off_or_not_answered_is_made_again() {
    let mut client = Client::asking();
    let first = client.asked();
    let reason = Refusal::Electing { retry_after: Duration::from_millis(50) };
    client.harness.receive(client.primary, &Message::Refusal { stream: first, reason });
    client.harness.advance(100);
    let second = client.asked();
    assert_ne!(second, first);
    client.answer(first, HISTORY, 10);
    assert_eq!(client.harness.take_events(), [], "only the latest read counts");
    for offset in 0..25 {
        client.harness.advance_alive(100, &[client.primary]);
        client.deliver(offset, offset + 1);
    }
    let third = client.asked();
    client.answer(third, HISTORY, 10);
    let expected = [head(HISTORY, 10), Event::Reached { request: 5 }];
    assert_eq!(client.harness.take_events(), expected);
}

#[test]
fn a_new_primary_is_asked_again() {
    let mut client = Client::asking();
    let first = client.asked();
    client.harness.lost(client.primary);
    let lost = Event::Disconnected { cause: Detachment::Lost };
    assert_eq!(client.harness.take_events(), [lost]);
    let (link, _) = client.harness.dialled();
    client.primary = link;
    client.harness.up(link);
    client.open();
    let second = client.asked();
    assert_ne!(second, first);
    client.answer(second, HISTORY, 0);
    assert_eq!(client.harness.take_events(), [head(HISTORY, 0), Event::Reached { request: 5 }]);
}

#[test]
fn a_head_of_a_history_that_is_given_up_is_read_again_in_the_next_one() {
    let mut client = Client::asking();
    let token = client.asked();
    client.answer(token, HISTORY, 10);
    assert_eq!(client.harness.take_events(), [head(HISTORY, 10)]);
    let next = History { lineage: 2, ..HISTORY };
    let reason = Refusal::LineageChanged { history: next };
    client.harness.receive(client.primary, &Message::Refusal { stream: client.stream, reason });
    assert!(matches!(client.harness.take_events()[..], [Event::LineageChanged { .. }]));
    let sent = client.harness.take_sent(client.primary);
    let Some(Message::OpenStream(open)) = sent.last() else { panic!("said {sent:?}") };
    let start = Position { lineage: 2, epoch: 0, offset: 0 };
    client.stream = open.stream;
    let opened = StreamOpened { stream: client.stream, history: next, epoch: 1, start };
    client.harness.receive(client.primary, &Message::StreamOpened(opened));
    let token = client.asked();
    client.answer(token, next, 0);
    assert_eq!(client.harness.take_events(), [head(next, 0), Event::Reached { request: 5 }]);
}
