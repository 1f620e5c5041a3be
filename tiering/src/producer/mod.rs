//! Idempotent producers: who wrote which sequence last, in memory, on disk and in objects.

pub mod snapshot;
pub mod state;

pub use state::{ProducerTable, SequenceError, Verdict};
