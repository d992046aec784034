//! A publisher's outbox in a file: what was not acknowledged survives the process.
//!
//! The file is a `redb` database. One process at a time has it open. A thread of its own makes the
//! changes, those that have come together in one transaction, and says when they are durable: the
//! runtime never waits for the disk.

mod store;
mod thread;

pub use store::{Outbox, Summary};
pub use thread::{Keeper, Port, keep};

use std::io;
use std::path::PathBuf;
use steadfast_core::id::PublisherId;

/// Most bytes of records that are set aside in one outbox.
pub const MAX_ASIDE_BYTES: u64 = 64 << 20;

/// What is wrong with an outbox.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// The deployment is at fault.
    #[error(
        "the outbox {} is in use by another process: give each publisher an outbox of its own",
        path.display()
    )]
    InUse {
        /// Which file.
        path: PathBuf,
    },
    /// The file is at fault.
    #[error(
        "{} is damaged, or no outbox ({reason}): restore it, or move it away to begin with an empty one; \
         what was in it and not acknowledged is then lost",
        path.display()
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// The application is at fault.
    #[error(
        "the outbox {} belongs to publisher {found:?}, not to {wanted:?}: name that one, or none",
        path.display()
    )]
    OtherPublisher {
        /// Which file.
        path: PathBuf,
        /// Whose it is.
        found: PublisherId,
        /// Whose it should be.
        wanted: PublisherId,
    },
    /// The machine is at fault.
    #[error(
        "cannot open the outbox {}: {cause}; {}",
        path.display(),
        if is_full(cause) { MAKE_ROOM } else { "check that its directory exists and can be written" }
    )]
    Open {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// The machine is at fault.
    #[error(
        "cannot write the outbox {}: {cause}; {}, then start the publisher again with it: nothing that was \
         acknowledged is lost",
        path.display(),
        if is_full(cause) { MAKE_ROOM } else { "put its disk right" }
    )]
    Write {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// Nobody has decided what becomes of records of unknown fate.
    #[error(
        "the outbox {} has {} MiB of records set aside, whose fate is unknown: drop them or send them again",
        path.display(),
        MAX_ASIDE_BYTES >> 20
    )]
    AsideFull {
        /// Which file.
        path: PathBuf,
    },
}

const MAKE_ROOM: &str = "make room on its disk";

fn is_full(cause: &io::Error) -> bool {
    matches!(cause.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
