//! The body of a batch: an encoded [`steadfast_proto::Records`], that is, for each record the tag of
//! the one field, the payload's length and the payload. [`RecordsBuilder`] writes it, [`Records`]
//! reads it. Both work on the bytes themselves: there is nothing to allocate per record.

use crate::compression::Decompressor;
use crate::filter::Topic;
use crate::id::{PublisherId, Sequence};
use crate::log::{Batch, BatchHeader, Codec};
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use core::fmt;
use prost::encoding::{encode_varint, encoded_len_varint};
use steadfast_proto::limits::{MAX_BATCH_LEN, MAX_BATCH_RAW_LEN, MAX_BATCH_RECORDS, MAX_RECORD_LEN};

/// Field 1, length-delimited.
const TAG: u8 = 0x0a;

/// CRC-32C of a body.
pub use crate::checksum::crc32c as checksum;

/// Collects payloads into a body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordsBuilder {
    body: BytesMut,
    count: u32,
}

impl RecordsBuilder {
    /// Bytes that a payload of this length takes in a body.
    pub const fn encoded_len(payload: usize) -> usize {
        1 + encoded_len_varint(payload as u64) + payload
    }

    /// Whether a payload of this length may be added, up to this many bytes in all. An empty body takes
    /// every payload up to [`MAX_RECORD_LEN`] within [`MAX_BATCH_LEN`].
    pub fn fits(&self, payload: usize, bytes: usize) -> bool {
        payload <= MAX_RECORD_LEN
            && self.count < MAX_BATCH_RECORDS
            && self.body.len() + Self::encoded_len(payload) <= bytes.min(MAX_BATCH_LEN)
    }

    /// Adds a payload.
    ///
    /// # Panics
    /// When it does not fit: see [`RecordsBuilder::fits`].
    pub fn push(&mut self, payload: &[u8]) {
        assert!(self.fits(payload.len(), MAX_BATCH_LEN), "a batch keeps to its limits");
        self.body.reserve(Self::encoded_len(payload.len()));
        self.body.put_u8(TAG);
        encode_varint(payload.len() as u64, &mut self.body);
        self.body.put_slice(payload);
        self.count += 1;
    }

    /// With this payload alone.
    ///
    /// # Panics
    /// When it is longer than [`MAX_RECORD_LEN`].
    pub fn of(payload: &[u8]) -> Self {
        let mut builder = Self::default();
        builder.push(payload);
        builder
    }

    /// Whether all records of the other one may be added, up to this many bytes in all.
    pub fn fits_all(&self, other: &Self, bytes: usize) -> bool {
        self.len() + other.len() <= bytes.min(MAX_BATCH_LEN) && self.count + other.count <= MAX_BATCH_RECORDS
    }

    /// Adds all records of the other one, in their order.
    ///
    /// # Panics
    /// When they do not fit: see [`RecordsBuilder::fits_all`].
    pub fn append(&mut self, other: &Self) {
        assert!(self.fits_all(other, MAX_BATCH_LEN), "a batch keeps to its limits");
        self.body.extend_from_slice(&other.body);
        self.count += other.count;
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.body.len()
    }

    /// Whether there is no record.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Records so far.
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// Hands out the body and begins an empty one.
    pub fn finish(&mut self) -> Bytes {
        self.count = 0;
        self.body.split().freeze()
    }

    /// Makes a batch of the records so far and begins an empty body. The batch never changes again:
    /// every transmission carries the same bytes (R28).
    ///
    /// # Panics
    /// When there is no record.
    pub fn seal(
        &mut self,
        topic: Topic,
        publisher: PublisherId,
        incarnation: u64,
        first_sequence: Sequence,
    ) -> Batch {
        assert!(!self.is_empty(), "a batch has at least one record");
        let count = self.count;
        let body = self.finish();
        let header = BatchHeader {
            topic,
            publisher,
            incarnation,
            first_sequence,
            count,
            raw_length: u32::try_from(body.len()).expect("a body is bounded"),
            codec: Codec::None,
            checksum: checksum(&body),
        };
        Batch { header, body }
    }
}

