//! A publisher against a scripted primary.

mod client_harness;

use bytes::Bytes;
use client_harness::{HISTORY, Harness, address, endpoint, refusal, route};
use std::ops::Range;
use steadfast_core::compression::Codecs;
use steadfast_core::filter::Topic;
use steadfast_core::id::{GroupId, Nonce, PublisherId, Sequence};
use steadfast_core::limits::MAX_RECORD_LEN;
use steadfast_core::link::LinkId;
use steadfast_core::log::Batch;
use steadfast_core::message::{
    History, Message, OpenSession, Publish, PublishAck, Refusal, Route, SessionOpened,
};
use steadfast_core::publisher::{Boot, Command, Config, Error, Event, Publisher};
use steadfast_core::time::Duration;
use steadfast_core::trace::{Detachment, Trace};
use steadfast_core::wire::records::Records;

const ME: PublisherId = PublisherId(5);
/// Encoded length of a record of the tests below.
const RECORD: usize = 10;

/// Batches of 4 records, at most 3 frames in flight.
fn config() -> Config {
    Config { batch_bytes: 4 * RECORD, window_frames: 3, ..Config::default() }
}

struct Client {
    harness: Harness<Publisher>,
    discovery: LinkId,
    primary: LinkId,
    next_ticket: u64,
}

impl Client {
    fn new(config: Config) -> Self {
        let boot = Boot {
            seed: 1,
            publisher: ME,
            nonce: Nonce(6),
            discovery: vec![address("discovery-0")],
            group: 0,
            outbox: None,
            config,
        };
        let mut harness = Harness::new(|now| Publisher::new(now, boot));
        let (discovery, primary) = harness.attach();
        Self { harness, discovery, primary, next_ticket: 0 }
    }

    /// With a session open, nothing sent.
    fn open(config: Config) -> Self {
        let mut client = Self::new(config);
        client.expect_open(HISTORY, 0);
        client.opened(1, 0);
        assert!(matches!(client.harness.take_events()[..], [Event::Connected { epoch: 1, .. }]));
        client
    }

    fn publish(&mut self, topic: &str, count: u64) {
        for _ in 0..count {
            let payload = format!("{:08}", self.next_ticket);
            let (ticket, topic) = (self.next_ticket, Topic::new(topic).unwrap());
            self.next_ticket += 1;
            self.harness.command(Command::publish(ticket, topic, payload.as_bytes()));
        }
    }

    fn hear(&mut self, message: &Message) {
        self.harness.receive(self.primary, message);
    }

    fn refuse(&mut self, reason: Refusal) {
        self.hear(&refusal(reason));
    }

    fn opened(&mut self, incarnation: u64, last_sequence: Sequence) {
        self.opened_with(incarnation, last_sequence, Codecs::default());
    }

    fn opened_with(&mut self, incarnation: u64, last_sequence: Sequence, codecs: Codecs) {
        let (epoch, publisher) = (1, ME);
        let opened = SessionOpened { history: HISTORY, epoch, publisher, incarnation, last_sequence, codecs };
        self.hear(&Message::SessionOpened(opened));
    }

    fn ack(&mut self, last_sequence: Sequence) {
        let ack = PublishAck { history: HISTORY, epoch: 1, publisher: ME, incarnation: 1, last_sequence };
        self.hear(&Message::PublishAck(ack));
    }

    /// The one thing said is a request to open or resume a session; its nonce.
    fn expect_open(&mut self, history: History, incarnation: u64) -> Nonce {
        match &self.harness.take_sent(self.primary)[..] {
            [Message::OpenSession(open)] => {
                let expected = OpenSession { history, publisher: ME, nonce: open.nonce, incarnation };
                assert_eq!(*open, expected);
                open.nonce
            }
            other => panic!("said {other:?}"),
        }
    }

    /// The frames of batches sent since last asked.
    fn frames(&mut self) -> Vec<Vec<Batch>> {
        let sent = self.harness.take_sent(self.primary);
        sent.into_iter()
            .map(|message| match message {
                Message::Publish(Publish { batches, .. }) => batches,
                other => panic!("said {other:?}"),
            })
            .collect()
    }

