//! Firnline: a Kafka-compatible, tiered-storage broker. This crate is floor 4 of the house: it serves.
//! It holds sockets, requests, partitions, coordinators and the command line; it knows every floor below.

pub mod api;
pub mod broker;
pub mod cli;
pub mod client;
pub mod config;
pub mod coordinator;
pub mod metadata;
pub mod partition;
pub mod purgatory;
pub mod replication;
pub mod server;
pub mod telemetry;
pub mod transport;
pub mod wire;
