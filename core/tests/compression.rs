//! Compressed batches (R37): what is compressed, by whose leave, and what becomes of one that cannot be read.

mod client_harness;

use bytes::Bytes;
use client_harness::{HISTORY, Harness, address};
use proptest::collection::vec;
use proptest::prelude::*;
use steadfast_core::compression::{Codecs, Compressor, Decompressor};
use steadfast_core::filter::{Filter, Topic};
use steadfast_core::id::{Nonce, PublisherId, Sequence};
use steadfast_core::limits::{MAX_BATCH_LEN, MAX_BATCH_RAW_LEN, MAX_RECORD_LEN};
use steadfast_core::link::LinkId;
use steadfast_core::log::{Batch, BatchHeader, Codec, Entry, EntryKind};
use steadfast_core::message::{
    Deliver, Message, OpenSession, Position, Publish, PublishAck, SessionOpened, StreamOpened,
};
use steadfast_core::publisher::{self, Publisher};
use steadfast_core::subscriber::{self, LossReason, Lost, Packed, Start, Subscriber};
use steadfast_core::trace::Trace;
use steadfast_core::wire::records::{Records, RecordsBuilder, Undecodable, checksum};

const BOTH: [Codec; 2] = [Codec::Lz4, Codec::Zstd];

fn topic() -> Topic {
    Topic::new("t").unwrap()
}

fn seal(payloads: &[Bytes]) -> Batch {
    let mut records = RecordsBuilder::default();
    payloads.iter().for_each(|payload| records.push(payload));
    records.seal(topic(), PublisherId(3), 1, 1)
}

/// The batch as a publisher with this codec sends it.
fn compressed(codec: Codec, payloads: &[Bytes]) -> Batch {
    let Batch { header, body } = seal(payloads);
    let (codec, body) = Compressor::default().compress(codec, &topic(), body);
    Batch { header: BatchHeader { codec, checksum: checksum(&body), ..header }, body }
}

/// The same header for another body.
fn with_body(batch: &Batch, body: impl Into<Bytes>) -> Batch {
    let body = body.into();
    Batch { header: BatchHeader { checksum: checksum(&body), ..batch.header.clone() }, body }
}

fn decode(batch: &Batch) -> Result<Vec<Bytes>, Undecodable> {
    Records::decode(&batch.header, batch.body.clone()).map(Iterator::collect)
}

fn readings() -> Vec<Bytes> {
    let reading = |n: u32| format!("{{\"sensor\":\"s-{}\",\"celsius\":{},\"status\":\"ok\"}}", n % 7, n % 40);
    (0..100).map(|n| reading(n).into()).collect()
}

/// Bytes without any pattern.
fn noise(length: usize) -> Bytes {
    let mut state = 1_u64;
    let byte = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    });
    byte.take(length).collect()
}

fn payloads() -> impl Strategy<Value = Vec<Bytes>> {
    let same = (0..2_000_usize, any::<u8>()).prop_map(|(length, byte)| vec![byte; length]);
    let any = vec(any::<u8>(), 0..300);
    vec(prop_oneof![same, any].prop_map(Bytes::from), 1..40)
}

