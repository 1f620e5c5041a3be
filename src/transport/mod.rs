//! Bytes in and out: the network door and the frames on it.
//! What the bytes mean is none of its business: wire reads them.

pub mod dial;
pub mod frame;
pub mod net;
pub mod nodes;
pub mod peer;
pub mod sendfile;
