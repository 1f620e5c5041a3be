//! What the tests stand on: a bucket with faults and a ledger, a quorum in a map, segments made to order.

pub mod bucket;
pub mod quorum;
pub mod segment;
pub mod world;
