//! Purgatory: where a request waits until something happened to its partitions or its time is up.
//! It knows keys and wakers, nothing of the broker's.

pub mod delayed;
pub mod timer;
