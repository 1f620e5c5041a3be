//! The cold tier against a bucket that fails on command: formats, reads, offload, deletion. One binary, because each
//! more links the whole crate again.

#![allow(clippy::disallowed_methods, reason = "tests read their fixtures themselves")]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod golden;
mod harness;
mod lifecycle;
mod properties;
mod reading;
mod row;
mod sending;
mod stores;
