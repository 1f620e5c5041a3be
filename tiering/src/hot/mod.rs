//! The hot tier: files on local disk.
//! It knows no bucket and no record's content.

pub mod file;
pub mod syscall;

pub use file::{DirLock, File, Files, OpenMode, OsFiles, Space};
