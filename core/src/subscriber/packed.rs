//! Records in the batch that brought them. Those of a compressed one stay there until the application takes
//! them: what waits for it takes then no more memory than its credit, however much it would decompress to.

use super::{Bookmark, Delivery, LossReason};
use crate::compression::Decompressor;
use crate::id::{Epoch, Offset};
use crate::log::{Batch, Codec};
use crate::wire::records::{Records, Undecodable, check_body};

/// A batch that waits to be taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    pub(super) epoch: Epoch,
    /// Of the batch's first record.
    pub(super) offset: Offset,
    /// So many of its first records were handled before (R30).
    pub(super) skip: u64,
    pub(super) batch: Batch,
    pub(super) next: Bookmark,
}

/// Records of a batch that cannot be decoded: they are not delivered and never will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// First offset.
    pub from: Offset,
    /// Offset after the last.
    pub to: Offset,
    /// Why.
    pub reason: LossReason,
    /// To be given back with [`super::Command::Consumed`].
    pub bytes: u64,
}

impl Packed {
    /// Whether it is what the publisher made and may be readable, without looking inside.
    pub(super) fn check(&self) -> Result<(), Lost> {
        let header = &self.batch.header;
        let checked = match header.codec {
            Codec::Unknown(codec) => Err(Undecodable::Codec(codec)),
            Codec::None | Codec::Lz4 | Codec::Zstd => check_body(header, &self.batch.body),
        };
        checked.map_err(|error| self.lost(error))
    }

    /// Takes the records out.
    ///
    /// # Errors
    /// R31: when the batch cannot be decoded. The application is told what it misses, and goes on.
    pub fn unpack(self, decompressor: &mut Decompressor) -> Result<Delivery, Lost> {
        let bytes = self.batch.body.len() as u64;
        let mut records = Records::unpack(&self.batch.header, self.batch.body.clone(), decompressor)
            .map_err(|error| self.lost(error))?;
        let Self { epoch, offset, skip, batch: Batch { header, .. }, next } = self;
        records.by_ref().take(skip as usize).for_each(drop);
        Ok(Delivery {
            epoch,
            offset: offset + skip,
            topic: header.topic,
            publisher: header.publisher,
            incarnation: header.incarnation,
            first_sequence: header.first_sequence + skip,
            records,
            bytes,
            next,
        })
    }

    fn lost(&self, error: Undecodable) -> Lost {
        Lost {
            from: self.offset + self.skip,
            to: self.offset + u64::from(self.batch.header.count),
            reason: match error {
                Undecodable::Codec(codec) => LossReason::UnknownCodec(codec),
                Undecodable::TooLarge | Undecodable::Checksum | Undecodable::Malformed => {
                    LossReason::Undecodable
                }
            },
            bytes: self.batch.body.len() as u64,
        }
    }
}
