//! The hot tier: files on local disk, in Kafka's format.
//! It knows no bucket and no record's content.

pub mod buffers;
pub mod checkpoint;
pub mod dir;
pub mod file;
pub mod handles;
pub mod headers;
pub mod health;
pub mod index;
mod largest;
pub mod marks;
pub mod parked;
pub mod place;
pub mod recovery;
pub mod segment;
pub mod segments;
pub mod syscall;
pub mod tail;
pub mod tip_note;
pub mod transactions;
pub mod uncached;

pub use file::{DirLock, File, Files, OpenMode, OsFiles, Space};
