//! The administrator's desk: configuration, the cluster, disk use.
//! One API per file.
pub mod alter_configs;
pub mod cluster;
pub mod describe_configs;
pub mod log_dirs;
pub mod resource;
