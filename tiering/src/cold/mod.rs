//! The cold tier: remote segments in a bucket, the manifest that lists them, and the door to the bucket.

pub mod commit;
pub mod entry;
pub mod footer;
pub(crate) mod format;
pub mod layout;
pub mod manifest;
pub mod s3;
pub mod store;
pub mod tier;
pub mod url;

pub use format::FormatError;
