//! Recordings, and what stands in their records when every checksum is right.

use crate::{parts, samples};
use steadfast_core::recording::{Decoder, Encoder, begin};

/// Most records.
const RECORDS: usize = 64;

/// The input is a recording; and its parts are what the records of one hold.
pub fn run(bytes: &[u8]) {
    read(bytes);
    let mut encoder = Encoder::default();
    for content in parts::split(bytes, RECORDS) {
        encoder.push_state(content);
    }
    read(encoder.bytes());
}

fn read(recording: &[u8]) {
    let Ok(mut decoder) = Decoder::new(recording) else { return };
    let _ = begin(&mut decoder.clone());
    let (mut records, mut last) = (0, decoder.offset());
    while let Ok(Some(record)) = decoder.next_record() {
        let mut encoder = Encoder::default();
        encoder.push(&record);
        records += 1;
        assert_eq!(decoder.record(), records + 1);
        assert!(decoder.offset() > last && decoder.offset() <= recording.len());
        last = decoder.offset();
    }
}

/// Recordings that are kept, and the same as parts.
pub fn seeds() -> Vec<Vec<u8>> {
    let recordings = samples::files("sim/tests/recordings");
    recordings.into_iter().flat_map(|(_, bytes)| [contents(&bytes), bytes]).collect()
}

fn contents(recording: &[u8]) -> Vec<u8> {
    let mut decoder = Decoder::new(recording).expect("a recording of this version");
    let mut contents = Vec::new();
    let mut start = decoder.offset();
    while let Ok(Some(_)) = decoder.next_record() {
        // Length and two checksums come first.
        contents.push(&recording[start + 12..decoder.offset()]);
        start = decoder.offset();
    }
    parts::join(&contents)
}
