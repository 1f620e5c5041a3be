//! The hot tier: files on local disk.

pub mod file;
pub mod syscall;

pub use file::{DirLock, File, Files, OpenMode, OsFiles, Space};
