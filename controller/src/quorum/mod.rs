//! The quorum: openraft over a file log of our own. The only room that knows openraft.
//! It stores, commits and applies entries; what they say is decided above and folded below.

mod answer;
mod beginning;
mod campaign;
mod disk;
pub mod founder;
mod founding;
mod frame;
mod identity;
mod journal;
pub mod leadership;
mod lines;
mod log_store;
mod membership;
mod network;
pub mod node;
pub mod peer_codec;
mod peers;
pub mod plan;
mod raft_codec;
mod raft_messages;
mod snapshot;
mod snapshot_file;
mod state_machine;
pub mod status;
mod steward;
mod type_config;
