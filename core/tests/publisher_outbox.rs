//! A publisher with an outbox, against a scripted primary and a scripted storage: what leaves it when,
//! and what another process makes of what is stored.

mod client_harness;

use bytes::Bytes;
use client_harness::{HISTORY, Harness, address, refusal};
use std::collections::VecDeque;
use steadfast_core::compression::Codecs;
use steadfast_core::filter::Topic;
use steadfast_core::id::{Nonce, PublisherId, Sequence};
use steadfast_core::link::LinkId;
use steadfast_core::log::Batch;
use steadfast_core::message::{History, Message, OpenSession, Publish, PublishAck, Refusal, SessionOpened};
use steadfast_core::publisher::outbox::Saved;
use steadfast_core::publisher::{Boot, Command, Config, Error, Event, Publisher};
use steadfast_core::storage::{self, Operation, Request};

const ME: PublisherId = PublisherId(5);

/// Processes that share one outbox, one after the other.
struct Client {
    harness: Harness<Publisher>,
    primary: LinkId,
    /// What is durable.
    disk: Saved,
    aside: Vec<Batch>,
    next_ticket: u64,
}

impl Client {
    /// A process with this outbox; the link to the primary is up.
    fn start(disk: Saved, nonce: u128) -> Self {
        assert!(disk.is_sound(ME), "{disk:?}");
        let boot = Boot {
            seed: u64::try_from(nonce).unwrap(),
            publisher: ME,
            nonce: Nonce(nonce),
            discovery: vec![address("discovery-0")],
            group: 0,
            // One record a batch, one batch a frame.
            config: Config { batch_bytes: 10, ..Config::default() },
            outbox: Some(disk.clone()),
        };
        let mut harness = Harness::new(|now| Publisher::new(now, boot));
        harness.storage = Some(VecDeque::new());
        let (_, primary) = harness.attach();
        Self { harness, primary, disk, aside: Vec::new(), next_ticket: 0 }
    }

    /// A new publisher whose session is open, with `count` records acknowledged.
    fn open(count: u64) -> Self {
        let mut client = Self::start(Saved::default(), 6);
        assert_eq!(client.said(), []);
        client.store_all();
        assert_eq!(client.opens(), [(6, 0)]);
        client.opened(1, 0);
        client.store_all();
        client.publish(count);
        client.store_all();
        client.frames();
        client.ack(1, count);
        client.harness.take_events();
        client
    }

    /// The process dies; another one starts with what was durable.
    fn restart(self, nonce: u128) -> Self {
        Self { next_ticket: self.next_ticket, aside: self.aside, ..Self::start(self.disk, nonce) }
    }

    fn requests(&mut self) -> &mut VecDeque<Request> {
        self.harness.storage.as_mut().unwrap()
    }

    /// The storage completes one request.
    fn store_one(&mut self) {
        let Request { ticket, operation } = self.requests().pop_front().expect("a request");
        let Operation::Outbox(change) = operation else { panic!("not of an outbox: {operation:?}") };
        self.aside.extend(self.disk.apply(&change));
        self.harness.storage_says(storage::Event::Done(ticket));
    }

    fn store_all(&mut self) {
        while !self.requests().is_empty() {
            self.store_one();
        }
    }

    fn publish(&mut self, count: u64) {
        for _ in 0..count {
            let (ticket, topic) = (self.next_ticket, Topic::new("t").unwrap());
            self.next_ticket += 1;
            let payload = format!("{ticket:08}");
            self.harness.command(Command::publish(ticket, topic, payload.as_bytes()));
        }
    }

    fn hear(&mut self, message: &Message) {
        self.harness.receive(self.primary, message);
    }

    fn opened(&mut self, incarnation: u64, last_sequence: Sequence) {
        let codecs = Codecs::default();
        let opened =
            SessionOpened { history: HISTORY, epoch: 1, publisher: ME, incarnation, last_sequence, codecs };
        self.hear(&Message::SessionOpened(opened));
    }

    fn ack(&mut self, incarnation: u64, last_sequence: Sequence) {
        let ack = PublishAck { history: HISTORY, epoch: 1, publisher: ME, incarnation, last_sequence };
        self.hear(&Message::PublishAck(ack));
    }

    fn said(&mut self) -> Vec<Message> {
        self.harness.take_sent(self.primary)
    }

    /// What was said is requests to open a session: nonces and the session that is continued.
    fn opens(&mut self) -> Vec<(u128, u64)> {
        let open = |message| match message {
            Message::OpenSession(OpenSession { nonce, incarnation, .. }) => (nonce.0, incarnation),
            other => panic!("said {other:?}"),
        };
        self.said().into_iter().map(open).collect()
    }

    /// What was said is batches: incarnation, first number and body of each.
    fn frames(&mut self) -> Vec<(u64, Sequence, Bytes)> {
        let mut batches = Vec::new();
        for message in self.said() {
            let Message::Publish(Publish { batches: more, .. }) = message else { panic!("said {message:?}") };
            batches.extend(more);
        }
        batches.into_iter().map(|b| (b.header.incarnation, b.header.first_sequence, b.body)).collect()
    }

