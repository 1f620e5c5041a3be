//! What the records add up to: the whole cluster's metadata as one immutable value.
//! Folding, comparing and showing images; never deciding what to write.

pub mod brokers;
pub mod configs;
pub mod current;
pub mod delta;
pub mod fold;
pub mod metadata;
pub mod precondition;
pub mod producer_ids;
pub mod records;
pub mod tiers;
pub mod topics;
