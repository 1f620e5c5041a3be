//! What the quorum's log holds: records, the entries that group them, their bytes.

pub mod bytes;
pub mod codec;
pub mod entry;
pub mod entry_codec;
pub mod kinds;
