//! Configuration: one table of keys, the places values come from, and what the broker and a topic read of them.
//! The table is the only list of keys: parser, DescribeConfigs, `firn config explain` and docs/configuration.md all
//! read it, so none of them can disagree.

pub mod alter;
pub mod broker;
pub mod cleaner;
pub mod describe;
pub mod dev;
pub mod environment;
pub mod error;
pub mod explain;
pub mod key;
pub mod listener;
pub mod load;
pub mod properties;
pub mod quorum;
pub mod remote;
pub mod resolve;
pub mod settings;
pub mod start;
pub mod table;
pub mod throttled;
pub mod topic;
