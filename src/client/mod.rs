//! A small client of our own for the command line, the demo and the bench: one connection, typed requests.
//! It is no consumer and no producer library: no retries, no groups, nothing in the background.

pub mod cluster;
pub mod connection;
pub mod error;
pub mod http;
pub mod leaders;
pub mod pipeline;
pub mod records;
pub mod topics;
