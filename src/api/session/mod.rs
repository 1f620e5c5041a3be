//! What a connection says before it works: which APIs there are.
//! One API per file.
pub mod api_versions;
pub mod nodes;
