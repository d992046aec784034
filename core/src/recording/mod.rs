//! A recording: a broker's life as a file, so that it can be lived again.
//!
//! A node's whole life is a list of (time, input). A recording has a part of it, and what the part
//! begins with: the broker's boot, or its state at that moment. Between the inputs stand checksums of
//! everything that the broker has put out: whoever replays the inputs sees at once where another life
//! begins.
//!
//! The file is a line of text, [`MAGIC`], and records. Each has its length, a checksum of that, and a
//! checksum of itself, four bytes each, little-endian; each checksum goes on from the one before it, so
//! that a record that is missing shows like one that was changed. What a record holds is encoded by
//! `postcard`.
//!
//! The order of records is: [`Record::Head`]; then, unless the process had just booted, [`Record::Entries`]
//! any number of times, [`Record::Tail`] and [`Record::State`]; then inputs and outputs.

mod outputs;
mod state;

pub use outputs::Outputs;
pub(crate) use state::length;
pub use state::{Beginning, begin, state, tail};

use crate::broker::{Boot, Broker, Command};
use crate::checksum::crc32c_append;
use crate::log::Entry;
use crate::node::Input;
use crate::time::Instant;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use core::fmt;
use serde::{Deserialize, Serialize};

/// The first line of every recording. Its number is raised whenever a record, an input or the state of a
/// broker takes another shape: no other version can read it then. `sim/tests/recording_shape.rs` holds
/// recordings of the present one.
pub const MAGIC: &[u8] = b"steadfast recording 3\n";
/// What the first line of a recording of any version begins with.
const ANY_MAGIC: &[u8] = b"steadfast recording ";
/// Bytes of a record before its content.
const HEADER: usize = 12;

/// How a recording begins.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Head {
    /// Version of the program.
    pub version: String,
    /// When this was written, in milliseconds since 1970.
    pub wall: u64,
    /// The same on the broker's own clock.
    pub now: Instant,
    /// What the process has started from.
    pub boot: Boot,
    /// Whether it has started at this moment. Otherwise its state follows.
    pub booted: bool,
}

/// A broker's state between two inputs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct State<B> {
    /// Inputs that it has handled since it booted.
    pub inputs: u64,
    /// Checksum of everything that it has put out since.
    pub outputs: Outputs,
    /// Everything else, but for the entries of its log.
    pub broker: B,
}

/// A part of a recording.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Record<B = Broker> {
    /// How it begins.
    Head(Box<Head>),
    /// Committed entries of the log, from its start on or behind those before. Of their bodies only the
    /// lengths are kept.
    Entries(Vec<Entry>),
    /// The other entries of the log.
    Tail {
        /// The entries.
        entries: Vec<Entry>,
        /// Their bodies, one for each.
        bodies: Vec<Bytes>,
    },
    /// The broker's state, at the end of all entries.
    State(Box<State<B>>),
    /// It has been given an input.
    Input {
        /// When, on its own clock.
        at: Instant,
        /// What.
        input: Input<Command>,
    },
    /// Checksum of everything that it has put out since it booted.
    Outputs(Outputs),
    /// Inputs are missing from here on.
    Lost,
    /// The broker was driven no more: its process ended by itself.
    End,
}

/// Makes the bytes of a recording.
#[derive(Debug)]
pub struct Encoder {
    chain: u32,
    bytes: Vec<u8>,
}

impl Default for Encoder {
    fn default() -> Self {
        Self { chain: 0, bytes: MAGIC.to_vec() }
    }
}

impl Encoder {
    /// Adds a record.
    pub fn push(&mut self, record: &Record) {
        self.push_encoded(|bytes| encode(record, bytes));
    }

    /// Adds a record that was encoded before, by [`state`].
    pub fn push_state(&mut self, state: &[u8]) {
        self.push_encoded(|mut bytes| {
            bytes.extend_from_slice(state);
            bytes
        });
    }

    fn push_encoded(&mut self, content: impl FnOnce(Vec<u8>) -> Vec<u8>) {
        let start = self.bytes.len();
        let mut bytes = core::mem::take(&mut self.bytes);
        bytes.resize(start + HEADER, 0);
        let mut bytes = content(bytes);
        let length = u32::try_from(bytes.len() - start - HEADER).expect("a record is smaller than 4 GiB");
        let of_length = crc32c_append(self.chain, &length.to_le_bytes());
        self.chain = crc32c_append(of_length, &bytes[start + HEADER..]);
        let header = [length, of_length, self.chain].map(u32::to_le_bytes);
        bytes[start..start + HEADER].copy_from_slice(header.as_flattened());
        self.bytes = bytes;
    }

    /// Bytes that were not taken yet.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes so far were taken.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }
}

fn encode<B: Serialize>(record: &Record<B>, bytes: Vec<u8>) -> Vec<u8> {
    postcard::to_extend(record, bytes).expect("everything in a record can be encoded, and memory has no end")
}

