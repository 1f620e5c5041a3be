//! Image and request → records to write, or a refusal.
//! Pure: no clock, no randomness, no I/O; the loop around it is `server.rs`.

pub mod brokers;
pub mod configs;
pub mod decision;
pub mod format;
pub mod names;
pub mod partitions;
pub mod placement;
pub mod producer_ids;
pub mod tiers;
pub mod topics;
