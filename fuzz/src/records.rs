//! Bodies of batches whose checksum is right, whatever they hold.

use bytes::Bytes;
use steadfast_core::filter::Topic;
use steadfast_core::id::PublisherId;
use steadfast_core::log::{BatchHeader, Codec};
use steadfast_core::wire::records::{Records, RecordsBuilder, checksum};

/// The number of records in four bytes, little-endian, and the body.
pub fn run(bytes: &[u8]) {
    let Some((count, body)) = bytes.split_first_chunk() else { return };
    let header = header(u32::from_le_bytes(*count), body);
    let Ok(records) = Records::decode(&header, Bytes::copy_from_slice(body)) else { return };
    assert_eq!(records.len(), header.count as usize);
    let mut again = RecordsBuilder::default();
    for record in records.slices() {
        again.push(record);
    }
    assert!(records.slices().eq(records.clone().map(|record| record.to_vec())));
    assert_eq!(again.count(), header.count);
    let body = again.finish();
    let again = Records::decode(&self::header(header.count, &body), body).expect("what was built is right");
    assert!(again.slices().eq(records.slices()));
}

fn header(count: u32, body: &[u8]) -> BatchHeader {
    BatchHeader {
        topic: Topic::new("t").expect("a valid topic"),
        publisher: PublisherId(1),
        incarnation: 1,
        first_sequence: 1,
        count,
        raw_length: u32::try_from(body.len()).unwrap_or(u32::MAX),
        codec: Codec::None,
        checksum: checksum(body),
    }
}

/// No record, and short and long ones.
pub fn seeds() -> Vec<Vec<u8>> {
    let bodies: [&[usize]; 6] = [&[], &[0], &[1, 2, 3], &[127, 128], &[16_383, 16_384], &[0; 100]];
    bodies
        .iter()
        .map(|lengths| {
            let mut records = RecordsBuilder::default();
            lengths.iter().for_each(|length| records.push(&vec![7; *length]));
            [&records.count().to_le_bytes()[..], &records.finish()].concat()
        })
        .collect()
}
