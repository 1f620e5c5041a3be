//! `firn cluster`: what a cluster says about itself, and moving partitions between its brokers.
//! One command per file.

pub mod moves;
pub mod run;
pub mod status;
