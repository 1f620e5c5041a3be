//! Floor 1 of the house: remembers bytes by key, in memory and on NVMe.
//! It knows no log, no offset and no bucket; a miss is always legal, a wrong byte never is.

pub mod admission;
pub mod budget;
mod drops;
pub mod error;
pub mod hybrid;
pub mod key;
pub mod metrics;
pub mod read_through;
pub mod readahead;
mod single_flight;
