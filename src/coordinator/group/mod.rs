//! Consumer groups, classic protocol: pure state machines, their records, and the door to them.
//! Everything but `coordinator` is pure: time, ids and outcomes come in as arguments.

pub mod classic;
pub mod coordinator;
pub mod deadlines;
pub mod effects;
pub mod error;
pub mod field;
pub mod groups;
pub mod id;
pub mod join;
pub mod member;
pub mod offsets;
pub mod rebalance;
pub mod records;
pub mod roster;
pub mod subscription;
pub mod sync;
#[cfg(test)]
mod transcripts;
