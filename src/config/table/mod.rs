//! The table of configuration keys, in the sections that docs/configuration.md prints.
//! A key stands in exactly one file here; nothing else in the program knows a key by name but the code that acts on it.

pub mod groups;
pub mod later;
pub mod log;
pub mod lookup;
pub mod node;
pub mod ours;
pub mod remote;
pub mod replication;
pub mod topic;
