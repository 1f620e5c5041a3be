//! Image and request → records to write, or a refusal.
//! Pure: no clock, no randomness, no I/O; the loop around it is `server.rs`.

pub mod balance;
pub mod brokers;
pub mod configs;
pub mod decision;
pub mod elect;
mod election;
pub mod features;
pub mod format;
pub mod isr;
pub mod names;
pub mod partitions;
pub mod placement;
pub mod policy;
pub mod producer_ids;
pub mod reassign;
mod row;
mod sweep;
pub mod tiers;
pub mod topics;
