//! Bounds on everything that crosses the wire. A frame beyond one of them is rejected and counted.

/// Largest offset, sequence number, epoch, lineage, incarnation, configuration number or credit.
/// Far from the end of the type, so that sums of checked numbers never overflow.
pub const MAX_NUMBER: u64 = 1 << 62;
/// Longest topic or filter, in bytes.
pub const MAX_TOPIC_LEN: usize = 255;
/// Most tokens (dot-separated words) in a topic or filter.
pub const MAX_TOPIC_TOKENS: usize = 32;
/// Longest node name, in bytes.
pub const MAX_NODE_NAME_LEN: usize = 64;
/// Longest network address (`tcp://host:port`), in bytes.
pub const MAX_ADDRESS_LEN: usize = 255;
/// Largest payload of one record, in bytes.
pub const MAX_RECORD_LEN: usize = 1 << 20;
/// Most records in one batch.
pub const MAX_BATCH_RECORDS: u32 = 65_536;
/// Largest encoded batch body on the wire, in bytes: one record of the largest size fits.
pub const MAX_BATCH_LEN: usize = MAX_RECORD_LEN + 64;
/// Largest batch body after decompression, in bytes.
pub const MAX_BATCH_RAW_LEN: usize = 4 << 20;
/// Most batches (and other log entries) in one frame.
pub const MAX_FRAME_ENTRIES: usize = 256;
/// Largest sum of bodies in one frame, in bytes.
pub const MAX_FRAME_LEN: usize = 8 << 20;
/// Largest encoded envelope, in bytes.
pub const MAX_ENVELOPE_LEN: usize = 256 << 10;
/// Most filters in one subscription.
pub const MAX_FILTERS: usize = 64;
/// Most entries in an epoch table on the wire; older epochs fall off its front.
pub const MAX_EPOCH_TABLE: usize = 1_024;
/// Longest path in the coordination tree, in bytes.
pub const MAX_PATH_LEN: usize = 1_024;
/// Largest data of one node in the coordination tree, in bytes (ZooKeeper's own default is 1 MiB).
pub const MAX_NODE_DATA_LEN: usize = 64 << 10;
/// Most operations in one coordination multi.
pub const MAX_MULTI_OPS: usize = 64;
/// Most children listed in one coordination reply.
pub const MAX_CHILDREN: usize = 4_096;
/// Most brokers listed in one status answer; more are counted.
pub const MAX_STATUS_BROKERS: usize = 128;
/// Most groups in one status answer.
pub const MAX_STATUS_GROUPS: usize = 16;
/// Longest detail of a refusal, in bytes.
pub const MAX_DETAIL_LEN: usize = 256;
