//! Stops a log at every operation on its disk and opens it again: process crash with a torn write, and power loss
//! with any part of what was never synced. Invariants under test: I2, I5, I7 and I20.
#![allow(clippy::expect_used, clippy::panic, reason = "a test says what it expects")]

mod model;
mod points;
mod rig;
mod script;

#[path = "../support/twin/mod.rs"]
mod twin;
