//! The cold tier: remote segments in a bucket, the manifest that lists them, and the door to the bucket.

pub mod commit;
pub mod entry;
pub mod footer;
pub(crate) mod format;
pub mod layout;
pub mod manifest;
pub mod tier;

pub use format::FormatError;