    /// As [`Self::frames`], each batch as its range of sequence numbers.
    fn sequences(&mut self) -> Vec<Vec<(Sequence, Sequence)>> {
        let range = |batch: &Batch| (batch.header.first_sequence, batch.header.last_sequence());
        self.frames().iter().map(|frame| frame.iter().map(range).collect()).collect()
    }

    fn completed(&mut self) -> Vec<(Range<u64>, Result<(), Error>)> {
        let events = self.harness.take_events();
        events
            .into_iter()
            .map(|event| match event {
                Event::Completed { tickets, result } => (tickets, result),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    /// The link is lost and made again, to this process.
    fn reattach(&mut self, node: &str) {
        self.harness.lost(self.primary);
        self.attached_to(node);
    }

    fn attached_to(&mut self, node: &str) {
        let (link, address) = self.harness.dialled();
        assert_eq!(address, node);
        self.primary = link;
        self.harness.up(link);
    }
}

#[test]
fn a_lone_record_leaves_at_once_and_the_rest_waits_for_its_acknowledgement() {
    let mut client = Client::open(config());
    client.publish("t", 3);
    assert_eq!(client.sequences(), [[(1, 1)]]);
    client.ack(1);
    assert_eq!(client.completed(), [(0..1, Ok(()))]);
    assert_eq!(client.sequences(), [[(2, 3)]], "what accumulated is one batch");
    client.ack(3);
    assert_eq!(client.completed(), [(1..3, Ok(()))]);
}

#[test]
fn load_makes_full_batches_up_to_the_window() {
    let mut client = Client::open(config());
    client.publish("t", 20);
    assert_eq!(client.sequences(), [[(1, 1)], [(2, 5)], [(6, 9)]], "three frames in flight");
    client.ack(1);
    assert_eq!(client.sequences(), [[(10, 13)]]);
    client.ack(13);
    assert_eq!(client.completed(), [(0..1, Ok(())), (1..13, Ok(()))], "coalesced");
    assert_eq!(client.sequences(), [[(14, 17)], [(18, 20)]], "everything, as nothing is in flight");
}

#[test]
fn a_full_batch_takes_none_along_that_began_later() {
    let mut client = Client::open(Config { batch_bytes: 4 * RECORD + 5, ..config() });
    client.publish("t", 6);
    assert_eq!(client.sequences(), [[(1, 1)], [(2, 5)]], "the sixth may become a full batch");
}

#[test]
fn the_window_is_bounded_in_bytes() {
    let mut client = Client::open(Config { window_bytes: 6 * RECORD, ..config() });
    client.publish("t", 20);
    assert_eq!(client.sequences(), [[(1, 1)], [(2, 5)]]);
    client.ack(5);
    assert_eq!(client.sequences(), [[(6, 9)]]);
}

#[test]
fn topics_take_turns_and_share_frames() {
    let mut client = Client::open(config());
    client.publish("first", 1);
    for topic in ["a", "b", "a", "c"] {
        client.publish(topic, 1);
    }
    assert_eq!(client.sequences(), [[(1, 1)]]);
    client.ack(1);
    let frames = client.frames();
    let topics: Vec<_> =
        frames.iter().flatten().map(|batch| batch.header.topic.as_str().to_owned()).collect();
    assert_eq!((frames.len(), topics), (1, vec!["a".into(), "b".into(), "c".into()]));
    client.harness.take_events();
    client.ack(3);
    assert_eq!(client.completed(), [(1..2, Ok(())), (3..4, Ok(()))], "tickets 1 and 3 were on topic a");
    client.ack(5);
    assert_eq!(client.completed(), [(2..3, Ok(())), (4..5, Ok(()))]);
}

#[test]
fn a_quiet_topic_is_not_held_up_by_a_busy_one() {
    let mut client = Client::open(config());
    client.publish("busy", 1);
    client.publish("quiet", 1);
    client.publish("busy", 4);
    let frames = client.frames();
    let topics: Vec<_> = frames[1].iter().map(|batch| batch.header.topic.as_str()).collect();
    assert_eq!(topics, ["quiet", "busy"]);
}

#[test]
fn payloads_arrive_as_published() {
    let mut client = Client::open(config());
    client.publish("t", 1);
    let batch = client.frames().remove(0).remove(0);
    let records = Records::decode(&batch.header, batch.body).unwrap();
    assert_eq!(records.collect::<Vec<_>>(), [Bytes::from_static(b"00000000")]);
}

#[test]
fn a_resumed_session_sends_the_rest_again_byte_for_byte() {
    let mut client = Client::open(config());
    client.publish("t", 9);
    let first = client.frames().concat();
    client.reattach("a");
    assert_eq!(
        client.harness.take_events(),
        [Event::Disconnected { cause: Detachment::Lost }],
        "nothing is completed"
    );
    client.publish("t", 1);
    client.expect_open(HISTORY, 1);
    client.opened(1, 1);
    assert_eq!(client.frames().concat()[..], first[1..], "the same bytes in the same order");
    let events = client.harness.take_events();
    assert!(matches!(&events[0], Event::Connected { endpoint: who, epoch: 1 } if *who == endpoint("a")));
    assert_eq!(events[1..], [Event::Completed { tickets: 0..1, result: Ok(()) }]);
    client.ack(9);
    assert_eq!(client.sequences(), [[(10, 10)]]);
}

#[test]
fn a_link_lost_at_any_step_loses_nothing() {
    for step in ["before the session is open", "with the batch", "with the acknowledgement", "afterwards"] {
        let mut client = Client::new(config());
        client.publish("t", 2);
        if step == "before the session is open" {
            client.reattach("a");
        }
        client.opened(1, 0);
        match step {
            "with the batch" => {
                client.reattach("a");
                client.opened(1, 0);
            }
            "with the acknowledgement" => {
                client.reattach("a");
                client.opened(1, 2);
            }
            _ => {}
        }
        client.ack(2);
        if step == "afterwards" {
            client.reattach("a");
            client.opened(1, 2);
        }
        let mut events = client.harness.take_events();
        events.retain(|event| matches!(event, Event::Completed { .. }));
        assert_eq!(events, [Event::Completed { tickets: 0..2, result: Ok(()) }], "lost {step}");
    }
}

#[test]
fn a_session_is_opened_with_the_same_nonce_until_it_is() {
    let mut client = Client::new(config());
    let nonce = client.expect_open(HISTORY, 0);
    client.refuse(Refusal::Electing { retry_after: Duration::from_millis(30) });
    client.harness.advance(29);
    assert_eq!(client.harness.take_sent(client.primary), []);
    client.harness.advance(20);
    assert_eq!(client.expect_open(HISTORY, 0), nonce);
    client.harness.advance_alive(2_100, &[client.discovery, client.primary]);
    assert_eq!(client.expect_open(HISTORY, 0), nonce, "no answer: asked again");
    client.opened(1, 0);
    client.publish("t", 1);
    client.opened(1, 0);
    assert_eq!(client.sequences(), [[(1, 1)]], "a second answer changes nothing");
}

#[test]
fn a_gap_is_answered_once_from_where_it_is_and_acknowledges_nothing() {
    let mut client = Client::open(config());
    client.publish("t", 9);
    client.frames();
    for _ in 0..2 {
        client.refuse(Refusal::Gap { publisher: ME, expect: 2 });
    }
    assert_eq!(client.sequences(), [[(2, 5)], [(6, 9)]]);
    assert_eq!(client.completed(), []);
    client.ack(1);
    client.refuse(Refusal::Gap { publisher: ME, expect: 6 });
    assert_eq!(client.sequences(), [[(6, 9)]]);
    client.refuse(Refusal::Gap { publisher: PublisherId(9), expect: 2 });
    client.refuse(Refusal::Gap { publisher: ME, expect: 99 });
    assert_eq!(client.sequences(), Vec::<Vec<_>>::new());
    assert!(client.harness.closed.is_empty());
    client.refuse(Refusal::Gap { publisher: ME, expect: 1 });
    assert_eq!(client.harness.closed, [client.primary], "it lacks what was acknowledged");
}

#[test]
fn a_busy_primary_is_given_the_pause_it_asks_for() {
    let mut client = Client::open(config());
    client.publish("t", 5);
    client.frames();
    let busy = Refusal::Busy { publisher: ME, expect: 2, retry_after: Duration::from_millis(100) };
    client.refuse(busy);
    client.refuse(Refusal::Gap { publisher: ME, expect: 2 });
    client.publish("t", 9);
    client.ack(1);
    client.harness.advance_alive(90, &[client.discovery, client.primary]);
    assert_eq!(client.sequences(), Vec::<Vec<_>>::new());
    client.harness.advance_alive(30, &[client.discovery, client.primary]);
    assert_eq!(client.sequences(), [[(2, 5)], [(6, 9)], [(10, 13)]]);
}

#[test]
fn without_progress_everything_is_sent_again() {
    let mut client = Client::open(config());
    client.publish("t", 9);
    client.frames();
    let links = [client.discovery, client.primary];
    client.harness.advance_alive(1_500, &links);
    client.ack(1);
    client.harness.advance_alive(1_900, &links);
    assert_eq!(client.sequences(), Vec::<Vec<_>>::new(), "there was progress");
    client.harness.advance_alive(200, &links);
    assert_eq!(client.sequences(), [[(2, 5)], [(6, 9)]]);
    client.harness.advance_alive(1_500, &links);
    assert_eq!(client.sequences(), Vec::<Vec<_>>::new(), "and not in a tight loop");
}

#[test]
fn foreign_and_impossible_acknowledgements_are_dropped() {
    let mut client = Client::open(config());
    client.publish("t", 5);
    let good = PublishAck { history: HISTORY, epoch: 1, publisher: ME, incarnation: 1, last_sequence: 1 };
    let other = History { lineage: 2, ..HISTORY };
    for bad in [
        PublishAck { history: other, ..good.clone() },
        PublishAck { publisher: PublisherId(9), ..good.clone() },
        PublishAck { incarnation: 2, ..good.clone() },
        PublishAck { last_sequence: 6, ..good.clone() },
    ] {
        client.hear(&Message::PublishAck(bad));
    }
    assert_eq!(client.completed(), []);
    let rejected = client.harness.traces.iter().filter(|trace| matches!(trace, Trace::Rejected { .. }));
    assert_eq!(rejected.count(), 4);
    client.ack(5);
    client.ack(1);
    assert_eq!(client.completed(), [(0..5, Ok(()))], "and it never goes back");
}

#[test]
fn a_primary_that_lacks_what_was_acknowledged_is_left() {
    for (last_sequence, why) in [(0, "it lost an acknowledged record"), (9, "it has what was never sent")] {
        let mut client = Client::open(config());
        client.publish("t", 1);
        client.ack(1);
        client.reattach("a");
        client.harness.take_events();
        client.opened(1, last_sequence);
        assert!(client.harness.closed.contains(&client.primary), "{why}");
        assert_eq!(client.harness.take_events(), [], "{why}");
    }
}

/// One record acknowledged, one batch in flight, one record waiting.
fn in_the_middle() -> Client {
    let mut client = Client::open(config());
    client.publish("t", 1);
    client.ack(1);
    client.publish("t", 3);
    client.frames();
    client.completed();
    client
}

#[test]
fn an_unknown_session_leaves_what_was_sent_unknown_and_sends_the_rest_anew() {
    let mut client = in_the_middle();
    client.refuse(Refusal::UnknownSession { publisher: ME });
    assert_eq!(client.completed(), [(1..2, Err(Error::Unknown { lineage: 1 }))]);
    assert_ne!(client.expect_open(HISTORY, 0), Nonce(6), "another session");
    client.opened(2, 0);
    let batches = client.frames().concat();
    let header = &batches[0].header;
    assert_eq!((header.incarnation, header.first_sequence, header.last_sequence()), (2, 1, 2));
}

#[test]
fn a_later_lineage_is_believed_from_the_primary() {
    let mut client = in_the_middle();
    let to = History { lineage: 2, ..HISTORY };
    client.refuse(Refusal::LineageChanged { history: to });
    let events = client.harness.take_events();
    let unknown = Event::Completed { tickets: 1..2, result: Err(Error::Unknown { lineage: 1 }) };
    assert_eq!(events, [Event::LineageChanged { from: HISTORY, to }, unknown]);
    client.expect_open(to, 0);
}

#[test]
fn a_later_lineage_in_a_route_alone_ends_no_session() {
    let mut client = in_the_middle();
    let to = History { lineage: 2, ..HISTORY };
    client
        .harness
        .receive(client.discovery, &Message::Route(Route { history: Some(to), ..route(2, Some("b")) }));
    client.attached_to("b");
    assert_eq!(client.harness.take_events(), [Event::Disconnected { cause: Detachment::Rerouted }]);
    client.expect_open(HISTORY, 1);
}

#[test]
fn an_earlier_lineage_is_never_believed() {
    let mut client = in_the_middle();
    client.refuse(Refusal::LineageChanged { history: History { lineage: 0, ..HISTORY } });
    client.refuse(Refusal::LineageChanged { history: HISTORY });
    assert_eq!(client.harness.take_events(), [Event::Disconnected { cause: Detachment::Refused }]);
    client.attached_to("a");
    client.expect_open(HISTORY, 1);
}

#[test]
fn another_group_log_is_believed_after_a_fresh_answer() {
    let mut client = in_the_middle();
    client.harness.take_sent(client.discovery);
    let confirmed = History { group_id: GroupId(9), lineage: 1 };
    let to = History { lineage: 2, ..confirmed };
    client.refuse(Refusal::LineageChanged { history: to });
    assert_eq!(client.harness.take_events(), [Event::Disconnected { cause: Detachment::Refused }]);
    let asked = client.harness.take_sent(client.discovery);
    assert!(matches!(asked[..], [Message::Lookup(lookup)] if lookup.fresh), "{asked:?}");
    let fresh = Route { history: Some(confirmed), fresh: true, ..route(1, Some("a")) };
    client.harness.receive(client.discovery, &Message::Route(fresh));
    client.attached_to("a");
    client.expect_open(HISTORY, 1);
    client.refuse(Refusal::LineageChanged { history: to });
    assert_eq!(client.completed_after_lineage_change(), [(1..2, Err(Error::Unknown { lineage: 1 }))]);
    client.expect_open(to, 0);
}

impl Client {
    fn completed_after_lineage_change(&mut self) -> Vec<(Range<u64>, Result<(), Error>)> {
        assert!(matches!(self.harness.events.pop_front(), Some(Event::LineageChanged { .. })));
        self.completed()
    }
}

#[test]
fn a_fenced_publisher_fails_everything_and_stops() {
    let mut client = in_the_middle();
    client.refuse(Refusal::Fenced { publisher: ME, incarnation: 1 });
    assert!(client.harness.closed.is_empty(), "its own incarnation fences nobody");
    client.refuse(Refusal::Fenced { publisher: ME, incarnation: 2 });
    let fenced = Err(Error::Fenced { incarnation: 2 });
    let events = client.harness.take_events();
    assert_eq!(events[0], Event::Disconnected { cause: Detachment::Refused });
    let stopped = Event::Stopped { error: Error::Fenced { incarnation: 2 } };
    assert_eq!(events[1..], [Event::Completed { tickets: 1..4, result: fenced }, stopped]);
    assert_eq!(client.harness.closed.len(), 2, "both links");
    client.publish("t", 1);
    assert_eq!(client.completed(), [(4..5, fenced)]);
    client.harness.advance(10_000);
    assert!(client.harness.dials.is_empty() && client.harness.sent.is_empty());
    client.harness.command(Command::Close);
    assert_eq!(client.harness.take_events(), [Event::Closed]);
}

/// R28, R29: a session that is in the way is continued, and one that has vanished meanwhile is forgotten.
/// Neither ends the publisher, and each answer leads to one request at most.
#[test]
fn a_session_in_the_way_that_vanishes_neither_ends_nor_detains_a_publisher() {
    let mut client = Client::new(config());
    client.publish("t", 1);
    let first = client.expect_open(HISTORY, 0);
    client.refuse(Refusal::Fenced { publisher: ME, incarnation: 4 });
    assert_eq!(client.expect_open(HISTORY, 4), first);
    client.refuse(Refusal::Fenced { publisher: ME, incarnation: 4 });
    assert_eq!(client.harness.take_sent(client.primary), [], "that was said of the request before");
    client.refuse(Refusal::UnknownSession { publisher: ME });
    let second = client.expect_open(HISTORY, 0);
    assert_ne!(second, first, "session 4 has expired");
    client.refuse(Refusal::UnknownSession { publisher: ME });
    client.refuse(Refusal::Fenced { publisher: ME, incarnation: 9 });
    assert_eq!(client.expect_open(HISTORY, 9), second, "yet another one");
    client.opened(12, 30);
    assert!(matches!(client.harness.take_events()[..], [Event::Connected { .. }]));
    let batches = client.frames().concat();
    assert_eq!((batches[0].header.incarnation, batches[0].header.first_sequence), (12, 31));
}

/// R29: a later session that its own request has begun tells a publisher that the one before is over.
#[test]
fn a_later_session_of_its_own_is_no_other_process() {
    let mut client = in_the_middle();
    client.opened(9, 0);
    assert_eq!(client.completed(), [(1..2, Err(Error::Unknown { lineage: 1 }))]);
    client.expect_open(HISTORY, 9);
    client.opened(9, 0);
    client.opened(12, 0);
    assert_eq!(client.frames().concat()[0].header.incarnation, 12, "what was not sent goes on");
}

/// R10: while the session in the way is not committed, a publisher with one of its own waits, and goes on
/// when the other one has vanished with its primary.
#[test]
fn a_session_in_the_way_that_was_never_committed_fences_nobody() {
    let mut client = in_the_middle();
    for _ in 0..5 {
        client.refuse(Refusal::Electing { retry_after: Duration::from_millis(20) });
        client.harness.advance(50);
        assert_eq!(client.expect_open(HISTORY, 1), Nonce(6), "one request after each pause");
    }
    client.opened(1, 2);
    assert_eq!(client.completed(), [(1..2, Ok(()))]);
    assert_eq!(client.sequences().concat(), [(3, 4)]);
}

#[test]
fn a_refused_record_says_who_is_at_fault() {
    let mut client = Client::open(Config { queue_records: 2, ..config() });
    client.publish("t", 4);
    assert_eq!(client.completed(), [(3..4, Err(Error::QueueFull))]);
    client.ack(1);
    client.completed();

    let mut client = Client::open(Config { queue_bytes: 2 * RECORD, ..config() });
    client.publish("t", 4);
    assert_eq!(client.completed(), [(3..4, Err(Error::QueueFull))]);
}

#[test]
fn the_largest_record_travels() {
    let mut client = Client::open(config());
    client.harness.command(Command::publish(0, Topic::new("t").unwrap(), &[7; MAX_RECORD_LEN]));
    assert_eq!(client.sequences(), [[(1, 1)]]);
}

#[test]
fn closing_drains_first() {
    let mut client = Client::open(config());
    client.publish("t", 3);
    client.harness.command(Command::Close);
    client.publish("t", 1);
    assert_eq!(client.completed(), [(3..4, Err(Error::Closed))]);
    client.ack(1);
    assert_eq!(client.completed(), [(0..1, Ok(()))]);
    client.ack(3);
    let events = client.harness.take_events();
    assert_eq!(events, [Event::Completed { tickets: 1..3, result: Ok(()) }, Event::Closed]);
    assert!(client.harness.closed.contains(&client.primary));
    assert!(client.harness.closed.contains(&client.discovery));
    client.harness.advance(10_000);
    assert!(client.harness.dials.is_empty());
}

#[test]
fn an_idle_publisher_closes_at_once() {
    let mut client = Client::new(config());
    client.harness.command(Command::Close);
    assert_eq!(client.harness.take_events(), [Event::Closed]);
}

#[test]
fn many_topics_fill_frames_within_their_limit() {
    let mut client = Client::open(Config { batch_bytes: 64 << 10, ..config() });
    client.publish("first", 1);
    for topic in 0..600 {
        client.publish(&format!("t{topic}"), 1);
    }
    client.frames();
    client.ack(1);
    let lengths: Vec<_> = client.frames().iter().map(Vec::len).collect();
    assert_eq!(lengths, [256, 256, 88]);
    client.ack(601);
    client.harness.take_events();
    client.publish("t", 1);
    assert_eq!(client.sequences(), [[(602, 602)]]);
}