/// Why a batch's records cannot be taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Undecodable {
    /// The body, or what it would decompress to, or one record, is over its limit.
    TooLarge,
    /// The body does not match its checksum.
    Checksum,
    /// This version does not know the compression.
    Codec(i32),
    /// The body is not what its header says.
    Malformed,
}

impl fmt::Display for Undecodable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => f.write_str("a batch is over a limit"),
            Self::Checksum => f.write_str("a batch does not match its checksum"),
            Self::Codec(codec) => {
                write!(f, "a batch is compressed in a way this version does not know ({codec})")
            }
            Self::Malformed => f.write_str("a batch is not what its header says"),
        }
    }
}

impl core::error::Error for Undecodable {}

/// What can be said of a body without looking inside: its lengths and its checksum.
pub(crate) fn check_body(header: &BatchHeader, body: &[u8]) -> Result<(), Undecodable> {
    let raw_length = header.raw_length as usize;
    if body.len() > MAX_BATCH_LEN || raw_length > MAX_BATCH_RAW_LEN {
        return Err(Undecodable::TooLarge);
    }
    if header.codec == Codec::None && raw_length != body.len() {
        return Err(Undecodable::Malformed);
    }
    if checksum(body) == header.checksum { Ok(()) } else { Err(Undecodable::Checksum) }
}

/// The records of a batch: checked, not copied.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Records {
    body: Bytes,
    count: u32,
}

impl Records {
    /// Checks a body against its header and walks through it once.
    ///
    /// # Errors
    /// When the batch cannot be decoded. A subscriber reports its records as lost (R31).
    pub fn decode(header: &BatchHeader, body: Bytes) -> Result<Self, Undecodable> {
        check_body(header, &body)?;
        Self::unpack(header, body, &mut Decompressor::default())
    }

    /// The same of a body whose lengths and checksum have been checked; many may share the decompressor.
    ///
    /// # Errors
    /// When what is inside cannot be decoded.
    pub(crate) fn unpack(
        header: &BatchHeader,
        body: Bytes,
        decompressor: &mut Decompressor,
    ) -> Result<Self, Undecodable> {
        let body = decompressor.decompress(header.codec, body, header.raw_length as usize)?;
        let mut rest: &[u8] = &body;
        let mut count = 0;
        while !rest.is_empty() {
            let (start, length) = read_length(rest).ok_or(Undecodable::Malformed)?;
            if length > MAX_RECORD_LEN {
                return Err(Undecodable::TooLarge);
            }
            rest = rest.get(start + length..).ok_or(Undecodable::Malformed)?;
            count += 1;
        }
        if count == header.count { Ok(Self { body, count }) } else { Err(Undecodable::Malformed) }
    }

    /// Number of records left.
    pub const fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there is none left.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Records({} in {} bytes)", self.count, self.body.len())
    }
}

impl Records {
    /// The payloads that are left, where they are.
    pub fn slices(&self) -> impl Iterator<Item = &[u8]> {
        let mut body = &self.body[..];
        (0..self.count).map(move |_| {
            let (start, length) = read_length(body).expect("the body was checked");
            let (record, rest) = body.split_at(start + length);
            body = rest;
            &record[start..]
        })
    }
}

/// Yields the payloads. They share the memory of the frame that brought them.
impl Iterator for Records {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.count == 0 {
            return None;
        }
        let (start, length) = read_length(&self.body).expect("the body was checked");
        let mut record = self.body.split_to(start + length);
        record.advance(start);
        self.count -= 1;
        Some(record)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.len(), Some(self.len()))
    }
}

impl ExactSizeIterator for Records {}
impl core::iter::FusedIterator for Records {}

/// Where the first record's payload starts, and its length. `None` if that is not how a record begins.
fn read_length(body: &[u8]) -> Option<(usize, usize)> {
    let (&tag, rest) = body.split_first()?;
    if tag != TAG {
        return None;
    }
    // Three bytes hold every length up to the limit; one more is read so that a longer record is
    // told from nonsense.
    let mut length = 0;
    for (index, &byte) in rest.iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((2 + index, length));
        }
    }
    None
}
