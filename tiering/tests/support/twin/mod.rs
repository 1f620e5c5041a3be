//! The simulated twin of the door to files: a disk in memory that forgets what was never fsynced, tears writes,
//! and fails as told. Included by path (`#[path]`) by every test crate that needs a disk it can pull the plug of.
#![allow(dead_code, reason = "each test crate uses its part")]

pub mod dice;
pub mod disk;
pub mod node;
