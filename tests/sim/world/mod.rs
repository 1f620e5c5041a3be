//! The simulated world behind the broker's doors: clock, randomness, disk, network and bucket.
//! Each door writes every call into one journal; all chance comes from one seed.
#![allow(dead_code, reason = "a scenario uses its own part of the world")]

pub mod bucket;
pub mod clock;
pub mod disk;
pub mod journal;
pub mod network;
pub mod shadow;
#[path = "../../../tiering/tests/support/twin/mod.rs"]
pub mod twin;
