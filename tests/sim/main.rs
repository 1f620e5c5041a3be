//! A whole broker in a seeded, single-threaded simulation: simulated clock, dice, disk, network and bucket.
//! It is a binary of its own because it replaces the process's clock and randomness (mad-turmoil).

mod world;

fn main() {}
