//! Flows through the public door: an in-process broker, raw and real clients, a bucket with faults.
//! One file per flow; what they share is in `harness/`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test panics when it fails, and looks at the broker's files and ports from outside its doors"
)]

mod harness;
mod house;

mod admin;
mod bench;
mod bucket_limits;
mod clients;
mod cluster;
mod commands;
mod committed;
mod compaction;
mod connections;
mod copies;
mod demo;
mod durability;
mod every_version;
mod failover;
mod fetch_cold;
mod fetch_hot;
mod fetch_local;
mod formats;
mod full_disk;
mod groups;
mod hostile;
mod kafka_data;
mod kill;
mod kill_loop;
mod log_dirs;
mod log_files;
mod log_moves;
mod moves;
mod offline_dirs;
mod offload;
mod produce;
mod recovery;
mod replication;
mod retention;
mod roles;
mod said;
mod startup;