proptest! {
    #[test]
    fn records_come_out_as_they_went_in(payloads in payloads(), zstd: bool) {
        let codec = if zstd { Codec::Zstd } else { Codec::Lz4 };
        let batch = compressed(codec, &payloads);
        prop_assert!(batch.header.codec == Codec::None || batch.body.len() < batch.header.raw_length as usize);
        prop_assert_eq!(decode(&batch), Ok(payloads));
    }

    #[test]
    fn any_body_is_decoded_or_refused(
        body in vec(any::<u8>(), 0..200),
        raw_length in 0..3_000_u32,
        count in 1..50_u32,
        zstd: bool,
    ) {
        let mut batch = with_body(&seal(&[Bytes::new()]), body);
        batch.header.codec = if zstd { Codec::Zstd } else { Codec::Lz4 };
        (batch.header.raw_length, batch.header.count) = (raw_length, count);
        if let Ok(records) = decode(&batch) {
            prop_assert_eq!(records.len(), count as usize);
        }
    }

    #[test]
    fn a_changed_byte_gives_records_or_a_refusal(at: prop::sample::Index, flip in 1..=255_u8, zstd: bool) {
        let good = compressed(if zstd { Codec::Zstd } else { Codec::Lz4 }, &readings());
        let mut body = good.body.to_vec();
        body[at.index(good.body.len())] ^= flip;
        prop_assert_eq!(decode(&Batch { body: body.clone().into(), ..good.clone() }), Err(Undecodable::Checksum));
        // And with a checksum that was made afterwards.
        if let Ok(records) = decode(&with_body(&good, body)) {
            prop_assert_eq!(records.len(), good.header.count as usize);
        }
    }
}

#[test]
fn text_shrinks_and_one_compressor_serves_many_batches() {
    let mut compressor = Compressor::default();
    for codec in [Codec::Lz4, Codec::Zstd, Codec::Lz4, Codec::Zstd] {
        let plain = seal(&readings());
        let (used, body) = compressor.compress(codec, &topic(), plain.body.clone());
        assert_eq!(used, codec);
        assert!(3 * body.len() < plain.body.len(), "{codec}: {} of {}", body.len(), plain.body.len());
        let header = BatchHeader { codec, checksum: checksum(&body), ..plain.header };
        let records = Records::decode(&header, body).unwrap();
        assert_eq!(records.collect::<Vec<_>>(), readings());
    }
}

#[test]
fn what_gains_little_is_sent_as_it_is() {
    for codec in BOTH {
        for payload in [noise(100), noise(MAX_RECORD_LEN), Bytes::from(vec![b'x'; 200])] {
            let batch = compressed(codec, std::slice::from_ref(&payload));
            assert_eq!(
                (batch.header.codec, batch.body.len()),
                (Codec::None, batch.header.raw_length as usize)
            );
            assert_eq!(decode(&batch), Ok(vec![payload]));
        }
        let largest = compressed(codec, &[Bytes::from(vec![b'x'; MAX_RECORD_LEN])]);
        assert_eq!(largest.header.codec, codec);
        assert_eq!(decode(&largest).unwrap()[0].len(), MAX_RECORD_LEN);
    }
}

#[test]
fn a_topic_that_does_not_shrink_is_seldom_tried_and_holds_up_no_other() {
    let mut compressor = Compressor::default();
    let (images, text) = (Topic::new("images").unwrap(), topic());
    let (noise, readings) = (noise(1_000), seal(&readings()).body);
    let mut sent = |topic: &Topic, body: &Bytes| compressor.compress(Codec::Lz4, topic, body.clone()).0;
    for _ in 0..200 {
        assert_eq!((sent(&images, &noise), sent(&text, &readings)), (Codec::None, Codec::Lz4));
    }
    // From then on it is tried once in a while, so it is noticed when that changes.
    let first = (0..100).position(|_| sent(&images, &readings) == Codec::Lz4);
    assert!(first.is_some_and(|first| (1..=63).contains(&first)), "{first:?}");
    assert_eq!(sent(&images, &readings), Codec::Lz4, "what shrinks again is always compressed");
}

#[test]
fn a_length_that_lies_is_refused() {
    for codec in BOTH {
        let good = compressed(codec, &readings());
        assert_eq!(good.header.codec, codec);
        let claiming = |raw_length: usize| {
            let mut batch = good.clone();
            batch.header.raw_length = u32::try_from(raw_length).unwrap();
            decode(&batch)
        };
        let length = good.header.raw_length as usize;
        for wrong in [0, 1, length - 1, length + 1, MAX_BATCH_RAW_LEN] {
            assert_eq!(claiming(wrong), Err(Undecodable::Malformed), "{codec} {wrong}");
        }
        assert_eq!(claiming(MAX_BATCH_RAW_LEN + 1), Err(Undecodable::TooLarge));
        assert_eq!(claiming(length), Ok(readings()));
    }
}

