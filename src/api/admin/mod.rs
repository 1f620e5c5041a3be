//! The administrator's desk: configuration, the cluster, disk use.
//! One API per file.
pub mod alter_configs;
pub mod cluster;
pub mod describe_configs;
pub mod elect_leaders;
pub mod features;
pub mod log_dirs;
pub mod move_log_dirs;
pub mod quorum;
pub mod reassign;
pub mod resource;
pub mod unregister;
pub mod voters;
