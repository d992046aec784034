//! What a role has counted, and the line that it ends with.

use super::super::super::failure::Failure;
use hdrhistogram::Histogram;

/// Longest latency that is told apart, in nanoseconds.
const LONGEST: u64 = 600_000_000_000;

/// Latencies.
#[derive(Debug)]
pub struct Latencies(Histogram<u64>);

impl Latencies {
    /// None yet.
    pub fn new() -> Self {
        Self(Histogram::new_with_max(LONGEST, 3).expect("bounds and digits that a histogram takes"))
    }

    /// So many that took so long, in nanoseconds.
    pub fn note(&mut self, nanos: u64, count: u64) {
        self.0.saturating_record_n(nanos.max(1), count);
    }

    /// A quantile in microseconds, to a tenth.
    pub fn quantile(&self, quantile: f64) -> f64 {
        (self.0.value_at_quantile(quantile) as f64 / 100.0).round() / 10.0
    }

    /// The longest in microseconds, to a tenth.
    pub fn longest(&self) -> f64 {
        self.quantile(1.0)
    }
}

/// Processor time of this process, in seconds.
pub fn processor_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Leaves a file of one byte for each record.
///
/// # Errors
/// When it cannot be written.
pub fn dump(path: &std::path::Path, records: &[u8]) -> Result<(), Failure> {
    std::fs::write(path, records)
        .map_err(|error| Failure::new(format!("cannot write {}: {error}", path.display()), "check dump="))
}
