//! The quorum: openraft over a file log of our own. The only room that knows openraft.

mod frame;
mod journal;
mod log_store;
mod network;
pub mod node;
mod raft_codec;
mod snapshot;
mod snapshot_file;
mod state_machine;
pub mod status;
mod type_config;
