//! What the flows stand on: an in-process broker, a raw wire client, a bucket with faults.
//! It asserts nothing about the broker; the flows do.
#![allow(dead_code, reason = "each flow uses its own part of the harness")]

pub mod broker;
pub mod wire_client;
