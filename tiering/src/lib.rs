//! Floor 2 of the house: keeps ONE log over its tiers, hot segments on local disk and cold objects in a bucket.
//! It knows no topic, no broker and no API; its logs have opaque ids.

pub mod batch;
pub mod clock;
pub mod codec;
pub mod cold;
pub mod compact;
pub mod config;
pub mod entropy;
pub mod epoch;
pub mod gc;
pub mod hot;
pub mod inspect;
pub mod log;
pub mod offload;
pub mod offsets;
pub mod producer;
pub mod retention;
