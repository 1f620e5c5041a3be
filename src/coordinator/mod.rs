//! Coordinators: state machines replicated through internal topics. Live state equals a replay of the log.
//! They know partitions and their own records, never requests: translating is what `api/groups` does.

pub mod group;
pub mod journal;
pub mod loader;
pub mod shard;
#[cfg(test)]
mod shard_model;
pub mod ticker;
