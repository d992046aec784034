//! Logs: trace records as `tracing` events, on standard error.

use std::io;
use steadfast_core::trace::{Suspicion, Trace};
use tracing::{Level, debug, info, warn};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Plain,
    /// One JSON object a line.
    Json,
}

/// Sends log lines of this project of at least this level to standard error, and only warnings of
/// the libraries. Does nothing where a subscriber is installed already.
pub fn init(level: Level, format: Format) {
    let filter = Targets::new()
        .with_default(level.min(Level::WARN))
        .with_target("steadfast", LevelFilter::from_level(level))
        // Its warnings repeat what the session's states say.
        .with_target("zookeeper_client", LevelFilter::ERROR);
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let ansi = io::IsTerminal::is_terminal(&io::stderr());
    let installed = match format {
        Format::Plain => registry.with(layer.with_ansi(ansi)).try_init(),
        Format::Json => registry.with(layer.json()).try_init(),
    };
    if installed.is_err() {
        debug!(target: "steadfast", "a log subscriber was installed before");
    }
}

/// Logs a trace record of a node: changes of role as information, suspicion and halts as warnings,
/// everything else for debugging.
pub fn log(node: &str, trace: &Trace) {
    match level(trace) {
        Level::WARN => warn!(target: "steadfast", node, "{trace}"),
        Level::INFO => info!(target: "steadfast", node, "{trace}"),
        _ => debug!(target: "steadfast", node, "{trace}"),
    }
}

/// The level of a trace record.
pub const fn level(trace: &Trace) -> Level {
    match trace {
        // A broker's beginning, not a loss.
        Trace::Wiped { lineage: 1 } => Level::INFO,
        // So leaves whoever is shut down, too; a death is noticed by other signs long before.
        Trace::Suspected { cause: Suspicion::NotLive, .. } => Level::INFO,
        Trace::Suspected { .. } | Trace::Halted { .. } | Trace::FellSilent | Trace::Wiped { .. } => {
            Level::WARN
        }
        Trace::BecamePrimary { .. }
        | Trace::EpochCommitted { .. }
        | Trace::BecameBackup { .. }
        | Trace::SteppedDown { .. }
        | Trace::SpokeAgain
        | Trace::SnapshotBegun { .. }
        | Trace::Installed { .. }
        | Trace::Throttled { .. }
        | Trace::GroupCreated { .. }
        | Trace::GroupChanged { .. }
        | Trace::DiscoveryLeads { .. }
        | Trace::DiscoveryFollows => Level::INFO,
        _ => Level::DEBUG,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use steadfast_core::trace::Halt;

    #[test]
    fn role_changes_and_halts_stand_out() {
        let cases = [
            (Trace::Halted { reason: Halt::OtherGroup }, Level::WARN),
            (Trace::BecamePrimary { epoch: 1, start: 0 }, Level::INFO),
            (Trace::DiscoveryFollows, Level::INFO),
            (Trace::Wiped { lineage: 1 }, Level::INFO),
            (Trace::Wiped { lineage: 2 }, Level::WARN),
            (Trace::Registered { czxid: 1 }, Level::DEBUG),
        ];
        for (trace, expected) in cases {
            assert_eq!(level(&trace), expected, "{trace}");
        }
    }
}
