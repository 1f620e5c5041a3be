//! Floor 3 of the house: decides who leads, which topics exist and where each log's tier pointer stands.
//! Decisions are pure functions folded over records that a quorum made durable; it never opens a client's batch.
//!
//! A request walks: [`client::Controller`] → `server` (one loop) → `decide` (pure, on a speculative image) →
//! `quorum` (openraft over a file log) → `image` (preconditions checked again, then folded) → answer and watch.

pub mod client;
pub mod decide;
pub mod error;
pub mod id;
pub mod image;
pub mod liveness;
pub mod quorum;
pub mod record;
pub mod rpc;
pub mod serial;
pub mod server;
pub mod transport;
mod verbs;

#[cfg(test)]
#[path = "../tests/it/disk.rs"]
#[allow(
    dead_code,
    clippy::unwrap_used,
    reason = "test code, of which tests/it needs more than these tests do"
)]
mod disk;
#[cfg(test)]
#[path = "../tests/it/golden.rs"]
#[allow(clippy::expect_used, reason = "test code")]
mod golden;