/// Small bodies that would fill all memory.
#[test]
fn a_bomb_is_refused_at_its_stated_length() {
    let raw = vec![0; 64 * MAX_BATCH_RAW_LEN];
    let mut zstd = vec![0; MAX_BATCH_LEN];
    let length = zstd_safe::compress(&mut zstd[..], &raw, 1).unwrap();
    zstd.truncate(length);
    let lz4 = lz4_flex::block::compress(&raw);
    // All lengths that a header may state, and a body within its limit.
    for (codec, body) in [(Codec::Zstd, zstd), (Codec::Lz4, lz4[..MAX_BATCH_LEN].to_vec())] {
        for raw_length in [1, 1 << 10, MAX_BATCH_RAW_LEN] {
            let mut batch = with_body(&seal(&[Bytes::new()]), body.clone());
            (batch.header.codec, batch.header.raw_length) = (codec, u32::try_from(raw_length).unwrap());
            assert_eq!(decode(&batch), Err(Undecodable::Malformed), "{codec} {raw_length}");
        }
    }
}

#[test]
fn what_was_compressed_obeys_the_limits_of_records() {
    for codec in BOTH {
        let mut good = compressed(codec, &readings());
        good.header.count += 1;
        assert_eq!(decode(&good), Err(Undecodable::Malformed), "another number of records");
        // A record that no publisher may send, within a body that is allowed.
        let mut long = vec![0x0a, 0x81, 0x80, 0x40];
        long.resize(4 + MAX_RECORD_LEN + 1, 0);
        let length = u32::try_from(long.len()).unwrap();
        let (used, body) = Compressor::default().compress(codec, &topic(), long.into());
        let mut batch = with_body(&seal(&[Bytes::new()]), body);
        (batch.header.codec, batch.header.raw_length) = (used, length);
        assert_eq!((used, decode(&batch)), (codec, Err(Undecodable::TooLarge)));
    }
}

/// A publisher that would compress, against a primary played by the test.
struct Writer {
    harness: Harness<Publisher>,
    primary: LinkId,
    ticket: u64,
}

impl Writer {
    fn new(compression: Codec, codecs: Codecs) -> Self {
        let boot = publisher::Boot {
            seed: 1,
            publisher: PublisherId(3),
            nonce: Nonce(6),
            discovery: vec![address("discovery-0")],
            group: 0,
            outbox: None,
            config: publisher::Config { compression, ..publisher::Config::default() },
        };
        let mut harness = Harness::new(|now| Publisher::new(now, boot));
        let (_, primary) = harness.attach();
        let mut writer = Self { harness, primary, ticket: 0 };
        writer.opened(0, codecs);
        writer
    }

    fn opened(&mut self, last_sequence: Sequence, codecs: Codecs) {
        let sent = self.harness.take_sent(self.primary);
        assert!(matches!(sent[..], [Message::OpenSession(OpenSession { .. })]), "{sent:?}");
        let (publisher, incarnation) = (PublisherId(3), 1);
        let opened =
            SessionOpened { history: HISTORY, epoch: 1, publisher, incarnation, last_sequence, codecs };
        self.harness.receive(self.primary, &Message::SessionOpened(opened));
    }

    /// Publishes all readings and returns the batches that leave.
    fn publish(&mut self) -> Vec<Batch> {
        let mut records = RecordsBuilder::default();
        readings().iter().for_each(|reading| records.push(reading));
        let first_ticket = self.ticket;
        self.ticket += u64::from(records.count());
        self.harness.command(publisher::Command::Publish { first_ticket, topic: topic(), records });
        self.sent()
    }

