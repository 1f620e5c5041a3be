//! Sealed segments on their way to the bucket: which one, written down, sent, verified, committed, released.
//! Not the formats (`cold`), and not deletion (`gc`).

pub mod context;
pub mod fold;
pub mod intent;
pub mod plan;
pub mod settle;
pub mod swap;
pub mod task;
pub mod upload;
