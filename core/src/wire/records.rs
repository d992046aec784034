//! The body of a batch.
