//! `firn bench`: a load generator with an open loop. It measures a broker from outside, over TCP.
//! Each file here is one part of it; `run.rs` picks the side.

mod consume;
mod first;
mod frame;
mod meter;
mod metronome;
mod pace;
mod produce;
pub mod run;
mod stamp;
