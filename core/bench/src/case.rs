//! What is measured.

use steadfast_core::wire::records::RecordsBuilder;

/// Bytes of a full batch, the publisher's default.
const BATCH_BYTES: usize = 64 << 10;

/// One kind of load. Each record goes through publisher, primary, backup, acknowledgement, and to every
/// subscriber.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Its name on the command line, and in the file of counts.
    pub name: &'static str,
    /// Bytes of a record.
    pub payload: usize,
    /// Records of a batch. The next one is published when this one has come to everybody.
    pub records: u32,
    /// Whether each frame goes through the transport's codec.
    pub coded: bool,
    /// Subscribers of everything.
    pub subscribers: usize,
    /// Batches whose instructions are counted, after as many others: full ones have then filled the log.
    pub counted: u64,
}

/// Everything that is measured.
pub const CASES: [Case; 6] =
    [BATCHES, LARGE_RECORDS, LONE_RECORDS, FAN_OUT, CODED_BATCHES, CODED_LONE_RECORDS];

const BATCHES: Case =
    Case { name: "batches", payload: 100, records: full(100), coded: false, subscribers: 1, counted: 160 };
const LARGE_RECORDS: Case =
    Case { name: "large-records", payload: 16 << 10, records: full(16 << 10), ..BATCHES };
const LONE_RECORDS: Case = Case { name: "lone-records", records: 1, counted: 2_048, ..BATCHES };
const FAN_OUT: Case = Case { name: "fan-out", subscribers: 8, ..BATCHES };
const CODED_BATCHES: Case = Case { name: "coded-batches", coded: true, ..BATCHES };
const CODED_LONE_RECORDS: Case = Case { name: "coded-lone-records", coded: true, ..LONE_RECORDS };

/// So many records of this length fill a batch.
const fn full(payload: usize) -> u32 {
    (BATCH_BYTES / RecordsBuilder::encoded_len(payload)) as u32
}

impl Case {
    /// The case of this name.
    pub fn find(name: &str) -> Option<&'static Self> {
        CASES.iter().find(|case| case.name == name)
    }

    /// Records that one batch delivers, to all subscribers together.
    pub const fn deliveries(&self) -> u64 {
        self.records as u64 * self.subscribers as u64
    }
}
