//! What the quorum's log holds: records, the entries that group them, their bytes.
//! Values only: what they mean is `image/`, who wrote them is `decide/`.

pub mod bytes;
pub mod codec;
pub mod entry;
pub mod entry_codec;
pub mod kinds;
