//! Flows through the public door: an in-process broker, raw and real clients, a bucket with faults.
mod harness;
mod house;
