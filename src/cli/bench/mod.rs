//! `firn bench`: a load generator with an open loop. It measures a broker from outside, over TCP.
//! Each file here is one part of it; `run.rs` picks the side.

mod consume;
mod first;
mod frame;
mod meter;
mod metronome;
mod pace;
mod produce;
mod proof;
mod route;
pub mod run;
mod stamp;
mod through;
