//! Connections: accepted once, served by one core for life, answered in the order they asked.

pub mod connection;
pub mod cores;
pub mod listener;
pub mod pulse;
pub mod send;
