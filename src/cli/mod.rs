//! The command line: what `firn` understands, and what each command prints.
//! Commands talk to a broker through its ports like anybody else; only `server`, `demo`, `storage` and `log`
//! touch its directories.

pub mod arguments;
pub mod bar;
pub mod bench;
pub mod cluster;
pub mod columns;
pub mod config;
pub mod configuration;
pub mod demo;
pub mod failure;
pub mod log;
pub mod run;
pub mod server;
pub mod storage;
pub mod tier;
pub mod topic;
