//! What the quorum's log holds: records, the entries that group them, their bytes.

pub mod entry;
pub mod kinds;
