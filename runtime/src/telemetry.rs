//! Logs: trace records as `tracing` events.

use steadfast_core::trace::{Suspicion, Trace};
use tracing::{Level, debug, info, warn};

/// Logs a trace record of a node: changes of role as information, suspicion and halts as warnings,
/// everything else for debugging.
pub fn log(node: &str, trace: &Trace) {
    match level(trace) {
        Level::WARN => match remedy(trace) {
            Some(remedy) => warn!(target: "steadfast", node, "{trace}: {remedy}"),
            None => warn!(target: "steadfast", node, "{trace}"),
        },
        Level::INFO => info!(target: "steadfast", node, "{trace}"),
        _ => debug!(target: "steadfast", node, "{trace}"),
    }
}

/// What an operator can do about it, where the record itself does not say so.
const fn remedy(trace: &Trace) -> Option<&'static str> {
    match trace {
        Trace::SnapshotRefused { .. } => Some(
            "this broker stays out of the in-sync set; start it with the log limit (broker.log_limit, --log-limit) of \
             the other brokers",
        ),
        Trace::Uncompressed { .. } => Some(
            "allow the codec on every broker (broker.compression, --compression) once every subscriber can read it, \
             or publish without",
        ),
        _ => None,
    }
}

/// The level of a trace record.
pub const fn level(trace: &Trace) -> Level {
    match trace {
        // A broker's beginning, not a loss; an announced end, not a failure.
        Trace::Suspected { cause: Suspicion::Leaving, .. } => Level::INFO,
        Trace::Wiped { lineage: 1 } => Level::INFO,
        // So leaves whoever is shut down, too; a death is noticed by other signs long before.
        Trace::Suspected { cause: Suspicion::NotLive, .. } => Level::INFO,
        Trace::Suspected { .. }
        | Trace::Kept { .. }
        | Trace::SnapshotRefused { .. }
        | Trace::Halted { .. }
        | Trace::FellSilent
        | Trace::Uncompressed { .. }
        | Trace::Wiped { .. } => Level::WARN,
        Trace::BecamePrimary { .. }
        | Trace::EpochCommitted { .. }
        | Trace::BecameBackup { .. }
        | Trace::HandoverBegan { .. }
        | Trace::HandoverFailed { .. }
        | Trace::Leaves { .. }
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
    use steadfast_core::log::Codec;
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
            (Trace::SnapshotRefused { bytes: 2, limit: 1 }, Level::WARN),
            (Trace::Uncompressed { codec: Codec::Lz4 }, Level::WARN),
        ];
        for (trace, expected) in cases {
            assert_eq!(level(&trace), expected, "{trace}");
        }
    }
}
