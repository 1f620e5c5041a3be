//! Idempotent producers: who wrote which sequence last, in memory, on disk and in objects.
//! It knows no segment and no request: headers go in, verdicts and bytes come out.

pub mod snapshot;
pub mod state;

pub use state::{ProducerTable, SequenceError, Verdict};
