//! Record batches (Kafka's format, magic 2): read in place, checked, built, opened only when needed.

pub mod header;

pub use header::{BatchError, BatchHeader, Codec, TimestampType};
