//! Compaction of a local log from outside: against a model of it, and stopped at every call to the disk.
#![allow(clippy::expect_used, clippy::disallowed_methods, reason = "a test says what it expects")]

#[path = "../support/mod.rs"]
mod support;

mod behaviour;
mod crash;
mod model;
