//! The bodies of batches.

use crate::samples::PUBLISHER;
use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message as _;
use steadfast_core::filter::Topic;
use steadfast_core::log::{Batch, Codec};
use steadfast_core::wire::records::{Records, RecordsBuilder, Undecodable, checksum};
use steadfast_proto::limits::{MAX_BATCH_LEN, MAX_BATCH_RAW_LEN, MAX_BATCH_RECORDS, MAX_RECORD_LEN};

fn build(payloads: &[Bytes]) -> RecordsBuilder {
    let mut records = RecordsBuilder::default();
    payloads.iter().for_each(|payload| records.push(payload));
    records
}

fn seal(mut records: RecordsBuilder) -> Batch {
    records.seal(Topic::new("a").unwrap(), PUBLISHER, 1, 1)
}

/// A batch with this body, whatever it holds, under a header that fits.
fn with_body(count: u32, body: impl Into<Bytes>) -> Batch {
    let mut batch = seal(build(&[Bytes::new()]));
    batch.body = body.into();
    batch.header.count = count;
    batch.header.raw_length = u32::try_from(batch.body.len()).unwrap();
    batch.header.checksum = checksum(&batch.body);
    batch
}

fn decode(batch: &Batch) -> Result<Records, Undecodable> {
    Records::decode(&batch.header, batch.body.clone())
}

fn payloads() -> impl Strategy<Value = Vec<Bytes>> {
    let lengths = prop_oneof![8 => 0..200_usize, 1 => 16_000..17_000_usize];
    let payload = (lengths, any::<u8>()).prop_map(|(length, byte)| vec![byte; length].into());
    vec(payload, 1..40)
}

proptest! {
    #[test]
    fn a_body_is_the_protobuf_message(payloads in payloads()) {
        let mut records = build(&payloads);
        let predicted: usize = payloads.iter().map(|payload| RecordsBuilder::encoded_len(payload.len())).sum();
        prop_assert_eq!(records.len(), predicted);
        prop_assert_eq!(records.count() as usize, payloads.len());
        let body = records.finish();
        prop_assert_eq!((records.count(), records.len()), (0, 0));
        let message = steadfast_proto::Records { payload: payloads };
        prop_assert_eq!(body, message.encode_to_vec());
    }

    #[test]
    fn payloads_come_out_as_they_went_in(payloads in payloads()) {
        let batch = seal(build(&payloads));
        let records = decode(&batch).unwrap();
        prop_assert_eq!(records.len(), payloads.len());
        prop_assert_eq!(records.collect::<Vec<_>>(), payloads);
    }

    #[test]
    fn any_body_is_decoded_or_refused(body in vec(any::<u8>(), 0..100), tagged: bool, count in 1..20_u32) {
        let body: Vec<u8> = if tagged { [0x0a].into_iter().chain(body).collect() } else { body };
        let batch = with_body(count, body);
        if let Ok(records) = decode(&batch) {
            // What this decoder accepts, protobuf accepts, with the same meaning.
            let message = steadfast_proto::Records::decode(batch.body).unwrap();
            prop_assert_eq!(records.collect::<Vec<_>>(), message.payload);
        }
    }
}

#[test]
fn payloads_share_the_memory_of_the_body() {
    let batch = seal(build(&[Bytes::from_static(b"one"), Bytes::from_static(b"two")]));
    let memory = batch.body.as_ptr_range();
    let payloads: Vec<_> = decode(&batch).unwrap().collect();
    assert_eq!(payloads, ["one", "two"]);
    assert!(payloads.iter().all(|payload| memory.contains(&payload.as_ptr())));
}

#[test]
fn a_builder_keeps_to_the_limits() {
    let mut largest = RecordsBuilder::default();
    assert!(largest.fits(MAX_RECORD_LEN, MAX_BATCH_LEN));
    assert!(!largest.fits(MAX_RECORD_LEN + 1, MAX_BATCH_LEN));
    largest.push(&vec![7; MAX_RECORD_LEN]);
    let left = MAX_BATCH_LEN - largest.len();
    assert!(largest.fits(left - 2, MAX_BATCH_LEN) && !largest.fits(left - 1, MAX_BATCH_LEN));
    largest.push(&vec![7; left - 2]);
    assert_eq!(largest.len(), MAX_BATCH_LEN);
    assert_eq!(decode(&seal(largest)).unwrap().len(), 2);

    let mut most = RecordsBuilder::default();
    (0..MAX_BATCH_RECORDS).for_each(|_| most.push(b""));
    assert!(!most.fits(0, MAX_BATCH_LEN));
    assert_eq!(decode(&seal(most)).unwrap().len(), MAX_BATCH_RECORDS as usize);
}

#[test]
#[should_panic(expected = "a batch keeps to its limits")]
fn a_record_that_does_not_fit_is_not_added() {
    RecordsBuilder::default().push(&vec![0; MAX_RECORD_LEN + 1]);
}

#[test]
#[should_panic(expected = "a batch has at least one record")]
fn an_empty_batch_is_not_sealed() {
    seal(RecordsBuilder::default());
}

#[test]
fn bad_batches_are_refused_with_the_reason() {
    let good = || with_body(2, Bytes::from_static(b"\x0a\x01x\x0a\x00"));
    assert!(decode(&good()).is_ok());
    let changed = |change: fn(&mut Batch)| {
        let mut batch = good();
        change(&mut batch);
        batch
    };
    let long_record = [&[0x0a, 0x81, 0x80, 0x40][..], &[0; MAX_RECORD_LEN + 1]].concat();
    let cases = [
        ("checksum", changed(|batch| batch.header.checksum ^= 1), Undecodable::Checksum),
        ("raw length", changed(|batch| batch.header.raw_length += 1), Undecodable::Malformed),
        ("one too few", changed(|batch| batch.header.count = 3), Undecodable::Malformed),
        ("one too many", changed(|batch| batch.header.count = 1), Undecodable::Malformed),
        ("codec", changed(|batch| batch.header.codec = Codec::Unknown(5)), Undecodable::Codec(5)),
        (
            "decompressed length",
            changed(|batch| batch.header.raw_length = MAX_BATCH_RAW_LEN as u32 + 1),
            Undecodable::TooLarge,
        ),
        ("body length", with_body(1, vec![0; MAX_BATCH_LEN + 1]), Undecodable::TooLarge),
        ("record length", with_body(1, long_record), Undecodable::TooLarge),
        ("record beyond the end", with_body(1, &b"\x0a\x02x"[..]), Undecodable::Malformed),
        ("another field", with_body(1, &b"\x12\x01x"[..]), Undecodable::Malformed),
        ("no length", with_body(1, &b"\x0a"[..]), Undecodable::Malformed),
        ("an endless length", with_body(1, &b"\x0a\xff\xff\xff\xff\xff"[..]), Undecodable::Malformed),
    ];
    for (name, batch, reason) in cases {
        assert_eq!(decode(&batch), Err(reason), "{name}");
    }
}
