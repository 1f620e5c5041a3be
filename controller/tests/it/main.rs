//! The controller from outside: through its handle, on a real disk and on one that loses power.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's panic is its report")]

mod beginning;
mod brokers;
mod cluster;
mod crash;
mod disk;
mod fold;
mod model;
mod quorum;
mod restart;
mod scene;
mod verbs;