    fn numbers(&mut self) -> Vec<(u64, Sequence)> {
        self.frames().into_iter().map(|(incarnation, first, _)| (incarnation, first)).collect()
    }
}

#[test]
fn a_batch_leaves_only_when_it_is_stored() {
    let mut client = Client::open(0);
    client.publish(3);
    assert_eq!(client.said(), []);
    client.store_one();
    assert_eq!(client.numbers(), [(1, 1)]);
    assert_eq!(client.disk.records(), 1);
    client.store_all();
    assert_eq!(client.numbers(), [(1, 2), (1, 3)]);
    client.ack(1, 2);
    assert_eq!(client.harness.take_events(), [Event::Completed { tickets: 0..2, result: Ok(()) }]);
    assert_eq!(client.disk.records(), 3, "acknowledgements are not stored at once");
    client.publish(1);
    client.store_all();
    assert_eq!(client.disk.records(), 2, "but with the next batch");
}

/// What a link carries again after a reconnect is what is stored, no more.
#[test]
fn what_is_not_stored_yet_is_not_sent_again_either() {
    let mut client = Client::open(0);
    client.publish(3);
    client.store_one();
    client.frames();
    client.harness.lost(client.primary);
    let (primary, _) = client.harness.dialled();
    client.primary = primary;
    client.harness.up(primary);
    assert_eq!(client.opens(), [(6, 1)]);
    client.opened(1, 0);
    assert_eq!(client.numbers(), [(1, 1)]);
    client.store_all();
    assert_eq!(client.numbers(), [(1, 2), (1, 3)]);
}

/// The other process sends what is not acknowledged, byte for byte, under the session's new number.
#[test]
fn a_restart_sends_again_exactly_what_is_not_acknowledged() {
    let mut client = Client::open(2);
    client.publish(4);
    client.store_all();
    let sent = client.frames();
    let mut client = client.restart(7);
    assert_eq!(client.said(), [], "the request is stored first");
    client.store_all();
    assert_eq!(client.opens(), [(7, 1)], "it names the session that it continues");
    client.opened(9, 4);
    let again: Vec<_> = sent[2..].iter().map(|(_, first, body)| (9, *first, body.clone())).collect();
    assert_eq!(client.frames(), again);
    let recovered = |records, result| Event::Recovered { records, result };
    let events = client.harness.take_events();
    assert_eq!(events[1..], [recovered(2, Ok(()))], "stored by the cluster before");
    client.ack(9, 6);
    assert_eq!(client.harness.take_events(), [recovered(2, Ok(()))]);
    client.publish(1);
    client.store_all();
    assert_eq!(client.numbers(), [(9, 7)], "numbers go on");
}

/// The process died after it asked to continue its session and before it stored the answer.
#[test]
fn an_attempt_whose_answer_was_not_seen_is_cleared_up_first() {
    for reached in [false, true] {
        let mut client = Client::open(0);
        client.publish(2);
        client.store_all();
        let mut client = client.restart(7);
        client.store_all();
        assert_eq!(client.opens(), [(7, 1)]);
        if reached {
            client.opened(9, 1);
            assert_eq!(client.numbers(), [(9, 2)]);
        }
        let mut client = client.restart(8);
        assert_eq!(client.opens(), [(7, 1)], "the same request again");
        client.opened(9, 1);
        client.store_all();
        let continued = client.opens();
        assert!(matches!(continued[..], [(nonce, 9)] if nonce != 7), "{continued:?}");
        client.opened(12, 1);
        assert_eq!(client.numbers(), [(12, 2)]);
    }
}

/// Two processes with copies of one outbox: one continues the session, the other is told so and stops,
/// whichever way the copies were made.
#[test]
fn a_copy_of_an_outbox_is_fenced() {
    let mut client = Client::open(0);
    client.publish(2);
    client.store_all();
    let copy = client.disk.clone();
    let mut client = Client::start(copy, 8);
    client.store_all();
    client.publish(1);
    assert_eq!(client.opens(), [(8, 1)]);
    client.hear(&refusal(Refusal::Fenced { publisher: ME, incarnation: 9 }));
    let error = Error::Fenced { incarnation: 9 };
    let (fenced, stopped) = (Err(error), Event::Stopped { error });
    assert_eq!(
        client.harness.take_events(),
        [
            Event::Recovered { records: 2, result: fenced },
            Event::Completed { tickets: 0..1, result: fenced },
            stopped
        ]
    );
    client.store_all();
    assert_eq!(client.disk.records(), 2, "the outbox is left as it is");
}

