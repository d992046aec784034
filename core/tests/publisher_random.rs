//! A publisher against a model of a broker, over a network that loses whatever it likes.

mod client_harness;

use client_harness::{HISTORY, Harness, address, refusal, route};
use proptest::prelude::*;
use std::collections::{BTreeMap, VecDeque};
use steadfast_core::compression::Codecs;
use steadfast_core::filter::Topic;
use steadfast_core::id::{Nonce, PublisherId, Sequence};
use steadfast_core::link::LinkId;
use steadfast_core::log::Batch;
use steadfast_core::message::{Message, OpenSession, PublishAck, Refusal, SessionOpened};
use steadfast_core::publisher::{Boot, Command, Config, Event, Publisher};
use steadfast_core::time::Duration;
use steadfast_core::wire::records::Records;

const ME: PublisherId = PublisherId(5);
const TOPICS: [&str; 3] = ["a", "b.c", "d"];

/// What a group's log does with a publisher, with every append committed at once (R28).
#[derive(Default)]
struct Broker {
    session: Option<(u64, Nonce)>,
    last: Sequence,
    log: BTreeMap<String, Vec<u64>>,
}

impl Broker {
    fn handle(&mut self, message: Message, busy: bool) -> Option<Message> {
        match message {
            Message::OpenSession(open) => Some(self.open(&open)),
            Message::Publish(publish) => Some(self.append(publish.batches, busy)),
            _ => None,
        }
    }

    fn open(&mut self, open: &OpenSession) -> Message {
        match self.session {
            Some((incarnation, nonce)) if open.incarnation == incarnation || open.nonce == nonce => {}
            None => self.session = Some((1, open.nonce)),
            Some(session) => panic!("one publisher has one session: {session:?} {open:?}"),
        }
        Message::SessionOpened(SessionOpened {
            history: HISTORY,
            epoch: 1,
            publisher: ME,
            incarnation: 1,
            last_sequence: self.last,
            codecs: Codecs::ALL,
        })
    }

    fn append(&mut self, batches: Vec<Batch>, busy: bool) -> Message {
        for batch in batches {
            let header = &batch.header;
            assert_eq!(header.incarnation, 1);
            if header.last_sequence() <= self.last {
                continue;
            }
            let expect = self.last + 1;
            if header.first_sequence != expect {
                return refusal(Refusal::Gap { publisher: ME, expect });
            }
            if busy {
                let retry_after = Duration::from_millis(30);
                return refusal(Refusal::Busy { publisher: ME, expect, retry_after });
            }
            self.last = header.last_sequence();
            let log = self.log.entry(header.topic.as_str().to_owned()).or_default();
            let records =
                Records::decode(header, batch.body.clone()).expect("a publisher sends valid batches");
            log.extend(records.map(|record| u64::from_be_bytes(record[..8].try_into().unwrap())));
        }
        Message::PublishAck(PublishAck {
            history: HISTORY,
            epoch: 1,
            publisher: ME,
            incarnation: 1,
            last_sequence: self.last,
        })
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Publish records of this length.
    Publish { topic: usize, count: u64, padding: usize },
    /// The broker handles one message; its answer is on its way.
    Handle { busy: bool },
    /// One answer arrives.
    Answer,
    /// The next message to the broker is lost, and the link stays up.
    LoseMessage,
    /// The next answer is lost, and the link stays up.
    LoseAnswer,
    /// The link is lost with everything on it.
    LoseLink,
    /// Time passes while the primary is silent.
    Wait { ms: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..TOPICS.len(), 1..30_u64, 0..40_usize)
            .prop_map(|(topic, count, padding)| Step::Publish { topic, count, padding }),
        6 => prop::bool::weighted(0.1).prop_map(|busy| Step::Handle { busy }),
        6 => Just(Step::Answer),
        1 => Just(Step::LoseMessage),
        1 => Just(Step::LoseAnswer),
        1 => Just(Step::LoseLink),
        2 => (0..400_u64).prop_map(|ms| Step::Wait { ms }),
    ]
}

