//! `steadfast bench role`: one publisher or subscriber of a benchmark that somebody else runs, so that this
//! system and others are measured by the same hand.
//!
//! The role is told what to do by `KEY=VALUE` words and says `READY` when it is connected. A publisher then waits
//! for a line on its standard input. Each prints one JSON object at its end. All roles of a run share a file of
//! counters (see [`counters`]). A payload begins with the time of sending in nanoseconds of the machine's
//! monotonic clock (u64), the publisher's number (u32) and the record's number from 0 (u64), little endian.

mod counters;
mod publisher;
mod settings;
mod subscriber;
mod tally;

use super::super::failure::Failure;
use super::args::{Role, RoleArgs};
use settings::Settings;
use steadfast_runtime::configuration::Configuration;

/// Bytes that a payload begins with.
const HEADER: usize = 20;

/// Plays the role to its end.
///
/// # Errors
/// When a word makes no sense, there is no cluster, or the counters cannot be used.
pub async fn run(args: &RoleArgs, configuration: &Configuration) -> Result<(), Failure> {
    let settings = Settings::read(&args.words)?;
    let transport = &configuration.settings.transport;
    match args.role {
        Role::Pub => publisher::run(&settings, transport).await,
        Role::Sub => subscriber::run(&settings, transport).await,
    }
}