/// An old copy may meet its own session while the cluster holds more than the copy ever had.
#[test]
fn an_outbox_that_went_back_is_fenced() {
    let mut client = Client::open(0);
    client.publish(2);
    client.store_all();
    let mut client = client.restart(7);
    client.store_all();
    client.opened(9, 5);
    let error = Error::Fenced { incarnation: 9 };
    let (fenced, stopped) = (Err(error), Event::Stopped { error });
    assert_eq!(client.harness.take_events(), [Event::Recovered { records: 2, result: fenced }, stopped]);
}

/// R29: what may or may not be stored in the cluster is kept apart, and never sent unasked.
#[test]
fn the_end_of_a_session_sets_aside_what_is_unknown() {
    for unknown_session in [true, false] {
        let mut client = Client::open(0);
        client.publish(3);
        client.store_all();
        client.ack(1, 1);
        let mut client = client.restart(7);
        client.store_all();
        client.opens();
        let to = match unknown_session {
            true => HISTORY,
            false => History { lineage: 2, ..HISTORY },
        };
        client.hear(&refusal(match unknown_session {
            true => Refusal::UnknownSession { publisher: ME },
            false => Refusal::LineageChanged { history: to },
        }));
        let events = client.harness.take_events();
        let unknown = Event::Recovered { records: 3, result: Err(Error::Unknown { lineage: 1 }) };
        assert_eq!(events.last(), Some(&unknown));
        let changed = Event::LineageChanged { from: HISTORY, to };
        assert_eq!(events.contains(&changed), !unknown_session);
        client.store_all();
        assert_eq!((client.aside.len(), client.disk.records()), (3, 0));
        assert!(matches!(client.opens()[..], [(nonce, 0)] if nonce != 7));
    }
}

/// A publisher that was idle past its session's end loses nothing, and is told of nothing.
#[test]
fn a_session_that_expired_while_idle_is_opened_anew_in_silence() {
    let mut client = Client::open(2).restart(7);
    client.store_all();
    assert_eq!(client.opens(), [(7, 1)]);
    client.opened(8, 2);
    client.store_all();
    client.harness.take_events();
    client.publish(1);
    client.store_all();
    client.frames();
    client.ack(8, 3);
    client.harness.take_events();
    let mut client = client.restart(9);
    client.store_all();
    client.opens();
    client.opened(10, 3);
    client.store_all();
    client.harness.take_events();
    client.hear(&refusal(Refusal::UnknownSession { publisher: ME }));
    client.store_all();
    let opens = client.opens();
    assert!(matches!(opens[..], [(_, 0)]), "{opens:?}");
    client.opened(20, 0);
    client.store_all();
    client.publish(1);
    client.store_all();
    assert_eq!(client.numbers(), [(20, 1)]);
    assert_eq!((client.harness.take_events(), client.aside.len()), (vec![], 0));
}

/// Nothing is sent that could not be stored, and nothing that is stored is lost.
#[test]
fn a_storage_that_fails_stops_the_publisher() {
    let mut client = Client::open(0);
    client.publish(3);
    client.store_one();
    client.frames();
    client.harness.storage_says(storage::Event::Failed);
    let failed = Err(Error::OutboxFailed);
    let events = client.harness.take_events();
    let stopped = Event::Stopped { error: Error::OutboxFailed };
    assert_eq!(events[1..], [Event::Completed { tickets: 0..3, result: failed }, stopped]);
    client.publish(1);
    assert_eq!(client.harness.take_events(), [Event::Completed { tickets: 3..4, result: failed }]);
    assert_eq!(client.said(), []);
    client.harness.command(Command::Close);
    assert_eq!(client.harness.take_events(), [Event::Closed]);
    let mut client = client.restart(7);
    client.store_all();
    client.opens();
    client.opened(9, 0);
    assert_eq!(client.numbers(), [(9, 1)]);
}

/// The end is told when the outbox knows that nothing is left in it.
#[test]
fn closing_empties_the_outbox() {
    let mut client = Client::open(0);
    client.publish(1);
    client.store_all();
    client.harness.command(Command::Close);
    client.ack(1, 1);
    assert_eq!(client.harness.take_events(), [Event::Completed { tickets: 0..1, result: Ok(()) }]);
    client.store_all();
    assert_eq!(client.harness.take_events(), [Event::Closed]);
    assert_eq!(client.disk.records(), 0);
    assert!(client.disk.session.is_some_and(|session| session.next == 2), "the session is kept");
}

#[test]
fn what_no_publisher_has_stored_is_not_sound() {
    let mut client = Client::open(0);
    client.publish(3);
    client.store_all();
    let good = client.disk;
    assert!(good.is_sound(ME));
    assert!(!good.is_sound(PublisherId(6)));
    let change = |change: fn(&mut Saved)| {
        let mut bad = good.clone();
        change(&mut bad);
        assert!(!bad.is_sound(ME), "{bad:?}");
    };
    change(|saved| saved.session = None);
    change(|saved| drop(saved.batches.remove(1)));
    change(|saved| drop(saved.batches.pop()));
    change(|saved| saved.session.as_mut().unwrap().incarnation = 0);
    change(|saved| saved.session.as_mut().unwrap().next = 9);
}
