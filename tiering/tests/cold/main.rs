//! The cold tier against a bucket that fails on command: formats, reads, offload, deletion. One binary, because each
//! more links the whole crate again.

#![allow(clippy::disallowed_methods, reason = "tests read their fixtures and draw their own seeds")]

mod golden;
mod harness;
mod lifecycle;
mod properties;
mod reading;
mod row;
mod sending;
