//! The cold tier: remote segments in a bucket, the manifest that lists them, and the door to the bucket.
//! Not how segments get there (`offload`) nor how they go (`gc`).

mod ahead;
pub mod commit;
pub mod entry;
pub mod footer;
pub(crate) mod format;
pub mod layout;
pub mod lookup;
pub mod manifest;
pub mod manifest_store;
pub mod marker;
mod memo;
pub mod object;
pub mod pace;
pub mod probe;
pub mod reader;
mod remote;
pub mod requests;
pub mod s3;
pub mod scan;
pub mod store;
pub mod store_error;
pub mod tier;
pub mod url;

pub use format::FormatError;