    fn sent(&mut self) -> Vec<Batch> {
        let sent = self.harness.take_sent(self.primary).into_iter().map(|message| match message {
            Message::Publish(Publish { batches, .. }) => batches,
            other => panic!("said {other:?}"),
        });
        sent.flatten().collect()
    }

    fn acknowledge(&mut self, last_sequence: Sequence) {
        let (epoch, publisher, incarnation) = (1, PublisherId(3), 1);
        let ack = PublishAck { history: HISTORY, epoch, publisher, incarnation, last_sequence };
        self.harness.receive(self.primary, &Message::PublishAck(ack));
    }

    /// The link is lost, and made again to a primary with other settings.
    fn reattach(&mut self) {
        self.harness.lost(self.primary);
        let (link, _) = self.harness.dialled();
        self.primary = link;
        self.harness.up(link);
    }
}

#[test]
fn a_publisher_compresses_only_as_its_primary_allows() {
    let all = Codecs::ALL;
    let lz4 = Codecs { lz4: true, zstd: false };
    let cases = [
        (Codec::Zstd, all, Codec::Zstd),
        (Codec::Lz4, all, Codec::Lz4),
        (Codec::None, all, Codec::None),
        (Codec::Lz4, lz4, Codec::Lz4),
        (Codec::Zstd, lz4, Codec::None),
        (Codec::Zstd, Codecs::default(), Codec::None),
        (Codec::Unknown(7), all, Codec::None),
    ];
    for (wanted, allowed, used) in cases {
        let mut writer = Writer::new(wanted, allowed);
        let sent = writer.publish();
        assert_eq!(sent.iter().map(|batch| batch.header.codec).collect::<Vec<_>>(), [used], "{wanted}");
        assert_eq!(decode(&sent[0]), Ok(readings()));
        let says_so = writer.harness.traces.contains(&Trace::Uncompressed { codec: wanted });
        assert_eq!(says_so, wanted != used, "{wanted}");
    }
}

#[test]
fn what_is_in_flight_stays_as_it_is_when_the_next_primary_allows_less() {
    let mut writer = Writer::new(Codec::Zstd, Codecs::ALL);
    let first = writer.publish();
    assert_eq!(first[0].header.codec, Codec::Zstd);
    writer.reattach();
    writer.opened(0, Codecs::default());
    assert_eq!(writer.sent(), first, "R28: the same bytes");
    writer.acknowledge(100);
    let second = writer.publish();
    assert_eq!((second[0].header.codec, second[0].header.first_sequence), (Codec::None, 101));
    writer.acknowledge(200);
    // And back.
    writer.reattach();
    writer.opened(200, Codecs::ALL);
    assert_eq!(writer.publish()[0].header.codec, Codec::Zstd);
}

/// A subscriber with a stream from this offset on, and room for so many bytes of bodies.
fn reader(offset: u64, credit_bytes: u64) -> (Harness<Subscriber>, LinkId) {
    let boot = subscriber::Boot {
        seed: 1,
        discovery: vec![address("discovery-0")],
        group: 0,
        filters: vec![Filter::new(">").unwrap()],
        start: Start::Earliest,
        config: subscriber::Config { credit_bytes, ..subscriber::Config::default() },
    };
    let mut harness = Harness::new(|now| Subscriber::new(now, boot));
    let (_, primary) = harness.attach();
    let start = Position { lineage: 1, epoch: 1, offset };
    let opened = StreamOpened { stream: 1, history: HISTORY, epoch: 1, start };
    harness.receive(primary, &Message::StreamOpened(opened));
    harness.take_sent(primary);
    harness.take_events();
    (harness, primary)
}

fn deliver(from: u64, upto: u64, batches: Vec<(u64, Batch)>) -> Message {
    let upto = Position { lineage: 1, epoch: 1, offset: upto };
    let entry = |(offset, batch)| Entry { offset, epoch: 1, kind: EntryKind::Batch(batch) };
    let entries = batches.into_iter().map(entry).collect();
    Message::Deliver(Deliver { stream: 1, history: HISTORY, epoch: 1, from, upto, entries })
}

