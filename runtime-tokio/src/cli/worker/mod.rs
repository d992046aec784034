//! Workers: a publisher and a subscriber that number, measure and check records, in processes of
//! their own, and report to the process that has started them.

pub mod args;
pub mod crowd;
pub mod idle;
pub mod payload;
pub mod publisher;
mod pulse;
pub mod report;
pub mod subscriber;

use super::failure::Failure;
use report::Report;
use std::sync::Arc;
use std::time::Duration;
use steadfast_tokio::client::{Notice, Observer};
use tokio::sync::mpsc;

/// Between two reports.
const REPORT_PERIOD: Duration = Duration::from_millis(100);

/// Lines from the parent.
type Orders = mpsc::UnboundedReceiver<String>;

/// Prints a report.
fn say(report: &Report) -> Result<(), Failure> {
    super::print(&serde_json::to_string(report).map_err(Failure::complete)?)
}

/// Reports changes of primary.
fn observer() -> Observer {
    Arc::new(|notice| {
        let report = match notice {
            Notice::Connected { endpoint, epoch } => {
                Report::Connected { node: endpoint.node.to_string(), epoch }
            }
            Notice::Disconnected { .. } => Report::Disconnected,
        };
        // A parent that is gone has ended this process by now.
        let _ = say(&report);
    })
}

/// A worker that nobody has started as one.
fn not_attached() -> Failure {
    Failure::new("a worker belongs to 'steadfast demo' or 'steadfast bench'", "start one of them")
}
