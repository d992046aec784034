//! What became of records that a subscriber does not get.

use steadfast_core::subscriber::LossReason;

/// Why a subscriber does not get records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// They were trimmed before it came for them.
    Trimmed,
    /// It cannot read them.
    Unreadable {
        /// Whether the frame was damaged on its way.
        damaged: bool,
    },
}

impl Loss {
    /// What a subscriber says of a frame, which was damaged on its way or was not.
    pub(crate) const fn of(reason: LossReason, damaged: bool) -> Self {
        match reason {
            LossReason::Retention => Self::Trimmed,
            LossReason::Undecodable | LossReason::UnknownCodec(_) => Self::Unreadable { damaged },
        }
    }
}
