//! A whole broker in a seeded, single-threaded simulation.
fn main() {}
