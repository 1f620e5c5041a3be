//! The quorum: openraft over a file log of our own. The only room that knows openraft.
//! It stores, commits and applies entries; what they say is decided above and folded below.

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