struct World {
    client: Harness<Publisher>,
    broker: Broker,
    discovery: LinkId,
    primary: Option<LinkId>,
    to_broker: VecDeque<Message>,
    to_client: VecDeque<Message>,
    published: BTreeMap<String, Vec<u64>>,
    tickets: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let config = Config { batch_bytes: 200, window_frames: 3, window_bytes: 700, ..Config::default() };
        let discovery = vec![address("discovery-0")];
        let boot = Boot { seed, publisher: ME, nonce: Nonce(6), discovery, group: 0, outbox: None, config };
        let mut client = Harness::new(|now| Publisher::new(now, boot));
        let (discovery, primary) = client.attach();
        Self {
            client,
            broker: Broker::default(),
            discovery,
            primary: Some(primary),
            to_broker: VecDeque::new(),
            to_client: VecDeque::new(),
            published: BTreeMap::new(),
            tickets: 0,
        }
    }

    fn publish(&mut self, topic: usize, count: u64, padding: usize) {
        for _ in 0..count {
            let mut payload = self.tickets.to_be_bytes().to_vec();
            payload.resize(8 + padding, 0);
            let (ticket, topic) = (self.tickets, TOPICS[topic]);
            self.published.entry(topic.to_owned()).or_default().push(ticket);
            self.tickets += 1;
            self.client.command(Command::publish(ticket, Topic::new(topic).unwrap(), &payload));
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Publish { topic, count, padding } => self.publish(topic, count, padding),
            Step::Handle { busy } => {
                if let Some(message) = self.to_broker.pop_front() {
                    self.to_client.extend(self.broker.handle(message, busy));
                }
            }
            Step::Answer => {
                if let (Some(primary), Some(answer)) = (self.primary, self.to_client.pop_front()) {
                    self.client.receive(primary, &answer);
                }
            }
            Step::LoseMessage => drop(self.to_broker.pop_front()),
            Step::LoseAnswer => drop(self.to_client.pop_front()),
            Step::LoseLink => {
                if let Some(primary) = self.primary.take() {
                    self.client.lost(primary);
                }
            }
            Step::Wait { ms } => self.client.advance(ms),
        }
        self.follow();
    }

    /// The network does what the client has asked for.
    fn follow(&mut self) {
        self.primary.take_if(|primary| self.client.closed.contains(primary));
        if self.primary.is_none() {
            self.to_broker.clear();
            self.to_client.clear();
        }
        while let Some((link, address)) = self.client.dials.pop_front() {
            self.client.up(link);
            if address.as_str() == "a" { self.primary = Some(link) } else { self.discovery = link }
        }
        for (link, message) in self.client.sent.drain(..).collect::<Vec<_>>() {
            match message {
                Message::Lookup(_) => self.client.receive(link, &Message::Route(route(1, Some("a")))),
                Message::Ping { token } if link == self.discovery => {
                    self.client.receive(link, &Message::Pong { token });
                }
                message if Some(link) == self.primary => self.to_broker.push_back(message),
                _ => {}
            }
        }
    }

    /// No more faults: the publisher closes within a bounded time.
    fn heal(&mut self) {
        self.client.command(Command::Close);
        for _ in 0..20_000 {
            self.step(Step::Handle { busy: false });
            self.step(Step::Answer);
            if self.to_broker.is_empty() && self.to_client.is_empty() {
                self.client.advance_alive(10, &self.primary.into_iter().collect::<Vec<_>>());
                self.follow();
            }
            if self.client.events.back() == Some(&Event::Closed) {
                return;
            }
        }
        panic!("it does not close");
    }

    fn check(mut self) {
        let mut completed = vec![0; usize::try_from(self.tickets).unwrap()];
        for event in self.client.take_events() {
            if let Event::Completed { tickets, result } = event {
                assert_eq!(result, Ok(()));
                tickets.for_each(|ticket| completed[usize::try_from(ticket).unwrap()] += 1);
            }
        }
        assert!(completed.iter().all(|&times| times == 1), "every ticket completes once: {completed:?}");
        assert_eq!(self.broker.log, self.published, "each record once, in order");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_record_is_stored_once_in_order_and_completed_once(
        seed: u64,
        steps in prop::collection::vec(step(), 1..150),
    ) {
        let mut world = World::new(seed);
        world.follow();
        for step in steps {
            world.step(step);
        }
        world.heal();
        world.check();
    }
}
