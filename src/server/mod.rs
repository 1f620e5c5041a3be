//! Connections: accepted once, served by one core for life, answered in the order they asked.
//! Which core, which socket, when to read, when to write: here; what a request means: in api.

pub mod connection;
pub mod cores;
pub mod listener;
pub mod pulse;
pub mod send;
