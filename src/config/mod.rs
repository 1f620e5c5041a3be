//! Configuration: one table of keys, the places values come from, and what the broker and a topic read of them.
//! The table is the only list of keys: parser, DescribeConfigs, `firn config explain` and docs/configuration.md all
//! read it, so none of them can disagree.

pub mod alter;
pub mod broker;
pub mod describe;
pub mod error;
pub mod listener;
pub mod settings;
pub mod topic;
