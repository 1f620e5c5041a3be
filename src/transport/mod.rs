//! Bytes in and out: the network door and the frames on it.

pub mod dial;
pub mod frame;
pub mod net;
pub mod sendfile;
