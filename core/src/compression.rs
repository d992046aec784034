//! Compression of batches: a body as a whole, so that brokers need not look into it.
//!
//! A publisher compresses a batch when it numbers it, if its primary allows the codec, and never again:
//! what is sent, stored and sent again is the same bytes (R28). What gets hardly smaller stays as it is.

use crate::filter::Topic;
use crate::log::Codec;
use crate::wire::records::Undecodable;
use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;
use bytes::Bytes;
use core::fmt;
use serde::{Deserialize, Serialize};
use zstd_safe::{CCtx, DCtx};

/// The quickest level that is worth its time on small records; higher ones gain little on batches.
const ZSTD_LEVEL: i32 = 1;
/// Shorter bodies are sent as they are: what could be saved is less than the header beside them.
const MIN_LENGTH: usize = 256;
/// A body that does not shrink by one part in so many is sent as it is: its readers save the effort.
const MIN_GAIN: usize = 8;
/// Most batches of a topic that are not tried after one that did not shrink.
const MAX_PAUSE: u32 = 63;
/// Most topics that are remembered because of that.
const MAX_PAUSED_TOPICS: usize = 1_024;

/// A set of codecs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Codecs {
    /// Whether [`Codec::Lz4`] is one of them.
    pub lz4: bool,
    /// Whether [`Codec::Zstd`] is one of them.
    pub zstd: bool,
}

impl Codecs {
    /// Everything that this version can write.
    pub const ALL: Self = Self { lz4: true, zstd: true };

    /// Whether this is one of them.
    pub const fn contains(self, codec: Codec) -> bool {
        match codec {
            Codec::Lz4 => self.lz4,
            Codec::Zstd => self.zstd,
            Codec::None | Codec::Unknown(_) => false,
        }
    }

    /// All of them.
    pub fn iter(self) -> impl Iterator<Item = Codec> {
        [Codec::Lz4, Codec::Zstd].into_iter().filter(move |codec| self.contains(*codec))
    }
}

/// Others than compress, and unknown ones, are left out.
impl FromIterator<Codec> for Codecs {
    fn from_iter<I: IntoIterator<Item = Codec>>(codecs: I) -> Self {
        codecs.into_iter().fold(Self::default(), |all, codec| Self {
            lz4: all.lz4 || codec == Codec::Lz4,
            zstd: all.zstd || codec == Codec::Zstd,
        })
    }
}

/// Memory that the library uses again and again, made when it is first needed. A clone makes its own.
struct Context<T>(Option<T>);

impl<T> Default for Context<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Clone for Context<T> {
    fn clone(&self) -> Self {
        Self(None)
    }
}

impl<T> fmt::Debug for Context<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Context")
    }
}

/// What a topic's batches wait for that is not worth another attempt yet.
#[derive(Clone, Copy, Debug)]
struct Pause {
    /// So many more are sent as they are.
    left: u32,
    /// So many after the next failure.
    next: u32,
}

/// Compresses the batches of one publisher.
#[derive(Clone, Debug, Default)]
pub struct Compressor {
    zstd: Context<CCtx<'static>>,
    /// Topics whose last attempt gained nothing: images stay images, and to find that out costs more than
    /// everything else that is done with a batch.
    pauses: BTreeMap<Topic, Pause>,
}

impl Compressor {
    /// The body as it is sent, and how it is compressed: not at all where that gains too little.
    pub fn compress(&mut self, codec: Codec, topic: &Topic, body: Bytes) -> (Codec, Bytes) {
        if body.len() < MIN_LENGTH || !Codecs::ALL.contains(codec) || self.pauses(topic) {
            return (Codec::None, body);
        }
        let limit = body.len() - body.len() / MIN_GAIN;
        let compressed = match codec {
            Codec::Lz4 => lz4(&body, limit),
            _ => self.zstd(&body, limit),
        };
        self.note(topic, compressed.is_some());
        compressed.map_or((Codec::None, body), |compressed| (codec, compressed))
    }

    fn zstd(&mut self, body: &[u8], limit: usize) -> Option<Bytes> {
        let context = self.zstd.0.get_or_insert_with(CCtx::create);
        let mut compressed = vec![0; limit];
        let length = context.compress(&mut compressed[..], body, ZSTD_LEVEL).ok()?;
        Some(shortened(compressed, length))
    }

    fn pauses(&mut self, topic: &Topic) -> bool {
        let Some(pause) = self.pauses.get_mut(topic) else { return false };
        let pauses = pause.left > 0;
        pause.left = pause.left.saturating_sub(1);
        pauses
    }

    fn note(&mut self, topic: &Topic, gained: bool) {
        if gained {
            self.pauses.remove(topic);
        } else if let Some(pause) = self.pauses.get_mut(topic) {
            *pause = Pause { left: pause.next, next: (2 * pause.next + 1).min(MAX_PAUSE) };
        } else if self.pauses.len() < MAX_PAUSED_TOPICS {
            self.pauses.insert(topic.clone(), Pause { left: 1, next: 3 });
        }
    }
}

fn lz4(body: &[u8], limit: usize) -> Option<Bytes> {
    let mut compressed = vec![0; lz4_flex::block::get_maximum_output_size(body.len())];
    let length = lz4_flex::block::compress_into(body, &mut compressed).ok()?;
    (length <= limit).then(|| shortened(compressed, length))
}

/// Without the room that was not needed.
fn shortened(mut compressed: Vec<u8>, length: usize) -> Bytes {
    compressed.truncate(length);
    compressed.shrink_to_fit();
    Bytes::from(compressed)
}

/// Decompresses batches, of whichever publishers.
#[derive(Clone, Debug, Default)]
pub struct Decompressor {
    zstd: Context<DCtx<'static>>,
}

impl Decompressor {
    /// What a body was before it was compressed: exactly `raw_length` bytes, whatever it claims or holds.
    pub(crate) fn decompress(
        &mut self,
        codec: Codec,
        body: Bytes,
        raw_length: usize,
    ) -> Result<Bytes, Undecodable> {
        let mut raw = Vec::new();
        let length = match codec {
            Codec::None => return Ok(body),
            Codec::Unknown(codec) => return Err(Undecodable::Codec(codec)),
            Codec::Lz4 => {
                raw.resize(raw_length, 0);
                lz4_flex::block::decompress_into(&body, &mut raw).ok()
            }
            Codec::Zstd => {
                raw.resize(raw_length, 0);
                let context = self.zstd.0.get_or_insert_with(DCtx::create);
                context.decompress(&mut raw[..], &body).ok()
            }
        };
        if length == Some(raw_length) { Ok(Bytes::from(raw)) } else { Err(Undecodable::Malformed) }
    }
}
