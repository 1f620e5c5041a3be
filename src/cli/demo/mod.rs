//! `firn demo`: a broker, a bucket and a client in one process, and a proof that what went in comes out.
//! Each file here is one part of the tour; `tour.rs` walks through them.

mod content;
mod progress;
mod reading;
mod stage;
pub mod tour;
mod writing;
