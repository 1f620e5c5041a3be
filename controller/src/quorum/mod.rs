//! The quorum: openraft over a file log of our own. The only room that knows openraft.

pub mod status;
