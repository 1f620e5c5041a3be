//! What the flows stand on: an in-process broker, a raw wire client, a bucket with faults.
//! It asserts nothing about the broker that is not in a name; the flows do.
#![allow(dead_code, reason = "each flow uses its own part of the harness")]

pub mod asks;
pub mod broker;
pub mod bucket;
pub mod moving;
pub mod nodes;
pub mod process;
pub mod records;
pub mod roles;
pub mod tier;
#[path = "../../../tiering/tests/support/twin/mod.rs"]
pub mod twin;
pub mod twin_broker;
pub mod wait;
pub mod wire_client;
