//! Flows through the public door: an in-process broker, raw and real clients, a bucket with faults.
mod every_version;
mod harness;
mod house;
