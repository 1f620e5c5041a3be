//! Compaction of a local log (Kafka's cleaner): of each key the last record stays, at its offset.
//! It decides what stays and writes it; the exchange of files is the log's (`log/clean.rs`), when to clean which log the
//! broker's.

pub mod batches;
pub mod clean;
pub mod groups;
pub mod offset_map;
mod output;
pub mod plan;
pub mod retain;
mod rewrite;
pub mod transactions;