fn packed(event: subscriber::Event) -> Packed {
    match event {
        subscriber::Event::Packed(packed) => packed,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_compressed_batch_waits_as_it_came_and_costs_credit_as_it_came() {
    let batch = compressed(Codec::Zstd, &readings());
    let bytes = batch.body.len() as u64;
    let (mut harness, primary) = reader(0, 4 * bytes);
    harness.receive(primary, &deliver(0, 100, vec![(0, batch)]));
    let delivery = packed(harness.take_events().remove(0)).unpack(&mut Decompressor::default()).unwrap();
    assert_eq!((delivery.offset, delivery.first_sequence, delivery.bytes), (0, 1, bytes));
    assert_eq!(delivery.next.position.offset, 100);
    assert_eq!(delivery.records.collect::<Vec<_>>(), readings());
    assert_eq!(harness.take_sent(primary), [], "what waits is not free");
    harness.command(subscriber::Command::Consumed { bytes });
    assert_eq!(harness.take_sent(primary), [Message::Credit { stream: 1, limit: 5 * bytes }]);
}

#[test]
fn a_position_inside_a_compressed_batch_leaves_out_what_was_handled() {
    let batch = compressed(Codec::Lz4, &readings());
    let broken = with_body(&batch, batch.body.slice(1..));
    for (batch, is_good) in [(batch, true), (broken, false)] {
        let (mut harness, primary) = reader(60, 1 << 20);
        harness.receive(primary, &deliver(60, 100, vec![(0, batch)]));
        let packed = packed(harness.take_events().remove(0));
        match packed.unpack(&mut Decompressor::default()) {
            Ok(delivery) => {
                assert!(is_good);
                assert_eq!((delivery.offset, delivery.first_sequence), (60, 61));
                assert_eq!(delivery.records.collect::<Vec<_>>(), readings()[60..]);
            }
            Err(lost) => assert_eq!((is_good, lost.from, lost.to), (false, 60, 100)),
        }
    }
}

/// What can be told without looking inside is told at once; the rest when the application comes to it.
#[test]
fn what_cannot_be_read_is_lost_with_the_reason_and_the_stream_goes_on() {
    let good = compressed(Codec::Lz4, &readings());
    let broken = with_body(&good, good.body.slice(..good.body.len() - 1));
    let (mut foreign, mut damaged) = (good.clone(), good.clone());
    foreign.header.codec = Codec::Unknown(9);
    damaged.header.checksum ^= 1;
    let (mut harness, primary) = reader(0, 1 << 20);
    let zstd = compressed(Codec::Zstd, &readings());
    let batches = [broken.clone(), foreign, damaged, good.clone(), zstd.clone(), good, zstd];
    let batches = (0..700).step_by(100).zip(batches).collect();
    harness.receive(primary, &deliver(0, 700, batches));
    let mut decompressor = Decompressor::default();
    let results: Vec<_> = harness
        .take_events()
        .into_iter()
        .map(|event| match event {
            subscriber::Event::Lost { from, reason, .. } => (from, Err(reason)),
            event => match packed(event).unpack(&mut decompressor) {
                Ok(delivery) => (delivery.offset, Ok(delivery.records.len())),
                Err(Lost { from, reason, bytes, .. }) => {
                    assert_eq!(bytes, broken.body.len() as u64);
                    (from, Err(reason))
                }
            },
        })
        .collect();
    let undecodable = Err(LossReason::Undecodable);
    let unknown = Err(LossReason::UnknownCodec(9));
    let lost = [(0, undecodable), (100, unknown), (200, undecodable)];
    let read = [300, 400, 500, 600].map(|offset| (offset, Ok(100)));
    assert_eq!(results, [&lost[..], &read].concat());
}