/// Why a recording cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// It does not begin like one.
    NoRecording,
    /// Another version has made it.
    OtherVersion,
    /// It is one whose bytes were taken for text, and its line ends changed.
    Converted,
    /// The file ends within its first line.
    FirstLine,
    /// The file ends within a record: its process, or its machine, stopped there.
    Cut,
    /// The file ends where a record has to come.
    Ends,
    /// There is more behind the end of the broker.
    Trailing,
    /// A record's length is not what was written, or records are missing before it.
    Length,
    /// A record is not what was written.
    Checksum,
    /// A record makes no sense, though it is what was written.
    Content,
    /// A record does not belong there.
    Misplaced,
    /// The broker's state does not fit the entries of its log.
    Unfit,
}

/// Where a recording cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Number of the record, from 1.
    pub record: u64,
    /// Where it begins, in bytes from the beginning of the file.
    pub offset: usize,
    /// Why.
    pub flaw: Flaw,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { record, offset, flaw } = self;
        let reason = match flaw {
            Flaw::NoRecording => return f.write_str("this is no recording: its first line is another one"),
            Flaw::OtherVersion => {
                return f.write_str(
                    "another version of the program has made this recording: replay it with that version",
                );
            }
            Flaw::Converted => {
                return f.write_str(
                    "the line ends of this recording were changed, as of a text: copy it again, byte by byte",
                );
            }
            Flaw::FirstLine => {
                return f.write_str("this recording ends within its first line: nothing of it is left");
            }
            Flaw::Cut => "the file ends within it",
            Flaw::Ends => "the file ends before it, and there is nothing to begin with",
            Flaw::Trailing => "it stands behind the end of the broker, where nothing can follow",
            Flaw::Length => "its length is not what was written, or records are missing before it",
            Flaw::Checksum => "its content is not what was written",
            Flaw::Content => "it holds something that this program does not know",
            Flaw::Misplaced => "it does not belong there",
            Flaw::Unfit => "the broker's state does not fit the entries of its log",
        };
        write!(f, "record {record} at byte {offset}: {reason}")
    }
}

impl core::error::Error for Damage {}

/// Whether this is a recording of this version but for the end of its first line.
fn is_converted(bytes: &[u8]) -> bool {
    MAGIC
        .strip_suffix(b"\n")
        .and_then(|line| bytes.strip_prefix(line))
        .is_some_and(|rest| rest.starts_with(b"\r"))
}

/// Reads the bytes of a recording.
#[derive(Clone, Debug)]
pub struct Decoder<'a> {
    bytes: &'a [u8],
    offset: usize,
    record: u64,
    chain: u32,
}

impl<'a> Decoder<'a> {
    /// Whether these bytes begin like a recording, of whatever version, or end where one has just begun.
    pub fn recognises(bytes: &[u8]) -> bool {
        bytes.starts_with(ANY_MAGIC) || (!bytes.is_empty() && ANY_MAGIC.starts_with(bytes))
    }

    /// Begins to read.
    ///
    /// # Errors
    /// When this is no recording, or one of another version.
    pub fn new(bytes: &'a [u8]) -> Result<Self, Damage> {
        let decoder = Self { bytes, offset: 0, record: 1, chain: 0 };
        match bytes.starts_with(MAGIC) {
            true => Ok(Self { offset: MAGIC.len(), ..decoder }),
            false if MAGIC.starts_with(bytes) => Err(decoder.damage(Flaw::FirstLine)),
            false if is_converted(bytes) => Err(decoder.damage(Flaw::Converted)),
            false if Self::recognises(bytes) => Err(decoder.damage(Flaw::OtherVersion)),
            false => Err(decoder.damage(Flaw::NoRecording)),
        }
    }

    /// Number of the next record, from 1.
    pub const fn record(&self) -> u64 {
        self.record
    }

    /// Where the next record begins, in bytes from the beginning.
    pub const fn offset(&self) -> usize {
        self.offset
    }

    /// The same place, with another complaint.
    pub const fn damage(&self, flaw: Flaw) -> Damage {
        Damage { record: self.record, offset: self.offset, flaw }
    }

    /// The next record; `None` at the end.
    ///
    /// # Errors
    /// When there is one and it cannot be read.
    pub fn next_record(&mut self) -> Result<Option<Record>, Damage> {
        let rest = &self.bytes[self.offset..];
        if rest.is_empty() {
            return Ok(None);
        }
        let Some((header, rest)) = rest.split_at_checked(HEADER) else { return Err(self.damage(Flaw::Cut)) };
        let word = |index: usize| {
            u32::from_le_bytes(header[4 * index..4 * index + 4].try_into().expect("four bytes"))
        };
        if crc32c_append(self.chain, &header[..4]) != word(1) {
            return Err(self.damage(Flaw::Length));
        }
        let length = word(0) as usize;
        let content = rest.get(..length).ok_or_else(|| self.damage(Flaw::Cut))?;
        if crc32c_append(word(1), content) != word(2) {
            return Err(self.damage(Flaw::Checksum));
        }
        let record = match postcard::take_from_bytes::<Record>(content) {
            Ok((record, [])) => record,
            Ok(_) | Err(_) => return Err(self.damage(Flaw::Content)),
        };
        self.chain = word(2);
        self.offset += HEADER + length;
        self.record += 1;
        Ok(Some(record))
    }
}
