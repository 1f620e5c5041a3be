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
pub mod quorum;
pub mod record;
pub mod server;
